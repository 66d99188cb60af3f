"""What `model.json` says: a model folder's files, sizes and settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from adclick.run.artifacts import read_json
from adclick.run.device import Precision
from adclick.run.errors import InputError
from adclick.run.provenance import digest
from adclick.run.settings.clicks import Edges, Zoom
from adclick.run.settings.data import EARLIER_USE, Geometry, PictureUse, square
from adclick.run.settings.networks import Sliding
from adclick.run.settings.section import Section, validation_line

FORMAT = 2
DESCRIPTION, WEIGHTS, BANK = "model.json", "weights.safetensors", "bank.h5"
WORDS, BACKBONE = "words.h5", "backbone.safetensors"


class BackboneUse(Section):
    """The frozen network, and how its maps become patch features; `seed` without a file.
    `precision` is the run's: on a GPU the normal pictures' features were computed in it.
    """

    name: str
    layers: tuple[int, ...]
    layer_dimensions: tuple[int, ...]
    dimension: int
    stride: int
    input_px: int | None
    origin: Literal["hub", "file", "seeded"]
    seed: int
    sha256: str | None
    precision: Precision = "float32"


class Comparison(Section):
    """How a picture is compared with normal ones: `retrieval`, `matchings`, `foreground`."""

    words: int
    blocks: int
    kept_blocks: int
    neighbours: int
    radius: float | None
    matched_neighbours: int | None
    foreground_neighbours: int


class ClickUse(Section):
    """The disks' radius that the network was trained with, in its own pixels, the threshold, and
    how answers are refined (None, as in folders of earlier versions: not at all).
    """

    radius_px: float
    threshold: float
    zoom: Zoom | None = None
    edges: Edges | None = None


class HeldOut(Section):
    """Normal pictures that nothing was trained on: of the `validation` split, or for want of those
    of the `test` split; and the highest value of each one's map, in rising order.
    """

    pictures: Literal["validation", "test"]
    scores: tuple[float, ...]


class MapUse(Section):
    """How a detector's maps are made (None: of the whole image) and finished.

    `threshold` is exceeded by a thousandth of the pixels of the normal training pictures: masks
    that a person goes on with start there. Whether a picture is defective is decided with
    `held_out` (None, as in folders of earlier versions: by nobody).
    """

    sliding: Sliding | None
    smoothing_px: float
    foreground_exponent: float
    threshold: float
    held_out: HeldOut | None = None


class Description(Section):
    """What `model.json` says."""

    format: Literal[2]
    kind: Literal["adclick", "adclick_seg", "feature_detector"]
    title: str
    types: tuple[str, ...]
    made_from: dict[str, Any]
    size_px: int
    pictures: PictureUse = EARLIER_USE
    backbone: BackboneUse
    comparison: Comparison
    clicks: ClickUse
    detection: MapUse | None
    normal_images: int
    parameters: int
    files: dict[str, str]
    stamp: dict[str, Any]

    @property
    def geometry(self) -> Geometry:
        """What size a picture gets for the networks."""
        return self.pictures.size or square(self.size_px)

    @property
    def window(self) -> int:
        """The side in patches of what the network sees at once."""
        return self.size_px // self.backbone.stride

    @property
    def identity(self) -> str:
        """A short name of exactly this model: labels say by which they were made."""
        return digest(self.stamp)


def read_description(folder: Path) -> Description:
    """What a folder's `model.json` says; InputError when it is no model folder of this version."""
    if not (folder / DESCRIPTION).is_file():
        raise InputError(
            f"{folder}: no model folder ({DESCRIPTION} is missing); make one with"
            " `adclick export-model`"
        )
    values = read_json(folder / DESCRIPTION)
    if values.get("format") != FORMAT:
        raise InputError(
            f"{folder}: a model folder of format {values.get('format')}, this version reads"
            f" {FORMAT}; export the model again"
        )
    try:
        return Description.model_validate(values)
    except ValidationError as error:
        raise InputError(validation_line(str(folder / DESCRIPTION), error)) from None


def part(folder: Path, name: str) -> Path:
    """A file of a model folder; InputError when it is missing."""
    if not (folder / name).is_file():
        raise InputError(f"{folder}: {name} is missing; export the model again")
    return folder / name


def description_json(described: Description) -> Mapping[str, Any]:
    """The content of `model.json` but for the stamp, which is written beside it."""
    return described.model_dump(mode="json", exclude={"stamp"})
