from pathlib import Path

import pytest

from adclick.commands.simulate_defects import copies_of, open_textures
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


def test_so_many_pictures_are_drawn_on_normal_ones_in_turn() -> None:
    assert copies_of(2, 2, None) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    few = copies_of(100, 2, 7)
    assert len(few) == len({index for index, _ in few}) == 7 and {copy for _, copy in few} == {0}
    assert [index for index, _ in few] != sorted(index for index, _ in few), "not the first ones"
    many = copies_of(3, 1, 8)
    assert len(set(many)) == 8
    assert sorted(index for index, _ in many[:3]) == [0, 1, 2]
    assert [copy for _, copy in many] == [0, 0, 0, 1, 1, 1, 2, 2]
