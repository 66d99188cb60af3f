import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from adclick.metrics import iou, mean_iou, number_of_clicks, pixel_metrics
from tests.reference.pro import region_overlap

LEVELS = [1, 2, 3, 10, 255, 10**6]


def random_case(seed, levels, images=5):
    """Maps of different shapes whose scores tie heavily when `levels` is small; image 1 is good."""
    generator = np.random.default_rng(seed)
    maps, masks = [], []
    for index in range(images):
        shape = tuple(generator.integers(4, 14, size=2))
        mask = generator.random(shape) < (0.0 if index == 1 else 0.2)
        mask[0, 0] = index != 1
        scores = np.floor(levels * np.clip(generator.random(shape) * 0.7 + 0.3 * mask, 0, 0.999999))
        maps.append((scores / levels).astype(np.float32))
        masks.append(mask)
    return maps, masks


def pooled(maps, masks):
    return np.concatenate([m.ravel() for m in masks]), np.concatenate([m.ravel() for m in maps])


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("seed", range(10))
def test_ap_and_auroc_are_those_of_scikit_learn(seed, levels):
    maps, masks = random_case(seed, levels)
    truth, scores = pooled(maps, masks)
    result = pixel_metrics(maps, masks)
    assert result.auroc == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert result.ap == pytest.approx(average_precision_score(truth, scores), abs=1e-12)
    labels = [mask.any() for mask in masks]
    expected = roc_auc_score(labels, [scores.max() for scores in maps])
    assert result.image_auroc == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
def test_pro_is_the_area_under_the_written_out_curve(levels, limit):
    for seed in range(3):
        maps, masks = random_case(seed, levels)
        result = pixel_metrics(maps, masks, pro_limit=limit)
        assert result.pro == pytest.approx(region_overlap(maps, masks, limit), abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_a_single_positive_pixel_is_enough(seed):
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, 6, size=(6, 7)).astype(np.float64)
    mask = np.zeros((6, 7), dtype=bool)
    mask[2, 3] = True
    result = pixel_metrics([scores], [mask])
    truth, flat = mask.ravel(), scores.ravel()
    assert result.auroc == pytest.approx(roc_auc_score(truth, flat), abs=1e-12)
    assert result.ap == pytest.approx(average_precision_score(truth, flat), abs=1e-12)
    assert result.pro == pytest.approx(region_overlap([scores], [mask], 0.3), abs=1e-9)


def test_a_binary_map_has_one_corner():
    mask = np.array([[True, True, False, False, False]])
    scores = np.array([[1.0, 0.0, 1.0, 0.0, 0.0]])
    result = pixel_metrics([scores], [mask], pro_limit=1.0)
    # Hit rate 1/2 at false positive rate 1/3, then to (1, 1).
    assert result.auroc == pytest.approx(1 / 2 * 1 / 2 * 1 / 3 + 2 / 3 * 3 / 4)
    assert result.pro == pytest.approx(result.auroc)
    assert result.ap == pytest.approx(1 / 2 * 1 / 2 + 1 / 2 * 2 / 5)


def test_pro_worked_by_hand():
    # Two defects, of one and of two pixels; ten normal pixels, each with its own score.
    mask = np.zeros((1, 13), dtype=bool)
    mask[0, [0, 4, 5]] = True
    scores = np.array([[9.5, 10, 9, 8, 7.5, 0.5, 7, 6, 5, 4, 3, 2, 1]])
    # Coverage: 0 up to 1 false positive of 10, then 1/2 up to 3, then 3/4 until the last.
    expected = ((0.3 - 0.1) * 1 / 2 + (0.4 - 0.3) * 3 / 4) / 0.4
    assert pixel_metrics([scores], [mask], pro_limit=0.4).pro == pytest.approx(expected, abs=1e-12)


def test_pro_is_interpolated_at_the_limit():
    # Four normal pixels share the defect's score: the only segment runs from (0, 0) to (1, 1).
    mask = np.array([[True, False, False, False, False]])
    scores = np.zeros((1, 5))
    assert pixel_metrics([scores], [mask], pro_limit=0.3).pro == pytest.approx(0.15)


def test_diagonal_neighbours_are_one_defect():
    mask = np.array([[True, False, False], [False, True, False], [False, False, False]])
    mask = np.hstack([mask, np.zeros((3, 2), dtype=bool), np.eye(3, 1, dtype=bool)])
    scores = np.where(mask, 0.0, 1.0)
    scores[0, 0] = 2.0  # half of the first defect is found at once: coverage (1/2 + 0) / 2
    assert pixel_metrics([scores], [mask], pro_limit=0.5).pro == pytest.approx(0.25)


def test_a_perfect_map_scores_one_and_its_negative_zero():
    mask = np.zeros((8, 8), dtype=bool)
    mask[2:4, 2:5] = True
    good = np.zeros((8, 8), dtype=bool)
    maps = [np.where(mask, 0.9, 0.1), np.full((8, 8), 0.2)]
    best = pixel_metrics(maps, [mask, good])
    assert (best.ap, best.auroc, best.image_auroc) == (1.0, 1.0, 1.0)
    assert best.pro == pytest.approx(1.0, abs=1e-12)
    worst = pixel_metrics([-maps[0], -maps[1]], [mask, good])
    assert (worst.auroc, worst.pro) == (0.0, 0.0)


def test_no_metric_depends_on_the_scale_of_the_scores_or_the_order_of_the_images():
    maps, masks = random_case(3, 10**6)
    before = pixel_metrics(maps, masks)
    after = pixel_metrics([np.exp(3 * m.astype(np.float64)) - 5 for m in maps[::-1]], masks[::-1])
    for name in ("ap", "auroc", "pro", "image_auroc"):
        assert getattr(after, name) == pytest.approx(getattr(before, name), abs=1e-12)


def test_double_precision_scores_are_not_merged():
    mask = np.array([[True, False]])
    scores = np.array([[1.0 + 1e-12, 1.0]])
    assert pixel_metrics([scores], [mask]).auroc == 1.0
    assert pixel_metrics([scores.astype(np.float32)], [mask]).auroc == 0.5


def test_infinite_scores_are_ranked():
    mask = np.array([[True, False, False]])
    assert pixel_metrics([np.array([[np.inf, 0.0, -np.inf]])], [mask]).auroc == 1.0


def test_a_stack_is_the_list_of_its_images():
    generator = np.random.default_rng(0)
    maps, masks = generator.random((3, 5, 6)), generator.random((3, 5, 6)) < 0.3
    assert pixel_metrics(maps, masks) == pixel_metrics(list(maps), list(masks))


def test_the_inputs_are_left_alone():
    maps, masks = random_case(0, 255)
    kept = [scores.copy() for scores in maps]
    pixel_metrics(maps, masks)
    assert all(np.array_equal(*pair) for pair in zip(maps, kept, strict=True))


def test_image_auroc_is_none_without_good_images():
    maps, masks = random_case(0, 255)
    assert pixel_metrics(maps[2:], masks[2:]).image_auroc is None


def test_tied_images_count_half_and_given_scores_replace_the_maxima():
    mask, good = np.eye(3, dtype=bool), np.zeros((3, 3), dtype=bool)
    maps, masks = [np.ones((3, 3)), np.ones((3, 3)), np.zeros((3, 3))], [mask, good, good]
    assert pixel_metrics(maps, masks).image_auroc == 0.75
    assert pixel_metrics(maps, masks, image_scores=[0.1, 0.2, 0.3]).image_auroc == 0.0
    with pytest.raises(ValueError, match="image_scores"):
        pixel_metrics(maps, masks, image_scores=[0.1, 0.2])
    with pytest.raises(ValueError, match=r"image_scores\[1\]"):
        pixel_metrics(maps, masks, image_scores=[0.1, float("nan"), 0.0])


def test_what_cannot_be_scored_is_refused_by_its_index():
    scores, mask = np.arange(12.0).reshape(3, 4), np.eye(3, 4, dtype=bool)
    broken = scores.copy()
    broken[1, 1] = np.nan
    empty = np.zeros((3, 4), dtype=bool)
    with pytest.raises(ValueError, match=r"maps\[1\] holds a NaN"):
        pixel_metrics([scores, broken], [mask, mask])
    with pytest.raises(ValueError, match=r"maps\[1\] is \(4, 3\)"):
        pixel_metrics([scores, scores.T], [mask, mask])
    with pytest.raises(ValueError, match="no defective pixel"):
        pixel_metrics([scores], [empty])
    with pytest.raises(ValueError, match="no normal pixel"):
        pixel_metrics([scores], [~empty])
    with pytest.raises(ValueError, match="no maps"):
        pixel_metrics([], [])
    with pytest.raises(ValueError, match="2 maps and 1 masks"):
        pixel_metrics([scores, scores], [mask])
    with pytest.raises(ValueError, match="no pixel"):
        pixel_metrics([scores, scores[:0]], [mask, mask[:0]])
    with pytest.raises(ValueError, match="pro_limit"):
        pixel_metrics([scores], [mask], pro_limit=0.0)


def test_iou_counts_pixels():
    truth = np.array([[True, True, False, False]])
    prediction = np.array([[False, True, True, False]])
    assert iou(prediction, truth) == iou(truth, prediction) == pytest.approx(1 / 3)
    assert iou(truth, truth) == 1.0
    assert iou(~truth, truth) == 0.0


def test_two_empty_masks_agree():
    empty = np.zeros((2, 2), dtype=bool)
    assert iou(empty, empty) == 1.0
    assert iou(~empty, empty) == 0.0


def test_mean_iou_is_over_images():
    truth = np.array([[True, True, False, False]])
    half = np.array([[True, False, False, False]])
    assert mean_iou([truth, half], [truth, truth]) == 0.75
    with pytest.raises(ValueError, match="2 predictions and 1 truths"):
        mean_iou([truth, half], [truth])
    with pytest.raises(ValueError, match="0 predictions"):
        mean_iou([], [])


def test_number_of_clicks_is_that_of_the_first_success():
    ious = np.array([[0.9, 0.1, 0.1], [0.1, 0.8, 0.7], [0.1, 0.2, 0.3]])
    assert number_of_clicks(ious, 0.8, cap=20) == pytest.approx((1 + 2 + 20) / 3)
    assert number_of_clicks(ious, 0.8, cap=1) == pytest.approx(1.0)
    assert number_of_clicks(ious, 0.95) == 20.0
    assert number_of_clicks(ious[:, :0], 0.5, cap=5) == 5.0


def test_number_of_clicks_rises_with_the_target():
    ious = np.sort(np.random.default_rng(0).random((30, 20)), axis=1)
    clicks = [number_of_clicks(ious, target) for target in (0.0, 0.3, 0.6, 0.9, 1.1)]
    assert clicks == sorted(clicks)
    assert (clicks[0], clicks[-1]) == (1.0, 20.0)


def test_number_of_clicks_refuses_nothing_and_nan():
    with pytest.raises(ValueError, match="at least one image"):
        number_of_clicks(np.empty((0, 3)), 0.5)
    with pytest.raises(ValueError, match="NaN"):
        number_of_clicks(np.array([[0.5, np.nan]]), 0.5)
