"""`make setup` takes the newest Python that works, and says in one line what to do without one."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

MAKE = shutil.which("make")
pytestmark = pytest.mark.skipif(MAKE is None, reason="no make")


def put_python(
    folder: Path, name: str, version: tuple[int, int], *, lacking: str = "", compiles: bool = False
) -> None:
    """A `name` on the PATH that says it is of this version, without one of its modules."""
    pretends = (
        f"import os, shutil, sys; sys.version_info = (*{version}, 0);"
        f" shutil.which = os.path.exists = lambda path: {compiles};"
        + (f" sys.modules[{lacking!r}] = None;" if lacking else "")
        + " exec(open(sys.argv[1]).read())"
    )
    script = f'#!/bin/sh\nexec {sys.executable} -c "{pretends}" "$1"\n'
    (folder / name).write_text(script, encoding="utf-8")
    (folder / name).chmod(0o755)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A PATH without any Python."""
    (tmp_path / "echo").symlink_to(shutil.which("echo") or "/bin/echo")
    return tmp_path


def choose(project: Path, path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`make python` with nothing but `path`, not as a part of another make."""
    kept = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    kept.pop("PYTHON", None)
    command = [str(MAKE), "--no-print-directory", "python", *arguments]
    return subprocess.run(
        command, cwd=project, env={**kept, "PATH": str(path)}, capture_output=True, text=True
    )


def test_the_newest_is_taken(project: Path, path: Path) -> None:
    for minor in (11, 13, 12):
        put_python(path, f"python3.{minor}", (3, minor))
    assert choose(project, path).stdout == "python3.13\n"


def test_the_one_that_must_compile_a_package_comes_last(project: Path, path: Path) -> None:
    put_python(path, "python3.14", (3, 14))
    assert choose(project, path).returncode == 2
    put_python(path, "python3.14", (3, 14), compiles=True)
    assert choose(project, path).stdout == "python3.14\n"
    put_python(path, "python3.11", (3, 11), compiles=True)
    assert choose(project, path).stdout == "python3.11\n"


@pytest.mark.parametrize("lacking", ["venv", "ensurepip"])
def test_one_that_cannot_make_an_environment_is_passed_over(
    project: Path, path: Path, lacking: str
) -> None:
    put_python(path, "python3.13", (3, 13), lacking=lacking)
    put_python(path, "python3.12", (3, 12))
    assert choose(project, path).stdout == "python3.12\n"


def test_a_shim_of_a_version_that_is_not_active_is_passed_over(project: Path, path: Path) -> None:
    (path / "python3.14").write_text("#!/bin/sh\necho not here >&2\nexit 127\n", encoding="utf-8")
    (path / "python3.14").chmod(0o755)
    put_python(path, "python3.11", (3, 11))
    done = choose(project, path)
    assert (done.stdout, done.stderr) == ("python3.11\n", "")


@pytest.mark.parametrize(("minor", "works"), [(10, False), (11, True), (14, True), (15, False)])
def test_a_plain_python3_is_taken_when_packages_are_made_for_it(
    project: Path, path: Path, minor: int, works: bool
) -> None:
    put_python(path, "python3", (3, minor), compiles=True)
    done = choose(project, path)
    assert done.stdout == ("python3\n" if works else "")
    assert (done.returncode == 0) == works


def test_one_that_is_named_is_taken(project: Path, path: Path) -> None:
    put_python(path, "python3.13", (3, 13))
    put_python(path, "mine", (3, 12))
    assert choose(project, path, "PYTHON=mine").stdout == "mine\n"


@pytest.mark.parametrize("named", ["", "PYTHON=python3.9"])
def test_without_one_a_line_says_what_to_install(project: Path, path: Path, named: str) -> None:
    put_python(path, "python3.9", (3, 9))
    done = choose(project, path, *named.split())
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "Python 3.11, 3.12, 3.13, or 3.14" in done.stderr
    assert "apt install python3-venv" in done.stderr
    assert "conda" in done.stderr


def test_the_package_names_the_same_versions(project: Path) -> None:
    package = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = [line.split(" :: ")[-1] for line in package["classifiers"] if ":: 3." in line]
    assert named == ["3.11", "3.12", "3.13", "3.14"]
    assert package["requires-python"] == ">=3.11"
    makefile = (project / "Makefile").read_text(encoding="utf-8")
    assert all(f" python{version} " in makefile for version in named)
