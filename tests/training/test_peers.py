"""The peers that learn, on features in which defects are plain, and what they are made of."""

from pathlib import Path

import numpy as np
import pytest
import torch

from adclick.metrics.pixels import pixel_metrics
from adclick.residuals.maps import to_picture
from adclick.run.kinds import kinds_of, load_kind
from adclick.run.settings.peers import (
    DETECTOR_PEERS,
    LABELLED,
    PYTHON,
    SIMULATED_DEFECTS,
    peer_methods,
    wanted_of,
)
from adclick.training.deviation import deviation_loss, top_mean
from adclick.training.peer_pictures import Pictures
from adclick.training.peer_training import (
    draw_peer_batch,
    scale_of,
    standardise,
    train_peer,
)
from adclick.training.peers.bgad import _flow, positions
from adclick.training.peers.prn import _prototypes, _WindowAttention
from adclick.training.resuming import Progress

ROWS, COLUMNS, CHANNELS, STRIDE = 8, 6, 12, 8
OURS = [name for name in kinds_of(DETECTOR_PEERS) if PYTHON not in wanted_of(name)]
SHORT = {"steps": 40}


class Kept:
    """Features that are there already, in place of those of a backbone."""

    def __init__(self, features: np.ndarray) -> None:
        self._features = features

    def __getitem__(self, row: int) -> np.ndarray:
        return self._features[row]


def drawn(count: int, *, seed: int, defective: bool) -> Pictures:
    """Pictures of 64 x 48 px whose normal patches lie on a line through feature space, with a
    square of patches off it where they are defective.
    """
    generator = np.random.default_rng(seed)
    line = np.random.default_rng(0).standard_normal(CHANNELS)
    along = generator.standard_normal((count, ROWS, COLUMNS, 1))
    noise = 0.1 * generator.standard_normal((count, ROWS, COLUMNS, CHANNELS))
    features = (5 + along * line + noise).astype(np.float32)
    labels = np.zeros((count, ROWS * STRIDE, COLUMNS * STRIDE), np.float32)
    if defective:
        off = 2 * np.random.default_rng(1).standard_normal(CHANNELS)
        for index in range(count):
            row, column = generator.integers(ROWS - 2), generator.integers(COLUMNS - 2)
            features[index, row : row + 2, column : column + 2] += off
            square = (
                slice(STRIDE * row, STRIDE * (row + 2)),
                slice(STRIDE * column, STRIDE * (column + 2)),
            )
            labels[index][square] = 1
    images = np.zeros((*labels.shape, 3), np.uint8)
    return Pictures(images, labels if defective else None, list(range(count)), Kept(features))  # pyright: ignore


def given_to(peer: str, folder: Path) -> dict:
    known = {
        "normal": drawn(12, seed=2, defective=False),
        LABELLED: drawn(6, seed=3, defective=True),
        SIMULATED_DEFECTS: drawn(6, seed=4, defective=True),
        **{"seed": 0, "device": torch.device("cpu")},
        "progress": Progress(folder / "resume.safetensors", {"peer": peer}, 600.0),
    }
    return {name: known[name] for name in wanted_of(peer)}


def learnt(peer: str, folder: Path, **settings: float):
    short = SHORT if LABELLED in wanted_of(peer) else {}
    return load_kind(DETECTOR_PEERS, peer).fit_peer(
        **given_to(peer, folder), **{**short, "smoothing_px": 0.0, **settings}
    )


@pytest.mark.parametrize("peer", OURS)
def test_a_peer_finds_defects_of_which_it_has_seen_the_like(peer: str, tmp_path: Path) -> None:
    found = learnt(peer, tmp_path)
    shown = [
        *list(drawn(4, seed=8, defective=False)),
        *(unseen := drawn(4, seed=9, defective=True)),
    ]
    masks = [np.zeros((64, 48), bool)] * 4 + [unseen.mask(index) for index in range(4)]
    maps = [found.map_of(picture) for picture in shown]
    assert {one.shape for one in maps} == {(64, 48)}
    assert {one.dtype for one in maps} == {np.dtype(np.float32)}
    assert found.parameters > 0
    chance = float(np.mean(masks))
    assert pixel_metrics(maps, masks).ap > 5 * chance


@pytest.mark.parametrize("peer", [name for name in OURS if "progress" in wanted_of(name)])
def test_what_a_peer_learns_is_a_function_of_its_seed(peer: str, tmp_path: Path) -> None:
    picture = drawn(1, seed=9, defective=True)[0]
    first, again = (learnt(peer, tmp_path, steps=3).map_of(picture) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_a_training_that_was_killed_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    def net() -> torch.nn.Module:
        torch.manual_seed(0)
        return torch.nn.Linear(3, 1)

    def loss_of(network: torch.nn.Module, step: int) -> torch.Tensor:
        if killed and step == 4:
            raise KeyboardInterrupt
        drawn = torch.from_numpy(np.random.default_rng(step).standard_normal((5, 3)))
        return network(drawn.float()).square().mean()

    def trained(folder: str) -> torch.Tensor:
        progress = Progress(tmp_path / folder, {}, 0.0)
        plan = {"steps": 8, "learning_rate": 0.1, "weight_decay": 0.0}
        model, losses = train_peer(net(), loss_of, **plan, progress=progress)
        assert len(losses) == 8
        assert not progress.path.exists()
        return model.weight

    killed = False
    whole = trained("whole")
    killed = True
    with pytest.raises(KeyboardInterrupt):
        trained("broken")
    assert (tmp_path / "broken").is_file()
    killed = False
    assert torch.equal(trained("broken"), whole)


def test_features_and_labels_of_a_batch_are_turned_together() -> None:
    square = drawn(3, seed=5, defective=True)
    features = np.stack([square[index].features for index in range(3)])
    marked = np.zeros((3, 48, 48), np.float32)
    marked[:, :8, 40:] = 1
    features = features[:, :6]
    features[:, 0, 5] = 100
    pool = Pictures(np.zeros((3, 48, 48, 3), np.uint8), marked, [0, 1, 2], Kept(features))  # pyright: ignore
    corners = set()
    for step in range(12):
        batch = draw_peer_batch(
            {"labelled": pool}, {"labelled": 2}, lambda one: one, seed=0, step=step,
            device=torch.device("cpu"),
        )  # fmt: skip
        hot = batch.features[:, 0] == 100
        cells = torch.nn.functional.max_pool2d(batch.labels, 8)[:, 0] == 1
        assert torch.equal(hot, cells)
        corners |= {tuple(place[1:].tolist()) for place in hot.nonzero()}
        assert batch.defective.tolist() == [1, 1]
    assert corners == {(0, 0), (0, 5), (5, 0), (5, 5)}


def test_pictures_that_are_not_square_keep_their_sides() -> None:
    pool = {"normal": drawn(3, seed=5, defective=False)}
    for step in range(6):
        batch = draw_peer_batch(
            pool, {"normal": 2}, lambda one: one, seed=0, step=step, device=torch.device("cpu")
        )
        assert batch.features.shape == (2, CHANNELS, ROWS, COLUMNS)
        assert batch.defective.tolist() == [0, 0]


def test_features_are_standardised_by_normal_pictures() -> None:
    normal = drawn(9, seed=6, defective=False)
    prepare = standardise(scale_of(normal))
    whole = np.stack(
        [prepare(picture.features) for picture in (normal[index] for index in range(9))]
    )
    np.testing.assert_allclose(whole.mean(axis=(0, 1, 2)), 0, atol=1e-3)
    np.testing.assert_allclose(whole.std(axis=(0, 1, 2)), 1, atol=1e-3)


def test_deviations_by_hand() -> None:
    prior = np.random.default_rng(7).standard_normal(5000)
    scores, defective = torch.tensor([3.0, 4.0, 9.0]), torch.tensor([0.0, 1.0, 1.0])
    loss = deviation_loss(scores, defective, np.random.default_rng(7))
    away = [(float(score) - prior.mean()) / prior.std() for score in scores]
    assert loss.item() == pytest.approx((away[0] + (5 - away[1]) + 0) / 3)


def test_the_highest_scores_of_a_picture() -> None:
    scores = torch.arange(20.0).reshape(1, 1, 4, 5)
    assert top_mean(scores, 0.1).item() == 18.5
    assert top_mean(scores, 0.001).item() == 19


def test_the_flow_gives_a_density() -> None:
    """Its log-likelihood is that of a standard normal code less how much it stretches space."""
    torch.manual_seed(0)
    flow = _flow(channels=4, width=8, couplings=2)
    for network in flow.networks:
        torch.nn.init.normal_(network[2].weight, std=0.3)
    point = torch.randn(1, 4, 1, 1)
    codes = []
    forward = torch.nn.Module.__call__

    def code_of(flat: torch.Tensor) -> torch.Tensor:
        half = flow.first
        first, second = flat[:half].reshape(1, -1, 1, 1), flat[half:].reshape(1, -1, 1, 1)
        places = positions(1, 1)[None]
        for index, network in enumerate(flow.networks):
            known, moved = (first, second) if index % 2 == 0 else (second, first)
            shift, scale = forward(network, torch.cat([known, places], dim=1)).chunk(2, dim=1)
            moved = moved * torch.exp(2 * torch.tanh(scale / 2)) + shift
            first, second = (known, moved) if index % 2 == 0 else (moved, known)
        codes.append(torch.cat([first, second], dim=1))
        return codes[-1].flatten()

    jacobian = torch.autograd.functional.jacobian(code_of, point.flatten())
    normal = torch.distributions.Normal(0, 1).log_prob(codes[0]).sum()
    expected = (normal + torch.linalg.slogdet(jacobian).logabsdet) / 4
    assert flow(point).item() == pytest.approx(expected.item(), abs=1e-5)


def test_prototypes_are_the_means_of_what_is_alike() -> None:
    features = np.concatenate([np.zeros((3, 8, 8, 2)), np.full((2, 8, 8, 2), 9.0)])
    features = features.astype(np.float32)
    features[3] += 1
    kept = Pictures(np.zeros((5, 64, 64, 3), np.uint8), None, range(5), Kept(features))  # pyright: ignore
    found = _prototypes(kept, lambda one: one, 2, seed=1)
    assert sorted(float(one.mean()) for one in found) == [0.0, 9.5]


def test_attention_looks_within_its_windows_alone() -> None:
    torch.manual_seed(0)
    attention = _WindowAttention(width=8, window=2).eval()
    plain = torch.randn(1, 8, 5, 4)
    other = plain.clone()
    other[:, 0, 0, 0] += 1
    changed = (attention(plain) - attention(other)).abs().amax(dim=1)[0] > 1e-6
    assert changed[:2, :2].any()
    assert not changed[2:].any()
    assert not changed[:, 2:].any()


def test_scores_of_patches_at_the_size_of_a_picture() -> None:
    scores = np.zeros((2, 3), np.float32)
    scores[1, 2] = 1
    shown = to_picture(scores, (16, 24), smoothing_px=0.0)
    assert shown.shape == (16, 24)
    assert shown[-1, -1] == 1
    assert shown[0, 0] == 0
    assert to_picture(scores, (16, 24), smoothing_px=2.0).max() < 1


def test_methods_are_named_by_files_and_labels() -> None:
    methods = peer_methods()
    assert methods["subspace"] == ("subspace", None)
    assert methods["devnet"] == ("devnet", "weak")
    assert methods["devnet_full"] == ("devnet", "full")
    assert "subspace_full" not in methods
