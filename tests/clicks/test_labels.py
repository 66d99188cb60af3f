import numpy as np
import pytest

from adclick.clicks.click import Click
from adclick.clicks.labels import abandon, boxes, strengthen


def test_strengthening_by_hand():
    probability = np.full((3, 5), 0.4, dtype=np.float32)
    result = strengthen(probability, [Click(1, 1, True), Click(1, 4, False)], radius_px=1.2)
    expected = np.full((3, 5), 0.4, dtype=np.float32)
    expected[[0, 1, 1, 1, 2], [1, 0, 1, 2, 1]] = 1
    expected[[0, 1, 1, 2], [4, 3, 4, 4]] = 0
    assert np.array_equal(result, expected)
    assert result.dtype == np.float32


def test_a_pixel_exactly_the_radius_away_is_left_alone():
    row = strengthen(np.full((1, 9), 0.3), [Click(0, 0, True)], radius_px=5.0)
    assert row.tolist() == [[1, 1, 1, 1, 1, 0.3, 0.3, 0.3, 0.3]]
    # 3-4-5: also at the radius, though at neither axis's.
    assert strengthen(np.full((5, 4), 0.3), [Click(0, 0, True)], radius_px=5.0)[4, 3] == 0.3


@pytest.mark.parametrize("clicks", [[True, False], [False, True]])
def test_the_positive_click_wins_an_overlap_in_any_order(clicks):
    places = [Click(0, 3 if positive else 5, positive) for positive in clicks]
    row = strengthen(np.full((1, 9), 0.5), places, radius_px=2.0)
    assert row.tolist() == [[0.5, 0.5, 1, 1, 1, 0, 0, 0.5, 0.5]]


def test_strengthening_is_that_of_the_written_out_equation():
    generator = np.random.default_rng(0)
    probability = generator.random((14, 17))
    clicks = [
        Click(int(generator.integers(14)), int(generator.integers(17)), bool(index % 2))
        for index in range(5)
    ]

    def nearest(row, column, positive):
        return min(
            np.hypot(click.row - row, click.column - column)
            for click in clicks
            if click.positive == positive
        )

    result = strengthen(probability, clicks, radius_px=3.5)
    for row in range(14):
        for column in range(17):
            if nearest(row, column, True) < 3.5:
                expected = 1.0
            elif nearest(row, column, False) < 3.5:
                expected = 0.0
            else:
                expected = probability[row, column]
            assert result[row, column] == expected


def test_strengthening_twice_is_strengthening_once_and_leaves_the_input_alone():
    probability = np.random.default_rng(1).random((10, 10))
    kept = probability.copy()
    clicks = [Click(2, 2, True), Click(7, 7, False)]
    once = strengthen(probability, clicks, radius_px=3.0)
    assert np.array_equal(strengthen(once, clicks, radius_px=3.0), once)
    assert np.array_equal(probability, kept)
    assert np.array_equal(strengthen(probability, []), probability)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("delta", [0.0, 0.03, 0.07, 0.1, 0.25, np.float64(0.1)])
def test_the_bounds_are_abandoned_and_the_next_numbers_are_not(dtype, delta):
    upper, lower = dtype(0.5 + delta), dtype(0.5 - delta)
    probability = np.array(
        [[upper, np.nextafter(upper, dtype(1)), lower, np.nextafter(lower, dtype(0)), 0.5, 0, 1]],
        dtype=dtype,
    )
    labels = abandon(probability, delta)
    assert labels.tolist() == [[-1, 1, -1, 0, -1, 0, 1]]
    assert labels.dtype == np.int8


def test_a_stored_six_tenths_is_not_above_half_plus_a_tenth():
    # float32(0.6) is larger than the double 0.6.
    assert abandon(np.array([[0.6, 0.4]], dtype=np.float32), 0.1).tolist() == [[-1, -1]]


def test_with_the_largest_delta_everything_is_abandoned():
    assert abandon(np.array([[0.0, 0.3, 1.0]]), 0.5).tolist() == [[-1, -1, -1]]


def test_a_larger_delta_only_abandons_more():
    probability = np.random.default_rng(2).random((20, 20))
    smaller, larger = abandon(probability, 0.02), abandon(probability, 0.09)
    assert (smaller == -1).sum() < (larger == -1).sum()
    assert np.array_equal(larger[larger != -1], smaller[larger != -1])


def test_swapping_the_sides_swaps_the_labels():
    probability = np.random.default_rng(3).integers(0, 257, size=(16, 16)) / 256
    labels = abandon(probability, 0.0625)
    mirrored = abandon(1 - probability, 0.0625)
    assert np.array_equal(mirrored, np.where(labels < 0, labels, 1 - labels))


@pytest.mark.parametrize("delta", [-0.01, 0.51, float("nan")])
def test_a_delta_outside_its_range_is_refused(delta):
    with pytest.raises(ValueError, match="delta"):
        abandon(np.zeros((2, 2)), delta)


def test_a_nan_is_not_silently_abandoned():
    with pytest.raises(ValueError, match="NaN"):
        abandon(np.array([[0.5, np.nan]]), 0.1)


def test_boxes_of_pieces_by_hand():
    truth = np.zeros((6, 8), bool)
    truth[[0, 1, 2], [1, 2, 1]] = True  # corners connect
    truth[4, 5] = truth[5, 6] = truth[5, 7] = True
    expected = np.zeros((6, 8), bool)
    expected[0:3, 1:3] = True
    expected[4:6, 5:8] = True
    assert np.array_equal(boxes(truth), expected)
    assert not boxes(np.zeros((3, 3), bool)).any()


def test_a_box_holds_its_piece_and_is_its_own_box():
    truth = np.random.default_rng(4).random((20, 20)) > 0.93
    drawn = boxes(truth)
    assert np.all(drawn[truth])
    # Boxes that touch become one piece: only then does a second box grow.
    single = np.zeros((20, 20), bool)
    single[3:9, 4:7] = truth[3:9, 4:7]
    single[3, 4] = single[8, 6] = True
    single[3:9, 5] = True
    assert np.array_equal(boxes(boxes(single)), boxes(single))
