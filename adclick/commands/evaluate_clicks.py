"""Score a click method's answers on the real defects of a category (Sec. 4.2)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from adclick.artifacts import image_ids, open_arrays, write_json
from adclick.commands.entry import Job, parse_job, run
from adclick.commands.reading import read_masks
from adclick.config import EvaluateClicks
from adclick.metrics import iou, number_of_clicks, pixel_metrics

COMMAND = "adclick.commands.evaluate_clicks"
NOC_TARGETS = (0.80, 0.85, 0.90)


def main(argv: Sequence[str] | None = None) -> None:
    """Write mIoU, AP, PRO and AUROC after each number of clicks that is reported, every image's IoU
    after every click, and the number of clicks to a target IoU.
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
        counts = {
            str(count): {"miou": float(ious[:, count - 1].mean()), **_scores(file, place, masks)}
            for place, count in enumerate(file["counts"][:].tolist())
        }
    noc = {
        f"{target:.2f}": number_of_clicks(ious, target, cap=ious.shape[1]) for target in NOC_TARGETS
    }
    scores = {"images": len(masks), "counts": counts, "noc": noc, "ious": ious.tolist()}
    write_json(job.outputs["metrics"], _place(job) | scores, stamp=job.stamp)


def _place(job: Job[EvaluateClicks]) -> dict[str, Any]:
    settings = job.settings
    return {
        "kind": "clicks",
        "dataset": settings.dataset,
        "category": settings.category,
        "method": settings.method,
        "seed": job.seed,
    }


def _ious(packed: np.ndarray, truth: np.ndarray) -> list[float]:
    """The IoU after each click, of masks kept as bits."""
    masks = np.unpackbits(packed, axis=2, count=truth.shape[1]).astype(bool)
    return [iou(mask, truth) for mask in masks]


def _scores(file: Any, place: int, masks: Sequence[np.ndarray]) -> dict[str, float]:
    """The pixel metrics of the probabilities after one of the reported numbers of clicks."""
    maps = [file["probabilities"][row, place].astype(np.float32) for row in range(len(masks))]
    found = pixel_metrics(maps, masks)
    return {"pixel_ap": found.ap, "pixel_pro": found.pro, "pixel_auroc": found.auroc}


if __name__ == "__main__":
    run(main)
