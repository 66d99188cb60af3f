"""Train ADClick: pretraining on other categories, or finetuning on one (Sec. 3.4, 4.2)."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

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
from adclick.run.settings.clicks import Levels
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
PLAIN_FILES = ("simulated_images", "simulated_residuals")
LINE_FILES = ("line_images", "line_residuals")
ESTIMATES = ("levels", "line_levels")  # of a network, by the pictures that they learn from
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
        lists=[*LISTS, *EXPANDED, *LINE_FILES, "branch"],
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


class _Drawn(NamedTuple):
    """Simulated pictures, opened for the trained network, of which so many are clicked."""

    opened: Opened
    file: ArrayFile
    pictures: int


def _add_levels(job: Job[TrainAdclick], model: Any, device: torch.device) -> dict[str, Any]:
    """Give the trained network an estimate of the level at which its answers are cut and, where
    there are thin defects to learn it from, one of whether to follow a line.
    """
    refining = job.settings.refining
    assert refining is not None
    levels = refining.levels
    wanted: list[tuple[tuple[str, str], int]] = [(PLAIN_FILES, levels.pictures)]
    if levels.lines is not None:
        wanted.append((LINE_FILES, levels.lines))
    with ExitStack() as stack:
        drawn = [
            stack.enter_context(_open_drawn(job, model, device, files, pictures))
            for files, pictures in wanted
        ]
        choices = _fitted_levels(drawn, refining, job.settings.threshold, job.seed)
    if not choices:
        print("no simulated defect to learn levels from: answers are cut at the threshold")
        return {}
    for name, choice in choices.items():
        setattr(model, name, choice.to(device))
    sizes = {
        "features": len(LEVEL_FEATURES),
        "hidden": levels.hidden,
        "steady": STEADY_COLUMNS,
    }
    return dict.fromkeys(choices, sizes)


@contextmanager
def _open_drawn(
    job: Job[TrainAdclick],
    model: Any,
    device: torch.device,
    files: tuple[str, str],
    pictures: int,
) -> Iterator[_Drawn]:
    settings, lists = job.settings, job.lists
    images, residuals = (lists[name][0] for name in files)
    with (
        open_arrays(images) as file,
        open_trained(
            model.eval(),
            settings.model_dump(mode="json"),
            images=images,
            residuals=residuals,
            scales=lists["residuals"][0],
            language=lists["languages"][0] if lists["languages"] else None,
            category=settings.category.split("/")[-1],
            radius_px=settings.radius_px,
            device=device,
        ) as opened,
    ):
        yield _Drawn(opened, file, pictures)


def _fitted_levels(
    drawn: Sequence[_Drawn], refining: Refining, threshold: float, seed: int
) -> dict[str, LevelChoice]:
    """The estimates by their names (`_fitted`).

    Of all pictures one half is clicked while answers are cut at one half, the other while the
    estimates from the first choose: of its own masks, too, an estimate must learn what to hold on
    to.
    """
    choices: dict[str, LevelChoice] = {}
    seen: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in drawn]
    for half in (0, 1):
        choose = None
        if choices:
            choose = chosen_by(choices["levels"], of_lines=choices.get("line_levels"))
        for own, pictures in zip(seen, drawn, strict=True):
            rows = some_rows(pictures.file, pictures.pictures, seed)[half::2]
            own.append(
                levels_seen(
                    pictures.opened,
                    pictures.file,
                    rows,
                    count=refining.levels.clicks,
                    zoom=refining.zoom,
                    edges=refining.edges,
                    threshold=threshold,
                    choose=choose,
                )
            )
        choices = _fitted(seen, refining.levels, seed)
    return choices


def _fitted(
    seen: Sequence[Sequence[tuple[np.ndarray, np.ndarray]]], levels: Levels, seed: int
) -> dict[str, LevelChoice]:
    """`levels` from what was seen of the first pictures, `line_levels` from that and of the second;
    each only where there are answers to learn it from.
    """
    choices: dict[str, LevelChoice] = {}
    answers: list[tuple[np.ndarray, np.ndarray]] = []
    for name, own in zip(ESTIMATES, seen, strict=False):
        answers.extend(own)
        if not sum(len(features) for features, _ in own):
            break
        features, ious = (np.concatenate(one) for one in zip(*answers, strict=True))
        choices[name] = fit_levels(features, ious, levels, steady=STEADY_COLUMNS, seed=seed)
    return choices


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
