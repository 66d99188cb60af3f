"""Simulated defects on the normal training images of a category (Sec. 4.2, "conventional way")."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float

from adclick.data.defects import SHAPE_SHARES, drawing_generator, simulate_in_window
from adclick.data.geometry import Shape, contents_of, cropped, in_frame, padded, write_contents
from adclick.data.images import IMAGE_SUFFIXES
from adclick.data.lifelike import LIFELIKE
from adclick.data.rows import SIMULATED_TYPE, train_normal_rows
from adclick.run.artifacts import (
    ArrayFile,
    ArraySpec,
    create_arrays,
    image_ids,
    open_arrays,
    read_csv,
    write_names,
)
from adclick.run.errors import InputError
from adclick.run.folders import passed_over, walk
from adclick.run.job import Job, parse_job, run
from adclick.run.plan.data import SimulateDefects
from adclick.run.plan.detection import ExpandDefects
from adclick.run.provenance import digest, file_sha256
from adclick.run.settings.data import Simulation

COMMAND = "adclick.commands.simulate_defects"


def main(argv: Sequence[str] | None = None) -> None:
    """Write `images`, `labels` (0 or 1), `types` and `source_ids` (the normal image each was made
    from).
    """
    job = parse_job(
        COMMAND,
        SimulateDefects,
        argv,
        doc=__doc__,
        trains=lambda _: True,
        inputs=["manifest", "images", "foreground"],
        outputs=["simulated"],
    )
    settings = job.settings.simulation
    manifest = read_csv(job.inputs["manifest"])
    normals = train_normal_rows(job.inputs["manifest"])
    textures = open_textures(settings.texture_folder)
    with (
        open_arrays(job.inputs["images"]) as images,
        open_arrays(job.inputs["foreground"]) as foreground,
    ):
        ids = [str(manifest["image_id"][row]) for row in normals]
        if ids != image_ids(foreground):
            raise InputError(
                f"{job.inputs['foreground']}: not of the same normal images; run its stage again"
            )
        frame, contents = images["images"].shape[1:3], contents_of(images, "images")
        copies = copies_of(len(normals), settings.per_normal, job.settings.pictures)
        shown = [contents[normals[index]] for index, _ in copies]
        kind = "simulated" if job.settings.pictures is None else "lines"
        drawn = [f"{kind}/{ids[index]}/{copy:03d}" for index, copy in copies]
        with create_drawn(job, "simulated", drawn, shown, frame, textures) as file:
            for index, places in groupby(range(len(copies)), key=lambda place: copies[place][0]):
                row = normals[index]
                normal = cropped(images["images"][row], contents[row])
                inside = cropped(object_mask(foreground["maps"][index], frame), contents[row])
                for place in places:
                    image, mask = simulate_in_window(
                        normal,
                        drawing_generator(str(manifest["sha256"][row]), copies[place][1]),
                        window_px=job.settings.size_px,
                        minimum_area=settings.minimum_area,
                        foreground=inside,
                        textures=textures,
                        shares=defect_shares(settings),
                    )
                    write_drawn(file, place, image, mask)
            write_names(file, [SIMULATED_TYPE] * len(drawn), [ids[index] for index, _ in copies])


def copies_of(normals: int, per_normal: int, pictures: int | None) -> list[tuple[int, int]]:
    """Which normal pictures are drawn on, as (index, copy): all of them so often, or as many times
    as makes so many `pictures`, in an order of their own.
    """
    if pictures is None:
        return [(index, copy) for index in range(normals) for copy in range(per_normal)]
    if not normals:
        return []
    order = np.random.default_rng(0).permutation(normals).tolist()
    return [(order[place % normals], place // normals) for place in range(pictures)]


@contextmanager
def create_drawn(
    job: Job[SimulateDefects] | Job[ExpandDefects],
    name: str,
    ids: Sequence[str],
    contents: Sequence[Shape],
    frame: Shape,
    textures: Sequence[Path] | None,
) -> Iterator[ArrayFile]:
    """The artifact of drawn images and their labels, open for writing. Textures, too, determine it:
    where they lie is a setting, and what they are is stamped here.
    """
    drawn_from = {} if textures is None else {"textures": digest([*map(file_sha256, textures)])}
    stamp = {**job.stamp, "inputs": {**job.stamp["inputs"], **drawn_from}}
    specs = {
        "images": ArraySpec((*frame, 3), "uint8"),
        "labels": ArraySpec(frame, "float16"),
    }
    with create_arrays(job.outputs[name], image_ids=ids, specs=specs, stamp=stamp) as file:
        yield file
        write_contents(file, contents, frame)


def write_drawn(file: ArrayFile, place: int, image: np.ndarray, label: np.ndarray) -> None:
    """Write a drawn picture and its label, each of its own size, into their frame."""
    frame = file["labels"].shape[1:]
    file["images"][place], file["labels"][place] = padded(image, frame), in_frame(label, frame)


def open_textures(folder: str | None) -> list[Path] | None:
    """The pictures below a folder of textures (such as DTD's), sorted; None without a folder. What
    cannot be reached is named on the standard error.
    """
    if folder is None:
        return None
    walked = walk(Path(folder))
    for line in passed_over(Path(folder), walked.lost):
        print(line, file=sys.stderr)
    found = [path for path in walked.files if path.suffix.lower() in IMAGE_SUFFIXES]
    if not found:
        raise InputError(
            f"simulation.texture_folder: no picture below {folder}; give another folder or null"
        )
    return found


def object_mask(
    foreground: Float[np.ndarray, "height width"], shape: Shape
) -> Bool[np.ndarray, "picture_height picture_width"]:
    """Where the object is more likely than not, at a picture's size, of a map of any."""
    return cv2.resize(foreground.astype(np.float32), shape[::-1]) > 0.5


def defect_shares(settings: Simulation) -> dict[str, float]:
    """Weights of the kinds of defect that have one, by name."""
    weights = {kind: getattr(settings, kind) for kind in (*SHAPE_SHARES, *LIFELIKE)}
    return {kind: weight for kind, weight in weights.items() if weight}


if __name__ == "__main__":
    run(main)
