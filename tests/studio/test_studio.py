"""What the studio says of a project's labels and detector."""

import os
from pathlib import Path

import numpy as np
import pytest

from adclick.project.writing import Project
from adclick.run.artifacts import ArraySpec, create_arrays
from adclick.studio.studio import detector_is_stale
from tests.studio.labels import write_label

MASK = np.zeros((8, 8), bool)
MASK[2:4, 3:6] = True


def at(path: Path, seconds: int) -> None:
    os.utime(path, (1_000_000 + seconds, 1_000_000 + seconds))


def label(project: Project, number: int, seconds: int) -> Path:
    write_label(project, f"train/rust/{number}", MASK, "rust", Path("a.png"))
    path = project.labels / f"train/rust/{number}.json"
    at(path, seconds)
    return path


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Two labels (0 s) were collected (10 s), and the detector was learnt (90 s)."""
    made = Project(tmp_path, "washer", "human")
    for number in range(2):
        label(made, number, 0)
    collected = made.category / "collect_labels/labels.h5"
    specs = {"probabilities": ArraySpec((2, 2), "float16")}
    with create_arrays(collected, image_ids=["a", "b"], specs=specs, stamp={}) as file:
        file["probabilities"][:] = 0
    at(collected, 10)
    maps = made.category / "predict_maps/human/seed0/maps.h5"
    maps.parent.mkdir(parents=True)
    maps.touch()
    at(maps, 90)
    return made


def test_a_detector_is_of_the_labels_that_were_collected(project: Project) -> None:
    assert not detector_is_stale(project)
    label(project, 2, 50)  # saved while it was learnt: it has not seen it
    assert detector_is_stale(project)


def test_a_label_that_is_taken_back_makes_the_detector_old(project: Project) -> None:
    (project.labels / "train/rust/1.json").unlink()
    assert detector_is_stale(project)


def test_a_detector_that_is_being_learnt_is_not_yet_of_the_labels(project: Project) -> None:
    at(project.category / "collect_labels/labels.h5", 95)
    assert detector_is_stale(project)


def test_masks_are_no_labels(project: Project) -> None:
    label(project, 2, 50)
    assert not detector_is_stale(Project(project.folder, project.name, "masks"))
