"""A finished table on disk: every form, and one stamp."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adclick.artifacts import write_text
from adclick.provenance import canonical_json
from adclick.table_forms import FORMS, Table


def write_table(table: Table, outputs: Mapping[str, Path], *, stamp: Mapping[str, Any]) -> None:
    """The table in all `FORMS`, and the stamp of all of them beside the CSV."""
    for name, form in FORMS.items():
        write_text(outputs[name], form(table))
    csv = outputs["csv"]
    write_text(csv.with_name(f"{csv.name}.stamp.json"), canonical_json(stamp) + "\n")
