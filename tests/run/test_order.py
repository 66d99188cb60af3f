"""In which order jobs are done so that little lies on the disk."""

import itertools

import pytest

from adclick.run.config import Config, load_config
from adclick.run.plan.order import STAGES, priority
from tests.run.test_config import read


@pytest.fixture(scope="module")
def paper() -> Config:
    return load_config(read())


def at(config: Config, rule: str, place: str = "mvtec/bottle", **wildcards: str) -> int:
    dataset, category = place.split("/")
    return priority(config, rule, {"dataset": dataset, "category": category, **wildcards})


def test_of_a_category_the_last_stage_comes_first(paper: Config) -> None:
    training = STAGES[STAGES.index("pretrain_adclick") :]
    order = [at(paper, rule) for rule in (*training, "evaluate_maps")]
    assert order == sorted(set(order))


def test_what_trainings_read_is_made_first_one_category_after_the_other(paper: Config) -> None:
    categories = paper.datasets["mvtec"].categories
    read = [at(paper, "compute_residuals", f"mvtec/{name}", source="real") for name in categories]
    banks = [at(paper, "extract_features", f"mvtec/{name}") for name in categories]
    trained = [at(paper, "evaluate_maps", f"mvtec/{name}") for name in categories]
    for (_, bank), (next_read, _) in itertools.pairwise(zip(read, banks, strict=True)):
        assert bank > next_read
    assert min(banks) > max(trained)
    assert trained == sorted(trained, reverse=True)
    expanded = at(paper, "compute_residuals", source="expanded_weak_location_aware_seed0")
    assert expanded < min(banks)
    thin = (
        at(paper, "compute_residuals", source="lines"),
        at(paper, "simulate_defects", drawn="lines"),
    )
    assert max(thin) < min(banks), "one category's own training reads them"


def test_the_next_data_set_waits_but_its_pretraining_on_this_one_does_not(paper: Config) -> None:
    last = at(paper, "pretrain_adclick", f"mvtec/{paper.datasets['mvtec'].categories[-1]}")
    assert at(paper, "extract_features", "ksdd2/ksdd2") < last
    assert at(paper, "train_adclick", "ksdd2/ksdd2") < last
    assert at(paper, "pretrain_adclick", "ksdd2/ksdd2") > last


def test_what_is_of_no_category_is_done_at_once(paper: Config) -> None:
    first = priority(paper, "generate_prompts", {"dataset": "mvtec"})
    assert first > at(paper, "make_manifest", "mvtec/carpet")
    assert first > at(paper, "compute_residuals", "mvtec/carpet", source="real")
