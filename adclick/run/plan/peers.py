"""Peers: their settings, and what those need that is not part of this project: files of weights, an
environment of another library.
"""

import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from adclick.run.config import Config
from adclick.run.kinds import kinds_of, settings_of
from adclick.run.settings.clicks import OPENER, PEERS
from adclick.run.settings.peers import (
    DETECTOR_PEERS,
    LEARNER,
    PYTHON,
    peer_methods,
    wanted_of,
)

WEIGHTS = "weights"  # the setting that names a file, a folder, or a model of the hub
SUFFIXES = (".json", ".safetensors")  # of a folder's files, as `save_pretrained` writes them


def peer_settings(config: Config, peer: str) -> dict[str, Any]:
    """The settings of a peer: those of the configuration over the defaults of its file."""
    if peer not in kinds_of(PEERS):
        return {}
    return settings_of(PEERS, peer, OPENER) | config.click_peers.get(peer, {})


def peer_files(config: Config, peer: str) -> list[str]:
    """The files of a peer's weights: one, or those of a folder or of a downloaded model. Nothing is
    downloaded here. Empty for a peer without weights, and where they are not there.
    """
    named = peer_settings(config, peer).get(WEIGHTS)
    return [] if named is None else _files(named)


def learner_settings(config: Config, peer: str) -> dict[str, Any]:
    """The settings of a peer that learns: those of the configuration over its file's defaults."""
    defaults = settings_of(DETECTOR_PEERS, peer, LEARNER)
    return defaults | config.detector_peers.get(peer, {})


def missing_learners(config: Config) -> dict[str, str]:
    """What to do about each detection method of the run whose library is not installed."""
    known = peer_methods()
    foreign = [
        method
        for method in config.run_map_peers
        if method in known and PYTHON in wanted_of(known[method].peer)
    ]
    if not foreign or _has_anomalib(config.anomalib_python):
        return {}
    return {
        method: f"{method}: no anomalib by {config.anomalib_python}, so its rows stay empty; run"
        " `make peers`, or name an interpreter that has it under anomalib_python"
        for method in foreign
    }


@cache
def _has_anomalib(python: str) -> bool:
    """Whether an interpreter is there and finds the library; nothing of it is imported."""
    if shutil.which(python) is None:
        return False
    find = "import importlib.util as u; raise SystemExit(u.find_spec('anomalib') is None)"
    return subprocess.run([python, "-c", find], capture_output=True).returncode == 0


def missing_peers(config: Config) -> dict[str, str]:
    """What to do about each click method of the run that needs a peer's weights which are not
    there.
    """
    variants = {name: config.adclick_variants[name].published for name in config.run_adclick}
    peers = {name: name for name in config.run_click_peers} | variants
    named = {
        method: (peer, peer_settings(config, peer)[WEIGHTS])
        for method, peer in peers.items()
        if peer and WEIGHTS in peer_settings(config, peer) and not peer_files(config, peer)
    }
    return {
        method: f"{method}: no weights at {weights}, so its rows stay empty; name a file, a folder"
        f" of safetensors, or what `hf download` has fetched, under click_peers.{peer}.{WEIGHTS}"
        for method, (peer, weights) in named.items()
    }


def _files(named: str) -> list[str]:
    if Path(named).is_file():
        return [named]
    folder = Path(named) if Path(named).is_dir() else _downloaded(named)
    if folder is None:
        return []
    files = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    whole = {path.suffix for path in files} == {*SUFFIXES}
    return [str(path) for path in files] if whole else []


def _downloaded(name: str) -> Path | None:
    """The folder of a model of the hub that was downloaded before."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    wanted = [f"*{suffix}" for suffix in SUFFIXES]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError):  # no model's name, or none downloaded
        return None
