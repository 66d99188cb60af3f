"""Train ADClick-Seg: pretraining on other categories, or training on one from labels (Sec. 3.4,
4.3).
"""

from collections.abc import Sequence

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
    variant, training, network = settings.variant, settings.training, settings.network
    channels = settings.residual_input.groups or settings.residual_channels
    sizes = {
        **trunk_sizes(
            network, size_px=settings.size_px, stride=settings.stride, residual_channels=channels
        ),
        "shortcut": settings.adclick_seg_network.shortcut in ("all", variant.supervision),
        "image_channels": settings.adclick_seg_network.image_channels,
        "language": language_sizes(settings.vision_language, text_channels=settings.text_channels)
        if variant.language
        else None,
    }
    plan = make_plan(
        training,
        pretrain=settings.pretrain,
        form=ResidualForm(**settings.residual_input.model_dump()),
        first_clicks=False,
        iis=variant.iis,
        radius_px=settings.radius_px,
        threshold=settings.threshold,
        precision=settings.precision,
    )
    counts = batch_counts(training.pretrain_batch if settings.pretrain else training.batch)
    if not settings.pretrain and variant.supervision == "unsupervised":
        counts = {**counts, "simulated": counts["simulated"] + counts["real"], "real": 0}
    abandon = variant.abandon and not settings.pretrain
    fit_network(job, build_adclick_seg, sizes, plan, counts, kind="adclick_seg", abandon=abandon)


if __name__ == "__main__":
    run(main)
