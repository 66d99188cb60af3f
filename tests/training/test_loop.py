from dataclasses import replace

import numpy as np
import pytest
import torch

from adclick.clicks.click import Click
from adclick.clicks.disks import fitting
from adclick.language.words import Text, draw_text
from adclick.models.session import open_image
from adclick.networks.adclick import build_adclick
from adclick.networks.adclick_seg import build_adclick_seg
from adclick.networks.checkpoints import seeded
from adclick.networks.inputs import ResidualForm, click_maps
from adclick.networks.vision_language import normalise_image
from adclick.training.batches import network_inputs, send
from adclick.training.clicking import add_next_clicks, start_clicks
from adclick.training.fit import make_plan
from adclick.training.loop import forward_with_clicks, optimiser_of, train
from adclick.training.plan import Plan, ema_weight, warmup_rate
from adclick.training.samples import Augmentation, Batch, Pool, Turn, draw_batch, draw_turn, turned
from tests.chain import micro_config

CPU = torch.device("cpu")
FORM = ResidualForm(normalise="channel", clamp=200.0, groups=4, log=True)
LANGUAGE = {
    "embed_dim": 8,
    "depths": [1, 1, 1, 1],
    "heads": [1, 1, 1, 1],
    "window": 4,
    "text_channels": 6,
    "trainable": "all",
}
TRUNK = {
    "grid": 8,
    "image_px": 64,
    "residual_channels": 4,
    "dim": 16,
    "depth": 1,
    "heads": 2,
    "window": 8,
    "drop_path": 0.0,
    "click_init": "visible",
    "language_init": "default",
}
DECODER = {
    "click_cells": 16,
    "neck_channels": [8, 8, 8],
    "neck_strides": [4, 8, 16],
    "head_hidden": 8,
}


def plan(**changes: object) -> Plan:
    values = {
        "steps": 40,
        "learning_rate": 3e-3,
        "fusion_learning_rate": 3e-3,
        "weight_decay": 0.05,
        "warmup_steps": 5,
        "clip_norm": 1.0,
        "ema_decay": 0.9,
        "click_rounds": 2,
        "uncorrected_steps": 0.0,
        "first_clicks": True,
        "deepest_first_click": 0.5,
        "iis": True,
        "radius_px": 3.0,
        "threshold": 0.49,
        "residual": FORM,
    }
    return Plan(**(values | changes))


def batch(seed: int = 0) -> Batch:
    """Two images: a defect where the residual is large, and a normal one."""
    generator = np.random.default_rng(seed)
    residuals = generator.normal(size=(2, 8, 8, 12)).astype(np.float32)
    residuals[0, 2:5, 3:6] *= 6
    labels = np.zeros((2, 64, 64), np.int8)
    labels[0, 16:40, 24:48] = 1
    return Batch(
        residuals=residuals,
        gains=np.ones(2, np.float32),
        scales=np.ones((2, 12), np.float32),
        images=generator.integers(0, 255, (2, 64, 64, 3)).astype(np.uint8),
        labels=labels,
        texts=generator.normal(size=(2, 6, 5)).astype(np.float32),
        text_masks=np.ones((2, 5), np.float32),
        turns=(Turn(0, False), Turn(0, False)),
    )


def forward(
    model: torch.nn.Module, given: Batch, known: Plan, *, step: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels of a step with seed 0."""
    clicks = start_clicks(given, known, cells=model.click_cells, seed=0, step=step)
    return forward_with_clicks(model, send(given, clicks, CPU), known)


def adclick(language: bool = True) -> torch.nn.Module:
    return seeded(build_adclick, 0, **TRUNK, **DECODER, language=LANGUAGE if language else None)


def detector() -> torch.nn.Module:
    added = {"shortcut": True, "image_channels": (4, 6, 8)}
    return seeded(build_adclick_seg, 0, **TRUNK, **added, language=LANGUAGE)


@pytest.mark.parametrize(
    ("build", "first_clicks", "iis"),
    [(adclick, True, True), (detector, False, True), (detector, False, False)],
)
def test_the_loss_falls_on_one_batch(build, first_clicks: bool, iis: bool) -> None:
    _, losses = train(
        build(), lambda step: batch(), plan(first_clicks=first_clicks, iis=iis), seed=0, device=CPU
    )
    assert np.mean(losses[-8:]) < 0.75 * np.mean(losses[:8])


@torch.no_grad()
def _logits(model: torch.nn.Module, given: Batch) -> torch.Tensor:
    """After first clicks alone, which are the same for every model."""
    return forward(model, given, plan(click_rounds=0))[0]


def test_after_training_other_words_change_the_answer_by_more_than_a_hundredth() -> None:
    trained, _ = train(adclick(), lambda step: batch(), plan(steps=20), seed=0, device=CPU)
    given = batch()
    words = _logits(trained, given)
    swapped = replace(given, texts=given.texts[::-1].copy())
    assert (_logits(trained, swapped) - words).norm() > 0.01 * words.norm()
    one_word = np.zeros_like(given.text_masks)
    one_word[:, 0] = 1
    # One word is all that any pixel can read, whichever it is: see `PixelWordAttention`.
    alone = _logits(trained, replace(given, text_masks=one_word))
    other = _logits(trained, replace(swapped, text_masks=one_word))
    assert (alone - other).norm() < 1e-3 * words.norm()


@pytest.mark.parametrize("inputs", ["image", "both"])
def test_a_network_that_reads_the_picture_learns_from_it(inputs: str) -> None:
    sizes = {**TRUNK, **DECODER, "language": None}
    model = seeded(build_adclick, 0, **sizes, inputs=inputs, image_channels=[4, 8, 8])
    before = [value.clone() for value in model.image_stem.parameters()]
    given = batch()
    given.images[0, 16:40, 24:48] = 255
    trained, losses = train(model, lambda step: given, plan(), seed=0, device=CPU)
    assert np.mean(losses[-8:]) < 0.75 * np.mean(losses[:8])
    after = trained.image_stem.parameters()
    assert all(not torch.equal(old, new) for old, new in zip(before, after, strict=True))


def test_equal_seeds_give_equal_weights_and_other_seeds_others() -> None:
    def weights(seed: int) -> dict[str, torch.Tensor]:
        trained, _ = train(adclick(), batch, plan(steps=3), seed=seed, device=CPU)
        return trained.state_dict()

    first, again, other = weights(0), weights(0), weights(1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_training_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    train(adclick(), batch, plan(steps=2), seed=0, device=CPU)
    assert torch.equal(torch.rand(1), expected)


def test_ignored_pixels_give_no_gradient() -> None:
    ignored = batch()
    ignored.labels[:] = -1
    model = adclick()
    _, losses = train(model, lambda step: ignored, plan(steps=1), seed=0, device=CPU)
    assert losses == [0.0]


def test_ignored_pixels_are_never_clicked() -> None:
    partly = batch()
    partly.labels[:, :, 30:] = -1
    model, seen = detector(), []
    decode = model.decode

    def spy(tokens, clicks, maps):
        seen.append(clicks[:, 1:].detach().clone())
        return decode(tokens, clicks, maps)

    model.decode = spy  # type: ignore[method-assign]
    for step in range(12):
        changes = {"first_clicks": True, "deepest_first_click": 0.0, "radius_px": 0.5}
        forward(model, partly, plan(**changes, click_rounds=3), step=step)
    disks = torch.cat(seen)
    assert disks[..., :30].any()
    assert not disks[..., 30:].any()


def test_without_clicks_the_click_input_is_zero() -> None:
    seen = []
    model = detector()
    decode = model.decode

    def spy(tokens, clicks, maps):
        seen.append(clicks)
        return decode(tokens, clicks, maps)

    model.decode = spy  # type: ignore[method-assign]
    forward(model, batch(), plan(first_clicks=False, iis=False))
    assert len(seen) == 1
    assert not seen[0].any()


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0.25), (0.5, 0.625), (1.0, 1.0)])
def test_a_share_of_steps_has_no_corrective_click(share: float, expected: float) -> None:
    passes = []
    model = detector()
    decode = model.decode

    def spy(tokens, clicks, maps):
        passes[-1] += 1
        return decode(tokens, clicks, maps)

    model.decode = spy  # type: ignore[method-assign]
    known = plan(first_clicks=False, click_rounds=3, uncorrected_steps=share)
    for step in range(24):
        passes.append(0)
        forward(model, batch(), known, step=step)
    assert set(passes) <= {1, 2, 3, 4}
    assert abs(np.mean(np.array(passes) == 1) - expected) < 0.2


def test_fusion_learns_at_its_own_rate_and_vectors_do_not_decay() -> None:
    model = adclick()
    known = plan(learning_rate=3e-3, fusion_learning_rate=1e-4, weight_decay=0.05)
    found = {
        id(value): (group["peak_rate"], group["weight_decay"])
        for group in optimiser_of(model, known).param_groups
        for value in group["params"]
    }
    trained = [(name, one) for name, one in model.named_parameters() if one.requires_grad]
    assert len(found) == len(trained)
    for name, one in trained:
        rate = 1e-4 if ".fusion." in name else 3e-3
        assert found[id(one)] == (rate, 0.05 if one.ndim > 1 else 0.0), name
    assert len(set(found.values())) == 4


def test_schedules() -> None:
    assert [round(warmup_rate(step, 1.0, 3), 2) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert ema_weight(0, 0.99) == 0.1
    assert ema_weight(10**6, 0.99) == 0.99


def text(size: int = 4) -> Text:
    phrases = np.arange(size * 6 * 5, dtype=np.float32).reshape(size, 6, 5)
    return Text(phrases.mean(0), np.ones(5, np.float32), phrases, np.ones((size, 5), np.float32))


def pool() -> Pool:
    """One picture whose residual, image and label carry the same pattern."""
    pattern = np.zeros((8, 8), np.float32)
    pattern[1, 2:7] = 1
    pattern[1:6, 2] = 1
    large = pattern.repeat(8, 0).repeat(8, 1)
    image = (large * 255).astype(np.uint8)[:, :, None].repeat(3, 2)
    return Pool(
        pattern[None, :, :, None].repeat(12, 3),
        image[None],
        large[None],
        [0],
        [0],
        [0],
        ["hole"],
        {"hole": text()},
        np.ones(12, np.float32),
    )


def test_residual_picture_and_label_turn_together() -> None:
    patterns = set()
    for step in range(40):
        drawn = draw_batch(
            {"real": [pool()]}, {"real": 1}, Augmentation(True, 0.0, False), seed=0, step=step
        )
        label, image, residual = (
            turned(array, drawn.turns)[0] for array in (drawn.labels, drawn.images, drawn.residuals)
        )
        assert np.array_equal(label > 0, image[:, :, 0] > 0)
        assert np.array_equal(label[4::8, 4::8] > 0, residual[:, :, 0] > 0)
        patterns.add(label.tobytes())
    assert len(patterns) == 8


def turned_by_numpy(array: np.ndarray, turns: int, mirrored: bool) -> np.ndarray:
    """The reference: one array [height width …] on the processor."""
    rotated = np.rot90(array, turns, axes=(0, 1))
    return rotated[:, ::-1] if mirrored else rotated


def test_what_reaches_the_network_is_what_the_processor_turns_and_scales() -> None:
    """Reference: the same draws, array by array, in numpy."""
    generator = np.random.default_rng(0)
    given = batch()
    turns = tuple(Turn(int(generator.integers(4)), bool(generator.integers(2))) for _ in range(2))
    gains = np.array([0.8, 1.3], np.float32)
    residuals = given.residuals.astype(np.float16)
    given = replace(given, turns=turns, gains=gains, residuals=residuals)
    known = plan(residual=ResidualForm(normalise=None, clamp=None, groups=None, log=False))
    clicks = start_clicks(given, known, cells=None, seed=0, step=0)
    found = network_inputs(send(given, clicks, CPU), known.residual)
    for index, turn in enumerate(turns):
        label = turned_by_numpy(given.labels[index], *turn)
        assert np.array_equal(found.labels[index, 0].numpy(), label)
        assert np.array_equal(clicks.labels[index], label)
        signed = turned_by_numpy(residuals[index].astype(np.float32), *turn) * gains[index]
        assert np.array_equal(found.residuals[index].numpy(), np.square(signed).transpose(2, 0, 1))
        picture = turned_by_numpy(given.images[index], *turn)
        expected = normalise_image(torch.from_numpy(picture[None].copy()))[0]
        assert torch.equal(found.images[index], expected)
    assert len(set(turns)) == 2


def test_pictures_that_are_no_squares_keep_their_shape() -> None:
    generator = np.random.default_rng(0)
    turns = {draw_turn(generator, (40, 64)) for _ in range(60)}
    assert turns == {Turn(0, False), Turn(0, True), Turn(2, False), Turn(2, True)}
    generator = np.random.default_rng(0)
    assert len({draw_turn(generator, (64, 64)) for _ in range(100)}) == 8


def test_half_of_the_texts_are_the_average() -> None:
    generator = np.random.default_rng(0)
    drawn = [draw_text(text(), generator)[0] for _ in range(400)]
    share = np.mean([np.array_equal(one, text().average) for one in drawn])
    assert 0.4 < share < 0.6


def test_label_abandon_varies_from_draw_to_draw() -> None:
    unsure = pool()
    soft = Pool(**{**unsure.__dict__, "labels": np.full((1, 64, 64), 0.55, np.float32)})
    values = {
        float(
            draw_batch(
                {"real": [soft]}, {"real": 1}, Augmentation(False, 0.0, True), seed=0, step=step
            ).labels.max()
        )
        for step in range(30)
    }
    assert values == {-1.0, 1.0}


@pytest.mark.parametrize(("probability", "label"), [(0.5, 0.0), (0.501, 1.0)])
def test_without_label_abandon_half_is_the_border_and_nothing_is_ignored(
    probability: float, label: float
) -> None:
    unsure = pool()
    soft = Pool(**{**unsure.__dict__, "labels": np.full((1, 64, 64), probability, np.float32)})
    for step in range(10):
        drawn = draw_batch(
            {"real": [soft]}, {"real": 1}, Augmentation(False, 0.0, False), seed=0, step=step
        )
        assert np.all(drawn.labels == label)


def test_several_texts_are_answered_with_their_maximum() -> None:
    one, model = batch(), detector().eval()

    def predict(texts: np.ndarray) -> np.ndarray:
        session = open_image(
            model,
            residual=one.residuals[0],
            scale=one.scales[0],
            image=one.images[0],
            texts=texts,
            text_masks=np.ones((len(texts), 5), np.float32),
            form=FORM,
            radius_px=3.0,
            device=CPU,
        )
        return session.predict([])

    singles = [predict(one.texts[index : index + 1]) for index in range(2)]
    both = predict(one.texts)
    assert np.allclose(both, np.maximum(*singles), atol=1e-6)
    assert not np.allclose(*singles)


def test_a_model_that_diffuses_clicks_sees_them_beyond_their_disk() -> None:
    one = batch()
    image = np.full((64, 64, 3), 40, np.uint8)
    image[:, 32:] = 200
    changes = {}
    for cells in (None, 16):
        sizes = {**TRUNK, **DECODER, "window": 2, "click_cells": cells}
        model = seeded(build_adclick, 0, **sizes, language=None).eval()
        session = open_image(
            model,
            residual=one.residuals[0],
            scale=one.scales[0],
            image=image,
            texts=one.texts[:1],
            text_masks=one.text_masks[:1],
            form=FORM,
            radius_px=3.0,
            device=CPU,
        )
        tokens = []
        model.click_stem.register_forward_hook(lambda *call, kept=tokens: kept.append(call[2]))
        session.predict([])
        session.predict([Click(60, 4, True)])
        changes[cells] = (tokens[1] - tokens[0]).abs().amax(1)[0]
    assert changes[None][0, 0] == 0
    assert changes[16][0, 0] > 10 * changes[16][0, 7]


def test_fitted_disks_are_those_that_a_session_draws() -> None:
    generator = np.random.default_rng(0)
    given = replace(batch(), turns=(Turn(1, True), Turn(2, False)))
    images = np.full((2, 64, 64, 3), 120, np.uint8)
    images[0, 20:22] = 10
    given = replace(given, images=images)
    known = plan(disks="fitted")
    clicks = start_clicks(given, known, cells=None, seed=0, step=0)
    add_next_clicks(clicks, generator.random((2, 64, 64)) > 0.5, map)
    fixed = start_clicks(given, plan(), cells=None, seed=0, step=0)
    add_next_clicks(fixed, np.random.default_rng(0).random((2, 64, 64)) > 0.5, map)
    for index, turn in enumerate(given.turns):
        assert clicks.clicks[index] == fixed.clicks[index]  # what is clicked stays
        picture = np.ascontiguousarray(turned_by_numpy(images[index], *turn))
        maps = click_maps(
            clicks.clicks[index],
            None,
            shape=(64, 64),
            radius_px=known.radius_px,
            graph=None,
            fit=fitting(picture),
        )
        assert np.array_equal(clicks.disks[index], maps[1:])
    assert (clicks.disks != fixed.disks).any()


def test_settings_are_written_as_before_unless_disks_are_chosen() -> None:
    known = micro_config().adclick_training
    assert "disks" not in known.model_dump(mode="json")
    fitted = known.model_copy(update={"disks": "fitted"})
    assert fitted.model_dump(mode="json")["disks"] == "fitted"
    how = {"first_clicks": True, "iis": True, "radius_px": 3.0, "threshold": 0.5}
    plans = [make_plan(one, pretrain=False, form=FORM, **how) for one in (known, fitted)]
    assert [one.disks for one in plans] == [None, "fitted"]
