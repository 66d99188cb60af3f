import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from adclick.run import provenance
from adclick.run.plan.stages import STAGES


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "commands").mkdir()
    (tmp_path / "commands/__init__.py").write_text("")
    (tmp_path / "__init__.py").write_text("")
    (tmp_path / "commands/go.py").write_text(
        "from adclick.core import answer\n\n\ndef main():\n    return answer()\n"
    )
    (tmp_path / "core.py").write_text(
        'def answer():\n    """Forty-two."""\n    return 42  # why not\n'
    )
    (tmp_path / "other.py").write_text("unused = 1\n")
    (tmp_path / "config.py").write_text("key = 1\n")
    monkeypatch.setattr(provenance, "PACKAGE_FOLDER", tmp_path)
    return tmp_path


def forget() -> None:
    found = [value for value in vars(provenance).values() if hasattr(value, "cache_clear")]
    for cached in found:
        cached.cache_clear()


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    yield
    forget()


def fresh() -> str:
    forget()
    return provenance.fingerprint("adclick.commands.go")


def test_fingerprint_ignores_comments_docstrings_and_unreached_modules(package: Path) -> None:
    before = fresh()
    (package / "core.py").write_text(
        'def answer():\n    """The answer."""\n    # asked often\n    return 42\n'
    )
    (package / "other.py").write_text("unused = 2\n")
    (package / "config.py").write_text("key = 2\n")
    assert fresh() == before


def test_fingerprint_sees_a_changed_number_in_an_imported_module(package: Path) -> None:
    before = fresh()
    (package / "core.py").write_text("def answer():\n    return 43\n")
    assert fresh() != before


def test_fingerprint_follows_imports_inside_functions(package: Path) -> None:
    (package / "core.py").write_text(
        "def answer():\n    from adclick.other import unused\n    return unused\n"
    )
    before = fresh()
    (package / "other.py").write_text("unused = 2\n")
    assert fresh() != before


def test_fingerprint_is_bound_to_the_libraries_that_are_reached(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (package / "core.py").write_text("import numpy as np\n\n\ndef answer():\n    return np.pi\n")
    before = fresh()
    monkeypatch.setattr(provenance, "installed_version", lambda distribution: "0.0.0")
    assert fresh() != before


def test_fingerprint_ignores_definitions_that_are_not_named(package: Path) -> None:
    before = fresh()
    text = (package / "core.py").read_text()
    (package / "core.py").write_text(text + "\n\ndef unasked():\n    return answer()\n")
    assert fresh() == before
    (package / "core.py").write_text("print('on import')\n" + text)
    assert fresh() != before


def test_a_local_name_is_not_the_modules(package: Path) -> None:
    text = "def answer():\n    other = 42\n    return other\n"
    (package / "core.py").write_text(text)
    before = fresh()
    (package / "core.py").write_text(text + "\n\nother = 1\n")
    assert fresh() == before


SPLIT = {
    "core.py": "from adclick.deep import SHARE, Half\n\n\ndef answer():\n"
    "    return Half(84).of(SHARE)\n",
    "deep.py": "SHARE = 2\n\n\nclass Half:\n    def __init__(self, value):\n"
    "        self.value = value\n\n    def of(self, share):\n        return self.value // share\n",
}


def write_all(package: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (package / name).parent.mkdir(exist_ok=True)
        (package / name).write_text(text)


def test_a_file_that_is_moved_or_split_is_the_same_code(package: Path) -> None:
    write_all(package, SPLIT)
    before = fresh()
    share, half = SPLIT["deep.py"].split("\n\n\n")
    moved = {
        "core.py": SPLIT["core.py"].replace(
            "from adclick.deep import SHARE, Half",
            "from adclick.room.half import Half\nfrom adclick.room.share import SHARE",
        ),
        "room/__init__.py": "",
        "room/share.py": share + "\n",
        "room/half.py": half,
    }
    (package / "deep.py").unlink()
    write_all(package, moved)
    assert fresh() == before
    write_all(
        package,
        {
            "core.py": share
            + "\n\n\n"
            + half
            + "\n\n"
            + "".join(SPLIT["core.py"].split("\n\n\n")[1:])
        },
    )
    assert fresh() == before


def test_an_import_pointed_elsewhere_is_seen(package: Path) -> None:
    write_all(package, SPLIT)
    (package / "beside.py").write_text(SPLIT["deep.py"].replace("SHARE = 2", "SHARE = 3"))
    before = fresh()
    (package / "core.py").write_text(SPLIT["core.py"].replace("adclick.deep", "adclick.beside"))
    assert fresh() != before


def test_an_import_pointed_at_another_library_is_seen(package: Path) -> None:
    (package / "core.py").write_text("from numpy import abs\n\n\ndef answer():\n    return abs\n")
    before = fresh()
    (package / "core.py").write_text("from math import abs\n\n\ndef answer():\n    return abs\n")
    assert fresh() != before


def test_modules_are_followed_through_what_is_taken_from_them(package: Path) -> None:
    core = "from adclick import deep\n\n\ndef answer():\n    return deep.used\n"
    write_all(package, {"core.py": core, "deep.py": "used = 1\nunused = 2\n"})
    before = fresh()
    (package / "deep.py").write_text("used = 1\nunused = 3\n")
    assert fresh() == before
    (package / "deep.py").write_text("used = 2\nunused = 3\n")
    assert fresh() != before


def test_a_face_that_hands_a_name_on_is_seen_through(package: Path) -> None:
    write_all(package, SPLIT)
    before = fresh()
    core = SPLIT["core.py"].replace("adclick.deep", "adclick.face")
    write_all(
        package, {"face/__init__.py": "from adclick.deep import SHARE, Half\n", "core.py": core}
    )
    assert fresh() == before


@pytest.fixture(scope="module")
def untouched() -> dict[str, str]:
    return all_fingerprints()


@pytest.fixture
def copied(tmp_path: Path, untouched: object, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(provenance.PACKAGE_FOLDER, tmp_path / "adclick")
    monkeypatch.setattr(provenance, "PACKAGE_FOLDER", tmp_path / "adclick")
    return tmp_path / "adclick"


def all_fingerprints() -> dict[str, str]:
    forget()
    return {stage: provenance.fingerprint(f"adclick.commands.{stage}") for stage in STAGES}


def test_moving_files_of_this_package_makes_no_stage_stale(
    copied: Path, untouched: dict[str, str]
) -> None:
    moved = {"residuals.retrieval": "elsewhere.retrieval", "data.images": "elsewhere.pictures"}
    (copied / "elsewhere").mkdir()
    for old, new in moved.items():
        (copied / f"{old.replace('.', '/')}.py").rename(copied / f"{new.replace('.', '/')}.py")
    for path in copied.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for old, new in moved.items():
            text = re.sub(rf"\badclick\.{re.escape(old)}\b", f"adclick.{new}", text)
        path.write_text(text, encoding="utf-8")
    assert all_fingerprints() == untouched


def test_an_edited_body_changes_the_stages_that_reach_it_and_no_other(
    copied: Path, untouched: dict[str, str]
) -> None:
    path = copied / "residuals/retrieval.py"
    text = path.read_text(encoding="utf-8")
    assert text.count("def assign_words(") == 1
    path.write_text(
        re.sub(r"(def assign_words\([^)]*\)[^:]*:\n)", r"\1    print()\n", text), encoding="utf-8"
    )
    after = all_fingerprints()
    assert {stage for stage in STAGES if after[stage] != untouched[stage]} == {
        "choose_matching",
        "fit_foreground",
        "fit_retrieval",
        "find_neighbours",
    }


def test_stamp_holds_only_what_determines_a_result(package: Path) -> None:
    fresh()
    made = [
        provenance.make_stamp("adclick.commands.go", settings={"a": 1}, inputs={"x": "ab"}, seed=0)
        for _ in range(2)
    ]
    assert made[0] == made[1]
    assert set(made[0]) == {"command", "code", "settings", "inputs", "seed", "libraries"}
    other = provenance.make_stamp(
        "adclick.commands.go", settings={"a": 2}, inputs={"x": "ab"}, seed=0
    )
    assert provenance.digest(other) != provenance.digest(made[0])


def test_compiled_matching_is_bound_to_its_compiler() -> None:
    reached = provenance.reachable_libraries("adclick.commands.compute_residuals")
    assert {"numba", "numpy", "timm", "torch"} <= set(reached)
    assert "numba" not in provenance.reachable_libraries("adclick.commands.make_manifest")
