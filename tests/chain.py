"""The whole pipeline in one process on two tiny categories, stage by stage, as the workflow runs
it.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from adclick.run.config import Config, load_config
from adclick.run.plan.clicks import (
    click_inputs,
    click_scores,
    finetuning_inputs,
    labelling_inputs,
    pretraining_inputs,
    refinement_file,
)
from adclick.run.plan.detection import detection_inputs, detector_inputs, expansion_inputs
from adclick.run.plan.names import category_folder, robot_names
from adclick.run.plan.residuals import choice_file, images_of, residuals_file
from adclick.run.plan.stages import settings_json
from tests.run.test_config import merged, read

PLACE = {"dataset": "toy", "category": "cloth"}
SEED = "0"
OTHER_RESIDUALS = [
    ("patch_to_patch", "real"),
    ("image_to_image", "real"),
    ("image_to_image", "simulated"),
    ("auto", "real"),
    ("auto", "simulated"),
]
OTHER_PEERS = ["training_free_patch_to_patch", "training_free_image_to_image"]


def micro_config() -> Config:
    """The micro configuration, with every variant and supervision that a stage knows."""
    values = read("config/demo.yaml", "tests/config/micro.yaml")
    listed = {
        "run_adclick_seg": [
            "unsupervised",
            "unsupervised_image_to_image",
            "unsupervised_auto",
            "weak",
            "full",
            "weak_features",
        ],
        "run_sliding": ["weak"],
        "run_map_peers": ["training_free", *OTHER_PEERS],
    }
    auto = {**values["adclick_seg_variants"]["unsupervised"], "matching": "auto"}
    listed["adclick_seg_variants"] = {"unsupervised_auto": auto}
    return load_config(merged(values, listed))


@dataclass(frozen=True)
class Step:
    """One run of a stage: its command, wildcards, and files by name (a list of files for list
    inputs).
    """

    stage: str
    command: str
    wildcards: dict[str, str]
    inputs: dict[str, str | list[str]]
    outputs: dict[str, str]
    flags: list[str] = field(default_factory=list)

    def argv(
        self,
        config: Config,
        folder: Path,
        replaced: dict[str, Path] | None = None,
        into: Path | None = None,
    ) -> list[str]:
        """The command line, with some inputs replaced and the outputs written to another folder."""
        argv = ["--settings", settings_json(config, self.stage, **self.wildcards), *self.flags]
        for name, paths in self.inputs.items():
            listed: Sequence[str] = [paths] if isinstance(paths, str) else paths
            chosen = [str(folder / path) for path in listed]
            if replaced and name in replaced:
                chosen[0] = str(replaced[name])
            argv += [_flag(name), *chosen]
        for name, path in self.outputs.items():
            target = (into / f"{name}{Path(path).suffix}") if into else folder / path
            argv += [_flag(name), str(target)]
        return argv

    def run(
        self,
        config: Config,
        folder: Path,
        replaced: dict[str, Path] | None = None,
        into: Path | None = None,
    ) -> None:
        """Run the command in this process."""
        module = importlib.import_module(f"adclick.commands.{self.command}")
        module.main(self.argv(config, folder, replaced, into))


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def steps(config: Config) -> dict[str, Step]:
    """Every stage once, in order, keyed by a name; what is needed of the other category comes
    first.
    """
    listed: dict[str, Step] = {}
    toy = f"results/{config.run}/toy"
    draw = {"folder": f"{toy}/draw_toy/data", "record": f"{toy}/draw_toy/record.json"}
    listed["draw_toy"] = Step("draw_toy", "draw_toy", {"dataset": "toy"}, {}, draw)
    listed["generate_prompts"] = Step(
        "generate_prompts",
        "generate_prompts",
        {"dataset": "toy"},
        {"bank": str(Path("config/prompts/toy.yaml").absolute())},
        {"prompts": f"{toy}/generate_prompts/prompts.json"},
    )
    listed["encode_prompts"] = Step(
        "encode_prompts",
        "encode_prompts",
        {"dataset": "toy"},
        {"prompts": f"{toy}/generate_prompts/prompts.json"},
        {"language": f"{toy}/encode_prompts/language.h5"},
    )
    for category in ("washer", "cloth"):
        data = _data_steps(config, category)
        listed |= {
            (f"{category} {name}" if category == "washer" else name): step
            for name, step in data.items()
        }
    listed["record_clicks"] = Step(
        "record_clicks", "record_clicks", {}, {}, {"record": refinement_file(config)}
    )
    return listed | _learning_steps(config)


def _data_steps(config: Config, category: str) -> dict[str, Step]:
    folder = category_folder(config, f"toy/{category}")
    wildcards = {"dataset": "toy", "category": category}
    manifest, images = f"{folder}/make_manifest/manifest.csv", f"{folder}/make_manifest/images.h5"
    masks, features = f"{folder}/make_manifest/masks.h5", f"{folder}/extract_features/features.h5"
    retrieval, foreground = (
        f"{folder}/fit_retrieval/retrieval.h5",
        f"{folder}/fit_foreground/foreground.h5",
    )
    simulated = f"{folder}/simulate_defects/images.h5"

    def step(
        stage: str, inputs: dict[str, str | list[str]], outputs: dict[str, str], *flags: str
    ) -> Step:
        return Step(stage, stage, wildcards, inputs, outputs, list(flags))

    drawn = f"results/{config.run}/toy/draw_toy/record.json"
    made = {"manifest": manifest, "images": images, "masks": masks}
    made |= {"record": f"{folder}/make_manifest/record.json"}
    found = {
        "make_manifest": step(
            "make_manifest",
            {"drawn": drawn},
            made,
            *("--data-root", "nowhere", "--files", "x", "--duplicates", "warn"),
        ),
        "extract_features": step(
            "extract_features", {"manifest": manifest, "images": images}, {"features": features}
        ),
        "fit_retrieval": step("fit_retrieval", {"features": features}, {"retrieval": retrieval}),
        "fit_foreground": step(
            "fit_foreground", {"features": features}, {"foreground": foreground}
        ),
        "simulate_defects": step(
            "simulate_defects",
            {"manifest": manifest, "images": images, "foreground": foreground},
            {"simulated": simulated},
        ),
    }
    for source in ("real", "simulated"):
        found |= source_steps(config, category, source)
    if category == "cloth":
        found["simulate_defects lines"] = Step(
            "simulate_defects",
            "simulate_defects",
            wildcards | {"drawn": "lines"},
            {"manifest": manifest, "images": images, "foreground": foreground},
            {"simulated": images_of(config, "toy/cloth", "lines")},
        )
        found |= source_steps(config, category, "lines")
        found["choose_matching"] = Step(
            "choose_matching",
            "choose_matching",
            wildcards | {"matching": "auto"},
            {
                **{"manifest": manifest, "images": images, "features": features},
                **{"retrieval": retrieval, "foreground": foreground},
            },
            choice_file(config, "toy/cloth", "auto"),
        )
    for matching, source in OTHER_RESIDUALS if category == "cloth" else ():
        found[f"compute_residuals {matching} {source}"] = _residual_step(
            config, category, matching, source
        )
    return found


def source_steps(config: Config, category: str, source: str) -> dict[str, Step]:
    """Neighbours and residuals, by the run's matching, of one source of pictures."""
    place = f"toy/{category}"
    folder = category_folder(config, place)
    return {
        f"find_neighbours {source}": Step(
            "find_neighbours",
            "find_neighbours",
            {"dataset": "toy", "category": category},
            {
                "images": images_of(config, place, source),
                "retrieval": f"{folder}/fit_retrieval/retrieval.h5",
            },
            {"neighbours": f"{folder}/find_neighbours/{source}.h5"},
        ),
        f"compute_residuals {source}": _residual_step(config, category, config.matching, source),
    }


def _residual_step(config: Config, category: str, matching: str, source: str) -> Step:
    place = f"toy/{category}"
    folder = category_folder(config, place)
    return Step(
        "compute_residuals",
        "compute_residuals",
        {"dataset": "toy", "category": category, "matching": matching},
        {
            "images": images_of(config, place, source),
            "neighbours": f"{folder}/find_neighbours/{source}.h5",
            "features": f"{folder}/extract_features/features.h5",
            "foreground": f"{folder}/fit_foreground/foreground.h5",
            **choice_file(config, place, matching),
        },
        {"residuals": residuals_file(config, place, matching, source)},
    )


def _learning_steps(config: Config) -> dict[str, Step]:
    folder = category_folder(config, "toy/cloth")
    made = f"{folder}/make_manifest"
    files: dict[str, str | list[str]] = {
        "manifest": f"{made}/manifest.csv",
        "images": f"{made}/images.h5",
    }
    masks = {"masks": f"{made}/masks.h5"}
    place = "toy/cloth"
    others = pretraining_inputs(config, place, config.matching, "language")
    found: dict[str, Step] = {}

    def training(
        network: str, name: str, stage: str, wildcards: dict[str, str], inputs: dict
    ) -> None:
        target = f"{folder}/{stage}/{'/'.join(wildcards.values())}/seed{SEED}"
        found[name] = Step(
            network,
            network,
            PLACE | wildcards,
            inputs,
            {"weights": f"{target}/weights.safetensors", "record": f"{target}/record.json"},
            ["--seed", SEED],
        )

    training(
        "train_adclick",
        "pretrain_adclick",
        "pretrain_adclick",
        {"matching": config.matching, "pretraining": "language"},
        dict(others),
    )
    training(
        "train_adclick",
        "train_adclick",
        "train_adclick",
        {"variant": "finetuned_lang"},
        finetuning_inputs(config, place, "finetuned_lang", SEED),
    )
    for method in ("threshold", "finetuned_lang", "finetuned_lang_plain"):
        clicked = f"{folder}/simulate_clicks/{method}/seed{SEED}/maps.h5"
        found[f"simulate_clicks {method}"] = Step(
            "simulate_clicks",
            "simulate_clicks",
            PLACE | {"method": method},
            {**files, **masks, **click_inputs(config, place, method, SEED)},
            {"maps": clicked, "record": clicked.replace("maps.h5", "record.json")},
        )
        found[f"evaluate_clicks {method}"] = Step(
            "evaluate_clicks",
            "evaluate_clicks",
            PLACE | {"method": method},
            {**masks, "maps": clicked},
            {"metrics": f"{folder}/evaluate_clicks/{method}/seed{SEED}/metrics.json"},
            ["--seed", SEED],
        )
    found |= _robot_steps(config, files, masks)
    for supervision, name in (("weak", f"weak_{config.matching}"), ("full", "full")):
        labels = f"{folder}/label_defects/{name}/seed{SEED}/labels.h5"
        source = f"expanded_{name}_seed{SEED}"
        found[f"label_defects {supervision}"] = Step(
            "label_defects",
            "label_defects",
            PLACE | {"labels": name},
            {**files, **masks, **labelling_inputs(config, place, name, SEED)},
            {"labels": labels},
        )
        found[f"expand_defects {supervision}"] = Step(
            "expand_defects",
            "expand_defects",
            PLACE,
            {**files, "labels": labels, **expansion_inputs(config, place, name)},
            {"expanded": images_of(config, place, source)},
            ["--seed", SEED],
        )
        found |= source_steps(config, "cloth", source)
    training(
        "train_adclick_seg",
        "pretrain_adclick_seg",
        "pretrain_adclick_seg",
        {"matching": config.matching, "pretraining": "language_iis"},
        dict(others),
    )
    for variant in config.run_adclick_seg:
        training(
            "train_adclick_seg",
            f"train_adclick_seg {variant}",
            "train_adclick_seg",
            {"variant": variant},
            detector_inputs(config, place, variant, SEED),
        )
    for name in ("box", "weak_location_aware_1images"):
        found[f"label_defects {name}"] = Step(
            "label_defects",
            "label_defects",
            PLACE | {"labels": name},
            {**files, **masks, **labelling_inputs(config, place, name, SEED)},
            {"labels": f"{folder}/label_defects/{name}/seed{SEED}/labels.h5"},
        )
    trained = ("unsupervised_auto", "weak", "weak_sliding", "weak_features")
    for method in (*config.run_map_peers, *trained):
        maps = f"{folder}/predict_maps/{method}/seed{SEED}/maps.h5"
        found[f"predict_maps {method}"] = Step(
            "predict_maps",
            "predict_maps",
            PLACE | {"method": method},
            {**files, **detection_inputs(config, place, method, SEED)},
            {"maps": maps, "record": maps.replace("maps.h5", "record.json")},
        )
        found[f"evaluate_maps {method}"] = Step(
            "evaluate_maps",
            "evaluate_maps",
            PLACE | {"method": method},
            {"manifest": f"{made}/manifest.csv", **masks, "maps": maps},
            {
                name: f"{folder}/evaluate_maps/{method}/seed{SEED}/{name}.json"
                for name in ("metrics", "curves")
            },
            ["--seed", SEED],
        )
    return found


def _robot_steps(
    config: Config, files: dict[str, str | list[str]], masks: dict[str, str]
) -> dict[str, Step]:
    """The random walker with a user of several draws, and with that of the protocol."""
    place, method = "toy/cloth", "random_walker"
    found: dict[str, Step] = {}
    for robot in robot_names(config):
        metrics = click_scores(config, place, method, robot, SEED)
        maps = metrics.replace("evaluate_clicks", "simulate_clicks").replace(
            "metrics.json", "maps.h5"
        )
        wildcards = PLACE | {"method": method, "robot": robot}
        found[f"simulate_clicks {method} {robot}"] = Step(
            "simulate_clicks",
            "simulate_clicks",
            wildcards,
            {**files, **masks, **click_inputs(config, place, method, SEED)},
            {"maps": maps, "record": maps.replace("maps.h5", "record.json")},
        )
        found[f"evaluate_clicks {method} {robot}"] = Step(
            "evaluate_clicks",
            "evaluate_clicks",
            wildcards,
            {**masks, "maps": maps},
            {"metrics": metrics},
            ["--seed", SEED],
        )
    return found


def finish(folder: Path) -> None:
    """Run every stage, and clicks with a network that was pretrained alone."""
    config = micro_config()
    for step in [*steps(config).values(), _pretrained_clicks(config)]:
        step.run(config, folder)


def _pretrained_clicks(config: Config) -> Step:
    place = "toy/cloth"
    folder = category_folder(config, place)
    made = f"{folder}/make_manifest"
    return Step(
        "simulate_clicks",
        "simulate_clicks",
        PLACE | {"method": "pretrained_lang"},
        {
            "manifest": f"{made}/manifest.csv",
            "images": f"{made}/images.h5",
            "masks": f"{made}/masks.h5",
            **click_inputs(config, place, "pretrained_lang", SEED),
        },
        {
            "maps": f"{folder}/simulate_clicks/pretrained_lang/seed{SEED}/maps.h5",
            "record": f"{folder}/simulate_clicks/pretrained_lang/seed{SEED}/record.json",
        },
    )
