"""Half precision: what it may differ by from float32, and what stays float32. On a processor, whose
autocast computes the same way, it is switched on here alone.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from adclick.networks.trunk import SwinBlock
from adclick.run import device as devices
from adclick.run.device import is_reduced
from adclick.training.batches import network_inputs, send
from adclick.training.clicking import start_clicks
from adclick.training.loop import forward_with_clicks, optimiser_of, train
from adclick.training.losses import normalized_focal_loss
from adclick.training.plan import Plan
from tests.training.test_loop import CPU, adclick, batch, detector, plan
from tests.training.test_resuming import killed_at, progress_in

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
ON_GPU = pytest.param("cuda", marks=[pytest.mark.gpu, needs_gpu])


@pytest.fixture(params=["cpu", ON_GPU])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A device that computes in half precision where it is asked for."""
    if request.param == "cpu":
        monkeypatch.setattr(devices, "is_reduced", lambda _, precision: precision == "bfloat16")
    yield torch.device(request.param)


def answer(
    model: torch.nn.Module, known: Plan, device: torch.device, step: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """The logits of a step's last pass, and the gradient of its loss, one after the other."""
    given = batch(step)
    clicks = start_clicks(given, known, cells=model.click_cells, seed=0, step=step)
    clicks = replace(clicks, rounds=known.click_rounds)
    model.to(device)
    logits, labels = forward_with_clicks(model, send(given, clicks, device), known)
    model.zero_grad()
    loss = normalized_focal_loss(logits, labels)
    assert logits.dtype == labels.dtype == loss.dtype == torch.float32
    loss.backward()
    gradients = [value.grad for value in model.parameters()]
    assert all(value is not None and value.dtype == torch.float32 for value in gradients)
    assert all(value.any() for value in gradients if value.ndim > 1)
    return logits.detach(), torch.cat([value.flatten() for value in gradients])


@pytest.mark.parametrize("build", [adclick, detector])
def test_logits_and_gradient_are_those_of_float32_but_for_rounding(build: Any, device: Any) -> None:
    """Of corrective clicks there is one: halved weights of its pass must not hide the gradient."""
    model = build().eval()
    model.train = lambda mode=True: model  # no dropout, whose draws would differ
    full, half = (
        answer(model, plan(click_rounds=1, precision=precision), device)
        for precision in ("float32", "bfloat16")
    )
    assert not torch.equal(full[0], half[0])
    assert (full[0] - half[0]).norm() < 0.03 * full[0].norm()
    assert (full[0].sigmoid() - half[0].sigmoid()).abs().max() < 0.02
    assert torch.nn.functional.cosine_similarity(full[1], half[1], dim=0) > 0.98


@pytest.mark.parametrize("build", [adclick, detector])
def test_twenty_steps_go_where_those_of_float32_go(build: Any, device: Any) -> None:
    before = torch.cat([value.detach().flatten() for value in build().parameters()])
    reached, losses = [], []
    for precision in ("float32", "bfloat16"):
        known = plan(steps=20, learning_rate=1e-3, precision=precision)
        trained, lost = train(build(), lambda step: batch(), known, seed=0, device=device)
        assert {value.dtype for value in trained.parameters()} == {torch.float32}
        reached.append(
            torch.cat([value.detach().flatten() for value in trained.parameters()]).cpu()
        )
        losses.append(torch.tensor(lost))
    moved = (reached[0] - before).norm()
    assert moved > 0
    assert (reached[0] - reached[1]).norm() < 0.5 * moved
    assert (losses[0] - losses[1]).abs().max() < 0.1 * losses[0].abs().max()
    assert losses[1][-5:].mean() < losses[1][:5].mean() - 0.005


def test_a_processor_computes_in_float32_whatever_is_asked_for() -> None:
    assert not is_reduced(CPU, "bfloat16")
    model = adclick().eval()
    model.train = lambda mode=True: model
    full, half = (answer(model, plan(precision=one), CPU)[0] for one in ("float32", "bfloat16"))
    assert torch.equal(full, half)


# --- on a GPU alone -------------------------------------------------------------------------------


@pytest.mark.gpu
@needs_gpu
def test_a_gpu_reduces_where_it_is_asked_to() -> None:
    assert is_reduced(torch.device("cuda"), "bfloat16")
    assert not is_reduced(torch.device("cuda"), "float32")


@pytest.mark.gpu
@needs_gpu
def test_what_a_gpu_is_sent_is_what_the_processor_reads() -> None:
    given, known = batch(), plan()
    clicks = start_clicks(given, known, cells=None, seed=0, step=0)
    here, there = (
        network_inputs(send(given, clicks, torch.device(name)), known.residual)
        for name in ("cpu", "cuda")
    )
    assert torch.equal(here.labels, there.labels.cpu())
    for name in ("residuals", "images", "texts", "text_masks"):
        torch.testing.assert_close(getattr(there, name).cpu(), getattr(here, name))


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("build", [adclick, detector])
def test_a_gpu_answers_as_the_processor_does(build: Any) -> None:
    """Also with attention as one kernel, which is the GPU's way."""
    model = build().eval()
    model.train = lambda mode=True: model
    known = plan(click_rounds=0)
    here, there = (answer(model, known, torch.device(name)) for name in ("cpu", "cuda"))
    torch.testing.assert_close(there[0].cpu(), here[0], atol=1e-3, rtol=1e-3)
    similar = torch.nn.functional.cosine_similarity(there[1].cpu(), here[1], dim=0)
    assert similar > 0.999
    SwinBlock.fused = False
    try:
        written_out = answer(model, known, torch.device("cuda"))
    finally:
        SwinBlock.fused = None
    torch.testing.assert_close(written_out[0], there[0], atol=1e-3, rtol=1e-3)


@pytest.mark.gpu
@needs_gpu
def test_a_training_on_a_gpu_goes_on_after_a_kill(tmp_path: Any) -> None:
    device = torch.device("cuda")
    known = plan(steps=6, precision="bfloat16")
    expected, losses = train(adclick(), batch, known, seed=0, device=device)
    progress = progress_in(tmp_path)
    killed_at(4, progress, known, device)
    found, again = train(adclick(), batch, known, seed=0, device=device, progress=progress)
    assert len(again) == 6
    torch.testing.assert_close(torch.tensor(again), torch.tensor(losses), atol=0.02, rtol=0.05)
    assert optimiser_of(adclick().to(device), known, fused=True).defaults["fused"]
    assert all(value.isfinite().all() for value in found.parameters())
    assert len(list(expected.parameters())) == len(list(found.parameters()))
