import numpy as np
import pytest

from adclick.annotate import history, planes
from adclick.annotate.actions import (
    ClearAction,
    ClickAction,
    ObjectAction,
    RemoveAction,
    StartAction,
    StrokeAction,
    ThresholdAction,
    TypeAction,
)
from adclick.annotate.history import Defect, State, apply, mask_plane, union, union_plane
from adclick.annotate.planes import Box, plane_of
from adclick.run.errors import InputError
from tests.annotate.fake import SIZE, FakeModel

SHAPE = (64, 96)
SEEN = Box(0, 0, SIZE, SIZE)
EMPTY = State(SHAPE, (SIZE, SIZE), 0.49)


def after(*edits, state=EMPTY, start=None, seen=None):
    model = FakeModel(None)

    def predict(clicks, asked, defect_type, before):
        previous = None if before is None else before(SEEN)
        if seen is not None:
            seen.append((clicks, defect_type, previous))
        scaled = [
            type(one)(one.row * SIZE // SHAPE[0], one.column * SIZE // SHAPE[1], one.positive)
            for one in clicks
        ]
        return [(SEEN, model.predict("k", defect_type, scaled, previous))]

    for edit in edits:
        state = apply(state, edit, predict=predict, start_mask=lambda *_: start)
    return state


def click(row, column, positive=True):
    return ClickAction(kind="click", row=row, column=column, positive=positive)


def stroke(*points, erase=False, radius=4.0):
    return StrokeAction(kind="stroke", erase=erase, radius=radius, points=list(points))


def mask(state):
    return planes.array_of(mask_plane(state, state.defect))


def test_every_clicked_pixel_is_what_its_last_click_says() -> None:
    """Also where several pixels of the picture are one of the network's."""
    clicks = [click(20, 30), click(20, 31, positive=False), click(40, 60, positive=False)]
    state = after(*clicks, click(40, 60), click(50, 95), ThresholdAction(kind="threshold", value=1))
    found = mask(state)
    assert [found[at] for at in ((20, 30), (20, 31), (40, 60), (50, 95))] == [1, 0, 1, 1]


def test_a_click_asks_with_the_mask_before_it() -> None:
    seen = []
    state = after(click(20, 30), click(40, 60), seen=seen)
    assert seen[0][2] is None
    np.testing.assert_allclose(seen[1][2][10, 10], 0.9, atol=1e-3)
    assert [len(clicks) for clicks, *_ in seen] == [1, 2]
    assert mask(state)[20, 30]
    assert mask(state).shape == SHAPE


def test_the_state_before_is_never_changed() -> None:
    first = after(click(20, 30))
    before = mask(first).copy()
    after(stroke((20, 30), erase=True), click(50, 80), state=first)
    assert np.array_equal(mask(first), before)


def test_strokes_win_over_the_model_and_stay_when_it_answers_again() -> None:
    state = after(click(20, 30), stroke((20, 30), erase=True, radius=3), stroke((60, 90)))
    assert not mask(state)[20, 30]
    assert mask(state)[60, 90]
    state = after(click(30, 40), state=state)
    assert not mask(state)[20, 30]
    assert mask(state)[60, 90]


def test_a_click_against_a_stroke_frees_its_connected_piece_alone() -> None:
    state = after(stroke((10, 10)), stroke((50, 80)), click(10, 10, positive=False))
    assert not mask(state)[10, 10]
    assert mask(state)[50, 80]


def test_what_strokes_fixed_is_in_the_previous_mask() -> None:
    seen = []
    after(stroke((32, 48), radius=10), click(10, 10), seen=seen)
    assert seen[0][2][16, 16] == 1
    assert seen[0][2][2, 30] == 0


def test_a_stroke_covers_its_radius_along_the_line() -> None:
    drawn = mask(after(stroke((20, 20), (20, 60), radius=5)))
    assert drawn[20, 20:61].all()
    assert drawn[16:25, 40].all()
    assert not drawn[12, 40]
    assert not drawn[28, 40]


def test_a_start_mask_stands_until_a_click_refines_it() -> None:
    seen = []
    start = np.zeros(SHAPE, bool)
    start[5:25, 5:40] = True
    begun = after(StartAction(kind="start", source="png"), start=start)
    assert np.array_equal(mask(begun), start)
    refined = after(click(15, 50), state=begun, seen=seen)
    assert seen[0][2][7, 6] == 1
    assert not np.array_equal(mask(refined), start)


def test_threshold_cuts_and_type_asks_again() -> None:
    state = after(click(20, 30))
    cut = mask(after(ThresholdAction(kind="threshold", value=0.95), state=state))
    assert np.argwhere(cut).tolist() == [[20, 30]]  # what was clicked stays
    seen = []
    named = after(TypeAction(kind="type", value="crack"), state=state, seen=seen)
    assert seen[0][1] == "crack"
    assert 0 < mask(named).sum() < mask(state).sum()
    assert named.defect.type == "crack"


def test_defects_are_apart_and_the_image_has_their_union() -> None:
    state = after(click(10, 10), ObjectAction(kind="object", id=None), click(50, 80))
    assert list(state.defects) == [1, 2]
    assert mask(state)[50, 80]
    assert not mask(state)[10, 10]
    assert union(state)[10, 10]
    assert union(state)[50, 80]
    state = after(ObjectAction(kind="object", id=1), state=state)
    assert mask(state)[10, 10]
    state = after(RemoveAction(kind="remove_object", id=1), state=state)
    assert not union(state)[10, 10]
    assert state.current == 2
    assert not union(after(ClearAction(kind="clear"), state=state)).any()


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (click(64, 3), "outside of the image of 96 x 64"),
        (stroke((3, 96)), "outside of the image"),
        (ObjectAction(kind="object", id=7), "defect 7: there is none; known: 1"),
        (RemoveAction(kind="remove_object", id=2), "known: 1"),
    ],
)
def test_impossible_edits_say_why(edit, says) -> None:
    state = after(click(10, 10))
    with pytest.raises(InputError, match=says):
        after(edit, state=state)


def in_tiles(edits, state, monkeypatch, tile_px):
    """The states after edits, with an image of tiles of that side; and what the model was given."""
    monkeypatch.setattr(planes, "WHOLE_PIXELS", 0)
    monkeypatch.setattr(planes, "TILE_PX", tile_px)
    states, given = [], []

    def predict(clicks, asked, defect_type, before):
        box = Box(0, 0, *state.seen)
        previous = np.zeros(state.seen, np.float32) if before is None else before(box)
        given.append(previous)
        rows, columns = np.mgrid[: state.seen[0], : state.seen[1]]
        last = clicks[-1]
        row, column = (
            (2 * at + 1) * seen // (2 * own)
            for at, seen, own in zip((last.row, last.column), state.seen, state.shape, strict=True)
        )
        disk = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 90.0)
        return [(box, np.where(disk > 0.3, disk if last.positive else 1 - disk, previous))]

    for edit in edits:
        start = np.zeros(state.shape, bool)
        start[30:50, 70:90] = True
        state = apply(state, edit, predict=predict, start_mask=lambda *_: start)  # noqa: B023
        states.append(state)
    return states, given


@pytest.mark.parametrize("seen", [SHAPE, (32, 24), (100, 150)])
def test_an_image_of_tiles_is_edited_as_one_that_is_whole(seen, monkeypatch) -> None:
    edits = [
        click(20, 30),
        stroke((5, 5), (60, 90), radius=3),
        stroke((20, 20), (20, 40), radius=2, erase=True),
        click(50, 80),
        click(20, 30, positive=False),
        ThresholdAction(kind="threshold", value=0.7),
        StartAction(kind="start", source="png"),
        click(10, 80),
        click(5, 5, positive=False),
    ]
    begin = State(SHAPE, seen, 0.49)
    whole, told = in_tiles(edits, begin, monkeypatch, 1 << 22)
    tiled, told_in_tiles = in_tiles(edits, begin, monkeypatch, 16)
    for one, other in zip(whole, tiled, strict=True):
        differ = mask(one) != mask(other)
        assert differ.mean() < 0.001  # a value at the threshold, where sums are rounded otherwise
    for one, other in zip(told, told_in_tiles, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-3)


def test_a_mask_to_start_from_is_shrunk_once_and_tile_by_tile(monkeypatch) -> None:
    monkeypatch.setattr(planes, "WHOLE_PIXELS", 0)
    monkeypatch.setattr(planes, "TILE_PX", 16)
    mask = np.zeros((256, 320), bool)
    mask[10:13, 20:27] = mask[250, 300:] = True
    state = State((256, 320), (128, 160), 0.49, {1: Defect(1, None, 0.5, base=plane_of(mask))}, 1)
    boxes, before = [], history.area_shares
    record = lambda plane, seen, box: boxes.append(box) or before(plane, seen, box)  # noqa: E731
    monkeypatch.setattr(history, "area_shares", record)
    shown = history.shown_probability(state, state.defect)
    means = mask.reshape(128, 2, 160, 2).mean(axis=(1, 3))
    assert np.array_equal(planes.array_of(shown), means.astype(np.float16))
    assert len(shown.tiles) == 2
    assert max(box.height for box in boxes) == 16
    assert history.shown_probability(state, state.defect) is shown


def test_states_share_what_no_edit_touched(monkeypatch) -> None:
    begin = State((256, 256), (256, 256), 0.49)
    edits = [click(20, 20), stroke((200, 200), radius=3)]
    (first, second), _ = in_tiles(edits, begin, monkeypatch, 16)
    one, other = first.defect.probability, second.defect.probability
    assert one is other
    assert len(second.defect.strokes.tiles) == 1
    assert set(union_plane(second).tiles) > set(union_plane(first).tiles)
