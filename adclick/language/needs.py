"""Which words a run will read, checked before its first job."""

from pathlib import Path

from adclick.data.rows import NORMAL_TYPE, SIMULATED_TYPE
from adclick.language.bank import chosen_phrases
from adclick.run.config import Config
from adclick.run.errors import InputError
from adclick.run.kinds import load_kind
from adclick.run.settings.data import LAYOUTS


def check_words(config: Config, dataset: str) -> None:
    """InputError when a data set's prompt bank lacks a category, a type of defect that lies on
    disk, `good` or `contamination`, or phrases of any of its types.
    """
    defined = config.datasets[dataset]
    on_disk = (Path(config.data_root) / defined.root).is_dir() and defined.layout != "toy"
    found = data_types(config, dataset) if on_disk else {}
    wanted = {
        category: [*found.get(category, []), NORMAL_TYPE, SIMULATED_TYPE]
        for category in defined.categories
    }
    count = None if config.prompts.source == "llm" else config.prompts.phrases
    chosen_phrases(Path(defined.prompts), defined.categories, wanted, count)


def data_types(config: Config, name: str) -> dict[str, list[str]]:
    """The types that the folders of a data set hold, by category."""
    if name not in config.datasets:
        raise InputError(f"--dataset {name}: not one of {', '.join(config.datasets)}")
    defined = config.datasets[name]
    root = Path(config.data_root) / defined.root
    read_rows = load_kind(LAYOUTS, defined.layout).read_rows
    return {
        category: sorted({row.defect_type for row in read_rows(root, category)})
        for category in defined.categories
    }
