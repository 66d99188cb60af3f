"""A detector from labels, cross-validated: several networks, and how much they may add."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch

from adclick.data.geometry import cropped
from adclick.networks.checkpoints import seeded
from adclick.networks.detector_inputs import DetectorForm, added_logits
from adclick.networks.feature_detector import FeatureDetector, FoldedDetector
from adclick.residuals.calibration import (
    Calibration,
    base_logits,
    fit_calibration,
    mean_calibration,
)
from adclick.run.stored import lazily
from adclick.training.amounts import (
    AmountScore,
    HeldAmounts,
    HeldOut,
    StreamedAmounts,
    choose_amount,
    fold_sources,
)
from adclick.training.detector_samples import DetectorPool, draw_detector_batch
from adclick.training.detector_training import DetectorPlan, train_detector

CALIBRATION_STEP = 2  # every second row and column is enough for two numbers
STEPS_GROWTH = 1 / 3  # ten times the labels, twice the steps
SEEDS_A_RUN = 1000  # keeps the folds' seeds of one run apart from those of another


@dataclass(frozen=True)
class CrossPlan:
    """The settings of a cross-validated training.

    `counts` says how many pictures of each kind (`normal`, `simulated`, `real`) a batch holds;
    without labels `real` is 0, and simulated defects on held-out normal pictures are what amounts
    are scored on. Pictures are dealt to as many parts as there are networks (`folds`), and each
    network does without `left_out` of them, of fewer than five parts without one. At most
    `held_normals` normal pictures (and simulated defects) a part are scored. Of more than
    `few_labels` labelled pictures, what keeps a training from believing them goes back
    (`caution`); `simulated_share` is how many of the simulated defects are not replaced by real
    ones.
    """

    training: DetectorPlan
    counts: Mapping[str, int]
    folds: int
    left_out: int
    few_labels: int
    amounts: Sequence[float]
    least_gain: float
    merit_noise: float
    held_normals: int
    size_exponent: float
    abandoned: bool
    simulated_share: float = 1.0


@dataclass(frozen=True)
class CrossTrained:
    """What came of it: the networks as one, the calibration of what they add to, the chosen amount,
    the scores of all amounts on held-out pictures, every network's losses, how many parts each did
    without, and how much of its caution the training kept.
    """

    detector: FoldedDetector
    calibration: Calibration
    chosen: AmountScore
    scores: Sequence[AmountScore]
    losses: Sequence[Sequence[float]]
    left_out: int
    caution: float


class _Apart(NamedTuple):
    """A network that was trained without some parts, and the calibration by what it saw."""

    network: FeatureDetector
    calibration: Calibration
    losses: list[float]


def cross_train(
    pools: Mapping[str, DetectorPool],
    kinds: Mapping[str, str],
    build: Callable[..., FeatureDetector],
    sizes: Mapping[str, Any],
    form: DetectorForm,
    plan: CrossPlan,
    *,
    seed: int,
    device: torch.device,
) -> CrossTrained:
    """`folds` detectors, each trained without some parts of the labelled defects, and of the normal
    pictures and what was drawn on these; and the amount that is best on held-out pictures, of which
    each is answered by all detectors that did not see it, together. One alone answers worse than
    the whole does in use, and too little would be added.

    `pools` has `normal` and `simulated`, and with labels `real`, whose first row of every source is
    the labelled picture itself (others, such as pasted copies, are trained on and never scored).
    `kinds` has the type of defect of every labelled source. The form's calibration counts only for
    its `middle`.
    """
    labelled = "real" if plan.counts.get("real") else "simulated"
    parts = _dealt(pools, kinds if labelled == "real" else None, plan.folds)
    left_out = max(1, min(plan.left_out, (len(parts["normal"]) - 1) // 2))
    share = caution(len(set(pools["real"].sources)), plan) if labelled == "real" else 1.0
    trained = _train_apart(
        pools,
        parts,
        build,
        {**sizes, "channel_dropout": sizes["channel_dropout"] * share},
        form,
        _for_labels(plan, share),
        left_out=left_out,
        seed=seed,
        device=device,
    )
    scores = _score_held_out(trained, pools, parts, form, plan, left_out=left_out, device=device)
    return CrossTrained(
        _together(trained, form).eval(),
        _calibrated_alike(trained, form).calibration,
        choose_amount(scores, least_gain=plan.least_gain, noise=plan.merit_noise),
        scores,
        [one.losses for one in trained],
        left_out,
        share,
    )


def caution(labels: int, plan: CrossPlan) -> float:
    """1 up to `few_labels` labelled pictures, and the share that these are of more: how much of
    channel dropout and of simulated defects beside real ones stays. Both help where labels are few
    and harm where they are many.
    """
    return min(1.0, plan.few_labels / labels)


def _for_labels(plan: CrossPlan, share: float) -> CrossPlan:
    """A plan with so much of its caution, and more steps where there is more to learn."""
    steps = round(plan.training.steps * share**-STEPS_GROWTH)
    return replace(
        plan,
        training=replace(plan.training, steps=steps),
        simulated_share=plan.simulated_share * share,
    )


def _dealt(
    pools: Mapping[str, DetectorPool], kinds: Mapping[str, str] | None, folds: int
) -> dict[str, list[set[str]]]:
    """The parts of every kind of picture, as many as `folds` or as there are pictures: simulated
    defects are with the normal pictures that they were drawn on; labelled ones, where `kinds` tells
    their types, are dealt type by type.
    """
    normals = sorted(set(pools["normal"].sources))
    sources = list(dict.fromkeys(pools["real"].sources)) if kinds is not None else []
    count = min(folds, len(normals), len(sources) or folds)
    own_normals = fold_sources(normals, [""] * len(normals), count)
    parts = {"normal": own_normals, "simulated": own_normals}
    if kinds is not None:
        parts["real"] = fold_sources(sources, [kinds[source] for source in sources], count)
    return parts


def _defects(parts: Mapping[str, Any]) -> str:
    """The kind of defects that is scored: labelled ones, where there are any."""
    return "real" if "real" in parts else "simulated"


def _parts_unseen(network: int, count: int, left_out: int) -> list[int]:
    """Which of `count` parts a network does without: every second one from its own on, since
    neighbours share a type of defect that has two labels.
    """
    return [(network + 2 * step) % count for step in range(left_out)]


def _train_apart(
    pools: Mapping[str, DetectorPool],
    parts: Mapping[str, Sequence[set[str]]],
    build: Callable[..., FeatureDetector],
    sizes: Mapping[str, Any],
    form: DetectorForm,
    plan: CrossPlan,
    *,
    left_out: int,
    seed: int,
    device: torch.device,
) -> list[_Apart]:
    """The networks, one a part."""
    count = len(parts["normal"])
    found = []
    for number in range(count):
        print(f"network {number + 1} of {count}", flush=True)
        numbers = _parts_unseen(number, count, left_out)
        unseen = set().union(*(own[part] for own in parts.values() for part in numbers))
        seen = {kind: pools[kind].without(unseen) for kind in parts}
        own_form = replace(
            form, calibration=_calibrated(seen, _defects(parts), form.calibration.middle)
        )
        own_seed = SEEDS_A_RUN * seed + number
        network, losses = _train_one(
            seen, build, sizes, own_form, plan, seed=own_seed, device=device
        )
        found.append(_Apart(network, own_form.calibration, losses))
    return found


def _score_held_out(
    trained: Sequence[_Apart],
    pools: Mapping[str, DetectorPool],
    parts: Mapping[str, Sequence[set[str]]],
    form: DetectorForm,
    plan: CrossPlan,
    *,
    left_out: int,
    device: torch.device,
) -> list[AmountScore]:
    """What amounts reach, each part being answered by those who did not see it."""
    count = len(trained)
    large = any(pool.is_large(row) for pool in pools.values() for row in pool.rows)
    held = (StreamedAmounts if large else HeldAmounts)(plan.amounts)
    for part in range(count):
        print(f"held-out pictures: part {part + 1} of {count}", flush=True)
        blind = [
            one
            for number, one in enumerate(trained)
            if part in _parts_unseen(number, count, left_out)
        ]
        together, own_form = _together(blind, form), _calibrated_alike(blind, form)
        for kind in ("normal", _defects(parts)):
            pool = pools[kind].restricted(parts[kind][part])
            for own in _held_out(together, pool, own_form, part, plan, device):
                held.add(own)
    return held.scores()


def _together(trained: Sequence[_Apart], form: DetectorForm) -> FoldedDetector:
    return FoldedDetector(
        [one.network for one in trained],
        feature_mean=torch.from_numpy(form.features.mean),
        feature_deviation=torch.from_numpy(form.features.deviation),
        residual_scale=torch.from_numpy(form.residual_scale),
    )


def _calibrated_alike(trained: Sequence[_Apart], form: DetectorForm) -> DetectorForm:
    return replace(form, calibration=mean_calibration([one.calibration for one in trained]))


def _train_one(
    pools: Mapping[str, DetectorPool],
    build: Callable[..., FeatureDetector],
    sizes: Mapping[str, Any],
    form: DetectorForm,
    plan: CrossPlan,
    *,
    seed: int,
    device: torch.device,
) -> tuple[FeatureDetector, list[float]]:
    counts = {kind: count for kind, count in plan.counts.items() if count and pools[kind].rows}
    model = seeded(build, seed, **sizes).to(device)
    trained, losses = train_detector(
        model,
        lambda step: draw_detector_batch(
            pools,
            counts,
            form,
            abandoned=plan.abandoned,
            size_exponent=plan.size_exponent,
            simulated_share=plan.simulated_share,
            seed=seed,
            step=step,
            device=device,
        ),
        plan.training,
        seed=seed,
    )
    assert isinstance(trained, FeatureDetector)
    return trained, losses


def _calibrated(pools: Mapping[str, DetectorPool], labelled: str, middle: float) -> Calibration:
    maps, masks = [], []
    for kind in (labelled, "normal"):
        for row in _scored_rows(pools[kind]):
            mask, sparser = _mask(pools[kind], row), pools[kind].sparser(row, CALIBRATION_STEP)
            kept = np.zeros_like(mask)  # normal pixels are many in a large picture, defects few
            kept[::CALIBRATION_STEP, ::CALIBRATION_STEP] = mask[
                ::CALIBRATION_STEP, ::CALIBRATION_STEP
            ]
            kept[::sparser, ::sparser] = True
            maps.append(np.asarray(pools[kind].maps[row])[kept])
            masks.append(mask[kept])
    return fit_calibration(maps, masks, middle=middle)


def _held_out(
    model: FoldedDetector,
    pool: DetectorPool,
    form: DetectorForm,
    fold: int,
    plan: CrossPlan,
    device: torch.device,
) -> Iterator[HeldOut]:
    rows = _scored_rows(pool)
    if pool.labels is None or "real" not in plan.counts or not plan.counts["real"]:
        rows = rows[: plan.held_normals]
    for row in rows:
        features, residual, image = (
            lazily(own, row) for own in (pool.features, pool.residuals, pool.images)
        )
        added = added_logits(
            model,
            features,
            residual,
            image,
            form,
            device,
            content=pool.content(row),
            window=pool.window,
        )
        base = base_logits(pool.maps[row], form.calibration)
        yield HeldOut(fold, base, added, _mask(pool, row))


def _scored_rows(pool: DetectorPool) -> list[int]:
    """The first row of every source."""
    first: dict[str, int] = {}
    for source, row in zip(pool.sources, pool.rows, strict=True):
        first.setdefault(source, row)
    return list(first.values())


def _mask(pool: DetectorPool, row: int) -> np.ndarray:
    if pool.labels is None:
        return np.zeros(pool.content(row), bool)
    return cropped(np.asarray(pool.labels[row]) > 0.5, pool.content(row))
