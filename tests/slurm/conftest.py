import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, missing, slurm

REQUIRED = "ADCLICK_SLURM_REQUIRED"  # set where a missing Slurm is a failure: in CI


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    lacking = missing()
    if lacking:
        reason = f"no Slurm here: {', '.join(lacking)} (packages slurm-wlm and munge)"
        pytest.fail(reason) if os.environ.get(REQUIRED) else pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, slurm(Path(folder)) as running:
        yield running
