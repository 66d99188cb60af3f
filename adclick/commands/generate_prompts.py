"""The phrases that describe every defect type: from the prompt bank, or from a language model (Sec.
3.3).
"""

from collections.abc import Sequence

from adclick.language.answers import ask_types, shortage
from adclick.language.bank import read_bank, select_phrases
from adclick.run.artifacts import write_json
from adclick.run.errors import InputError
from adclick.run.job import parse_job, run
from adclick.run.plan.language import GeneratePrompts
from adclick.run.settings.language import Prompts

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
            chosen[category] = _ask(settings, category, types)
        else:
            found = select_phrases(bank, category, types, settings.phrases)
            chosen[category] = {name: list(found[name]) for name in types}
    write_json(job.outputs["prompts"], {"phrases": chosen}, stamp=job.stamp)


def _ask(settings: Prompts, category: str, types: Sequence[str]) -> dict[str, list[str]]:
    """The first usable phrases of every type, as the model gave them: nobody has read them."""
    harvests = ask_types(settings, category, types)
    short = [
        shortage(harvest, needed=settings.phrases, what=f"{category} / {kind}")
        for kind, harvest in harvests.items()
        if len(harvest.usable) < settings.phrases
    ]
    if short:
        raise InputError(f"{'; '.join(short)}: change prompts.seed, or raise prompts.requested")
    return {kind: list(harvest.usable[: settings.phrases]) for kind, harvest in harvests.items()}


if __name__ == "__main__":
    run(main)
