import numpy as np
import pytest

from adclick.metrics.pixels import component_results
from adclick.metrics.sizes import SizeClass, by_size, size_lines
from adclick.metrics.streaming import StreamingMetrics


def scene() -> tuple[np.ndarray, np.ndarray]:
    """Normal scores 0 … 1, evenly; a speck below 0.05 % of them, one below 0.2 %, a large one."""
    scores = np.linspace(0, 1, 200 * 500, dtype=np.float32).reshape(200, 500)
    mask = np.zeros(scores.shape, bool)
    mask[10, 10], mask[20, 20:24], mask[50:90, 50:90] = True, True, True
    scores[10, 10], scores[20, 20:24], scores[50:90, 50:90] = 0.9996, 0.998, 0.2
    scores[60, 60] = 2
    return scores, mask


def test_defects_are_counted_by_their_size() -> None:
    maps, masks = ([one] for one in scene())
    small, large = by_size(component_results(maps, masks)[0])
    assert (small.largest_px, small.defects, small.found) == (16, 2, 1)
    assert small.coverage > 0.99
    assert (large.largest_px, large.defects, large.found) == (4096, 1, 1)  # its best pixel is found
    assert large.coverage < 0.01


def test_counting_in_steps_finds_the_same() -> None:
    scores, mask = scene()
    counts = StreamingMetrics(0, 2)
    counts.add(scores, mask)
    exact = by_size(component_results([scores], [mask])[0])
    steps = by_size(counts.components(scores, mask))
    assert [one.found for one in steps] == [one.found for one in exact]
    assert [one.coverage for one in steps] == pytest.approx(
        [one.coverage for one in exact], abs=1e-4
    )


def test_a_defect_on_the_limit_of_a_class_is_in_it() -> None:
    scores, mask = np.zeros((40, 40), np.float32), np.zeros((40, 40), bool)
    mask[:4, :4], mask[10:14, 10:14], mask[14, 10] = True, True, True
    assert [one.largest_px for one in by_size(component_results([scores], [mask])[0])] == [16, 64]


def test_the_table_says_how_many_of_how_many() -> None:
    lines = size_lines([SizeClass(64, 8, 3, 0.25), SizeClass(None, 1, 1, 1.0)])
    assert "up to 64 pixels" in lines[1] and "3 of 8" in lines[1] and "0.250" in lines[1]
    assert "more than 16384 pixels" in lines[2] and "1 of 1" in lines[2]
    assert by_size([]) == []
