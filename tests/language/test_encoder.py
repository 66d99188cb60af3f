"""The text encoder: seeded, from a folder, from a hub that is there or not; the average."""

import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast

import huggingface_hub.constants as hub
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from adclick.language.encoder import (
    TextEncoder,
    average_features,
    encode_phrases,
    load_text_encoder,
)
from adclick.run.errors import InputError

PHRASES = (
    "a small round hole in the washer",
    "Über-deep, narrow crack",
    "bent",
    "a long thin scratch that crosses the whole washer from one side to the other and on and on",
    "bright spot (3 mm)",
)
NAME = "some-team/some-bert"


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return load_text_encoder(source="seeded", phrases=PHRASES, channels=16, seed=3)


@pytest.fixture(scope="module")
def saved(encoder: TextEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The seeded encoder as `save_pretrained` writes it."""
    folder = tmp_path_factory.mktemp("bert")
    encoder.model.save_pretrained(folder)
    encoder.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    """The saved encoder, to be damaged."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in saved.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def change_config(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_seeded_encoder_is_frozen_and_has_the_wanted_channels(encoder: TextEncoder) -> None:
    assert encoder.channels == 16
    assert not encoder.model.training
    assert not any(weight.requires_grad for weight in encoder.model.parameters())
    assert load_text_encoder(source="seeded", phrases=PHRASES).channels == 32


def test_no_phrase_and_no_other_ascii_text_is_unknown_to_the_seeded_vocabulary(
    encoder: TextEncoder,
) -> None:
    other = "Zebra? {quilt} 42% ~xylophone_/\\|"
    for phrase in (*PHRASES, other, other.upper()):
        assert "[UNK]" not in encoder.tokenizer.tokenize(phrase)
    assert encoder.tokenizer.tokenize("Bent washer") == ["bent", "washer"]
    assert encoder.tokenizer.tokenize("Über-deep") == ["uber", "-", "deep"]
    assert encoder.tokenizer.tokenize("wash") == ["w", "##a", "##s", "##h"]


def test_the_seeded_vocabulary_has_an_order_of_its_own(encoder: TextEncoder) -> None:
    entries = encoder.tokenizer.get_vocab()
    words = sorted(entries, key=entries.get)
    assert words[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    whole = [word for word in words[5:] if len(word) > 1 and not word.startswith("##")]
    assert {"washer", "uber", "mm"} <= set(whole)
    assert whole == sorted(whole)


def test_seeded_weights_depend_on_seed_and_words_alone(encoder: TextEncoder) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    again = load_text_encoder(source="seeded", phrases=PHRASES[::-1], channels=16, seed=3)
    other = load_text_encoder(source="seeded", phrases=PHRASES, channels=16, seed=4)
    assert torch.equal(before, torch.random.get_rng_state())
    first = encode_phrases(encoder, PHRASES)[0]
    np.testing.assert_array_equal(first, encode_phrases(again, PHRASES)[0])
    assert np.abs(first - encode_phrases(other, PHRASES)[0]).max() > 0.1


def test_phrases_become_cls_words_sep_then_zeros(encoder: TextEncoder) -> None:
    features, masks = encode_phrases(encoder, PHRASES, tokens=8)
    assert features.shape == (5, 16, 8)
    assert features.dtype == masks.dtype == np.float32
    # "bent": [CLS] bent [SEP]; the others are cut to 8, or have 7 words and more.
    np.testing.assert_array_equal(masks[2], [1, 1, 1, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(masks[[0, 1, 3, 4]], 1)
    assert not features[2, :, 3:].any()
    assert np.abs(features).max(axis=1)[masks == 1].min() > 0.1


def test_a_long_phrase_keeps_its_first_tokens_and_ends_in_sep(encoder: TextEncoder) -> None:
    cut = encode_phrases(encoder, [PHRASES[3]], tokens=5)[0]
    whole = encode_phrases(encoder, ["a long thin"], tokens=20)[0][:, :, :5]
    np.testing.assert_allclose(cut, whole, atol=1e-5)


def test_features_equal_the_model_run_on_one_phrase_without_padding(encoder: TextEncoder) -> None:
    features, _ = encode_phrases(encoder, PHRASES, tokens=20)
    for phrase, feature in zip(PHRASES, features, strict=True):
        entries = encoder.tokenizer.convert_tokens_to_ids(encoder.tokenizer.tokenize(phrase))[:18]
        words = torch.tensor([[2, *entries, 3]])
        state = encoder.model(input_ids=words).last_hidden_state[0].T.numpy()
        np.testing.assert_allclose(feature[:, : words.shape[1]], state, atol=1e-5)


def test_neither_batch_size_nor_neighbours_change_a_phrase(encoder: TextEncoder) -> None:
    features, masks = encode_phrases(encoder, PHRASES)
    for batch_size in (1, 2, 5):
        others, other_masks = encode_phrases(encoder, PHRASES[::-1], batch_size=batch_size)
        np.testing.assert_allclose(others[::-1], features, atol=1e-5)
        np.testing.assert_array_equal(other_masks[::-1], masks)
    np.testing.assert_array_equal(encode_phrases(encoder, PHRASES)[0], features)


def test_what_a_word_means_depends_on_its_phrase(encoder: TextEncoder) -> None:
    features, _ = encode_phrases(encoder, ["bent washer", "bent hole"])
    assert np.abs(features[0, :, 1] - features[1, :, 1]).max() > 0.01


def test_too_many_tokens_and_no_phrases_are_refused(encoder: TextEncoder) -> None:
    with pytest.raises(InputError, match="text tokens: 65 is not from 2 to 64"):
        encode_phrases(encoder, PHRASES, tokens=65)
    with pytest.raises(InputError, match="text tokens: 1 "):
        encode_phrases(encoder, PHRASES, tokens=1)
    with pytest.raises(ValueError, match="no phrases"):
        encode_phrases(encoder, [])


def test_a_saved_encoder_reads_back_equal(encoder: TextEncoder, saved: Path) -> None:
    again = load_text_encoder(source="folder", folder=saved, channels=16)
    assert again.channels == 16
    assert not again.model.training
    for mine, theirs in zip(
        encode_phrases(encoder, PHRASES), encode_phrases(again, PHRASES), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)


def test_a_vocabulary_text_file_will_do_in_a_folder(encoder: TextEncoder, copy: Path) -> None:
    words = encoder.tokenizer.get_vocab()
    (copy / "vocab.txt").write_text("".join(f"{word}\n" for word in sorted(words, key=words.get)))
    (copy / "tokenizer.json").unlink()
    (copy / "tokenizer_config.json").unlink()
    again = load_text_encoder(source="folder", folder=copy)
    np.testing.assert_array_equal(
        encode_phrases(encoder, PHRASES)[0], encode_phrases(again, PHRASES)[0]
    )


def test_a_masked_language_models_file_gives_its_bert(encoder: TextEncoder, copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    weights = {f"bert.{name}": weight for name, weight in weights.items()}
    weights["cls.predictions.bias"] = torch.zeros(3)
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    again = load_text_encoder(source="folder", folder=copy)
    np.testing.assert_array_equal(
        encode_phrases(encoder, PHRASES)[0], encode_phrases(again, PHRASES)[0]
    )


def test_a_half_precision_file_is_read_as_float32(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    weights = {name: weight.half() for name, weight in weights.items()}
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    change_config(copy, dtype="float16")
    again = load_text_encoder(source="folder", folder=copy)
    assert {weight.dtype for weight in again.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
def test_an_incomplete_folder_names_the_absent_file(copy: Path, file: str) -> None:
    (copy / file).unlink()
    with pytest.raises(InputError, match=f"has no {file}"):
        load_text_encoder(source="folder", folder=copy)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_damaged_folder_is_one_line(copy: Path, file: str) -> None:
    (copy / file).write_bytes((copy / file).read_bytes()[:60])
    with pytest.raises(InputError, match="cannot be read") as caught:
        load_text_encoder(source="folder", folder=copy)
    assert "\n" not in str(caught.value)


def test_absent_or_misshapen_weights_are_an_error_not_fresh_random_ones(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    absent = "encoder.layer.1.output.dense.weight"
    kept = {name: weight for name, weight in weights.items() if name != absent}
    save_file(kept, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=rf"1 weights are missing .*{absent}"):
        load_text_encoder(source="folder", folder=copy)
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    change_config(copy, vocab_size=7)
    with pytest.raises(InputError, match="text encoder folder"):
        load_text_encoder(source="folder", folder=copy)


def test_a_vocabulary_larger_than_the_model_or_empty_is_refused(copy: Path) -> None:
    (copy / "tokenizer.json").unlink()
    (copy / "vocab.txt").write_text("".join(f"word{n}\n" for n in range(500)))
    with pytest.raises(InputError, match=r"vocabulary has \d+ entries, its model \d+"):
        load_text_encoder(source="folder", folder=copy)
    (copy / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n")
    with pytest.raises(InputError, match="vocabulary has 5 entries"):
        load_text_encoder(source="folder", folder=copy)


def test_settings_that_do_not_fit_are_named(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it has 16 channels, the settings say 768"):
        load_text_encoder(source="folder", folder=saved, channels=768)
    with pytest.raises(InputError, match="does not exist"):
        load_text_encoder(source="folder", folder=tmp_path / "none")
    with pytest.raises(InputError, match="text channels: 5 is not a multiple"):
        load_text_encoder(source="seeded", phrases=PHRASES, channels=5)
    for wrong in ({"source": "bert"}, {"source": "folder"}, {"source": "seeded"}):
        with pytest.raises(ValueError, match="source|phrases"):
            load_text_encoder(**wrong)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty local cache of the model hub."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def use_hub(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """What `HF_ENDPOINT` does at import."""
    monkeypatch.setattr(hub, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(hub, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.mark.usefixtures("cache")
def test_without_network_the_hub_fails_and_nothing_takes_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as closed:
        use_hub(monkeypatch, f"http://127.0.0.1:{closed.server_port}")
    for offline in (False, True):
        monkeypatch.setattr(hub, "HF_HUB_OFFLINE", offline)
        with pytest.raises(InputError) as caught:
            load_text_encoder(source="hub", name=NAME)
        line = str(caught.value)
        assert f"text encoder '{NAME}' is not in the local cache" in line
        assert "could not be reached" in line
        assert "name a local folder with config.json" in line
        assert "nothing was substituted" in line
        assert "\n" not in line


@pytest.mark.usefixtures("cache")
def test_a_hub_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("adclick.language.encoder.HUB_TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        use_hub(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(InputError, match="could not be reached"):
            load_text_encoder(source="hub", name=NAME)


class ModelHub(BaseHTTPRequestHandler):
    """As much of the hub's protocol as one download needs; serves the files of `folder`."""

    folder: Path
    asked: list[str]
    busy = False
    commit = "0" * 40
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.reply(body=False)

    def do_GET(self) -> None:
        self.reply(body=True)

    def reply(self, body: bool) -> None:
        status, content = self.content()
        self.send_response(status)
        self.send_header("X-Repo-Commit", self.commit)
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def content(self) -> tuple[int, bytes]:
        files = {file.name: file.read_bytes() for file in self.folder.iterdir()}
        path = self.path.partition("?")[0]
        self.asked.append(path)
        if self.busy:
            return 503, b""
        if path == f"/api/models/{NAME}/revision/main":
            return 200, json.dumps({"id": NAME, "sha": self.commit}).encode()
        if path.startswith(f"/api/models/{NAME}/tree/"):
            return 200, json.dumps(
                [
                    {
                        "type": "file",
                        "path": name,
                        "size": len(text),
                        "oid": hashlib.sha1(text).hexdigest(),
                    }
                    for name, text in files.items()
                ]
            ).encode()
        name = path.rpartition("/")[2]
        known = path.startswith(f"/{NAME}/resolve/") and name in files
        return (200, files[name]) if known else (404, b"")

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def model_hub(copy: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    handler = type("Handler", (ModelHub,), {"folder": copy, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    use_hub(monkeypatch, f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_model_is_downloaded_once_and_then_read_from_the_cache(
    encoder: TextEncoder,
    cache: Path,
    copy: Path,
    model_hub: ThreadingHTTPServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (copy / "pytorch_model.bin").write_bytes(b"a pickle, never fetched")
    first = load_text_encoder(source="hub", name=NAME)
    assert sorted({file.name for file in cache.rglob("snapshots/*/*")}) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    model_hub.shutdown()
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    second = load_text_encoder(source="hub", name=NAME)
    for loaded in (first, second):
        np.testing.assert_array_equal(
            encode_phrases(encoder, PHRASES)[0], encode_phrases(loaded, PHRASES)[0]
        )


@pytest.mark.usefixtures("model_hub")
def test_an_interrupted_download_is_completed_not_used(cache: Path) -> None:
    load_text_encoder(source="hub", name=NAME)
    [weights] = cache.rglob("snapshots/*/model.safetensors")
    weights.unlink()
    assert load_text_encoder(source="hub", name=NAME).channels == 16
    assert weights.exists()


@pytest.mark.usefixtures("model_hub")
def test_a_cache_without_a_list_of_files_is_completed_too(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_text_encoder(source="hub", name=NAME)
    [listing] = cache.rglob("trees/*.json")  # which transformers' own download does not write
    listing.unlink()
    elsewhere = cache.rename(cache.with_name("elsewhere"))  # the client remembers lists by path
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(elsewhere))
    [weights] = elsewhere.rglob("snapshots/*/model.safetensors")
    weights.unlink()
    assert load_text_encoder(source="hub", name=NAME).channels == 16
    assert weights.exists()


@pytest.mark.usefixtures("cache")
def test_a_hub_in_trouble_is_asked_once(model_hub: ThreadingHTTPServer) -> None:
    handler = cast(type[ModelHub], model_hub.RequestHandlerClass)
    handler.busy = True
    with pytest.raises(InputError, match="503"):
        load_text_encoder(source="hub", name=NAME)
    assert len(handler.asked) == 1


@pytest.mark.usefixtures("model_hub", "cache")
def test_a_model_that_the_hub_does_not_have_is_an_input_error() -> None:
    with pytest.raises(InputError, match="other-bert"):
        load_text_encoder(source="hub", name="some-team/other-bert")


def test_the_masked_mean_of_three_phrases_done_by_hand() -> None:
    features = np.array([[[1, 2, 0, 0]], [[3, 4, 6, 0]], [[5, 0, 0, 0]]], dtype=np.float32)
    masks = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 0]], dtype=np.float32)
    average, mask = average_features(features, masks)
    np.testing.assert_array_equal(average, [[3, 3, 6, 0]])
    np.testing.assert_array_equal(mask, [1, 1, 1, 0])
    average, mask = average_features(features, masks, mode="legacy_mean")
    np.testing.assert_allclose(average, [[3, 2, 2, 0]])
    np.testing.assert_allclose(mask, [1, 2 / 3, 1 / 3, 0])
    assert average.dtype == mask.dtype == np.float32


def test_the_masked_mean_equals_a_plain_loop(encoder: TextEncoder) -> None:
    features, masks = encode_phrases(encoder, PHRASES)
    average, mask = average_features(features, masks)
    for token in range(masks.shape[1]):
        there = [feature[:, token] for feature, m in zip(features, masks, strict=True) if m[token]]
        expected = np.mean(there, axis=0) if there else np.zeros(features.shape[1])
        np.testing.assert_allclose(average[:, token], expected, atol=1e-6)
        assert mask[token] == bool(there)


def test_the_average_of_equal_phrases_is_the_phrase_in_both_modes(encoder: TextEncoder) -> None:
    features, masks = encode_phrases(encoder, ["bent washer"] * 3)
    for mode in ("masked", "legacy_mean"):
        average, mask = average_features(features, masks, mode=mode)
        np.testing.assert_allclose(average, features[0], atol=1e-6)
        np.testing.assert_array_equal(mask, masks[0])


def test_the_order_of_phrases_does_not_matter_to_the_average(encoder: TextEncoder) -> None:
    features, masks = encode_phrases(encoder, PHRASES)
    average, mask = average_features(features, masks)
    reverse, reverse_mask = average_features(features[::-1], masks[::-1])
    np.testing.assert_allclose(average, reverse, atol=1e-6)
    np.testing.assert_array_equal(mask, reverse_mask)


def test_the_legacy_mask_silences_every_token_that_one_phrase_lacks(encoder: TextEncoder) -> None:
    features, masks = encode_phrases(encoder, [PHRASES[0]] * 39 + ["bent"])
    heard = {
        mode: np.exp(1e4 * (average_features(features, masks, mode=mode)[1] - 1.0)) > 0.5
        for mode in ("masked", "legacy_mean")
    }
    assert heard["masked"].sum() == 9
    assert heard["legacy_mean"].sum() == 3


def test_an_unknown_mode_is_refused(encoder: TextEncoder) -> None:
    with pytest.raises(ValueError, match="mode"):
        average_features(*encode_phrases(encoder, PHRASES), mode="mean")
