"""Words are checked before a run's first job."""

from pathlib import Path

import numpy as np
import pytest

from adclick.data.images import write_png
from adclick.language.needs import check_words
from adclick.run.config import Config, load_config
from adclick.run.errors import InputError
from tests.run.test_config import merged, read

TYPES = "  good: [a nut]\n  contamination: [dirt]\n"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A data set of one category with defects of the type `R&D`."""
    picture = np.full((4, 6, 3), 90, np.uint8)
    for place in ("train/good/0", "train/R&D/0"):
        write_png(tmp_path / f"own/nut/{place}.png", picture)
    own = {"root": "own", "categories": ["nut"], "textures": [], "layout": "mvtec"}
    own |= {"prompts": str(tmp_path / "bank.yaml"), "split": "drawn"}
    own |= {"training_defects": 0, "empty_masks": "error"}
    changes = {"data_root": str(tmp_path), "datasets": {"own": own}, "prompts": {"phrases": 1}}
    return load_config(merged(read(), changes))


@pytest.mark.parametrize(
    ("bank", "says"),
    [
        ("bolt:\n" + TYPES, "no category 'nut'; add it with its defect types"),
        ("nut:\n" + TYPES, "category 'nut': no phrases for R&D"),
        ("nut:\n  R&D: [a nut bent for a test]\n", "no phrases for contamination, good"),
    ],
)
def test_what_a_bank_lacks_is_named(config: Config, tmp_path: Path, bank: str, says: str) -> None:
    (tmp_path / "bank.yaml").write_text(bank)
    with pytest.raises(InputError, match=says):
        check_words(config, "own")


def test_a_bank_with_all_of_it_is_enough_also_without_the_data(
    config: Config, tmp_path: Path
) -> None:
    (tmp_path / "bank.yaml").write_text(f"nut:\n  R&D: [a nut bent for a test]\n{TYPES}")
    check_words(config, "own")
    (tmp_path / "bank.yaml").write_text(f"nut:\n{TYPES}")
    check_words(config.model_copy(update={"data_root": str(tmp_path / "elsewhere")}), "own")
