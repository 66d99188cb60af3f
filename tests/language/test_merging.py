"""Phrases enter a bank's file as new lines; everything else in it stays."""

from pathlib import Path

import pytest

from adclick.language.bank import read_bank
from adclick.language.merging import merge_into_bank
from adclick.run.errors import InputError

BANK = """\
# The bank of the washers.
washer:
  # thin ones first
  scratch:
    - thin scratch on a washer   # seen on line 3
    - "deep scratch: a washer"
  good:
  - clean washer

# Cloth is next.
cloth:
  hole:
    - >-
      small hole
      in cloth
bolt:
  good: [clean bolt]
"""
NEW = [("long scratch on the washer", "m, answer ab12"), ("washer: scored", "m, reworded")]


def write(folder: Path, text: str = BANK) -> Path:
    path = folder / "bank.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def added_lines(before: str, after: str) -> list[str]:
    """The lines that `after` has more; fails where an old line is gone or moved."""
    new = iter(after.splitlines())
    added: list[str] = []
    for line in before.splitlines():
        added += iter(lambda line=line: next(new), line)
    return added + list(new)


def test_new_lines_follow_the_last_phrase_and_say_where_they_are_from(tmp_path: Path) -> None:
    path = write(tmp_path)
    assert merge_into_bank(path, "washer", "scratch", NEW) == 2
    after = path.read_text(encoding="utf-8")
    assert added_lines(BANK, after) == [
        "    - long scratch on the washer  # m, answer ab12",
        "    - 'washer: scored'  # m, reworded",
    ]
    assert after.index("deep scratch") < after.index("long scratch") < after.index("good:")
    assert read_bank(path)["washer"]["scratch"][2:] == tuple(phrase for phrase, _ in NEW)


def test_line_endings_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "bank.yaml"
    path.write_bytes(BANK.replace("\n", "\r\n").encode())
    assert merge_into_bank(path, "washer", "dent", NEW) == 2
    after = path.read_bytes()
    assert after.count(b"\r\n") == after.count(b"\n") == BANK.count("\n") + 3
    assert len(read_bank(path)["washer"]["dent"]) == 2


@pytest.mark.parametrize(
    ("category", "kind", "expected"),
    [
        ("washer", "good", ["  - shiny one  # m"]),
        ("cloth", "hole", ["    - shiny one  # m"]),
        ("washer", "rust", ["  rust:", "    - shiny one  # m"]),
        ("cloth", "no", ["  'no':", "    - shiny one  # m"]),
        ("nut", "good", ["nut:", "  good:", "    - shiny one  # m"]),
    ],
)
def test_any_type_and_category_may_grow_or_begin(
    tmp_path: Path, category: str, kind: str, expected: list[str]
) -> None:
    path = write(tmp_path)
    before = read_bank(path)
    merge_into_bank(path, category, kind, [("shiny one", "m")])
    assert added_lines(BANK, path.read_text(encoding="utf-8")) == expected
    after = read_bank(path)
    assert after[category][kind] == (*before.get(category, {}).get(kind, ()), "shiny one")


def test_a_bank_that_is_not_there_is_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "bank.yaml"
    merge_into_bank(path, "nut", "good", NEW)
    assert read_bank(path) == {"nut": {"good": tuple(phrase for phrase, _ in NEW)}}


def test_what_the_type_has_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path)
    known = [("Thin  scratch on a washer", "m"), ("new one", "m"), ("New one", "n")]
    assert merge_into_bank(path, "washer", "scratch", known) == 1
    assert added_lines(BANK, path.read_text(encoding="utf-8")) == ["    - new one  # m"]
    assert merge_into_bank(path, "washer", "scratch", known) == 0


def test_a_file_without_a_last_line_break_keeps_its_last_line(tmp_path: Path) -> None:
    path = write(tmp_path, "nut:\n  good:\n    - clean nut")
    merge_into_bank(path, "nut", "good", [("smooth nut", "m")])
    assert read_bank(path) == {"nut": {"good": ("clean nut", "smooth nut")}}


@pytest.mark.parametrize(
    "text",
    [
        "washer: {scratch: [thin scratch]}\n",
        "washer:\n  scratch: [thin scratch,\n    deep scratch]\n",
        "washer:\n  scratch: &s\n    - thin scratch\n  rust: *s\n",
    ],
)
def test_a_file_that_cannot_take_lines_is_left_alone(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InputError, match="one `- phrase` a line"):
        merge_into_bank(path, "washer", "scratch", NEW)
    assert path.read_text(encoding="utf-8") == text
    assert [file.name for file in tmp_path.iterdir()] == ["bank.yaml"]


def test_the_shipped_banks_take_lines(project: Path, tmp_path: Path) -> None:
    for name in ("toy", "ksdd2"):
        source = project / f"config/prompts/{name}.yaml"
        before = source.read_text(encoding="utf-8")
        path = write(tmp_path, before)
        category, types = next(iter(read_bank(path).items()))
        merge_into_bank(path, category, next(iter(types)), [("shiny one", "m")])
        assert added_lines(before, path.read_text(encoding="utf-8")) == ["    - shiny one  # m"]
