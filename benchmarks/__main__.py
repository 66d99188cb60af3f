"""How the hot parts compare with plain ways of computing the same, in one process: `make bench`.

Variants take turns and the medians are compared, so that a noisy machine disturbs all alike. Data
are random. Quote the ratios, not the seconds.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from adclick.matching import match_in_bank
from adclick.metrics import pixel_metrics
from adclick.retrieval import histogram_distances

ROUNDS = 3
Variants = dict[str, Callable[[], object]]


def matching(
    grid: int = 32, channels: int = 448, neighbours: int = 10, radius: float = 1.6
) -> Variants:
    """Location-aware matching against all distances with a mask, and a loop over offsets."""
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(grid, grid, channels, generator=generator)
    bank = torch.randn(neighbours, grid, grid, channels, generator=generator)
    rows, columns = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    places = torch.stack([rows, columns], -1).reshape(-1, 2).float()
    outside = (torch.cdist(places, places) > radius).repeat(1, neighbours)
    reach = range(-int(radius), int(radius) + 1)
    offsets = [
        (down, right) for down in reach for right in reach if down**2 + right**2 <= radius**2
    ]

    def all_distances() -> torch.Tensor:
        distances = torch.cdist(query.reshape(-1, channels), bank.reshape(-1, channels)) ** 2
        return distances.masked_fill(outside, torch.inf).argmin(1)

    def offset_loop() -> torch.Tensor:
        best = torch.full((grid, grid), torch.inf)
        for down, right in offsets:
            shifted = torch.roll(bank, (-down, -right), (1, 2))
            best = torch.minimum(best, (shifted - query).square().sum(-1).amin(0))
        return best

    ours = {"ours": lambda: match_in_bank(query, bank, range(neighbours), radius)}
    return ours | {"all distances, masked": all_distances, "loop over offsets": offset_loop}


def retrieval(queries: int = 100, references: int = 300) -> Variants:
    """The trimmed block distance against broadcasting the logarithms."""
    generator = np.random.default_rng(0)
    drawn = [generator.dirichlet(np.ones(12), (count, 25)) for count in (queries, references)]
    p, t = (array.astype(np.float32) for array in drawn)

    def broadcast() -> np.ndarray:
        blocks = (p[:, None] * np.log((p[:, None] + 1e-8) / (t[None] + 1e-8))).sum(-1)
        return np.sort(blocks, axis=2)[:, :, :20].sum(2)

    return {"ours": lambda: histogram_distances(p, t, 20), "broadcast logarithms": broadcast}


def metrics(images: int = 20, size_px: int = 256) -> Variants:
    """AP, AUROC, PRO and image AUROC in one pass against scikit-learn's AP and AUROC alone."""
    generator = np.random.default_rng(0)
    maps = generator.random((images, size_px, size_px), np.float32)
    masks = np.zeros(maps.shape, bool)
    masks[::2, 20:60, 30:70] = True
    maps[masks] += 0.3

    def sklearn() -> tuple[float, float]:
        truth, score = masks.ravel(), maps.ravel()
        return float(average_precision_score(truth, score)), float(roc_auc_score(truth, score))

    return {"ours": lambda: pixel_metrics(list(maps), list(masks)), "scikit-learn, no PRO": sklearn}


def measure(variants: Variants) -> dict[str, float]:
    """Median seconds of every variant; they take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(ROUNDS):
        for name, call in variants.items():
            started = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(own) for name, own in seconds.items()}


def main() -> None:
    torch.set_num_threads(1)
    found = {part.__name__: measure(part()) for part in (matching, retrieval, metrics)}
    for part, medians in found.items():
        for name, median in medians.items():
            print(f"{part:10} {name:24} {median:8.3f} s  {median / medians['ours']:6.1f} x ours")
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
