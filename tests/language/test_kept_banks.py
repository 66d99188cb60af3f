"""The shipped prompt bank: complete, readable, and different for different defects."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from adclick.data.toy import DEFECT_TYPES
from adclick.language.curation import suspicions, type_likeness
from adclick.language.llm import MAX_WORDS

FOLDER = Path(__file__).parents[2] / "config" / "prompts"
MVTEC_TYPES = {
    "bottle": "broken_large broken_small contamination",
    "cable": "bent_wire cable_swap combined cut_inner_insulation cut_outer_insulation missing_cable"
    " missing_wire poke_insulation",
    "capsule": "crack faulty_imprint poke scratch squeeze",
    "carpet": "color cut hole metal_contamination thread",
    "grid": "bent broken glue metal_contamination thread",
    "hazelnut": "crack cut hole print",
    "leather": "color cut fold glue poke",
    "metal_nut": "bent color flip scratch",
    "pill": "color combined contamination crack faulty_imprint pill_type scratch",
    "screw": "manipulated_front scratch_head scratch_neck thread_side thread_top",
    "tile": "crack glue_strip gray_stroke oil rough",
    "toothbrush": "defective",
    "transistor": "bent_lead cut_lead damaged_case misplaced",
    "wood": "color combined hole liquid scratch",
    "zipper": "broken_teeth combined fabric_border fabric_interior rough split_teeth"
    " squeezed_teeth",
}
DEFECTS = {
    "toy": {category: set(types) for category, types in DEFECT_TYPES.items()},
    "mvtec": {category: set(types.split()) for category, types in MVTEC_TYPES.items()},
    "magnetic_tile": {"magnetic_tile": {"blowhole", "break", "crack", "fray", "uneven"}},
    "ksdd2": {"ksdd2": {"defect"}},
}
TEXT_ONLY_TYPES = {"good", "contamination"}  # normal images, and every simulated defect
OBJECT_WORDS = {  # where the category's name is not what people call the object
    "metal_nut": {"nut"},
    "magnetic_tile": {"tile", "magnet"},
    "ksdd2": {"part", "surface", "item", "component"},
}
PHRASES_PER_TYPE = 40  # the paper's U
CATEGORIES = [(dataset, category) for dataset, types in DEFECTS.items() for category in types]

Category = dict[str, list[str]]


@pytest.fixture(scope="module")
def banks() -> dict[str, dict[str, Category]]:
    return {
        dataset: yaml.safe_load((FOLDER / f"{dataset}.yaml").read_text(encoding="utf-8"))
        for dataset in DEFECTS
    }


@pytest.fixture
def types(banks: dict[str, dict[str, Category]], dataset: str, category: str) -> Category:
    return banks[dataset][category]


def test_mvtec_has_seventy_three_defect_types() -> None:
    assert sum(len(types) for types in DEFECTS["mvtec"].values()) == 73


@pytest.mark.parametrize("dataset", DEFECTS)
def test_bank_has_every_defect_type_and_no_other(
    banks: dict[str, dict[str, Category]], dataset: str
) -> None:
    expected = {category: types | TEXT_ONLY_TYPES for category, types in DEFECTS[dataset].items()}
    assert {category: set(types) for category, types in banks[dataset].items()} == expected


@pytest.mark.parametrize("dataset", DEFECTS)
def test_no_phrase_occurs_twice_in_a_data_set(
    banks: dict[str, dict[str, Category]], dataset: str
) -> None:
    counts = Counter(
        phrase
        for types in banks[dataset].values()
        for phrases in types.values()
        for phrase in phrases
    )
    assert [phrase for phrase, count in counts.items() if count > 1] == []


@pytest.mark.parametrize(("dataset", "category"), CATEGORIES)
def test_every_type_has_enough_phrases(types: Category) -> None:
    short = {
        name: len(phrases) for name, phrases in types.items() if len(phrases) < PHRASES_PER_TYPE
    }
    assert short == {}


@pytest.mark.parametrize(("dataset", "category"), CATEGORIES)
def test_phrases_are_short_lower_case_words(types: Category) -> None:
    wrong = [phrase for phrase in all_phrases(types) if not is_plain(phrase)]
    assert wrong == []


@pytest.mark.parametrize(("dataset", "category"), CATEGORIES)
def test_every_phrase_names_its_object(types: Category, category: str) -> None:
    names = OBJECT_WORDS.get(category, {category})
    plural = {f"{name}s" for name in names}
    assert [phrase for phrase in all_phrases(types) if not words(phrase) & (names | plural)] == []


@pytest.mark.parametrize(("dataset", "category"), CATEGORIES)
def test_no_phrase_is_longer_than_a_model_is_asked_for(types: Category) -> None:
    long = [phrase for phrase in all_phrases(types) if len(phrase.split()) > MAX_WORDS]
    assert long == []


@pytest.mark.parametrize(("dataset", "category"), CATEGORIES)
def test_no_phrase_nearly_repeats_another_or_is_filler(types: Category, category: str) -> None:
    """As `adclick prompts curate` would mark it, the likeness to other types aside."""
    said = suspicions(types, {}, object_name=category)
    found = [
        f"{phrase}: {reason}"
        for kind, phrases in types.items()
        for phrase, reason in zip(phrases, said[kind], strict=True)
        if "repeats" in reason or "filler" in reason
    ]
    assert found == []


@pytest.mark.parametrize(("dataset", "category"), CATEGORIES)
def test_words_tell_the_types_of_a_category_apart(types: Category) -> None:
    """Each phrase is sorted to the type whose other phrases it is most alike; chance is one in as
    many as there are types, and three standard deviations of it are asked of every defect type.
    """
    likeness = type_likeness(types)
    truth = np.repeat(np.arange(len(types)), [len(phrases) for phrases in types.values()])
    right = likeness.argmax(axis=1) == truth
    chance = 1 / len(types)
    assert right.mean() > max(0.5, 2.5 * chance)
    for index, (name, phrases) in enumerate(types.items()):
        spread = (chance * (1 - chance) / len(phrases)) ** 0.5
        if name not in TEXT_ONLY_TYPES:
            assert right[truth == index].mean() > chance + 3 * spread, name


def all_phrases(types: Category) -> Iterator[str]:
    for phrases in types.values():
        yield from phrases


def is_plain(phrase: object) -> bool:
    """Four to twelve lower-case English words, at most 90 characters; hyphens and commas too."""
    return (
        isinstance(phrase, str)
        and 4 <= len(phrase.split()) <= 12
        and len(phrase) <= 90
        and re.fullmatch(r"[a-z]+(([ -]|, )[a-z]+)*", phrase) is not None
    )


def words(phrase: str) -> set[str]:
    return set(re.findall(r"[a-z]+", phrase))
