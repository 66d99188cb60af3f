import math

import cv2
import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from adclick.clicks.click import Click, click_disks, scale_clicks
from adclick.clicks.deepest import next_click, next_jittered_click
from adclick.clicks.sampling import sample_deepest_click, sample_first_clicks, sample_next_click
from tests.clicks.reference import exhaustive_click, squared_depths


def empty(height=12, width=15):
    return np.zeros((height, width), dtype=bool)


def box(top, left, height, width, shape=(12, 15)):
    mask = np.zeros(shape, dtype=bool)
    mask[top : top + height, left : left + width] = True
    return mask


def blobs(generator, shape=(20, 24)):
    """A random mask of soft-edged blobs, or of noise, now and then empty."""
    noise = generator.random(shape).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), float(generator.choice([0.1, 1.0, 2.0, 4.0])))
    return smooth > np.quantile(smooth, generator.choice([0.2, 0.5, 0.9, 1.0]))


def as_tuple(click):
    return (click.row, click.column, click.positive)


def messy_case(seed):
    """Truth, prediction and taken pixels; soft shapes and noise, small images and larger ones."""
    generator = np.random.default_rng(seed)
    shape = ((20, 24), (44, 38))[seed % 2]
    truth, prediction = blobs(generator, shape), blobs(generator, shape)
    return truth, prediction, generator.random(shape) < generator.choice([0.0, 0.1, 0.6])


@pytest.mark.parametrize("block", range(5))
def test_next_click_is_the_one_that_an_exhaustive_search_finds(block):
    found = 0
    for seed in range(100 * block, 100 * block + 100):
        truth, prediction, taken = messy_case(seed)
        expected = exhaustive_click(truth, prediction, taken)
        if expected is None:
            with pytest.raises(ValueError, match="no untaken error pixel"):
                next_click(truth, prediction, taken)
        else:
            assert as_tuple(next_click(truth, prediction, taken)) == expected
            found += 1
    assert found > 50


def test_depth_is_exact_in_a_large_region():
    truth = np.zeros((1300, 1300), dtype=bool)
    cv2.circle(truth.view(np.uint8), (650, 640), 600, 1, -1)
    depth = np.rint(distance_transform_edt(np.pad(truth, 1))[1:-1, 1:-1] ** 2)
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    nothing = np.zeros_like(truth)
    assert next_click(truth, nothing, nothing) == Click(int(row), int(column), True)


def test_the_first_click_is_the_middle_of_the_defect():
    assert next_click(box(2, 3, 5, 7), empty(), empty()) == Click(4, 5, True)


def test_the_image_border_is_an_edge():
    # Were the border not an edge, the deepest pixel would lie in the corner.
    assert next_click(box(0, 0, 5, 5), empty(), empty()) == Click(2, 2, True)


def test_ties_go_to_the_negative_click_and_to_the_first_pixel():
    truth, prediction = box(1, 1, 3, 3), box(1, 9, 3, 3)
    assert next_click(truth, prediction, empty()) == Click(2, 10, False)
    both = box(1, 1, 3, 3) | box(1, 9, 3, 3) | box(7, 1, 3, 3)
    assert next_click(both, empty(), empty()) == Click(2, 2, True)


def test_depth_decides_and_not_area():
    truth, prediction = box(0, 0, 2, 15), box(6, 6, 3, 3)
    assert next_click(truth, prediction, empty()) == Click(7, 7, False)


def test_depth_is_euclidean_also_where_the_other_kind_is_deeper_by_rows_and_columns():
    truth, prediction = box(1, 1, 9, 9, (12, 20)), box(2, 12, 7, 7, (12, 20))
    truth[2:9:6, 2:9:6] = False  # four holes, 3 rows and 3 columns from the middle
    assert next_click(truth, prediction, empty(12, 20)) == Click(5, 5, True)


def test_a_taken_pixel_is_never_clicked_again_but_still_counts_as_error():
    truth = box(2, 3, 5, 5)
    taken = empty()
    taken[4, 5] = True
    assert next_click(truth, empty(), taken) == Click(3, 4, True)


def test_clicking_until_nothing_is_left_takes_every_error_pixel_once():
    truth, prediction, taken = box(1, 1, 3, 4), box(2, 3, 4, 5), empty()
    for _ in range(np.count_nonzero(truth ^ prediction)):
        click = next_click(truth, prediction, taken)
        assert truth[click.row, click.column] == click.positive
        assert not taken[click.row, click.column]
        taken[click.row, click.column] = True
    assert np.array_equal(taken, truth ^ prediction)
    with pytest.raises(ValueError, match="no untaken error pixel"):
        next_click(truth, prediction, taken)


def test_transposing_everything_keeps_the_depth_of_the_click():
    for seed in range(20):
        generator = np.random.default_rng(seed)
        truth, prediction = blobs(generator), blobs(generator)
        if np.array_equal(truth, prediction):
            continue
        click = next_click(truth, prediction, np.zeros_like(truth))
        turned = next_click(truth.T, prediction.T, np.zeros_like(truth.T))
        region = truth & ~prediction if click.positive else prediction & ~truth
        depth = squared_depths(region)
        assert turned.positive == click.positive
        assert depth[turned.column, turned.row] == depth[click.row, click.column]


def test_a_jittered_click_stays_in_the_deeper_half_of_the_same_region():
    truth = box(1, 1, 9, 9) & ~box(4, 4, 1, 1)
    prediction = box(2, 11, 3, 3)
    taken = box(1, 1, 3, 9)
    depth = np.where(taken, 0, squared_depths(truth))
    allowed = {tuple(place) for place in np.argwhere(2 * np.sqrt(depth) > np.sqrt(depth.max()))}
    generator = np.random.default_rng(0)
    clicks = [next_jittered_click(truth, prediction, taken, generator) for _ in range(1000)]
    assert {(click.row, click.column) for click in clicks} == allowed
    assert all(click.positive for click in clicks)
    with pytest.raises(ValueError, match="no untaken error pixel"):
        next_jittered_click(truth, truth, empty(), generator)


def test_jittered_clicks_reach_all_of_the_deeper_half_and_nothing_else():
    for seed in range(0, 12):
        truth, prediction, taken = messy_case(seed)
        row, column, positive = exhaustive_click(truth, prediction, taken)
        region = truth & ~prediction if positive else prediction & ~truth
        depth = np.where(taken, 0, squared_depths(region))
        allowed = {(*place, positive) for place in np.argwhere(4 * depth > depth.max()).tolist()}
        generator = np.random.default_rng(0)
        draws = 15 * len(allowed) if len(allowed) < 20 else 50
        drawn = {
            as_tuple(next_jittered_click(truth, prediction, taken, generator)) for _ in range(draws)
        }
        assert drawn == allowed if draws > 50 else drawn <= allowed


def test_a_sampled_click_is_uniform_over_the_deeper_half():
    truth = box(1, 1, 7, 7)
    # Depths 1 2 3 4 from the rim to the middle: more than half of 4 are the inner 3 x 3 pixels.
    generator = np.random.default_rng(1)
    counts = np.zeros(truth.shape)
    for _ in range(1800):
        click = sample_next_click(truth, empty(), generator)
        counts[click.row, click.column] += click.positive
    assert np.array_equal(counts > 0, box(3, 3, 3, 3))
    assert counts.max() < 1.4 * 200 and counts[counts > 0].min() > 0.6 * 200


def test_a_sampled_click_answers_the_deeper_error():
    generator = np.random.default_rng(0)
    assert not sample_next_click(box(0, 0, 2, 2), box(5, 5, 4, 4), generator).positive
    assert sample_next_click(box(0, 0, 4, 4), box(5, 5, 2, 2), generator).positive
    assert not sample_next_click(box(0, 0, 3, 3), box(5, 5, 3, 3), generator).positive


def test_without_an_error_nothing_is_sampled():
    generator = np.random.default_rng(0)
    truth = box(1, 1, 5, 5)
    assert sample_next_click(truth, truth, generator) is None
    assert sample_next_click(truth, empty(), generator, ignore=truth) is None


def test_ignored_pixels_are_no_errors_and_are_never_sampled():
    generator = np.random.default_rng(0)
    # Of the truth columns 6 to 9 are left, and outside it all but three rows.
    truth, ignore = box(1, 1, 9, 9), box(1, 1, 9, 5) | box(0, 10, 3, 5)
    for _ in range(200):
        click = sample_next_click(truth, empty(), generator, ignore=ignore)
        assert click.column in (7, 8)  # at depth 2
        first = sample_first_clicks(truth, generator, ignore=ignore)
        assert not any(ignore[click.row, click.column] for click in first)


def test_the_deepest_click_is_the_robot_users_first():
    truth = box(2, 3, 5, 7)
    assert sample_deepest_click(truth) == [next_click(truth, empty(), empty())]
    assert sample_deepest_click(empty()) == []


def drawn_counts(truth, draws=3000, **settings):
    generator = np.random.default_rng(5)
    clicks = [sample_first_clicks(truth, generator, **settings) for _ in range(draws)]
    positives = np.array([sum(click.positive for click in drawn) for drawn in clicks])
    return positives, np.array([len(drawn) for drawn in clicks]) - positives


def test_first_clicks_are_on_the_right_side_and_positives_come_first():
    truth = box(3, 3, 5, 6)
    generator = np.random.default_rng(0)
    for _ in range(100):
        clicks = sample_first_clicks(truth, generator)
        assert all(truth[click.row, click.column] == click.positive for click in clicks)
        assert [click.positive for click in clicks] == sorted(
            (click.positive for click in clicks), reverse=True
        )


def test_each_further_first_click_is_decay_times_as_likely():
    positives, negatives = drawn_counts(box(3, 3, 5, 6), maximum=3, decay=0.5)
    weights = np.array([4, 2, 1]) / 7
    assert np.bincount(positives, minlength=4)[1:] / 3000 == pytest.approx(weights, abs=0.03)
    weights = np.array([8, 4, 2, 1]) / 15
    assert np.bincount(negatives) / 3000 == pytest.approx(weights, abs=0.03)


def test_first_clicks_number_at_most_24_of_each_kind():
    positives, negatives = drawn_counts(box(3, 3, 5, 6), draws=500, decay=1.0)
    assert (positives.min(), positives.max()) == (1, 24)
    assert (negatives.min(), negatives.max()) == (0, 24)


def test_nine_of_ten_draws_keep_positives_three_pixels_inside():
    truth = box(5, 5, 30, 30, shape=(40, 40))
    core = box(8, 8, 24, 24, shape=(40, 40))
    generator = np.random.default_rng(0)
    outer = 0
    for _ in range(2000):
        click = sample_first_clicks(truth, generator, maximum=1)[0]
        outer += not core[click.row, click.column]
    # One draw in ten is from all of the truth, of which 36 % is not core.
    assert outer / 2000 == pytest.approx(0.1 * (1 - 24**2 / 30**2), abs=0.015)


def test_a_core_of_ten_pixels_or_fewer_is_not_used():
    # Eroded by 3 px, 9 x 9 pixels leave 3 x 3, which uniform draws hit once in nine times.
    generator = np.random.default_rng(0)
    drawn = [sample_first_clicks(box(1, 1, 9, 9), generator, maximum=1)[0] for _ in range(500)]
    hits = [click.row in (4, 5, 6) and click.column in (4, 5, 6) for click in drawn]
    assert np.mean(hits) == pytest.approx(1 / 9, abs=0.05)


def test_half_of_the_negatives_lie_on_the_border_around_the_truth():
    shape = (100, 100)
    truth = box(40, 40, 15, 15, shape=shape)  # a tenth of 15 px, rounded up: a border of 2 px
    near = box(38, 38, 19, 19, shape=shape)
    generator = np.random.default_rng(0)
    clicks = [click for _ in range(1000) for click in sample_first_clicks(truth, generator)]
    negatives = [click for click in clicks if not click.positive]
    share = np.mean([near[click.row, click.column] for click in negatives])
    area = np.count_nonzero(near & ~truth) / np.count_nonzero(~truth)
    assert share == pytest.approx(0.5 + 0.5 * area, abs=0.03)
    assert {click.row for click in negatives if near[click.row, click.column]} == set(range(38, 57))


def test_an_empty_truth_has_negative_clicks_only_and_sometimes_none():
    positives, negatives = drawn_counts(empty(), maximum=2, decay=0.5)
    assert not positives.any()
    assert np.bincount(negatives) / 3000 == pytest.approx(np.array([4, 2, 1]) / 7, abs=0.03)


def test_ignored_border_pixels_are_never_clicked():
    truth = box(4, 4, 4, 4)
    ignore = box(3, 3, 6, 6) & ~truth  # the whole border of 1 px
    generator = np.random.default_rng(0)
    drawn = [
        click for _ in range(200) for click in sample_first_clicks(truth, generator, ignore=ignore)
    ]
    assert not any(ignore[click.row, click.column] for click in drawn)


def test_clicks_without_a_place_are_skipped():
    generator = np.random.default_rng(0)
    everywhere = ~empty()
    for _ in range(20):
        assert all(click.positive for click in sample_first_clicks(everywhere, generator))
        assert sample_first_clicks(everywhere, generator, ignore=everywhere) == []


def test_equal_generators_draw_equal_clicks():
    truth = box(2, 2, 6, 8)
    one, other = np.random.default_rng(7), np.random.default_rng(7)
    assert sample_first_clicks(truth, one) == sample_first_clicks(truth, other)
    assert sample_next_click(truth, empty(), one) == sample_next_click(truth, empty(), other)


def test_a_disk_by_hand():
    disks = click_disks([Click(2, 2, True)], shape=(5, 6), radius_px=2.0)
    expected = [
        [0, 0, 1, 0, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 0, 1, 0, 0, 0],
    ]
    assert disks.dtype == np.float32
    assert np.array_equal(disks, [expected, np.zeros((5, 6))])


@pytest.mark.parametrize("radius_px", [0.0, 0.9, 1.5, 3.0, 5.0])
def test_disks_are_one_within_the_radius_of_the_nearest_click_of_their_kind(radius_px):
    generator = np.random.default_rng(2)
    clicks = [
        Click(int(generator.integers(0, 20)), int(generator.integers(0, 24)), bool(index % 2))
        for index in range(8)
    ]
    disks = click_disks(clicks, shape=(20, 24), radius_px=radius_px)
    for row in range(20):
        for column in range(24):
            for kind, positive in enumerate((True, False)):
                squared = min(
                    (click.row - row) ** 2 + (click.column - column) ** 2
                    for click in clicks
                    if click.positive == positive
                )
                assert disks[kind, row, column] == (squared <= radius_px**2)


def test_without_clicks_the_disks_are_empty():
    assert not click_disks([], shape=(4, 5)).any()


def test_clicks_are_scaled_to_the_pixel_that_holds_their_centre():
    clicks = [Click(0, 0, True), Click(7, 9, False), Click(4, 5, True)]
    smaller = scale_clicks(clicks, shape=(4, 5), original_shape=(8, 10))
    assert [as_tuple(click) for click in smaller] == [(0, 0, True), (3, 4, False), (2, 2, True)]
    larger = scale_clicks(clicks, shape=(24, 30), original_shape=(8, 10))
    assert [as_tuple(click) for click in larger] == [(1, 1, True), (22, 28, False), (13, 16, True)]
    back = scale_clicks(larger, shape=(8, 10), original_shape=(24, 30))
    assert back == clicks


def test_scaling_falls_where_the_written_out_formula_says():
    for original, length in [(7, 512), (900, 512), (512, 512), (3, 2)]:
        for position in range(original):
            scaled = scale_clicks(
                [Click(position, 0, True)], shape=(length, 1), original_shape=(original, 1)
            )
            assert scaled[0].row == math.floor((2 * position + 1) * length / (2 * original))
            assert 0 <= scaled[0].row < length


def test_disks_of_original_clicks_have_their_radius_in_network_pixels():
    disks = click_disks(
        [Click(200, 100, False)], shape=(64, 64), radius_px=3.0, original_shape=(640, 320)
    )
    expected = click_disks([Click(20, 20, False)], shape=(64, 64), radius_px=3.0)
    assert np.array_equal(disks, expected)


def test_clicks_outside_the_image_move_to_its_border():
    outside = click_disks([Click(-9, 99, True)], shape=(8, 8), radius_px=2.0)
    assert np.array_equal(outside, click_disks([Click(0, 7, True)], shape=(8, 8), radius_px=2.0))
