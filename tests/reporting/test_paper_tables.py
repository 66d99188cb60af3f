"""Result tables: cells worked out by hand, marks, and the three printed forms."""

import io
import random
import statistics
from pathlib import Path

import pandas as pd
import pytest

from adclick.reporting.paper_tables import (
    build_table,
    choice_notes,
    read_published,
    scale_departures,
)
from adclick.reporting.table_forms import FORMS, to_csv, to_html, to_latex, to_markdown, to_text
from adclick.run.settings.tables import TABLES

PUBLISHED = read_published(Path(__file__).parents[2] / "config" / "published" / "results.csv")
NOTHING = PUBLISHED.iloc[:0]
TEXTURES = ("carpet", "grid", "leather", "tile", "wood")
OBJECTS = (
    *("bottle", "cable", "capsule", "hazelnut", "metal_nut"),
    *("pill", "screw", "toothbrush", "transistor", "zipper"),
)
MVTEC = (*TEXTURES, *OBJECTS)
GROUPED = {"textures": {"mvtec": TEXTURES}}


def made(number, *arguments, **options):
    return build_table(TABLES[number], *arguments, **options)


def map_record(
    dataset, category, method, *, seed=0, ap=0.5, pro=0.5, auroc=0.5, image=0.5, **other
):
    metrics = {
        "pixel_ap": ap,
        "pixel_pro": pro,
        "pixel_auroc": auroc,
        "image_auroc": image,
        "images": 30,
    }
    test_sets = other.get("test_sets", ("unsupervised", "supervised"))
    return {
        "kind": "maps",
        "dataset": dataset,
        "category": category,
        "method": method,
        "seed": seed,
        "test_sets": {name: metrics for name in test_sets},
    }


def click_record(dataset, category, method, *, seed=0, miou=None):
    rest = {"pixel_ap": 0.5, "pixel_pro": 0.5, "pixel_auroc": 0.5}
    counts = {str(count): {"miou": value, **rest} for count, value in (miou or {5: 0.5}).items()}
    return {
        "kind": "clicks",
        "dataset": dataset,
        "category": category,
        "method": method,
        "seed": seed,
        "images": 12,
        "counts": counts,
    }


def cell(table, column, **place):
    """The text of one cell, found by the values of other columns."""
    found = table.rows
    for name, value in place.items():
        found = found[found[name.replace("_", " ")] == value]
    assert len(found) == 1, f"{len(found)} rows with {place}"
    return found[column].item()


def mark(table, column, method):
    place = list(table.rows["Method"]).index(method)
    return table.marks[column].iloc[place]


def test_one_record_becomes_percent_with_one_decimal():
    record = map_record("toy", "cloth", "weak", ap=0.93749, pro=0.5, auroc=1.0)
    table = made(4, [record], NOTHING, datasets={"toy": ["cloth"]}, methods=["weak"])
    assert list(table.rows.iloc[0]) == ["toy", "cloth", "weak", "this run", "93.7", "50.0", "100.0"]


def test_several_seeds_become_mean_and_deviation():
    records = [
        map_record("toy", "cloth", "weak", seed=seed, ap=ap)
        for seed, ap in enumerate([0.6, 0.7, 0.8])
    ]
    table = made(4, records, NOTHING, datasets={"toy": ["cloth"]}, methods=["weak"])
    assert cell(table, "AP", Method="weak") == "70.0 ± 10.0"
    assert any("seeds 0, 1, 2" in note for note in table.notes)


def test_an_average_deviates_as_the_seeds_averages_do():
    # Opposite deviations of two categories cancel: both seeds average 50 %.
    shares = {("cloth", 0): 0.4, ("cloth", 1): 0.6, ("washer", 0): 0.6, ("washer", 1): 0.4}
    records = [
        map_record("toy", category, "weak", seed=seed, ap=ap)
        for (category, seed), ap in shares.items()
    ]
    table = made(4, records, NOTHING, datasets={"toy": ["cloth", "washer"]}, methods=["weak"])
    assert cell(table, "AP", Category="Total average") == "50.0 ± 0.0"
    assert cell(table, "AP", Category="cloth") == "50.0 ± 14.1"


def test_an_average_is_over_the_seeds_that_every_category_has():
    records = [
        map_record("toy", "cloth", "weak", seed=seed, ap=ap) for seed, ap in ((0, 0.2), (1, 0.9))
    ]
    records.append(map_record("toy", "washer", "weak", seed=0, ap=0.4))
    table = made(4, records, NOTHING, datasets={"toy": ["cloth", "washer"]}, methods=["weak"])
    assert cell(table, "AP", Category="Total average") == "30.0"


def test_averages_agree_with_a_slow_mean():
    draw = random.Random(3)
    shares = {category: draw.random() for category in MVTEC}
    records = [
        map_record("mvtec", category, "weak", ap=share) for category, share in shares.items()
    ]
    place = {"datasets": {"mvtec": MVTEC}, "methods": ["weak"]}
    table = made(4, records, PUBLISHED, **place, **GROUPED)
    for label, members in (
        ("Texture average", TEXTURES),
        ("Object average", OBJECTS),
        ("Total average", MVTEC),
    ):
        expected = 100 * statistics.mean(shares[member] for member in members)
        shown = float(cell(table, "AP", Category=label, Method="weak"))
        assert abs(shown - expected) <= 0.05 + 1e-9


def test_blocks_come_averages_first_then_categories_as_configured():
    records = [map_record("toy", category, "weak") for category in ("cloth", "washer")]
    table = made(2, records, NOTHING, datasets={"toy": ["washer", "cloth"]}, methods=["weak"])
    assert list(table.rows["Category"]) == ["Total average", "washer", "cloth"]


def test_a_configured_row_without_record_reads_not_run():
    records = [click_record("toy", "cloth", "finetuned", miou={5: 0.8, 3: 0.7})]
    methods = ["sam", "finetuned"]
    table = made(1, records, NOTHING, datasets={"toy": ["cloth"]}, methods=methods)
    assert cell(table, "mIoU@5", Method="sam") == "not run"
    assert cell(table, "mIoU@5", Method="finetuned") == "80.0"
    assert cell(table, "mIoU@1", Method="finetuned") == "not run"


def test_a_test_set_that_a_record_lacks_reads_not_run():
    record = map_record("toy", "cloth", "training_free", test_sets=("unsupervised",))
    place = {"datasets": {"toy": ["cloth"]}, "methods": ["training_free"]}
    assert cell(made(2, [record], NOTHING, **place), "AP", Category="cloth") == "50.0"
    assert cell(made(4, [record], NOTHING, **place), "AP", Category="cloth") == "not run"


@pytest.mark.parametrize("nothing", [None, float("nan")])
def test_an_undefined_metric_is_said_and_not_ranked(nothing):
    records = [
        map_record("toy", "cloth", "weak", image=nothing),
        map_record("toy", "cloth", "full", image=0.9),
        map_record("toy", "cloth", "box", image=0.8),
    ]
    methods = ["weak", "full", "box"]
    table = made(5, records, NOTHING, datasets={"toy": ["cloth"]}, methods=methods)
    assert list(table.rows["I-AUROC"]) == ["n/a", "90.0", "80.0"]
    assert list(table.marks["I-AUROC"]) == ["", "best", "second"]


def test_published_rows_are_shown_only_where_a_method_was_run():
    datasets = {"mvtec": ["bottle", "cable"]}
    records = [map_record("mvtec", "bottle", "unsupervised")]
    table = made(2, records, PUBLISHED, datasets=datasets, methods=["unsupervised"])
    shown = table.rows[table.rows["Source"] == "paper"]
    assert set(shown["Category"]) == {"Total average", "bottle"}
    assert cell(table, "AP", Category="bottle", Method="Ours") == "93.3"
    assert cell(table, "AP", Category="bottle", Method="PyramidFlow") == "-"
    assert cell(table, "AP", Category="cable", Method="unsupervised") == "not run"


def test_later_work_has_rows_of_its_own_that_are_not_ranked_and_say_their_source():
    record = map_record("ksdd2", "surface", "weak", ap=0.01)
    place = {"datasets": {"ksdd2": ["surface"]}, "methods": ["weak"]}
    table = made(6, [record], PUBLISHED, **place)
    later = table.rows["Source"] == "later work"
    assert table.rows[later]["Method"].tolist() == ["SuperSimpleNet"]
    assert table.rows[later][["AP", "I-AUROC"]].to_numpy().tolist() == [["82.1", "99.5"]]
    assert not (table.marks[later] != "").any(axis=None)
    assert "best" in set(table.marks["AP"])  # 77.2 of the paper, though 82.1 is more
    told = [note for note in table.notes if note.startswith("Later work, SuperSimpleNet")]
    assert len(told) == 1
    assert "results_avg_std.json of the code (2024); supervised; masks of all 246" in told[0]
    assert "class=later" in to_html(table)
    unrun = made(6, [], PUBLISHED, **place)
    assert set(unrun.rows["Source"]) == {"this run"}
    assert not any(note.startswith("Later") for note in unrun.notes)


def test_other_data_sets_show_no_published_row():
    table = made(
        2,
        [map_record("toy", "cloth", "weak")],
        PUBLISHED,
        datasets={"toy": ["cloth"]},
        methods=["weak"],
    )
    assert set(table.rows["Source"]) == {"this run"}


def test_the_difference_is_ours_minus_published_ours():
    record = map_record("mvtec", "bottle", "unsupervised", ap=0.95, pro=0.97, auroc=0.994)
    table = made(2, [record], PUBLISHED, datasets={"mvtec": ["bottle"]}, methods=["unsupervised"])
    row = table.rows[table.rows["Source"] == "difference"]
    # Published Ours on bottle: 93.3/97.7/99.4.
    assert row[["Method", "AP", "PRO", "P-AUROC"]].to_numpy().tolist() == [
        ["unsupervised minus Ours", "+1.7", "-0.7", "0.0"]
    ]


def test_a_partial_average_is_named_and_neither_ranked_nor_subtracted():
    records = [map_record("mvtec", category, "weak", ap=0.999) for category in ("bottle", "cable")]
    table = made(4, records, PUBLISHED, datasets={"mvtec": ["bottle", "cable"]}, methods=["weak"])
    total = table.rows["Category"] == "Total average"
    assert cell(table, "AP", Category="Total average", Source="this run") == "99.9"
    assert "weak (2 of 15 categories)" in set(table.rows["Method"][total])
    assert "difference" not in set(table.rows["Source"][total])
    assert set(table.marks[total].to_numpy().ravel()) == {""}
    assert any("lacks categories" in note for note in table.notes)


def test_a_whole_average_is_compared_with_the_published_one():
    records = [map_record("mvtec", category, "weak", ap=0.865) for category in MVTEC]
    table = made(4, records, PUBLISHED, datasets={"mvtec": MVTEC}, methods=["weak"])
    place = {"Category": "Total average"}
    assert cell(table, "AP", Source="difference", **place) == "+0.1"
    assert mark(table, "AP", "weak") == "best"
    assert mark(table, "AP", "Ours(weak)") == "second"


def test_the_one_category_of_a_data_set_meets_its_published_average():
    record = map_record("ksdd2", "surface", "weak", ap=0.784, pro=0.99, auroc=0.99, image=0.97)
    table = made(6, [record], PUBLISHED, datasets={"ksdd2": ["surface"]}, methods=["weak"])
    assert list(table.rows["Method"]) == [
        *("PRN", "SemiREST", "SemiREST (weak)", "Ours (weak)", "SuperSimpleNet"),
        *("weak", "weak minus Ours (weak)"),
    ]
    assert list(table.rows.iloc[-1])[-4:] == ["0.0", "+0.4", "-0.6", "-1.0"]


def test_ties_share_a_mark_at_printed_precision():
    shares = {"a": 0.9004, "b": 0.8996, "c": 0.85, "d": 0.8501, "e": 0.1}
    records = [map_record("toy", "cloth", method, ap=share) for method, share in shares.items()]
    table = made(4, records, NOTHING, datasets={"toy": ["cloth"]}, methods=list(shares))
    assert list(table.marks["AP"]) == ["best", "best", "second", "second", ""]
    assert set(table.marks["PRO"]) == {"best"}  # all equal
    assert set(table.marks["Method"]) == {""}


def test_a_number_without_rival_has_no_mark():
    table = made(
        4,
        [map_record("toy", "cloth", "weak")],
        NOTHING,
        datasets={"toy": ["cloth"]},
        methods=["weak"],
    )
    assert set(table.marks.to_numpy().ravel()) == {""}


def test_switches_find_the_published_row_that_they_repeat():
    switches = {
        "plain": {"language": False, "finetune": False, "steps": 4000},
        "both": {"language": True, "finetune": True, "steps": 4000},
    }
    records = [
        click_record("mvtec", category, method, miou={5: 0.78, 3: 0.7})
        for category in MVTEC
        for method in switches
    ]
    table = made(
        7,
        records,
        PUBLISHED,
        datasets={"mvtec": MVTEC},
        methods=["plain", "both"],
        switches=switches,
    )
    assert cell(table, "mIoU@5", Method="plain minus none") == "+2.5"
    assert cell(table, "mIoU@5", Method="both minus Language+Finetune") == "+0.3"
    states = table.rows.loc[table.rows["Method"] == "Finetune", ["Language", "Finetune"]]
    assert states.to_numpy().tolist() == [["no", "yes"]]


def test_all_ablation_rows_of_table_8_have_a_switch_pattern_of_their_own():
    keys = ("pretrain", "iis", "language", "abandon")
    switches = {"all": dict.fromkeys(keys, True)}
    records = [map_record("mvtec", category, "all", ap=0.864) for category in MVTEC]
    table = made(
        8, records, PUBLISHED, datasets={"mvtec": MVTEC}, methods=["all"], switches=switches
    )
    published = table.rows[table.rows["Source"] == "paper"]
    patterns = published[["Pretrain", "IIS", "Lang.", "Abandon"]].agg("".join, axis=1)
    assert len(published) == patterns.nunique() == 8
    assert cell(table, "AP", Method="all minus Pretrain+IIS+Lang.+Abandon") == "0.0"


def test_counterparts_can_be_named():
    record = map_record("mvtec", "bottle", "patchcore", ap=0.777)
    table = build_table(
        TABLES[2].model_copy(update={"counterparts": {"patchcore": "PatchCore"}}),
        [record],
        PUBLISHED,
        datasets={"mvtec": ["bottle"]},
        methods=["patchcore"],
    )
    assert cell(table, "AP", Method="patchcore minus PatchCore") == "0.0"


@pytest.mark.parametrize("form", FORMS.values())
def test_equal_input_gives_equal_bytes_in_any_order_of_records(form):
    records = [
        map_record(
            *("mvtec", category, method),
            seed=seed,
            ap=random.Random(f"{category}{seed}").random(),
        )
        for category in MVTEC
        for method in ("weak", "full")
        for seed in (0, 1, 2)
    ]
    place = {"datasets": {"mvtec": MVTEC}, "methods": ["weak", "full"]}
    once = form(made(4, records, PUBLISHED, **place))
    for other in (records[::-1], random.Random(0).sample(records, len(records))):
        assert form(made(4, other, PUBLISHED, **place)) == once


def test_a_changed_number_changes_every_form():
    place = {"datasets": {"toy": ["cloth"]}, "methods": ["weak"]}
    before, after = (
        made(4, [map_record("toy", "cloth", "weak", ap=ap)], NOTHING, **place)
        for ap in (0.5, 0.501)
    )
    for form in FORMS.values():
        assert form(before) != form(after)


def test_setting_and_scale_are_said_with_every_form():
    table = made(
        4,
        [map_record("toy", "cloth", "weak")],
        NOTHING,
        datasets={"toy": ["cloth"]},
        methods=["weak"],
        setting="toy data: not comparable.",
        departures=["image size 64 px (paper: 512 px)", "backbone untrained"],
        remarks=["Matching auto: near."],
    )
    for form in FORMS.values():
        text = " ".join(form(table).split())
        assert form is to_csv or "Matching auto: near." in text
        assert "toy data: not comparable" in text
        assert "image size 64 px (paper: 512 px); backbone untrained" in text


def test_what_was_chosen_is_said_once_a_matching():
    chosen = [("auto", "a", "near"), ("auto", "b", "far"), ("other", "a", "far")]
    notes = choice_notes(chosen, {"a": "bolt"})
    assert notes == [
        "Matching auto, chosen on simulated defects of held-out normal images: bolt near, b far.",
        "Matching other, chosen on simulated defects of held-out normal images: bolt far.",
    ]


def test_a_departure_names_the_papers_value_or_that_of_full_scale():
    settings = pd.DataFrame(
        [
            ("image size", "512 px", "512 px"),
            ("encoder", "BERT with LAVT weights", "bert-base-uncased, or LAVT's"),
            ("training steps", "not stated", "4000"),
        ],
        columns=["setting", "paper", "ours"],
    )
    full = {"image size": "512 px", "encoder": "bert-base-uncased", "training steps": "4000"}
    assert scale_departures(full, settings) == []
    small = {"image size": "64 px", "encoder": "bert", "training steps": "400"}
    assert scale_departures(small, settings) == [
        "image size 64 px (paper: 512 px)",
        "encoder bert (paper: BERT with LAVT weights)",
        "training steps 400 (full scale: 4000)",
    ]
    with pytest.raises(ValueError, match="no such setting: colour"):
        scale_departures({"colour": "blue"}, settings)


def test_rows_of_another_scale_are_ranked_apart():
    records = [
        map_record("mvtec", "bottle", method, ap=ap)
        for method, ap in (("training_free", 0.1), ("unsupervised", 0.2))
    ]
    place = {"datasets": {"mvtec": ["bottle"]}, "methods": ["training_free", "unsupervised"]}
    together = made(2, records, PUBLISHED, **place)
    apart = made(2, records, PUBLISHED, **place, departures=["image size 64 px"])
    assert mark(together, "AP", "unsupervised") == ""
    assert mark(apart, "AP", "unsupervised") == "best"
    assert mark(apart, "AP", "training_free") == "second"
    ours = apart.rows["Source"] == "this run"
    assert list(apart.marks["AP"][~ours]) == list(together.marks["AP"][~ours])
    assert any("apart" in note for note in apart.notes)
    assert not any("apart" in note for note in together.notes)


def test_records_of_other_tables_leave_no_trace():
    record = map_record("toy", "cloth", "weak")
    others = [
        map_record("toy", "cloth", "box"),
        map_record("toy", "washer", "weak"),
        map_record("mvtec", "bottle", "weak"),
        click_record("toy", "cloth", "weak"),
    ]
    place = {"datasets": {"toy": ["cloth"]}, "methods": ["weak"]}
    alone, among = (made(4, records, NOTHING, **place) for records in ([record], [record, *others]))
    assert to_markdown(among) == to_markdown(alone)


def test_csv_reads_back_as_the_same_rows():
    table = made(
        2,
        [map_record("mvtec", "bottle", "unsupervised")],
        PUBLISHED,
        datasets={"mvtec": ["bottle"]},
        methods=["unsupervised"],
    )
    read = pd.read_csv(io.StringIO(to_csv(table)), dtype=str, keep_default_na=False)
    assert read.drop(columns="Note").to_numpy().tolist() == table.rows.to_numpy().tolist()


def test_markdown_marks_pads_and_escapes():
    records = [
        map_record("toy", "cloth", "weak", ap=0.9),
        map_record("toy", "cloth", "full", ap=0.8),
    ]
    place = {
        "datasets": {"toy": ["cloth"]},
        "methods": ["weak", "full"],
        "titles": {"weak": "ours*|x"},
    }
    lines = to_markdown(made(4, records, NOTHING, **place)).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len({len(row) for row in rows}) == 1
    assert r"| ours\*\|x | this run |    **90.0** |" in rows[2]
    assert "|          |          | full" in rows[3]
    assert "<u>80.0</u>" in rows[3]


def test_plain_text_keeps_numbers_under_each_other_and_says_what_its_marks_are():
    records = [
        map_record("toy", "cloth", "weak", ap=0.9),
        map_record("toy", "cloth", "full", ap=0.8),
        map_record("toy", "cloth", "box", ap=0.7),
    ]
    place = {"datasets": {"toy": ["cloth"]}, "methods": ["weak", "full", "box"]}
    table = made(4, records, NOTHING, **place, setting="toy data")
    lines = to_text(table).splitlines()
    best, second, third = (
        next(line for line in lines if number in line) for number in ("90.0*", "80.0+", "70.0")
    )
    assert best.index("90.0") == second.index("80.0") == third.index("70.0")
    assert "weak" in best
    assert "full" in second
    assert "70.0*" not in third
    assert "70.0+" not in third
    assert "Best with *, second best with +: per column" in " ".join(lines)
    assert "This run: toy data." in lines
    assert max(map(len, lines)) <= 100


def test_latex_marks_and_escapes():
    records = [
        map_record("mvtec", "metal_nut", "weak", ap=0.999, seed=0),
        map_record("mvtec", "metal_nut", "weak", ap=0.997, seed=1),
    ]
    text = to_latex(
        made(4, records, PUBLISHED, datasets={"mvtec": ["metal_nut"]}, methods=["weak"])
    )
    assert r"\textbf{99.8 $\pm$ 0.1}" in text
    assert r"\underline{99.2}" in text
    assert r"metal\_nut" in text
    assert "$+0.6$" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
    widths = {line.count("&") for line in text.splitlines() if line.endswith(r"\\")}
    assert widths == {6}


def test_html_marks_escapes_and_carries_the_notes():
    records = [
        map_record("toy", "cloth", "weak", ap=0.9),
        map_record("toy", "cloth", "full", ap=0.8),
    ]
    place = {
        "datasets": {"toy": ["cloth"]},
        "methods": ["weak", "full"],
        "titles": {"weak": "<ours>"},
    }
    text = to_html(made(4, records, NOTHING, **place, departures=["toy & tiny"]))
    assert "<td>&lt;ours&gt;</td>" in text
    assert "<b>90.0</b>" in text
    assert "<u>80.0</u>" in text
    assert "toy &amp; tiny" in text
    assert text.count("<tr class=ours>") == 2


def test_a_row_that_was_not_run_says_so_once():
    records = [click_record("toy", "cloth", "finetuned", miou={5: 0.8, 3: 0.7})]
    methods = ["sam", "finetuned"]
    table = made(1, records, NOTHING, datasets={"toy": ["cloth"]}, methods=methods)
    # `finetuned` lacks its four numbers after one click, `sam` all of them.
    assert to_markdown(table).count("not run") == 5
    assert r"\multicolumn{12}{c}{not run}" in to_latex(table)
    assert "colspan=12>not run" in to_html(table)
    assert to_csv(table).count("not run") == 16


def test_numbers_after_so_many_clicks_share_a_heading():
    table = made(7, [], NOTHING, datasets={"toy": ["cloth"]}, methods=[])
    assert r"\cmidrule(lr){7-10}\cmidrule(lr){11-14}" in to_latex(table)
    assert "<th class=group colspan=4><span>5 clicks</span></th>" in to_html(table)
    assert to_html(table).count("<th class=number>") == 8
    assert "mIoU@5" in to_markdown(table)


def test_a_wide_table_lies_on_its_side():
    wide, narrow = (
        to_latex(made(number, [], NOTHING, datasets={"toy": ["cloth"]}, methods=["a"]))
        for number in (1, 4)
    )
    assert r"\begin{landscape}" in wide
    assert r"\end{landscape}" in wide
    assert "landscape}" not in narrow.split("\n", 1)[1]


def test_a_table_longer_than_a_page_breaks_across_pages():
    records = [map_record("mvtec", category, "weak") for category in MVTEC]
    text = to_latex(made(4, records, PUBLISHED, datasets={"mvtec": MVTEC}, methods=["weak"]))
    assert r"\begin{longtable}" in text
    assert r"\begin{tabular}" not in text


def test_two_records_of_one_run_are_refused():
    record = map_record("toy", "cloth", "weak")
    with pytest.raises(ValueError, match="two maps records of toy, weak, cloth, seed 0"):
        made(4, [record, record], NOTHING, datasets={"toy": ["cloth"]}, methods=["weak"])


def test_a_variant_without_switches_is_refused():
    with pytest.raises(ValueError, match="variant a: no value of finetune"):
        made(
            7,
            [],
            NOTHING,
            datasets={"toy": ["x"]},
            methods=["a"],
            switches={"a": {"language": True}},
        )


@pytest.mark.parametrize("number", range(1, 9))
def test_a_table_without_any_record_is_still_a_table(number):
    switches = {
        "a": dict.fromkeys(("language", "finetune", "pretrain", "iis", "abandon"), False),
    }
    place = {"datasets": {"mvtec": ["bottle"]}, "methods": ["a"], "switches": switches}
    table = made(number, [], PUBLISHED, **place)
    assert set(table.rows["Source"]) == {"this run"}
    for form in (to_csv, to_markdown, to_latex):
        assert "not run" in form(table)


GROUPS = ["Total average", "Texture average", "Object average"]
LANGUAGE_ONLY = {"language": True, "finetune": False, "pretrain": False, "iis": False}
# Number: data set, our method, the published row it repeats, the blocks of rows.
EVERY_TABLE = {
    1: ("mvtec", "pretrained_lang", "Ours", [*GROUPS, *MVTEC]),
    2: ("mvtec", "unsupervised", "Ours", [*GROUPS, *MVTEC]),
    3: ("mvtec", "unsupervised", "Ours", ["Total average"]),
    4: ("mvtec", "weak", "Ours(weak)", [*GROUPS, *MVTEC]),
    5: ("mvtec", "weak", "Ours(weak)", ["Total average"]),
    6: ("ksdd2", "weak", "Ours (weak)", ["surface"]),
    7: ("mvtec", "ours", "Language", ["Total average"]),
    8: ("mvtec", "ours", "Lang.", ["Total average"]),
}


@pytest.mark.parametrize("number", EVERY_TABLE)
def test_every_table_has_published_own_and_difference_rows(number):
    """Our numbers are 50 % and 60 % over two seeds, so all cells are 55.0 ± 7.1."""
    dataset, ours, repeated, blocks = EVERY_TABLE[number]
    categories = MVTEC if dataset == "mvtec" else ["surface"]
    metrics = dict.fromkeys(("miou", "pixel_ap", "pixel_pro", "pixel_auroc", "image_auroc"))
    records = [
        {
            "kind": "clicks" if number in (1, 7) else "maps",
            **{"dataset": dataset, "category": category, "method": ours, "seed": seed},
            "counts": {str(count): dict.fromkeys(metrics, share) for count in (5, 3, 1)},
            "test_sets": dict.fromkeys(
                ("unsupervised", "supervised"), dict.fromkeys(metrics, share)
            ),
        }
        for category in categories
        for seed, share in ((0, 0.5), (1, 0.6))
    ]
    switches = {name: {**LANGUAGE_ONLY, "abandon": False} for name in (ours, "left_out")}
    repeats = {} if number > 6 else {ours: repeated}
    table = build_table(
        TABLES[number].model_copy(update={"counterparts": repeats}),
        records,
        PUBLISHED,
        datasets={dataset: categories},
        methods=[ours, "left_out"],
        switches=switches,
        **GROUPED,
    )
    assert list(dict.fromkeys(table.rows["Category"])) == blocks
    numbers = table.columns[table.label_count :]
    own = table.rows[table.rows["Method"] == ours]
    assert len(own) == len(blocks)
    assert set(own[list(numbers)].to_numpy().ravel()) == {"55.0 ± 7.1"}
    left_out = table.rows[table.rows["Method"] == "left_out"]
    assert set(left_out[list(numbers)].to_numpy().ravel()) == {"not run"}
    lines = table.rows.set_index(["Category", "Method"])
    first = (blocks[0], numbers[0])
    published = float(lines.loc[(first[0], repeated), first[1]])
    difference = lines.loc[(first[0], f"{ours} minus {repeated}"), first[1]]
    assert difference == f"{55.0 - published:+.1f}"
    ranked = table.marks[numbers[0]][table.rows["Category"] == blocks[0]]
    assert "best" in set(ranked)
    assert "second" in set(ranked)
