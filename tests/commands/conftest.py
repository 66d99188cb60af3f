from pathlib import Path

import pytest

from adclick.run.plan import stages as plan
from tests.commands.chain import PLACE, SEED, Step, micro_config, steps


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished micro run, to be read only; also of a variant pretrained alone."""
    config, target = micro_config(), tmp_path_factory.mktemp("finished")
    for step in [*steps(config).values(), _pretrained_clicks()]:
        step.run(config, target)
    return target


def _pretrained_clicks() -> Step:
    config, place = micro_config(), "toy/cloth"
    folder = plan.category_folder(config, place)
    made = f"{folder}/make_manifest"
    return Step(
        "simulate_clicks",
        "simulate_clicks",
        PLACE | {"method": "pretrained_lang"},
        {
            "manifest": f"{made}/manifest.csv",
            "images": f"{made}/images.h5",
            "masks": f"{made}/masks.h5",
            **plan.click_inputs(config, place, "pretrained_lang", SEED),
        },
        {"maps": f"{folder}/simulate_clicks/pretrained_lang/seed{SEED}/maps.h5"},
    )
