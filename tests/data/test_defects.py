"""Simulated and expanded defects: masks that tell the truth about the pictures."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from adclick.data import defects, pieces
from adclick.data.defects import (
    SHAPE_SHARES,
    drawing_generator,
    expand_defect,
    minimum_area_px,
    simulate_defect,
    simulate_in_window,
)
from adclick.data.images import read_image, resize_image, write_png
from adclick.data.pasting import paste_in_place
from adclick.data.shapes import blob_mask, perlin_mask, perlin_noise, scratch_mask, soft_region
from adclick.data.textures import (
    OPERATIONS,
    displace,
    fill,
    shade,
    shuffle_cells,
    structural_source,
    synthetic_texture,
)
from adclick.data.toy import draw_normal

SHARED = Path(__file__).parents[2].parent / "shared"
SIZE = 96


def seeded(*numbers: int) -> np.random.Generator:
    return np.random.default_rng(numbers)


@pytest.fixture(scope="module")
def capsule() -> np.ndarray:
    return draw_normal("capsule", SIZE, seeded(0))


@pytest.fixture(scope="module")
def cloth() -> np.ndarray:
    return draw_normal("cloth", SIZE, seeded(0))


def test_what_is_drawn_depends_on_the_file_and_the_numbers() -> None:
    def drawn(*key: int | str) -> list[int]:
        sha256, *numbers = key
        generator = drawing_generator(str(sha256) * 32, *map(int, numbers))
        return generator.integers(0, 1 << 30, 4).tolist()

    keys = [("0a", 0), ("0a", 1), ("0b", 0), ("0a", 0, 0), ("0a", 1, 0), ("0a", 0, 1)]
    found = [tuple(drawn(*key)) for key in keys]
    assert len(set(found)) == len(keys)
    assert drawn("0a", 0, 1) == drawn("0a", 0, 1)


# --- shapes -------------------------------------------------------------------------------------


def slow_perlin(
    shape: tuple[int, int], resolution: tuple[int, int], angles: np.ndarray
) -> np.ndarray:
    noise = np.zeros(shape)
    for row in range(shape[0]):
        for column in range(shape[1]):
            y = (row + 0.5) * resolution[0] / shape[0]
            x = (column + 0.5) * resolution[1] / shape[1]
            total = 0.0
            for corner_y in (int(y), int(y) + 1):
                for corner_x in (int(x), int(x) + 1):
                    angle = angles[corner_y, corner_x]
                    rise = np.sin(angle) * (y - corner_y) + np.cos(angle) * (x - corner_x)
                    far_y, far_x = abs(y - corner_y), abs(x - corner_x)
                    weight_y = 1 - (6 * far_y**5 - 15 * far_y**4 + 10 * far_y**3)
                    weight_x = 1 - (6 * far_x**5 - 15 * far_x**4 + 10 * far_x**3)
                    total += rise * weight_y * weight_x
            noise[row, column] = np.sqrt(2) * total
    return noise


@pytest.mark.parametrize("resolution", [(1, 1), (2, 4), (3, 5)])
def test_perlin_noise_equals_its_definition(resolution: tuple[int, int]) -> None:
    angles = seeded(1).uniform(0, 2 * np.pi, (resolution[0] + 1, resolution[1] + 1))
    expected = slow_perlin((12, 20), resolution, angles)
    assert np.allclose(perlin_noise((12, 20), resolution, seeded(1)), expected, atol=1e-5)


def test_perlin_noise_stays_within_one_and_averages_zero() -> None:
    noise = perlin_noise((96, 160), (16, 32), seeded(2))
    assert np.abs(noise).max() <= 1
    assert abs(noise.mean()) < 0.05
    assert noise.std() > 0.2


def area_of(draw: Callable[..., np.ndarray], seeds: int = 16) -> np.ndarray:
    return np.array(
        [(draw((SIZE, 2 * SIZE), seeded(3, seed)) > 0.5).mean() for seed in range(seeds)]
    )


def test_shapes_cover_what_they_promise() -> None:
    assert 0.005 < np.mean(area_of(perlin_mask)) < 0.25
    assert np.mean(area_of(scratch_mask)) < 0.03
    spots = area_of(blob_mask)
    assert spots.max() < 0.25
    assert spots.min() < 0.005
    regions = area_of(soft_region)
    assert 0.08 < np.median(regions) < 0.35
    assert regions.max() < 0.6


def test_scratches_are_thin() -> None:
    for seed in range(5):
        mask = scratch_mask((400, 400), seeded(4, seed))
        opened = cv2.erode(mask.astype(np.uint8), np.ones((9, 9), np.uint8))
        assert opened.sum() <= 0.05 * mask.sum()


def test_spots_are_solid() -> None:
    for seed in range(5):
        mask = blob_mask((200, 200), seeded(5, seed)).astype(np.uint8)
        assert cv2.connectedComponents(mask)[0] <= 1 + 3
        holes = cv2.connectedComponents(1 - mask, connectivity=4)[0] - 2
        assert holes <= 3  # the outside may fall apart at the border


def test_spots_are_centred_on_the_foreground() -> None:
    foreground = np.zeros((SIZE, SIZE), bool)
    foreground[40:50, 60:70] = True
    for seed in range(10):
        assert (blob_mask((SIZE, SIZE), seeded(6, seed), foreground=foreground) & foreground).any()


def test_soft_regions_have_all_opacities_at_soft_edges() -> None:
    widths = []
    for seed in range(20):
        opacity = soft_region((SIZE, SIZE), seeded(7, seed))
        assert opacity.min() >= 0
        assert opacity.max() <= 1
        widths.append(((opacity > 0.05) & (opacity < 0.95)).mean())
    assert min(widths) < 0.03
    assert max(widths) > 0.15


# --- sources ------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", [*OPERATIONS, shade, fill, displace, structural_source])
def test_every_operation_keeps_shape_and_leaves_its_input_alone(
    operation: Callable[..., np.ndarray], capsule: np.ndarray
) -> None:
    before = capsule.copy()
    changed = [operation(capsule, seeded(8, seed)) for seed in range(4)]
    assert np.array_equal(capsule, before)
    assert all(image.shape == capsule.shape and image.dtype == np.uint8 for image in changed)
    assert any(not np.array_equal(image, capsule) for image in changed)


def test_there_are_ten_different_operations(capsule: np.ndarray) -> None:
    results = {operation(capsule, seeded(9)).tobytes() for operation in OPERATIONS}
    assert len(results) == 10


def test_operations_done_by_hand() -> None:
    invert, stretch, solarize, posterize = (OPERATIONS[index] for index in (6, 7, 4, 5))
    image = np.array([[[0, 50, 100], [255, 150, 200]]], np.uint8)
    assert invert(image, seeded(0)).tolist() == [[[255, 205, 155], [0, 105, 55]]]
    assert stretch(image, seeded(0)).tolist() == [[[0, 0, 0], [255, 255, 255]]]
    assert solarize(image, seeded(0))[0, 1].tolist() == [0, 105, 55]
    assert solarize(image, seeded(0))[0, 0, 0] == 0
    assert set((posterize(image, seeded(0)) % 16).ravel()) == {0}


def test_shuffling_moves_whole_cells_and_loses_none() -> None:
    cells = np.arange(64, dtype=np.uint8).reshape(8, 8)
    image = np.repeat(np.kron(cells, np.ones((3, 4), np.uint8))[:, :, None], 3, axis=2)
    odd = np.pad(image, ((0, 2), (0, 5), (0, 0)), constant_values=200)
    shuffled = shuffle_cells(odd, seeded(10))
    assert (shuffled[24:] == 200).all()
    assert (shuffled[:, 32:] == 200).all()
    blocks = shuffled[:24, :32, 0].reshape(8, 3, 8, 4).swapaxes(1, 2).reshape(64, 12)
    assert (blocks == blocks[:, :1]).all()
    assert sorted(blocks[:, 0]) == list(range(64))
    assert blocks[:, 0].tolist() != list(range(64))


def test_made_up_textures_differ() -> None:
    textures = np.stack([synthetic_texture((32, 48), seeded(11, seed)) for seed in range(12)])
    assert textures.shape == (12, 32, 48, 3)
    assert np.std(textures.mean(axis=(1, 2)), axis=0).min() > 15
    assert len({texture.tobytes() for texture in textures}) == 12


# --- simulated defects --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(SHAPE_SHARES))
def test_the_mask_holds_what_changed(kind: str, capsule: np.ndarray, cloth: np.ndarray) -> None:
    for seed, normal in enumerate([capsule, cloth] * 4):
        image, mask = simulate_defect(normal, seeded(12, seed), shares={kind: 1.0})
        change = np.abs(image.astype(int) - normal).max(axis=2)
        assert mask.sum() >= 16
        assert change[mask].mean() > 5
        assert change[mask].mean() > 4 * change[~mask].mean()
        if kind == "streaks":
            assert change[~mask].max() == 0


def test_hard_shapes_change_nothing_outside_where_pieces_were_refused(cloth: np.ndarray) -> None:
    for seed in range(6):
        image, mask = simulate_defect(
            cloth, seeded(13, seed), shares={"streaks": 1.0}, minimum_area_px=60
        )
        assert np.array_equal(image[~mask], cloth[~mask])
        count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        areas = np.bincount(np.asarray(labels).ravel(), minlength=count)[1:]
        assert areas.min() >= 60


def test_half_of_every_piece_lies_in_the_foreground(capsule: np.ndarray) -> None:
    foreground = np.zeros((SIZE, SIZE), bool)
    foreground[30:66, 10:86] = True
    for seed in range(12):
        _, mask = simulate_defect(capsule, seeded(14, seed), foreground=foreground)
        count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        for piece in range(1, count):
            assert foreground[np.asarray(labels) == piece].mean() >= 0.5


def test_an_empty_foreground_is_as_none(cloth: np.ndarray) -> None:
    nothing = np.zeros((SIZE, SIZE), bool)
    with_it = simulate_defect(cloth, seeded(15), foreground=nothing)
    without = simulate_defect(cloth, seeded(15))
    assert np.array_equal(with_it[0], without[0])
    assert np.array_equal(with_it[1], without[1])


def test_the_same_seed_gives_the_same_defect_and_another_does_not(cloth: np.ndarray) -> None:
    before = cloth.copy()
    first, second = (simulate_defect(cloth, seeded(16)) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])
    assert not np.array_equal(first[1], simulate_defect(cloth, seeded(17))[1])
    assert np.array_equal(cloth, before)


def test_pictures_need_not_be_square_or_a_multiple_of_anything() -> None:
    normal = resize_image(draw_normal("cloth", 64, seeded(1)), (101, 101), "published")[:67]
    for kind in SHAPE_SHARES:
        image, mask = simulate_defect(normal, seeded(18), shares={kind: 1.0})
        assert image.shape == (67, 101, 3)
        assert mask.shape == (67, 101)


def test_defects_of_a_large_picture_have_all_sizes_from_those_of_a_window() -> None:
    normal = np.full((256, 1200, 3), 120, np.uint8)
    object_ = np.zeros(normal.shape[:2], bool)
    object_[60:200, 300:1100] = True
    areas, reaches, middles = [], [], []
    for seed in range(40):
        image, mask = simulate_in_window(
            normal, seeded(30, seed), window_px=64, minimum_area=0.005, foreground=object_
        )
        rows, columns = np.nonzero(mask)
        assert (image != normal).any(axis=2)[mask].any()
        reaches.append(max(np.ptp(rows), np.ptp(columns)))
        areas.append(int(mask.sum()))
        middles.append(columns.mean())
    assert 20 <= min(areas) < 100  # 0.5 % of a window; of the picture it would be 1536
    assert np.median(areas) < 1536
    assert 20 <= sum(reach < 64 for reach in reaches) < 40
    assert max(reaches) > 128
    assert min(middles) < 500
    assert max(middles) > 900


def test_a_window_that_covers_a_picture_changes_nothing(cloth: np.ndarray) -> None:
    for side in (SIZE, 2 * SIZE):
        own = simulate_in_window(cloth, seeded(31), window_px=side, minimum_area=0.002)
        whole = simulate_defect(
            cloth, seeded(31), minimum_area_px=minimum_area_px(0.002, (SIZE, SIZE))
        )
        assert np.array_equal(own[0], whole[0])
        assert np.array_equal(own[1], whole[1])


def test_a_window_may_be_higher_than_a_picture(cloth: np.ndarray) -> None:
    strip = cloth[:20]
    for foreground in (None, np.zeros(strip.shape[:2], bool)):
        before = strip.copy()
        image, mask = simulate_in_window(
            strip, seeded(32), window_px=48, minimum_area=0.01, foreground=foreground
        )
        assert image.shape == strip.shape
        assert mask.any()
        assert np.array_equal(strip, before)


def test_defects_of_a_grey_camera_are_grey() -> None:
    normal = np.repeat(draw_normal("cloth", SIZE, seeded(2))[:, :, :1], 3, axis=2)
    for seed in range(10):
        image, _ = simulate_defect(normal, seeded(19, seed))
        assert np.ptp(image, axis=2).max() <= 1


def test_given_textures_fill_the_shapes(tmp_path: Path, cloth: np.ndarray) -> None:
    path = tmp_path / "red.png"
    write_png(path, np.full((20, 30, 3), (250, 0, 0), np.uint8))
    filled = 0
    for seed in range(12):
        image, mask = simulate_defect(
            cloth, seeded(20, seed), textures=[path], shares={"blobs": 1.0}, texture_share=1.0
        )
        added = (image[mask].astype(int) - cloth[mask]).mean(axis=0)
        filled += bool(added[0] > 20 and added[1] < -20 and added[2] < -20)
    assert filled >= 5


@pytest.mark.parametrize(
    "shares", [{}, {"blob": 1.0}, {"blobs": 0.0}, {"blobs": 1.0, "streaks": -0.5}]
)
def test_shares_that_make_no_sense_are_refused(shares: dict[str, float], cloth: np.ndarray) -> None:
    with pytest.raises(ValueError, match="streaks, blobs, soft_regions"):
        simulate_defect(cloth, seeded(21), shares=shares)


def test_shares_decide_the_shapes(cloth: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    original = defects._opacity

    def note(kind: str, *arguments: object) -> np.ndarray:
        drawn.append(kind)
        return original(kind, *arguments)  # pyright: ignore

    monkeypatch.setattr(defects, "_opacity", note)
    for seed in range(12):
        simulate_defect(
            cloth, seeded(22, seed), shares={"blobs": 3.0, "soft_regions": 1.0, "streaks": 0.0}
        )
    assert "streaks" not in drawn
    assert drawn.count("blobs") > drawn.count("soft_regions") > 0


@pytest.mark.parametrize("level", [0, 130, 255])
def test_when_every_draw_is_refused_a_plain_spot_remains(
    level: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "VISIBLE", 300.0)
    monkeypatch.setattr(defects, "ATTEMPTS", 2)
    normal = np.full((64, 64, 3), level, np.uint8)
    foreground = np.zeros((64, 64), bool)
    foreground[:, :20] = True
    image, mask = simulate_defect(normal, seeded(23), foreground=foreground, minimum_area_px=50)
    assert mask.sum() >= 50
    assert foreground[mask].mean() >= 0.5
    assert np.abs(image.astype(int) - normal)[mask].min() >= 100
    assert np.array_equal(image[~mask], normal[~mask])


# --- expansion ----------------------------------------------------------------------------------


def labelled(normal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A picture with a magenta bar, and a label that is unsure at the bar's rim."""
    image, label = normal.copy(), np.zeros(normal.shape[:2], np.float32)
    image[40:56, 30:60] = (255, 0, 255)
    label[40:56, 30:60] = 0.6
    label[43:53, 33:57] = 0.9
    return image, label


def expanded(
    image: np.ndarray, label: np.ndarray, normal: np.ndarray, *numbers: int
) -> tuple[np.ndarray, np.ndarray, bool]:
    return expand_defect(
        image, label, normal, seeded(*numbers), paste=paste_in_place, simulate=simulate_defect
    )


def test_an_expanded_defect_is_pasted_or_gets_company(cloth: np.ndarray) -> None:
    image, label = labelled(cloth)
    normal = np.full_like(cloth, 80)
    found = []
    for seed in range(24):
        new, new_label, is_pasted = expanded(image, label, normal, 24, seed)
        found.append(is_pasted)
        assert new_label.dtype == np.float32
        if is_pasted:
            pasted = new_label > 0.5
            assert new_label[~pasted].max() == 0
            assert np.array_equal(new[~pasted], normal[~pasted])
            magenta = np.abs(new[pasted].astype(int) - (255, 0, 255)).max(axis=1) < 60
            assert magenta.mean() > 0.9
            assert 0.6 < pasted.sum() / (label > 0.5).sum() < 1.5
            assert new_label.max() == pytest.approx(0.9, abs=0.02)
        else:
            simulated = new_label == 1
            assert simulated.sum() >= 16
            assert np.array_equal(new_label[~simulated], label[~simulated])
    assert 6 <= sum(found) <= 18


def test_a_pasted_defect_is_turned_and_scaled_about_its_centre(cloth: np.ndarray) -> None:
    image, label = labelled(cloth)
    angles, areas = [], []
    for seed in range(40):
        _, new_label = paste_in_place(image, label, cloth, seeded(25, seed))
        rows, columns = np.nonzero(new_label > 0.5)
        assert abs(rows.mean() - 47.5) < 1
        assert abs(columns.mean() - 44.5) < 1
        spread = np.cov(columns, rows)
        angles.append(np.degrees(0.5 * np.arctan2(2 * spread[0, 1], spread[0, 0] - spread[1, 1])))
        areas.append(len(rows) / (16 * 30))
    assert max(np.abs(angles)) <= 46
    assert max(angles) > 20
    assert min(angles) < -20
    assert 0.55 < min(areas) < 0.85
    assert 1.15 < max(areas) < 1.5


def test_an_empty_label_is_only_added_to(cloth: np.ndarray) -> None:
    label = np.full(cloth.shape[:2], 0.3, np.float32)
    for seed in range(8):
        new, new_label, is_pasted = expanded(cloth, label, cloth, 26, seed)
        assert not is_pasted
        assert set(np.unique(new_label)) == {np.float32(0.3), np.float32(1)}
        assert not np.array_equal(new, cloth)


def test_expansion_repeats_by_seed_and_leaves_its_inputs_alone(cloth: np.ndarray) -> None:
    image, label = labelled(cloth)
    before = image.copy(), label.copy()
    for seed in range(4):
        first, second = (expanded(image, label, cloth, 27, seed) for _ in range(2))
        assert np.array_equal(first[0], second[0])
        assert np.array_equal(first[1], second[1])
        assert first[2] == second[2]
    assert np.array_equal(image, before[0])
    assert np.array_equal(label, before[1])


def test_tiny_defects_are_pasted_too(cloth: np.ndarray) -> None:
    image, label = cloth.copy(), np.zeros(cloth.shape[:2], np.float32)
    label[50:53, 50:53] = 1
    assert sum(expanded(image, label, cloth, 28, seed)[2] for seed in range(12)) >= 3


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["mvtec_512/bottle/train/good/000.png", "magnetic_tile"])
def test_defects_are_found_for_real_pictures(name: str) -> None:
    path = SHARED / "data" / name
    if path.is_dir():
        path = path / "MT_Free" / "Imgs" / "exp1_num_10181.jpg"
    normal = resize_image(read_image(path), (128, 128), "published")
    areas = []
    for seed in range(12):
        image, mask = simulate_defect(normal, seeded(29, seed))
        change = np.abs(image.astype(int) - normal).max(axis=2)
        assert change[mask].mean() > 5
        areas.append(mask.mean())
    assert max(areas) > 0.05
    assert min(areas) < 0.02
