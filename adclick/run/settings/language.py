"""Settings of the phrases and the text encoder."""

from typing import Literal

from pydantic import Field

from adclick.run.settings.section import NonNegative, Positive, Section, Weights


class Prompts(Section):
    """How many phrases describe a defect type, and how an LLM is asked for them."""

    source: Literal["bank", "llm"] = Field(
        description="`bank` (the YAML file) or `llm` (an OpenAI-compatible endpoint; the bank names"
        " the types)."
    )
    phrases: Positive = Field(description="U: phrases used a type.")
    requested: Positive = Field(
        description="n: phrases asked for; more than U, since some are unusable."
    )
    base_url: str | None = Field(None, description="The endpoint; without it OpenAI's.")
    model: str = Field(description="The model's name there.")
    temperature: NonNegative | None = Field(
        None, description="Sampling temperature; null = not sent, for models that refuse one."
    )
    seed: int | None = Field(
        None, description="Seed sent along, one more for a second answer; null = not sent."
    )
    key_variable: str = Field(description="Environment variable that holds the key.")


class Language(Section):
    """The text encoder (Eq. 6)."""

    encoder: str = Field(description="A transformers model name (BERT).")
    weights: Weights = Field(description="Where its weights come from; seeded, it is tiny as well.")
    channels: Positive = Field(description="Q: the encoder's width (768 for BERT base).")
    tokens: Positive = Field(description="Z: tokens kept of each phrase.")
    average: Literal["masked", "legacy_mean"] = Field(
        description="`masked` (padding does not count) or `legacy_mean` (Eq. 6 as published code"
        " computes it)."
    )
