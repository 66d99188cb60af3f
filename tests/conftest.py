import os
from pathlib import Path

import pytest

# One thread a test process: tests run two at a time, and equal threads give equal bytes.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

from jaxtyping import install_import_hook  # noqa: E402

# Every array shape that a signature promises is checked while the tests run.
HOOK = install_import_hook("adclick", "beartype.beartype")
SHARED = Path(__file__).parents[1].parent / "shared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if SHARED.is_dir():
        return
    for item in items:
        if "real_data" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="no ../shared with real images and weights"))


@pytest.fixture(scope="session")
def project() -> Path:
    return Path(__file__).parents[1]
