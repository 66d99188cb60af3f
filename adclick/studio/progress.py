"""How far a run is, in words: its stages, what is done of all, the time left, a training's loss,
and for one that failed a line that says why and what to do.
"""

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adclick.studio.runs import Run

# Every stage in words, and about how many seconds one job of it takes at the small scale: only
# their proportions count, since the time left is scaled by how long this run's jobs took.
STAGES: dict[str, tuple[str, float]] = {
    "draw_toy": ("Draw the pictures", 10.0),
    "make_manifest": ("Read the photographs", 12.0),
    "extract_features": ("Look at every photograph", 30.0),
    "fit_retrieval": ("Learn which photographs are alike", 12.0),
    "fit_foreground": ("Find the object in the picture", 25.0),
    "find_neighbours": ("Find the most similar normal ones", 12.0),
    "choose_matching": ("Choose how to compare", 60.0),
    "compute_residuals": ("Compare with normal ones", 40.0),
    "simulate_defects": ("Make up defects to learn from", 25.0),
    "generate_prompts": ("Read the words about defects", 8.0),
    "encode_prompts": ("Understand these words", 15.0),
    "pretrain_adclick": ("Train on other products", 150.0),
    "train_adclick": ("Train the click model", 180.0),
    "record_clicks": ("Note how answers to clicks are refined", 6.0),
    "collect_labels": ("Collect your labels", 10.0),
    "label_defects": ("Label by simulated clicks", 30.0),
    "expand_defects": ("Vary your labelled defects", 20.0),
    "pretrain_adclick_seg": ("Train a detector on other products", 150.0),
    "train_adclick_seg": ("Train the detector", 310.0),
    "fit_map_peer": ("Fit another method", 60.0),
    "predict_maps": ("Try the detector on every photograph", 30.0),
    "evaluate_maps": ("Score the detector", 15.0),
}
OTHER_S = 15.0
TARGETS = ("all", "click_models", "detectors")  # ask for files and make none
KILLED = re.compile(r"\bKilled\b|exit (?:code|status) (?:137|-9)\b|signal 9\b|SIGKILL", re.I)
NO_WORD = "it ended without saying why"
STEP = re.compile(r"step (\d+) of (\d+): loss ([0-9.eE+-]+)")
NETWORK = re.compile(r"network (\d+) of (\d+)")  # of those that a stage trains one after the other
TAIL_BYTES = 20_000


def progress(run: Run, *, working: Path, now: float | None = None) -> dict[str, Any]:
    """How far a run is. `share` is what is done of all, in [0, 1]; `seconds_left` None where
    nothing is known yet; `stages` in the order of the work.
    """
    events, state = run.events(), run.state
    now = time.time() if now is None else now
    jobs = _jobs(events)
    counts = next((one["stats"] for one in events if one["event"] == "run_info"), {})
    stages = _stages(counts, jobs)
    trainings = _trainings(jobs, working)
    end = now if state == "running" else _end(run, events)
    share, left = _share(stages, jobs, trainings, begun=run.facts["time"], now=end)
    done = [one for one in events if one["event"] == "progress"]
    return {
        "number": run.number,
        "state": state,
        "ending": state == "running" and run.is_ending,
        "targets": list(run.facts["targets"]),
        "stages": stages,
        "done": done[-1]["done"] if done else 0,
        "total": counts.get("total", 0),
        "share": 1.0 if state == "done" else share,
        "seconds_left": round(left) if state == "running" and left is not None else None,
        "seconds": round(end - run.facts["time"]),
        "training": next(iter(trainings.values()), None) if state == "running" else None,
        "error": failure(run, working) if state == "failed" else None,
    }


def _end(run: Run, events: Sequence[Mapping[str, Any]]) -> float:
    """When a run ended; one that was killed, with the last that it said."""
    ended = run.ended
    return ended["time"] if ended else max([run.facts["time"], *(one["time"] for one in events)])


def _jobs(events: Sequence[Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
    """What is known of every job that was begun, by its number."""
    jobs: dict[int, dict[str, Any]] = {}
    for one in events:
        if one["event"] == "job_info":
            jobs[one["jobid"]] = {
                "rule": one["rule_name"],
                "log": list(one["log"] or []),
                "began": one["time"],
                "ended": None,
            }
        elif one["event"] == "job_finished" and one["job_id"] in jobs:
            jobs[one["job_id"]]["ended"] = one["time"]
    return jobs


def _stages(counts: Mapping[str, int], jobs: Mapping[int, Mapping[str, Any]]) -> list[dict]:
    begun = [job["rule"] for job in jobs.values()]
    order = [*STAGES]
    names = [name for name in counts if name != "total" and name not in TARGETS]
    names.sort(key=lambda name: order.index(name) if name in order else len(order))
    return [
        {
            "name": name,
            "words": words_of(name),
            "total": counts[name],
            "done": sum(job["rule"] == name and bool(job["ended"]) for job in jobs.values()),
            "begun": begun.count(name),
        }
        for name in names
    ]


def words_of(rule: str) -> str:
    """A stage in words."""
    return STAGES[rule][0] if rule in STAGES else rule.replace("_", " ").capitalize()


def expected_s(rule: str) -> float:
    """About how long a job of a rule takes at the small scale, in seconds."""
    return STAGES[rule][1] if rule in STAGES else OTHER_S


def _share(
    stages: Sequence[Mapping[str, Any]],
    jobs: Mapping[int, Mapping[str, Any]],
    trainings: Mapping[int, Mapping[str, Any]],
    *,
    begun: float,
    now: float,
) -> tuple[float, float | None]:
    """What is done of all, and the seconds left. A running training counts by its steps, another
    job by its age, up to nearly all of what it is expected to take. No less is left than the
    running trainings need at the pace that they have had.
    """
    whole = sum(expected_s(one["name"]) * one["total"] for one in stages)
    if not whole:
        return 0.0, None
    ended = sum(expected_s(one["name"]) * one["done"] for one in stages)
    taken = [(job["ended"] - job["began"], expected_s(job["rule"])) for job in _ended(jobs)]
    pace = sum(own for own, _ in taken) / sum(own for _, own in taken) if taken else 1.0
    running, least = 0.0, 0.0
    for number, job in jobs.items():
        if job["ended"] is not None or job["rule"] in TARGETS:
            continue
        age, expected = now - job["began"], expected_s(job["rule"])
        if number in trainings:
            told = trainings[number]
            part = (told["network"] - 1 + told["step"] / max(1, told["steps"])) / told["networks"]
            running += min(part, 0.95) * expected
            least = max(least, age * (1 - part) / part if part else 0.0)
        else:
            running += min(age / max(pace, 1e-3), 0.95 * expected)
    share = min((ended + running) / whole, 0.99)
    passed = now - min((job["began"] for job in jobs.values()), default=begun)
    left = passed * (1 - share) / share if share > 0.02 and passed > 5 else None
    return share, None if left is None else max(left, least)


def _ended(jobs: Mapping[int, Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [job for job in jobs.values() if job["ended"] and job["rule"] not in TARGETS]


def _trainings(jobs: Mapping[int, Mapping[str, Any]], working: Path) -> dict[int, dict[str, Any]]:
    """What the logs of the trainings that run say, once they say something."""
    running = {
        number: _training(_text(working / job["log"][0]))
        for number, job in jobs.items()
        if job["ended"] is None and "train" in job["rule"] and job["log"]
    }
    return {number: told for number, told in running.items() if told is not None}


def _training(log: str) -> dict[str, Any] | None:
    """Step and loss of the last line about a training in its log, and which of how many networks it
    is about; a network that has just begun is at step 0.
    """
    steps = STEP.findall(log)
    if not steps:
        return None
    step, steps_of_all, loss = steps[-1]
    begun = [*NETWORK.finditer(log)]
    network, networks = begun[-1].groups() if begun else (1, 1)
    if begun and not STEP.search(log, begun[-1].end()):
        step = 0
    return {
        "step": int(step),
        "steps": int(steps_of_all),
        "loss": float(loss),
        "network": int(network),
        "networks": int(networks),
    }


def failure(run: Run, working: Path) -> dict[str, Any]:
    """Why a run failed: one line, what to do, and the log that has all of it."""
    output = run.folder / "output.txt"
    logs = [
        working / log
        for one in run.events()
        if one["event"] == "job_error"
        for log in one["log"] or []
    ]
    for log in logs:
        if line := _error_line(_tail(log)):
            return {"line": line, "advice": _advice(line), "log": str(log)}
    printed = run.printed()[-TAIL_BYTES:]
    if "LockException" in printed or "cannot be locked" in printed:
        return {
            "line": "another Snakemake works in this folder, or was killed in it",
            "advice": "Wait for it to end. If none runs, unlock the folder and go on.",
            "log": str(output),
            "locked": True,
        }
    shown = str(next(iter(logs), output))
    if KILLED.search(printed):
        line = "Killed: the system ended a job, as it does when memory runs out"
        return {"line": line, "advice": _advice(line), "log": shown}
    line = NO_WORD if logs else _error_line(printed) or _last_line(printed) or NO_WORD
    return {"line": line, "advice": _advice(line), "log": shown}


def _error_line(text: str) -> str:
    """The last line that names an error; nothing where none does."""
    lines = [line.strip() for line in text.splitlines()]
    told = [line for line in lines if line.startswith("error: ")]
    kinds = [line for line in lines if re.match(r"[A-Za-z_.]*(Error|Exception|Killed)\b", line)]
    chosen = (told or kinds)[-1:]
    return chosen[0].removeprefix("error: ")[:500] if chosen else ""


def _last_line(text: str) -> str:
    return next((line.strip()[:500] for line in reversed(text.splitlines()) if line.strip()), "")


def _advice(line: str) -> str:
    if "MemoryError" in line or "Killed" in line or "out of memory" in line:
        return "The machine has too little memory: end other programs, then go on."
    if "No space left" in line:
        return "The disk is full: make room, then go on."
    if line.startswith("backbone ") and "could not be reached" in line:
        return (
            "Connect this machine to the network and go on: the weights are fetched once. Or give"
            " their file in the first step, under Without a network."
        )
    if line == NO_WORD:
        return "The whole log may say more. Going on takes up what is done already."
    return "Mend what the line names, then go on: what is done already is kept."


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _tail(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        return file.read().decode(errors="replace")
