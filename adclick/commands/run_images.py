"""The defective pictures of a run's category as files, for labelling."""

from pathlib import Path

from adclick.artifacts import image_ids, open_arrays, read_csv, read_stamp, write_text
from adclick.data.images import write_png
from adclick.errors import InputError
from adclick.provenance import canonical_json


def write_run_images(category: Path, folder: Path) -> Path:
    """The category's defects (not its normal images) below `folder`, by the manifest's image ids.

    At the network's size, as `make_manifest` keeps them, so that labels fit the run's images. Done
    once: a folder with the same stamp is left as it is. InputError when the run has no manifest.
    """
    manifest_path = category / "make_manifest/manifest.csv"
    images_path = category / "make_manifest/images.h5"
    if not images_path.is_file():
        raise InputError(f"{category}: no category of a finished run; run the workflow first")
    stamp, written = canonical_json(read_stamp(images_path) or {}), folder / ".stamp.json"
    if written.is_file() and written.read_text(encoding="utf-8") == stamp:
        return folder
    roles = dict(
        zip(*(read_csv(manifest_path)[name] for name in ("image_id", "role")), strict=True)
    )
    with open_arrays(images_path) as file:
        for row, image_id in enumerate(image_ids(file)):
            if roles[image_id].endswith("defect"):
                write_png(folder / f"{image_id}.png", file["images"][row])
    write_text(written, stamp)
    return folder
