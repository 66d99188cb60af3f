from pathlib import Path

import pytest

from adclick import provenance


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


def fresh() -> str:
    for cached in (provenance.fingerprint, provenance._tree, provenance._code_of):
        cached.cache_clear()
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
