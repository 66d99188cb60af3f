"""A disk that is soon full."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Callable[[str], None]]:
    """A disk of that size in an empty folder; what comes out remounts it with other options."""
    folder.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if subprocess.run(mounted, capture_output=True).returncode != 0:
        pytest.skip("a small disk cannot be mounted here (needs root)")

    def remount(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)

    try:
        yield remount
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
