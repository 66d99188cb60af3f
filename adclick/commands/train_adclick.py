"""Train ADClick: pretraining on other categories, or finetuning on one (Sec. 3.4, 4.2)."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from adclick.clicks.levels import LEVEL_FEATURES, STEADY_COLUMNS
from adclick.models.levels_seen import levels_seen, some_rows
from adclick.models.opening import Opened, open_trained
from adclick.models.refining import chosen_by
from adclick.networks.adclick import build_adclick
from adclick.networks.checkpoints import read_metadata
from adclick.networks.inputs import ResidualForm
from adclick.networks.level_choice import LevelChoice
from adclick.networks.simpleclick import KIND, build_simpleclick
from adclick.run.artifacts import ArrayFile, open_arrays
from adclick.run.errors import InputError
from adclick.run.job import Job, parse_job, run
from adclick.run.kept import made_once
from adclick.run.plan.clicks import Refining, TrainAdclick
from adclick.training.fit import (
    EXPANDED,
    LISTS,
    batch_counts,
    fit_network,
    language_sizes,
    make_plan,
    trunk_sizes,
)
from adclick.training.level_fit import fit_levels
from adclick.training.plan import Plan

COMMAND = "adclick.commands.train_adclick"
BUILDERS = {"adclick": build_adclick, KIND: build_simpleclick}


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
    kind = settings.published or "adclick"
    sizes = own_sizes(settings) if settings.published is None else _published_sizes(job, kind)
    fit_network(
        job,
        BUILDERS[kind],
        sizes,
        own_plan(settings),
        own_counts(settings),
        kind=kind,
        abandon=False,
        finish=None if settings.refining is None else partial(_add_levels, job),
    )


def _add_levels(job: Job[TrainAdclick], model: Any, device: torch.device) -> dict[str, Any]:
    """Give the trained network an estimate of the level at which its answers are cut."""
    settings, lists = job.settings, job.lists
    refining = settings.refining
    assert refining is not None
    images = lists["simulated_images"][0]
    with (
        open_arrays(images) as drawn,
        open_trained(
            model.eval(),
            settings.model_dump(mode="json"),
            images=images,
            residuals=lists["simulated_residuals"][0],
            scales=lists["residuals"][0],
            language=lists["languages"][0] if lists["languages"] else None,
            category=settings.category.split("/")[-1],
            radius_px=settings.radius_px,
            device=device,
        ) as opened,
    ):
        choice = _fitted_levels(opened, drawn, refining, settings.threshold, job.seed)
    if choice is None:
        print("no simulated defect to learn levels from: answers are cut at the threshold")
        return {}
    model.levels = choice.to(device)
    return {
        "levels": {
            "features": len(LEVEL_FEATURES),
            "hidden": refining.levels.hidden,
            "steady": STEADY_COLUMNS,
        }
    }


def _fitted_levels(
    opened: Opened, drawn: ArrayFile, refining: Refining, threshold: float, seed: int
) -> LevelChoice | None:
    """An estimate, from pictures of which one half is clicked while answers are cut at one half,
    the other while an estimate from the first chooses: of its own masks, too, it must learn what
    to hold on to.
    """
    levels, choice = refining.levels, None
    rows = some_rows(drawn, levels.pictures, seed)
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    for part in (rows[::2], rows[1::2]):
        seen.append(
            levels_seen(
                opened,
                drawn,
                part,
                count=levels.clicks,
                zoom=refining.zoom,
                edges=refining.edges,
                threshold=threshold,
                choose=None if choice is None else chosen_by(choice),
            )
        )
        features, ious = (np.concatenate(one) for one in zip(*seen, strict=True))
        if len(features):
            choice = fit_levels(features, ious, levels, steady=STEADY_COLUMNS, seed=seed)
    return choice


def own_plan(settings: TrainAdclick) -> Plan:
    """The plan of a training with these settings."""
    return make_plan(
        settings.training,
        pretrain=settings.pretrain,
        form=ResidualForm(**settings.residual_input.model_dump()),
        first_clicks=True,
        iis=True,
        radius_px=settings.radius_px,
        threshold=settings.threshold,
        precision=settings.precision,
    )


def own_counts(settings: TrainAdclick) -> dict[str, int]:
    """How many samples of each kind its batches hold."""
    training = settings.training
    return batch_counts(training.pretrain_batch if settings.pretrain else training.batch)


def _published_sizes(job: Job[TrainAdclick], kind: str) -> dict[str, Any]:
    """The sizes of the published network that the training starts from."""
    if "initial" not in job.inputs:
        raise InputError(f"published: {kind} starts from its weights; give them under --initial")
    metadata = read_metadata(job.inputs["initial"])
    if metadata.kind != kind:
        raise InputError(f"{job.inputs['initial']}: a model of kind {metadata.kind}, not {kind}")
    return metadata.sizes


def own_sizes(settings: TrainAdclick) -> dict[str, Any]:
    """The sizes of its network."""
    network = settings.network
    channels = settings.residual_input.groups or settings.residual_channels
    return {
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


if __name__ == "__main__":
    run(main)
