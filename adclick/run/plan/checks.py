"""What must hold before a run starts."""

from pathlib import Path

from adclick.run.config import Config
from adclick.run.errors import InputError
from adclick.run.plan.names import click_networks, places, pretraining_sources


def local_gpus() -> int:
    """GPUs that a computing job takes on this machine: one where there is one, else none."""
    return int(Path("/dev/nvidiactl").exists())


def check(config: Config) -> None:
    """InputError for variants that need a pretraining which some category cannot have or which is
    of another network, or labels that no ADClick variant makes.
    """
    alone = [place for place in places(config) if not pretraining_sources(config, place)]
    click = click_networks(config)
    needing = [name for name in click if not config.adclick_variants[name].finetune]
    needing += [
        name for name in config.run_adclick_seg if config.adclick_seg_variants[name].pretrain
    ]
    if alone and needing:
        raise InputError(
            f"{', '.join(alone)}: nothing to pretrain on, which {', '.join(needing)} need;"
            " set pretrain_on, or run variants with finetune: true and pretrain: false"
        )
    detectors = ((name, config.adclick_seg_variants[name]) for name in config.run_adclick_seg)
    unlike = [name for name, one in detectors if one.pretrain and one.supervision == "unsupervised"]
    if unlike and config.adclick_seg_network.shortcut == "unsupervised":
        raise InputError(
            f"{', '.join(unlike)}: pretraining has labels, so with adclick_seg_network.shortcut:"
            " unsupervised its network is another; choose none or all, or pretrain: false"
        )


def missing_weights(config: Config) -> bool:
    """Whether the run trains a language branch whose frozen Swin has no weights."""
    variants = [config.adclick_variants[name] for name in click_networks(config)]
    detectors = [config.adclick_seg_variants[name] for name in config.run_adclick_seg]
    language = any(variant.language for variant in [*variants, *detectors])
    branch = config.vision_language
    return language and branch.trainable != "all" and branch.weights is None
