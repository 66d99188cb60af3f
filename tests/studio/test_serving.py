from pathlib import Path
from typing import Any

import pytest

from adclick.run.errors import InputError
from adclick.studio.serving import main, only_studio

ASKED: dict[str, Any] = {"host": "127.0.0.1", "port": None, "token": None, "open_page": False}


def test_a_folder_that_is_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text("rule all: input: []")
    with pytest.raises(InputError, match="it is no project"):
        main(folder=tmp_path, **ASKED)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Snakefile"]
    with pytest.raises(InputError, match="a file"):
        main(folder=tmp_path / "Snakefile", **ASKED)


def test_one_studio_serves_a_folder(tmp_path: Path) -> None:
    with only_studio(tmp_path), pytest.raises(InputError, match="another"), only_studio(tmp_path):
        raise AssertionError("two at once")
    with only_studio(tmp_path):
        pass
