"""Write finished labels as other software reads them: `adclick export-labels`."""

from pathlib import Path

from adclick.annotate.export import FORMATS, finished_labels
from adclick.annotate.store import find_pictures, saved_labels
from adclick.commands.writing import new_folder
from adclick.errors import InputError


def main(labels: Path, *, images: Path, output: Path, form: str) -> None:
    """Write them whole into a new folder, or nothing. InputError for a mistake, named."""
    if form not in FORMATS:
        raise InputError(f"--format {form}: choose from {', '.join(FORMATS)}")
    if output.exists():
        raise InputError(f"{output}: exists already; give a new folder, or remove it")
    pictures = {picture.key: picture for picture in find_pictures(images)}
    finished = finished_labels(labels, saved_labels(labels), pictures)
    with new_folder(output) as folder:
        FORMATS[form](finished, folder)
    defective = sum(bool(label.mask.any()) for label in finished)
    print(f"{output}: {len(finished)} images ({defective} with defects) as {form}")
