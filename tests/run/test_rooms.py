"""What the listing promises: rooms, their faces, and what a command can reach and loads.

That rooms import downwards, without a circle, is a contract in pyproject.toml (`make check`).
"""

import ast
import json
import re
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import pytest

from adclick.run.plan.stages import STAGES
from adclick.run.provenance import reachable_modules

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "adclick"
FACES = {"adclick.clicks", "adclick.metrics"}
COMMANDS = {path.stem for path in (PACKAGE / "commands").glob("*.py")} - {"__init__"}
TRAINING = ("train_adclick", "train_adclick_seg", "label_defects", "predict_maps")
HEAVY = {"torch", "timm", "transformers", "sklearn", "matplotlib", "openai", "numba"}
ALLOWED = {
    "draw_toy": set(),
    "make_manifest": set(),
    "simulate_defects": set(),
    "expand_defects": set(),
    "generate_prompts": set(),
    "evaluate_clicks": set(),
    "evaluate_maps": set(),
    "make_table": set(),
    "make_robot_table": set(),
    "make_cost_table": set(),
    "make_map_cost_table": set(),
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


def own_modules() -> list[str]:
    paths = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
    return [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]


def test_the_listing_is_short() -> None:
    listed = {path.name for path in PACKAGE.iterdir()} - {"__init__.py", "__pycache__"}
    assert len(listed) <= 15, sorted(listed)


def test_commands_are_the_modules_that_rules_call_and_nothing_else() -> None:
    rules = "\n".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "workflow/rules").glob("*.smk")
    )
    for form in (r"python -m adclick\.commands\.(\w+)", r'fingerprint\("adclick\.commands\.(\w+)"'):
        assert set(re.findall(form, rules)) == COMMANDS
    assert set(STAGES) == COMMANDS


def test_packages_have_no_code_of_their_own_but_two_that_hand_names_on() -> None:
    for path in PACKAGE.rglob("__init__.py"):
        package = ".".join(path.parent.relative_to(ROOT).parts)
        text = path.read_text(encoding="utf-8")
        if package not in FACES:
            assert not text.strip(), f"{path} must stay empty"
            continue
        title, *imports, named = ast.parse(text).body
        assert isinstance(title, ast.Expr) and len(imports) <= 3
        assert all(
            isinstance(one, ast.ImportFrom) and one.module and one.module.startswith(package)
            for one in imports
        )
        assert isinstance(named, ast.Assign) and ast.unparse(named.targets[0]) == "__all__"


@pytest.mark.parametrize("module", own_modules())
def test_inner_code_imports_no_face(module: str) -> None:
    path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        imported = {node.module} if isinstance(node, ast.ImportFrom) else set()
        if isinstance(node, ast.Import):
            imported = {name.name for name in node.names}
        assert not imported & FACES, f"line {node.lineno}: import from the module that defines it"


def test_the_faces_hand_on_what_people_call() -> None:
    from adclick.clicks import Click, scale_clicks
    from adclick.metrics import StreamingMetrics, component_results, image_results, pixel_metrics

    handed = (Click, scale_clicks, StreamingMetrics, component_results, image_results)
    assert all(callable(one) for one in (*handed, pixel_metrics))


# A detector on features chooses how much it adds by AP, PRO and image AUROC on labelled pictures
# that it held out, so its training reaches how these are computed, and nothing else of evaluation.
CHOOSING = {"metrics.pixels", "metrics.ranks", "metrics.streaming"}


@pytest.mark.parametrize("command", TRAINING)
def test_evaluation_is_out_of_reach_of_training(command: str) -> None:
    reached = {
        name.removeprefix("adclick.") for name in reachable_modules(f"adclick.commands.{command}")
    }
    found = {name for name in reached if name.split(".")[0] in ("metrics", "reporting")}
    assert found == (CHOOSING if command == "train_adclick_seg" else set())


# What an edit of a module of results can make stale: stages whose code can reach it. Among them is
# nothing that prepares, trains or predicts, but for the choice of an amount (see `CHOOSING`).
FIGURES = {"make_click_figures", "make_label_costs", "make_map_figures", "make_training_figure"}
COSTS = {"make_cost_table", "make_map_cost_table"}
TABLES = {"make_table", "make_robot_table", *COSTS}
STALE = {
    "metrics.clicks": {"evaluate_clicks"},
    "metrics.curves": {"evaluate_maps", "make_map_figures"},
    "metrics.false_alarms": set(),
    "metrics.map_files": set(),
    "metrics.pixels": {"evaluate_clicks", "evaluate_maps", "make_map_figures", "train_adclick_seg"},
    "metrics.ranks": {"evaluate_clicks", "evaluate_maps", "make_map_figures", "train_adclick_seg"},
    "metrics.scoring": set(),
    "metrics.sizes": {"evaluate_maps"},
    "metrics.streaming": {"evaluate_maps", "train_adclick_seg"},
    "reporting.click_costs": COSTS,
    "reporting.map_costs": {"make_map_cost_table"},
    "reporting.case_sheets": {"make_click_figures", "make_map_figures"},
    "reporting.honest_clicks": {"make_robot_table"},
    "reporting.label_costs": {"make_label_costs"},
    "reporting.line_figures": FIGURES,
    "reporting.paper_tables": TABLES,
    "reporting.style": FIGURES,
    "reporting.table_forms": TABLES,
}


def test_every_module_of_results_is_looked_at() -> None:
    listed = {name.removeprefix("adclick.") for name in own_modules()}
    assert {name for name in listed if name.startswith(("metrics.", "reporting."))} == STALE.keys()


@pytest.mark.parametrize("module", STALE)
def test_an_edit_of_results_reaches_no_other_stage(module: str) -> None:
    reaching = {
        stage
        for stage in STAGES
        if f"adclick.{module}" in reachable_modules(f"adclick.commands.{stage}")
    }
    assert reaching == STALE[module]


def test_annotation_never_reaches_training() -> None:
    for module in own_modules():
        if module.startswith("adclick.annotate"):
            reached = reachable_modules(module)
            assert not [name for name in reached if name.startswith("adclick.training")]


# One interpreter for all: what may load nothing heavy comes first, in turn; modules that may load
# the same then have a fork each, in which what one loads is surplus for every other too.
LOADING = """
import importlib, json, os, sys

heavy, groups = set(json.loads(sys.argv[1])), json.loads(sys.argv[2])

def load(allowed, modules):
    for module in modules:
        importlib.import_module(module)
        surplus = heavy & sys.modules.keys() - set(allowed)
        if surplus:
            print(f"{module} loads {sorted(surplus)} on import", flush=True)
            return

load(*groups[0])
for allowed, modules in groups[1:]:
    child = os.fork()
    if not child:
        load(allowed, modules)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        print(f"{modules}: cannot be imported", flush=True)
"""


def test_a_command_loads_no_more_than_it_needs() -> None:
    allowed = {name: sorted(ALLOWED.get(name, {"torch", "timm"})) for name in COMMANDS}
    modules = {f"adclick.commands.{name}": libraries for name, libraries in allowed.items()}
    modules |= {"adclick.metrics.scoring": [], "adclick.models.export": ["timm", "torch"]}
    ordered = sorted(modules, key=modules.__getitem__)
    groups = [(key, [*names]) for key, names in groupby(ordered, key=modules.__getitem__)]
    assert groups[0][0] == [] and len(groups) == len({*map(tuple, modules.values())})
    command = [sys.executable, "-c", LOADING, json.dumps(sorted(HEAVY)), json.dumps(groups)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
