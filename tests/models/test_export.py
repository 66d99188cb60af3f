"""A model folder answers about a picture as the workflow did, wherever it lies."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from adclick.annotate.worker import Server
from adclick.clicks.click import Click
from adclick.commands import predict_maps
from adclick.data.images import resize_image
from adclick.models.detecting import open_feature_detector
from adclick.models.export import describe_folder, export_model, is_current, picture_use
from adclick.models.folder import OpenedModel, detect, encode, open_model, open_session
from adclick.models.opening import open_network
from adclick.models.run_sources import trained_variants
from adclick.networks.checkpoints import read_metadata
from adclick.networks.trained_detector import TrainedDetector, save_detector
from adclick.residuals.backbone import load_backbone
from adclick.residuals.bank_rows import BankRows
from adclick.residuals.maps import exceeded_by
from adclick.run.artifacts import (
    ArraySpec,
    create_arrays,
    image_ids,
    open_arrays,
    read_csv,
    set_text,
)
from adclick.run.device import compute_device
from adclick.run.errors import InputError
from adclick.run.settings.data import EARLIER_USE, PictureUse
from adclick.run.settings.residuals import Detection
from tests.chain import micro_config
from tests.typed import type_command

VARIANTS = {"adclick": "finetuned_lang", "adclick_seg": "weak"}
CLICKS = [Click(20, 30, True), Click(50, 8, False)]
CATEGORY = "results/micro/toy/cloth"
ZOOM, EDGES = micro_config().clicks.zoom, micro_config().clicks.edges
# The workflow extracts features of several pictures at once, a folder of one: rounding differs.
HALF = 2e-3


@pytest.fixture
def run(finished_run: Path) -> Path:
    return finished_run


@pytest.fixture(scope="module")
def folders(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model folder of each kind, moved from where it was written."""
    target = tmp_path_factory.mktemp("models")
    for kind, variant in VARIANTS.items():
        export_model(finished_run / CATEGORY, variant, seed=0, output=target / "made" / kind)
    (target / "made").rename(target / "moved")
    return {kind: target / "moved" / kind for kind in VARIANTS}


def pictures(run: Path) -> dict[str, np.ndarray]:
    with open_arrays(run / CATEGORY / "make_manifest/images.h5") as file:
        return dict(zip(image_ids(file), file["images"][:], strict=True))


def arrays(path: Path, name: str) -> dict[str, np.ndarray]:
    with open_arrays(path) as file:
        return dict(zip(image_ids(file), file[name][:], strict=True))


def test_a_folder_sees_the_residuals_and_neighbours_of_the_workflow(run, folders) -> None:
    model = open_model(folders["adclick"])
    found = arrays(run / CATEGORY / "compute_residuals/location_aware/real.h5", "residuals")
    nearest = arrays(run / CATEGORY / "find_neighbours/real.h5", "neighbours")
    tests = [name for name in found if name.startswith("test/")]
    assert len(tests) == 8
    for name in tests:
        encoding = encode(model, pictures(run)[name])
        np.testing.assert_allclose(encoding.residual, found[name], atol=HALF)
        assert encoding.neighbour_id == model.bank_ids[nearest[name][0]]
        np.testing.assert_array_equal(encoding.neighbour, pictures(run)[encoding.neighbour_id])


@pytest.mark.parametrize("kind", VARIANTS)
def test_clicks_are_answered_as_in_the_workflow(kind: str, run: Path, folders) -> None:
    category = run / CATEGORY
    weights = category / f"train_{kind}/{VARIANTS[kind]}/seed0/weights.safetensors"
    manifest = read_csv(category / "make_manifest/manifest.csv")
    model = open_model(folders[kind])
    for estimate in ("levels", "line_levels"):
        assert (getattr(model.network, estimate, None) is not None) == (kind == "adclick")
    with (
        compute_device() as device,
        open_network(
            weights,
            images=category / "make_manifest/images.h5",
            residuals=category / "compute_residuals/location_aware/real.h5",
            language=category.parent / "encode_prompts/language.h5",
            category="cloth",
            radius_px=2.0,
            device=device,
        ) as opened,
    ):
        for row, (name, defect) in enumerate(
            zip(manifest["image_id"], manifest["defect_type"], strict=True)
        ):
            if not name.startswith("test/") or defect == "good":
                continue
            expected = opened.answers(row, [defect], zoom=ZOOM, edges=EDGES, threshold=0.49)
            answer = open_session(model, encode(model, pictures(run)[name]), defect)
            first = answer.predict(CLICKS[:1])
            np.testing.assert_allclose(first, expected(CLICKS[:1], None), atol=1e-3)
            np.testing.assert_allclose(
                answer.predict(CLICKS, first), expected(CLICKS, first), atol=1e-3
            )
            assert first[20, 30] == 1


def test_a_detectors_maps_are_those_of_the_workflow(run: Path, folders) -> None:
    model = open_model(folders["adclick_seg"])
    maps = arrays(run / CATEGORY / "predict_maps/weak/seed0/maps.h5", "maps")
    for name, expected in maps.items():
        encoding = encode(model, pictures(run)[name])
        assert encoding.probability is not None
        np.testing.assert_allclose(encoding.probability, expected, atol=1e-3)
        assert encoding.score == encoding.probability.max()


def test_maps_of_sliding_windows_too(run: Path, tmp_path: Path) -> None:
    export_model(run / CATEGORY, "weak_sliding", seed=0, output=tmp_path / "model")
    model = open_model(tmp_path / "model")
    whole, slid = (
        arrays(run / CATEGORY / f"predict_maps/{name}/seed0/maps.h5", "maps")
        for name in ("weak", "weak_sliding")
    )
    for name, picture in pictures(run).items():
        if name in slid:
            found = encode(model, picture).probability
            np.testing.assert_allclose(found, slid[name], atol=1e-3)
            assert np.abs(slid[name] - whole[name]).max() > 2e-3


@pytest.fixture(scope="module")
def adding(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model folder of a detector on features."""
    target = tmp_path_factory.mktemp("models") / "adding"
    export_model(finished_run / CATEGORY, "weak_features", seed=0, output=target)
    return target


def test_a_detector_on_features_answers_as_the_workflow_did(run: Path, adding: Path) -> None:
    model = open_model(adding)
    maps = arrays(run / CATEGORY / "predict_maps/weak_features/seed0/maps.h5", "maps")
    for name, expected in maps.items():
        np.testing.assert_allclose(detect(model, pictures(run)[name]), expected, atol=2e-3)


def test_also_where_it_adds_much(run: Path, adding: Path, tmp_path: Path) -> None:
    model = open_model(adding)
    assert isinstance(model.network, TrainedDetector)
    for detector in model.network.network.detectors:
        drawn = torch.Generator().manual_seed(0)
        torch.nn.init.normal_(detector.logit.weight, std=8.0, generator=drawn)
        torch.nn.init.constant_(detector.logit.bias, 3.0)
    awake = replace(model.network, amount=1.0)
    written = read_metadata(adding / "weights.safetensors")
    built = {
        key: size for key, size in written.sizes.items() if key not in ("folds", "patch_channels")
    }
    extra = {"settings": written.extra["settings"]}
    save_detector(tmp_path / "awake.safetensors", awake, sizes=built, extra=extra)
    category, names = run / CATEGORY, list(pictures(run))
    plain = arrays(category / "predict_maps/weak_features/seed0/maps.h5", "maps")
    with open_feature_detector(
        tmp_path / "awake.safetensors",
        images=category / "make_manifest/images.h5",
        residuals=category / "compute_residuals/location_aware/real.h5",
        detection=Detection(smoothing_px=2, foreground_exponent=1),
    ) as map_of:
        for name in plain:
            expected = map_of(names.index(name))
            found = detect(replace(model, network=awake), pictures(run)[name])
            np.testing.assert_allclose(found, expected, atol=5e-3)
            assert np.abs(expected - plain[name]).max() > 0.05


def test_a_detector_on_features_takes_no_clicks_and_says_what_it_adds(
    run: Path, adding: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    with pytest.raises(InputError, match="takes no clicks"):
        encode(open_model(adding), pictures(run)["test/hole/000"])
    with pytest.raises(InputError, match="takes no clicks"):
        Server(adding)
    said = describe_folder(adding)
    assert "ADClick-Seg on features weak_features, toy/cloth" in said
    assert " normal images, 64 x 64 px, " in said
    assert "training-free map alone, AP " in said
    assert said.splitlines()[-1].startswith("threshold ")
    for name in ("test/hole/000", "test/good/000"):
        cv2.imwrite(str(tmp_path / f"{name.replace('/', '_')}.png"), pictures(run)[name])
    argv = ["predict", "--model", str(adding), "--images", str(tmp_path)]
    typed = type_command([*argv, "--output", str(tmp_path / "found")], monkeypatch, capsys)
    assert typed.code == 0, typed.err
    assert "2 images" in typed.out


def test_a_folder_keeps_the_matching_that_was_chosen(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    place = tmp_path / "run" / CATEGORY
    choice = place / "choose_matching/auto/choice.json"
    chosen = json.loads(choice.read_text(encoding="utf-8"))
    export_model(place, "unsupervised_auto", seed=0, output=tmp_path / "model")
    shutil.rmtree(choice.parent)
    model = open_model(tmp_path / "model")
    assert model.description.comparison.radius == chosen["matching"]["radius"]
    assert model.description.made_from["chosen"] == chosen["chosen"]
    assert f"matching auto: {chosen['chosen']} was chosen" in describe_folder(tmp_path / "model")
    maps = arrays(place / "predict_maps/unsupervised_auto/seed0/maps.h5", "maps")
    for name, expected in list(maps.items())[:2]:
        np.testing.assert_allclose(detect(model, pictures(run)[name]), expected, atol=5e-3)
    choice.parent.mkdir()
    del chosen["checksum"]
    choice.write_text(json.dumps({**chosen, "stamp": {"of": "another run"}}), encoding="utf-8")
    with pytest.raises(InputError, match=r"made of another choice\.json"):
        export_model(place, "unsupervised_auto", seed=0, output=tmp_path / "again")


def test_the_tool_starts_from_a_detector_at_its_own_threshold(folders: dict[str, Path]) -> None:
    described = open_model(folders["adclick_seg"]).description
    assert described.detection is not None
    facts = Server(folders["adclick_seg"]).facts()
    assert facts.start_threshold == described.detection.threshold != facts.threshold
    clicked = Server(folders["adclick"]).facts()
    assert clicked.start_threshold == clicked.threshold


@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_a_threshold_is_exceeded_by_the_share_of_pixels(scale: float) -> None:
    maps = (np.random.default_rng(0).permutation(4000) * scale).astype(np.float32)
    threshold = exceeded_by(0.01, iter(maps.reshape(4, 25, 40)), pixels=4000)
    assert (maps > threshold).sum() == 40
    assert exceeded_by(1.0, iter(maps.reshape(4, 25, 40)), pixels=4000) == maps.min()


@pytest.mark.parametrize("variant", ["weak", "weak_sliding"])
def test_one_normal_pixel_in_a_thousand_lies_above_the_threshold(
    variant: str, run: Path, tmp_path: Path
) -> None:
    """Each normal training image is compared with the others, not with itself."""
    export_model(run / CATEGORY, variant, seed=0, output=tmp_path / "model")
    model = open_model(tmp_path / "model")
    assert model.description.detection is not None
    found = {name: detect(without(model, name), pictures(run)[name]) for name in model.bank_ids}
    assert len(found) == 4
    expected = np.quantile(np.stack(list(found.values())), 0.999)
    assert model.description.detection.threshold == pytest.approx(expected, abs=1e-3)
    with_itself = [detect(model, pictures(run)[name]) for name in found]
    assert np.quantile(np.stack(with_itself), 0.999) < expected - 5e-3


def test_held_out_pictures_are_those_that_nothing_was_trained_on(
    folders: dict[str, Path], run: Path
) -> None:
    described = open_model(folders["adclick_seg"]).description
    assert described.detection is not None
    held_out = described.detection.held_out
    assert held_out is not None
    assert held_out.pictures == "test"
    maps = arrays(run / CATEGORY / "predict_maps/weak/seed0/maps.h5", "maps")
    tested = [maps[name].max() for name in maps if name.startswith("test/good")]
    assert held_out.scores == pytest.approx(sorted(tested), rel=1e-5)


def test_those_of_the_validation_split_go_before_those_of_the_test(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.csv"
    lines = ["image_id,defect_type,role", "a,good,train_normal", "b,good,test_normal"]
    manifest.write_text("\n".join([*lines, "c,good,spare_normal", "d,good,spare_normal"]))
    scores = {1: 0.1, 2: 0.9, 3: 0.5}
    found = predict_maps._held_out(manifest, scores)
    assert found == {"pictures": "validation", "scores": [0.5, 0.9]}
    manifest.write_text("\n".join(lines))
    assert predict_maps._held_out(manifest, scores) == {"pictures": "test", "scores": [0.1]}
    manifest.write_text("\n".join(lines[:2]))
    assert predict_maps._held_out(manifest, {}) is None


class SomeRows(BankRows):
    """Some rows of a bank."""

    def __init__(self, whole: BankRows, kept: list[int]) -> None:
        self.whole, self.kept = whole, kept
        self.shape, self.dtype = (len(kept), *whole.shape[1:]), whole.dtype

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, row: int) -> Tensor:
        return self.whole[self.kept[row]]

    def lines(self, row: int, first: int, last: int) -> np.ndarray:
        return self.whole.lines(self.kept[row], first, last)


def without(model: OpenedModel, image_id: str) -> OpenedModel:
    """The model with a bank that lacks a normal image."""
    kept = [row for row, name in enumerate(model.bank_ids) if name != image_id]
    arrays = {name: model.bank[name][:] for name in model.bank}
    for name in ("patches", "images", "histograms", "foreground"):
        arrays[name] = arrays[name][kept]
    ids = tuple(model.bank_ids[row] for row in kept)
    return replace(model, bank=arrays, patches=SomeRows(model.patches, kept), bank_ids=ids)


def test_a_type_changes_the_answer_and_no_type_is_the_average_of_all(run, folders) -> None:
    model = open_model(folders["adclick"])
    assert model.types == ("hole", "loose_thread", "stain")
    assert model.words is not None
    encoding = encode(model, pictures(run)["test/hole/000"])
    answers = [open_session(model, encoding, kind).predict(CLICKS) for kind in (None, *model.types)]
    for index, answer in enumerate(answers):
        assert all((answer != other).any() for other in answers[index + 1 :])
    filled = model.words.masks.sum(0)
    expected = (model.words.texts * model.words.masks[:, None]).sum(0) / np.maximum(1, filled)
    np.testing.assert_allclose(model.words.any_text, expected, atol=1e-6)
    with pytest.raises(InputError, match=r"'crack'.*hole, loose_thread, stain"):
        open_session(model, encoding, "crack")


@pytest.mark.parametrize("kind", VARIANTS)
def test_the_tools_worker_keeps_every_click(kind: str, run: Path, folders, tmp_path: Path) -> None:
    server = Server(folders[kind])
    generator = np.random.default_rng(0)
    for name in ("test/hole/000", "test/stain/000"):
        picture = tmp_path / "picture.png"
        cv2.imwrite(str(picture), pictures(run)[name][..., ::-1])
        encoding = server.encode(picture)
        clicks: list[Click] = []
        previous = None
        for row, column in generator.integers(0, 64, (6, 2)).tolist():
            clicks.append(Click(row, column, bool(generator.integers(2))))
            previous = server.predict(name, None, clicks, previous, encoding)
            assert previous is not None
            given = [previous[click.row, click.column] for click in clicks]
            assert given == [click.positive for click in clicks]


def test_a_folder_of_an_earlier_version_answers_as_its_network_does(
    run: Path, folders, tmp_path: Path
) -> None:
    shutil.copytree(folders["adclick"], tmp_path / "model")
    said = json.loads((tmp_path / "model/model.json").read_text())
    del said["clicks"]["edges"], said["clicks"]["zoom"], said["pictures"]
    (tmp_path / "model/model.json").write_text(json.dumps(said))
    model = open_model(tmp_path / "model")
    assert (model.description.clicks.zoom, model.description.clicks.edges) == (None, None)
    session = open_session(model, encode(model, pictures(run)["test/hole/000"]), None)
    whole = open_session(
        open_model(folders["adclick"]), encode(model, pictures(run)["test/hole/000"]), None
    )
    assert np.abs(session.predict(CLICKS) - whole.predict(CLICKS)).max() > 1e-3


@pytest.mark.parametrize("defect_type", [None, "hole"])
def test_a_folder_computes_in_the_precision_of_its_run(
    defect_type: str | None, run: Path, folders, monkeypatch
) -> None:
    picture = pictures(run)["test/hole/000"]

    def answer() -> np.ndarray:
        model = open_model(folders["adclick"], device="cpu")
        assert model.description.backbone.precision == model.precision == "bfloat16"
        return open_session(model, encode(model, picture), defect_type).predict(CLICKS)

    whole = answer()
    for module in ("run.device", "models.folder"):  # as on a GPU
        monkeypatch.setattr(f"adclick.{module}.is_reduced", lambda _, asked: asked != "float32")
    opened = open_model(folders["adclick"], device="cpu")
    assert opened.backbone.halved
    half = answer()
    assert 0 < np.abs(half - whole).max() < 0.2
    without = replace(opened, precision="float32")
    encoding = encode(without, picture)
    again = open_session(without, encoding, defect_type).predict(CLICKS)
    assert not np.array_equal(again, half)


def test_a_picture_of_any_size_is_resized_as_the_manifest_does(run, folders) -> None:
    model = open_model(folders["adclick"])
    picture = pictures(run)["test/stain/000"]
    large = cv2.resize(picture, (200, 130), interpolation=cv2.INTER_CUBIC)
    same = encode(model, cv2.resize(large, (64, 64), interpolation=cv2.INTER_LINEAR))
    assert np.array_equal(encode(model, large).residual, same.residual)
    assert encode(model, large).residual_map.shape == (64, 64)


def test_a_folder_shrinks_pictures_as_its_run_did(run, folders, tmp_path: Path) -> None:
    shutil.copytree(folders["adclick"], tmp_path / "model")
    said = json.loads((tmp_path / "model/model.json").read_text())
    assert said["pictures"] == {"bits": None, "resize": "published"}
    said["pictures"] = {"bits": 12, "resize": "area"}
    (tmp_path / "model/model.json").write_text(json.dumps(said))
    picture = np.kron(pictures(run)["test/stain/000"], np.ones((4, 4, 1), np.uint8))
    picture[::4] = 0
    server = Server(tmp_path / "model")
    assert server.facts().bits == 12
    assert np.array_equal(
        encode(server.model, picture).image, resize_image(picture, (64, 64), "area")
    )
    deep = (picture[:, :, 0].astype(np.int32) * 4095 + 127) // 255
    Image.fromarray(deep.astype(np.uint16)).save(tmp_path / "deep.png")
    grey = np.repeat(picture[:, :, :1], 3, axis=2)
    assert np.array_equal(
        server.encode(tmp_path / "deep.png").image, resize_image(grey, (64, 64), "area")
    )


def test_the_residual_map_is_for_showing(run: Path, folders) -> None:
    model = open_model(folders["adclick"])
    shown = {
        name: encode(model, picture)
        for name, picture in pictures(run).items()
        if name.startswith("test/")
    }
    assert all(one.residual_map.min() >= 0 for one in shown.values())
    assert all(one.residual_map.max() <= 1 for one in shown.values())
    good = [one.score for name, one in shown.items() if "/good/" in name]
    holes = [one.score for name, one in shown.items() if "/hole/" in name]
    assert max(good) < min(holes)


def test_the_description_says_what_the_model_is(folders: dict[str, Path]) -> None:
    said = json.loads((folders["adclick_seg"] / "model.json").read_text())
    assert said["kind"] == "adclick_seg"
    assert said["title"] == (
        "ADClick-Seg weak, toy/cloth (run micro, seed 0; backbone and text encoder untrained)"
    )
    assert said["comparison"]["neighbours"] == 3
    assert 0 < said["detection"].pop("threshold") < 1
    assert said["detection"].pop("held_out")["pictures"] == "test"
    assert said["detection"] == {
        "sliding": None,
        "smoothing_px": 2.0,
        "foreground_exponent": 1.0,
    }
    assert EDGES is not None and ZOOM is not None
    refined = {"zoom": ZOOM.model_dump(), "edges": EDGES.model_dump()}
    assert said["clicks"] == {"radius_px": 2, "threshold": 0.49, **refined}
    assert said["normal_images"] == 4
    assert said["backbone"]["origin"] == "seeded"
    assert set(said["files"]) == {"bank.h5", "weights.safetensors", "words.h5"}


def test_equal_runs_give_equal_folders(run: Path, folders, tmp_path: Path) -> None:
    export_model(run / CATEGORY, "weak", seed=0, output=tmp_path / "again")
    for path in folders["adclick_seg"].iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
    assert is_current(tmp_path / "again", run / CATEGORY, "weak", seed=0)
    assert not is_current(tmp_path / "again", run / CATEGORY, "full", seed=0)
    assert not is_current(tmp_path / "none", run / CATEGORY, "weak", seed=0)


def test_a_pretrained_variant_is_found_by_what_was_clicked_with(run: Path, tmp_path: Path) -> None:
    assert trained_variants(run / CATEGORY)["pretrained_lang"] == [0]
    export_model(run / CATEGORY, "pretrained_lang", seed=0, output=tmp_path / "model")
    weights = next(run.glob(f"{CATEGORY}/pretrain_adclick/*/language/seed0/weights.safetensors"))
    assert (tmp_path / "model/weights.safetensors").read_bytes() == weights.read_bytes()


def test_a_backbone_from_a_file_is_part_of_the_folder(run, folders, tmp_path: Path) -> None:
    """The seeded backbone's own weights, as a file: answers stay the same."""
    seeded = open_model(folders["adclick"])
    folder = tmp_path / "model"
    shutil.copytree(folders["adclick"], folder)
    network = unfolded_backbone()
    save_file(network, folder / "backbone.safetensors")
    said = json.loads((folder / "model.json").read_text())
    said["backbone"]["origin"] = "file"
    (folder / "model.json").write_text(json.dumps(said))
    picture = pictures(run)["test/hole/000"]
    expected = encode(seeded, picture).residual
    found = encode(open_model(folder), picture).residual
    np.testing.assert_allclose(found, expected, atol=HALF)


def unfolded_backbone() -> dict[str, Any]:
    """The weights that `load_backbone` draws, before batch norms are folded."""
    kept: list[dict[str, Any]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "adclick.residuals.backbone.fold_batch_norms",
            lambda maps, sample: kept.append(maps.network.state_dict()) or maps,
        )
        load_backbone("resnet18", layers=(1, 2), source="seeded", seed=0)
    return {name: value.clone() for name, value in kept[0].items()}


def drop(name: str) -> Any:
    return lambda folder: (folder / name).unlink()


def flip_weights(folder: Path) -> None:
    content = bytearray((folder / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "weights.safetensors").write_bytes(content)


def change_format(folder: Path) -> None:
    said = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(said | {"format": 1}))


def change_key(folder: Path) -> None:
    said = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(said | {"size_px": "big"}))


def other_bank(folder: Path) -> None:
    with h5py.File(folder / "bank.h5", "r+") as file:
        del file.attrs["checksum"]
        file.attrs["stamp"] = "{}"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (drop("model.json"), "no model folder"),
        (drop("bank.h5"), "bank.h5 is missing"),
        (drop("words.h5"), "words.h5 is missing"),
        (flip_weights, "weights.safetensors: not as it was exported"),
        (change_format, "format 1, this version reads 2"),
        (change_key, "size_px = 'big'"),
        (other_bank, "another export"),
    ],
)
def test_a_damaged_folder_is_refused(damage, words: str, folders, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(folders["adclick"], folder)
    damage(folder)
    with pytest.raises(InputError, match=words):
        open_model(folder)


def test_typed_it_says_what_it_made(run: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    target = tmp_path / "models/cloth"
    argv = ["export-model", str(run / CATEGORY), "finetuned_lang", "--output", str(target)]
    said = type_command(argv, monkeypatch, capsys)
    assert said.code == 0
    assert "ADClick finetuned_lang" in said.out
    assert "hole, loose_thread, stain" in said.out
    again = type_command(argv, monkeypatch, capsys)
    assert again.code == 2
    assert "is there already" in again.err


@pytest.mark.parametrize(
    ("category", "variant", "words"),
    [
        (CATEGORY, "strong", r"strong, seed 0; there are .*finetuned_lang \(seed 0\)"),
        ("results/micro/toy/nothing", "weak", "no such folder"),
        ("results/micro/toy/washer", "weak", "run the workflow first"),
    ],
)
def test_what_was_not_trained_is_refused(
    category: str, variant: str, words: str, run: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=words):
        export_model(run / category, variant, seed=0, output=tmp_path / "model")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ("compute_residuals/location_aware/real.h5", "other residuals"),
        ("extract_features/features.h5", "another features.h5"),
        ("fit_retrieval/retrieval.h5", "another retrieval.h5"),
        ("../encode_prompts/language.h5", "other words"),
    ],
)
def test_artifacts_of_two_runs_are_not_mixed(changed, words, run: Path, tmp_path: Path) -> None:
    copied = tmp_path / "results/micro/toy"
    shutil.copytree(run / "results/micro/toy", copied)
    with h5py.File(copied / "cloth" / changed, "r+") as file:
        other = {"seed": 77, "training": "of another seed"}
        del file.attrs["checksum"]
        file.attrs["stamp"] = json.dumps(json.loads(file.attrs["stamp"]) | other)
    with pytest.raises(InputError, match=words):
        export_model(copied / "cloth", "finetuned_lang", seed=0, output=tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_failed_export_leaves_nothing(run: Path, tmp_path: Path, monkeypatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("adclick.models.export._write_bank", fail)
    with pytest.raises(OSError, match="disk full"):
        export_model(run / CATEGORY, "weak", seed=0, output=tmp_path / "model")
    assert not any(tmp_path.iterdir())


def test_the_readmes_snippet_answers_a_click(
    folders: dict[str, Path], run: Path, project: Path, tmp_path: Path, monkeypatch
) -> None:
    text = (project / "README.md").read_text(encoding="utf-8")
    (snippet,) = (part.split("```")[0] for part in text.split("```python\n") if "predict(" in part)
    (tmp_path / "models").mkdir()
    (tmp_path / "models/capsule").symlink_to(folders["adclick"])
    cv2.imwrite(str(tmp_path / "photo.png"), pictures(run)["test/stain/000"])
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(snippet.replace('"dent"', '"stain"'), "README.md", "exec"), names)
    assert names["probability"].shape == (64, 64)
    assert 0 <= names["probability"].min() < names["probability"].max() <= 1


@pytest.mark.parametrize("use", [None, PictureUse(bits=12, resize="area")])
def test_pictures_of_before_their_use_was_kept_have_the_earlier_one(
    tmp_path: Path, use: PictureUse | None
) -> None:
    path = tmp_path / "images.h5"
    specs = {"images": ArraySpec((2,), "uint8")}
    with create_arrays(path, image_ids=["a"], specs=specs, stamp={}) as file:
        if use is not None:
            set_text(file, "use", use.model_dump_json())
    assert picture_use(path) == (use or EARLIER_USE)
