"""Names that a shell, a quotation or an encoding may trip over."""

from pathlib import Path

from adclick.data.toy import draw_toy

AWKWARD = """dätä 'one' "two" 数据 $HOME $(touch pwned) `touch pwned`"""
NAMES = ('ein "Bild" $(touch pwned)', "it's 图 & more; touch pwned", "*?[a-z] {x} #1")


def draw_awkward(folder: Path) -> None:
    """The small drawn data set, some pictures of every kind under such names, with their masks."""
    draw_toy(folder, size_px=64, normals=4, test_normals=2, defects_per_type=2, seed=0)
    for pictures in sorted(path for path in folder.glob("*/t*/*") if path.is_dir()):
        for picture, name in zip(sorted(pictures.iterdir())[1:], NAMES, strict=False):
            masks = folder.joinpath(
                pictures.relative_to(folder).parts[0], "ground_truth", pictures.name
            )
            mask = masks / f"{picture.stem}_mask.png"
            if mask.is_file():
                mask.rename(mask.with_name(f"{name}_mask.png"))
            picture.rename(picture.with_name(f"{name}.png"))
