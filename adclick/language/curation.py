"""Proposed phrases: what is suspicious about each, and the file in which a person strikes some.

A proposals file is YAML, `{category: {object, model, types: {type: [...]}}}`; each phrase says
which answer it came from and, where there is something, what is suspicious about it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jaxtyping import Float64
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from adclick.language.bank import plain, read_yaml
from adclick.language.llm import spaced
from adclick.run.artifacts import write_text
from adclick.run.errors import InputError
from adclick.run.settings.section import validation_line

WORD_PIECES = 18  # of the 20 tokens that the encoder reads, two are [CLS] and [SEP]
NEAR_DUPLICATE = 0.75  # shared words of two phrases, as a part of all their words
ARTICLES = {"a", "an", "the"}
CLEARLY = 2.0  # how much more alike another type must be
FILLER = {"ai", "answer", "certainly", "description", "example", "json", "phrase", "sorry"}
HEADER = (
    "# Phrases that a language model proposed. Delete a line, or give it `strike: true`, or reword"
    " it; then:\n# adclick prompts curate THIS_FILE --bank BANK --accept\n"
)


class Proposal(BaseModel):
    """One phrase, the answer that it came from, what is suspicious, and whether it was struck."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    phrase: str = Field(pattern=r"\S")
    answer: str | None = None
    suspicious: str | None = None
    strike: bool = False


class CategoryProposals(BaseModel):
    """The phrases proposed for each type, what the object was called, and the model asked."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    object: str
    model: str
    types: dict[str, list[Proposal]]


Proposals = dict[str, CategoryProposals]


def mark(proposed: CategoryProposals, known: Mapping[str, Sequence[str]]) -> CategoryProposals:
    """The proposals that nobody struck and a bank's category lacks, and what is suspicious now."""
    types: dict[str, list[Proposal]] = {}
    for kind, listed in proposed.types.items():
        have = {plain(phrase) for phrase in known.get(kind, ())}
        types[kind] = [one for one in listed if not one.strike and plain(one.phrase) not in have]
    phrases = {kind: [one.phrase for one in listed] for kind, listed in types.items()}
    reasons = suspicions(phrases, known, object_name=proposed.object)
    marked = {
        kind: [
            one.model_copy(update={"suspicious": reason or None})
            for one, reason in zip(listed, reasons[kind], strict=True)
        ]
        for kind, listed in types.items()
    }
    return proposed.model_copy(update={"types": marked})


def suspicions(
    proposals: Mapping[str, Sequence[str]],
    bank: Mapping[str, Sequence[str]],
    *,
    object_name: str,
) -> dict[str, list[str]]:
    """What is suspicious about each proposed phrase of one category, empty where nothing is.

    `proposals` and `bank` map types to phrases. A phrase is suspicious where it does not name the
    object, says something about the answer instead of the object, may be too long for the encoder,
    nearly repeats another phrase of the category, or has the words of another type.
    """
    kinds = dict.fromkeys([*bank, *proposals])
    everything = {kind: [*bank.get(kind, ()), *proposals.get(kind, ())] for kind in kinds}
    types = other_types(everything)
    earlier = [(kind, phrase, _content(phrase)) for kind, known in bank.items() for phrase in known]
    found: dict[str, list[str]] = {}
    for kind, phrases in proposals.items():
        guesses = types[kind][len(bank.get(kind, ())) :]
        found[kind] = []
        for phrase, guess in zip(phrases, guesses, strict=True):
            reasons = [
                *faults(phrase, object_name),
                *_repetitions(phrase, kind, earlier),
                *([f"reads like {guess}"] if guess else []),
            ]
            found[kind].append("; ".join(reasons))
            earlier.append((kind, phrase, _content(phrase)))
    return found


def faults(phrase: str, object_name: str) -> Iterator[str]:
    """What is wrong with a phrase whatever the others are."""
    words = word_set(phrase)
    if not words & named_by(object_name):
        yield f"does not name the {spaced(object_name)}"
    if filler := sorted(words & FILLER):
        yield f"filler ({', '.join(filler)})"
    if most_pieces(phrase) > WORD_PIECES:
        yield f"may be longer than {WORD_PIECES} tokens"


def word_set(phrase: str) -> set[str]:
    """The words of a phrase, in lower case."""
    return set(re.findall(r"[^\W\d_]+", phrase.lower()))


def named_by(object_name: str) -> set[str]:
    """The words that name an object: its name's last word, in the singular and the plural."""
    words = re.findall(r"[^\W\d_]+", spaced(object_name).lower())
    last = words[-1] if words else object_name.lower()
    return {last, f"{last}s", f"{last}es", last.removesuffix("s")}


def _content(phrase: str) -> set[str]:
    return word_set(phrase) - ARTICLES


def _repetitions(
    phrase: str, kind: str, earlier: Sequence[tuple[str, str, set[str]]]
) -> Iterator[str]:
    words = _content(phrase)
    for other_kind, other, others in earlier:
        if len(words & others) >= NEAR_DUPLICATE * len(words | others):
            where = "" if other_kind == kind else f" of {other_kind}"
            yield f"nearly repeats {other!r}{where}"
            return


def other_types(phrases: Mapping[str, Sequence[str]]) -> dict[str, list[str | None]]:
    """For each phrase of each type, the other type that it is clearly more alike; None mostly."""
    listed = list(phrases)
    likeness = type_likeness(phrases)
    found: dict[str, list[str | None]] = {}
    start = 0
    for index, kind in enumerate(listed):
        rows = likeness[start : start + len(phrases[kind])]
        start += len(rows)
        found[kind] = [
            listed[best] if row[best] > CLEARLY * row[index] else None
            for row, best in zip(rows, rows.argmax(axis=1), strict=True)
        ]
    return found


def type_likeness(phrases: Mapping[str, Sequence[str]]) -> Float64[np.ndarray, "phrase type"]:
    """How alike each phrase (all types' in turn) and the *other* phrases of each type are, 0 to 1.

    The cosine of a phrase's bag of words and the mean bag of the type, without the phrase itself in
    its own type. A word weighs log((1 + phrases) / (1 + phrases that contain it)), so nothing where
    all do.
    """
    bags = [word_set(phrase) for listed in phrases.values() for phrase in listed]
    kinds = np.repeat(np.arange(len(phrases)), [len(listed) for listed in phrases.values()])
    vocabulary = {word: column for column, word in enumerate(sorted(set().union(*bags)))}
    counts = np.zeros((len(bags), len(vocabulary)))
    for row, bag in enumerate(bags):
        counts[row, [vocabulary[word] for word in bag]] = 1
    weighted = counts * np.log((1 + len(bags)) / (1 + counts.sum(axis=0)))
    likeness = np.zeros((len(bags), len(phrases)))
    for kind in range(len(phrases)):
        own = (kinds == kind)[:, None]
        others = weighted[kinds == kind].sum(axis=0) - own * weighted
        lengths = np.linalg.norm(others, axis=1) * np.linalg.norm(weighted, axis=1)
        likeness[:, kind] = (weighted * others).sum(axis=1) / np.maximum(lengths, 1e-12)
    return likeness


def write_proposals(path: Path, proposals: Proposals) -> None:
    """Write a proposals file whole or not at all."""
    content = {
        category: one.model_dump(exclude_defaults=True) for category, one in proposals.items()
    }
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000)
    write_text(path, HEADER + text)


def read_proposals(path: Path) -> Proposals:
    """A proposals file, as written or as a person edited it; InputError names what is wrong."""
    content: Any = read_yaml(path, "proposals")
    try:
        return TypeAdapter(Proposals).validate_python(content)
    except ValidationError as error:
        raise InputError(validation_line(f"proposals {path}", error)) from None


# Words so frequent in English that BERT's uncased vocabulary holds them whole.
FREQUENT = """
    a about above across after again against all alone along among an and another any apart are
    area arm arms around arrow as at away back background ball band bands bar bare bars base be
    beat bed before behind being below bend beneath bent beside between beyond big bit black
    blade block blood blow blue board boards body bone border borders both bottle bottom bow box
    branch bread break breaks bridge bright brighter broad broke broken brown brush build burn
    burned burst but button by cable camera can cap car card carpet case cast caught cell cells
    center central centre chain chair change changed chip circle circles circuit circular clean
    cleaned clear close closed cloth cloud clouds coat coating code cold color colored colors
    colour coloured colours column complete condition control copper copy core corner corners
    correct cotton cover covered covering covers crack cracked cracks crop cross crossed
    crossing curve curved cut cuts cutting cycle damage damaged dark darker date dead deep
    defect defects depth diamond different dim dirt dirty disc disk distance door dot dots
    double down draw drawn dried drop dropped drops dry dull dust each ear early edge edges
    eight electric elements empty end ending ends engine even every exposed extra eye eyes
    fabric face faces facing factory fall false feather feet fiber field figure fill filled film
    final fine finger fingers finish finished fire first fit five fixed flag flat floor flow
    flower flowing foil following foot for foreign form forming four frame free fresh from front
    full fur gap gaps gas gate glass glue gold golden good grain grass gray green grey grid
    ground group grown hair half hand hanging hard head heads healthy heart heat heavy hidden
    hiding high holding hole holes hollow hook horizontal hot ice image in industrial injured
    ink inner insect inside into iron is it item its jacket joining joint just key keys knife
    knot lace laid large larger last layer lead leaf leather leaves leaving left leg legs length
    less letter letters level lid lie lies light lighter lights like line lined lines link lip
    lips liquid little long longer look looking looks loop loose lost loud low lower lying
    machine made magnet magnetic main make mark marked marker marks mass match matching material
    matter mesh metal metallic middle minor mirror missing mixed more most mouth moved much mud
    multiple nail narrow natural near nearly neat neck new next night no noise none normal nose
    not nothing number object objects odd of off oil old on once one only open opened opening or
    orange order ordinary other out outer outside over paint painted painting pair pale panel
    paper parallel part particle partly parts past patch path pattern perfect perfectly picture
    piece pieces pile pill pin pink pipe place placed plain plastic plate plates point pointed
    points poor powder press pressed pressure print printed product proper pulled pure purple
    pushed quarter rain random raw ready rear red regular remain remains reverse ribbon right
    ring rings rock rod root rope rough round rounded row rows rubber running rust same sand
    scale scar scattered scratch screen screw seal seam second section seed seen set seven
    several shade shadow shallow shape shaped sharp sheet shell shining short shorter should
    showing side sides sight sign silk silver similar single sitting six size skin slight
    slightly small smaller smoke smooth soft solid some space split spot spots spread square
    stain standard standing star stars steel stem step steps stick stone straight strange strip
    stripe strong structure stuck surface symbol table tail tall tape tar tear teeth ten test
    text texture than that the thick thin thinner third thread threads three through tight tile
    time tiny tip tips to together tone too tooth top torn touch touching toward towards track
    trail tree triangle tube turned turning twice twisted two type typical under uniform unknown
    unusual up upon upper upside vertical very view visible visual wall walls warm water wave
    way weak well wet wheel where while white whole wide wider window wire wires with within
    without wood wooden wool word words work worn wrong yellow zero zone
"""
WHOLE_WORDS = frozenset(FREQUENT.split())
ENDINGS = ("s", "es", "ed", "d", "ing", "y", "er", "ly", "less")


def most_pieces(phrase: str) -> int:
    """An upper bound of a phrase's WordPiece tokens, [CLS] and [SEP] not counted.

    A frequent word is one piece, with an ending at most two; of any other word a piece is taken to
    hold two letters, which nearly all pieces of BERT's vocabulary do; a sign is a piece. The bound
    is loose: most phrases become about two thirds of it.
    """
    parts = re.findall(r"[a-z]+|[^\sa-z]", phrase.lower())
    return sum(_word_pieces(part) for part in parts)


def _word_pieces(word: str) -> int:
    if word in WHOLE_WORDS:
        return 1
    if any(word.removesuffix(ending) in WHOLE_WORDS for ending in ENDINGS):
        return 2
    return (len(word) + 1) // 2
