"""What the training commands make of their settings."""

import pytest

from adclick.networks.inputs import ResidualForm
from adclick.run.config import read_configuration
from adclick.run.settings.training import Training
from adclick.training.fit import make_plan
from tests.workflow.project import ROOT


@pytest.fixture
def training() -> Training:
    config = read_configuration([], base=ROOT / "config/config.yaml")
    changed = {"pretrain_steps": 5, "steps": 7, "pretrain_rate": 0.5}
    rates = {"learning_rate": 0.02, "fusion_learning_rate": 0.01}
    return config.adclick_training.model_copy(update=changed | rates)


@pytest.mark.parametrize(
    ("pretrain", "expected"), [(True, (5, 0.01, 0.005)), (False, (7, 0.02, 0.01))]
)
def test_pretraining_has_its_own_length_and_its_share_of_both_rates(
    training: Training, pretrain: bool, expected: tuple[int, float, float]
) -> None:
    plan = make_plan(
        training,
        pretrain=pretrain,
        form=ResidualForm(normalise=None, clamp=None, groups=None, log=False),
        first_clicks=True,
        iis=True,
        radius_px=3.0,
        threshold=0.5,
    )
    assert (plan.steps, plan.learning_rate, plan.fusion_learning_rate) == expected
