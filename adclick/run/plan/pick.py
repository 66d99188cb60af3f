"""A stage's settings, picked from the configuration by their names."""

from collections.abc import Mapping
from typing import Any

from adclick.run.config import Config
from adclick.run.settings.section import Section


class Stage(Section):
    """The settings of one stage: what can change its result, and no more.

    Its name is the stage's, which is a rule's and a command's too: `FitRetrieval`,
    `fit_retrieval`. A field that the configuration has is taken from there; a stage that needs
    others overrides `of`.
    """

    @classmethod
    def of(cls, config: Config, _: Mapping[str, str], /) -> "Stage":
        """The settings of the job with these wildcards."""
        return cls.pick(config)

    @classmethod
    def pick(cls, config: Config, **values: Any) -> "Stage":
        """The settings with `values`, and the sections of `config` for all other fields."""
        taken = {name: getattr(config, name) for name in cls.model_fields if name not in values}
        return cls(**taken, **values)
