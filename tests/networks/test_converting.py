"""`adclick convert-weights`: what it writes is what the configuration takes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from typer.testing import CliRunner

from adclick.cli import app
from adclick.commands import encode_prompts
from adclick.language.encoder import encode_phrases, load_text_encoder
from adclick.run.artifacts import input_digest
from adclick.run.errors import InputError
from adclick.run.plan.stages import settings_json
from adclick.run.provenance import file_sha256
from tests.chain import micro_config
from tests.networks.test_foreign import bert, lavt_branch, lavt_names, timm_swin

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "bent", "rim", "hole", "in", "cloth", "##s"]


def convert(*arguments: object) -> str:
    """What the command says; its InputError comes through."""
    done = CliRunner().invoke(app, ["convert-weights", *(str(one) for one in arguments)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "refcoco.pth"
    torch.save({"model": lavt_names(lavt_branch()), "bert_model": bert()}, path)
    return path


def test_a_lavt_swin_is_written_with_its_checksum(checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "lavt.safetensors"
    said = convert(checkpoint, output, "--kind", "lavt-swin")
    assert "embed_dim 8, depths [2, 2, 3, 2], heads [1, 2, 2, 4], window 3, text_channels 5" in said
    assert f"sha256 {file_sha256(output)}" in said
    with safe_open(output, framework="pt") as file:
        assert file.metadata()["source"] == f"sha256 {file_sha256(checkpoint)}"
    assert input_digest(output) == file_sha256(output)[:16]
    first = output.read_bytes()
    with pytest.raises(InputError, match="is there already"):
        convert(checkpoint, output, "--kind", "lavt-swin")
    output.unlink()
    convert(checkpoint, output, "--kind", "lavt-swin")
    assert output.read_bytes() == first


def test_a_swin_alone_is_written_too(tmp_path: Path) -> None:
    torch.save(timm_swin().state_dict(), tmp_path / "swin.pth")
    said = convert(tmp_path / "swin.pth", tmp_path / "swin.safetensors", "--kind", "swin")
    assert said.splitlines()[0].endswith("heads [1, 2, 2, 4], window 3")
    assert "stages.1.merge.norm.weight" in load_file(tmp_path / "swin.safetensors")


def test_a_refused_file_leaves_nothing(checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "x.safetensors"
    with pytest.raises(InputError, match=r"refcoco\.pth, as swin: backbone\.patch_embed\.proj"):
        convert(checkpoint, output, "--kind", "swin")
    with pytest.raises(InputError, match="ends in .safetensors"):
        convert(checkpoint, tmp_path / "x.pth", "--kind", "swin")
    assert list(tmp_path.iterdir()) == [checkpoint]


def test_a_model_that_timm_does_not_have_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file, and timm could not give") as caught:
        convert("swin_of_nobody", tmp_path / "x.safetensors", "--kind", "swin")
    assert "\n" not in str(caught.value)


def test_a_lavt_bert_becomes_a_folder_that_encodes(checkpoint: Path, tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    (tmp_path / "vocab.txt").write_text("".join(f"{word}\n" for word in WORDS))
    with pytest.raises(InputError, match="--vocabulary"):
        convert(checkpoint, tmp_path / "bert", "--kind", "lavt-bert")
    arguments = ("--kind", "lavt-bert", "--vocabulary", tmp_path / "vocab.txt")
    assert "64 channels" in convert(checkpoint, tmp_path / "bert", *arguments)
    sha256 = file_sha256(tmp_path / "bert/model.safetensors")
    encoder = load_text_encoder(source="folder", folder=tmp_path / "bert", sha256=sha256)
    features, masks = encode_phrases(encoder, ["Bent rims"], tokens=8)
    np.testing.assert_array_equal(masks[0], [1, 1, 1, 1, 1, 0, 0, 0])
    config = BertConfig.from_pretrained(tmp_path / "bert")
    whole = BertModel(config)
    whole.load_state_dict(bert())
    with torch.no_grad():
        expected = whole.eval()(torch.tensor([[2, 5, 6, 10, 3]])).last_hidden_state[0]
    np.testing.assert_allclose(features[0, :, :5], expected.T, atol=1e-5)
    with pytest.raises(InputError, match=f"has sha256 {sha256}, the settings say 00"):
        load_text_encoder(source="folder", folder=tmp_path / "bert", sha256="00")
    settings = json.loads(settings_json(micro_config(), "encode_prompts"))
    settings["language"]["channels"] = 64
    settings["language"]["weights"] = {
        "source": "file",
        "file": str(tmp_path / "bert"),
        "sha256": "00",
        "seed": 0,
    }
    (tmp_path / "prompts.json").write_text('{"phrases": {"cloth": {"hole": ["hole"]}}}')
    files = ["--prompts", str(tmp_path / "prompts.json"), "--language", str(tmp_path / "l.h5")]
    with pytest.raises(InputError, match="the settings say 00"):
        encode_prompts.main(["--settings", json.dumps(settings), *files])
