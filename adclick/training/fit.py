"""What the two training commands share: open the pools, train, save the weights and the record."""

import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from adclick.networks.checkpoints import load_weights_into, save_model, seeded
from adclick.networks.inputs import ResidualForm
from adclick.networks.parts import window_of
from adclick.networks.vision_language import language_parts
from adclick.run.artifacts import write_json
from adclick.run.device import compute_device
from adclick.run.errors import InputError
from adclick.run.job import Job
from adclick.run.plan.clicks import TrainAdclick
from adclick.run.plan.detection import TrainAdclickSeg
from adclick.run.settings.networks import Network, VisionLanguage
from adclick.run.settings.training import Batch, Training
from adclick.training.batches import Clock
from adclick.training.loop import train
from adclick.training.plan import Plan
from adclick.training.pools import CategoryFiles, open_pools
from adclick.training.resuming import progress_of
from adclick.training.samples import Augmentation, Pool, draw_batch

TrainJob = Job[TrainAdclick] | Job[TrainAdclickSeg]
LISTS = (
    "manifests",
    "images",
    "residuals",
    "simulated_images",
    "simulated_residuals",
    "languages",
    "masks",
)
NEEDED = ("manifests", "images", "residuals", "simulated_images", "simulated_residuals")
Finish = Callable[[nn.Module, torch.device], Mapping[str, Any]]
TRUNK = {"dim", "depth", "heads", "window", "drop_path", "click_init", "language_init"}
EXPANDED = ("expanded_images", "expanded_residuals")


def language_sizes(settings: VisionLanguage, *, text_channels: int) -> dict[str, Any]:
    """The sizes of the language-vision branch."""
    return {**settings.model_dump(exclude={"weights"}), "text_channels": text_channels}


def trunk_sizes(
    network: Network, *, size_px: int, stride: int, residual_channels: int
) -> dict[str, Any]:
    """The sizes that both networks share."""
    return {
        "grid": size_px // stride,
        "image_px": size_px,
        "residual_channels": residual_channels,
        **network.model_dump(include=TRUNK),
    }


def make_plan(training: Training, *, pretrain: bool, form: ResidualForm, **flags: Any) -> Plan:
    """The plan of pretraining or of what follows; `flags` are its fields that are no setting of
    `training`.
    """
    share = training.pretrain_rate if pretrain else 1.0
    values = training.model_dump(include={field.name for field in fields(Plan)}) | {
        "steps": training.pretrain_steps if pretrain else training.steps,
        "learning_rate": share * training.learning_rate,
        "fusion_learning_rate": share * training.fusion_learning_rate,
    }
    return Plan(**values, residual=form, **flags)


def collect_pools(job: TrainJob, counts: Mapping[str, int]) -> dict[str, list[Pool]]:
    """The pools of every source category for the kinds that a batch holds."""
    kinds = [kind for kind, count in counts.items() if count]
    pools: dict[str, list[Pool]] = {kind: [] for kind in kinds}
    for files in _category_files(job):
        for kind, pool in open_pools(files, kinds).items():
            pools[kind].append(pool)
    return pools


def batch_counts(batch: Batch) -> dict[str, int]:
    """Samples of each kind in a batch, in a fixed order."""
    return {"normal": batch.normal, "simulated": batch.simulated, "real": batch.real}


def fit_network(
    job: TrainJob,
    build: Callable[..., nn.Module],
    sizes: Mapping[str, Any],
    plan: Plan,
    counts: Mapping[str, int],
    *,
    kind: str,
    abandon: bool,
    finish: Finish | None = None,
) -> None:
    """Train a network on the job's pools, from its initial weights if given, and save what came of
    it. `finish` adds to the trained network, and says what sizes that has.
    """
    started = time.monotonic()
    pools = collect_pools(job, counts)
    training = job.settings.training
    augmentation = Augmentation(training.augment, training.gain, abandon)
    model = seeded(build, job.seed, **sizes)
    if "initial" in job.inputs:
        load_weights_into(model, job.inputs["initial"])
    elif sizes["language"] is not None:
        _load_language_branch(model, job.settings.vision_language)

    def draw(step: int) -> Any:
        return draw_batch(pools, counts, augmentation, seed=job.seed, step=step)

    with compute_device() as device:
        progress = progress_of(job.outputs["weights"], job.stamp, device)
        clock = Clock()
        trained, losses = train(
            model, draw, plan, seed=job.seed, device=device, progress=progress, clock=clock
        )
        added = {} if finish is None else finish(trained, device)
    extra = {"settings": job.settings.model_dump(mode="json"), "stamp": job.stamp}
    save_model(
        job.outputs["weights"], trained.cpu(), sizes={**sizes, **added}, kind=kind, extra=extra
    )
    record = {
        "losses": losses,
        "steps": plan.steps,
        "parameters": sum(value.numel() for value in trained.parameters()),
        "seconds": time.monotonic() - started,
        "waiting_share": clock.waiting_share,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "device": str(device),
    }
    write_json(job.outputs["record"], record, stamp=job.stamp)
    progress.path.unlink(missing_ok=True)


def _load_language_branch(model: Any, settings: VisionLanguage) -> None:
    branch = model.vision_language
    if settings.weights is not None:
        load_weights_into(
            branch,
            Path(settings.weights),
            allow_unused=True,
            may_lack=() if settings.trainable == "pwam" else language_parts(branch.state_dict()),
            advice="give a LAVT checkpoint's weights (adclick convert-weights), or with those of"
            " a Swin alone set vision_language.trainable to language; sizes must be equal",
        )
    elif settings.trainable != "all":
        raise InputError(
            "vision_language.weights: a branch whose Swin is frozen needs pretrained weights;"
            " give a safetensors file, or set vision_language.trainable to all"
        )


def _category_files(job: TrainJob) -> list[CategoryFiles]:
    names = [place.split("/")[-1] for place in job.settings.sources]
    lists = job.lists
    if any(len(lists[name]) != len(names) for name in LISTS if lists[name] or name in NEEDED):
        raise InputError(f"settings: {len(names)} sources, but not as many files of every kind")

    def column(name: str) -> list[Any]:
        return [*lists[name], *[None] * (len(names) - len(lists[name]))]

    kinds = (*LISTS, *EXPANDED)
    rows = zip(names, *(column(name) for name in kinds), strict=True)
    window = window_of(job.settings.model_dump())
    return [CategoryFiles(*row, window=window) for row in rows]
