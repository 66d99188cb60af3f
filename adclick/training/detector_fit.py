"""The training of a detector on features, from a job's files to its weights and its record."""

import resource
import time
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np

from adclick.networks.detector_inputs import DetectorForm
from adclick.networks.feature_detector import build_feature_detector
from adclick.networks.inputs import ResidualForm
from adclick.networks.parts import window_of
from adclick.networks.trained_detector import TrainedDetector, save_detector
from adclick.run.artifacts import write_json
from adclick.run.device import compute_device
from adclick.run.errors import InputError
from adclick.run.job import Job
from adclick.run.plan.detection import FeatureDetection, TrainAdclickSeg
from adclick.run.settings.training import FeatureTraining
from adclick.training.amounts import record_of
from adclick.training.cross_training import CrossPlan, CrossTrained, cross_train
from adclick.training.detector_pools import (
    DetectorFiles,
    fit_detector_form,
    labelled_kinds,
    open_detector_pools,
)
from adclick.training.detector_samples import DetectorPool
from adclick.training.detector_training import DetectorPlan

SCALE_PICTURES = 100  # normal pictures, at most, that say how features vary
FEWEST = 2  # labelled pictures: one to learn from while the other is held out


def fit_detector(job: Job[TrainAdclickSeg], own: FeatureDetection) -> None:
    """Train the networks, choose how much they add, save the detector and the record."""
    started = time.monotonic()
    settings = job.settings
    files = _files(job)
    pools = open_detector_pools(files, **own.detection.model_dump())
    kinds = labelled_kinds(files.manifest, pools["real"]) if "real" in pools else {}
    _require_enough(files, pools)
    form = fit_detector_form(
        files,
        pools["normal"],
        ResidualForm(**settings.residual_input.model_dump()),
        matched=own.network.matched,
        pictures=SCALE_PICTURES,
    )
    sizes = {
        "feature_channels": form.feature_channels,
        "residual_channels": form.residual_channels,
        **own.network.model_dump(exclude={"matched"}),
    }
    plan = _plan(own.training, labelled="real" in pools, abandon=settings.variant.abandon)
    with compute_device() as device:
        trained = cross_train(
            pools, kinds, build_feature_detector, sizes, form, plan, seed=job.seed, device=device
        )
    _save(job, trained, form, sizes)
    record = {
        **record_of(trained.scores, trained.chosen),
        "losses": np.mean(trained.losses, axis=0).tolist(),
        "network_losses": [list(losses) for losses in trained.losses],
        "left_out": trained.left_out,
        "caution": trained.caution,
        "steps": len(trained.losses[0]),
        "parameters": sum(value.numel() for value in trained.detector.parameters()),
        "seconds": time.monotonic() - started,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "device": str(device),
    }
    write_json(job.outputs["record"], record, stamp=job.stamp)


def _files(job: Job[TrainAdclickSeg]) -> DetectorFiles:
    lists = job.lists
    single = ("manifests", "images", "residuals", "simulated_images", "simulated_residuals")
    if any(len(lists[name]) != 1 for name in single):
        raise InputError("settings: a detector on features learns one category; give its files")
    given = [lists[name][0] for name in single]
    expanded = [next(iter(lists[name]), None) for name in ("expanded_images", "expanded_residuals")]
    return DetectorFiles(*given, *expanded, window=window_of(job.settings.model_dump()))


def _require_enough(files: DetectorFiles, pools: Mapping[str, DetectorPool]) -> None:
    """InputError when there is nothing to hold out."""
    for kind, pool in pools.items():
        count = len(set(pool.sources))
        if count < FEWEST:
            raise InputError(
                f"{files.manifest}: {count} {kind} picture(s); a detector on features needs"
                f" {FEWEST}, since it holds some out: add pictures or labels, or leave"
                " `detector: features` away"
            )


def _plan(training: FeatureTraining, *, labelled: bool, abandon: bool) -> CrossPlan:
    batch = training.batch
    counts = {"normal": batch.normal, "simulated": batch.simulated, "real": batch.real}
    if not labelled:
        counts = {**counts, "simulated": batch.simulated + batch.real, "real": 0}
    names = {field.name for field in fields(DetectorPlan)}
    return CrossPlan(
        training=DetectorPlan(**training.model_dump(include=names)),
        counts=counts,
        folds=training.folds,
        left_out=training.left_out,
        few_labels=training.few_labels,
        amounts=training.amounts,
        least_gain=training.least_gain,
        merit_noise=training.merit_noise,
        held_normals=training.held_normals,
        size_exponent=training.size_exponent,
        abandoned=abandon,
    )


def _save(
    job: Job[TrainAdclickSeg], trained: CrossTrained, form: DetectorForm, sizes: Mapping[str, Any]
) -> None:
    detector = TrainedDetector(
        trained.detector.cpu(),
        replace(form, calibration=trained.calibration),
        trained.chosen.amount,
        window_of(job.settings.model_dump()),
    )
    extra = {
        "settings": job.settings.model_dump(mode="json"),
        "stamp": job.stamp,
        "held_out": record_of(trained.scores, trained.chosen)["held_out"],
    }
    save_detector(job.outputs["weights"], detector, sizes=sizes, extra=extra)
