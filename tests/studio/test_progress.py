import json
import time
from pathlib import Path
from typing import Any

import pytest

from adclick.studio.events import read_events
from adclick.studio.progress import STAGES, expected_s, progress, words_of
from adclick.studio.runs import Run

BEGUN = 1_000_000.0


def event(seconds: float, name: str, **facts: Any) -> dict[str, Any]:
    return {"time": BEGUN + seconds, "event": name, **facts}


def began(seconds: float, job: int, rule: str) -> dict[str, Any]:
    return event(seconds, "job_info", jobid=job, rule_name=rule, log=[f"{rule}.log"])


STATS = {"make_manifest": 1, "train_adclick": 2, "click_models": 1, "total": 4}
EVENTS = [
    event(10, "run_info", stats=STATS),
    began(10, 3, "make_manifest"),
    event(34, "job_finished", job_id=3),
    event(34, "progress", done=1, total=4),
    began(34, 1, "train_adclick"),
]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("adclick.studio.runs.is_alive", lambda _: True)
    lines = "".join(json.dumps(one) + "\n" for one in EVENTS)
    (tmp_path / "7").mkdir()
    (tmp_path / "7/events.jsonl").write_text(lines + '{"time": 1, "ev')
    return Run(tmp_path / "7", {"pid": 1, "targets": ["click_models"], "time": BEGUN})


def test_a_line_that_is_being_written_is_left_out(run: Run) -> None:
    assert len(list(read_events(run.folder / "events.jsonl"))) == len(EVENTS)


def test_stages_are_in_words_and_in_the_order_of_the_work(run: Run) -> None:
    told = progress(run, working=run.folder, now=BEGUN + 34)
    assert [(one["words"], one["done"], one["total"]) for one in told["stages"]] == [
        ("Read the photographs", 1, 1),
        ("Train the click model", 0, 2),
    ]
    assert (told["done"], told["total"], told["state"]) == (1, 4, "running")


def test_time_left_grows_with_how_slow_this_machine_is(run: Run) -> None:
    """Reading took twice what it takes elsewhere; so will the trainings."""
    told = progress(run, working=run.folder, now=BEGUN + 34)
    whole = expected_s("make_manifest") + 2 * expected_s("train_adclick")
    assert told["share"] == pytest.approx(expected_s("make_manifest") / whole)
    assert told["seconds_left"] == pytest.approx(2 * 2 * expected_s("train_adclick"), rel=0.01)


def test_a_running_job_counts_by_its_age_but_never_as_done(run: Run) -> None:
    shares = [
        progress(run, working=run.folder, now=BEGUN + 34 + age)["share"] for age in (0, 60, 1e6)
    ]
    assert shares == sorted(shares) and shares[2] < 0.6


def test_a_trainings_loss_is_that_of_its_logs_last_line(run: Run) -> None:
    log = run.folder / "train_adclick.log"
    assert progress(run, working=run.folder)["training"] is None
    log.write_text("step 1 of 300: loss 0.9\nstep 12 of 300: loss 5.1e-02\n")
    told = progress(run, working=run.folder)["training"]
    assert told == {"step": 12, "steps": 300, "loss": 0.051, "network": 1, "networks": 1}


def test_networks_that_are_trained_one_after_the_other_never_take_the_bar_back(run: Run) -> None:
    """Of three, as a detector has from three labels on."""
    text = (run.folder / "events.jsonl").read_text().replace("train_adclick", "train_adclick_seg")
    (run.folder / "events.jsonl").write_text(text)
    log, lines, shares = run.folder / "train_adclick_seg.log", "", []
    said = [f"step {step} of 150: loss 0.1" for step in (1, 75, 150)]
    for line in [one for network in (1, 2, 3) for one in (f"network {network} of 3", *said)]:
        lines += f"{line}\n"
        log.write_text(lines)
        told = progress(run, working=run.folder, now=BEGUN + 40)
        shares.append(told["share"] if told["training"] else 0.0)
        if len(shares) == 7:
            place = [told["training"][name] for name in ("step", "network", "networks")]
            assert place == [75, 2, 3]
    assert shares == sorted(shares)
    read, trained = expected_s("make_manifest"), expected_s("train_adclick_seg")
    assert shares[6] == pytest.approx((read + 0.5 * trained) / (read + 2 * trained))
    assert shares[4] == pytest.approx(shares[3])  # the next one has begun


def test_a_training_counts_by_its_steps(run: Run) -> None:
    """An hour for a quarter of its steps leaves three, whatever it was expected to take."""
    (run.folder / "train_adclick.log").write_text("step 75 of 300: loss 0.9\n")
    told = progress(run, working=run.folder, now=BEGUN + 34 + 3600)
    whole = expected_s("make_manifest") + 2 * expected_s("train_adclick")
    done = expected_s("make_manifest") + 0.25 * expected_s("train_adclick")
    assert told["share"] == pytest.approx(done / whole)
    assert told["seconds_left"] >= 3 * 3600


def test_a_killed_run_took_as_long_as_it_was_heard_of(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adclick.studio.runs.is_alive", lambda _: False)
    told = progress(run, working=run.folder, now=BEGUN + 1e6)
    assert (told["state"], told["seconds"]) == ("interrupted", 34)


def test_a_job_that_ran_out_of_memory_is_told_as_such(run: Run) -> None:
    (run.folder / "train_adclick.log").write_text("step 40 of 300: loss 0.21\n")
    failed = event(40, "job_error", jobid=1, rule_name="train_adclick", log=["train_adclick.log"])
    with (run.folder / "events.jsonl").open("w") as file:
        file.write("".join(json.dumps(one) + "\n" for one in [*EVENTS, failed]))
    (run.folder / "ended.json").write_text(json.dumps({"code": 1, "time": BEGUN + 41}))
    error = progress(run, working=run.folder)["error"]
    assert error["line"] == "it ended without saying why" and "log may say" in error["advice"]
    (run.folder / "output.txt").write_text("/bin/bash: line 1: 4711 Killed     python -m x\n")
    assert "memory" in progress(run, working=run.folder)["error"]["advice"]


@pytest.mark.parametrize(
    ("log", "line", "advice"),
    [
        ("Traceback\n  x\nMemoryError: no\n", "MemoryError: no", "memory"),
        ("a\nerror: photographs/x.png: broken; remove it\n", "photographs/x.png: broken", "Mend"),
        ("error: backbone x: the network could not be reached\n", "backbone x", "first step"),
        ("OSError: [Errno 28] No space left on device\n", "No space left", "disk is full"),
    ],
)
def test_a_failure_says_what_to_do(run: Run, log: str, line: str, advice: str) -> None:
    (run.folder / "train_adclick.log").write_text(log)
    failed = event(40, "job_error", jobid=1, rule_name="train_adclick", log=["train_adclick.log"])
    with (run.folder / "events.jsonl").open("w") as file:
        file.write("".join(json.dumps(one) + "\n" for one in [*EVENTS, failed]))
    (run.folder / "ended.json").write_text(json.dumps({"code": 1, "time": time.time()}))
    told = progress(run, working=run.folder)
    assert told["state"] == "failed"
    assert line in told["error"]["line"] and advice in told["error"]["advice"]


def test_every_rule_of_the_workflow_has_words(project: Path) -> None:
    """But for those of tables and figures, which the studio never asks for."""
    asked = ("data", "residuals", "language", "clicks", "detection")
    text = "".join((project / f"workflow/rules/{name}.smk").read_text() for name in asked)
    named = {line.split()[1].rstrip(":") for line in text.splitlines() if line.startswith("rule ")}
    unused = {"detectors", "click_models", "simulate_clicks", "evaluate_clicks", "fit_map_peer"}
    assert named - unused <= set(STAGES), named - unused - set(STAGES)
    assert words_of("some_other_rule") == "Some other rule"
