"""The defective pictures of a run's category as files, for labelling."""

from collections.abc import Sequence
from pathlib import Path

from adclick.artifacts import image_ids, open_arrays, read_csv, read_stamp, write_text
from adclick.data.images import write_png
from adclick.errors import InputError
from adclick.provenance import canonical_json

TRAINED_ON = ("train_defect", "spare_defect")


def write_run_images(category: Path, folder: Path) -> Path:
    """The category's defects that labels may be trained on, below `folder`, by their image ids: not
    those it is scored on, nor its normal images; all defects where none is for training.

    At the network's size, as `make_manifest` keeps them, so that labels fit the run's images. Done
    once: a folder with the same stamp is left as it is; else pictures that are no longer wanted go.
    InputError when the run has no manifest.
    """
    images_path = category / "make_manifest/images.h5"
    if not images_path.is_file():
        raise InputError(f"{category}: no category of a finished run; run the workflow first")
    wanted = _wanted(category / "make_manifest/manifest.csv")
    stamp = canonical_json([wanted, read_stamp(images_path)])
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


def _wanted(manifest: Path) -> Sequence[str]:
    table = read_csv(manifest)
    roles = list(zip(map(str, table["image_id"]), map(str, table["role"]), strict=True))
    trained_on = [image_id for image_id, role in roles if role in TRAINED_ON]
    return trained_on or [image_id for image_id, role in roles if role.endswith("defect")]
