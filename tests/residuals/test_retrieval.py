from pathlib import Path

import h5py
import numpy as np
import pytest

from adclick.residuals.retrieval import (
    assign_words,
    block_histograms,
    fit_codebook,
    histogram_distances,
    nearest_images,
    pixels_at,
    sample_pixels,
)
from adclick.run.errors import InputError


def random_histograms(count: int, blocks: int, words: int, seed: int) -> np.ndarray:
    counts = np.random.default_rng(seed).integers(0, 5, (count, blocks, words))
    counts += np.resize(np.eye(words, dtype=int), (blocks, words))
    return (counts / counts.sum(axis=2, keepdims=True)).astype(np.float32)


def slow_distance(query: np.ndarray, reference: np.ndarray, kept: int) -> float:
    blocks = []
    for p, t in zip(query.astype(float) + 1e-8, reference.astype(float) + 1e-8, strict=True):
        blocks.append(sum(a * np.log(a / b) for a, b in zip(p, t, strict=True)))
    return sum(sorted(blocks)[:kept])


def test_a_sample_holds_different_pixels_of_all_images_in_order(tmp_path: Path) -> None:
    layer1 = np.arange(4 * 3 * 5, dtype=np.float16).reshape(4, 3, 5, 1)
    with h5py.File(tmp_path / "features.h5", "w") as file:
        stored = file.create_dataset("layer1", data=layer1)
        sample = sample_pixels(stored, 20, seed=1)
        np.testing.assert_array_equal(sample, sample_pixels(layer1, 20, seed=1))
        np.testing.assert_array_equal(sample_pixels(stored, 99, seed=1).ravel(), np.arange(60))
    assert sample.shape == (20, 1)
    assert sample.dtype == np.float32
    assert (np.diff(sample.ravel()) > 0).all()
    assert not np.array_equal(sample, sample_pixels(layer1, 20, seed=2))


def test_pixels_are_read_from_their_image_row_and_column() -> None:
    layer1 = np.random.default_rng(0).normal(size=(3, 2, 4, 5)).astype(np.float32)
    positions = np.array([23, 0, 13])
    np.testing.assert_array_equal(
        pixels_at(layer1, positions), layer1[[2, 0, 1], [1, 0, 1], [3, 0, 1]]
    )


def test_only_images_with_sampled_pixels_are_read_one_at_a_time() -> None:
    class Recorder:
        shape, dtype = (5, 2, 2, 3), np.dtype("float32")
        read: list[int] = []

        def __getitem__(self, image: int) -> np.ndarray:
            self.read.append(image)
            return np.zeros((2, 2, 3), np.float32)

    recorder = Recorder()
    pixels_at(recorder, np.array([1, 3, 17]))
    assert recorder.read == [0, 4]


def test_the_codebook_finds_separate_groups() -> None:
    random = np.random.default_rng(0)
    groups = np.array([[0, 0], [10, 0], [0, 10]])
    pixels = (np.repeat(groups, 30, axis=0) + 0.1 * random.normal(size=(90, 2))).astype(np.float32)
    codebook = fit_codebook(pixels, words=3)
    assert codebook.dtype == np.float32
    np.testing.assert_allclose(sorted(codebook.round().tolist()), sorted(groups.tolist()))
    np.testing.assert_array_equal(codebook, fit_codebook(pixels, words=3))


def test_a_codebook_of_equal_pixels_is_quietly_one_word() -> None:
    codebook = fit_codebook(np.ones((20, 2), np.float32), words=4)
    assert not assign_words(np.ones((1, 2, 2, 2), np.float32), codebook).any()


def test_too_few_pixels_for_a_codebook_are_refused() -> None:
    with pytest.raises(InputError, match="12 words"):
        fit_codebook(np.zeros((11, 2), np.float32))


@pytest.mark.parametrize("offset", [0, 3000])
def test_every_pixel_gets_the_nearest_word(offset: float) -> None:
    random = np.random.default_rng(1)
    layer1 = (offset + random.normal(size=(3, 4, 5, 6))).astype(np.float32)
    centres = (offset + random.normal(size=(7, 6))).astype(np.float32)
    differences = layer1[:, :, :, None].astype(np.float64) - centres
    expected = np.square(differences).sum(axis=4).argmin(axis=3)
    np.testing.assert_array_equal(assign_words(layer1, centres), expected)


def test_block_histograms_by_hand() -> None:
    words = np.array([[[0, 0, 1], [0, 1, 1], [2, 2, 0]]])
    found = block_histograms(words, words=3, blocks=2)  # rows and columns: the first, then two
    expected = [[1, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0.25, 0.5, 0.25]]
    np.testing.assert_allclose(found[0], expected)


def test_every_block_has_a_whole_histogram_of_its_own_pixels() -> None:
    words = np.random.default_rng(2).integers(0, 4, (2, 13, 9))
    found = block_histograms(words, words=4, blocks=5)
    np.testing.assert_allclose(found.sum(axis=2), 1, rtol=1e-6)
    rows = [slice(part * 13 // 5, (part + 1) * 13 // 5) for part in range(5)]
    columns = [slice(part * 9 // 5, (part + 1) * 9 // 5) for part in range(5)]
    for image, row, column in np.ndindex(2, 5, 5):
        block = words[image, rows[row], columns[column]]
        expected = np.bincount(block.ravel(), minlength=4) / block.size
        np.testing.assert_allclose(found[image, row * 5 + column], expected, rtol=1e-6)


def test_maps_too_small_or_with_unknown_words_are_refused() -> None:
    with pytest.raises(ValueError, match="cut"):
        block_histograms(np.zeros((1, 4, 9), int), words=2, blocks=5)
    with pytest.raises(ValueError, match="words"):
        block_histograms(np.full((1, 5, 5), 2), words=2)


def test_distances_by_hand_leave_out_the_most_different_blocks() -> None:
    query = np.array([[[0.5, 0.5], [1, 0], [0.25, 0.75]]], np.float32)
    reference = np.array([[[0.5, 0.5], [0, 1], [0.5, 0.5]]], np.float32)
    third_block = 0.25 * np.log(0.5) + 0.75 * np.log(1.5)
    np.testing.assert_allclose(histogram_distances(query, reference, 1), [[0]], atol=1e-7)
    np.testing.assert_allclose(histogram_distances(query, reference, 2), [[third_block]], rtol=1e-5)
    all_blocks = third_block + np.log(1e8)
    np.testing.assert_allclose(histogram_distances(query, reference, 3), [[all_blocks]], rtol=1e-5)


def test_distances_equal_a_slow_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adclick.residuals.retrieval.TILE", 2)
    queries, references = random_histograms(5, 9, 4, seed=0), random_histograms(6, 9, 4, seed=1)
    expected = [
        [slow_distance(query, reference, 7) for reference in references] for query in queries
    ]
    np.testing.assert_allclose(histogram_distances(queries, references, 7), expected, rtol=1e-5)


@pytest.mark.parametrize("blocks", [1, 2, 7, 25, 64])
def test_any_number_of_blocks_may_be_left_out(blocks: int) -> None:
    queries, references = random_histograms(9, blocks, 5, 5), random_histograms(150, blocks, 5, 6)
    shares = queries[:, None].astype(float) + 1e-8
    divergences = (shares * np.log(shares / (references + 1e-8))).sum(axis=3)
    ordered = np.cumsum(np.sort(divergences, axis=2), axis=2)
    for kept in {1, 2, blocks // 2 + 1, blocks - 1, blocks} & set(range(1, blocks + 1)):
        found = histogram_distances(queries, references, kept)
        np.testing.assert_allclose(found, ordered[:, :, kept - 1], rtol=1e-5, atol=1e-5)


def test_distances_are_zero_to_oneself_and_positive_otherwise() -> None:
    histograms = random_histograms(8, 9, 4, seed=3)
    distances = histogram_distances(histograms, histograms, 9)
    np.testing.assert_allclose(np.diag(distances), 0, atol=1e-7 * distances.mean())
    assert (distances + np.eye(8) > 0).all()
    assert not np.allclose(distances, distances.T)


def test_one_block_at_least_is_kept() -> None:
    histograms = random_histograms(1, 4, 3, seed=4)
    for kept in (0, 5):
        with pytest.raises(ValueError, match="kept_blocks"):
            histogram_distances(histograms, histograms, kept)


def test_neighbours_are_sorted_and_exclude_the_query_itself() -> None:
    distances = np.array([[0, 3, 1, 2], [5, 5, 4, 5]], np.float32)
    found = nearest_images(
        distances,
        count=3,
        query_sources=["train/good/000", ""],
        reference_ids=[f"train/good/00{i}" for i in range(4)],
    )
    assert found.tolist() == [[2, 3, 1], [2, 0, 1]]


def test_equally_distant_neighbours_stay_in_index_order() -> None:
    distances = np.tile(np.arange(3, dtype=np.float32), (1, 40))
    found = nearest_images(
        distances, count=120, query_sources=[""], reference_ids=[str(i) for i in range(120)]
    )
    assert found.tolist() == [[*range(0, 120, 3), *range(1, 120, 3), *range(2, 120, 3)]]


def test_all_queries_have_as_many_neighbours_as_the_poorest() -> None:
    distances = np.zeros((2, 3), np.float32)
    found = nearest_images(
        distances, count=50, query_sources=["b", ""], reference_ids=["a", "b", "c"]
    )
    assert found.tolist() == [[0, 2], [0, 1]]
    assert nearest_images(
        distances, count=50, query_sources=["", ""], reference_ids=["a", "b", "c"]
    ).shape == (2, 3)


def test_a_query_without_any_other_image_is_refused() -> None:
    with pytest.raises(InputError, match="normal image"):
        nearest_images(
            np.zeros((1, 1), np.float32), count=1, query_sources=["a"], reference_ids=["a"]
        )
