"""The order of jobs in which a run takes little disk: what lets something go comes first."""

from collections.abc import Mapping

from adclick.run.config import Config
from adclick.run.plan.names import LINES, REAL, SIMULATED, place_of, pretraining_sources

# Of one category, from the first to the last; what is not named comes after them.
STAGES = (
    *("make_manifest", "extract_features", "fit_retrieval", "fit_foreground", "choose_matching"),
    *("simulate_defects", "find_neighbours", "compute_residuals", "compute_drawn_residuals"),
    *("pretrain_adclick", "train_adclick", "label_defects", "expand_defects"),
    *("pretrain_adclick_seg", "train_adclick_seg", "fit_map_peer", "predict_maps"),
    *("simulate_clicks", "simulate_robot_clicks"),
)
BEFORE_TRAINING = STAGES[: STAGES.index("find_neighbours")]


def priority(config: Config, rule: str, wildcards: Mapping[str, str]) -> int:
    """How early a job is done among those that can be: the greatest first.

    One data set after the other, each with the trainings of another that read it alone. Of a data
    set first what all its trainings read, then the trainings, one category after the other; of a
    category the last stage first. What is of no category is small and done at once.
    """
    radix = len(STAGES) + 1
    most = max(len(dataset.categories) for dataset in config.datasets.values())
    if "category" not in wildcards:
        return (2 * len(config.datasets) + 2) * (most + 1) * radix
    place = place_of(wildcards)
    read = pretraining_sources(config, place) if rule.startswith("pretrain_") else [place]
    unread = [name for name in config.datasets if name not in config.run_datasets]
    order = [*unread, *config.run_datasets]
    last = max(order.index(one.split("/")[0]) for one in read)
    is_own = wildcards.get("drawn") == LINES  # its own training alone reads it
    is_read = (rule in BEFORE_TRAINING and not is_own) or wildcards.get("source") in (
        REAL,
        SIMULATED,
    )
    turn = 2 * (len(order) - last) + is_read
    category = config.datasets[wildcards["dataset"]].categories.index(wildcards["category"])
    stage = STAGES.index(rule) if rule in STAGES else len(STAGES)
    return (turn * most + most - category) * radix + stage
