"""Rows of the manifest by role, for every stage that reads them."""

from pathlib import Path

import numpy as np

from adclick.artifacts import read_csv


def train_normal_rows(manifest: Path) -> list[int]:
    """Rows of the manifest that are normal training images."""
    return [int(row) for row in np.flatnonzero(read_csv(manifest)["role"] == "train_normal")]
