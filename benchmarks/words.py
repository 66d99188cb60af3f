"""What words are worth: trained click networks, asked with right and with wrong words.

`python -m benchmarks.words results/small/mvtec/bottle --methods finetuned finetuned_lang`

A method's network answers the protocol's robot user on real defects with the average of its type's
phrases, with one random phrase of it, with another type's, with the words of a normal image, and
with the words of every phrase shuffled. Beside the mIoU stand, at the clicks that the average led
to: the mean binary cross entropy, and how far the probabilities moved (relative L2). A network
without a language branch has one line. Prints a table in Markdown.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from adclick.artifacts import open_arrays, read_csv, read_json
from adclick.commands.entry import run
from adclick.commands.opening import Opened, open_network
from adclick.commands.reading import defect_rows, read_masks
from adclick.commands.simulate_clicks import DEFECT_ROLES
from adclick.config import EncodePrompts
from adclick.data.samples import Text
from adclick.data.types import NORMAL_TYPE
from adclick.language.encoder import average_features, encode_phrases, load_text_encoder
from adclick.metrics import iou
from adclick.robot import Answer, simulate_clicks

COUNTS = (1, 3, 5)
EPSILON = 1e-6
AVERAGE = "average of its type"

Texts = Mapping[str, Text]


@dataclass(frozen=True)
class Item:
    """A real defect: its row in the manifest, its type, its true mask [height width]."""

    row: int
    kind: str
    truth: np.ndarray


def main() -> None:
    """Measure and print; a line a method, seed and kind of words."""
    options = _options()
    torch.set_num_threads(1)
    folder: Path = options.category
    items = read_items(folder, options.per_type)
    words = kinds_of_words(folder.parent, folder.name)
    lines = []
    for method in options.methods:
        for seed in options.seeds:
            weights = folder / f"train_adclick/{method}/seed{seed}/weights.safetensors"
            place = {"method": method, "seed": seed}
            lines += [place | line for line in measure(folder, weights, items, words, options)]
            print(pd.DataFrame(lines).to_string(index=False), flush=True)
    print(f"\n{len(items)} real defects of {folder.name}\n")
    print(pd.DataFrame(lines).to_markdown(index=False, floatfmt=".3g"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("category", type=Path, help="results/<run>/<data set>/<category>")
    parser.add_argument("--methods", nargs="+", required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--per-type", type=int, help="at most so many defects of a type")
    parser.add_argument("--radius-px", type=float, default=3.0)
    parser.add_argument("--threshold", type=float, default=0.49)
    return parser.parse_args()


def read_items(folder: Path, per_type: int | None) -> list[Item]:
    """The real defects of a category, or the first of each type."""
    manifest = folder / "make_manifest/manifest.csv"
    truths = read_masks(folder / "make_manifest/masks.h5")
    rows = [row for row in defect_rows(manifest, roles=DEFECT_ROLES) if row[1] in truths]
    items = [Item(row, kind, truths[image_id]) for row, image_id, kind in rows]
    kinds = sorted({item.kind for item in items})
    return [one for kind in kinds for one in [i for i in items if i.kind == kind][:per_type]]


def kinds_of_words(dataset: Path, category: str) -> dict[str, Callable[[str], Text]]:
    """By name: what words are given for a defect type."""
    with open_arrays(dataset / "encode_prompts/language.h5") as file:
        texts = {name: _read(file[f"{category}/{name}"]) for name in file[category]}
        settings = json.loads(file.attrs["stamp"])["settings"]
    shuffled = _shuffled(dataset, category, EncodePrompts.model_validate(settings))
    real = sorted(
        read_csv(dataset / category / "make_manifest/manifest.csv")["defect_type"].unique()
    )
    real = [kind for kind in real if kind != NORMAL_TYPE]
    other = dict(zip(real, [*real[1:], *real[:1]], strict=True))
    generator = np.random.default_rng(0)
    return {
        AVERAGE: lambda kind: texts[kind],
        "one random phrase": lambda kind: _one_phrase(texts[kind], generator),
        "another type": lambda kind: texts[other[kind]],
        "normal image": lambda kind: texts[NORMAL_TYPE],
        "shuffled words": lambda kind: shuffled[kind],
    }


def _read(group: Mapping[str, np.ndarray]) -> Text:
    names = ("average", "average_mask", "phrases", "phrase_masks")
    return Text(*(np.asarray(group[name], np.float32) for name in names))


def _one_phrase(text: Text, generator: np.random.Generator) -> Text:
    index = int(generator.integers(len(text.phrases)))
    return replace(text, average=text.phrases[index], average_mask=text.phrase_masks[index])


def _shuffled(dataset: Path, category: str, settings: EncodePrompts) -> dict[str, Text]:
    """The types' words, with the words of every phrase in a random order."""
    phrases = read_json(dataset / "generate_prompts/prompts.json")["phrases"]
    language, generator = settings.language, np.random.default_rng(0)
    encoder = load_text_encoder(
        source="folder" if language.weights.source == "file" else language.weights.source,
        name=language.encoder,
        folder=Path(language.weights.file) if language.weights.file else None,
        phrases=[one for types in phrases.values() for listed in types.values() for one in listed],
        channels=language.channels,
        sha256=language.weights.sha256,
        seed=language.weights.seed,
    )
    texts = {}
    for kind, listed in phrases[category].items():
        mixed = [" ".join(generator.permutation(phrase.split())) for phrase in listed]
        features, masks = encode_phrases(encoder, mixed, tokens=language.tokens)
        mean, mean_mask = average_features(features, masks, mode=language.average)
        texts[kind] = Text(mean, mean_mask, features, masks)
    return texts


def measure(
    folder: Path,
    weights: Path,
    items: Sequence[Item],
    words: Mapping[str, Callable[[str], Text]],
    options: argparse.Namespace,
) -> Iterator[dict[str, str | float]]:
    """A line a kind of words."""
    with open_network(
        weights,
        images=folder / "make_manifest/images.h5",
        residuals=folder / "compute_residuals/location_aware/real.h5",
        language=folder.parent / "encode_prompts/language.h5",
        category=folder.name,
        radius_px=options.radius_px,
        device=torch.device("cpu"),
    ) as opened:
        asked = words if opened.model.language else {AVERAGE: words[AVERAGE]}
        right: list[list[Answer]] = []
        for name, words_of in asked.items():
            found = [
                _answer(opened, item, words_of(item.kind), right[index] if right else None, options)
                for index, item in enumerate(items)
            ]
            right = right or [answers for answers, _ in found]
            yield {"words": name if opened.model.language else "none"} | _score(
                items, found, right, options.threshold
            )


def _answer(
    opened: Opened, item: Item, text: Text, right: list[Answer] | None, options: argparse.Namespace
) -> tuple[list[Answer], list[np.ndarray]]:
    """The robot user's answers, and the probabilities at the clicks of `right`."""
    session = replace(opened, texts={item.kind: text}).session(item.row, [item.kind])
    answers = simulate_clicks(
        session.predict, item.truth, count=max(COUNTS), threshold=options.threshold
    )
    if right is None:
        return answers, [answers[count - 1].probability for count in COUNTS]
    before = [right[count - 2].probability if count > 1 else None for count in COUNTS]
    given = [right[count - 1].clicks for count in COUNTS]
    return answers, [session.predict(*pair) for pair in zip(given, before, strict=True)]


def _score(
    items: Sequence[Item],
    found: Sequence[tuple[list[Answer], list[np.ndarray]]],
    right: Sequence[list[Answer]],
    threshold: float,
) -> dict[str, str | float]:
    overlap = [
        [100 * iou(answers[count - 1].probability > threshold, item.truth) for count in COUNTS]
        for item, (answers, _) in zip(items, found, strict=True)
    ]
    losses, moved = [], []
    for item, (_, forced), answers in zip(items, found, right, strict=True):
        for count, probability in zip(COUNTS, forced, strict=True):
            bounded = probability.clip(EPSILON, 1 - EPSILON)
            losses.append(-np.log(np.where(item.truth, bounded, 1 - bounded)).mean())
            expected = answers[count - 1].probability
            moved.append(np.linalg.norm(probability - expected) / np.linalg.norm(expected))
    means = np.mean(overlap, axis=0)
    return {
        "mIoU@1/3/5": "/".join(f"{mean:.1f}" for mean in means),
        "cross entropy": float(np.mean(losses)),
        "moved": float(np.mean(moved)),
    }


if __name__ == "__main__":
    run(main)
