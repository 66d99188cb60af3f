import numpy as np
import pytest
from pydantic import ValidationError

from adclick.data.geometry import (
    cells_in,
    content_of,
    contents_of,
    covered,
    cropped,
    edge_repeated,
    frame_of,
    in_frame,
    padded,
    write_contents,
)
from adclick.data.native_masks import has_native_masks, native_mask, write_native_masks
from adclick.run.artifacts import ArraySpec, create_arrays, open_arrays
from adclick.run.settings.data import Dataset, Geometry, PictureUse


@pytest.mark.parametrize(
    ("geometry", "shape", "expected"),
    [
        (Geometry(stretch=256), (1130, 460), (256, 256)),
        (Geometry(longest=512), (1130, 460), (512, 208)),
        (Geometry(longest=512), (460, 1130), (208, 512)),
        (Geometry(scale=0.5), (1130, 460), (565, 230)),
        (Geometry(scale=1), (1131, 463), (1131, 463)),
        (Geometry(scale=0.001), (200, 5000), (1, 5)),
        (Geometry(height=232, width=568), (9, 9), (232, 568)),
    ],
)
def test_a_picture_gets_the_size_that_was_asked_for(geometry, shape, expected) -> None:
    assert content_of(shape, geometry) == expected


@pytest.mark.parametrize(
    "values",
    [{}, {"height": 8}, {"stretch": 8, "scale": 1}, {"longest": 0}, {"scale": 5}, {"square": 8}],
)
def test_one_way_must_be_given(values) -> None:
    with pytest.raises(ValidationError):
        Geometry(**values)


def test_a_plain_number_is_a_square() -> None:
    values = {"layout": "mvtec", "root": "own", "categories": ["bolt"], "textures": []}
    values |= {"prompts": "own.yaml", "split": "drawn", "training_defects": 0}
    values |= {"empty_masks": "error", "size": 512}
    assert Dataset.model_validate(values).size == Geometry(stretch=512)
    assert Dataset.model_validate(values | {"size": {"scale": 1}}).size == Geometry(scale=1)
    with pytest.raises(ValidationError):
        Dataset.model_validate(values | {"size": True})


def test_what_was_made_of_squares_is_written_as_before() -> None:
    assert PictureUse(bits=None, resize="area").model_dump_json() == '{"bits":null,"resize":"area"}'
    kept = PictureUse(bits=8, resize="area", size=Geometry(scale=0.5))
    assert PictureUse.model_validate_json(kept.model_dump_json()) == kept


@pytest.mark.parametrize("stride", [1, 4, 8])
@pytest.mark.parametrize("contents", [[(1, 1)], [(8, 16)], [(9, 3), (2, 40)], [(7, 7), (8, 8)]])
def test_a_frame_is_whole_patches_and_no_larger_than_it_must_be(contents, stride) -> None:
    frame = frame_of(contents, stride, Geometry(stretch=8))
    pairs = frame_of(contents, stride, Geometry(scale=1))
    for axis in (0, 1):
        assert frame[axis] % stride == 0
        largest = max(content[axis] for content in contents)
        assert largest <= frame[axis] < largest + stride
        assert pairs[axis] % (2 * stride) == 0
        assert frame[axis] <= pairs[axis] <= frame[axis] + stride


@pytest.mark.parametrize("content", [(1, 1), (7, 3), (16, 40)])
@pytest.mark.parametrize(("down", "across"), [(0, 0), (5, 0), (0, 3), (4, 2)])
def test_beyond_a_picture_its_edge_goes_on(content, down, across) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*content, 3), dtype=np.uint8)
    frame = (content[0] + down, content[1] + across)
    framed = padded(picture, frame)
    assert framed.shape == (*frame, 3)
    assert np.array_equal(cropped(framed, content), picture)
    assert np.array_equal(framed[-1, : content[1]], picture[-1])
    assert np.array_equal(framed[: content[0], -1], picture[:, -1])
    mask = in_frame(picture[..., 0] > 0, frame)
    assert mask.sum() == (picture[..., 0] > 0).sum()


def test_a_map_of_another_resolution_is_continued_from_the_last_place_with_picture() -> None:
    layer1 = np.arange(12.0)[:, None, None] * np.ones((1, 6, 1))
    found = edge_repeated(layer1, (2, 3), (3, 3))  # two of three patches: 8 of 12 rows
    assert found[:, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 7, 7, 7, 7]
    assert covered((2, 3), (3, 3), (12, 6)) == (8, 6)
    assert cells_in((17, 16), 8) == (3, 2)


def test_contents_are_kept_only_where_some_picture_does_not_fill_the_frame(tmp_path) -> None:
    specs = {"images": ArraySpec((16, 8, 3), "uint8")}
    for name, contents in (("full", [(16, 8), (16, 8)]), ("some", [(16, 8), (9, 5)])):
        path = tmp_path / f"{name}.h5"
        with create_arrays(path, image_ids=["a", "b"], specs=specs, stamp={}) as file:
            write_contents(file, contents, (16, 8))
        with open_arrays(path) as file:
            assert ("contents" in file) == (name == "some")
            assert contents_of(file, "images") == contents


def test_masks_of_photographs_are_kept_to_the_pixel(tmp_path) -> None:
    random = np.random.default_rng(0)
    masks = [random.random((30, 13)) > 0.5, None, random.random((9, 40)) > 0.9]
    specs = {"masks": ArraySpec((8, 8), "uint8")}
    for name, given in (("some", masks), ("none", [None] * 3)):
        with create_arrays(
            tmp_path / f"{name}.h5", image_ids=["a", "b", "c"], specs=specs, stamp={}
        ) as file:
            write_native_masks(file, given)
        with open_arrays(tmp_path / f"{name}.h5") as file:
            assert has_native_masks(file) == (name == "some")
            for row, mask in enumerate(given):
                found = native_mask(file, row)
                assert (found is None) == (mask is None)
                assert mask is None or np.array_equal(found, mask)
