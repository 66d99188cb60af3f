"""The trimmed divergence between block histograms, and the assignment of visual words."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from adclick.residuals.retrieval import BLOCKS, WORDS, assign_words, histogram_distances
from benchmarks.measure import Check, Results, Task, Variant

TORCH = "torch loop over queries"
NEAREST = 50
NEAR_TIE = 1e-5  # of a distance
EPSILON = 1e-8
BLOCK_PIXELS = 655  # of a 128 x 128 map in 5 x 5 blocks


@dataclass(frozen=True)
class Size:
    """How many images, blocks and kept blocks; how much faster than the torch loop to be."""

    queries: int
    references: int
    blocks: int
    kept: int
    goal: float


SIZES = {
    "tiny": [Size(3, 60, BLOCKS**2, 20, 0)],
    "quick": [Size(100, 300, BLOCKS**2, 20, 10)],
    "normal": [
        Size(queries, references, blocks, kept, goal)
        for blocks, kept in ((BLOCKS**2, 20), (64, 51))
        for queries, references, goal in ((100, 300, 10), (1000, 3000, 15))
    ],
}
SIZES["full"] = SIZES["normal"]
MAP_PX = {"tiny": 16}


def tasks(scale: str) -> Iterator[Task]:
    """Distances for 5 x 5 and for 8 x 8 blocks, few and many images; words of one image."""
    yield from (_distances(size) for size in SIZES[scale])
    yield _assignment(MAP_PX.get(scale, 128))


def _distances(size: Size) -> Task:
    random = np.random.default_rng(0)
    shared = random.dirichlet(np.ones(WORDS), size.blocks)
    queries, references = (
        (random.multinomial(BLOCK_PIXELS, shared, (count, size.blocks)) / BLOCK_PIXELS).astype(
            np.float32
        )
        for count in (size.queries, size.references)
    )
    arguments = queries, references, size.kept
    looped = {TORCH: _torch_loop, "numpy loop over queries": _numpy_loop}

    def agreement(results: Results) -> list[Check]:
        return [
            Check(
                f"{NEAREST} nearest as with the {name}",
                _same_nearest(results["ours"], results[name]),
                least=1.0,
            )
            for name in looped
        ]

    return Task(
        name=f"{size.queries} x {size.references} images, {size.kept} of {size.blocks} blocks",
        variants=[
            Variant("ours", partial(histogram_distances, *arguments)),
            *(Variant(name, partial(loop, *arguments)) for name, loop in looped.items()),
        ],
        agreement=agreement,
        goals={TORCH: size.goal},
    )


def _torch_loop(queries: np.ndarray, references: np.ndarray, kept: int) -> np.ndarray:
    """One query after the other: logarithms of all ratios, then all blocks sorted."""
    p, t = (torch.from_numpy(array) + EPSILON for array in (queries, references))
    rows = [(query * torch.log(query / t)).sum(2).sort(1).values[:, :kept].sum(1) for query in p]
    return torch.stack(rows).numpy()


def _numpy_loop(queries: np.ndarray, references: np.ndarray, kept: int) -> np.ndarray:
    """The same with numpy, whose logarithms and short sorts are faster."""
    p, t = queries + np.float32(EPSILON), references + np.float32(EPSILON)
    distances = np.empty((len(p), len(t)), np.float32)
    for index, query in enumerate(p):
        blocks = (query * np.log(query / t)).sum(axis=2)
        distances[index] = np.sort(blocks, axis=1)[:, :kept].sum(axis=1)
    return distances


def _same_nearest(distances: np.ndarray, others: np.ndarray) -> float:
    """The share of queries with the same nearest references, up to ties at the last of these."""
    count = min(NEAREST, distances.shape[1])
    last = np.sort(others, axis=1)[:, count - 1 : count]
    chosen = np.zeros(distances.shape, bool)
    np.put_along_axis(chosen, np.argsort(distances, axis=1)[:, :count], True, axis=1)
    missing = ~chosen & (others < last * (1 - NEAR_TIE))
    surplus = chosen & (others > last * (1 + NEAR_TIE))
    return float(1 - (missing | surplus).any(axis=1).mean())


def _assignment(size_px: int) -> Task:
    random = np.random.default_rng(0)
    centres = random.standard_normal((WORDS, 256)).astype(np.float32)
    features = random.standard_normal((1, size_px, size_px, 256)).astype(np.float32)
    pixels, words = torch.from_numpy(features).reshape(-1, 1, 256), torch.from_numpy(centres)
    broadcast = {
        "numpy broadcast": lambda: (
            np.square(features.reshape(-1, 1, 256) - centres).sum(axis=2).argmin(axis=1)
        ),
        "torch broadcast": lambda: (pixels - words).square().sum(dim=2).argmin(dim=1).numpy(),
    }

    def agreement(results: Results) -> list[Check]:
        ours = results["ours"].ravel()
        return [
            Check(f"words as with {name}", float((ours == results[name]).mean()), least=1.0)
            for name in broadcast
        ]

    return Task(
        name=f"words of {size_px} x {size_px} pixels, 256 channels, {WORDS} words",
        variants=[
            Variant("ours", partial(assign_words, features, centres)),
            *(Variant(name, call) for name, call in broadcast.items()),
        ],
        agreement=agreement,
        goals=dict.fromkeys(broadcast, 20),
        memory=["ours", *broadcast],
    )
