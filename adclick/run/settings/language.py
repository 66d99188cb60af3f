"""Settings of the phrases and the text encoder."""

from typing import Literal

from adclick.run.settings.section import NonNegative, Positive, Section, Weights


class Prompts(Section):
    """How many phrases describe a defect type, and how an LLM is asked for them."""

    source: Literal["bank", "llm"]
    phrases: Positive
    requested: Positive
    base_url: str | None
    model: str
    temperature: NonNegative | None
    seed: int | None
    key_variable: str


class Language(Section):
    """The text encoder (Eq. 6)."""

    encoder: str
    weights: Weights
    channels: Positive
    tokens: Positive
    average: Literal["masked", "legacy_mean"]
