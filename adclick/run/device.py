"""Which device a job computes on, and how it asks for repeatable arithmetic there."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Precision = Literal["float32", "bfloat16"]

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


def is_reduced(device: "torch.device", precision: Precision) -> bool:
    """Whether arithmetic on a device is in half precision: where it is asked for and a GPU has
    bfloat16. A CPU always computes in float32.
    """
    import torch

    wanted = precision == "bfloat16" and device.type == "cuda"
    return wanted and torch.cuda.is_bf16_supported(including_emulation=False)


@contextmanager
def reduced(device: "torch.device", precision: Precision) -> Iterator[None]:
    """Matrix products and convolutions in bfloat16, all else in float32, where `is_reduced` says
    so; else everything in float32.
    """
    import torch

    with torch.autocast(device.type, torch.bfloat16, enabled=is_reduced(device, precision)):
        yield


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
