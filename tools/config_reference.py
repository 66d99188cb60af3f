"""The table of keys in config/README.md, made of the descriptions of the settings' fields:
`python -m tools.config_reference` says whether it is current, with `--write` it writes it.
"""

import argparse
from pathlib import Path
from typing import get_args

from pydantic import BaseModel

from adclick.run.config import Config

README = Path(__file__).parents[1] / "config/README.md"
BEGIN = "<!-- keys: made by `python -m tools.config_reference --write` -->\n"
END = "<!-- /keys -->\n"


def keys(model: type[BaseModel]) -> dict[str, str]:
    """Every key with its explanation, in order. A section's keys are listed where it is first met,
    and below one that has more keys than another only those.
    """
    return _keys(model, "", {})


def table() -> str:
    """The table, in Markdown."""
    rows = (f"| `{key}` | {meaning} |\n" for key, meaning in keys(Config).items())
    return "| key | meaning |\n|---|---|\n" + "".join(rows)


def current(text: str) -> str:
    """The text with the table of now between its marks."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def _keys(
    model: type[BaseModel], prefix: str, listed: dict[type[BaseModel], str]
) -> dict[str, str]:
    inherited = {name for base in model.__mro__[1:] if base in listed for name in base.model_fields}
    found: dict[str, str] = {}
    for name, field in model.model_fields.items():
        if name in inherited:
            continue
        key, meaning = f"{prefix}{name}", field.description or ""
        for part in (field.annotation, *get_args(field.annotation)):
            if not (isinstance(part, type) and issubclass(part, BaseModel)):
                continue
            if part in listed:
                found[key] = f"{meaning} Keys: as of `{listed[part]}`."
            else:
                listed[part] = key
                found |= {key: meaning} | _keys(part, f"{key}.", listed)
        found.setdefault(key, meaning)
    return found


def main() -> None:
    """Check the table, or write it."""
    parser = argparse.ArgumentParser(prog="python -m tools.config_reference", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the table of now")
    write = parser.parse_args().write
    text = README.read_text(encoding="utf-8")
    if write:
        README.write_text(current(text), encoding="utf-8")
    elif text != current(text):
        raise SystemExit(f"{README}: not current; python -m tools.config_reference --write")


if __name__ == "__main__":
    main()
