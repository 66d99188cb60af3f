import json
from pathlib import Path

import pytest

from tests.browser.soak import growth, missing

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
    ("samples", "expected"), [([5.0] * 9, 0), ([1, 1, 1, 2, 3, 3, 9, 9, 9], 8), ([], 0)]
)
def test_growth_compares_the_end_with_the_beginning(samples: list[float], expected: float) -> None:
    assert growth(samples) == expected
