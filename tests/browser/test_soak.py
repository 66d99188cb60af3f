import json
import subprocess
import sys
from pathlib import Path

import pytest

from tools.browser.soak import growth, missing

ROOT = Path(__file__).parents[2]
CLICK = {"kind": "click", "row": 3, "column": 4, "positive": True}
TYPE = {"kind": "type", "value": None}


def write_journal(labels: Path, actions: list[dict]) -> None:
    path = labels / ".journal/plate/000.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps({"action": action}) + "\n" for action in actions))


def test_what_is_not_in_the_journal_is_missed(tmp_path: Path) -> None:
    write_journal(tmp_path, [CLICK, {**CLICK, "row": 9}, TYPE])
    here = "plate/000"
    assert missing(tmp_path, [(here, CLICK), (here, TYPE)]) == []
    assert missing(tmp_path, [(here, CLICK), (here, CLICK)])  # answered twice, written once
    assert missing(tmp_path, [(here, TYPE), (here, CLICK)])  # in another order
    assert missing(tmp_path, [(here, {**CLICK, "positive": False})])


@pytest.mark.parametrize(
    ("samples", "expected"), [([5.0] * 9, 0), ([1, 1, 1, 2, 3, 3, 9, 9, 7], 6), ([], 0)]
)
def test_growth_compares_the_end_with_the_beginning(samples: list[float], expected: float) -> None:
    assert growth(samples, min) == expected


def test_a_minute_of_work_with_three_kills_loses_and_leaks_nothing() -> None:
    # In a process of its own: the browser's loop may run once a process, and other tests have it.
    command = [sys.executable, "-m", "tools.browser.soak", "--minutes", "1", "--kills", "3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["kills"] == 3 and seen["acknowledged"] > 20
    assert (seen["lost"], seen["faults"]) == ([], [])
