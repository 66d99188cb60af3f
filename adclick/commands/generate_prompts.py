"""The phrases that describe every defect type: from the prompt bank, or from a language model (Sec.
3.3).
"""

from collections.abc import Sequence

from adclick.language.answers import ask_types, shortage
from adclick.language.bank import chosen_phrases
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
    asked = settings.source == "llm"
    count = None if asked else settings.phrases
    found = chosen_phrases(job.inputs["bank"], job.settings.categories, {}, count)
    chosen = {
        category: _ask(settings, category, list(types)) if asked else types
        for category, types in found.items()
    }
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
