import numpy as np

from adclick.residuals.maps import finish_map, training_free_map
from adclick.residuals.residual import residual_length

GENERATOR = np.random.default_rng(0)


def test_the_training_free_map_is_the_length_of_the_residual() -> None:
    residual = np.zeros((4, 4, 2), np.float16)
    residual[1, 2] = (3, 4)
    shown = training_free_map(
        residual_length(residual),
        np.ones((4, 4), np.float32),
        content=(4, 4),
        stride=1,
        smoothing_px=0.0,
        foreground_exponent=1.0,
    )
    assert shown[1, 2] == 5
    assert shown.sum() == 5


def test_small_half_precision_residuals_are_squared_in_single_precision() -> None:
    residual = np.full((2, 2, 1), 1e-4, np.float16)
    assert np.allclose(residual_length(residual), 1e-4, rtol=1e-3)


def test_the_background_of_an_object_counts_for_nothing() -> None:
    foreground = np.zeros((4, 4), np.float32)
    foreground[:, 2:] = 1
    shown = finish_map(
        np.ones((4, 4), np.float32), foreground, stride=1, smoothing_px=0.0, foreground_exponent=1.0
    )
    assert shown[:, :2].sum() == 0
    assert np.all(shown[:, 3] == 1)
    ignored = finish_map(
        np.ones((4, 4), np.float32), foreground, stride=1, smoothing_px=0.0, foreground_exponent=0.0
    )
    assert np.all(ignored == 1)


def test_smoothing_keeps_the_sum_away_from_the_border_and_lowers_the_peak() -> None:
    raw = np.zeros((32, 32), np.float32)
    raw[16, 16] = 1
    shown = finish_map(
        raw, np.ones((4, 4), np.float32), stride=8, smoothing_px=2.0, foreground_exponent=1.0
    )
    assert abs(shown.sum() - 1) < 1e-3
    assert 0.02 < shown.max() < 0.1
