from pathlib import Path

import pytest

from adclick.commands.simulate_defects import open_textures
from adclick.run.artifacts import write_text
from adclick.run.errors import InputError


def test_textures_that_cannot_be_reached_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_text(tmp_path / "dots/1.png", "")
    (tmp_path / "stripes").symlink_to(tmp_path / "not mounted")
    assert open_textures(str(tmp_path)) == [tmp_path / "dots/1.png"]
    assert capsys.readouterr().err == f"{tmp_path}: passed over, links to nothing: stripes\n"


def test_no_textures_are_told(tmp_path: Path) -> None:
    assert open_textures(None) is None
    with pytest.raises(InputError, match="texture_folder: no picture below"):
        open_textures(str(tmp_path))
