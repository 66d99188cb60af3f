"""Where a finished run's network and all that it needs lie."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adclick.models.description import MapUse
from adclick.networks.checkpoints import ModelMetadata, read_metadata
from adclick.residuals.comparison import chosen_matching
from adclick.run.artifacts import input_digest, open_arrays, read_json, read_stamp, text_of
from adclick.run.errors import InputError
from adclick.run.provenance import make_stamp

COMMAND = "adclick.models.export"
NETWORKS = {
    "adclick": "ADClick",
    "adclick_seg": "ADClick-Seg",
    "feature_detector": "ADClick-Seg on features",
}
DETECTORS = ("adclick_seg", "feature_detector")
STAGES = ("train_adclick", "train_adclick_seg")
MADE_WITH_WEIGHTS = ("simulate_clicks", "predict_maps")
LANGUAGE = "encode_prompts/language.h5"
REFINEMENT = "record_clicks/clicks.json"


@dataclass(frozen=True)
class Source:
    """The artifacts of a run that one model folder is made of, and what determines it."""

    category: Path
    variant: str
    seed: int
    weights: Path
    metadata: ModelMetadata
    residuals: Path
    language: Path | None
    settings: dict[str, Any]
    retrieval: dict[str, Any]
    detection: MapUse | None
    refinement: dict[str, Any]
    stamp: dict[str, Any]

    def part(self, name: str) -> Path:
        """A file or folder of the category, by its name there."""
        return self.category / name


def trained_variants(category: Path) -> dict[str, list[int]]:
    """The variants that can be exported from a run's category, and their seeds.

    Networks trained on the category come first, then those that were only pretrained or slid.
    """
    places = [
        *(
            path
            for stage in STAGES
            for path in sorted(category.glob(f"{stage}/*/seed*/weights.safetensors"))
        ),
        *(
            path
            for stage in MADE_WITH_WEIGHTS
            for path in sorted(category.glob(f"{stage}/*/seed*/maps.h5"))
            if "weights" in ((read_stamp(path) or {}).get("inputs") or {})
        ),
    ]
    found: dict[str, list[int]] = {}
    for path in places:
        seeds = found.setdefault(path.parents[1].name, [])
        seed = int(path.parent.name.removeprefix("seed"))
        if seed not in seeds:
            seeds.append(seed)
    return found


def find(category: Path, variant: str, seed: int) -> Source:
    """What a trained variant needs of its category; InputError when it does not fit together."""
    weights = _weights(category, variant, seed)
    metadata = read_metadata(weights)
    if metadata.kind not in NETWORKS:
        raise InputError(f"{weights}: a network of others, which no model folder holds")
    trained: dict[str, Any] = metadata.extra["stamp"]["inputs"]
    residuals = _residuals(category, weights, trained)
    stamp = stamp_of(residuals)
    settings = {**stamp["settings"], **_choice(category, residuals, stamp)}
    neighbours = category / "find_neighbours/real.h5"
    retrieval = stamp_of(neighbours)
    _require_same(residuals, stamp, neighbours=neighbours)
    _require_same(
        residuals,
        stamp,
        features=category / "extract_features/features.h5",
        foreground=category / "fit_foreground/foreground.h5",
        images=category / "make_manifest/images.h5",
    )
    _require_same(neighbours, retrieval, retrieval=category / "fit_retrieval/retrieval.h5")
    language = _language(category, metadata, trained)
    used = {"weights": weights, "residuals": residuals}
    used |= {"manifest": category / "make_manifest/manifest.csv", "neighbours": neighbours}
    used |= {"language": language} if language else {}
    detection = None
    if metadata.kind in DETECTORS:
        maps = category / f"predict_maps/{variant}/seed{seed}/maps.h5"
        _require_same(maps, stamp_of(maps), weights=weights, residuals=residuals)
        with open_arrays(maps) as file:
            detection = MapUse.model_validate_json(text_of(file, "detection") or "")
        used["maps"] = maps
    refinement = category.parents[1] / REFINEMENT
    used["clicks"] = refinement
    asked = {"variant": variant, "place": _place(category)}
    inputs = {name: input_digest(path) for name, path in used.items()}
    return Source(
        category,
        variant,
        seed,
        weights,
        metadata,
        residuals,
        language,
        settings,
        retrieval["settings"]["retrieval"],
        detection,
        stamp_of(refinement)["settings"],
        make_stamp(COMMAND, settings=asked, inputs=inputs, seed=seed),
    )


def _choice(category: Path, residuals: Path, stamp: Mapping[str, Any]) -> dict[str, Any]:
    """The matching that was chosen for a category, and its name, where one was chosen."""
    if "choice" not in stamp["inputs"]:
        return {}
    choice = category / "choose_matching" / residuals.parent.name / "choice.json"
    _require_same(residuals, stamp, choice=choice)
    return {
        "matching": chosen_matching(choice).model_dump(),
        "chosen": read_json(choice)["chosen"],
    }


def _place(category: Path) -> str:
    return "/".join(category.absolute().parts[-3:])


def _weights(category: Path, variant: str, seed: int) -> Path:
    """Where a variant's weights lie: trained here, or those that clicked or made maps here under
    this name (a pretrained network, a detector slid over windows).
    """
    for stage in STAGES:
        path = category / f"{stage}/{variant}/seed{seed}/weights.safetensors"
        if path.is_file():
            return path
    used = [category / f"{stage}/{variant}/seed{seed}/maps.h5" for stage in MADE_WITH_WEIGHTS]
    wanted = {stamp_of(path)["inputs"].get("weights") for path in used if path.is_file()}
    for pattern in ("pretrain_adclick/*/*", "train_adclick_seg/*"):
        for path in sorted(category.glob(f"{pattern}/seed{seed}/weights.safetensors")):
            if input_digest(path) in wanted:
                return path
    if not category.is_dir():
        raise InputError(f"{category}: no such folder; give results/<run>/<data set>/<category>")
    listed = [
        f"{name} (seed {', '.join(map(str, seeds))})"
        for name, seeds in trained_variants(category).items()
    ]
    raise InputError(
        f"{category}: no weights of variant {variant}, seed {seed};"
        f" there are {', '.join(listed) or 'none, run the workflow first'}"
    )


def _residuals(category: Path, weights: Path, trained: Mapping[str, Any]) -> Path:
    """The residuals of the matching that a network was trained with."""
    found = sorted(category.glob("compute_residuals/*/real.h5"))
    if "pretrain_adclick" in weights.parts:
        name = weights.parents[2].name
        found = [path for path in found if path.parent.name == name]
    else:
        found = [
            path for path in found if [input_digest(path, training=True)] == trained["residuals"]
        ]
    if not found:
        raise InputError(
            f"{weights}: was trained on other residuals than {category}/compute_residuals has;"
            " run the workflow again, then export"
        )
    return found[0]


def _language(category: Path, metadata: ModelMetadata, trained: Mapping[str, Any]) -> Path | None:
    """The encoded words of a network with a language branch."""
    if metadata.sizes.get("language") is None:
        return None
    path = category.parent / LANGUAGE
    if input_digest(path) not in trained["languages"]:
        raise InputError(
            f"{path}: the network was trained with other words; run the workflow again, then export"
        )
    return path


def stamp_of(path: Path) -> dict[str, Any]:
    """The stamp of a result; InputError when it carries none."""
    stamp = read_stamp(path)
    if stamp is None:
        raise InputError(f"{path}: carries no stamp; run the workflow again")
    return stamp


def _require_same(path: Path, stamp: Mapping[str, Any], **inputs: Path) -> None:
    """InputError when an artifact was made of another input than lies there now."""
    for name, file in inputs.items():
        if stamp["inputs"][name] != input_digest(file):
            raise InputError(
                f"{path}: was made of another {file.name} than {file.parent} has now;"
                " run the workflow again, then export"
            )
