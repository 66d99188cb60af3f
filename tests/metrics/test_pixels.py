import numpy as np
import pytest
from scipy.ndimage import find_objects, label
from sklearn.metrics import average_precision_score, roc_auc_score

from adclick.metrics.clicks import iou, number_of_clicks
from adclick.metrics.pixels import component_results, image_results, pixel_metrics
from adclick.metrics.streaming import StreamingMetrics
from tests.metrics.reference import region_overlap

LEVELS = [1, 2, 3, 10, 255, 10**6]
METRICS = ("ap", "auroc", "pro", "image_auroc")


def random_case(seed, levels, images=5):
    """Maps of different shapes whose scores tie heavily when `levels` is small; image 1 is good.

    Every third case has one defective pixel in all.
    """
    generator = np.random.default_rng(seed)
    maps, masks = [], []
    for index in range(images):
        shape = tuple(generator.integers(4, 14, size=2))
        mask = generator.random(shape) < (0.0 if index == 1 or seed % 3 == 2 else 0.2)
        mask[0, 0] = index != 1 if seed % 3 < 2 else index == 0
        scores = np.floor(levels * np.clip(generator.random(shape) * 0.7 + 0.3 * mask, 0, 0.999999))
        maps.append((scores / levels).astype(np.float32))
        masks.append(mask)
    return maps, masks


def pooled(maps, masks):
    return np.concatenate([m.ravel() for m in masks]), np.concatenate([m.ravel() for m in maps])


@pytest.mark.parametrize("levels", LEVELS)
def test_ap_and_auroc_are_those_of_scikit_learn(levels):
    for seed in range(50):
        maps, masks = random_case(seed, levels)
        truth, scores = pooled(maps, masks)
        result = pixel_metrics(maps, masks)
        assert abs(result.auroc - roc_auc_score(truth, scores)) <= 1e-12, seed
        assert abs(result.ap - average_precision_score(truth, scores)) <= 1e-12, seed
        expected = roc_auc_score([mask.any() for mask in masks], [m.max() for m in maps])
        assert abs(result.image_auroc - expected) <= 1e-12, seed


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
def test_pro_is_the_area_under_the_written_out_curve(levels, limit):
    for seed in range(3):
        maps, masks = random_case(seed, levels)
        result = pixel_metrics(maps, masks, pro_limit=limit)
        assert result.pro == pytest.approx(region_overlap(maps, masks, limit), abs=1e-9)


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


def test_the_limit_may_cut_a_tie_between_a_defect_and_normal_pixels():
    # Four normal pixels (9 5 5 1), two defects: A of one pixel (7), B of two (5 0). Half of the
    # normal pixels, two, are allowed as false positives. A is covered from the first false positive
    # on: (2 - 1) / 2 = 1/2. B's first pixel ties with two normal ones, the 2nd and 3rd: a ramp from
    # 0 at one to 1 at three false positives, cut at two, where it stands at 1/2: its triangle is
    # 1 * 1/2 / 2 = 1/4, over the two allowed 1/8. B's other pixel is never reached: (1/8 + 0) / 2.
    mask = np.array([[True, False, True, True, False, False, False]])
    scores = np.array([[7.0, 9, 5, 0, 5, 5, 1]])
    a, b = 1 / 2, 1 / 16
    assert pixel_metrics([scores], [mask], pro_limit=0.5).pro == pytest.approx((a + b) / 2)
    (found,) = component_results([scores], [mask], pro_limit=0.5)
    assert [one.coverage for one in found] == pytest.approx([a, b])
    assert [one.area_px for one in found] == [1, 2]
    assert [one.maximum for one in found] == [7, 5]


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


def test_tied_images_count_half():
    mask, good = np.eye(3, dtype=bool), np.zeros((3, 3), dtype=bool)
    maps, masks = [np.ones((3, 3)), np.ones((3, 3)), np.zeros((3, 3))], [mask, good, good]
    assert pixel_metrics(maps, masks).image_auroc == 0.75


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


def large_case(levels, images=8, size_px=192):
    generator = np.random.default_rng(7)
    masks = np.zeros((images, size_px, size_px), dtype=bool)
    masks[1:, 20:50, 30:70] = masks[3:, 100:104, 5:90] = True
    noise = 0.6 * generator.random(masks.shape) + 0.4 * generator.random(masks.shape) * masks
    return (np.floor(levels * noise) / levels).astype(np.float32), masks


def streamed(maps, masks, bins=2**18):
    low, high = min(float(m.min()) for m in maps), max(float(m.max()) for m in maps)
    stream = StreamingMetrics(low, high, bins=bins)
    for scores, mask in zip(maps, masks, strict=True):
        stream.add(scores, mask)
    return stream


@pytest.mark.parametrize(("levels", "error"), [(2, 1e-12), (255, 1e-12), (10**7, 1e-5)])
def test_streaming_comes_close_to_the_exact_metrics(levels, error):
    maps, masks = large_case(levels)
    exact, result = pixel_metrics(maps, masks), streamed(maps, masks).result()
    for name in METRICS:
        assert getattr(result, name) == pytest.approx(getattr(exact, name), abs=error)
    assert result.image_auroc == exact.image_auroc


def test_streaming_is_never_further_off_than_it_says():
    for seed in range(60):
        maps, masks = random_case(seed, LEVELS[seed % len(LEVELS)])
        exact = pixel_metrics(maps, masks, pro_limit=0.25)
        stream = streamed(maps, masks, bins=1 + seed % 7)
        result, off = stream.result(pro_limit=0.25), stream.uncertainty(pro_limit=0.25)
        for name in METRICS:
            error = abs(getattr(result, name) - getattr(exact, name))
            assert error <= getattr(off, name) + 1e-12, (seed, name)


def test_the_uncertainty_is_small_where_scores_spread_and_large_where_they_do_not():
    maps, masks = large_case(10**7)
    assert streamed(maps, masks).uncertainty().ap < 1e-3
    maps[0, 0, 0] = 1e5
    assert streamed(maps, masks).uncertainty().ap > 0.1


def test_streaming_takes_constant_maps_and_half_precision():
    maps, masks = random_case(0, 255)
    flat = [np.full_like(scores, 3) for scores in maps]
    assert streamed(flat, masks).result() == pixel_metrics(flat, masks)
    half = [scores.astype(np.float16) for scores in maps]
    assert streamed(half, masks).result().ap == pytest.approx(pixel_metrics(half, masks).ap)


def test_streaming_refuses_what_it_cannot_count_and_stays_as_it_was():
    scores, mask = np.arange(12.0).reshape(3, 4), np.eye(3, 4, dtype=bool)
    stream = StreamingMetrics(0, 11)
    with pytest.raises(ValueError, match="no maps"):
        stream.result()
    stream.add(scores, ~mask)
    for broken, message in [
        (scores + 1, r"maps\[1\] has scores from 1.0 to 12.0, outside .* from 0 to 11"),
        (scores - 1, "outside the range"),
        (np.where(mask, np.inf, scores), "outside the range"),
        (np.where(mask, np.nan, scores), r"maps\[1\] holds a NaN"),
        (scores.T, r"maps\[1\] is \(4, 3\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            stream.add(broken, mask)
    assert stream.result() == streamed([scores], [~mask]).result()
    for limit in (0.0, 1.1):
        with pytest.raises(ValueError, match="pro_limit"):
            stream.result(pro_limit=limit)


def test_what_was_counted_apart_is_counted_together():
    maps, masks = large_case(255)
    low, high = float(maps.min()), float(maps.max())
    first, second = StreamingMetrics(low, high), StreamingMetrics(low, high)
    for place, (scores, mask) in enumerate(zip(maps, masks, strict=True)):
        (first if place < 2 else second).add(scores, mask)
    first.join(second)
    together, whole = first.result(), streamed(maps, masks).result()
    for name in METRICS:
        assert getattr(together, name) == pytest.approx(getattr(whole, name), abs=1e-12)
    assert together.image_auroc == whole.image_auroc
    with pytest.raises(ValueError, match="cannot be counted in"):
        first.join(StreamingMetrics(low, high + 1))


@pytest.mark.parametrize(
    ("low", "high", "bins"), [(1, 0, 8), (0, np.inf, 8), (np.nan, 1, 8), (0, 1, 0), (0, 1e35, 8)]
)
def test_a_range_that_cannot_be_counted_is_refused(low, high, bins):
    with pytest.raises(ValueError, match="cannot be counted"):
        StreamingMetrics(low, high, bins=bins)


@pytest.mark.parametrize("full", [True, False])
def test_streaming_needs_both_classes(full):
    stream = StreamingMetrics(0, 1)
    stream.add(np.ones((3, 4)), np.full((3, 4), full))
    with pytest.raises(ValueError, match=f"no {'normal' if full else 'defective'} pixel"):
        stream.result()


def test_an_image_by_itself_is_that_of_scikit_learn():
    maps, masks = random_case(0, 10)
    maps.append(maps[0])
    masks.append(np.ones_like(masks[0]))
    found = image_results(maps, masks)
    for scores, mask, one in zip(maps, masks, found, strict=True):
        assert (one.maximum, one.defective_px) == (scores.max(), mask.sum())
        if mask.any() and not mask.all():
            expected = average_precision_score(mask.ravel(), scores.ravel())
            assert one.ap == pytest.approx(expected, abs=1e-12)
            expected = roc_auc_score(mask.ravel(), scores.ravel())
            assert one.auroc == pytest.approx(expected, abs=1e-12)
    for one in (found[1], found[-1]):
        assert one.ap is None
        assert one.auroc is None
    with pytest.raises(ValueError, match=r"maps\[1\] is"):
        image_results([maps[0], maps[0].T], [masks[0], masks[0]])


@pytest.mark.parametrize("seed", range(6))
def test_components_are_those_of_scipy_and_their_mean_coverage_is_pro(seed):
    maps, masks = random_case(seed, 10)
    found = component_results(maps, masks, pro_limit=0.2)
    for scores, mask, own in zip(maps, masks, found, strict=True):
        numbered, count = label(mask, structure=np.ones((3, 3)))
        assert len(own) == count
        for number, (rows, columns) in enumerate(find_objects(numbered), start=1):
            one = own[number - 1]
            assert (one.top, one.height) == (rows.start, rows.stop - rows.start)
            assert (one.left, one.width) == (columns.start, columns.stop - columns.start)
            assert one.area_px == np.sum(numbered == number)
            assert one.maximum == scores[numbered == number].max()
    coverage = [one.coverage for own in found for one in own]
    assert np.mean(coverage) == pytest.approx(region_overlap(maps, masks, 0.2), abs=1e-9)


def test_streaming_finds_the_same_components():
    maps, masks = random_case(4, 10)
    stream = streamed(maps, masks)
    found = [
        stream.components(scores, mask, pro_limit=0.2)
        for scores, mask in zip(maps, masks, strict=True)
    ]
    for own, expected in zip(found, component_results(maps, masks, pro_limit=0.2), strict=True):
        assert [one.coverage for one in own] == pytest.approx([one.coverage for one in expected])
        assert [one.area_px for one in own] == [one.area_px for one in expected]


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
