"""Which device a job computes on, and how it asks for repeatable arithmetic there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

LOCK_FOLDER_VARIABLE = "ADCLICK_LOCK_FOLDER"


@contextmanager
def compute_device() -> Iterator["torch.device"]:
    """The device for one job: a GPU that no other job of this machine holds, else the CPU.

    Respects CUDA_VISIBLE_DEVICES. One job a GPU: a lock file per device is held until the block
    ends; when all are taken, waits for the first. On the CPU torch is asked for deterministic
    algorithms.
    """
    import torch

    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    if not torch.cuda.is_available():
        yield torch.device("cpu")
        return
    index, lock = _take_gpu(torch.cuda.device_count())
    try:
        yield torch.device("cuda", index)
    finally:
        os.close(lock)


def _take_gpu(count: int) -> tuple[int, int]:
    import fcntl

    folder = Path(os.environ.get(LOCK_FOLDER_VARIABLE, "/tmp"))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    names = [
        visible[index] if index < len(visible) and visible[index] else str(index)
        for index in range(count)
    ]
    locks = [
        os.open(folder / f"adclick-gpu-{name}.lock", os.O_RDWR | os.O_CREAT, 0o666)
        for name in names
    ]
    for index, lock in enumerate(locks):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        _close_others(locks, index)
        return index, lock
    fcntl.flock(locks[0], fcntl.LOCK_EX)
    _close_others(locks, 0)
    return 0, locks[0]


def _close_others(locks: list[int], kept: int) -> None:
    for index, lock in enumerate(locks):
        if index != kept:
            os.close(lock)
