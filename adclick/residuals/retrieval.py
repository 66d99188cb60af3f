"""The learning-free global similarity: which normal images look most like a query, blockwise.

Layer-1 features become visual words, words become one histogram a block of the image, and images
are compared by the Kullback-Leibler divergence of their blocks, the most different blocks left out
(there the defect may be).

Source: CPR (arXiv 2308.06748), cited by the paper in Sec. 3.2.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int

from adclick.run.errors import InputError

WORDS = 12
BLOCKS = 5
CODEBOOK_SEED = 66
CODEBOOK_STARTS = 10
EPSILON = 1e-8  # added to both histograms of a divergence, which are not normalised again
TILE = 32  # queries compared at once: their block divergences stay in the cache


def sample_pixels(
    layer1: Float[Any, "image height width channel"],
    count: int,
    seed: int,
    contents: Sequence[tuple[int, int]] | None = None,
) -> Float[np.ndarray, "sample channel"]:
    """Features of `count` different pixels drawn evenly from all images (all, if those are fewer).

    `contents` says how many rows and columns of every image count; None: all.

    `layer1` may be anything that is indexed by image, such as an HDF5 dataset: one image is read at
    a time. The sample is in the order of images, then pixels.
    """
    images, height, width = layer1.shape[:3]
    known = contents or [(height, width)] * images
    total = sum(rows * columns for rows, columns in known)
    drawn = np.random.default_rng(seed).choice(total, size=min(count, total), replace=False)
    return pixels_at(layer1, np.sort(drawn), known)


def pixels_at(
    layer1: Float[Any, "image height width channel"],
    positions: Int[np.ndarray, " sample"],
    contents: Sequence[tuple[int, int]] | None = None,
) -> Float[np.ndarray, "sample channel"]:
    """Features (float32) at flat positions in C order, read one image at a time; positions count
    what is within the `contents` alone.
    """
    images, height, width, channels = layer1.shape
    known = contents or [(height, width)] * images
    ends = np.cumsum([rows * columns for rows, columns in known])
    owners = np.searchsorted(ends, positions, side="right")
    features = np.empty((len(positions), channels), np.float32)
    for image in np.unique(owners):
        chosen, (rows, columns) = owners == image, known[image]
        pixels = positions[chosen] - (ends[image] - rows * columns)
        own = np.asarray(layer1[int(image)])[:rows, :columns]
        features[chosen] = own.reshape(-1, channels)[pixels]
    return features


def fit_codebook(
    pixels: Float[np.ndarray, "sample channel"], *, words: int = WORDS, seed: int = CODEBOOK_SEED
) -> Float[np.ndarray, "word channel"]:
    """Centres of k-means clusters of pixel features: the visual words, float32.

    Raises InputError when there are fewer pixels than words. Fewer different pixels than words make
    some centres equal, which no pixel is then assigned to.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    if len(pixels) < words:
        raise InputError(
            f"a codebook of {words} words needs as many pixels, got {len(pixels)}; sample more"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        starts: Any = CODEBOOK_STARTS
        fitted = KMeans(n_clusters=words, n_init=starts, random_state=seed).fit(pixels)
    return fitted.cluster_centers_.astype(np.float32)


def assign_words(
    layer1: Float[Any, "image height width channel"], centres: Float[np.ndarray, "word channel"]
) -> Int[np.ndarray, "image height width"]:
    """The word nearest to every pixel's feature by Euclidean distance; the first of equal ones.

    One matrix product an image. The centres are taken relative to their mean, which changes no
    comparison and keeps float32 precise when all features lie far from zero.
    """
    middle = centres.mean(axis=0, dtype=np.float64)
    relative = centres - middle
    offset = (np.square(relative).sum(axis=1) + 2 * relative @ middle).astype(np.float32)
    factors = np.ascontiguousarray(-2 * relative.T, np.float32)  # transposed, products are slow
    words = np.empty(layer1.shape[:3], np.int64)
    for index in range(len(words)):
        pixels = np.asarray(layer1[index], np.float32)
        words[index] = (pixels @ factors + offset).argmin(axis=-1)
    return words


def block_histograms(
    word_maps: Int[np.ndarray, "image height width"], *, words: int, blocks: int = BLOCKS
) -> Float[np.ndarray, "image block word"]:
    """How often each word occurs in each block: shares that sum to 1 a block, float32.

    Blocks are in raster order. The map is cut into `blocks` x `blocks` parts of as equal a size as
    whole pixels allow: part i covers rows i * height // blocks up to the next part's. Raises
    InputError for a map smaller than that, ValueError for unknown words.
    """
    images, height, width = word_maps.shape
    if blocks > min(height, width):
        raise InputError(
            f"a {height} x {width} map cannot be cut into {blocks} x {blocks} blocks;"
            " raise features.input_px or lower retrieval.blocks"
        )
    if word_maps.size and not 0 <= word_maps.min() <= word_maps.max() < words:
        raise ValueError(f"word maps must hold words 0 … {words - 1}")
    row, column = _block_of(height, blocks)[:, None], _block_of(width, blocks)
    block = np.arange(images)[:, None, None] * blocks**2 + row * blocks + column
    counts = np.bincount((block * words + word_maps).ravel(), minlength=images * blocks**2 * words)
    counts = counts.reshape(images, blocks**2, words)
    return (counts / counts.sum(axis=2, keepdims=True)).astype(np.float32)


def histogram(
    layer1: Float[Any, "height width channel"],
    codebook: Float[np.ndarray, "word channel"],
    blocks: int,
) -> Float32[np.ndarray, "block word"]:
    """The words of a picture's blocks: what it is retrieved by. Blocks are of `layer1` as it is
    given, so give its content alone.
    """
    words = assign_words(np.asarray(layer1)[None], codebook)
    return block_histograms(words, words=len(codebook), blocks=blocks)[0]


def histogram_distances(
    queries: Float[np.ndarray, "query block word"],
    references: Float[np.ndarray, "reference block word"],
    kept_blocks: int,
) -> Float[np.ndarray, "query reference"]:
    """How much each query differs from each reference: trimmed sums of block divergences, float32.

    A block's divergence is sum over words of p ln(p / t), p the query's share and t the
    reference's, each plus 1e-8; the `kept_blocks` least of a pair are added up, so that a defect,
    which spoils few blocks, hardly counts. Not symmetric.
    """
    blocks = queries.shape[1]
    if not 1 <= kept_blocks <= blocks:
        raise ValueError(f"kept_blocks {kept_blocks} must be 1 … {blocks}")
    shares, logs = _divergence_factors(queries, references)
    distances = np.empty((len(queries), len(references)), np.float32)
    for top in range(0, len(queries), TILE):
        divergences = shares[:, top : top + TILE] @ logs
        divergences.sort(axis=0)  # whole, so that the sum's order does not depend on the machine
        divergences[:kept_blocks].sum(axis=0, out=distances[top : top + TILE])
    return distances


def nearest_images(
    distances: Float[np.ndarray, "query reference"],
    *,
    count: int,
    query_sources: Sequence[str],
    reference_ids: Sequence[str],
) -> Int[np.ndarray, "query neighbour"]:
    """Indices of the `count` references most like each query, nearest first, ties in index order.

    A reference whose id is the query's source (the normal image whose pixels the query contains; ""
    for none) is left out: against its own original a simulated defect would look unrealistically
    clean. All rows are equally long: as many neighbours as every query can have, at most `count`.
    Raises InputError if that is none.
    """
    own = np.asarray(query_sources, object)[:, None] == np.asarray(reference_ids, object)[None, :]
    available = len(reference_ids) - int(own.sum(axis=1).max(initial=0))
    if available < 1:
        raise InputError(
            "a query has no normal image but its own to be compared with; add normal images"
        )
    ranked = np.argsort(np.where(own, np.inf, distances), axis=1, kind="stable")
    return ranked[:, : min(count, available)]


def _block_of(length: int, blocks: int) -> Int[np.ndarray, " position"]:
    """Which of `blocks` nearly equal parts each position of a line belongs to."""
    edges = np.arange(1, blocks) * length // blocks
    return np.searchsorted(edges, np.arange(length), side="right")


def _divergence_factors(
    queries: Float[np.ndarray, "query block word"],
    references: Float[np.ndarray, "reference block word"],
) -> tuple[Float[np.ndarray, "block query factor"], Float[np.ndarray, "block factor reference"]]:
    """Two float32 arrays whose matrix products are all block divergences.

    sum p ln(p / t) is sum p (ln p - m) times 1, less sum p (ln t - m), for any m. With the mean
    over the references as m both sums are small, which keeps float32 precise.
    """
    shares = queries.swapaxes(0, 1).astype(np.float64) + EPSILON
    logs = references.transpose(1, 2, 0).astype(np.float64, order="C")
    logs += EPSILON  # in place: new memory costs more than the logarithms
    np.log(logs, out=logs)
    middle = logs.mean(axis=2)
    own = np.vecdot(shares, np.log(shares) - middle[:, None])
    right = np.ones((logs.shape[0], logs.shape[1] + 1, logs.shape[2]), np.float32)
    np.subtract(logs, middle[:, :, None], out=right[:, 1:], casting="same_kind")
    return np.concatenate([own[:, :, None], -shares], axis=2, dtype=np.float32), right
