"""Colours and files of figures: equal input gives equal bytes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.figure import Figure

from adclick.run.artifacts import replacing, write_text
from adclick.run.provenance import canonical_json

ORANGE, SKY_BLUE, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILLION, PURPLE, BLACK = "#0072B2", "#D55E00", "#CC79A7", "#000000"
RESOLUTION_DPI = 150


def place_title(dataset: str, category: str, titles: Mapping[str, str]) -> str:
    """The printed names of a data set and its category, as the title of a figure."""
    return ", ".join(titles.get(name, name) for name in (dataset, category))


def save(figure: Figure, path: Path, *, stamp: Mapping[str, Any]) -> None:
    """Write the figure as PNG at 150 dpi, without date or version in it, and its stamp beside it.

    At once or not at all. Raises ValueError for another ending than `.png`.
    """
    if path.suffix != ".png":
        raise ValueError(f"{path}: figures are saved as .png")
    with replacing(path) as partial, style.context("default"):
        figure.savefig(partial, format="png", dpi=RESOLUTION_DPI, metadata={"Software": None})
    write_text(path.with_name(f"{path.name}.stamp.json"), canonical_json(stamp) + "\n")
