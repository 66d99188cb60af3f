"""Text features of phrases: a frozen BERT's last hidden states, and their average (Eq. 6)."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import nn

from adclick.language.pretrained import read_pretrained
from adclick.run.errors import InputError
from adclick.run.provenance import file_sha256

TOKENS = 20  # Z: the paper's code truncates and pads every phrase to 20 tokens
PAPER_ENCODER = "bert-base-uncased"  # Sec. 3.5, Q = 768

BATCH = 16

SEEDED_CHANNELS = 32
SEEDED_LAYERS = 2
SEEDED_HEADS = 2
SEEDED_POSITIONS = 64
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PRINTABLE_ASCII = "".join(chr(code) for code in range(33, 127))

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
VOCABULARY_FILES = ("tokenizer.json", "vocab.txt")
HUB_FILES = (CONFIG_FILE, WEIGHTS_FILE, *VOCABULARY_FILES, "tokenizer_config.json")
HUB_TIMEOUT_S = 10.0
FOLDER_NEEDS = f"{CONFIG_FILE}, {WEIGHTS_FILE} and {VOCABULARY_FILES[1]} or {VOCABULARY_FILES[0]}"


@dataclass(frozen=True)
class TextEncoder:
    """A frozen BERT: how it cuts a phrase into tokens, the network, and its channels (Q)."""

    tokenizer: Callable[..., Any]
    model: nn.Module
    channels: int


def load_text_encoder(
    *,
    source: str,
    name: str | None = None,
    folder: Path | None = None,
    phrases: Sequence[str] | None = None,
    channels: int | None = None,
    sha256: str | None = None,
    seed: int = 0,
) -> TextEncoder:
    """The text encoder, frozen and in evaluation mode, on the CPU in float32.

    `hub`: the model `name` (default `bert-base-uncased`) from the model hub's local cache; it is
    downloaded once where the cache lacks it. `folder`: a folder with config, safetensors weights
    and vocabulary, as `save_pretrained` writes them. `seeded`: a tiny, UNTRAINED BERT with random
    weights of `seed` and `channels` channels (default 32), over a vocabulary of all words in
    `phrases`; it is there so that a demo needs no download, and its weights depend on seed,
    channels and vocabulary only.

    `channels`, where given, is what the model must have, and `sha256` the checksum of its weights'
    file. What cannot be loaded whole is an `InputError` that says what to do; no other model and no
    fresh weights ever take its place.
    """
    if source == "seeded":
        if not phrases:
            raise ValueError("a seeded encoder needs the phrases that its vocabulary is made of")
        return _seeded_encoder(phrases, SEEDED_CHANNELS if channels is None else channels, seed)
    if source == "hub":
        encoder = _read_folder(_hub_folder(name or PAPER_ENCODER), sha256)
    elif source == "folder":
        if folder is None:
            raise ValueError("source 'folder' needs a folder")
        encoder = _read_folder(folder, sha256)
    else:
        raise ValueError(f"source must be 'hub', 'folder' or 'seeded', not {source!r}")
    if channels not in (None, encoder.channels):
        raise InputError(
            f"text encoder {name or folder}: it has {encoder.channels} channels, the settings say"
            f" {channels}: set the text channels to {encoder.channels}"
        )
    return encoder


def _frozen(tokenizer: Callable[..., Any], model: nn.Module, channels: int) -> TextEncoder:
    model.eval().requires_grad_(False)
    return TextEncoder(tokenizer, model, channels)


def _seeded_encoder(phrases: Sequence[str], channels: int, seed: int) -> TextEncoder:
    """A tiny BERT with seeded random weights; the global random state is as before."""
    from transformers import BertConfig, BertModel, BertTokenizer

    if channels % SEEDED_HEADS:
        raise InputError(f"text channels: {channels} is not a multiple of {SEEDED_HEADS} heads")
    vocabulary = _vocabulary(phrases)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=channels,
        num_hidden_layers=SEEDED_LAYERS,
        num_attention_heads=SEEDED_HEADS,
        intermediate_size=2 * channels,
        max_position_embeddings=SEEDED_POSITIONS,
    )
    with torch.random.fork_rng(devices=[]):
        model = BertModel(config, add_pooling_layer=False)
    _draw_weights(model, torch.Generator().manual_seed(seed))
    _draw_words(model, vocabulary, seed)
    return _frozen(BertTokenizer(vocab=vocabulary), model, channels)


def _vocabulary(phrases: Sequence[str]) -> dict[str, int]:
    """WordPiece entries for every word of the phrases, and every character alone and as a suffix.

    Whole words of the phrases are one token; other words fall into characters, so that no printable
    ASCII and no character of the phrases is unknown. It depends on the set of words, not their
    order.
    """
    from transformers import BertTokenizer

    tokenizer = BertTokenizer().backend_tokenizer
    normalise = tokenizer.normalizer.normalize_str
    split = tokenizer.pre_tokenizer.pre_tokenize_str
    words = {word for phrase in phrases for word, _ in split(normalise(phrase))}
    characters = {character for word in words for character in word} | set(PRINTABLE_ASCII.lower())
    suffixes = {f"##{character}" for character in characters}
    entries = (*SPECIAL_TOKENS, *sorted(characters), *sorted(suffixes), *sorted(words - characters))
    return {entry: index for index, entry in enumerate(entries)}


def _draw_weights(model: nn.Module, generator: torch.Generator) -> None:
    """Normal weights of standard deviation 1/sqrt(inputs), zero biases, unit scales; [PAD] is zero.

    BERT's own 0.02 suits 768 channels; with 32 it leaves attention almost constant.
    """
    with torch.no_grad():
        for module in model.modules():
            words = isinstance(module, nn.Embedding) and module.padding_idx is not None
            if isinstance(module, nn.Linear | nn.Embedding) and not words:
                spread = module.weight.shape[1] ** -0.5
                module.weight.normal_(0.0, spread, generator=generator)
            if isinstance(module, nn.Linear) and module.bias is not None:
                module.bias.zero_()
            if isinstance(module, nn.Embedding) and module.padding_idx is not None:
                module.weight[module.padding_idx].zero_()


def _draw_words(model: nn.Module, vocabulary: Mapping[str, int], seed: int) -> None:
    """A word's vector depends on the seed and the word alone, so that vocabularies agree on it."""
    embedding = cast(nn.Embedding, model.get_input_embeddings())  # pyright: ignore[reportCallIssue]
    with torch.no_grad():
        for word, row in vocabulary.items():
            if row != embedding.padding_idx:
                drawn = torch.Generator().manual_seed(zlib.crc32(f"{seed} {word}".encode()))
                spread = embedding.embedding_dim**-0.5
                embedding.weight[row].normal_(0.0, spread, generator=drawn)


def _hub_folder(name: str) -> Path:
    """The folder in the hub's local cache that holds a model; downloaded where it is not there.

    A complete cache is used as it is, without asking the network. Otherwise one request, with a
    time limit and without retries, finds out whether the hub answers: the download has no limit
    there, and transformers would try for minutes, then hand out a tokenizer that knows no words.
    """
    import huggingface_hub

    folder = _cached_folder(name)
    if folder is not None:
        return folder
    try:
        probe = huggingface_hub.hf_hub_url(name, CONFIG_FILE)
        huggingface_hub.get_hf_file_metadata(probe, timeout=HUB_TIMEOUT_S)
        downloaded = huggingface_hub.snapshot_download(name, allow_patterns=list(HUB_FILES))
    except Exception as error:  # OSError, ValueError, and what the client's HTTP library raises
        cause = error.__cause__ or error
        reason = " ".join(f"{type(cause).__name__}: {cause}".split())[:200]
        raise InputError(
            f"text encoder '{name}' is not in the local cache, and the model hub could not be"
            f" reached or refused it ({reason}): connect to the network, or let the text settings"
            f" name a local folder with {FOLDER_NEEDS}; nothing was substituted"
        ) from error
    return Path(downloaded)


def _cached_folder(name: str) -> Path | None:
    """Where the hub's local cache holds the model complete, if it does."""
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(
            huggingface_hub.snapshot_download(
                name, allow_patterns=list(HUB_FILES), local_files_only=True
            )
        )
    except LocalEntryNotFoundError:
        return None
    return None if _missing_files(folder) else folder


def _missing_files(folder: Path) -> list[str]:
    missing = [file for file in (CONFIG_FILE, WEIGHTS_FILE) if not (folder / file).is_file()]
    if not any((folder / file).is_file() for file in VOCABULARY_FILES):
        missing.append(" or ".join(VOCABULARY_FILES))
    return missing


def _read_folder(folder: Path, sha256: str | None) -> TextEncoder:
    """The BERT in a folder, whole, with a vocabulary that belongs to it."""
    from transformers import BertModel, BertTokenizer

    where = f"text encoder folder {folder}"
    if not folder.is_dir():
        raise InputError(f"{where} does not exist: give a folder with {FOLDER_NEEDS}")
    missing = _missing_files(folder)
    if missing:
        raise InputError(f"{where} has no {', no '.join(missing)}: it needs {FOLDER_NEEDS}")
    found = sha256 and file_sha256(folder / WEIGHTS_FILE)
    if found != sha256:
        raise InputError(f"{where}: {WEIGHTS_FILE} has sha256 {found}, the settings say {sha256}")
    model, tokenizer = read_pretrained(
        where,
        folder,
        model=BertModel,
        processor=BertTokenizer,
        called="BERT",
        add_pooling_layer=False,
    )
    words, rows = len(tokenizer), model.config.vocab_size
    if not len(SPECIAL_TOKENS) < words <= rows:
        raise InputError(
            f"{where}: its vocabulary has {words} entries, its model {rows}: they differ"
        )
    return _frozen(tokenizer, model, model.config.hidden_size)


def encode_phrases(
    encoder: TextEncoder,
    phrases: Sequence[str],
    *,
    tokens: int = TOKENS,
    batch_size: int = BATCH,
) -> tuple[Float32[np.ndarray, "phrase channel token"], Float32[np.ndarray, "phrase token"]]:
    """BERT's last hidden state at each token of each phrase, and 1 where there is a token, else 0.

    A phrase is cut to `tokens` tokens, [CLS] first and [SEP] last; the rest of a shorter phrase is
    padding, whose features are zero. Phrases of equal length are encoded together, without padding,
    in batches that are always full: a phrase then has the same features, to the bit on the machines
    tried, whatever phrases are beside it. Another batch size moves them by rounding.
    Source: Sec. 3.3; cutting and padding as in the published code's text tokenizer.
    """
    if not phrases:
        raise ValueError("no phrases to encode")
    rows = [cut_tokens(row, tokens) for row in token_rows(encoder, phrases, tokens)]
    features = np.zeros((len(phrases), encoder.channels, tokens), np.float32)
    masks = np.zeros((len(phrases), tokens), np.float32)
    for length in sorted({len(row) for row in rows}):
        alike = [index for index, row in enumerate(rows) if len(row) == length]
        masks[alike, :length] = 1
        for start in range(0, len(alike), batch_size):
            part = alike[start : start + batch_size]
            full = [*part, *part[:1] * (batch_size - len(part))]
            states = _encode_rows(encoder, [rows[index] for index in full])
            features[part, :, :length] = states[: len(part)]
    return features, masks


def token_rows(encoder: TextEncoder, phrases: Sequence[str], tokens: int) -> list[list[int]]:
    """The vocabulary's row of every token of each phrase, [CLS] and [SEP] included, none cut yet.

    InputError when the encoder cannot read `tokens` tokens.
    """
    longest = getattr(getattr(encoder.model, "config", None), "max_position_embeddings", tokens)
    if not 2 <= tokens <= longest:
        raise InputError(
            f"text tokens: {tokens} is not from 2 to {longest}, what this encoder reads"
        )
    return encoder.tokenizer(list(phrases))["input_ids"]


def cut_tokens(row: list[int], tokens: int) -> list[int]:
    """The first tokens of a phrase, with its last one, [SEP], at their end."""
    return row if len(row) <= tokens else [*row[: tokens - 1], row[-1]]


def _encode_rows(
    encoder: TextEncoder, rows: list[list[int]]
) -> Float32[np.ndarray, "phrase channel token"]:
    """Features of phrases that have equally many tokens."""
    device = next(encoder.model.parameters()).device
    with torch.inference_mode():
        states = encoder.model(input_ids=torch.tensor(rows, device=device)).last_hidden_state
    return states.float().transpose(1, 2).cpu().numpy()


def average_features(
    features: Float[np.ndarray, "phrase channel token"],
    masks: Float[np.ndarray, "phrase token"],
    *,
    mode: str = "masked",
) -> tuple[Float32[np.ndarray, "channel token"], Float32[np.ndarray, " token"]]:
    """The one feature that stands for a defect type, position by position (Eq. 6), and its mask.

    `masked`: at token z, the mean over the phrases that have a token there, sum(m h) / max(1,
    sum(m)), and mask 1 wherever any phrase has one. `legacy_mean`: the plain mean over all phrases,
    padding included, and the mean of the masks, as the published code has it.

    The trap in `legacy_mean`: PWAM adds 1e4 (mask - 1) to the attention logits, so a position that
    39 of 40 phrases fill (mask 0.975) gets -250 and is as good as absent. Only positions that *all*
    phrases fill are heard, and the shortest phrase decides how many. It is there to compare with,
    not to use.
    """
    weights = masks.astype(np.float64)
    total = np.einsum("pct,pt->ct", features.astype(np.float64), weights)
    filled = np.einsum("pt->t", weights)
    if mode == "masked":
        average, mask = total / np.maximum(1.0, filled), filled > 0
    elif mode == "legacy_mean":
        average, mask = total / len(features), filled / len(features)
    else:
        raise ValueError(f"mode must be 'masked' or 'legacy_mean', not {mode!r}")
    return average.astype(np.float32), mask.astype(np.float32)
