"""Every stage's settings, by its name and wildcards."""

import re

from adclick.run.config import Config
from adclick.run.plan import clicks, data, detection, figures, language, residuals, tables
from adclick.run.plan.pick import Stage

CHAPTERS = (data, residuals, language, clicks, detection, tables, figures)


def _name(stage: type[Stage]) -> str:
    """`FitRetrieval` is the stage `fit_retrieval`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", stage.__name__).lower()


STAGES: dict[str, type[Stage]] = {
    _name(stage): stage
    for chapter in CHAPTERS
    for stage in vars(chapter).values()
    if isinstance(stage, type) and issubclass(stage, Stage) and stage is not Stage
}


def settings_json(config: Config, stage: str, **wildcards: str) -> str:
    """The settings of one job as JSON, from its stage and wildcards."""
    return STAGES[stage].of(config, wildcards).model_dump_json()
