"""A project that is learnt in minutes: the sizes of the demo or of the micro run, in place of those
of `write_project`.
"""

from collections.abc import Sequence
from pathlib import Path

import yaml
from snakemake.utils import update_config

from adclick.project.writing import OVERLAY

ROOT = Path(__file__).parents[2]
DEMO = ("config/demo.yaml",)
MICRO = (*DEMO, "tests/config/micro.yaml")
# All that sets sizes and lengths; what is run is as in the project.
SIZES = (
    "size_px",
    "retrieval",
    "matching_choice",
    "foreground",
    "features",
    "simulation",
    "expansion",
    "residual_input",
    "network",
    "training",
    "adclick_training",
    "adclick_seg_training",
    "clicks",
    "detection",
    "feature_network",
    "feature_training",
)


def shrink(folder: Path, overlays: Sequence[str] = MICRO) -> None:
    """Give a project's settings the sizes of these overlays: a seeded backbone, fewer steps."""
    path = folder / OVERLAY
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name in overlays:
        given = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
        update_config(values, {key: given[key] for key in SIZES if key in given})
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
