"""Features of unchanged phrases are taken from the last run; nothing stale or damaged ever is."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from adclick.commands import encode_prompts
from adclick.language import kept
from adclick.language.encoder import TextEncoder, encode_phrases, load_text_encoder
from adclick.language.kept import encode_or_find, phrase_keys, read_kept
from adclick.run.plan.stages import settings_json
from adclick.run.provenance import fingerprint
from tests.chain import micro_config, steps

PHRASES = ["a small hole in cloth", "bent", "long thin scratch on the washer", "small stain"]


def seeded(phrases: list[str] = PHRASES, seed: int = 0) -> TextEncoder:
    return load_text_encoder(source="seeded", phrases=phrases, channels=16, seed=seed)


def run(folder: Path, phrases: list[str] = PHRASES, **language: object) -> bytes:
    """The stage on one type; the bytes of its result."""
    prompts = folder / "prompts.json"
    prompts.write_text(json.dumps({"phrases": {"cloth": {"hole": phrases}}}), encoding="utf-8")
    settings = json.loads(settings_json(micro_config(), "encode_prompts"))
    settings["language"] |= language
    argv = ["--settings", json.dumps(settings), "--prompts", str(prompts)]
    encode_prompts.main([*argv, "--language", str(folder / "language.h5")])
    return (folder / "language.h5").read_bytes()


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The phrases that the encoder ran on since it was last cleared."""
    ran: list[str] = []

    def counting(encoder: TextEncoder, phrases: list[str], *, tokens: int):
        ran.extend(phrases)
        return encode_phrases(encoder, phrases, tokens=tokens)

    monkeypatch.setattr(kept, "encode_phrases", counting)
    return ran


def test_an_edited_phrase_alone_is_encoded_again(tmp_path: Path, encoded: list[str]) -> None:
    run(tmp_path)
    assert sorted(encoded) == sorted(PHRASES)
    encoded.clear()
    edited = [*PHRASES[:3], "small purple stain"]  # purple is new to the vocabulary
    (tmp_path / "language.h5").unlink()  # as Snakemake does before a job
    again = run(tmp_path, edited)
    assert encoded == ["small purple stain"]
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    assert run(fresh, edited) == again


def test_an_edit_of_the_bank_reruns_one_phrase(
    tmp_path: Path, project: Path, encoded: list[str]
) -> None:
    """The micro configuration's stages, on a copy of the bank of its data set."""
    config = micro_config()
    bank = tmp_path / "bank.yaml"
    text = (project / "config/prompts/toy.yaml").read_text(encoding="utf-8")
    asking, encoding = (steps(config)[name] for name in ("generate_prompts", "encode_prompts"))
    for written in (text, text.replace(" loose ", " violet ", 1)):
        bank.write_text(written, encoding="utf-8")
        encoded.clear()
        asking.run(config, tmp_path, {"bank": bank})
        encoding.run(config, tmp_path)
    assert len(encoded) == 1
    assert "violet" in encoded[0]


def test_an_unchanged_bank_encodes_nothing_and_gives_the_same_bytes(
    tmp_path: Path, encoded: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    first = run(tmp_path)
    encoded.clear()
    assert run(tmp_path) == first
    assert encoded == []
    assert "encoded 0 of 4 phrases" in capsys.readouterr().out
    assert (tmp_path / "language.kept.h5").samefile(tmp_path / "language.h5")


@pytest.mark.parametrize("language", [{"tokens": 12}, {"weights": {"seed": 1}}])
def test_another_setting_encodes_everything(
    tmp_path: Path, encoded: list[str], language: dict[str, object]
) -> None:
    run(tmp_path)
    encoded.clear()
    if "weights" in language:
        language = {"weights": {"source": "seeded", "file": None, "sha256": None, "seed": 1}}
    run(tmp_path, **language)
    assert sorted(encoded) == sorted(PHRASES)


def test_another_average_encodes_nothing(tmp_path: Path, encoded: list[str]) -> None:
    first = run(tmp_path)
    encoded.clear()
    assert run(tmp_path, average="legacy_mean") != first
    assert encoded == []


def test_a_changed_feature_is_never_taken(tmp_path: Path) -> None:
    """Neither where the file was edited through HDF5, which keeps its checksums right."""
    run(tmp_path)
    keys = phrase_keys(seeded(), PHRASES, tokens=20)
    path = tmp_path / "language.kept.h5"
    assert set(read_kept(path, keys)) == set(keys)
    with h5py.File(path, "r+") as file:
        file["cloth/hole/phrases"][1] *= 2
    assert set(read_kept(path, keys)) == {keys[0], *keys[2:]}


@pytest.mark.parametrize("damage", ["flipped", "cut", "text", "other", "unfinished"])
def test_a_damaged_file_means_that_all_is_encoded(
    tmp_path: Path, encoded: list[str], damage: str
) -> None:
    first = run(tmp_path)
    path = tmp_path / "language.kept.h5"
    path.unlink()
    if damage == "flipped":
        with h5py.File(tmp_path / "language.h5") as file:
            place = file["cloth/hole/phrases"].id.get_chunk_info(0).byte_offset
        path.write_bytes(first[: place + 8] + bytes([first[place + 8] ^ 1]) + first[place + 9 :])
    elif damage == "cut":
        path.write_bytes(first[: len(first) // 2])
    elif damage == "text":
        path.write_text("not HDF5")
    else:
        with h5py.File(path, "w") as file:
            file.create_group("cloth/hole").create_dataset("phrases", data=[1.0])
            file.attrs["complete"] = damage == "other"
    encoded.clear()
    assert run(tmp_path) == first
    assert sorted(encoded) == sorted(PHRASES)


def test_keys_change_with_all_that_features_depend_on(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = seeded()
    keys = phrase_keys(encoder, PHRASES, tokens=20)
    assert len(set(keys)) == len(keys)
    alike = ["a small hole in cloth", "a small hole in stain"]
    assert len(set(phrase_keys(encoder, alike, tokens=7))) == 2
    assert len(set(phrase_keys(encoder, alike, tokens=6))) == 1  # what differs is cut off
    assert phrase_keys(seeded([*PHRASES, "violet"]), PHRASES, tokens=20) == keys
    assert not set(phrase_keys(seeded(seed=1), PHRASES, tokens=20)) & set(keys)
    assert not set(phrase_keys(encoder, PHRASES, tokens=19)) & set(keys)
    encoder.model.config.hidden_act = "relu"
    assert not set(phrase_keys(encoder, PHRASES, tokens=20)) & set(keys)
    encoder.model.config.hidden_act = "gelu"
    monkeypatch.setattr(kept, "fingerprint", lambda command: fingerprint(command) + "changed")
    assert not set(phrase_keys(encoder, PHRASES, tokens=20)) & set(keys)
    monkeypatch.undo()
    with torch.no_grad():
        next(iter(encoder.model.encoder.parameters()))[0] += 1e-3
    assert not set(phrase_keys(encoder, PHRASES, tokens=20)) & set(keys)


def test_phrases_that_are_cut_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = "one two three four five six seven eight nine ten eleven"
    run(tmp_path, [*PHRASES, long], tokens=12)
    assert capsys.readouterr().out.endswith(f"cut to 12 tokens: {long}\n")


def test_masks_and_features_equal_those_of_the_encoder() -> None:
    found = encode_or_find(seeded(), PHRASES, tokens=6, kept=Path("nowhere"))
    features, masks = encode_phrases(seeded(), PHRASES, tokens=6)
    np.testing.assert_array_equal(np.stack([found.features[name] for name in PHRASES]), features)
    np.testing.assert_array_equal(np.stack([found.masks[name] for name in PHRASES]), masks)
