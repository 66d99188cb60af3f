"""Prompts and their encoding."""

from collections.abc import Mapping

from adclick.run.config import Config
from adclick.run.plan.pick import Stage
from adclick.run.settings.language import Language, Prompts


class GeneratePrompts(Stage):
    """Settings of `generate_prompts`."""

    prompts: Prompts
    categories: list[str]

    @classmethod
    def of(cls, config: Config, wildcards: Mapping[str, str]) -> Stage:
        return cls.pick(config, categories=config.datasets[wildcards["dataset"]].categories)


class EncodePrompts(Stage):
    """Settings of `encode_prompts`."""

    language: Language


def prompt_bank(config: Config, dataset: str) -> str:
    """The prompt bank of a data set."""
    return config.datasets[dataset].prompts


def language_file(config: Config, dataset: str) -> str:
    """The encoded prompts of a data set."""
    return f"results/{config.run}/{dataset}/encode_prompts/language.h5"
