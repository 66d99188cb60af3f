"""Train ADClick: pretraining on other categories, or finetuning on one (Sec. 3.4, 4.2)."""

from collections.abc import Sequence

from adclick.networks.adclick import build_adclick
from adclick.networks.inputs import ResidualForm
from adclick.run.job import Job, parse_job, run
from adclick.run.kept import made_once
from adclick.run.plan.clicks import TrainAdclick
from adclick.training.fit import (
    EXPANDED,
    LISTS,
    batch_counts,
    fit_network,
    language_sizes,
    make_plan,
    trunk_sizes,
)

COMMAND = "adclick.commands.train_adclick"


def main(argv: Sequence[str] | None = None) -> None:
    """Pretraining sees real defects with true masks of other categories; finetuning sees simulated
    defects and normal images of this one, and starts from the pretrained weights if they are given.
    """
    job = parse_job(
        COMMAND,
        TrainAdclick,
        argv,
        doc=__doc__,
        trains=lambda settings: not settings.pretrain,
        optional=["initial"],
        lists=[*LISTS, *EXPANDED, "branch"],
        outputs=["weights", "record"],
        seeded=True,
    )
    made_once(job.outputs, job.stamp, lambda: _train(job))


def _train(job: Job[TrainAdclick]) -> None:
    settings = job.settings
    training, network = settings.training, settings.network
    channels = settings.residual_input.groups or settings.residual_channels
    sizes = {
        **trunk_sizes(
            network, size_px=settings.size_px, stride=settings.stride, residual_channels=channels
        ),
        **network.model_dump(
            include={"click_cells", "neck_channels", "neck_strides", "head_hidden"}
        ),
        "inputs": settings.inputs,
        "image_channels": [] if settings.inputs == "residual" else network.image_channels,
        "language": language_sizes(settings.vision_language, text_channels=settings.text_channels)
        if settings.language
        else None,
    }
    plan = make_plan(
        training,
        pretrain=settings.pretrain,
        form=ResidualForm(**settings.residual_input.model_dump()),
        first_clicks=True,
        iis=True,
        radius_px=settings.radius_px,
        threshold=settings.threshold,
    )
    counts = batch_counts(training.pretrain_batch if settings.pretrain else training.batch)
    fit_network(job, build_adclick, sizes, plan, counts, kind="adclick", abandon=False)


if __name__ == "__main__":
    run(main)
