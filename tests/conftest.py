import fcntl
import os
import shutil
from pathlib import Path

import pytest

# One thread a test process: tests run two at a time, and equal threads give equal bytes.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

from jaxtyping import install_import_hook  # noqa: E402

PACKAGE = Path(__file__).parents[1] / "adclick"
SHARED = PACKAGE.parent.parent / "shared"
# Every array shape that a signature promises is checked while tests run. The plan promises none,
# and its methods return `Self`, which can be checked on whole classes alone.
CHECKED = [
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if path.name != "__init__.py" and path.parent.name != "plan"
]
HOOK = install_import_hook(CHECKED, "beartype.beartype")


@pytest.hookimpl(tryfirst=True)  # before `-m` looks at markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "finished_run" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
        if "real_data" in item.keywords and not SHARED.is_dir():
            item.add_marker(pytest.mark.skip(reason="no ../shared with real images and weights"))


@pytest.fixture(scope="session")
def project() -> Path:
    return Path(__file__).parents[1]


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished micro run, to be read only; also of a variant pretrained alone.

    The first test process that asks makes it; another that asks meanwhile waits.
    """
    from tests.chain import finish

    root = tmp_path_factory.getbasetemp()
    shared = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    target, whole = shared / "finished", shared / "finished.whole"
    with (shared / "finished.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists():
            shutil.rmtree(target, ignore_errors=True)
            finish(target)
            whole.touch()
    return target
