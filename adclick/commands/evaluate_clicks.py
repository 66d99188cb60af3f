"""Score a click method's answers to a robot user on the real defects of a category (Sec. 4.2)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from adclick.data.geometry import cropped
from adclick.data.rows import read_masks
from adclick.metrics.clicks import iou, number_of_clicks
from adclick.metrics.pixels import pixel_metrics
from adclick.run.artifacts import image_ids, open_arrays, write_json
from adclick.run.job import Job, parse_job, run
from adclick.run.plan.clicks import EvaluateClicks

COMMAND = "adclick.commands.evaluate_clicks"
NOC_TARGETS = (0.80, 0.85, 0.90)


def main(argv: Sequence[str] | None = None) -> None:
    """Write mIoU, AP, PRO and AUROC after each number of clicks that is reported, averaged over the
    robot user's draws and a draw each; the mIoU of every image's worst draw (`worst`); every
    image's IoU after every click; and the number of clicks to a target IoU.
    """
    job = parse_job(
        COMMAND,
        EvaluateClicks,
        argv,
        doc=__doc__,
        inputs=["masks", "maps"],
        outputs=["metrics"],
        seeded=True,
    )
    truths = read_masks(job.inputs["masks"])
    with open_arrays(job.inputs["maps"]) as file:
        masks = [truths[image_id] for image_id in image_ids(file)]
        ious = np.array([_ious(file["masks"][row], mask) for row, mask in enumerate(masks)])
        reported = file["counts"][:].tolist()
        scores = [
            {str(n): _scores(file, draw, place, masks) for place, n in enumerate(reported)}
            for draw in range(ious.shape[1])
        ]
    found = {
        "images": len(masks),
        "counts": {str(count): _averaged(scores, ious, count) for count in reported},
        "draws": _per_draw(scores, ious, reported),
        "worst": {str(count): float(ious[:, :, count - 1].min(1).mean()) for count in reported},
        "ious": ious.mean(1).tolist(),
    }
    write_json(job.outputs["metrics"], _place(job) | found | _noc(ious), stamp=job.stamp)


def _place(job: Job[EvaluateClicks]) -> dict[str, Any]:
    settings = job.settings
    return {
        "kind": "clicks",
        "dataset": settings.dataset,
        "category": settings.category,
        "method": settings.method,
        "robot": settings.robot,
        "seed": job.seed,
    }


def _ious(packed: np.ndarray, truth: np.ndarray) -> list[list[float]]:
    """The IoU of every draw after each click, of masks kept as bits."""
    masks = np.unpackbits(packed, axis=-1, count=truth.shape[1]).astype(bool)
    masks = masks[..., : truth.shape[0], :]
    return [[iou(mask, truth) for mask in own] for own in masks]


def _scores(file: Any, draw: int, place: int, masks: Sequence[np.ndarray]) -> dict[str, float]:
    """The pixel metrics of one draw's probabilities after one of the reported numbers of clicks."""
    maps = [
        cropped(file["probabilities"][row, draw, place], mask.shape).astype(np.float32)
        for row, mask in enumerate(masks)
    ]
    found = pixel_metrics(maps, masks)
    return {"pixel_ap": found.ap, "pixel_pro": found.pro, "pixel_auroc": found.auroc}


def _averaged(
    scores: Sequence[dict[str, dict[str, float]]], ious: np.ndarray, count: int
) -> dict[str, float]:
    """The metrics after `count` clicks, averaged over draws."""
    own = [one[str(count)] for one in scores]
    means = {name: float(np.mean([score[name] for score in own])) for name in own[0]}
    return {"miou": float(ious[:, :, count - 1].mean()), **means}


def _per_draw(
    scores: Sequence[dict[str, dict[str, float]]], ious: np.ndarray, reported: Sequence[int]
) -> list[dict[str, dict[str, float]]]:
    """The metrics of every draw after each reported number of clicks."""
    return [
        {
            str(count): {"miou": float(ious[:, draw, count - 1].mean()), **own[str(count)]}
            for count in reported
        }
        for draw, own in enumerate(scores)
    ]


def _noc(ious: np.ndarray) -> dict[str, Any]:
    """Clicks to a target IoU, averaged over images and draws, and the most that were given."""
    most = ious.shape[2]
    drawn = ious.reshape(-1, most)
    targets = {f"{one:.2f}": number_of_clicks(drawn, one, cap=most) for one in NOC_TARGETS}
    return {"noc": targets, "noc_cap": most}


if __name__ == "__main__":
    run(main)
