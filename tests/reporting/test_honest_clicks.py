"""The table of honest clicks: cells worked out by hand, marks, and its printed forms."""

import statistics

import pytest

from adclick.reporting.honest_clicks import build_robot_table
from adclick.reporting.table_forms import FORMS, Table, to_html, to_latex, to_markdown, to_text

ROBOTS = {"deepest": "clicks the middle", "jittered": "clicks around it"}


def record(method, robot, draws, *, category="cloth", seed=0, worst=None, noc=3.0, cap=5):
    """Metrics after 5 clicks; `draws` are their mIoU."""
    found = [{"5": {"miou": miou, "pixel_ap": miou + 0.1}} for miou in draws]
    return {
        **{"kind": "clicks", "dataset": "toy", "category": category, "method": method},
        **{"robot": robot, "seed": seed, "images": 7, "draws": found, "noc_cap": cap},
        "counts": {"5": {"miou": sum(draws) / len(draws)}},
        "worst": {"5": min(draws) if worst is None else worst},
        "noc": {"0.80": noc, "0.85": noc + 1, "0.90": noc + 1.5},
    }


def table(*records, methods=("walker", "net"), categories=("cloth",)) -> Table:
    return build_robot_table(
        records,
        datasets={"toy": categories},
        methods=methods,
        robots=ROBOTS,
        titles={"toy": "Toy", "net": "our net"},
        setting="a test",
        departures=[],
    )


def row(made: Table, method: str, user: str, category: str = "cloth") -> dict[str, str]:
    frame = made.rows
    chosen = frame[
        (frame["Method"] == method) & (frame["User"] == user) & (frame["Category"] == category)
    ]
    assert len(chosen) == 1
    return chosen.iloc[0].to_dict()


def test_several_draws_become_mean_deviation_and_worst() -> None:
    draws = [0.50, 0.60, 0.40]
    cells = row(table(record("net", "jittered", draws, worst=0.31)), "our net", "jittered")
    assert cells["mIoU@5"] == f"50.0 ± {100 * statistics.stdev(draws):.1f}"
    assert cells["worst@5"] == "31.0"
    assert cells["AP@5"] == f"60.0 ± {100 * statistics.stdev(draws):.1f}"
    assert [cells[name] for name in ("NoC80", "NoC85", "NoC90")] == ["3.00", "4.00", "4.50"]


def test_one_draw_has_no_worst_and_no_deviation() -> None:
    cells = row(table(record("net", "deepest", [0.5])), "our net", "deepest")
    assert (cells["mIoU@5"], cells["worst@5"]) == ("50.0", "-")


def test_seeds_are_averaged_before_the_deviation_over_draws() -> None:
    made = table(
        record("net", "jittered", [0.4, 0.5], seed=0),
        record("net", "jittered", [0.6, 0.9], seed=1),
        record("net", "deepest", [0.4], seed=0),
        record("net", "deepest", [0.6], seed=1),
    )
    deviation = 100 * statistics.stdev([0.5, 0.7])
    assert row(made, "our net", "jittered")["mIoU@5"] == f"60.0 ± {deviation:.1f}"
    over_seeds = 100 * statistics.stdev([0.4, 0.6])
    assert row(made, "our net", "deepest")["mIoU@5"] == f"50.0 ± {over_seeds:.1f}"
    assert any("seeds 0, 1 averaged" in note for note in made.notes)


def test_an_average_is_over_categories_a_draw_each_and_needs_all_of_them() -> None:
    made = table(
        record("net", "jittered", [0.4, 0.6], category="cloth"),
        record("net", "jittered", [0.6, 0.4], category="washer"),
        record("walker", "jittered", [0.6, 0.4], category="washer"),
        categories=("cloth", "washer"),
    )
    assert row(made, "our net", "jittered", "Total average")["mIoU@5"] == "50.0 ± 0.0"
    assert row(made, "walker", "jittered", "Total average")["mIoU@5"] == "not run"
    assert row(made, "walker", "jittered", "washer")["mIoU@5"].startswith("50.0")


def test_methods_are_ranked_among_those_with_the_same_user_and_fewer_clicks_win() -> None:
    made = table(
        record("net", "deepest", [0.6], noc=2.0),
        record("walker", "deepest", [0.5], noc=3.0),
        record("net", "jittered", [0.3, 0.4], noc=5.0),
        record("walker", "jittered", [0.5, 0.6], noc=4.0),
    )
    order = list(zip(made.rows["Method"], made.rows["User"], strict=True))
    best = {
        place: (marks["mIoU@5"], marks["NoC80"])
        for place, marks in zip(order, made.marks.to_dict("records"), strict=True)
    }
    assert best == {
        ("our net", "deepest"): ("best", "best"),
        ("walker", "deepest"): ("second", "second"),
        ("our net", "jittered"): ("second", "second"),
        ("walker", "jittered"): ("best", "best"),
    }


def test_rows_are_every_method_with_every_user_and_what_was_not_run_is_said() -> None:
    made = table(record("net", "deepest", [0.6]))
    assert len(made.rows) == 4
    assert row(made, "walker", "jittered")["NoC80"] == "not run"


def test_every_form_says_the_same_without_a_number_of_the_papers() -> None:
    made = table(record("net", "deepest", [0.6]), record("net", "jittered", [0.5, 0.4]))
    for form in FORMS.values():
        text = form(made)
        assert "45.0" in text
        assert "Table None" not in text
    assert "Best with *, second best with +, among the methods that met the same user" in " ".join(
        to_text(made).split()
    )
    assert to_markdown(made).startswith("**Honest clicks")
    assert "<title>Honest clicks" in to_html(made)
    assert r"\label{tab:honest_clicks}" in to_latex(made)
    # A rule stands under `5 clicks` alone.
    assert r"\cmidrule(lr){5-7}" in to_latex(made)
    assert to_latex(made).count("cmidrule") == 1
    assert "jittered: clicks around it." in made.notes


def test_what_cannot_be_compared_is_refused() -> None:
    one = record("net", "deepest", [0.6])
    with pytest.raises(ValueError, match="two records of toy, cloth, net, deepest, seed 0"):
        table(one, one)
    with pytest.raises(ValueError, match=r"counted up to \[5, 20\]"):
        table(one, record("walker", "deepest", [0.6], cap=20))
