"""`adclick prompts generate`: ask a language model for the phrases that a prompt bank lacks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from adclick.data.rows import NORMAL_TYPE, SIMULATED_TYPE
from adclick.language.answers import (
    Harvest,
    ask_types,
    cache_folder,
    logged_usage,
    shortage,
    total_usage,
)
from adclick.language.bank import Bank, read_bank
from adclick.language.curation import CategoryProposals, Proposal, mark, write_proposals
from adclick.language.needs import data_types
from adclick.run.config import read_configuration
from adclick.run.errors import InputError
from adclick.run.settings.language import Prompts
from adclick.run.settings.section import validation_line

Types = dict[str, list[str]]  # by category
Harvests = dict[str, dict[str, Harvest]]  # by category and type


def propose(
    places: Sequence[str],
    *,
    bank: Path,
    output: Path,
    dataset: str | None,
    called: str | None,
    overlays: Sequence[Path],
    changes: Mapping[str, Any],
    timeout_s: float,
) -> None:
    """Ask about the places (see `wanted_types`) and write proposals to `output`.

    `changes` go over the configuration's section `prompts`. InputError when the output is there
    already, and, after it is written, when a type got too few phrases.
    """
    if output.exists():
        raise InputError(f"{output} is there: curate or delete it, or give another --output")
    config = read_configuration(overlays)
    settings = _settings(config.prompts, changes)
    known = read_bank(bank) if bank.is_file() else {}
    types = data_types(config, dataset) if dataset else {name: [*known[name]] for name in known}
    wanted = wanted_types(places, types, known, needed=settings.phrases)
    if called and len(wanted) > 1:
        raise InputError(f"--called {called}: give it with one category, not {len(wanted)}")
    harvests = {
        category: ask_types(settings, category, kinds, called=called, timeout_s=timeout_s)
        for category, kinds in wanted.items()
    }
    proposals = {
        category: _proposed(called or category, settings.model, found, known.get(category, {}))
        for category, found in harvests.items()
    }
    write_proposals(output, proposals)
    _report(output, bank, proposals, harvests)
    _require_enough(harvests, known, settings.phrases)


def _settings(section: Prompts, changes: Mapping[str, Any]) -> Prompts:
    try:
        return Prompts.model_validate({**section.model_dump(), **changes})
    except ValidationError as error:
        raise InputError(validation_line("prompts", error)) from None


def wanted_types(named: Sequence[str], types: Types, bank: Bank, *, needed: int) -> Types:
    """The types to ask about, by category.

    A place `category/type` is asked about in any case. A category, and all of `types` where nothing
    is named, is asked about its types (and `good` and `contamination`) that have fewer than
    `needed` phrases in the bank. InputError for a category that is not in `types`, and when nothing
    is left.
    """
    wanted: Types = {}
    for place in named or types:
        category, _, kind = place.partition("/")
        if not kind and category not in types:
            raise InputError(f"{category}: not in the bank or data set; name CATEGORY/TYPE instead")
        kinds = [kind] if kind else _lacking(types[category], bank.get(category, {}), needed)
        wanted[category] = [*dict.fromkeys([*wanted.get(category, []), *kinds])]
    wanted = {category: kinds for category, kinds in wanted.items() if kinds}
    if not wanted:
        raise InputError(
            f"nothing lacks phrases ({needed} a type): name CATEGORY/TYPE, or give --phrases"
        )
    return wanted


def _lacking(types: Sequence[str], bank: Mapping[str, Sequence[str]], needed: int) -> list[str]:
    everything = dict.fromkeys([*types, NORMAL_TYPE, SIMULATED_TYPE])
    return [kind for kind in everything if len(bank.get(kind, ())) < needed]


def _proposed(
    object_name: str,
    model: str,
    harvests: Mapping[str, Harvest],
    known: Mapping[str, Sequence[str]],
) -> CategoryProposals:
    types = {
        kind: [Proposal(phrase=phrase, answer=key) for phrase, key in harvest.phrases.items()]
        for kind, harvest in harvests.items()
    }
    return mark(CategoryProposals(object=object_name, model=model, types=types), known)


def _report(
    output: Path, bank: Path, proposals: Mapping[str, CategoryProposals], harvests: Harvests
) -> None:
    listed = [one for part in proposals.values() for kind in part.types.values() for one in kind]
    marked = sum(one.suspicious is not None for one in listed)
    fresh = [harvest for found in harvests.values() for harvest in found.values() if harvest.asked]
    now, ever = total_usage(one.usage for one in fresh), logged_usage(cache_folder())
    print(
        f"{output}: {len(listed)} new phrases, {marked} of them suspicious\n"
        f"asked {sum(one.asked for one in fresh)} times ({_in_words(now)});"
        f" all answers in {cache_folder()}: {_in_words(ever)}\n"
        f"next: adclick prompts curate {output} --bank {bank}"
    )


def _in_words(usage: Mapping[str, float]) -> str:
    said = f"{usage.get('prompt_tokens', 0):.0f} tokens in"
    said += f", {usage.get('completion_tokens', 0):.0f} out"
    return f"{said}, cost {usage['cost']:.4f}" if "cost" in usage else said


def _require_enough(harvests: Harvests, bank: Bank, needed: int) -> None:
    short = [
        shortage(harvest, needed=needed, what=f"{category} / {kind}")
        for category, found in harvests.items()
        for kind, harvest in found.items()
        if len({*harvest.usable, *bank.get(category, {}).get(kind, ())}) < needed
    ]
    if short:
        raise InputError(
            f"{'; '.join(short)}: give another --seed or --model, ask for more (--requested),"
            " or write some by hand"
        )
