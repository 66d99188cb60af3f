"""The training loop of both networks, written out: clicks, loss, step, moving average.

Sec. 3.4. One loop serves ADClick and ADClick-Seg; what differs is the plan: whether clicks are
simulated, where the first one falls, and which loss is used.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from adclick.run.device import Precision, reduced
from adclick.training.batches import (
    Clock,
    Ready,
    network_inputs,
    read_ahead,
    readers_for,
    send,
)
from adclick.training.clicking import (
    CLICK_STREAM,
    Spread,
    add_next_clicks,
    click_input,
    start_clicks,
)
from adclick.training.losses import focal_loss, normalized_focal_loss
from adclick.training.plan import Plan, ema_weight, warmup_rate
from adclick.training.resuming import Progress, resume, save_progress
from adclick.training.samples import Batch, step_generator
from adclick.training.telling import Teller


class Segmenter(Protocol):
    """What the loop needs of a network: the three parts that clicks are repeated over or not, and
    over how many cells clicks are diffused.
    """

    @property
    def click_cells(self) -> int | None:
        """Cells a side of the graphs that clicks are diffused over; None for disks alone."""
        ...

    def embed(self, residual: Tensor, image: Tensor) -> Tensor:
        """Tokens of the network's inputs: residual, normalised picture, or both."""
        ...

    def language_maps(self, image: Tensor, text: Tensor, text_mask: Tensor) -> list[Tensor]:
        """What the words say of the image, a map a stage; empty without a language branch."""
        ...

    def decode(self, tokens: Tensor, clicks: Tensor, maps: list[Tensor]) -> Tensor:
        """Logits at the clicks' resolution."""
        ...


def train(
    model: nn.Module,
    draw: Callable[[int], Batch],
    plan: Plan,
    *,
    seed: int,
    device: torch.device,
    progress: Progress | None = None,
    readers: int | None = None,
    clock: Clock | None = None,
) -> tuple[nn.Module, list[float]]:
    """The moving average of the trained weights as a module, and the loss of every step.

    `draw(step)` gives a step's batch; `readers` threads (None: as many as suit the device) prepare
    those of the next steps, first clicks too, and send them while this one is computed; `clock`
    counts how long was waited for them. Everything random is a function of (seed, step), so equal
    inputs give equal weights on one CPU type. With `progress` the state is kept there now and then,
    and a training that was killed goes on from it, to the same weights as one that ran through.
    """
    model.to(device)
    segmenter: Segmenter = model  # type: ignore[assignment]
    average = AveragedModel(model, multi_avg_fn=_averager(plan.ema_decay))
    optimiser = optimiser_of(model, plan, fused=device.type == "cuda")
    losses = [] if progress is None else resume(progress, model, average, optimiser)
    start, saved = len(losses), time.monotonic()
    teller = Teller(plan.steps)

    def prepare(step: int) -> Ready:
        batch = draw(step)
        clicks = start_clicks(batch, plan, cells=segmenter.click_cells, seed=seed, step=step)
        return send(batch, clicks, device)

    batches = read_ahead(
        prepare,
        range(start, plan.steps),
        readers=readers or readers_for(device),
        clock=clock or Clock(),
    )
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), clickers(device) as spread, closing(batches):
        for step, ready in zip(range(start, plan.steps), batches, strict=True):
            torch.manual_seed(int(step_generator(seed, step, 2 * CLICK_STREAM).integers(2**62)))
            losses.append(_take_step(model, optimiser, ready, plan, step=step, spread=spread))
            average.update_parameters(model)
            teller.tell(step + 1, losses[-1])
            if progress is not None and time.monotonic() - saved >= progress.every_s:
                save_progress(progress, model, average, optimiser, losses)
                saved = time.monotonic()
    return average.module.eval(), losses


@contextmanager
def clickers(device: torch.device) -> Iterator[Spread]:
    """How clicks are spread over pictures: in turn beside a processor that computes, at once for a
    GPU that waits for them.
    """
    if device.type == "cpu":
        yield map
        return
    with ThreadPoolExecutor(readers_for(device)) as pool:
        yield pool.map


def _take_step(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    ready: Ready,
    plan: Plan,
    *,
    step: int,
    spread: Spread,
) -> float:
    for group in optimiser.param_groups:
        group["lr"] = warmup_rate(step, group["peak_rate"], plan.warmup_steps)
    model.train()
    logits, labels = forward_with_clicks(model, ready, plan, spread=spread)
    loss = normalized_focal_loss(logits, labels) if plan.iis else focal_loss(logits, labels)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], plan.clip_norm)
    optimiser.step()
    return float(loss.detach())


def forward_with_clicks(
    model: nn.Module, ready: Ready, plan: Plan, *, spread: Spread = map
) -> tuple[Float[Tensor, "batch 1 height width"], Float[Tensor, "batch 1 height width"]]:
    """Logits of a batch after its simulated clicks, and its labels, both float32.

    After the first clicks of every sample, each round adds the click that would correct the current
    mask (no gradient, evaluation mode); the last mask is an input of the final pass (SimpleClick's
    training). Tokens and language-vision maps are computed once and shared by all rounds, those
    parts of the branch that lie before anything trained without a gradient.
    """
    segmenter: Segmenter = model  # type: ignore[assignment]
    inputs = network_inputs(ready, plan.residual)
    device = inputs.labels.device
    with reduced(device, plan.precision):
        tokens = segmenter.embed(inputs.residuals, inputs.images)
        maps = segmenter.language_maps(inputs.images, inputs.texts, inputs.text_masks)
    previous = torch.zeros_like(inputs.labels)
    for _ in range(ready.clicks.rounds):
        given = click_input(ready.clicks, previous, spread)
        previous = _predict(model, tokens, given, maps, plan.precision)
        wrong = (previous[:, 0] > plan.threshold).cpu().numpy()
        add_next_clicks(ready.clicks, wrong, spread)
    # A block of its own: no halved weight of `_predict`, which has no gradient, is read again.
    with reduced(device, plan.precision):
        logits = segmenter.decode(tokens, click_input(ready.clicks, previous, spread), maps)
    return logits.float(), inputs.labels


@torch.no_grad()
def _predict(
    model: nn.Module, tokens: Tensor, given: Tensor, maps: list[Tensor], precision: Precision
) -> Float[Tensor, "batch 1 height width"]:
    segmenter: Segmenter = model  # type: ignore[assignment]
    model.eval()
    with reduced(given.device, precision):
        logits = segmenter.decode(tokens, given, maps)
    model.train()
    return torch.sigmoid(logits.float())


def optimiser_of(model: nn.Module, plan: Plan, *, fused: bool = False) -> torch.optim.AdamW:
    """AdamW over what is trained: the fusion of language at a rate of its own, and neither biases
    nor norms decay. `fused` is one kernel for all, as a GPU likes it.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, value in model.named_parameters():
        if value.requires_grad:
            rate = plan.fusion_learning_rate if ".fusion." in name else plan.learning_rate
            decay = plan.weight_decay if value.ndim > 1 else 0.0
            groups.setdefault((rate, decay), []).append(value)
    given = [
        {"params": values, "peak_rate": rate, "weight_decay": decay}
        for (rate, decay), values in groups.items()
    ]
    return torch.optim.AdamW(given, fused=fused)


def _averager(decay: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    def average(averaged: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
        weight = 1 - ema_weight(int(count), decay)
        lerp: Any = torch._foreach_lerp_  # pyright: ignore[reportPrivateImportUsage]
        lerp(list(averaged), list(current), weight)

    return average
