"""What words are worth: trained click networks, asked with right and with wrong words.

`python -m benchmarks.words results/small/mvtec/bottle --methods finetuned finetuned_lang`

A method's network answers the protocol's robot user on real defects with the average of its type's
phrases, with one random phrase of it, with another type's, with the words of a normal image, and
with the words of every phrase shuffled. Beside the mIoU stand, at the clicks that the average led
to: the mean binary cross entropy, and how far the probabilities moved (relative L2). A network
without a language branch has one line. Prints a table in Markdown, line by line.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from adclick.clicks.robot import Answer, click_generator, simulate_clicks
from adclick.commands.encode_prompts import open_encoder
from adclick.commands.simulate_clicks import DEFECT_ROLES
from adclick.data.rows import NORMAL_TYPE, defect_rows, read_masks
from adclick.language.encoder import average_features, encode_phrases
from adclick.language.words import Text, defect_types, read_texts
from adclick.metrics.clicks import iou
from adclick.models.opening import Opened, open_network
from adclick.networks.checkpoints import read_metadata
from adclick.run.artifacts import read_csv, read_json, read_stamp
from adclick.run.errors import InputError
from adclick.run.job import run
from adclick.run.plan.language import EncodePrompts
from adclick.run.settings.language import Language

COUNTS = (1, 3, 5)
EPSILON = 1e-6
AVERAGE = "average of its type"

COLUMNS = ("method", "seed", "words", "mIoU@1/3/5", "cross entropy", "moved")


@dataclass(frozen=True)
class Item:
    """A real defect: its row in the manifest, id and type, and its true mask [height width]."""

    row: int
    image_id: str
    kind: str
    truth: np.ndarray


def main() -> None:
    """Measure and print; a line a method, seed and kind of words."""
    options = _options()
    torch.set_num_threads(1)
    folder: Path = options.category
    items = read_items(folder, options.per_type)
    words = kinds_of_words(folder.parent, folder.name)
    print(f"{len(items)} real defects of {folder.name}\n")
    print(_row(COLUMNS), _row(["---"] * len(COLUMNS)), sep="\n")
    for method in options.methods:
        for seed in options.seeds:
            weights = folder / f"train_adclick/{method}/seed{seed}/weights.safetensors"
            for line in measure(folder, weights, items, words):
                print(_row([method, str(seed), *line]), flush=True)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("category", type=Path, help="results/<run>/<data set>/<category>")
    parser.add_argument("--methods", nargs="+", required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--per-type", type=int, help="at most so many defects of a type")
    return parser.parse_args()


def read_items(folder: Path, per_type: int | None) -> list[Item]:
    """The real defects of a category, or the first of each type."""
    manifest = folder / "make_manifest/manifest.csv"
    truths = read_masks(folder / "make_manifest/masks.h5")
    rows = [row for row in defect_rows(manifest, roles=DEFECT_ROLES) if row[1] in truths]
    items = [Item(*row, truths[row[1]]) for row in rows]
    kinds = sorted({item.kind for item in items})
    return [one for kind in kinds for one in [i for i in items if i.kind == kind][:per_type]]


def kinds_of_words(dataset: Path, category: str) -> dict[str, Callable[[Item], Text]]:
    """By name: what words are given for a defect."""
    language = dataset / "encode_prompts/language.h5"
    texts = read_texts(language, category)
    assert texts is not None
    stamp = read_stamp(language)
    if stamp is None:
        raise InputError(f"{language}: without its stamp; run encode_prompts again")
    settings = EncodePrompts.model_validate(stamp["settings"])
    shuffled = _shuffled(dataset, category, settings.language)
    kinds = read_csv(dataset / category / "make_manifest/manifest.csv")["defect_type"]
    real = defect_types(texts, sorted(set(kinds)))
    other = dict(zip(real, [*real[1:], *real[:1]], strict=True))
    return {
        AVERAGE: lambda item: texts[item.kind],
        "one random phrase": lambda item: _one_phrase(texts[item.kind], item.image_id),
        "another type": lambda item: texts[other[item.kind]],
        "normal image": lambda item: texts[NORMAL_TYPE],
        "shuffled words": lambda item: shuffled[item.kind],
    }


def _one_phrase(text: Text, image_id: str) -> Text:
    """A phrase that depends on the image alone, not on which methods are asked."""
    index = int(click_generator(image_id, 0).integers(len(text.phrases)))
    return replace(text, average=text.phrases[index], average_mask=text.phrase_masks[index])


def _shuffled(dataset: Path, category: str, settings: Language) -> dict[str, Text]:
    """The types' words, with the words of every phrase in a random order."""
    phrases = read_json(dataset / "generate_prompts/prompts.json")["phrases"]
    known = [one for types in phrases.values() for listed in types.values() for one in listed]
    encoder, generator = open_encoder(settings, known), np.random.default_rng(0)
    texts = {}
    for kind, listed in phrases[category].items():
        mixed = [" ".join(generator.permutation(phrase.split())) for phrase in listed]
        features, masks = encode_phrases(encoder, mixed, tokens=settings.tokens)
        mean, mean_mask = average_features(features, masks, mode=settings.average)
        texts[kind] = Text(mean, mean_mask, features, masks)
    return texts


def measure(
    folder: Path,
    weights: Path,
    items: Sequence[Item],
    words: Mapping[str, Callable[[Item], Text]],
) -> Iterator[tuple[str, ...]]:
    """The cells of a line a kind of words; clicks are those that the network was trained with."""
    trained = read_metadata(weights).extra["settings"]
    threshold = trained["threshold"]
    with open_network(
        weights,
        images=folder / "make_manifest/images.h5",
        residuals=folder / "compute_residuals/location_aware/real.h5",
        language=folder.parent / "encode_prompts/language.h5",
        category=folder.name,
        radius_px=trained["radius_px"],
        device=torch.device("cpu"),
    ) as opened:
        asked = words if opened.model.language else {AVERAGE: words[AVERAGE]}
        right: list[list[Answer]] = []
        for name, words_of in asked.items():
            found = [
                _answer(opened, item, words_of(item), answers, threshold)
                for item, answers in zip(items, right or [None] * len(items), strict=True)
            ]
            right = right or [answers for answers, _ in found]
            shown = name if opened.model.language else "none"
            yield shown, *_score(items, found, right, threshold)


def _answer(
    opened: Opened, item: Item, text: Text, right: list[Answer] | None, threshold: float
) -> tuple[list[Answer], list[np.ndarray]]:
    """The robot user's answers, and the probabilities at the clicks of `right`."""
    told = replace(opened, texts={item.kind: text})
    predict = told.answers(item.row, [item.kind], zoom=None, edges=None, threshold=threshold)
    answers = simulate_clicks(predict, item.truth, count=max(COUNTS), threshold=threshold)
    if right is None:
        return answers, [answers[count - 1].probability for count in COUNTS]
    before = [right[count - 2].probability if count > 1 else None for count in COUNTS]
    given = [right[count - 1].clicks for count in COUNTS]
    return answers, [predict(*pair) for pair in zip(given, before, strict=True)]


def _score(
    items: Sequence[Item],
    found: Sequence[tuple[list[Answer], list[np.ndarray]]],
    right: Sequence[list[Answer]],
    threshold: float,
) -> tuple[str, str, str]:
    """The cells of the three quantities."""
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
    means = "/".join(f"{mean:.1f}" for mean in np.mean(overlap, axis=0))
    return means, f"{np.mean(losses):.3g}", f"{np.mean(moved):.3g}"


if __name__ == "__main__":
    run(main)
