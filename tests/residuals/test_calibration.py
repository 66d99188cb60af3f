import numpy as np
import pytest

from adclick.residuals.calibration import (
    DEFECTIVE_SHARE,
    LEAST_SLOPE,
    Calibration,
    base_logits,
    fit_calibration,
    mean_calibration,
)


def _maps(seed=0, factor=4.0):
    """Log-normal maps, `factor` times higher at the defect, which is a fourth of the picture."""
    generator = np.random.default_rng(seed)
    maps = [np.exp(0.5 * generator.standard_normal((40, 40))) for _ in range(3)]
    mask = np.zeros((40, 40), bool)
    mask[:20, :20] = True
    return [np.where(mask, factor * own, own) for own in maps], [mask] * 3


def test_slope_and_offset_are_those_of_two_log_normals():
    # Two normal distributions of log-scores, both of deviation s, means 0 and d: the log-ratio is
    # (d / s^2) x - d^2 / (2 s^2).
    found = fit_calibration(*_maps())
    distance = np.log(4)
    assert found.slope == pytest.approx(distance / 0.25, rel=0.1)
    prior = np.log(DEFECTIVE_SHARE / (1 - DEFECTIVE_SHARE))
    at_middle = found.slope * -np.log(found.middle) + found.offset - prior
    assert at_middle == pytest.approx(-(distance**2) / 0.5, rel=0.15)


def test_units_do_not_matter():
    maps, masks = _maps()
    ours = base_logits(maps[0], fit_calibration(maps, masks))
    scaled = [1000 * own for own in maps]
    assert np.allclose(base_logits(scaled[0], fit_calibration(scaled, masks)), ours, atol=1e-4)


@pytest.mark.parametrize("factor", [0.3, 1.0, 100.0])
def test_order_of_pixels_is_kept_even_where_defects_are_darker(factor):
    maps, masks = _maps(factor=factor)
    found = fit_calibration(maps, masks)
    assert found.slope >= LEAST_SLOPE
    order = np.argsort(maps[0], axis=None)
    assert (np.diff(base_logits(maps[0], found).ravel()[order]) >= 0).all()


def test_a_map_of_zeros_has_finite_logits():
    found = fit_calibration(*_maps())
    assert np.isfinite(base_logits(np.zeros((4, 4)), found)).all()


def test_needs_both_kinds_of_pixels():
    maps, _ = _maps()
    with pytest.raises(ValueError, match="defective and normal"):
        fit_calibration(maps, [np.zeros((40, 40), bool)] * 3)


def test_mean_calibration_gives_the_mean_logit():
    scores = np.array([[0.1, 2.0]])
    both = [Calibration(2.0, 1.0, -1.0), Calibration(2.0, 3.0, 0.5)]
    mean = base_logits(scores, mean_calibration(both))
    assert np.allclose(mean, np.mean([base_logits(scores, own) for own in both], axis=0))
    with pytest.raises(ValueError, match="middles"):
        mean_calibration([both[0], Calibration(1.0, 1.0, 0.0)])


def test_a_given_middle_is_kept_and_gives_the_same_logits():
    maps, masks = _maps()
    given = fit_calibration(maps, masks, middle=3.0)
    assert given.middle == 3.0
    free = base_logits(maps[0], fit_calibration(maps, masks))
    assert np.abs(base_logits(maps[0], given) - free).mean() < 0.05  # the tails' floor differs
