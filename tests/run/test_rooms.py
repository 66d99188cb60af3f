"""Imports point down, commands load only what they need, and trainings cannot reach evaluation."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from adclick.run.plan.stages import SETTINGS
from adclick.run.provenance import reachable_modules

PACKAGE = Path(__file__).parents[2] / "adclick"
LAYERS = {
    "errors": 0,
    "config": 0,
    "provenance": 0,
    "artifacts": 0,
    "device": 0,
    "plan": 0,
    "parts": 1,
    "clicks": 1,
    "metrics": 1,
    "losses": 1,
    "labels": 1,
    "robot": 1,
    "curves": 1,
    "diffusion": 1,
    "data.images": 1,
    "data.layouts": 1,
    "data.manifest": 1,
    "data": 2,
    "features": 2,
    "folding": 1,
    "retrieval": 2,
    "matching": 2,
    "matching_everywhere": 2,
    "matching_kernel": 2,
    "foreground": 2,
    "language": 2,
    "models": 2,
    "models.folder": 3,
    "network_input": 2,
    "training": 3,
    "resuming": 3,
    "interactive": 3,
    "sliding": 3,
    "detection": 3,
    "overlay": 3,
    "peers": 3,
    "tables": 3,
    "table_forms": 3,
    "robot_tables": 3,
    "zoom": 3,
    "figures": 3,
    "plots": 3,
    "label_costs": 3,
    "annotate": 4,
    "commands": 5,
    "cli": 5,
}
COMMANDS = sorted(
    path.stem
    for path in (PACKAGE / "commands").glob("*.py")
    if "COMMAND = " in path.read_text(encoding="utf-8")
)
TRAINING = ("train_adclick", "train_adclick_seg", "label_defects", "predict_maps")
SCORING = {
    f"adclick.{name}"
    for name in (
        *("metrics", "curves", "tables", "table_forms", "robot_tables"),
        *("figures", "plots", "label_costs"),
    )
}
HEAVY = {"torch", "timm", "transformers", "sklearn", "matplotlib", "openai", "numba"}
ALLOWED = {
    "draw_toy": set(),
    "make_manifest": set(),
    "simulate_defects": set(),
    "expand_defects": set(),
    "generate_prompts": set(),
    "evaluate": set(),
    "evaluate_clicks": set(),
    "evaluate_maps": set(),
    "make_table": set(),
    "make_robot_table": set(),
    "predict_maps": set(),  # the training-free map needs no network
    "simulate_clicks": set(),
    "make_click_figures": {"matplotlib"},
    "make_map_figures": {"matplotlib"},
    "make_label_costs": {"matplotlib"},
    "make_training_figure": {"matplotlib"},
    "fit_retrieval": {"sklearn"},
    "fit_foreground": {"sklearn"},
    "encode_prompts": {"torch", "transformers"},
    "extract_features": {"torch", "timm"},
    "find_neighbours": {"torch", "timm", "sklearn"},
    "compute_residuals": {"torch", "timm", "sklearn"},
}


def layer_of(module: str) -> int:
    name = module.removeprefix("adclick.")
    known = [key for key in LAYERS if name == key or name.startswith(key + ".")]
    return LAYERS[max(known, key=len)]


def own_modules() -> list[str]:
    paths = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
    return [
        ".".join(("adclick", *path.relative_to(PACKAGE).with_suffix("").parts)) for path in paths
    ]


@pytest.mark.parametrize("module", own_modules())
def test_imports_point_down(module: str) -> None:
    path = PACKAGE.joinpath(*module.split(".")[1:]).with_suffix(".py")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = [
        node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module
    ]
    assert not any(isinstance(node, ast.ImportFrom) and node.level for node in ast.walk(tree))
    for name in imported:
        if name.startswith("adclick."):
            assert layer_of(name) <= layer_of(module), (
                f"{module} imports {name}, which lies above it"
            )


def test_packages_have_no_code_of_their_own() -> None:
    for path in PACKAGE.rglob("__init__.py"):
        assert not path.read_text(encoding="utf-8").strip(), f"{path} must stay empty"


@pytest.mark.parametrize("command", TRAINING)
def test_evaluation_is_out_of_reach_of_training(command: str) -> None:
    reached = reachable_modules(f"adclick.commands.{command}")
    assert not reached & SCORING


# What an edit of a module of results can make stale: stages whose code can reach it. Among them is
# nothing that prepares, trains or predicts.
FIGURES = {"make_click_figures", "make_label_costs", "make_map_figures", "make_training_figure"}
STALE = {
    "tables": {"make_table", "make_robot_table"},
    "table_forms": {"make_table", "make_robot_table"},
    "robot_tables": {"make_robot_table"},
    "figures": FIGURES,
    "plots": FIGURES,
    "label_costs": {"make_label_costs"},
    "metrics": {"evaluate_clicks", "evaluate_maps"},
    "curves": {"evaluate_maps", "make_map_figures"},
}


@pytest.mark.parametrize("module", STALE)
def test_an_edit_of_results_reaches_no_other_stage(module: str) -> None:
    reaching = {
        stage
        for stage in SETTINGS
        if f"adclick.{module}" in reachable_modules(f"adclick.commands.{stage}")
    }
    assert reaching == STALE[module]


def test_annotation_never_reaches_training() -> None:
    for module in own_modules():
        if module.startswith("adclick.annotate"):
            assert "adclick.training" not in reachable_modules(module)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_loads_no_more_than_it_needs(command: str) -> None:
    script = f"import sys; import adclick.commands.{command}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    surplus = HEAVY & set(loaded.split()) - ALLOWED.get(command, {"torch", "timm"})
    assert not surplus, f"{command} loads {sorted(surplus)} on import"
