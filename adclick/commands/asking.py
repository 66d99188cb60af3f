"""The questions to a language model as the settings have them: in the workflow and by hand."""

from collections.abc import Iterable

from adclick.config import Prompts
from adclick.language.answers import Harvest, cache_folder, collect_phrases
from adclick.language.llm import Endpoint


def ask_types(
    settings: Prompts,
    category: str,
    types: Iterable[str],
    *,
    called: str | None = None,
    timeout_s: float = 180.0,
) -> dict[str, Harvest]:
    """What the model says about types of a category, each told as soon as it is there.

    Answers come from the user's cache where they are kept, so a rerun asks nothing again.
    """
    endpoint = Endpoint(
        model=settings.model,
        key_variable=settings.key_variable,
        base_url=settings.base_url,
        temperature=settings.temperature,
        seed=settings.seed,
        timeout_s=timeout_s,
    )
    found: dict[str, Harvest] = {}
    form = 0
    for kind in types:
        harvest = collect_phrases(
            endpoint,
            defect_type=kind,
            object_name=called or category,
            count=settings.requested,
            needed=settings.phrases,
            folder=cache_folder(),
            form=form,
        )
        found[kind] = harvest
        form = harvest.form
        source = f"{harvest.asked} new answers" if harvest.asked else "kept answers"
        print(f"{category} / {kind}: {len(harvest.phrases)} phrases ({source})", flush=True)
    return found
