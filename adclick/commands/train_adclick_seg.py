"""Train ADClick-Seg: pretraining on other categories, or training on one from labels (Sec. 3.4,
4.3).
"""

from collections.abc import Sequence
from typing import Any

from adclick.networks.adclick_seg import build_adclick_seg
from adclick.networks.inputs import ResidualForm
from adclick.run.job import Job, parse_job, run
from adclick.run.kept import made_once
from adclick.run.plan.detection import TrainAdclickSeg
from adclick.training.detector_fit import fit_detector
from adclick.training.fit import (
    EXPANDED,
    LISTS,
    batch_counts,
    fit_network,
    language_sizes,
    make_plan,
    trunk_sizes,
)
from adclick.training.plan import Plan

COMMAND = "adclick.commands.train_adclick_seg"


def main(argv: Sequence[str] | None = None) -> None:
    """Training on one category sees normal images, simulated defects, and the expanded labelled
    defects where the variant has any; true masks only of other categories, in pretraining. A
    detector on features also chooses on what it held out how much it adds to the training-free map.
    """
    job = parse_job(
        COMMAND,
        TrainAdclickSeg,
        argv,
        doc=__doc__,
        trains=lambda settings: not settings.pretrain,
        optional=["initial"],
        lists=[*LISTS, *EXPANDED, "branch"],
        outputs=["weights", "record"],
        seeded=True,
    )
    made_once(job.outputs, job.stamp, lambda: _train(job))


def _train(job: Job[TrainAdclickSeg]) -> None:
    settings = job.settings
    if settings.features is not None:
        fit_detector(job, settings.features)
        return
    fit_network(
        job,
        build_adclick_seg,
        own_sizes(settings),
        own_plan(settings),
        own_counts(settings),
        kind="adclick_seg",
        abandon=settings.variant.abandon and not settings.pretrain,
    )


def own_sizes(settings: TrainAdclickSeg) -> dict[str, Any]:
    """The sizes of the network of a training with these settings."""
    own = settings.adclick_seg_network
    channels = settings.residual_input.groups or settings.residual_channels
    return {
        **trunk_sizes(
            settings.network,
            size_px=settings.size_px,
            stride=settings.stride,
            residual_channels=channels,
        ),
        "shortcut": own.shortcut in ("all", settings.variant.supervision),
        "image_channels": own.image_channels,
        "language": language_sizes(settings.vision_language, text_channels=settings.text_channels)
        if settings.variant.language
        else None,
    }


def own_plan(settings: TrainAdclickSeg) -> Plan:
    """Its plan."""
    return make_plan(
        settings.training,
        pretrain=settings.pretrain,
        form=ResidualForm(**settings.residual_input.model_dump()),
        first_clicks=False,
        iis=settings.variant.iis,
        radius_px=settings.radius_px,
        threshold=settings.threshold,
        precision=settings.precision,
    )


def own_counts(settings: TrainAdclickSeg) -> dict[str, int]:
    """How many samples of each kind its batches hold; without labels, simulated defects stand for
    real ones.
    """
    training = settings.training
    if settings.pretrain:
        return batch_counts(training.pretrain_batch)
    counts = batch_counts(training.batch)
    if settings.variant.supervision == "unsupervised":
        return {**counts, "simulated": counts["simulated"] + counts["real"], "real": 0}
    return counts


if __name__ == "__main__":
    run(main)
