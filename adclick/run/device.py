"""Which device a job computes on, and how it asks for repeatable arithmetic there."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

LOCK_FOLDER_VARIABLE = "ADCLICK_LOCK_FOLDER"
POLL_S = 1.0


@contextmanager
def compute_device() -> Iterator["torch.device"]:
    """The device for one job: a GPU that no other job of this machine holds, else the CPU.

    Respects CUDA_VISIBLE_DEVICES. One job a GPU: a lock file per device is held until the block
    ends; when all are taken, waits for one. Under Slurm the scheduler
    has chosen. On the CPU torch is asked for deterministic
    algorithms.
    """
    import torch

    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    # Filling new memory finds bugs and takes 7 % of a training. Torch's stubs lack the switch.
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]
    if not torch.cuda.is_available():
        yield torch.device("cpu")
        return
    if "SLURM_JOB_ID" in os.environ:  # the scheduler has given this job a GPU of its own
        yield torch.device("cuda", 0)
        return
    index, lock = _take_gpu(torch.cuda.device_count())
    try:
        yield torch.device("cuda", index)
    finally:
        os.close(lock)


def device_name(device: "torch.device") -> str:
    """What arithmetic on a device depends on: `cpu`, or the model of the GPU."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _take_gpu(count: int) -> tuple[int, int]:
    folder = Path(os.environ.get(LOCK_FOLDER_VARIABLE, f"/tmp/adclick-{os.getuid()}"))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    given = {index: name for index, name in enumerate(visible) if name}
    while True:
        for index in range(count):
            lock = _try_lock(folder / f"gpu-{given.get(index, index)}.lock")
            if lock is not None:
                return index, lock
        time.sleep(POLL_S)


def _try_lock(path: Path) -> int | None:
    import fcntl

    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock
