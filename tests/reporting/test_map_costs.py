"""The table of what a detector costs: cells worked out by hand."""

from adclick.reporting.map_costs import build_map_cost_table, with_training
from adclick.reporting.table_forms import Table, to_latex

MEMORY = {"process": 700.4, "gpu": 0}


def record(picture: float, **changes: object) -> dict[str, object]:
    costs = {"seconds": {"picture": picture}, "parameters": 0, "device": "cpu"}
    return costs | {"peak_memory_mb": MEMORY} | changes


def table(records: dict[tuple[str, str], list[dict[str, object]]]) -> Table:
    return build_map_cost_table(
        records,
        datasets=["toy"],
        methods=["net", "map"],
        titles={"net": "our net"},
        setting="small",
        departures=["size 64"],
    )


def test_seconds_are_averaged_over_categories_and_memory_is_the_most() -> None:
    one = record(0.1, parameters=12_340_000, seconds={"picture": 0.1, "training": 30})
    two = record(0.3, device="A100", peak_memory_mb={"process": 812.6, "gpu": 51.2})
    two["seconds"] = {"picture": 0.3, "training": 50.0}
    row, other = table({("toy", "net"): [one, two], ("toy", "map"): [record(0.012)]}).rows.values
    assert list(row) == ["toy", "A100, cpu", "our net", "40", "0.20", "12.3", "813", "51"]
    assert list(other) == ["toy", "cpu", "map", "-", "0.012", "-", "700", "-"]


def test_a_training_of_its_own_counts_in_time_and_memory() -> None:
    joined = with_training(record(0.1), {"seconds": 7.5, "peak_memory_mb": 912.0})
    assert joined["seconds"] == {"picture": 0.1, "training": 7.5}
    assert joined["peak_memory_mb"] == {"process": 912.0, "gpu": 0}
    inside = {"seconds": 7.5, "peak_memory_mb": {"process": 12.0, "gpu": 3.0}}
    assert with_training(record(0.1), inside)["peak_memory_mb"] == MEMORY
    assert with_training(record(0.1), None) == record(0.1)


def test_a_method_that_was_not_run_has_an_empty_row() -> None:
    made = table({("toy", "net"): [record(0.1)]})
    assert list(made.rows.iloc[1]) == ["toy", "", "map", *["not run"] * 5]
    assert r"\label{tab:map_costs}" in to_latex(made)
