"""A project whose run takes a minute: the micro run's settings over those of `write_project`."""

from pathlib import Path

import yaml
from snakemake.utils import update_config

from adclick.project.writing import OVERLAY

ROOT = Path(__file__).parents[2]
# Of the micro run all that sets sizes and lengths; what is run is as in the project.
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
    "adclick_seg_training",
    "feature_network",
    "feature_training",
)


def shrink(folder: Path) -> None:
    """Make a project's settings those of the smallest run: seeded backbone, a few steps."""
    values = yaml.safe_load((folder / OVERLAY).read_text(encoding="utf-8"))
    for name in ("config/demo.yaml", "tests/config/micro.yaml"):
        given = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
        update_config(values, {key: given[key] for key in SIZES if key in given})
    (folder / OVERLAY).write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
