"""The prompt bank: reading, selection."""

from pathlib import Path

import pytest

from adclick.language.bank import read_bank, select_phrases
from adclick.run.errors import InputError

BANK = """
washer:
  scratch: [thin scratch on a washer, bright line across the washer]
  good: [clean washer]
  contamination: ["dust on the washer", 'oil on the washer']
cloth:
  hole: [small hole in cloth]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "bank.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_bank_keeps_categories_types_and_the_order_of_phrases(tmp_path: Path) -> None:
    bank = read_bank(write(tmp_path, BANK))
    assert bank == {
        "washer": {
            "scratch": ("thin scratch on a washer", "bright line across the washer"),
            "good": ("clean washer",),
            "contamination": ("dust on the washer", "oil on the washer"),
        },
        "cloth": {"hole": ("small hole in cloth",)},
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "category"),
        ("{}", "category"),
        ("- a\n- b\n", "category"),
        ("washer: [a]\n", "'washer' must be"),
        ("washer: {}\n", "'washer' must be"),
        ("washer: {hole: small hole}\n", "washer / hole must be a list"),
        ("washer: {hole: []}\n", "washer / hole has no phrases"),
        ("washer: {hole: [a, yes]}\n", "washer / hole, phrase 2 is not text (True)"),
        ("washer: {hole: [a, '  ']}\n", "washer / hole, phrase 2 is blank"),
        ("washer: {hole: [a hole, b, A  Hole]}\n", "washer / hole, phrase 3 repeats phrase 1"),
        ("washer: {no: [a]}\n", "type False is not text"),
        ("1: {hole: [a]}\n", "category 1 is not text"),
        ("washer:\n  hole: [a]\n  hole: [b]\n", "the key 'hole' is there twice"),
        ("washer: {hole: [a}\n", "line 1: not valid YAML"),
        ("washer: {a/b: [a]}\n", "washer / a/b: 'a/b' is no name of a kind of defect: it has one"),
        ("2026-13-40: {hole: [a]}\n", "not valid YAML"),
        ("[" * 5000, "not valid YAML"),
    ],
)
def test_a_malformed_bank_is_one_line_that_names_file_and_place(
    tmp_path: Path, text: str, says: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_bank(path)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_problems_of_a_bank_are_named_at_once_up_to_a_limit(tmp_path: Path) -> None:
    path = write(tmp_path, "a: {x: []}\nb: {y: [1]}\n")
    with pytest.raises(InputError, match=r"a / x has no phrases.*b / y, phrase 1"):
        read_bank(path)
    path = write(tmp_path, "a: {x: [1, 2, 3, 4, 5, 6, 7]}\n")
    with pytest.raises(InputError, match=r"phrase 5 .*; and 2 more$"):
        read_bank(path)


def test_the_same_phrase_may_serve_two_types(tmp_path: Path) -> None:
    assert read_bank(write(tmp_path, "a: {x: [spot], y: [spot]}\n"))["a"]["y"] == ("spot",)


def test_a_missing_or_undecodable_bank_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_bank(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes("a: {x: [trou brûlé]}".encode("latin-1"))
    with pytest.raises(InputError, match="UTF-8"):
        read_bank(tmp_path / "latin.yaml")


def test_selection_takes_the_first_phrases_of_just_the_wanted_types() -> None:
    bank = {"washer": {"scratch": ("a", "b", "c"), "hole": ("d", "e"), "good": ("f",)}}
    chosen = select_phrases(bank, "washer", ["hole", "scratch"], 2)
    assert chosen == {"hole": ("d", "e"), "scratch": ("a", "b")}


def test_selection_lists_every_missing_and_short_type_at_once() -> None:
    bank = {"washer": {"scratch": ("a", "b", "c"), "hole": ("d",)}}
    with pytest.raises(InputError) as caught:
        select_phrases(bank, "washer", ["scratch", "hole", "bent", "good"], 2)
    line = str(caught.value)
    assert "no phrases for bent, good; hole has 1 (2 phrases are needed" in line
    assert "prompts.source" in line
    assert "scratch has" not in line
    with pytest.raises(InputError, match=r"no category 'nut' \(it has washer\)"):
        select_phrases(bank, "nut", ["hole"], 1)
    with pytest.raises(ValueError, match="count"):
        select_phrases(bank, "washer", ["hole"], 0)
