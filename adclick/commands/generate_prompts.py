"""The phrases that describe every defect type: from the prompt bank, or from a language model (Sec.
3.3).
"""

from collections.abc import Sequence

from adclick.artifacts import write_json
from adclick.commands.entry import parse_job, run
from adclick.config import GeneratePrompts, Prompts
from adclick.errors import InputError
from adclick.language.prompts import generate_phrases, read_bank, select_phrases

COMMAND = "adclick.commands.generate_prompts"


def main(argv: Sequence[str] | None = None) -> None:
    """Write `phrases`: {category: {type: [phrase …]}} for every category of the data set."""
    job = parse_job(
        COMMAND, GeneratePrompts, argv, doc=__doc__, inputs=["bank"], outputs=["prompts"]
    )
    settings = job.settings.prompts
    bank = read_bank(job.inputs["bank"])
    chosen: dict[str, dict[str, list[str]]] = {}
    for category in job.settings.categories:
        if category not in bank:
            raise InputError(
                f"{job.inputs['bank']}: no category {category!r}; add it with its defect types"
            )
        types = sorted(bank[category])
        if settings.source == "llm":
            chosen[category] = {name: _ask(settings, name, category) for name in types}
        else:
            found = select_phrases(bank, category, types, settings.phrases)
            chosen[category] = {name: list(found[name]) for name in types}
    write_json(job.outputs["prompts"], {"phrases": chosen}, stamp=job.stamp)


def _ask(settings: Prompts, defect_type: str, category: str) -> list[str]:
    phrases = generate_phrases(
        defect_type=defect_type,
        object_name=category,
        count=settings.requested,
        needed=settings.phrases,
        model=settings.model,
        temperature=settings.temperature,
        seed=settings.seed,
        base_url=settings.base_url,
        key_variable=settings.key_variable,
    )
    return list(phrases)[: settings.phrases]


if __name__ == "__main__":
    run(main)
