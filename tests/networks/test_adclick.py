import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from adclick.networks.adclick import ADClick, build_adclick
from adclick.networks.checkpoints import seeded

LANGUAGE = {
    "embed_dim": 8,
    "depths": [1, 1, 1, 1],
    "heads": [1, 2, 2, 2],
    "window": 4,
    "text_channels": 6,
    "trainable": "all",
}
SIZES = {
    "grid": 8,
    "image_px": 64,
    "residual_channels": 6,
    "dim": 16,
    "depth": 2,
    "heads": 2,
    "window": 4,
    "drop_path": 0.0,
    "click_init": "visible",
    "language_init": "default",
    "click_cells": None,
    "neck_channels": [8, 8, 8],
    "neck_strides": [4, 8, 16],
    "head_hidden": 8,
    "language": LANGUAGE,
}
PAPER_LANGUAGE = {
    "embed_dim": 128,
    "depths": [2, 2, 18, 2],
    "heads": [4, 8, 16, 32],
    "window": 12,
    "text_channels": 768,
    "trainable": "pwam",
}
PAPER = {
    "grid": 64,
    "image_px": 512,
    "residual_channels": 1024,
    "dim": 1024,
    "depth": 4,
    "heads": 32,
    "window": 8,
    "drop_path": 0.1,
    "click_init": "default",
    "language_init": "default",
    "click_cells": None,
    "neck_channels": [240, 480, 960, 1920],
    "neck_strides": [4, 8, 16, 32],
    "head_hidden": 256,
    "language": PAPER_LANGUAGE,
}


def _model(**changes: object) -> ADClick:
    return seeded(build_adclick, 0, **(SIZES | changes))


def _draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _inputs(batch: int = 2) -> dict[str, Tensor]:
    clicks = torch.zeros(batch, 3, 64, 64)
    clicks[:, 1, 20:25, 20:25] = 1
    return {
        "residual": _draw(batch, 6, 8, 8).square(),
        "clicks": clicks,
        "image": _draw(batch, 3, 64, 64, seed=1),
        "text": _draw(batch, 6, 5, seed=2),
        "text_mask": torch.tensor([[1.0, 1, 1, 0, 0]]).expand(batch, 5),
    }


def _millions(module: nn.Module | None, *, trainable_only: bool = False) -> float:
    assert module is not None
    return (
        sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable_only) / 1e6
    )


def test_paper_scale_has_the_published_codes_parameters() -> None:
    with torch.device("meta"):
        model = build_adclick(**PAPER)
    assert _millions(model.trunk) == pytest.approx(51.47, abs=0.01)
    assert _millions(model.neck) == pytest.approx(29.6, abs=0.02)
    assert _millions(model.head) == pytest.approx(1.19, abs=0.01)
    assert _millions(model) - _millions(model.vision_language) == pytest.approx(85, abs=0.5)
    assert _millions(model.vision_language, trainable_only=True) == pytest.approx(8.53, abs=0.01)


@torch.no_grad()
def test_at_paper_scale_language_maps_and_neck_levels_match_exactly() -> None:
    with torch.device("meta"):
        model = build_adclick(**PAPER)
        text, mask = torch.zeros(2, 768, 20), torch.zeros(2, 20)
        maps = model.language_maps(torch.zeros(1, 3, 512, 512), text, mask)
        tokens = model.embed(torch.zeros(1, 1024, 64, 64))
        levels = model.neck(model.trunk(tokens))
        logits = model.decode(tokens, torch.zeros(1, 3, 512, 512), maps)
    assert logits.shape == (2, 1, 512, 512)
    assert [tuple(m.shape[1:]) for m in maps] == [
        (128, 128, 128),
        (256, 64, 64),
        (512, 32, 32),
        (1024, 16, 16),
    ]
    assert [level.shape[-2:] for level in levels] == [m.shape[-2:] for m in maps]


def test_logits_have_the_clicks_size_with_and_without_language() -> None:
    assert _model()(**_inputs()).shape == (2, 1, 64, 64)
    bare = _model(language=None)
    inputs = _inputs()
    assert bare(inputs["residual"], inputs["clicks"]).shape == (2, 1, 64, 64)
    assert not bare.language
    assert bare.language_maps(None, None, None) == []
    assert _model().language


@torch.no_grad()
def test_the_three_steps_in_a_row_are_forward() -> None:
    model, inputs = _model().eval(), _inputs()
    tokens = model.embed(inputs["residual"])
    maps = model.language_maps(inputs["image"], inputs["text"], inputs["text_mask"])
    assert [tuple(m.shape) for m in maps] == [(2, 8, 16, 16), (2, 16, 8, 8), (2, 32, 4, 4)]
    assert torch.equal(model.decode(tokens, inputs["clicks"], maps), model(**inputs))


@torch.no_grad()
def test_clicks_enter_before_the_trunk_and_language_after_the_neck() -> None:
    model, inputs = _model().eval(), _inputs()
    tokens = model.trunk.embed(inputs["residual"]) + model.click_stem(inputs["clicks"])
    levels = model.neck(model.trunk(tokens))
    maps = model.language_maps(inputs["image"], inputs["text"], inputs["text_mask"])
    assert model.injection is not None
    added = [level + f(m) for level, f, m in zip(levels, model.injection.levels, maps, strict=True)]
    logits = functional.interpolate(model.head(added), size=(64, 64), mode="bilinear")
    assert torch.allclose(model(**inputs), logits, atol=1e-6)


@torch.no_grad()
def test_language_map_and_neck_level_meet_by_stride() -> None:
    model = _model(neck_channels=[8, 8], neck_strides=[8, 32])
    inputs = _inputs()
    maps = model.language_maps(inputs["image"], inputs["text"], inputs["text_mask"])
    assert [tuple(m.shape[1:]) for m in maps] == [(16, 8, 8), (64, 2, 2)]
    assert model(**inputs).shape == (2, 1, 64, 64)


@torch.no_grad()
def test_every_input_has_a_say() -> None:
    model, inputs = _model().eval(), _inputs()
    before = model(**inputs)
    for name in ("residual", "clicks", "image", "text"):
        changed = inputs | {name: inputs[name].flip(-1) + 0.5}
        assert (model(**changed) - before).norm() > 1e-3 * before.norm(), name


@pytest.mark.parametrize(
    ("inputs", "read"),
    [("residual", {"residual"}), ("image", {"image"}), ("both", {"residual", "image"})],
)
def test_inputs_say_what_is_read(inputs: str, read: set[str]) -> None:
    model = _model(inputs=inputs, image_channels=[4, 6, 8], language=None).train()
    given = {name: _inputs()[name] for name in ("residual", "clicks", "image")}
    for name in ("residual", "image"):
        with torch.no_grad():
            changed = given | {name: given[name].flip(-1) + 0.5}
            moves = not torch.equal(model.eval()(**changed), model(**given))
        assert moves == (name in read), name
    model(**given).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_the_image_stem_costs_its_own_parameters_and_the_residual_its_embedding() -> None:
    image_channels = [64, 128, 256]
    with torch.device("meta"):
        plain = build_adclick(**PAPER)
        both = build_adclick(**PAPER, inputs="both", image_channels=image_channels)
        image = build_adclick(**PAPER, inputs="image", image_channels=image_channels)
    stem = (
        (27 + 3) * 64
        + (9 * 64 + 3) * 128
        + (9 * 128 + 3) * 256  # convolutions with bias, and two vectors of each norm
        + (256 + 1) * 1024
        + 2 * 1024
    )
    embedding = (1024 + 1) * 1024 + 2 * 1024
    assert round(1e6 * (_millions(both) - _millions(plain))) == stem
    assert round(1e6 * (_millions(both) - _millions(image))) == embedding


def test_a_picture_that_is_read_must_be_given() -> None:
    inputs = _inputs()
    with pytest.raises(ValueError, match="needs an image"):
        _model(inputs="image", image_channels=[4, 6, 8]).embed(inputs["residual"])
    with pytest.raises(ValueError, match="stride of 4"):
        _model(inputs="both", image_channels=[4, 6])


@torch.no_grad()
def test_texts_that_differ_give_outputs_that_differ_and_padding_does_not() -> None:
    model, inputs = _model().eval(), _inputs()
    before = model(**inputs)
    other = model(**(inputs | {"text": _draw(2, 6, 5, seed=9)}))
    assert (other - before).norm() > 0.01 * (before - before.mean()).norm()
    padded = inputs["text"].clone()
    padded[..., 3:] = 7.0
    assert torch.allclose(model(**(inputs | {"text": padded})), before, atol=1e-6)


@torch.no_grad()
def test_one_image_with_many_prompts_equals_each_prompt_alone() -> None:
    model, inputs = _model().eval(), _inputs(batch=1)
    text = _draw(3, 6, 5, seed=4)
    mask = torch.ones(3, 5)
    together = model(**(inputs | {"text": text, "text_mask": mask}))
    assert together.shape == (3, 1, 64, 64)
    for index in range(3):
        part = {"text": text[index : index + 1], "text_mask": mask[index : index + 1]}
        assert torch.allclose(together[index], model(**(inputs | part))[0], atol=1e-5)


@torch.no_grad()
def test_a_window_of_all_inputs_decodes_to_a_window() -> None:
    model, inputs = _model().eval(), _inputs()
    tokens = model.embed(inputs["residual"])
    maps = model.language_maps(inputs["image"], inputs["text"], inputs["text_mask"])
    cropped = [m[:, :, : m.shape[2] // 2, : m.shape[3] // 2] for m in maps]
    logits = model.decode(tokens[:, :, :4, :4], inputs["clicks"][:, :, :32, :32], cropped)
    assert logits.shape == (2, 1, 32, 32)


def test_gradients_reach_the_frozen_branchs_fusions_and_nothing_else_of_it() -> None:
    model = _model(language=LANGUAGE | {"trainable": "pwam"}).train()
    model(**_inputs()).square().sum().backward()
    assert model.vision_language is not None
    for name, parameter in model.vision_language.named_parameters():
        has = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        # a shift of all keys leaves the softmax as it was; an instance norm removes a bias
        if not name.endswith(("key.bias", "query.bias", "value.bias", "reading.bias")):
            assert has == (".fusion." in name), name


def test_every_parameter_gets_a_gradient() -> None:
    model = _model()
    model(**_inputs()).square().sum().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None]
    assert without == []


def test_loss_falls_on_one_batch() -> None:
    model, inputs = _model(), _inputs()
    truth = torch.zeros(2, 1, 64, 64)
    truth[:, :, 16:32, 16:32] = 1
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(25):
            loss = functional.binary_cross_entropy_with_logits(model(**inputs), truth)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_missing_text_is_refused() -> None:
    inputs = _inputs()
    with pytest.raises(ValueError, match="needs image, text and text_mask"):
        _model()(inputs["residual"], inputs["clicks"], inputs["image"])


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="not 8 x grid"):
        _model(image_px=128)
    with pytest.raises(TypeError, match="widht"):
        _model(widht=3)


def test_an_estimate_that_reads_what_this_version_does_not_is_refused() -> None:
    levels = {"features": 25, "hidden": 4}
    with pytest.raises(ValueError, match="reads 25 features, not"), torch.device("meta"):
        build_adclick(**PAPER, levels=levels)
