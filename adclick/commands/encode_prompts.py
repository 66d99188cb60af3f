"""The features of every phrase and the average of every type (Eq. 6)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from adclick.language.encoder import TextEncoder, average_features, load_text_encoder
from adclick.language.kept import Encoded, encode_or_find, keep, write_keys
from adclick.run.artifacts import ArrayFile, create_array, create_arrays, read_json
from adclick.run.job import parse_job, run
from adclick.run.plan.language import EncodePrompts
from adclick.run.provenance import digest
from adclick.run.settings.language import Language

COMMAND = "adclick.commands.encode_prompts"


def main(argv: Sequence[str] | None = None) -> None:
    """Write per category and type: `phrases`, `phrase_masks`, `average`, `average_mask`.

    Beside them lie the keys by which the next run finds the features of phrases that did not
    change: the result lives on as `language.kept.h5`, which no rule knows.
    """
    job = parse_job(
        COMMAND, EncodePrompts, argv, doc=__doc__, inputs=["prompts"], outputs=["language"]
    )
    settings = job.settings.language
    phrases = read_json(job.inputs["prompts"])["phrases"]
    everything = [
        phrase for types in phrases.values() for listed in types.values() for phrase in listed
    ]
    encoder = open_encoder(settings, everything)
    result = job.outputs["language"]
    kept = result.with_name(f"{result.stem}.kept.h5")
    encoded = encode_or_find(encoder, everything, tokens=settings.tokens, kept=kept)
    print(f"encoded {len(encoded.fresh)} of {len(encoded.keys)} phrases; the others were kept")
    for phrase in encoded.cut:
        print(f"cut to {settings.tokens} tokens: {phrase}")
    stamp = {**job.stamp, "phrases": digest(sorted(encoded.keys.values()))}
    with create_arrays(result, image_ids=[], specs={}, stamp=stamp) as file:
        for category, types in sorted(phrases.items()):
            for name, listed in sorted(types.items()):
                group = file.create_group(f"{category}/{name}")
                _write_type(group, listed, encoded, average=settings.average)
    keep(result, kept)


def open_encoder(settings: Language, phrases: Sequence[str]) -> TextEncoder:
    """The text encoder of the settings; `phrases` are all that a seeded one must know."""
    weights = settings.weights
    return load_text_encoder(
        source="folder" if weights.source == "file" else weights.source,
        name=settings.encoder,
        folder=Path(weights.file) if weights.file else None,
        phrases=phrases,
        channels=settings.channels,
        sha256=weights.sha256,
        seed=weights.seed,
    )


def _write_type(
    group: ArrayFile, phrases: Sequence[str], encoded: Encoded, *, average: str
) -> None:
    features = np.stack([encoded.features[phrase] for phrase in phrases])
    masks = np.stack([encoded.masks[phrase] for phrase in phrases])
    mean, mean_mask = average_features(features, masks, mode=average)
    arrays = {
        "phrases": features,
        "phrase_masks": masks,
        "average": mean,
        "average_mask": mean_mask,
    }
    for key, array in arrays.items():
        create_array(group, key, array.shape, "float32")[:] = array
    write_keys(group, encoded, phrases)


if __name__ == "__main__":
    run(main)
