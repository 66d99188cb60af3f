import pytest
import torch
from torch.nn import functional

from adclick.networks.checkpoints import seeded
from adclick.networks.feature_detector import (
    ChannelNorm,
    FeatureDetector,
    build_feature_detector,
    build_folded_detector,
)

SIZES = {
    "feature_channels": 10,
    "residual_channels": 3,
    "width": 8,
    "upsampling_widths": [6, 4],
    "picture_widths": [5, 7],
    "channel_dropout": 0.3,
    "dropout": 0.0,
}


def _model(**changes) -> FeatureDetector:
    return seeded(build_feature_detector, 0, **(SIZES | changes))


def _inputs(batch=2, grid=6, channels=10):
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randn((batch, channels, grid, grid), generator=generator),
        torch.rand((batch, 3, grid, grid), generator=generator),
        torch.randn((batch, 3, 8 * grid, 8 * grid), generator=generator),
    )


def _awake(model):
    """The model with a last convolution that answers something."""
    torch.nn.init.ones_(model.logit.weight)
    return model.eval()


@pytest.mark.parametrize("picture_widths", [[], [5, 7]])
@pytest.mark.parametrize("grid", [4, 7])
def test_answer_is_twice_the_grid_for_every_upsampling(picture_widths, grid):
    added = _model(picture_widths=picture_widths)(*_inputs(grid=grid))
    assert added.shape == (2, 1, 4 * grid, 4 * grid)


def test_an_untrained_detector_adds_nothing():
    assert _model()(*_inputs()).abs().max() == 0


def test_the_picture_is_read_only_where_asked_for():
    features, residual, picture = _inputs()
    other = picture.flip(3)
    seeing, blind = _awake(_model()), _awake(_model(picture_widths=[]))
    assert not torch.equal(seeing(features, residual, picture), seeing(features, residual, other))
    assert torch.equal(blind(features, residual, picture), blind(features, residual, other))


@pytest.mark.parametrize("changed", [0, 1])
def test_features_and_residual_both_reach_the_answer(changed):
    model, inputs = _awake(_model()), list(_inputs())
    before = model(*inputs)
    inputs[changed] = inputs[changed] + 1
    assert not torch.equal(model(*inputs), before)


def test_channels_are_dropped_as_whole_maps_and_in_training_alone():
    model = _model(channel_dropout=0.5)
    ones = torch.ones(1, 10, 4, 4)
    dropped = model.train().features[0](ones)
    means = dropped.mean((2, 3)).flatten()
    assert set(means.tolist()) == {0.0, 2.0}  # each map wholly gone, or doubled
    assert torch.equal(model.eval().features[0](ones), ones)


def test_channel_norm_normalises_each_position_by_itself():
    maps = torch.randn(1, 8, 3, 3)
    other = maps.clone()
    other[..., 0, 0] *= 5
    norm = ChannelNorm(8)
    assert torch.equal(norm(maps)[..., 1:, :], norm(other)[..., 1:, :])
    expected = functional.layer_norm(maps[0, :, 1, 2], (8,))
    assert torch.allclose(norm(maps)[0, :, 1, 2], expected, atol=1e-6)


def test_loss_falls_on_one_batch():
    model, inputs = _model().train(), _inputs(grid=4)
    target = (torch.arange(16)[:, None] < 6).float().expand(16, 16)[None, None].expand(2, 1, 16, 16)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for _ in range(30):
        loss = functional.binary_cross_entropy_with_logits(model(*inputs), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_sizes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="1 levels of the picture for 2 upsamplings"):
        _model(picture_widths=[5])


def test_a_folded_detector_answers_the_mean():
    folded = seeded(build_folded_detector, 0, folds=3, patch_channels=4, **SIZES).eval()
    for index, detector in enumerate(folded.detectors):
        torch.nn.init.constant_(detector.logit.bias, float(index * index))
    assert folded(*_inputs()).mean().item() == pytest.approx(5 / 3)
