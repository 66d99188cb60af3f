"""How a detector's answer joins the training-free map."""

import numpy as np
import pytest

from adclick.networks.detector_inputs import joined_map
from adclick.residuals.calibration import Calibration, base_logits

CALIBRATION = Calibration(middle=1.0, slope=2.0, offset=-1.0)


def test_a_joined_map_is_the_sigmoid_of_both_logits() -> None:
    free = np.array([[0.5, 1.0, 3.0]], np.float32)
    added = np.array([[1.0, -2.0, 0.5]], np.float32)
    logits = base_logits(free, CALIBRATION) + 0.5 * added
    found = joined_map(free, added, CALIBRATION, 0.5)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-logits)), rtol=1e-5)
    assert found.dtype == np.float32


@pytest.mark.parametrize("highest", [10.0, 25.0, 60.0])
def test_large_logits_are_still_told_apart(highest: float) -> None:
    """A plain sigmoid in float32 is 1 from 17 on: the most defective pictures would be equal."""
    added = np.linspace(-highest, highest, 101, dtype=np.float32)[None]
    found = joined_map(np.ones((1, 101), np.float32), added, CALIBRATION, 1.0)
    assert (np.diff(found[0]) > 0).all()
    assert 0 < found.min() < found.max() < 1
