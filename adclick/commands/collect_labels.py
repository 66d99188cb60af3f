"""A person's labels of the training defects, as `adclick annotate` keeps them, for training."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from adclick.annotate.run_pictures import TRAINED_ON
from adclick.annotate.store import saved_labels, saved_mask
from adclick.clicks.click import Click, scale_clicks
from adclick.data.geometry import content_of, frame_of, in_frame, write_contents
from adclick.data.images import resize_mask
from adclick.run.artifacts import ArraySpec, create_arrays, read_csv
from adclick.run.errors import InputError
from adclick.run.folders import ends_in
from adclick.run.job import parse_job, run
from adclick.run.plan.clicks import CollectLabels
from adclick.run.provenance import digest
from adclick.run.settings.data import Geometry, Resize, square

COMMAND = "adclick.commands.collect_labels"
NAMED = 5  # ids in a message


@dataclass(frozen=True)
class Entry:
    """What the manifest says of an image; `place` is its row, `shape` that of its file."""

    place: int
    image_id: str
    path: str
    role: str
    shape: tuple[int, int]


@dataclass(frozen=True)
class Label:
    """A labelled image at the network's size; `digest` is of the label as it was saved."""

    entry: Entry
    mask: Bool[np.ndarray, "height width"]
    clicks: Sequence[Click]
    digest: str


def main(argv: Sequence[str] | None = None) -> None:
    """Write `probabilities` [image height width], 0 or 1, and `clicks` [image click (row, column,
    positive)], -1 = none, of the finished labels (state `done`) of the folder `--folder`.

    No true mask is read. Labels of test defects are never trained on: they are passed over, and the
    log says so.
    """
    job = parse_job(
        COMMAND,
        CollectLabels,
        argv,
        doc=__doc__,
        trains=lambda _: True,
        inputs=["manifest"],
        outputs=["labels"],
        texts=["folder"],
    )
    folder, settings = Path(job.texts["folder"]), job.settings
    geometry = settings.size or square(settings.size_px)
    entries = read_entries(job.inputs["manifest"])
    labels = read_labels(folder, entries, geometry=geometry, resize=settings.resize)
    contents = [content_of(one.shape, geometry) for one in entries]
    frame = frame_of(contents, settings.stride, geometry)
    stamp = {
        **job.stamp,
        "inputs": {
            **job.stamp["inputs"],
            "folder": digest([[one.entry.image_id, one.digest] for one in labels]),
        },
    }
    most = max(1, *(len(one.clicks) for one in labels))
    specs = {
        "probabilities": ArraySpec(frame, "float16"),
        "clicks": ArraySpec((most, 3), "int32"),
    }
    ids = [one.entry.image_id for one in labels]
    with create_arrays(job.outputs["labels"], image_ids=ids, specs=specs, stamp=stamp) as file:
        for index, one in enumerate(labels):
            rows = [(click.row, click.column, int(click.positive)) for click in one.clicks]
            file["probabilities"][index] = in_frame(one.mask, frame)
            file["clicks"][index] = np.array(rows + [(-1, -1, -1)] * (most - len(rows)), np.int32)
        write_contents(file, [one.mask.shape for one in labels], frame)
    print(f"{folder}: {len(labels)} labels: {', '.join(ids)}", file=sys.stderr)


def read_entries(manifest: Path) -> list[Entry]:
    """The images of a manifest, in its order."""
    table = read_csv(manifest)
    columns = [table[name] for name in ("image_id", "path", "role", "height", "width")]
    return [
        Entry(place, str(image_id), str(path), str(role), (int(height), int(width)))
        for place, (image_id, path, role, height, width) in enumerate(zip(*columns, strict=True))
    ]


def read_labels(
    folder: Path, entries: Sequence[Entry], *, geometry: Geometry, resize: Resize
) -> list[Label]:
    """The finished labels of a folder that are for training, in the manifest's order.

    A label whose image the manifest does not have (it was left out, or is gone) is passed over with
    a line. One InputError names every label of a normal image, of several images, or of another
    size than its image (as it is on disk, or as the run has it); another says that none is left.
    """
    saved = saved_labels(folder)
    done = {key: facts for key, facts in saved.items() if facts["state"] == "done"}
    problems: list[str] = []
    paths = {key: str(facts.get("path", "")) for key, facts in done.items()}
    found, unknown = match_keys(paths, entries, problems)
    if unknown:
        print(f"{folder}: not used, no image of the manifest: {_few(unknown)}", file=sys.stderr)
    labels = [
        label
        for key, entry in sorted(found.items(), key=lambda pair: pair[1].place)
        if entry.role in TRAINED_ON
        and (label := _label(folder, key, done[key], entry, geometry, resize, problems)) is not None
    ]
    if problems:
        raise InputError(f"{folder}: {'; '.join(problems)}")
    for_testing = sorted(entry.image_id for entry in found.values() if entry.role == "test_defect")
    if for_testing:
        print(f"{folder}: not used, of test images: {', '.join(for_testing)}", file=sys.stderr)
    if not labels:
        wanted = [entry.image_id for entry in entries if entry.role in TRAINED_ON]
        raise InputError(
            f"{folder}: no finished label of a training defect; label some of {_few(wanted)}"
            + (f" (labels of no image of the manifest: {_few(unknown)})" if unknown else "")
        )
    return labels


def match_keys(
    paths: Mapping[str, str], entries: Sequence[Entry], problems: list[str]
) -> tuple[dict[str, Entry], list[str]]:
    """The defective image of each label, and the labels of no image. `paths` has the labels' keys,
    and the path that each remembers of its image.

    A label's image is the one whose id is the key, else the one whose path, without suffix, ends
    with it, so that pictures may have been labelled from any folder above them, else the one of the
    path that the label remembers. Keys that fit several images, a normal one, or another label's
    are added to `problems`.
    """
    found: dict[str, Entry] = {}
    unknown: list[str] = []
    owners: dict[str, str] = {}
    for key, path in paths.items():
        fitting = _fitting(key, path, entries)
        if not fitting:
            unknown.append(key)
        elif len(fitting) > 1:
            several = _few([one.image_id for one in fitting])
            problems.append(f"{key} fits {several}: label from a folder above")
        elif fitting[0].role.endswith("normal"):
            problems.append(f"{key} is a normal image ({fitting[0].image_id}), and has a defect")
        elif fitting[0].image_id in owners:
            problems.append(f"{key} and {owners[fitting[0].image_id]} label one image")
        else:
            found[key] = fitting[0]
            owners[fitting[0].image_id] = key
    return found, unknown


def _fitting(key: str, path: str, entries: Sequence[Entry]) -> list[Entry]:
    return (
        [one for one in entries if one.image_id == key]
        or [one for one in entries if ends_in(_stem(one.path), key)]
        or [one for one in entries if one.path == path]
    )


def _label(
    folder: Path,
    key: str,
    facts: Mapping[str, Any],
    entry: Entry,
    geometry: Geometry,
    resize: Resize,
    problems: list[str],
) -> Label | None:
    mask = saved_mask(folder, key)
    if mask is None or not mask.any():
        problems.append(f"{key}.png is {'missing' if mask is None else 'empty'}: save it again")
        return None
    shape = content_of(entry.shape, geometry)
    if mask.shape not in (entry.shape, shape):
        size, own = (f"{shape[1]} x {shape[0]}" for shape in (mask.shape, entry.shape))
        problems.append(f"{key}.png has {size} pixels, its image {own}")
        return None
    clicks = [
        Click(int(one["row"]), int(one["column"]), bool(one["positive"]))
        for defect in facts.get("objects", [])
        for one in defect.get("clicks", [])
    ]
    kept = [click for click in clicks if _agrees(click, mask)]
    scaled = scale_clicks(kept, shape=shape, original_shape=mask.shape)
    rows = [[click.row, click.column, click.positive] for click in kept]
    saved = digest([list(mask.shape), np.packbits(mask).tobytes().hex(), rows])
    return Label(entry, resize_mask(mask, shape, resize), scaled, saved)


def _agrees(click: Click, mask: Bool[np.ndarray, "height width"]) -> bool:
    """Whether the saved mask, which is the last word, has at a click what it said: one that was
    painted over, or that kept another defect out of this one, is no certainty of Eq. 8.
    """
    inside = 0 <= click.row < mask.shape[0] and 0 <= click.column < mask.shape[1]
    return inside and bool(mask[click.row, click.column]) == click.positive


def _stem(path: str) -> str:
    return str(Path(path).with_suffix("").as_posix())


def _few(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


if __name__ == "__main__":
    run(main)
