"""What is suspicious about a proposed phrase, and the file that a person edits."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from adclick.language.curation import (
    CategoryProposals,
    Proposal,
    faults,
    mark,
    named_by,
    other_types,
    read_proposals,
    suspicions,
    type_likeness,
    write_proposals,
)
from adclick.run.errors import InputError

BANK = {
    "hole": ["round hole in the cloth", "dark hole through the cloth", "torn hole in cloth"],
    "stain": ["red stain on the cloth", "wet oil stain on cloth", "pale stain on the cloth"],
}


def reasons(phrase: str, kind: str = "hole") -> str:
    return suspicions({kind: [phrase]}, BANK, object_name="cloth")[kind][0]


def test_a_good_phrase_is_not_suspicious() -> None:
    assert reasons("small hole with loose ends in cloth") == ""


@pytest.mark.parametrize(
    ("phrase", "reason"),
    [
        ("round hole", "does not name the cloth"),
        ("example phrase of a cloth hole", "filler (example, phrase)"),
        ("a dark round hole with many loose ends near the lower edge of cloth", "longer than 12"),
        ("a dark hole through the cloth", "nearly repeats 'dark hole through the cloth'"),
        ("wet oil stain on the cloth", "nearly repeats 'wet oil stain on cloth' of stain"),
        ("brown oil stain, wet on the cloth", "reads like stain"),
    ],
)
def test_each_reason_is_said(phrase: str, reason: str) -> None:
    assert reason in reasons(phrase)


def test_a_phrase_that_repeats_an_earlier_proposal_is_suspicious() -> None:
    proposed = {"hole": ["frayed gap in cloth threads", "frayed gap in the cloth threads"]}
    first, second = suspicions(proposed, BANK, object_name="cloth")["hole"]
    assert first == ""
    assert "nearly repeats 'frayed gap in cloth threads'" in second


def test_a_category_without_a_bank_is_compared_with_itself() -> None:
    proposed = {kind: [*phrases] for kind, phrases in BANK.items()}
    proposed["hole"].append("another wet oil stain on cloth")
    found = suspicions(proposed, {}, object_name="cloth")
    assert "reads like stain" in found["hole"][-1]
    assert not any("reads like" in reason for reason in found["hole"][:-1] + found["stain"])


def test_names_are_the_last_word_in_both_numbers() -> None:
    assert named_by("metal_nut") == {"nut", "nuts", "nutes"}
    assert "glass" in named_by("glasses_case_glass")
    assert not list(faults("scratch across two metal nuts", "metal_nut"))
    assert list(faults("scratch on the metal", "metal_nut")) == ["does not name the metal nut"]


def test_likeness_by_hand() -> None:
    # Words weigh log(5/(1 + n)): hole, in 2 of 4 phrases, log(5/3) = 0.511; the others log(5/2) =
    # 0.916. "dark hole" and its type's other phrase "round hole" share 0.511^2 = 0.261; both are
    # (0.511^2 + 0.916^2)^0.5 = 1.049 long: 0.261 / 1.101 = 0.237.
    phrases = {"hole": ["dark hole", "round hole"], "stain": ["red blot", "wet mark"]}
    likeness = type_likeness(phrases)
    np.testing.assert_allclose(likeness[0], [0.237, 0], atol=1e-3)
    np.testing.assert_allclose(likeness[2], [0, 0])
    assert other_types(phrases) == {"hole": [None, None], "stain": [None, None]}


def test_one_type_alone_reads_like_no_other() -> None:
    assert other_types({"hole": ["dark hole", "round gap"]}) == {"hole": [None, None]}


def proposals() -> dict[str, CategoryProposals]:
    listed = [
        Proposal(phrase="small hole in cloth", answer="ab12"),
        Proposal(phrase="Round hole  in the cloth", answer="ab12"),
        Proposal(phrase="yes: no # cloth", strike=True),
    ]
    return {"cloth": CategoryProposals(object="cloth", model="m", types={"hole": listed})}


def test_marking_leaves_out_what_is_struck_or_in_the_bank() -> None:
    marked = mark(proposals()["cloth"], BANK)
    assert [one.phrase for one in marked.types["hole"]] == ["small hole in cloth"]


def test_a_proposals_file_reads_back_equal(tmp_path: Path) -> None:
    path = tmp_path / "proposals.yaml"
    write_proposals(path, proposals())
    assert read_proposals(path) == proposals()
    assert path.read_text(encoding="utf-8").startswith("# Phrases")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cloth: {object: cloth, model: m, types: {hole: [{phrase: ''}]}}", "types.hole.0.phrase"),
        ("cloth: {object: cloth, model: m, types: {hole: [{phrase: a, strik: true}]}}", "strik"),
        ("cloth: {types: {}}", "cloth.object"),
        ("- a", "proposals"),
        ("a: {", "not valid YAML"),
    ],
)
def test_a_spoilt_proposals_file_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "proposals.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_proposals(path)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_suspicious_and_struck_stand_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "proposals.yaml"
    listed = [Proposal(phrase="hole", answer="ab12", suspicious="does not name the cloth")]
    content = CategoryProposals(object="cloth", model="m", types={"hole": listed})
    write_proposals(path, {"cloth": content})
    entry = yaml.safe_load(path.read_text(encoding="utf-8"))["cloth"]["types"]["hole"][0]
    assert entry == {
        "phrase": "hole",
        "answer": "ab12",
        "suspicious": "does not name the cloth",
    }
