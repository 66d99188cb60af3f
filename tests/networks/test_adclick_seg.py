import inspect

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from adclick.networks.adclick import ADClick
from adclick.networks.adclick_seg import ADClickSeg, LanguageStem, build_adclick_seg
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
    "shortcut": False,
    "image_channels": None,
    "language": LANGUAGE,
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
    "shortcut": False,
    "image_channels": None,
    "language": {
        "embed_dim": 128,
        "depths": [2, 2, 18, 2],
        "heads": [4, 8, 16, 32],
        "window": 12,
        "text_channels": 768,
        "trainable": "pwam",
    },
}


def _model(**changes: object) -> ADClickSeg:
    return seeded(build_adclick_seg, 0, **(SIZES | changes))


def _draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _inputs(batch: int = 2) -> dict[str, Tensor]:
    return {
        "residual": _draw(batch, 6, 8, 8).square(),
        "clicks": torch.zeros(batch, 3, 64, 64),
        "image": _draw(batch, 3, 64, 64, seed=1),
        "text": _draw(batch, 6, 5, seed=2),
        "text_mask": torch.tensor([[1.0, 1, 1, 0, 0]]).expand(batch, 5),
    }


def test_paper_scale_has_the_published_codes_parameters() -> None:
    with torch.device("meta"):
        model = build_adclick_seg(**PAPER)
    assert model.vision_language is not None
    total = sum(p.numel() for p in model.parameters())
    branch = sum(p.numel() for p in model.vision_language.parameters())
    fusions = sum(p.numel() for p in model.vision_language.parameters() if p.requires_grad)
    assert (total - branch) / 1e6 == pytest.approx(52, abs=0.1)
    assert fusions / 1e6 == pytest.approx(0.92, abs=0.01)
    assert model.language_stem is not None
    assert model.language_stem.projection.in_channels == 384


def test_both_models_have_the_same_methods() -> None:
    for name in ("embed", "language_maps", "decode", "forward"):
        ours, theirs = (inspect.signature(getattr(cls, name)) for cls in (ADClickSeg, ADClick))
        assert list(ours.parameters) == list(theirs.parameters)


def test_logits_have_the_clicks_size_with_and_without_language() -> None:
    assert _model()(**_inputs()).shape == (2, 1, 64, 64)
    bare, inputs = _model(language=None), _inputs()
    assert bare(inputs["residual"], inputs["clicks"]).shape == (2, 1, 64, 64)
    assert bare.language_maps(None, None, None) == []
    assert not bare.language
    assert _model().language


@torch.no_grad()
def test_language_tokens_by_hand() -> None:
    stem = LanguageStem(language_channels=2, dim=1)
    stem.projection.weight.copy_(torch.tensor([1.0, 10.0]).view(1, 2, 1, 1))
    assert stem.projection.bias is not None
    stem.projection.bias.fill_(0.5)
    fine = torch.tensor([[1.0, 3.0], [5.0, 7.0]]).view(1, 1, 2, 2)
    coarse = torch.tensor([[[[2.0]]]])
    assert stem([fine, coarse], (1, 1)).item() == 4.0 + 20.0 + 0.5


@torch.no_grad()
def test_tokens_are_summed_before_the_trunk() -> None:
    model, inputs = _model().eval(), _inputs()
    inputs["clicks"][:, 2, 40:44, 8:12] = 1
    maps = model.language_maps(inputs["image"], inputs["text"], inputs["text_mask"])
    assert [tuple(m.shape) for m in maps] == [(2, 8, 16, 16), (2, 16, 8, 8)]
    assert model.language_stem is not None
    summed = model.trunk.embed(inputs["residual"]) + model.language_stem(maps, (8, 8))
    logits = model.logit(model.trunk(summed + model.click_stem(inputs["clicks"])))
    expected = functional.interpolate(logits, size=(64, 64), mode="bilinear", align_corners=False)
    assert torch.allclose(model(**inputs), expected, atol=1e-6)


@torch.no_grad()
def test_the_shortcut_adds_a_weighted_sum_of_the_residual_to_the_logits() -> None:
    model = _model(shortcut=True, language=None).eval()
    plain = _model(shortcut=False, language=None).eval()
    plain.load_state_dict(model.state_dict(), strict=False)
    residual, clicks = _draw(2, 6, 8, 8).abs(), torch.zeros(2, 3, 64, 64)
    with torch.no_grad():
        added = model(residual, clicks) - plain(residual, clicks)
        expected = functional.interpolate(
            residual.mean(1, keepdim=True), size=(64, 64), mode="bilinear", align_corners=False
        )
        torch.testing.assert_close(added, expected, atol=1e-5, rtol=1e-4)
        tokens = model.embed(residual)
        window = model.decode(tokens[:, :, 2:6, 4:8], clicks[:, :, :32, :32], [])
    assert window.shape == (2, 1, 32, 32)


def test_the_pictures_tokens_are_added_to_the_residuals() -> None:
    model = _model(image_channels=(4, 4, 6), language=None).eval()
    residual, picture = _draw(2, 6, 8, 8), _draw(2, 3, 64, 64, seed=1)
    with torch.no_grad():
        expected = model.trunk.embed(residual) + model.image_stem(picture)  # pyright: ignore
        torch.testing.assert_close(model.embed(residual, picture), expected)
    with pytest.raises(ValueError, match="needs an image"):
        model.embed(residual)
    with pytest.raises(ValueError, match="image_channels"):
        _model(image_channels=(4, 6), language=None)


def test_texts_that_differ_give_outputs_that_differ() -> None:
    model, inputs = _model().eval(), _inputs()
    before = model(**inputs)
    other = model(**(inputs | {"text": _draw(2, 6, 5, seed=9)}))
    assert (other - before).norm() > 0.01 * (before - before.mean()).norm()


@torch.no_grad()
def test_one_image_with_many_prompts_equals_each_prompt_alone() -> None:
    model, inputs = _model().eval(), _inputs(batch=1)
    text, mask = _draw(3, 6, 5, seed=4), torch.ones(3, 5)
    together = model(**(inputs | {"text": text, "text_mask": mask}))
    assert together.shape == (3, 1, 64, 64)
    for index in range(3):
        part = {"text": text[index : index + 1], "text_mask": mask[index : index + 1]}
        assert torch.allclose(together[index], model(**(inputs | part))[0], atol=1e-5)


@torch.no_grad()
def test_a_window_of_all_inputs_decodes_to_a_window() -> None:
    model, inputs = _model().eval(), _inputs()
    maps = model.language_maps(inputs["image"], inputs["text"], inputs["text_mask"])
    tokens = model.embed(inputs["residual"])[:, :, 4:, :4]
    cropped = [m[:, :, m.shape[2] // 2 :, : m.shape[3] // 2] for m in maps]
    logits = model.decode(tokens, inputs["clicks"][:, :, 32:, :32], cropped)
    assert logits.shape == (2, 1, 32, 32)


def test_gradients_reach_the_frozen_branchs_fusions_and_nothing_else_of_it() -> None:
    model = _model(language=LANGUAGE | {"trainable": "pwam"}).train()
    model(**_inputs()).square().sum().backward()
    assert model.vision_language is not None
    for name, parameter in model.vision_language.named_parameters():
        assert (parameter.grad is not None) == (".fusion." in name), name
        if name.endswith("fusion.value.weight"):
            assert parameter.grad is not None
            assert parameter.grad.abs().sum() > 0


def test_every_parameter_gets_a_gradient() -> None:
    model = _model()
    model(**_inputs()).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_loss_falls_on_one_batch() -> None:
    model, inputs = _model(), _inputs()
    truth = torch.zeros(2, 1, 64, 64)
    truth[:, :, 16:32, 16:32] = 1
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(20):
        loss = functional.binary_cross_entropy_with_logits(model(**inputs), truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_missing_text_is_refused_and_so_are_sizes_that_do_not_fit() -> None:
    inputs = _inputs()
    with pytest.raises(ValueError, match="needs image, text and text_mask"):
        _model()(inputs["residual"], inputs["clicks"], inputs["image"])
    with pytest.raises(ValueError, match="not a multiple of grid"):
        _model(image_px=60)
    with pytest.raises(TypeError, match="neck_channels"):
        _model(neck_channels=[8])
