"""Which tables a run makes, and of what."""

from collections.abc import Iterable, Mapping
from typing import Any

from adclick.run.config import Config
from adclick.run.plan.clicks import click_scores
from adclick.run.plan.detection import maps_file, reads_labels
from adclick.run.plan.names import (
    category_folder,
    click_matching,
    click_methods,
    costs_differ,
    map_matching,
    map_methods,
    matching_of,
    robot_methods,
    robot_names,
    robot_of,
    trained_variant,
)
from adclick.run.plan.pick import Stage
from adclick.run.plan.residuals import choice_file
from adclick.run.settings.clicks import Robot
from adclick.run.settings.peers import peer_methods
from adclick.run.settings.tables import TABLES, TableLayout
from adclick.run.settings.training import AdclickVariant, SegVariant

ROBOT_TABLE, COST_TABLE, MAP_COST_TABLE = "honest_clicks", "click_costs", "map_costs"
LIKE_TABLE = 1  # their data sets are those of table 1


class MakeTable(Stage):
    """Settings of `make_table`."""

    table: TableLayout
    datasets: dict[str, list[str]]
    textures: dict[str, list[str]]
    methods: list[str]
    switches: dict[str, dict[str, Any]]
    scale_note: str
    scale: dict[str, str]
    titles: dict[str, str]

    @classmethod
    def of(cls, config: Config, wildcards: Mapping[str, str]) -> Stage:
        table = TABLES[int(wildcards["number"])]
        defined, methods = _variants(config, table), table_methods(config, table.number)
        named = {name: config.datasets[name] for name in config.tables[table.number]}
        switches = {name: defined[name].model_dump() for name in methods if name in defined}
        return cls.pick(
            config,
            table=table,
            datasets={name: one.categories for name, one in named.items()},
            textures={name: one.textures for name, one in named.items()},
            methods=methods,
            switches=switches if table.switches else {},
            scale=scale_facts(config),
        )


class MakeRobotTable(Stage):
    """Settings of `make_robot_table`."""

    datasets: dict[str, list[str]]
    methods: list[str]
    robots: dict[str, Robot]
    scale_note: str
    scale: dict[str, str]
    titles: dict[str, str]

    @classmethod
    def of(cls, config: Config, _: Mapping[str, str]) -> Stage:
        names = config.tables.get(LIKE_TABLE, [])
        return cls.pick(
            config,
            datasets={name: config.datasets[name].categories for name in names},
            methods=list(robot_methods(config)),
            robots={name: robot_of(config, name) for name in robot_names(config)},
            scale=scale_facts(config),
        )


class MakeCostTable(Stage):
    """Settings of `make_cost_table`: `measured` has data set and method of every record."""

    datasets: list[str]
    methods: list[str]
    measured: list[tuple[str, str]]
    scale_note: str
    scale: dict[str, str]
    titles: dict[str, str]

    @classmethod
    def of(cls, config: Config, _: Mapping[str, str]) -> Stage:
        return cls.pick(
            config,
            datasets=config.tables.get(LIKE_TABLE, []),
            methods=list(click_methods(config)),
            measured=[(place.split("/")[0], method) for place, method, _ in _clicked(config)],
            scale=scale_facts(config),
        )


class MakeMapCostTable(Stage):
    """Settings of `make_map_cost_table`: `measured` has data set, category and method of every
    record of maps, `trained` of every record of a training.
    """

    datasets: list[str]
    methods: list[str]
    measured: list[tuple[str, str, str]]
    trained: list[tuple[str, str, str]]
    scale_note: str
    scale: dict[str, str]
    titles: dict[str, str]

    @classmethod
    def of(cls, config: Config, _: Mapping[str, str]) -> Stage:
        return cls.pick(
            config,
            datasets=_mapped_datasets(config),
            methods=_mapped_methods(config),
            measured=[_place_and_method(one) for one in _mapped(config)],
            trained=[_place_and_method(one) for one in _trained_maps(config)],
            scale=scale_facts(config),
        )


def table_methods(config: Config, number: int) -> list[str]:
    """The methods that a table shows, peers first; an ablation those of the run's matching, also
    those not run.
    """
    table = TABLES[number]
    if table.switches:
        return _ablation(config, table)
    if table.kind == "clicks":
        return list(click_methods(config))
    return map_rows(config, supervised=table.test_set == "supervised")


def map_rows(config: Config, *, supervised: bool) -> list[str]:
    """The detection methods that stand side by side: peers, and variants with labels or without."""
    variants = {name: config.adclick_seg_variants[name] for name in config.run_adclick_seg}
    shown = [
        name
        for name, variant in variants.items()
        if (variant.supervision != "unsupervised") == supervised
        and (not supervised or _stands_for_its_labels(variant))
    ]
    peers = [name for name in config.run_map_peers if supervised or not reads_labels(name)]
    return [*peers, *_with_sliding(config, shown)]


def _stands_for_its_labels(variant: SegVariant) -> bool:
    """Whether a variant is none of the rows of an ablation, nor a point of what labels buy."""
    whole = variant.abandon or variant.detector is not None
    return whole and not costs_differ(variant)


def _with_sliding(config: Config, names: Iterable[str]) -> list[str]:
    """Variants, each followed by its maps of sliding windows where the run makes them."""
    slid = {variant: method for method, variant in config.sliding_methods.items()}
    return [method for name in names for method in (name, slid.get(name)) if method is not None]


def _variants(config: Config, table: TableLayout) -> Mapping[str, AdclickVariant | SegVariant]:
    return config.adclick_variants if table.kind == "clicks" else config.adclick_seg_variants


def _ablation(config: Config, table: TableLayout) -> list[str]:
    return [
        name
        for name, variant in _variants(config, table).items()
        if matching_of(config, variant) == config.matching and _is_ablated(variant)
    ]


def _is_ablated(variant: AdclickVariant | SegVariant) -> bool:
    if isinstance(variant, AdclickVariant):
        return variant.inputs == "residual" and variant.pretrain
    own = variant.detector is not None or costs_differ(variant)
    return variant.supervision == "weak" and not own


def robot_table(config: Config) -> list[str]:
    """The table of honest clicks, when the run has other users than the protocol's."""
    if not (config.run_robots and robot_methods(config) and config.tables.get(LIKE_TABLE)):
        return []
    return [f"results/{config.run}/tables/{ROBOT_TABLE}.csv"]


def robot_metrics(config: Config) -> list[str]:
    """The metric files that the table of honest clicks is made of."""
    return [
        click_scores(config, f"{dataset}/{category}", method, robot, seed)
        for dataset in config.tables.get(LIKE_TABLE, [])
        for category in config.datasets[dataset].categories
        for method, seeds in robot_methods(config).items()
        for robot in robot_names(config)
        for seed in seeds
    ]


def _clicked(config: Config) -> list[tuple[str, str, int]]:
    """Place, method and first seed of the clicks behind table 1."""
    methods = click_methods(config)
    return [
        (f"{dataset}/{category}", method, seed)
        for dataset in config.tables.get(LIKE_TABLE, [])
        for category in config.datasets[dataset].categories
        for method, seeds in methods.items()
        for seed in seeds[:1]
    ]


def cost_table(config: Config) -> list[str]:
    """The table of what a click costs, when the run has clicks of table 1."""
    return [f"results/{config.run}/tables/{COST_TABLE}.csv"] if _clicked(config) else []


def cost_records(config: Config) -> list[str]:
    """The records that the table of costs is made of."""
    return [
        f"{category_folder(config, place)}/simulate_clicks/{method}/seed{seed}/record.json"
        for place, method, seed in _clicked(config)
    ]


def _mapped_datasets(config: Config) -> list[str]:
    """The data sets of the tables of maps without switches, each once."""
    numbers = [one.number for one in TABLES.values() if one.kind == "maps" and not one.switches]
    named = [name for number in numbers for name in config.tables.get(number, [])]
    return list(dict.fromkeys(named))


def _mapped_methods(config: Config) -> list[str]:
    """The methods of these tables, each once."""
    both = [map_rows(config, supervised=supervised) for supervised in (False, True)]
    return list(dict.fromkeys(name for names in both for name in names))


def _mapped(config: Config) -> list[tuple[str, str, int]]:
    """Place, method and first seed of the maps behind these tables."""
    methods = map_methods(config)
    return [
        (f"{dataset}/{category}", method, seed)
        for dataset in _mapped_datasets(config)
        for category in config.datasets[dataset].categories
        for method in _mapped_methods(config)
        for seed in methods.get(method, [])[:1]
    ]


def _trained_maps(config: Config) -> list[tuple[str, str, int]]:
    """Those of them whose training has a record of its own."""
    trained = {*config.run_adclick_seg, *config.sliding_methods}
    return [one for one in _mapped(config) if one[1] in trained]


def _place_and_method(mapped: tuple[str, str, int]) -> tuple[str, str, str]:
    dataset, category = mapped[0].split("/")
    return dataset, category, mapped[1]


def map_cost_table(config: Config) -> list[str]:
    """The table of what a detector costs, when the run has maps of tables 2 to 6."""
    return [f"results/{config.run}/tables/{MAP_COST_TABLE}.csv"] if _mapped(config) else []


def map_cost_records(config: Config) -> list[str]:
    """The records of maps that the table of what a detector costs is made of."""
    return [
        maps_file(config, place, method, seed).replace("maps.h5", "record.json")
        for place, method, seed in _mapped(config)
    ]


def map_cost_trainings(config: Config) -> list[str]:
    """The records of trainings that it is made of."""
    return [
        f"{category_folder(config, place)}/train_adclick_seg/{trained_variant(config, method)}"
        f"/seed{seed}/record.json"
        for place, method, seed in _trained_maps(config)
    ]


def table_metrics(config: Config, number: int | str) -> list[str]:
    """The metric files that a table is made of."""
    table = TABLES[int(number)]
    clicks = table.kind == "clicks"
    seeds = click_methods(config) if clicks else map_methods(config)
    stage = "evaluate_clicks" if clicks else "evaluate_maps"
    return [
        f"results/{config.run}/{dataset}/{category}/{stage}/{method}/seed{seed}/metrics.json"
        for dataset in config.tables.get(table.number, [])
        for category in config.datasets[dataset].categories
        for method in table_methods(config, table.number)
        for seed in seeds.get(method, [])
    ]


def table_choices(config: Config, number: int | str) -> list[str]:
    """What says which matching was chosen for each category, where methods of a table had some to
    choose from.
    """
    table = TABLES[int(number)]
    of_method = click_matching if table.kind == "clicks" else map_matching
    run = click_methods(config) if table.kind == "clicks" else map_methods(config)
    shown = [
        name
        for name in table_methods(config, table.number)
        if name in run and name not in peer_methods()
    ]
    return [
        path
        for matching in dict.fromkeys(of_method(config, name) for name in shown)
        for dataset in config.tables.get(table.number, [])
        for category in config.datasets[dataset].categories
        for path in choice_file(config, f"{dataset}/{category}", matching).values()
    ]


def table_file(config: Config, number: int) -> str:
    """A table by its number."""
    return f"results/{config.run}/tables/table{number}.csv"


def tables(config: Config) -> list[str]:
    """The tables of the run, in order."""
    numbers = [number for number in sorted(config.tables) if config.tables[number]]
    made = [table_file(config, number) for number in numbers]
    costs = [*cost_table(config), *map_cost_table(config)]
    return [*made, *robot_table(config), *costs]


def scale_facts(config: Config) -> dict[str, str]:
    """The run's values of what sets scales apart, by their names in config/published/settings.csv
    and in its words.
    """
    features, network, language = config.features, config.network, config.language
    untrained = {True: ", untrained", False: ""}
    loops = (config.adclick_training, config.adclick_seg_training)
    steps = {count for loop in loops for count in (loop.pretrain_steps, loop.steps)}
    seeded = language.weights.source == "seeded"
    return {
        "image size": _image_size(config),
        "feature extractor": f"{features.backbone} of timm"
        + untrained[features.weights.source == "seeded"],
        "residual tensor": f"{config.grid} x {config.grid} x {features.dimension}",
        "normal images retrieved (K)": str(config.retrieval.neighbours),
        "matching radius (sigma)": _radius(config, config.matching),
        "trunk": f"one Swin stage: depth {network.depth}, width {network.dim},"
        f" {network.heads} heads, window {network.window}",
        "trained parts of the vision-language module": {
            "pwam": "PWAM only; Swin frozen",
            "language": "PWAM, gates and output norms; Swin frozen",
            "all": "all",
        }[config.vision_language.trainable],
        "text encoder": "a small BERT, untrained" if seeded else language.encoder,
        "prompts per defect type (U)": str(config.prompts.phrases),
        "training steps": " to ".join(str(count) for count in sorted({min(steps), max(steps)})),
    }


def _image_size(config: Config) -> str:
    """The run's square, and what data sets have instead."""
    others = {name: config.datasets[name].size for name in config.run_datasets}
    own = [f"; {name}: {size.words}" for name, size in others.items() if size is not None]
    return f"{config.size_px} x {config.size_px} px{''.join(own)}"


def _radius(config: Config, name: str) -> str:
    matching = config.matchings[name]
    if matching.candidates is not None:
        radii = [_radius(config, candidate) for candidate in matching.candidates]
        return f"chosen for each category: {', '.join(radii)}"
    return "none" if matching.radius is None else f"{matching.radius} positions of the grid"
