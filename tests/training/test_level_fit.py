import numpy as np
import pytest
import torch

from adclick.networks.level_choice import LevelChoice
from adclick.run.settings.clicks import Levels
from adclick.training.level_fit import fit_levels

SETTINGS = Levels(
    pictures=1, clicks=1, hidden=16, steps=300, learning_rate=3e-3, weight_decay=0.01, noise=0.1
)


def answers(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Answers of 9 levels with 4 features, the second of which says which level is best."""
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(count, 9, 4)).astype(np.float32)
    best = generator.integers(1, 8, count)
    distance = np.abs(np.arange(9) - best[:, None])
    features[:, :, 1] = 3 - distance
    return features, np.exp(-distance / 2).astype(np.float32)


def test_the_best_level_of_new_answers_is_chosen() -> None:
    choice = fit_levels(*answers(60), SETTINGS, steady=[1], seed=0)
    features, ious = answers(40, seed=1)
    for own, known in zip(features, ious, strict=True):
        worst = np.repeat(own[known.argmin()][None], len(own), axis=0)
        assert choice.best(torch.from_numpy(np.stack([worst, own])))[0] == 1
        assert choice.best(torch.from_numpy(np.stack([own, worst])))[0] == 0
    chosen = [choice.best(torch.from_numpy(own[None]))[1] for own in features]
    assert np.mean(np.array(chosen) == ious.argmax(axis=1)) > 0.9
    untrained = fit_levels(
        *answers(60),
        SETTINGS.model_copy(update={"steps": 1, "learning_rate": 1e-9}),
        steady=[1],
        seed=0,
    )
    by_chance = [untrained.best(torch.from_numpy(own[None]))[1] for own in features]
    assert np.mean(np.array(by_chance) == ious.argmax(axis=1)) < 0.6


def test_equal_seeds_give_equal_weights_and_others_do_not() -> None:
    first, again, other = (
        fit_levels(*answers(20), SETTINGS.model_copy(update={"steps": 20}), steady=[1], seed=seed)
        for seed in (3, 3, 4)
    )
    for own, same in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(own, same)
    pairs = zip(first.parameters(), other.parameters(), strict=True)
    assert any(not torch.equal(own, same) for own, same in pairs)


def test_without_answers_nothing_is_learnt() -> None:
    with pytest.raises(ValueError, match="no answer"):
        fit_levels(
            np.zeros((0, 9, 4), np.float32),
            np.zeros((0, 9), np.float32),
            SETTINGS,
            steady=[1],
            seed=0,
        )


def test_what_is_stranger_than_anything_seen_is_cut() -> None:
    choice = LevelChoice(features=2, hidden=4, steady=[1])
    choice.set_scale(torch.tensor([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0]]))
    given = choice.standardised(torch.tensor([[2.0, 1.0], [1e6, 1.0]]))
    assert given[0].tolist() == [0, 0]
    assert given[1].tolist() == [4, 0]


def test_what_never_differed_says_nothing_later() -> None:
    features, ious = answers(20)
    features[:, :, 0] = 0.0
    choice = fit_levels(
        features, ious, SETTINGS.model_copy(update={"steps": 20}), steady=[0, 1], seed=0
    )
    given = torch.from_numpy(answers(3, seed=1)[0])
    other = given.clone()
    other[:, :, 0] = 5.0
    torch.testing.assert_close(choice(given), choice(other), rtol=0, atol=0)


def test_half_of_it_reads_the_steady_columns_alone() -> None:
    choice = fit_levels(
        *answers(20), SETTINGS.model_copy(update={"steps": 20}), steady=[0, 1], seed=0
    )
    given = choice.standardised(torch.from_numpy(answers(3, seed=1)[0]))
    other = given.clone()
    other[:, :, 3] += 1.0
    read = [member.get_buffer("0.read") for member in choice.members]
    for own, member in zip(read, choice.members, strict=True):
        same = torch.equal(member(given), member(other))
        assert same == (own.tolist() == [1, 1, 0, 0])
        assert same or own.tolist() == [1, 1, 1, 1]
    assert torch.stack(read).sum(dim=1).tolist() == [4, 4, 4, 2, 2, 2]
