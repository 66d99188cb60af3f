"""The features of every phrase and the average of every type (Eq. 6)."""

from collections.abc import Sequence
from pathlib import Path

from adclick.artifacts import create_array, create_arrays, read_json
from adclick.commands.entry import parse_job, run
from adclick.config import EncodePrompts
from adclick.language.encoder import average_features, encode_phrases, load_text_encoder

COMMAND = "adclick.commands.encode_prompts"


def main(argv: Sequence[str] | None = None) -> None:
    """Write per category and type: `phrases`, `phrase_masks`, `average`, `average_mask`."""
    job = parse_job(
        COMMAND, EncodePrompts, argv, doc=__doc__, inputs=["prompts"], outputs=["language"]
    )
    settings = job.settings.language
    phrases = read_json(job.inputs["prompts"])["phrases"]
    everything = [
        phrase for types in phrases.values() for listed in types.values() for phrase in listed
    ]
    weights = settings.weights
    encoder = load_text_encoder(
        source="folder" if weights.source == "file" else weights.source,
        name=settings.encoder,
        folder=Path(weights.file) if weights.file else None,
        phrases=everything,
        channels=settings.channels,
        seed=weights.seed,
    )
    with create_arrays(job.outputs["language"], image_ids=[], specs={}, stamp=job.stamp) as file:
        for category, types in sorted(phrases.items()):
            for name, listed in sorted(types.items()):
                features, masks = encode_phrases(encoder, listed, tokens=settings.tokens)
                average, average_mask = average_features(features, masks, mode=settings.average)
                group = file.create_group(f"{category}/{name}")
                arrays = {
                    "phrases": features,
                    "phrase_masks": masks,
                    "average": average,
                    "average_mask": average_mask,
                }
                for key, array in arrays.items():
                    create_array(group, key, array.shape, "float32")[:] = array


if __name__ == "__main__":
    run(main)
