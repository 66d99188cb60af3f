"""The published numbers and settings, checked against each other and against the paper's prose."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from adclick.reporting.paper_tables import build_table, read_published
from adclick.run.config import read_configuration
from adclick.run.settings.tables import TABLES
from adclick.run.settings.training import SharedTraining

PUBLISHED = Path(__file__).parents[2] / "config" / "published"
PAPER = "arXiv 2407.03130"
COLUMNS = [
    *("source", "year", "page", "table", "setting", "row"),
    *("dataset", "category", "metric", "unit", "value", "note"),
]
# Pages as the paper's reference list gives them: it names every page that cites a table's peers.
PAGES = {"1": "11", "2": "11", "3": "11", "4": "12", "5": "13", "6": "13", "7": "14", "8": "14"}
PIXEL_METRICS = ("pixel_ap", "pixel_pro", "pixel_auroc")
CLICK_METRICS = (*PIXEL_METRICS, "miou")
METRICS = {
    **dict.fromkeys(("1", "7"), {f"{name}@{count}" for name in CLICK_METRICS for count in (3, 5)}),
    **dict.fromkeys(("2", "4"), set(PIXEL_METRICS)),
    **dict.fromkeys(("3", "5"), {"image_auroc"}),
    **dict.fromkeys(("6", "8"), {*PIXEL_METRICS, "image_auroc"}),
}
SETTINGS = {
    "1": {"pre-trained", "fine-tuned"},
    "2": {"unsupervised"},
    "3": {"unsupervised"},
    "4": {"supervised", "supervised, weak labels"},
    "5": {"supervised", "supervised, weak labels"},
    "6": {"supervised", "supervised, weak labels"},
    "7": {"pre-trained", "fine-tuned"},
    "8": {"supervised, weak labels"},
}
# Work that the paper does not have, beside the table whose columns it shares: `later 2`.
LATER_SOURCES = {
    "arXiv 2405.14529, abstract": "2024",
    "arXiv 2407.09359, as quoted by anomalib": "2024",
    "SegNext, README of the code": "2024",
    "SuperSimpleNet, paper_results/results_avg_std.json of the code": "2024",
    "arXiv 2405.14325 (CVPR 2025)": "2025",
    "arXiv 2503.02424, as quoted by others": "2025",
    "arXiv 2509.05034, abstract": "2025",
    "anomalib, README of Dinomaly": "2025",
    "anomalib, README of GLASS": "2026",
    "ArcAD, README of the code": "2026",
    "RAD, README of the code": "2026",
}
LATER_UNITS = {"noc@90": "clicks", "noc@95": "clicks"}
LATER_ONLY_METRICS = {"1": {"pixel_ap", *LATER_UNITS}, "4": {"pixel_f1_max"}}
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e-?\d+)?")
PLACE = re.compile(r"Abstract|Sec\. \d(\.\d( and \d\.\d)?)?|(Eq\.|Fig\.|Table) \d+|footnote \d")
OTHER_ORIGINS = {
    *("our choice", "upstream code", "MVTec AD evaluation code"),
    *(f"{name} code" for name in ("CPR", "LAVT", "RITM", "SimpleClick")),
}
# What is run, where, and how fast, and sizes of the drawn data set.
KEYS_OF_A_RUN = {
    *(
        "run",
        "data_root",
        "compute_threads",
        "precision",
        "spare_disk",
        "scale_note",
        "tables",
        "figure_cases",
        "toy",
    ),
    *("datasets", "run_datasets", "adclick_variants", "adclick_seg_variants", "label_costs"),
    *("run_adclick", "run_adclick_seg", "run_sliding", "run_click_peers", "run_map_peers"),
    *("matching", "titles", "duplicates"),
    *("run_robots", "robot_methods", "run_plain"),
    *("feature_network", "feature_training"),  # of variants that this scale does not run
}
TECHNICAL_KEYS = {
    *("features.batch_size", "features.weights", "language.weights"),
    *("prompts.base_url", "prompts.key_variable", "anomalib_python"),
}
MVTEC = yaml.safe_load((PUBLISHED.parent / "config.yaml").read_text())["datasets"]["mvtec"]
GROUPS = {
    "texture_average": MVTEC["textures"],
    "object_average": [name for name in MVTEC["categories"] if name not in MVTEC["textures"]],
    "total_average": MVTEC["categories"],
}
# Half the last digit of the average, and as much again for the rounding of its terms.
ROUNDING = 0.1 + 1e-9
# Printed averages that are not the mean of the printed categories, with that mean. They stand as
# printed.
DISAGREEING_AVERAGES = {
    # The printed total averages agree with these means, not with the printed group averages.
    ("2", "PatchCore", "texture_average", "pixel_ap"): 49.34,
    ("2", "PatchCore", "object_average", "pixel_ap"): 61.10,
    ("2", "DeSTSeg", "object_average", "pixel_auroc"): 97.85,
    ("2", "CDO", "texture_average", "pixel_pro"): 94.92,
    # The total average agrees with both.
    ("4", "SemiREST", "texture_average", "pixel_ap"): 84.56,
    # Cable is printed as 82.4; 52.4 would explain both averages.
    ("2", "DRAEM", "object_average", "pixel_ap"): 69.11,
    ("2", "DRAEM", "total_average", "pixel_ap"): 70.37,
}


@pytest.fixture(scope="module")
def everything() -> pd.DataFrame:
    return read_published(PUBLISHED / "results.csv")


@pytest.fixture(scope="module")
def published(everything: pd.DataFrame) -> pd.DataFrame:
    return everything[everything["source"] == PAPER]


@pytest.fixture(scope="module")
def later(everything: pd.DataFrame) -> pd.DataFrame:
    return everything[everything["source"] != PAPER]


@pytest.fixture(scope="module")
def values(published: pd.DataFrame) -> dict[tuple[str, str, str, str, str], str]:
    keys = zip(
        *(published[name] for name in ["table", "row", "dataset", "category", "metric"]),
        strict=True,
    )
    return dict(zip(keys, published["value"], strict=True))


def made(number, *arguments, **options):
    return build_table(TABLES[number], *arguments, **options)


def quadruple(values, table: str, row: str, dataset: str, clicks: int) -> str:
    return "/".join(
        values[table, row, dataset, "total_average", f"{metric}@{clicks}"]
        for metric in CLICK_METRICS
    )


def triple(values, table: str, row: str, category: str) -> str:
    return "/".join(values[table, row, "mvtec", category, metric] for metric in PIXEL_METRICS)


def test_every_number_stands_once_with_its_decimals(published, values):
    assert list(published.columns) == COLUMNS
    assert len(values) == len(published)
    assert set(published["unit"]) == {"%"}
    assert all(re.fullmatch(r"\d{1,2}\.\d", value) for value in published["value"] if value)


def test_every_number_says_where_it_stands_and_in_which_setting(published):
    assert set(published["year"]) == {"2024"}
    for table, lines in published.groupby("table"):
        assert set(lines["page"]) == {PAGES[table]}
        assert set(lines["metric"]) == METRICS[table]
        assert set(lines["setting"]) == SETTINGS[table]
        assert set(lines["dataset"]) <= {"mvtec", "ksdd2"}


def test_marks_of_the_printed_names_give_the_setting(published):
    for row, setting in set(zip(published["row"], published["setting"], strict=True)):
        assert (setting == "fine-tuned") == (row.endswith("*") or "Finetune" in row)
        assert setting == "supervised, weak labels" or "(weak)" not in row


def test_each_table_has_all_its_cells(published):
    # Table 1: 7 rows of 4 quadruples; 2: 18 rows of 11 triples; 4: 18 rows of 7 triples.
    assert published["table"].value_counts().to_dict() == {
        **{"1": 7 * 16, "2": 18 * 33, "3": 10, "4": 18 * 21},
        **{"5": 6, "6": 4 * 4, "7": 4 * 8, "8": 8 * 4},
    }


def test_only_unprinted_numbers_are_missing_and_each_says_why(published):
    missing = published[published["value"] == ""]
    assert (missing["note"] != "").all()
    unprinted = {("2", "PyramidFlow", "pixel_ap")} | {
        ("1", "SimpleClick", f"{metric}@3")
        for metric in ("pixel_ap", "pixel_pro", "pixel_auroc", "miou")
    }
    assert set(zip(missing["table"], missing["row"], missing["metric"], strict=True)) == unprinted
    assert set(missing.loc[missing["table"] == "1", "dataset"]) == {"ksdd2"}


def test_cells_are_those_of_the_paper(values):
    assert quadruple(values, "1", "Ours*", "mvtec", 5) == "94.1/98.8/99.7/77.7"
    assert quadruple(values, "1", "SimpleClick*", "mvtec", 5) == "92.9/97.2/98.6/77.9"
    assert quadruple(values, "1", "Ours*", "ksdd2", 3) == "91.5/98.4/99.5/68.1"
    assert quadruple(values, "1", "SimpleClick", "ksdd2", 5) == "22.7/78.1/92.9/56.9"
    assert triple(values, "2", "Ours", "screw") == "67.4/97.0/99.6"
    assert triple(values, "2", "Ours (with sliding)", "pill") == "86.2/97.3/99.0"
    assert triple(values, "2", "PyramidFlow", "bottle") == "/95.5/97.8"
    assert triple(values, "4", "Ours(weak)", "metal_nut") == "99.2/98.9/99.9"
    assert triple(values, "4", "DevNet", "screw") == "1.4/31.1/60.3"
    assert values["3", "SimpleNet", "mvtec", "total_average", "image_auroc"] == "99.6"
    assert values["6", "Ours (weak)", "ksdd2", "total_average", "image_auroc"] == "98.0"
    assert quadruple(values, "7", "Finetune", "mvtec", 3) == "91.8/97.9/99.6/72.8"
    assert triple(values, "8", "Pretrain+IIS", "total_average") == "81.8/95.4/99.0"


def test_the_abstract_repeats_the_tables(values):
    assert values["1", "Ours*", "mvtec", "total_average", "pixel_ap@5"] == "94.1"
    assert values["4", "Ours(weak)", "mvtec", "total_average", "pixel_ap"] == "86.4"
    assert values["6", "Ours (weak)", "ksdd2", "total_average", "pixel_ap"] == "78.4"
    assert values["6", "Ours (weak)", "ksdd2", "total_average", "pixel_pro"] == "98.6"


def test_section_4_3_repeats_tables_2_and_3(values):
    total = "total_average"
    sliding, cpr = (triple(values, "2", row, total) for row in ("Ours (with sliding)", "CPR"))
    assert sliding.split("/")[:2] == ["82.9", cpr.split("/")[1]]
    image_auroc = {
        values["3", row, "mvtec", total, "image_auroc"] for row in ("Ours (with sliding)", "CPR")
    }
    assert image_auroc == {"99.7"}
    gap = float(triple(values, "2", "SemiREST", total).split("/")[2]) - float(
        triple(values, "2", "Ours", total).split("/")[2]
    )
    assert round(gap, 1) == 0.1


@pytest.mark.parametrize("clicks", [5, 3])
def test_table_7_repeats_table_1(values, clicks):
    for row, repeated in (("Ours", "Language"), ("Ours*", "Language+Finetune")):
        assert quadruple(values, "7", repeated, "mvtec", clicks) == quadruple(
            values, "1", row, "mvtec", clicks
        )


def test_table_8_repeats_tables_4_and_5(values):
    full = "Pretrain+IIS+Lang.+Abandon"
    assert triple(values, "8", full, "total_average") == triple(
        values, "4", "Ours(weak)", "total_average"
    )
    assert (
        values["8", full, "mvtec", "total_average", "image_auroc"]
        == values["5", "Ours(weak)", "mvtec", "total_average", "image_auroc"]
    )


def test_printed_averages_are_the_means_of_printed_categories(published, values):
    disagreeing = {}
    for table in ("2", "4"):
        for row in published.loc[published["table"] == table, "row"].unique():
            for metric in PIXEL_METRICS:
                for group, members in GROUPS.items():
                    printed = values[table, row, "mvtec", group, metric]
                    if not printed:
                        continue
                    terms = [
                        float(values[table, row, "mvtec", member, metric]) for member in members
                    ]
                    mean = sum(terms) / len(terms)
                    if abs(mean - float(printed)) > ROUNDING:
                        disagreeing[table, row, group, metric] = round(mean, 2)
    assert disagreeing == DISAGREEING_AVERAGES


def test_disagreeing_averages_carry_a_note(published):
    for (table, row, category, metric), mean in DISAGREEING_AVERAGES.items():
        line = published[
            (published["table"] == table)
            & (published["row"] == row)
            & (published["category"] == category)
            & (published["metric"] == metric)
        ]
        note = line["note"].item()
        assert "categories average" in note
        assert f"{mean:.1f}" in note or f"{mean:.2f}" in note


def test_the_row_printed_fill_is_pill(published):
    pill = published[(published["table"] == "2") & (published["category"] == "pill")]
    assert pill["note"].str.contains("Fill").all()
    assert "fill" not in set(published["category"])


def test_later_work_has_a_known_source_and_no_place_in_the_papers_tables(later):
    assert dict(zip(later["source"], later["year"], strict=True)) == LATER_SOURCES
    assert set(later["page"]) == {""}
    assert (later[["setting", "row", "value"]] != "").all(axis=None)
    for table, lines in later.groupby("table"):
        number = table.removeprefix("later ")
        assert number != table
        assert set(lines["metric"]) <= METRICS[number] | LATER_ONLY_METRICS.get(number, set())


def test_later_numbers_stand_once_and_parse(later):
    key = ["table", "row", "dataset", "category", "metric"]
    assert not later.duplicated(key).any()
    assert set(later["category"]) == {"total_average"}
    for metric, unit, value in zip(later["metric"], later["unit"], later["value"], strict=True):
        assert unit == LATER_UNITS.get(metric, "%")
        assert re.fullmatch(r"\d{1,2}\.\d{1,2}", value)


def test_later_work_says_how_its_protocol_differs(later):
    def notes(rows, metric):
        return later.loc[later["row"].isin(rows) & (later["metric"] == metric), "note"]

    assert notes(["Dinomaly", "INP-Former"], "pixel_ap").str.contains("one pixel too large").all()
    assert notes(["SuperSimpleNet"], "pixel_pro").str.contains("anomalib issue 3718").all()
    assert notes(["SuperSimpleNet", "RAD"], "pixel_ap").str.contains("px").all()
    assert notes(["ArcAD", "ADClick-Seg (2025)"], "pixel_auroc").str.contains("split").all()


def test_later_work_leaves_the_papers_rows_of_a_table_alone(everything, published):
    scores = {"pixel_ap": 0.5, "pixel_pro": 0.5, "pixel_auroc": 0.5, "image_auroc": 0.5}
    record = {
        **{"kind": "maps", "dataset": "mvtec", "category": "bottle", "method": "m", "seed": 0},
        "test_sets": {"unsupervised": scores, "supervised": scores},
    }
    for number in (2, 3, 4, 5):
        tables = [
            made(number, [record], lines, datasets={"mvtec": ["bottle"]}, methods=["m"])
            for lines in (everything, published)
        ]
        rows, alone = (
            table.rows[table.rows["Source"] == "paper"].reset_index(drop=True) for table in tables
        )
        assert len(rows) > 0
        assert rows.equals(alone)


@pytest.fixture(scope="module")
def settings() -> pd.DataFrame:
    return read_published(PUBLISHED / "settings.csv")


@pytest.fixture(scope="module")
def configuration() -> dict[str, Any]:
    """The values of every key, also of those left out; what both trainings share stands once."""
    config = read_configuration([], base=PUBLISHED.parent / "config.yaml")
    shared = set(SharedTraining.model_fields)
    return config.model_dump(exclude={"adclick_training": shared, "adclick_seg_training": shared})


def value_of(configuration: dict[str, Any], key: str) -> Any:
    value: Any = configuration
    for name in key.split("."):
        value = value[name]
    return value


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    return [leaf for part in value for leaf in leaves(part)] if isinstance(value, list) else [value]


def leaf_keys(value: Any, key: str) -> list[str]:
    if not isinstance(value, dict):
        return [key]
    return [leaf for name, part in value.items() for leaf in leaf_keys(part, f"{key}.{name}")]


def is_stated(leaf: Any, text: str) -> bool:
    """Whether a value of the configuration stands in a text; switches are put into words."""
    if leaf is None or isinstance(leaf, bool):
        return True
    if isinstance(leaf, str):
        return leaf.lower() in text.lower()
    return float(leaf) in map(float, NUMBER.findall(text))


def test_every_setting_equals_the_paper_or_says_why_not(settings):
    assert list(settings.columns) == ["setting", "paper", "ours", "departure", "source", "keys"]
    assert settings["setting"].is_unique
    assert (settings[["setting", "paper", "ours", "source"]] != "").all(axis=None)
    equal = settings["paper"] == settings["ours"]
    assert ((settings["departure"] == "") == equal).all()
    unstated = settings["paper"] == "not stated"
    assert settings.loc[unstated, "departure"].str.startswith("not stated in the paper").all()


def test_every_statement_has_its_place_in_the_paper(settings):
    for paper, source in zip(settings["paper"], settings["source"], strict=True):
        places = re.split("[;,] ", source)
        assert all(PLACE.fullmatch(place) or place in OTHER_ORIGINS for place in places), source
        assert paper == "not stated" or any(PLACE.fullmatch(place) for place in places), source


def test_our_settings_are_those_of_the_configuration(settings, configuration):
    wrong = [
        f"{setting}: {key} is {leaf}"
        for setting, ours, keys in zip(
            settings["setting"], settings["ours"], settings["keys"], strict=True
        )
        for key in keys.split()
        for leaf in leaves(value_of(configuration, key))
        if not is_stated(leaf, ours)
    ]
    assert wrong == []


def test_every_key_that_decides_a_result_is_among_the_settings(settings, configuration):
    rows = {key for keys in settings["keys"] for key in keys.split()}
    without = [
        key
        for section, value in configuration.items()
        if section not in KEYS_OF_A_RUN
        for key in leaf_keys(value, section)
        if not any(f"{key}.".startswith(f"{prefix}.") for prefix in rows | TECHNICAL_KEYS)
    ]
    assert without == [], "name them in a row of config/published/settings.csv, column keys"
