"""Which detection methods are peers that learn, by the names of their files and of labels."""

from functools import cache
from typing import Literal, NamedTuple

from adclick.run.kinds import kinds_of, wanted_by

DETECTOR_PEERS = "training/peers"  # the folder of the peers that learn from pictures, a file each
LEARNER = "fit_peer"  # what each of these files has; its keywords with a value are settings
LABELLED = "labelled"  # the keyword by which a peer asks for labelled defects
SIMULATED_DEFECTS = "simulated"
SEED = "seed"  # asked for by those that draw: they are run with every seed
TEXTURES = "textures"
PYTHON = "python"  # asks for an interpreter: a peer that lives in an environment of its own

Labels = Literal["weak", "full", "box", "human"]
LABELS: tuple[Labels, ...] = ("weak", "full", "box", "human")


class PeerMethod(NamedTuple):
    """A peer by its file, and whose labels it learns from; None for one that reads none."""

    peer: str
    labels: Labels | None


@cache
def peer_methods() -> dict[str, PeerMethod]:
    """Every method that is a peer: the file's name, which of a peer that reads labels means those
    of clicks, and `<file>_<labels>` for others.
    """
    found: dict[str, PeerMethod] = {}
    for peer in kinds_of(DETECTOR_PEERS):
        if LABELLED in wanted_of(peer):
            found[peer] = PeerMethod(peer, "weak")
            found |= {f"{peer}_{labels}": PeerMethod(peer, labels) for labels in LABELS[1:]}
        else:
            found[peer] = PeerMethod(peer, None)
    return found


def wanted_of(peer: str) -> list[str]:
    """What a peer's function asks for: the keywords that have no value."""
    return wanted_by(DETECTOR_PEERS, peer, LEARNER)
