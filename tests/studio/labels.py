"""Finished labels of a project's photographs, as the annotation page writes them."""

from pathlib import Path

import numpy as np

from adclick.annotate.store import run_lengths, save_label
from adclick.project.writing import Project


def write_label(project: Project, key: str, mask: np.ndarray, kind: str, source: Path) -> None:
    row, column = (int(values[len(values) // 2]) for values in np.nonzero(mask))
    click = {"row": row, "column": column, "positive": True}
    defect = {"id": 1, "type": kind, "threshold": 0.5, "clicks": [click], "mask": run_lengths(mask)}
    facts = {
        "image": source.name,
        "path": str(source),
        "state": "done",
        "annotator": "anna",
        "size": list(mask.shape),
        "objects": [defect],
        "clicks": 1,
        "strokes": 0,
        "seconds": 3.0,
    }
    save_label(project.labels, key, facts, mask)
