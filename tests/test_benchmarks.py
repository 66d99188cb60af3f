import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adclick.run.config import read_configuration
from benchmarks import __main__ as program
from benchmarks import clicks, features, latency, matching, measure, metrics, retrieval, sizes
from benchmarks.made_up import make_category
from benchmarks.measure import Check, Task, Variant
from benchmarks.training import OVERLAYS, adclick_case, waiting

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("part", program.PARTS)
def test_every_part_runs_and_its_variants_agree(part: str) -> None:
    for task in program.PARTS[part]("tiny"):
        outcome = measure.run(part, task, least_rounds=1, least_s=0)
        assert [timing.name for timing in outcome.timings][0] == "ours"
        assert outcome.timings[0].ratio == 1
        assert any(np.isfinite([check.least, check.most]).any() for check in outcome.agreements)
        assert [check for check in outcome.agreements if not check.passed] == []


@pytest.mark.parametrize("part", [clicks, features, latency, matching, metrics, retrieval, sizes])
def test_every_part_has_all_sizes(part: Any) -> None:
    assert list(part.SIZES) == ["tiny", "quick", "normal", "full"]


def test_a_device_that_is_20_times_faster_hardly_waits_for_its_batches(tmp_path: Path) -> None:
    """At small scale: a step there takes this processor long enough to be measured."""
    config = read_configuration(OVERLAYS["small"], base=latency.CONFIG / "config.yaml")
    files = make_category(tmp_path, config, pictures=8)
    task = waiting(adclick_case(config, "finetuned_lang"), files, "small", 2, every_step=True)
    share = task.variants[0].call()
    (check,) = task.agreement({"ours": share})
    assert check.most == 0.1
    assert check.passed, share


def test_extra_memory_is_the_peak_and_grows_with_the_part_that_a_variant_does() -> None:
    def call() -> float:
        return float(np.ones(8_000_000).sum())  # 64 MB, gone at the end

    task = Task(
        "sum", [Variant("ours", call), Variant("tenth", call, 10)], lambda _: [], {}, ["tenth"]
    )
    ours, tenth = measure.run("", task, least_rounds=1, least_s=0).timings
    assert ours.extra_mb is None
    if os.access("/proc/self/clear_refs", os.W_OK):
        assert 600 < tenth.extra_mb < 700
    else:
        assert tenth.extra_mb is None


def small(part, checks=None):
    """A part's tasks at their smallest, with other checks instead of its own."""
    for task in part.tasks("tiny"):
        yield task if checks is None else Task(task.name, task.variants, lambda _: checks)


def test_a_report_is_printed_and_written(monkeypatch, tmp_path: Path, capsys) -> None:
    monkeypatch.setattr(program, "PARTS", {"clicks": lambda scale: small(clicks)})
    program.main(["clicks", "--output", str(tmp_path / "deep" / "found.json")])
    printed = capsys.readouterr().out
    found = json.loads((tmp_path / "deep" / "found.json").read_text())
    assert [task["part"] for task in found["tasks"]] == ["clicks"] * 4
    assert found["tasks"][0]["timings"][0]["cpu_s"] > 0
    assert found["machine"]["numpy"] == np.__version__
    markdown = (tmp_path / "deep" / "found.md").read_text()
    for text in (printed, markdown):
        assert text.count("the same clicks: 1 (at least 1: agrees)") == 4


def test_results_that_differ_fail_the_benchmark(monkeypatch, capsys) -> None:
    checks = [Check("equal", 0.5, least=1), Check("figure", 3.0)]
    monkeypatch.setattr(program, "PARTS", {"clicks": lambda scale: small(clicks, checks)})
    with pytest.raises(SystemExit, match="results differ"):
        program.main([])
    assert "equal: 0.5 (at least 1: DIFFERS)" in capsys.readouterr().out


def test_an_unknown_part_is_named(capsys) -> None:
    with pytest.raises(SystemExit):
        program.main(["matchings"])
    assert "matchings is none of matching, retrieval" in capsys.readouterr().err
