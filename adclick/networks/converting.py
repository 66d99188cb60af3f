"""`adclick convert-weights`: other projects' weights as safetensors in our names."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from adclick.run.errors import InputError

if TYPE_CHECKING:
    from adclick.networks.foreign import Weights

Kind = Literal["lavt-swin", "lavt-bert", "swin", "simpleclick"]


def convert(source: str, output: Path, *, kind: Kind, vocabulary: Path | None) -> None:
    """Write what the configuration takes, whole or not at all; no code in `source` is ever run."""
    if output.exists():
        raise InputError(f"{output} is there already: delete it, or give another name")
    if kind == "lavt-bert":
        _write_bert(Path(source), output, vocabulary)
        return
    if output.suffix != ".safetensors":
        raise InputError(f"{output}: give a name that ends in .safetensors")
    if kind == "simpleclick":
        _write_simpleclick(Path(source), output)
    else:
        _write_swin(source, output, kind)


def _write_simpleclick(source: Path, output: Path) -> None:
    import torch

    from adclick.networks.checkpoints import save_model
    from adclick.networks.foreign import SIMPLECLICK_CODE, read_checkpoint, simpleclick
    from adclick.networks.simpleclick import KIND, build_simpleclick
    from adclick.run.provenance import file_sha256

    try:
        weights, sizes = simpleclick(read_checkpoint(source, unread=SIMPLECLICK_CODE))
    except InputError as error:
        raise InputError(f"{source}, as simpleclick: {error}") from None
    with torch.device("meta"):
        model = build_simpleclick(**sizes)
    model.load_state_dict(weights, assign=True)
    origin = {"source": f"sha256 {file_sha256(source)}"}
    save_model(output, model, sizes=sizes, kind=KIND, extra=origin)
    _tell(output, len(weights), sizes)


def _write_swin(source: str, output: Path, kind: Kind) -> None:
    from adclick.networks.checkpoints import save_tensors
    from adclick.networks.foreign import lavt_swin, plain_swin, swin_sizes

    content, origin = _content(source, hub=kind == "swin")
    try:
        weights = (lavt_swin if kind == "lavt-swin" else plain_swin)(content)
    except InputError as error:
        raise InputError(f"{source}, as {kind}: {error}") from None
    save_tensors(output, weights, {"format": "pt", "converted": kind, "source": origin})
    sizes = {name: value for name, value in swin_sizes(weights).items() if name != "trainable"}
    if kind == "swin":
        del sizes["text_channels"]
    _tell(output, len(weights), sizes)


def _tell(output: Path, tensors: int, sizes: Mapping[str, Any]) -> None:
    from adclick.run.provenance import file_sha256

    said = ", ".join(f"{name} {value}" for name, value in sizes.items())
    print(f"{output}: {tensors} tensors, {said}\nsha256 {file_sha256(output)}")


def _content(source: str, *, hub: bool) -> tuple[dict[str, Any], str]:
    """What a file or a timm model holds, and its sha256 or name."""
    from adclick.networks.foreign import read_checkpoint
    from adclick.run.provenance import file_sha256

    path = Path(source)
    if path.is_file() or not hub or path.suffix in (".pth", ".safetensors"):
        return read_checkpoint(path), f"sha256 {file_sha256(path)}"
    return _timm_weights(source), f"timm {source}"


def _timm_weights(name: str) -> "Weights":
    import timm

    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # what timm and the hub's client raise has no common kind
        line = " ".join(str(error).split())[:200]
        raise InputError(
            f"{name}: no such file, and timm could not give a model of that name ({line})"
        ) from None


def _write_bert(source: Path, output: Path, vocabulary: Path | None) -> None:
    from adclick.language.encoder import load_text_encoder
    from adclick.networks.checkpoints import save_tensors
    from adclick.networks.foreign import lavt_bert, read_checkpoint
    from adclick.run.provenance import file_sha256

    if vocabulary is None or not vocabulary.is_file():
        raise InputError(
            "--vocabulary: a LAVT checkpoint has none; give vocab.txt of bert-base-uncased"
        )
    try:
        weights, settings = lavt_bert(read_checkpoint(source))
    except InputError as error:
        raise InputError(f"{source}, as lavt-bert: {error}") from None
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent) as temporary:
        folder = Path(temporary) / output.name
        folder.mkdir()
        metadata = {"format": "pt", "converted": "lavt-bert", "source": file_sha256(source)}
        save_tensors(folder / "model.safetensors", weights, metadata)
        config = {"model_type": "bert", "architectures": ["BertModel"], **settings}
        (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
        shutil.copyfile(vocabulary, folder / "vocab.txt")
        load_text_encoder(source="folder", folder=folder)
        folder.rename(output)
    sha256 = file_sha256(output / "model.safetensors")
    print(f"{output}: {len(weights)} tensors, {settings['hidden_size']} channels\nsha256 {sha256}")
