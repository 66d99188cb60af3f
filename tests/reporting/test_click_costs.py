"""The table of what a click costs: cells worked out by hand, and its printed forms."""

import pytest

from adclick.reporting.click_costs import build_cost_table
from adclick.reporting.table_forms import FORMS, Table, to_latex


def record(click: float, opening: float = 1.5, **changes: object) -> dict[str, object]:
    costs = {"seconds": {"open": opening, "click": click}, "parameters": 0, "device": "cpu"}
    return costs | {"peak_memory_mb": {"process": 700.4, "gpu": 0}} | changes


def table(records: dict[tuple[str, str], list[dict[str, object]]]) -> Table:
    return build_cost_table(
        records,
        datasets=["toy"],
        methods=["net", "walker"],
        titles={"net": "our net"},
        setting="small",
        departures=["size 64"],
    )


def test_seconds_are_averaged_over_categories_and_memory_is_the_most() -> None:
    memory = {"process": 812.6, "gpu": 51.2}
    two = [record(0.1), record(0.3, parameters=12_340_000, peak_memory_mb=memory, device="A100")]
    row, other = table({("toy", "net"): two, ("toy", "walker"): [record(12.3)]}).rows.values
    assert list(row) == ["toy", "A100, cpu", "our net", "1.5", "0.20", "12.3", "813", "51"]
    assert list(other) == ["toy", "cpu", "walker", "1.5", "12", "-", "700", "-"]


def test_a_method_that_was_not_run_has_an_empty_row() -> None:
    made = table({("toy", "net"): [record(0.1)]})
    assert list(made.rows.iloc[1]) == ["toy", "", "walker", *["not run"] * 5]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_the_same(form: str) -> None:
    text = FORMS[form](table({("toy", "net"): [record(0.0123)]}))
    for part in ("our net", "0.012", "not run", "size 64"):
        assert part in text
    assert "Table None" not in text


def test_the_latex_label_is_its_own() -> None:
    assert r"\label{tab:click_costs}" in to_latex(table({}))
