"""What all sections of the configuration have in common."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.\-]+$")]


class Section(BaseModel):
    """A part of the configuration or of a `model.json`: immutable, no unknown keys.

    A key that may be absent is None by default. Other keys have no defaults here: their values
    stand in config/config.yaml. The descriptions are the table in config/README.md.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")


class Weights(Section):
    """Where pretrained weights come from: a model hub, a local file or folder, or seeded and
    untrained.
    """

    source: Literal["hub", "file", "seeded"] = Field(
        description="`hub` (download, or what was downloaded before), `file` (below), or `seeded`"
        " (untrained, for the demo)."
    )
    file: str | None = Field(
        None,
        description="When source is `file`: a safetensors file in timm's names for the backbone, a"
        " local folder for the text encoder.",
    )
    sha256: str | None = Field(
        None,
        description="Checksum of the backbone's file, or of the encoder's `model.safetensors`;"
        " without it nothing is checked.",
    )
    seed: int = Field(description="Seed of untrained weights.")

    @model_validator(mode="after")
    def _file_is_named(self) -> "Weights":
        if (self.source == "file") != (self.file is not None):
            raise ValueError("`file` must be given when source is 'file', and be null otherwise")
        return self


def validation_line(source: str, error: ValidationError) -> str:
    """All faults of a validation in one line: source, key, value, what is allowed."""
    faults = [
        f"{_key(fault['loc'])}{_value(fault)}{': ' if fault['loc'] else ''}"
        f"{fault['msg'].removeprefix('Value error, ')}"
        for fault in error.errors()
    ]
    return f"{source}: " + "; ".join(faults)


def _key(location: Sequence[int | str]) -> str:
    return ".".join(str(part) for part in location)


def _value(fault: Mapping[str, Any]) -> str:
    value = fault["input"]
    return "" if isinstance(value, dict | list) else f" = {value!r}"
