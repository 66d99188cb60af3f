"""One row a picture of a category, and its pixels and masks at the network's size, read once."""

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pandas as pd

from adclick.data.geometry import Shape, frame_of, in_frame, padded, write_contents
from adclick.data.manifest import (
    LoadedRow,
    build_manifest,
    camera_bits,
    choose_training_defects,
    load_rows,
    read_split,
    repeated_pictures,
)
from adclick.data.native_masks import write_native_masks
from adclick.data.reading import GOOD, VALIDATION, Row, problems_error
from adclick.run.artifacts import (
    ArraySpec,
    create_arrays,
    read_json,
    set_text,
    write_csv,
    write_json,
    write_names,
)
from adclick.run.errors import InputError
from adclick.run.folders import Walk, passed_over, walk
from adclick.run.job import Job, parse_job, run, with_training
from adclick.run.kinds import load_kind
from adclick.run.plan.data import MakeManifest
from adclick.run.provenance import digest
from adclick.run.settings.data import LAYOUTS, PictureUse, square

COMMAND = "adclick.commands.make_manifest"
LARGE_BYTES = 2**22  # of a picture that waits in a file until all are loaded


def main(argv: Sequence[str] | None = None) -> None:
    """Write the manifest, `images` uint8 [image height width 3], and `masks` uint8 [defect height
    width].
    """
    job = parse_job(
        COMMAND,
        MakeManifest,
        argv,
        doc=__doc__,
        optional=["split", "drawn"],
        outputs=["manifest", "images", "masks", "record"],
        texts=["files", "duplicates"],
        data_root=True,
    )
    settings = job.settings
    root = _root(job)
    defects, normals = _split(job)
    reader = load_kind(LAYOUTS, settings.layout)
    rows = reader.read_rows(root, settings.category, training_normals=normals or ())
    for line in _passed_over(root, settings.category, rows):
        print(line, file=sys.stderr)
    use = _picture_use(settings, rows, root)
    geometry = settings.size or square(settings.size_px)
    found = load_rows(
        rows,
        geometry,
        root=root,
        use=use,
        empty_masks=settings.empty_masks,
        mask_values=settings.mask_values,
    )
    # The number of rows is known only after empty masks are seen, so pixels are collected first.
    place = job.outputs["images"].parent
    place.mkdir(parents=True, exist_ok=True)
    loaded = [_put_aside(one, place) for one in found]
    _write(job, loaded, use, defects, normals)


def _write(
    job: Job[MakeManifest],
    loaded: Sequence[LoadedRow],
    use: PictureUse,
    defects: Collection[str] | None,
    normals: Collection[str] | None,
) -> None:
    """Write all of it; every picture is loaded."""
    settings, root = job.settings, _root(job)
    geometry = settings.size or square(settings.size_px)
    entries = [one.entry for one in loaded]
    if defects is None:
        defects = choose_training_defects(
            [entry.row for entry in entries],
            settings.training_defects,
            order="sorted" if settings.split == "sorted" else "drawn",
        )
    manifest = build_manifest(entries, training_defects=defects, training_normals=normals)
    _check_roles(manifest, root, settings.category)
    repeated = _repeated(manifest, f"{root}, category {settings.category}", job.texts["duplicates"])
    held_out = manifest["role"].str.startswith("test") | (manifest["split"] == VALIDATION)
    trained = [int(row) for row in np.flatnonzero(~held_out)]
    seen = _of_data(job.stamp, manifest.take(trained))
    stamp = with_training(_of_data(job.stamp, manifest), seen)
    ids = [entry.row.image_id for entry in entries]
    contents = [(one.image.shape[0], one.image.shape[1]) for one in loaded]
    frame = frame_of(contents, settings.stride, geometry)
    specs = {"images": ArraySpec((*frame, 3), "uint8")}
    with create_arrays(job.outputs["images"], image_ids=ids, specs=specs, stamp=stamp) as file:
        set_text(file, "use", use.model_dump_json())
        for index, one in enumerate(loaded):
            file["images"][index] = padded(one.image, frame)
        write_contents(file, contents, frame)
        write_names(file, [entry.row.defect_type for entry in entries], ids)
    _write_masks(job.outputs["masks"], loaded, frame, stamp)
    write_csv(job.outputs["manifest"], manifest, stamp=stamp)
    record = {"files": job.texts["files"], "warnings": repeated}
    write_json(job.outputs["record"], record, stamp=stamp)


def _put_aside(one: LoadedRow, folder: Path) -> LoadedRow:
    """A row whose large pictures lie on a folder's disk until they are looked at."""
    large = {
        name: _in_file(array, folder)
        for name, array in vars(one).items()
        if isinstance(array, np.ndarray) and array.nbytes > LARGE_BYTES
    }
    return replace(one, **large)


def _in_file(array: np.ndarray, folder: Path) -> np.ndarray:
    """The array in a file without a name, which goes with it, however the job ends."""
    with TemporaryFile(dir=folder) as file:
        file.write(np.ascontiguousarray(array).data)
        file.flush()
        return np.memmap(file, array.dtype, "r", shape=array.shape)


def _passed_over(root: Path, category: str, rows: Sequence[Row]) -> Iterator[str]:
    """What lies in a category's own folder and is no row's picture or mask, counted and named."""
    found = walk(root / category) if (root / category).is_dir() else Walk()
    read = {root / path for row in rows for path in (row.path, row.mask_path) if path is not None}
    holding = {path.parent for path in read}
    lost = {
        kind: [path for path in paths if path not in holding] for kind, paths in found.lost.items()
    }
    others = [path for path in found.files if path not in read]
    yield from passed_over(root, {"not of its layout": others, **lost})


def _of_data(stamp: Mapping[str, Any], rows: pd.DataFrame) -> dict[str, Any]:
    return {**stamp, "inputs": {**stamp["inputs"], "data": digest(rows.to_csv(index=False))}}


def _repeated(manifest: pd.DataFrame, place: str, duplicates: str) -> list[str]:
    """Warnings of pictures that are there twice; InputError where that is an error."""
    repeated = repeated_pictures(manifest)
    if not repeated:
        return []
    line = str(problems_error(place, repeated))
    if duplicates == "error":
        raise InputError(f"{line} (duplicates: warn would go on)")
    print(f"warning: {line}", file=sys.stderr)
    return [line]


def _picture_use(settings: MakeManifest, rows: Sequence[Row], root: Path) -> PictureUse:
    if settings.bits is not None:
        return PictureUse(bits=settings.bits, resize=settings.resize, size=settings.size)
    bits = camera_bits(root / row.path for row in rows)
    if bits is not None:
        print(
            f"{root}: 16-bit pictures are read as {bits} bits, which hold the largest value of"
            f" {settings.category}; set datasets.<name>.bits if the camera has others"
        )
    return PictureUse(bits=bits, resize=settings.resize, size=settings.size)


def _root(job: Job[MakeManifest]) -> Path:
    if "drawn" not in job.inputs:
        return job.data_root / job.settings.root
    record = job.inputs["drawn"]
    return record.parent / read_json(record)["folder"]


def _split(job: Job[MakeManifest]) -> tuple[Collection[str] | None, Collection[str] | None]:
    if "split" not in job.inputs:
        return None, None
    settings = job.settings
    split = read_split(job.inputs["split"], settings.category)
    if len(split.train_defects) != settings.training_defects:
        raise InputError(
            f"{job.inputs['split']}: {len(split.train_defects)} training defects of"
            f" {settings.category}, but training_defects is {settings.training_defects}; say the"
            " same in both"
        )
    return split.train_defects, split.train_normals


def _check_roles(manifest: pd.DataFrame, root: Path, category: str) -> None:
    """InputError without a normal training image, or without any defect to learn from or to score
    on.
    """
    roles, normal = set(manifest["role"]), manifest["defect_type"] == GOOD
    if "train_normal" not in roles:
        raise InputError(f"{root}: category {category} has no normal image for training")
    if roles.isdisjoint({"train_defect", "spare_defect", "test_defect"}):
        raise InputError(
            f"{root}: category {category} has no defective image; put some under train/<kind>, to"
            " label and learn from, or with masks under test/<kind>, to score on"
        )
    if "test_defect" not in roles and "test" in set(manifest.loc[~normal, "split"]):
        raise InputError(
            f"{root}: category {category} has no test defect left: all are for training"
            " (training_defects or the split's list)"
        )


def _write_masks(
    path: Path, loaded: Sequence[LoadedRow], frame: Shape, stamp: Mapping[str, Any]
) -> None:
    """True masks in the frame of their pictures; what is beyond a picture is no defect. Where
    pictures keep their shape, but are smaller than the photographs, the masks of these too.
    """
    masks = [(one.entry.row.image_id, one.mask) for one in loaded if one.mask is not None]
    specs = {"masks": ArraySpec(frame, "uint8")}
    with create_arrays(
        path, image_ids=[name for name, _ in masks], specs=specs, stamp=stamp
    ) as file:
        for index, (_, mask) in enumerate(masks):
            file["masks"][index] = in_frame(np.asarray(mask, np.uint8), frame)
        write_contents(file, [mask.shape for _, mask in masks], frame)
        natives = {one.entry.row.image_id: one.native for one in loaded}
        write_native_masks(file, [natives[name] for name, _ in masks])


if __name__ == "__main__":
    run(main)
