"""The defective pictures of a run's category as files, for labelling."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from adclick.annotate.store import Picture, picture_of
from adclick.data.images import list_pictures, write_png
from adclick.run.artifacts import image_ids, open_arrays, read_csv, read_stamp, write_text
from adclick.run.errors import InputError
from adclick.run.folders import ends_in
from adclick.run.provenance import canonical_json

IMAGES = "make_manifest/images.h5"
TRAINED_ON = ("train_defect", "spare_defect")


def write_run_images(category: Path, folder: Path) -> Path:
    """The category's defects that labels may be trained on, below `folder`, by their image ids: not
    those it is scored on, nor its normal images; all defects where none is for training.

    At the network's size, as `make_manifest` keeps them, so that labels fit the run's images. Done
    once: a folder with the same stamp is left as it is; else pictures that are no longer wanted go.
    InputError when the run has no manifest.
    """
    wanted = _wanted(category)
    images_path = category / IMAGES
    stamp = canonical_json([list(wanted), read_stamp(images_path)])
    written = folder / ".stamp.json"
    if written.is_file() and written.read_text(encoding="utf-8") == stamp:
        return folder
    with open_arrays(images_path) as file:
        for row, image_id in enumerate(image_ids(file)):
            path = folder / f"{image_id}.png"
            if image_id in wanted:
                write_png(path, file["images"][row])
            else:
                path.unlink(missing_ok=True)
    write_text(written, stamp)
    return folder


def find_run_pictures(category: Path, folder: Path) -> list[Picture]:
    """The same defects as the files that the run was made from, at their own size; `folder` is one
    above them, such as the data set's.

    Keys are the image ids here, too: labels may be continued in either way. InputError when one of
    the files is not below `folder`, or is there twice.
    """
    wanted = _wanted(category)
    # Links keep their names: a run knows its files by the names that it found them under.
    files = list_pictures(Path(os.path.normpath(folder.absolute())))
    found: list[Picture] = []
    for image_id, (path, kind) in wanted.items():
        fitting = [file for file in files if ends_in(str(file), path)]
        if len(fitting) != 1:
            raise InputError(
                f"{folder}: {path} of the run is {'there twice' if fitting else 'not below it'};"
                " give the folder of the data set"
            )
        found.append(replace(picture_of(image_id, fitting[0]), source=path, kind=kind))
    return found


def find_manifest_pictures(category: Path, root: Path) -> list[Picture]:
    """The same defects as the files that the manifest names: below the data set's folder `root`, or
    anywhere where it has whole paths. InputError when the run has no manifest.
    """
    return [
        replace(picture_of(image_id, root / one.path), source=one.path, kind=one.kind)
        for image_id, one in _wanted(category).items()
    ]


def recorded_paths(labels: Path) -> dict[str, str]:
    """The files of a run's images by their ids, for labels that lie where the tool keeps them in a
    run (`annotate/labels` of a category); empty for others.
    """
    manifest = labels.absolute().parent.parent / "make_manifest/manifest.csv"
    if not manifest.is_file():
        return {}
    table = read_csv(manifest)
    return dict(zip(map(str, table["image_id"]), map(str, table["path"]), strict=True))


class _Wanted(NamedTuple):
    """An image to label: its file, as the manifest has it, and its kind of defect."""

    path: str
    kind: str


def _wanted(category: Path) -> Mapping[str, _Wanted]:
    """The images to label, by their ids."""
    if not (category / IMAGES).is_file():
        raise InputError(f"{category}: no category of a finished run; run the workflow first")
    table = read_csv(category / "make_manifest/manifest.csv")
    columns = [map(str, table[name]) for name in ("image_id", "path", "role", "defect_type")]
    defects = [row for row in zip(*columns, strict=True) if row[2].endswith("defect")]
    trained_on = [row for row in defects if row[2] in TRAINED_ON]
    return {image_id: _Wanted(path, kind) for image_id, path, _, kind in trained_on or defects}
