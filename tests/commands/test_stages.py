"""Every stage does its work: whatever it reads, a change of it changes what it writes."""

import itertools
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from timm.models.swin_transformer import SwinTransformer

from adclick.annotate.store import save_label
from adclick.clicks.labels import boxes
from adclick.commands import label_defects, train_adclick_seg
from adclick.data.images import write_png
from adclick.networks.checkpoints import read_metadata, save_tensors, seeded
from adclick.networks.foreign import plain_swin
from adclick.networks.trained_detector import load_detector, save_detector
from adclick.run.artifacts import image_ids, input_digest, open_arrays, read_json, read_stamp
from adclick.run.config import Config
from adclick.run.errors import InputError
from adclick.run.plan.residuals import residuals_file
from adclick.run.settings.networks import Sliding
from tests.chain import Step, micro_config, steps


@pytest.fixture(scope="module")
def config() -> Config:
    return micro_config()


@pytest.fixture
def folder(finished_run: Path) -> Path:
    return finished_run


def noise(name: str, scale: float = 3.0) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        generator = np.random.default_rng(0)
        with h5py.File(path, "r+") as file:
            array = file[name][:]
            changed = array.astype(np.float64) + scale * generator.standard_normal(
                array.shape
            ) * array.std(dtype=np.float64)
            limits = np.iinfo(array.dtype) if array.dtype.kind in "iu" else None
            file[name][:] = changed if limits is None else changed.clip(limits.min, limits.max)

    return change


def inverted(name: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            file[name][:] = 1 - file[name][:]

    return change


def reversed_rows(name: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            file[name][:] = file[name][:][:, ::-1]

    return change


def constant(name: str, value: float) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            file[name][:] = value

    return change


def with_radius(radius: float) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        choice = read_json(path)
        choice["matching"]["radius"] = radius
        path.write_text(json.dumps(choice), encoding="utf-8")

    return change


def other_words(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        for group in file["cloth"].values():
            group["average"][:] = group["average"][:][::-1]


def in_text(old: str, new: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        assert old in text
        without_checksum = re.sub(r'^ "checksum": .*\n', "", text, flags=re.MULTILINE)
        path.write_text(without_checksum.replace(old, new), encoding="utf-8")

    return change


def a_role_less(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert ",train_normal," in text
    path.write_text(text.replace(",train_normal,", ",test_normal,", 1), encoding="utf-8")


def weights_scaled(path: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(path, framework="pt") as file:
        metadata = {name: one for name, one in file.metadata().items() if name != "checksum"}
        tensors = {name: file.get_tensor(name) * 1.5 for name in file.keys()}  # noqa: SIM118
    save_file(tensors, path, metadata=metadata)


CASES: list[tuple[str, str, Callable[[Path], None]]] = [
    ("generate_prompts", "bank", in_text("the cloth", "the fabric")),
    ("encode_prompts", "prompts", in_text("cloth", "clothes")),
    ("extract_features", "manifest", a_role_less),
    ("extract_features", "images", noise("images")),
    ("fit_retrieval", "features", noise("layer1")),
    ("washer fit_foreground", "features", noise("layer1")),
    ("simulate_defects", "images", noise("images")),
    ("find_neighbours real", "images", noise("images")),
    ("find_neighbours real", "retrieval", reversed_rows("histograms")),
    ("compute_residuals real", "images", noise("images")),
    ("compute_residuals real", "neighbours", constant("neighbours", 0)),
    ("compute_residuals real", "features", noise("patches")),
    ("choose_matching", "features", noise("patches")),
    ("choose_matching", "images", noise("images")),
    ("compute_residuals auto real", "choice", with_radius(3.0)),
    ("pretrain_adclick", "masks", inverted("masks")),
    ("pretrain_adclick", "residuals", noise("residuals")),
    ("train_adclick", "initial", weights_scaled),
    ("train_adclick", "simulated_images", inverted("labels")),
    ("train_adclick", "simulated_residuals", noise("residuals")),
    ("train_adclick", "line_images", inverted("labels")),
    ("train_adclick", "line_residuals", noise("residuals")),
    ("train_adclick", "languages", other_words),
    ("evaluate_clicks finetuned_lang", "masks", inverted("masks")),
    ("evaluate_clicks finetuned_lang", "maps", inverted("masks")),
    ("evaluate_clicks finetuned_lang", "maps", noise("probabilities")),
    ("simulate_clicks threshold", "residuals", noise("lengths")),
    ("simulate_clicks threshold", "masks", inverted("masks")),
    ("simulate_clicks finetuned_lang_plain", "residuals", noise("residuals")),
    ("simulate_clicks random_walker jittered", "images", noise("images")),
    ("simulate_clicks random_walker jittered", "masks", inverted("masks")),
    ("evaluate_clicks random_walker jittered", "maps", noise("probabilities")),
    ("simulate_clicks finetuned_lang", "weights", weights_scaled),
    ("simulate_clicks finetuned_lang", "residuals", noise("residuals")),
    ("simulate_clicks finetuned_lang", "images", noise("images")),
    ("simulate_clicks finetuned_lang", "language", other_words),
    ("label_defects weak", "residuals", noise("residuals")),
    ("label_defects weak", "masks", inverted("masks")),
    ("label_defects full", "masks", inverted("masks")),
    ("label_defects box", "masks", noise("masks")),
    ("expand_defects weak", "labels", inverted("probabilities")),
    ("expand_defects weak", "images", noise("images")),
    ("train_adclick_seg weak", "expanded_images", inverted("labels")),
    ("train_adclick_seg weak", "expanded_residuals", noise("residuals")),
    ("train_adclick_seg unsupervised", "simulated_residuals", noise("residuals")),
    ("train_adclick_seg unsupervised_image_to_image", "residuals", noise("residuals")),
    ("train_adclick_seg weak_features", "residuals", noise("lengths")),
    ("train_adclick_seg weak_features", "expanded_images", inverted("labels")),
    ("train_adclick_seg weak_features", "expanded_residuals", noise("patches")),
    ("train_adclick_seg weak_features", "simulated_residuals", noise("residuals")),
    ("predict_maps weak_features", "residuals", noise("lengths")),
    ("predict_maps training_free", "residuals", noise("lengths")),
    ("predict_maps training_free_patch_to_patch", "residuals", noise("lengths")),
    ("predict_maps weak", "weights", weights_scaled),
    ("predict_maps weak", "language", other_words),
    ("predict_maps weak_sliding", "weights", weights_scaled),
    ("evaluate_maps weak", "maps", noise("maps")),
    ("evaluate_maps weak", "masks", inverted("masks")),
]


@pytest.mark.parametrize(
    ("name", "key", "change"), CASES, ids=[f"{name}-{key}" for name, key, _ in CASES]
)
def test_what_a_stage_reads_changes_what_it_writes(
    name: str,
    key: str,
    change: Callable[[Path], None],
    config: Config,
    folder: Path,
    tmp_path: Path,
) -> None:
    step = steps(config)[name]
    listed = step.inputs[key]
    original = folder / (listed if isinstance(listed, str) else listed[0])
    replaced = tmp_path / f"changed{original.suffix}"
    shutil.copy(original, replaced)
    change(replaced)
    step.run(config, folder, {key: replaced}, tmp_path / "out")
    kept = first_output(step, folder, None)
    made = first_output(step, folder, tmp_path / "out")
    assert content(kept) != content(made)


def first_output(step: Step, folder: Path, into: Path | None) -> Path:
    name, path = next(iter(step.outputs.items()))
    return into / f"{name}{Path(path).suffix}" if into else folder / path


def content(path: Path) -> object:
    """What an artifact says, its stamp left out."""
    if path.suffix == ".json":
        return {
            key: value
            for key, value in json.loads(path.read_text(encoding="utf-8")).items()
            if key != "stamp"
        }
    if path.suffix == ".safetensors":
        return {name: array.tobytes() for name, array in load_file(path).items()}
    arrays: dict[str, object] = {}

    def add(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset):  # names are objects: their bytes are places in memory
            values = item[:]
            arrays[name] = values.tolist() if values.dtype.hasobject else values.tobytes()

    with open_arrays(path) as file:
        file.visititems(add)
    return arrays


@pytest.mark.parametrize(
    "name",
    [
        "simulate_defects",
        "compute_residuals real",
        "train_adclick",
        "expand_defects weak",
        "predict_maps weak",
        "train_adclick_seg weak_features",
    ],
)
def test_a_stage_run_again_gives_the_same_bytes(
    name: str, config: Config, folder: Path, tmp_path: Path
) -> None:
    step = steps(config)[name]
    step.run(config, folder, into=tmp_path)
    made = first_output(step, folder, tmp_path)
    assert made.read_bytes() == first_output(step, folder, None).read_bytes()


def test_a_seed_changes_a_training(config: Config, folder: Path, tmp_path: Path) -> None:
    step = steps(config)["train_adclick"]
    other = Step(
        step.stage, step.command, step.wildcards, step.inputs, step.outputs, ["--seed", "1"]
    )
    other.run(config, folder, into=tmp_path)
    assert content(first_output(step, folder, tmp_path)) != content(
        first_output(step, folder, None)
    )


def test_a_frozen_swin_keeps_its_published_weights(
    config: Config, folder: Path, tmp_path: Path
) -> None:
    network = seeded(
        SwinTransformer, 0, img_size=128, window_size=4, embed_dim=8, depths=(1,) * 4,
        num_heads=(1, 1, 2, 2),
    )  # fmt: skip
    swin = tmp_path / "swin.safetensors"
    save_tensors(swin, plain_swin(network.state_dict()), {})
    branch = {"window": 4, "trainable": "language", "weights": str(swin)}
    changed = config.model_copy(
        update={"vision_language": config.vision_language.model_copy(update=branch)}
    )
    step = steps(changed)["pretrain_adclick"]
    step.run(changed, folder, into=tmp_path / "out")
    trained = first_output(step, folder, tmp_path / "out")
    assert read_stamp(trained)["inputs"]["branch"] == [input_digest(swin)]
    given, made = load_file(swin), load_file(trained)
    kept = [name for name in given if f"vision_language.{name}" in made]
    assert any(".blocks." in name for name in kept)
    for name in kept:
        np.testing.assert_array_equal(made[f"vision_language.{name}"], given[name])
    pwam = branch | {"trainable": "pwam"}
    changed = config.model_copy(
        update={"vision_language": config.vision_language.model_copy(update=pwam)}
    )
    with pytest.raises(InputError, match=r"no weights for stages\.0\.fusion.*set vision_language"):
        step.run(changed, folder, into=tmp_path / "other")


def test_a_simulated_image_is_never_matched_with_its_own_origin(
    config: Config, folder: Path
) -> None:
    place = folder / "results/micro/toy/cloth"
    with (
        open_arrays(place / "simulate_defects/images.h5") as images,
        open_arrays(place / "find_neighbours/simulated.h5") as found,
        open_arrays(place / "fit_retrieval/retrieval.h5") as bank,
    ):
        bank_ids, sources = bank["image_ids"][:], images["source_ids"][:]
        for source, neighbours in zip(sources, found["neighbours"][:], strict=True):
            assert source not in bank_ids[neighbours]
            assert len(set(neighbours)) == len(neighbours) == len(bank_ids) - 1


def test_more_normal_patches_to_choose_from_give_shorter_residuals(
    config: Config, folder: Path
) -> None:
    lengths: list[np.ndarray] = []
    for matching in ("patch_to_patch", "location_aware", "image_to_image"):
        place = folder / residuals_file(config, "toy/cloth", matching, "real")
        with open_arrays(place) as file:
            lengths.append(file["lengths"][:])
    for shorter, longer in itertools.pairwise(lengths):
        assert (shorter <= longer * 1.001).all()
        assert (shorter < longer * 0.999).mean() > 0.2


def test_a_chosen_matching_is_the_one_that_was_chosen(
    config: Config, folder: Path, tmp_path: Path
) -> None:
    step = steps(config)["compute_residuals auto real"]
    choice = read_json(folder / str(step.inputs["choice"]))
    assert choice["chosen"] in (config.matchings["auto"].candidates or [])
    everywhere = {**choice, "matching": config.matchings["patch_to_patch"].model_dump()}
    (tmp_path / "choice.json").write_text(json.dumps(everywhere), encoding="utf-8")
    step.run(config, folder, {"choice": tmp_path / "choice.json"}, tmp_path / "out")
    plain = folder / residuals_file(config, "toy/cloth", "patch_to_patch", "real")
    with (
        open_arrays(first_output(step, folder, tmp_path / "out")) as file,
        open_arrays(plain) as other,
    ):
        np.testing.assert_array_equal(file["lengths"][:], other["lengths"][:])


def test_residuals_that_no_network_reads_are_kept_as_lengths_alone(
    config: Config, folder: Path
) -> None:
    read = folder / residuals_file(config, "toy/cloth", "location_aware", "real")
    unread = folder / residuals_file(config, "toy/cloth", "patch_to_patch", "real")
    with open_arrays(read) as file, open_arrays(unread) as other:
        assert "residuals" not in other
        expected = np.linalg.norm(file["residuals"][:].astype(np.float64), axis=3)
        np.testing.assert_allclose(file["lengths"][:], expected, rtol=2e-3)


def test_features_are_kept_where_a_detector_reads_them(config: Config, folder: Path) -> None:
    place = folder / "results/micro/toy/cloth"
    with (
        open_arrays(folder / residuals_file(config, "toy/cloth", "location_aware", "real")) as read,
        open_arrays(
            folder / residuals_file(config, "toy/cloth", "image_to_image", "real")
        ) as other,
        open_arrays(place / "extract_features/features.h5") as bank,
    ):
        assert "patches" not in other
        ids = image_ids(read)
        for row, image_id in enumerate(image_ids(bank)):
            kept = read["patches"][ids.index(image_id)]
            np.testing.assert_allclose(kept, bank["patches"][row], atol=0.01)


def test_a_detector_on_features_says_what_the_map_without_it_reaches(
    config: Config, folder: Path
) -> None:
    step = steps(config)["train_adclick_seg weak_features"]
    assert not {"languages", "branch"} & step.inputs.keys()
    record = json.loads((folder / step.outputs["record"]).read_text())
    assert [score["amount"] for score in record["held_out"]] == config.feature_training.amounts
    assert record["amount"] in config.feature_training.amounts
    assert all(0 <= score["pixel_ap"] <= 1 for score in record["held_out"])
    assert len(record["losses"]) == config.feature_training.steps
    assert len(record["network_losses"]) == config.feature_training.folds


def test_with_nothing_added_pixels_rank_as_on_the_training_free_map(
    config: Config, folder: Path, tmp_path: Path
) -> None:
    step = steps(config)["predict_maps weak_features"]
    weights = folder / str(step.inputs["weights"])
    none = replace(load_detector(weights, device=torch.device("cpu")), amount=0.0)
    written = read_metadata(weights)
    sizes = {
        name: size
        for name, size in written.sizes.items()
        if name not in ("folds", "patch_channels")
    }
    extra = {"settings": written.extra["settings"]}
    save_detector(tmp_path / "none.safetensors", none, sizes=sizes, extra=extra)
    step.run(config, folder, {"weights": tmp_path / "none.safetensors"}, tmp_path)
    free = first_output(steps(config)["predict_maps training_free"], folder, None)
    with open_arrays(first_output(step, folder, tmp_path)) as ours, open_arrays(free) as base:
        assert image_ids(ours) == image_ids(base)
        order = np.argsort(base["maps"][:], axis=None)
        assert (np.diff(ours["maps"][:].ravel()[order]) >= 0).all()
        assert len(np.unique(ours["maps"][:])) > 0.9 * len(np.unique(base["maps"][:]))


def test_only_images_of_the_bank_make_the_mean_square_of_normal_ones(folder: Path) -> None:
    cloth = folder / "results/micro/toy/cloth/compute_residuals/location_aware"
    with open_arrays(cloth / "simulated.h5") as simulated:
        assert not simulated["normal_mean_square"][:].any()
    with open_arrays(cloth / "real.h5") as real:
        assert real["normal_mean_square"][:].all()


def test_an_image_to_image_residual_is_the_most_alike_image_minus_the_image(
    config: Config, folder: Path
) -> None:
    place = folder / "results/micro/toy/cloth"
    with (
        open_arrays(place / "compute_residuals/image_to_image/real.h5") as file,
        open_arrays(place / "find_neighbours/real.h5") as found,
        open_arrays(place / "extract_features/features.h5") as bank,
    ):
        ids = image_ids(file)
        patches = bank["patches"][:].astype(np.float32)
        for row, image_id in enumerate(image_ids(bank)):
            own = ids.index(image_id)
            expected = patches[found["neighbours"][own, 0]] - patches[row]
            np.testing.assert_allclose(file["residuals"][own], expected, atol=0.02)


def test_boxes_are_filled_and_a_few_labels_are_of_many_types(config: Config, folder: Path) -> None:
    place = folder / "results/micro/toy/cloth"
    with (
        open_arrays(place / "label_defects/full/seed0/labels.h5") as full,
        open_arrays(place / "label_defects/box/seed0/labels.h5") as box,
    ):
        for truth, drawn in zip(full["probabilities"][:], box["probabilities"][:], strict=True):
            np.testing.assert_array_equal(drawn > 0.5, boxes(truth > 0.5))
    with (
        open_arrays(place / "label_defects/weak_location_aware/seed0/labels.h5") as every,
        open_arrays(place / "label_defects/weak_location_aware_1images/seed0/labels.h5") as few,
    ):
        assert image_ids(few) == image_ids(every)[:1]
        np.testing.assert_array_equal(few["probabilities"][0], every["probabilities"][0])


def test_a_person_who_paints_the_truth_gives_the_labels_of_the_truth(
    config: Config, folder: Path, tmp_path: Path
) -> None:
    place = folder / "results/micro/toy/cloth"
    with open_arrays(place / "label_defects/full/seed0/labels.h5") as full:
        for image_id, truth in zip(image_ids(full), full["probabilities"][:], strict=True):
            row, column = np.argwhere(truth > 0.5)[0].tolist()
            clicks = [{"row": row, "column": column, "positive": True}]
            facts = {"state": "done", "objects": [{"clicks": clicks}]}
            save_label(tmp_path / "desk", image_id, facts, truth > 0.5)
        wildcards = {"dataset": "toy", "category": "cloth"}
        manifest = str(place / "make_manifest/manifest.csv")
        outputs = {"labels": "labels.h5"}
        flags = ["--folder", str(tmp_path / "desk")]
        collect = Step(
            "collect_labels", "collect_labels", wildcards, {"manifest": manifest}, outputs, flags
        )
        collect.run(config, tmp_path)
        with open_arrays(tmp_path / "labels.h5") as human:
            assert image_ids(human) == image_ids(full)
            np.testing.assert_array_equal(human["probabilities"][:], full["probabilities"][:])
    expand = steps(config)["expand_defects full"]
    expand.run(config, folder, {"labels": tmp_path / "labels.h5"}, tmp_path / "out")
    made = first_output(expand, folder, tmp_path / "out")
    with open_arrays(made) as drawn, open_arrays(first_output(expand, folder, None)) as expected:
        assert image_ids(drawn) == image_ids(expected)
        assert (drawn["labels"][:] >= 0.5).any(axis=(1, 2)).all()


def test_lifelike_expansion_keeps_to_the_object_and_to_the_labels_sizes(
    config: Config, folder: Path, tmp_path: Path
) -> None:
    pasting = config.expansion.model_copy(update={"pasting": "lifelike", "copies": 6})
    kinds = {"streaks": 0.0, "blobs": 0.0, "soft_regions": 0.0, "pits": 1.0}
    simulation = config.simulation.model_copy(update=kinds)
    asked = config.model_copy(update={"expansion": pasting, "simulation": simulation})
    step = steps(asked)["expand_defects full"]
    left, small = tmp_path / "left.h5", tmp_path / "small.h5"
    shutil.copy(folder / str(step.inputs["residuals"]), left)
    shutil.copy(folder / str(step.inputs["labels"]), small)
    with h5py.File(left, "r+") as file:
        file["foreground"][:, :, file["foreground"].shape[2] // 2 :] = 0
    with h5py.File(small, "r+") as file:
        file["probabilities"][:] = 0
        file["probabilities"][:, 20:24, 20:24] = 1
        file["clicks"][:] = -1
    step.run(asked, folder, {"residuals": left, "labels": small}, tmp_path / "out")
    with open_arrays(first_output(step, folder, tmp_path / "out")) as file:
        found, sources, ids = file["labels"][:] > 0.5, file["source_ids"][:], image_ids(file)
    added = found.copy()
    added[:, 20:24, 20:24] = False
    assert not added[:, :, found.shape[2] // 2 + 8 :].any()
    assert added.sum(axis=(1, 2)).max() < 16 * 12
    own = [
        f"expanded/{source.decode()}/" in name for source, name in zip(sources, ids, strict=True)
    ]
    assert 0 < sum(own) < len(own)


def test_a_few_of_the_labelled_are_types_in_turn() -> None:
    rows = [(row, f"{kind}{row}", kind) for row, kind in enumerate("aaabbc")]
    found = label_defects.spread(rows, 4, Path("manifest.csv"))
    assert [row for row, _, _ in found] == [0, 1, 3, 5]
    with pytest.raises(InputError, match=r"labelled_images: 7 asked for, and manifest\.csv has 6"):
        label_defects.spread(rows, 7, Path("manifest.csv"))


def test_windows_change_a_map_and_one_for_all_does_not(
    config: Config, folder: Path, tmp_path: Path
) -> None:
    plain = first_output(steps(config)["predict_maps weak"], folder, None)
    slid = first_output(steps(config)["predict_maps weak_sliding"], folder, None)
    assert content(slid) != content(plain)
    whole = config.model_copy(update={"sliding": Sliding(window=1.0, step=1.0)})
    step = steps(whole)["predict_maps weak_sliding"]
    step.run(whole, folder, into=tmp_path)
    assert content(first_output(step, folder, tmp_path)) == content(plain)


def test_the_detector_trains_after_the_truth_is_gone(
    config: Config, folder: Path, tmp_path: Path
) -> None:
    step = steps(config)["train_adclick_seg weak"]
    truth = folder / "results/micro/toy/cloth/make_manifest/masks.h5"
    hidden = tmp_path / "masks.h5"
    truth.rename(hidden)
    try:
        train_adclick_seg.main(step.argv(config, folder, into=tmp_path / "out"))
    finally:
        hidden.rename(truth)
    assert content(tmp_path / "out/weights.safetensors") == content(
        first_output(step, folder, None)
    )


def test_a_shortcut_for_unsupervised_detectors_is_in_no_other(
    config: Config, folder: Path, tmp_path: Path
) -> None:
    def has_shortcut(name: str, shortcut: str) -> bool:
        own = config.adclick_seg_network.model_copy(update={"shortcut": shortcut})
        asked = config.model_copy(update={"adclick_seg_network": own})
        step, into = steps(asked)[name], tmp_path / f"{name}_{shortcut}"
        step.run(asked, folder, into=into)
        return "shortcut.projection.weight" in load_file(first_output(step, folder, into))

    assert has_shortcut("train_adclick_seg unsupervised", "unsupervised")
    assert not has_shortcut("train_adclick_seg weak", "unsupervised")
    assert not has_shortcut("pretrain_adclick_seg", "unsupervised")
    assert has_shortcut("pretrain_adclick_seg", "all")


def test_the_masks_of_a_refined_network_keep_every_click(config: Config, folder: Path) -> None:
    def kept(method: str) -> bool:
        step = steps(config)[f"simulate_clicks {method}"]
        with open_arrays(first_output(step, folder, None)) as file:
            clicks, masks = file["clicks"][:], np.unpackbits(file["masks"][:], axis=-1)
        assert (clicks[:, :, 0] >= 0).all()
        return all(
            masks[image, draw, count, row, column] == positive
            for image, draw, count in np.ndindex(clicks.shape[:3])
            for row, column, positive in clicks[image, draw, : count + 1]
            if row >= 0
        )

    assert kept("finetuned_lang")
    assert not kept("finetuned_lang_plain")


def test_labels_keep_every_click(config: Config, folder: Path) -> None:
    with open_arrays(first_output(steps(config)["label_defects weak"], folder, None)) as file:
        clicks, answers = file["clicks"][:], file["probabilities"][:]
    for image, (row, column, positive) in ((i, one) for i, own in enumerate(clicks) for one in own):
        assert row < 0 or answers[image, row, column] == positive


def test_a_robot_user_of_several_draws_is_scored_a_draw_each(config: Config, folder: Path) -> None:
    def read(name: str) -> tuple[np.ndarray, dict[str, Any]]:
        maps = first_output(steps(config)[f"simulate_clicks random_walker {name}"], folder, None)
        step = steps(config)[f"evaluate_clicks random_walker {name}"]
        with open_arrays(maps) as file:
            return file["clicks"][:], json.loads(first_output(step, folder, None).read_text())

    clicks, scores = read("jittered")
    assert clicks.shape[1] == len(scores["draws"]) == 2
    assert not np.array_equal(clicks[:, 0], clicks[:, 1])
    per_draw = [draw["5"]["miou"] for draw in scores["draws"]]
    assert scores["counts"]["5"]["miou"] == pytest.approx(np.mean(per_draw))
    assert scores["worst"]["5"] <= min(per_draw)
    assert scores["noc_cap"] == 5
    once, protocol = read("deepest")
    assert once.shape[1] == len(protocol["draws"]) == 1
    assert protocol["robot"] == "deepest"
    assert protocol["worst"]["5"] == pytest.approx(protocol["counts"]["5"]["miou"])


@pytest.mark.parametrize("name", ["train_adclick", "train_adclick_seg weak_features"])
def test_a_training_is_not_repeated_for_new_pictures_of_the_test(
    config: Config, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    step, out = steps(config)[name], tmp_path / "out"
    step.run(config, folder, into=out)
    weights = (out / "weights.safetensors").read_bytes()
    manifest = folder / step.inputs["manifests"][0]
    copied = shutil.copy(manifest, tmp_path)
    stamp = json.loads(manifest.with_name("manifest.csv.stamp.json").read_text())
    for training in ("train_adclick.fit_network", "train_adclick_seg.fit_detector"):
        monkeypatch.setattr(f"adclick.commands.{training}", None)

    def again(**changes: Any) -> None:
        (tmp_path / "manifest.csv.stamp.json").write_text(json.dumps(stamp | changes))
        for path in out.glob("[!.]*"):  # as Snakemake does
            path.unlink()
        step.run(config, folder, {"manifests": Path(copied)}, into=out)

    again(inputs={"data": "with a picture more to test on"})
    assert (out / "weights.safetensors").read_bytes() == weights
    with pytest.raises(TypeError, match="'NoneType' object is not callable"):
        again(training="with a picture more to train on")


def test_other_textures_in_the_same_folder_are_another_result(
    config: Config, folder: Path, tmp_path: Path
) -> None:
    given = config.simulation.model_copy(update={"texture_folder": str(tmp_path / "textures")})
    asked = config.model_copy(update={"simulation": given})
    step = steps(asked)["simulate_defects"]

    def digest_of(colour: int) -> str:
        write_png(tmp_path / "textures/a.png", np.full((8, 8, 3), colour, np.uint8))
        step.run(asked, folder, into=tmp_path / "out")
        return input_digest(first_output(step, folder, tmp_path / "out"))

    assert digest_of(10) == digest_of(10)
    assert digest_of(10) != digest_of(200)
