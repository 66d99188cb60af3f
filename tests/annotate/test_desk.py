import json
import os
from dataclasses import replace

import cv2
import numpy as np
import pytest

from adclick.annotate.actions import (
    ClearAction,
    ClickAction,
    ObjectAction,
    RedoAction,
    RemoveAction,
    StartAction,
    StrokeAction,
    ThresholdAction,
    TypeAction,
    UndoAction,
)
from adclick.annotate.desk import LEASE_S, ConflictError, png64
from adclick.annotate.store import Journal, read_label, saved_mask
from adclick.data.images import write_png
from adclick.run.artifacts import write_text
from adclick.run.errors import InputError
from adclick.run.folders import shown as shown_name
from tests.annotate.conftest import SHAPE, Clock, make_desk
from tests.annotate.fake import FACTS, SIZE

KEY = "crack/000"
UNDO, REDO = UndoAction(kind="undo"), RedoAction(kind="redo")


def click(row, column, positive=True):
    return ClickAction(kind="click", row=row, column=column, positive=positive)


ENTRY = {
    "model": "another",
    "masks": [
        {
            "id": 1,
            "type": None,
            "threshold": 0.5,
            "mask": {"size": list(SHAPE), "counts": [SHAPE[0] * SHAPE[1]]},
        }
    ],
}


def without(name: str) -> str:
    """An entry whose defect lacks something."""
    mask = {key: value for key, value in ENTRY["masks"][0].items() if key != name}
    return json.dumps(ENTRY | {"masks": [mask]})


def act(desk, action, name="ann", key=KEY):
    revision = desk.open(key, name)["revision"]
    return desk.act(key, name, revision, action, 1.5)


def shown(session):
    """All that a page sees, but for what counts requests."""
    passing = ("revision", "latency_ms", "can_undo", "can_redo", "message", "state")
    return {name: value for name, value in session.items() if name not in passing}


def test_undo_and_redo_give_the_very_same_states(desk) -> None:
    states = [desk.open(KEY, "ann")]
    actions = [
        click(10, 10),
        StrokeAction(kind="stroke", erase=False, radius=3, points=[(30, 50)]),
        click(11, 12, positive=False),
    ]
    states += [act(desk, action) for action in actions]
    back = [act(desk, UNDO) for _ in actions]
    assert [shown(one) for one in reversed(back)] == [shown(one) for one in states[:-1]]
    assert not back[-1]["can_undo"]
    again = [act(desk, REDO) for _ in actions]
    assert [shown(one) for one in again] == [shown(one) for one in states[1:]]
    with pytest.raises(InputError, match="nothing to redo"):
        act(desk, REDO)


def test_a_new_action_after_undo_forgets_what_was_undone(desk) -> None:
    act(desk, click(10, 10))
    act(desk, UNDO)
    assert not act(desk, click(20, 20))["can_redo"]
    assert len(act(desk, click(22, 20))["clicks"]) == 2


def test_a_new_server_goes_on_where_the_old_one_was(desk, images, tmp_path) -> None:
    act(desk, click(10, 10))
    act(desk, click(20, 40))
    act(desk, UNDO)
    last = desk.open(KEY, "ann")
    other = make_desk(images, tmp_path / "labels")
    assert other.row(KEY)["state"] == "in_work"
    session = other.open(KEY, "ann")
    assert shown(session) == shown(last)
    assert session["revision"] == last["revision"]
    assert session["can_redo"]
    assert len(act(other, REDO)["clicks"]) == 2


def test_a_new_server_keeps_an_image_with_who_was_at_work_on_it(desk, images, tmp_path) -> None:
    act(desk, click(10, 10))
    session = act(desk, click(20, 40), key="crack/001")
    desk.save("crack/001", "ann", session["revision"], "done")
    clock = Clock()
    other = make_desk(images, tmp_path / "labels", clock)
    assert (other.holder(KEY), other.holder("crack/001")) == ("ann", None)
    assert other.next_key("crack/001", "bob") != KEY
    with pytest.raises(ConflictError, match="ann is working on"):
        other.open(KEY, "bob")
    act(other, click(20, 20))
    clock.now += LEASE_S + 1
    other.open(KEY, "bob")


def test_actions_that_carry_nothing_are_replayed_too(desk, images, tmp_path) -> None:
    kind = desk.open(KEY, "ann")["types"][0]
    for action in (
        click(10, 10),
        TypeAction(kind="type", value=kind),
        TypeAction(kind="type", value=None),
        ObjectAction(kind="object", id=None),
        click(30, 50),
        ThresholdAction(kind="threshold", value=0.3),
        ObjectAction(kind="object", id=1),
        RemoveAction(kind="remove_object", id=2),
    ):
        last = act(desk, action)
        again = make_desk(images, tmp_path / "labels").open(KEY, "ann")
        assert shown(again) == shown(last), action


def test_every_action_is_in_the_journal_before_it_is_answered(desk, tmp_path) -> None:
    act(desk, click(10, 10))
    entries = Journal(tmp_path / "labels", KEY).read()
    assert entries[0]["action"] == {"kind": "click", "row": 10, "column": 10, "positive": True}
    assert entries[0]["annotator"] == "ann"


def test_a_refused_action_changes_nothing_and_is_not_kept(desk, tmp_path) -> None:
    before = desk.open(KEY, "ann")
    with pytest.raises(InputError, match="last row"):
        act(desk, click(SHAPE[0] - 1, 3))
    assert shown(desk.open(KEY, "ann")) == shown(before)
    assert Journal(tmp_path / "labels", KEY).read() == []


def test_an_action_for_another_revision_is_refused_with_the_present_state(desk) -> None:
    session = desk.open(KEY, "ann")
    desk.act(KEY, "ann", session["revision"], click(10, 10))
    with pytest.raises(ConflictError) as refused:
        desk.act(KEY, "ann", session["revision"], click(10, 10))
    assert len(refused.value.facts["session"]["clicks"]) == 1


def test_an_image_belongs_to_one_annotator_until_the_lease_lapses(desk, clock) -> None:
    desk.open(KEY, "ann")
    with pytest.raises(ConflictError, match="ann is working on"):
        desk.open(KEY, "bob")
    assert desk.next_key("crack/001", "bob") != KEY
    clock.now += LEASE_S / 2
    desk.ping(KEY, "ann")
    clock.now += LEASE_S / 2 + 1
    assert desk.holder(KEY) == "ann"
    clock.now += LEASE_S
    desk.open(KEY, "bob")
    with pytest.raises(ConflictError):
        desk.act(KEY, "ann", 0, click(1, 1))
    desk.release(KEY, "bob")
    desk.open(KEY, "ann")


def test_saving_writes_the_mask_and_its_story_and_goes_to_the_next(desk, tmp_path) -> None:
    session = act(desk, click(10, 10))
    answer = desk.save(KEY, "ann", session["revision"], "done", seconds=2.0)
    assert answer["next"] == "crack/001"
    assert answer["image"]["state"] == "done"
    mask = saved_mask(tmp_path / "labels", KEY)
    assert mask is not None
    assert mask.shape == SHAPE
    assert mask[10, 10]
    facts = read_label(tmp_path / "labels", KEY)
    assert facts is not None
    assert (facts["clicks"], facts["seconds"], facts["annotator"]) == (1, 3.5, "ann")
    assert facts["model"]["identity"] == "f4ke"
    assert facts["objects"][0]["clicks"] == [{"row": 10, "column": 10, "positive": True}]
    assert desk.holder(KEY) is None


def test_a_saved_image_can_be_taken_up_again(desk, images, tmp_path) -> None:
    session = act(desk, click(10, 10))
    desk.save(KEY, "ann", session["revision"], "done")
    assert desk.row(KEY)["state"] == "done"
    assert make_desk(images, tmp_path / "labels").row(KEY)["state"] == "done"
    assert len(act(desk, click(30, 30))["clicks"]) == 2
    assert desk.row(KEY)["state"] == "in_work"
    assert make_desk(images, tmp_path / "labels").row(KEY)["state"] == "in_work"


def test_normal_has_an_empty_mask_and_an_empty_mask_is_not_done(desk, tmp_path) -> None:
    session = desk.open(KEY, "ann")
    with pytest.raises(InputError, match="the mask is empty"):
        desk.save(KEY, "ann", session["revision"], "done")
    desk.save(KEY, "ann", session["revision"], "normal")
    mask = saved_mask(tmp_path / "labels", KEY)
    assert mask is not None
    assert not mask.any()
    revision = desk.open(KEY, "ann")["revision"]
    desk.save(KEY, "ann", revision, "skipped")
    assert saved_mask(tmp_path / "labels", KEY) is None


def test_a_queue_by_what_teaches_most_and_next_skips_the_broken(desk) -> None:
    keys = [key for key in desk.pictures if key != "broken"]
    desk.model.encodings.want(keys)
    order = [row["key"] for row in desk.rows("teaches")]
    scores = [desk.model.encodings.scores.get(key, 0.0) for key in order]
    assert scores == sorted(scores, reverse=True)
    assert order != sorted(order)
    assert desk.next_key("ü b/ä", "ann") == "crack/000"
    with pytest.raises(InputError, match="broken"):
        desk.open("broken", "ann")


def test_existing_masks_are_a_start_that_survives_their_change(desk, images, tmp_path) -> None:
    given = np.zeros(SHAPE, bool)
    given[3:9, 4:20] = True
    write_png(tmp_path / "masks/crack/000_mask.png", given)
    started = make_desk(images, tmp_path / "labels", masks=tmp_path / "masks")
    assert "A mask exists" in started.open(KEY, "ann")["message"]
    session = act(started, StartAction(kind="start", source="saved"))
    assert session["objects"][0]["area"] == given.sum()
    write_png(tmp_path / "masks/crack/000_mask.png", ~given)
    again = make_desk(images, tmp_path / "labels", masks=tmp_path / "masks")
    assert shown(again.open(KEY, "ann")) == shown(session)
    with pytest.raises(InputError, match="no saved mask"):
        act(started, StartAction(kind="start", source="saved"), key="zz")


@pytest.mark.parametrize(("values", "area"), [("ids", 4), ("shades", 2)])
def test_a_start_mask_of_several_values_needs_a_word(desk, images, tmp_path, values, area) -> None:
    given = np.zeros(SHAPE, np.uint8)
    given[5, 5:9] = [60, 90, 200, 255]
    write_png(tmp_path / "masks/crack/000.png", given)
    dropped = StartAction(kind="start", source="png", png=png64(given))
    for start in (StartAction(kind="start", source="saved"), dropped):
        made = make_desk(images, tmp_path / "labels", masks=tmp_path / "masks")
        with pytest.raises(InputError, match="--mask-values"):
            act(made, start)
        made.mask_values = values
        session = act(made, start)
        assert session["objects"][0]["area"] == area
        again = make_desk(images, tmp_path / "labels")
        assert shown(again.open(KEY, "ann"))["objects"] == session["objects"]


def test_a_journal_of_before_is_replayed_as_it_was_read_then(images, tmp_path) -> None:
    given = np.zeros(SHAPE, np.uint8)
    given[5, 5:9] = [60, 90, 200, 255]
    start = {"kind": "start", "source": "png", "png": png64(given)}
    entry = {"action": start, "annotator": "ann", "seconds": 1.0, "time": 0.0}
    made = make_desk(images, tmp_path / "labels")
    entry |= {"model": made.model.facts.identity, "masks": []}
    Journal(tmp_path / "labels", KEY).append(entry)
    opened = make_desk(images, tmp_path / "labels").open(KEY, "ann")
    assert opened["objects"][0]["area"] == 2


def test_a_detectors_own_answer_is_a_start(desk) -> None:
    found = cv2.resize(desk.model.encodings.get("zz").probability, SHAPE[::-1])
    level = float(np.quantile(found, 0.75))
    desk.model.facts = replace(FACTS, start_threshold=level)
    session = act(desk, StartAction(kind="start", source="zero_click"), key="zz")
    assert session["objects"][0]["area"] == (found > level).sum()
    assert (found > level).sum() != (found > FACTS.threshold).sum()


def test_what_another_model_labelled_stands_as_its_masks(desk, images, tmp_path) -> None:
    act(desk, TypeAction(kind="type", value="crack"))
    area = act(desk, click(10, 10))["objects"][0]["area"]
    last = act(desk, ObjectAction(kind="object", id=None))
    assert last["object"] == 2
    other = make_desk(images, tmp_path / "labels")
    other.model.facts = replace(FACTS, identity="another", types=("stain",))
    session = other.open(KEY, "ann")
    assert "another model" in session["message"]
    assert [(one["type"], one["area"]) for one in session["objects"]] == [(None, area)]
    assert not session["can_undo"]
    refined = act(other, click(30, 40))
    assert len(refined["clicks"]) == 1
    again = make_desk(images, tmp_path / "labels")
    again.model.facts = other.model.facts
    assert shown(again.open(KEY, "ann")) == shown(refined)


def test_what_is_answered_as_by_the_model_that_labelled_is_no_other_models(
    images, tmp_path, monkeypatch
) -> None:
    """Another identity is also that of an earlier version of this software."""
    desk = make_desk(images, tmp_path / "labels")
    act(desk, TypeAction(kind="type", value="crack"))
    act(desk, click(10, 10))
    made = act(desk, click(30, 40))
    other = make_desk(images, tmp_path / "labels")
    other.model.facts = replace(FACTS, identity="another")
    assert other.open(KEY, "ann") == {**made, "latency_ms": 0.0}
    assert len(act(other, UNDO)["clicks"]) == 1

    changed = make_desk(images, tmp_path / "labels")
    changed.model.facts = replace(FACTS, identity="a third")
    answer = changed.model.predict
    monkeypatch.setattr(changed.model, "predict", lambda *asked: answer(*asked)[::-1])
    session = changed.open(KEY, "ann")
    assert "another model, or version" in session["message"]
    assert (session["clicks"], session["can_undo"]) == ([], False)
    assert session["objects"][0]["area"] == act(desk, UNDO)["objects"][0]["area"] > 0


def test_a_type_that_the_model_does_not_know_is_refused(desk) -> None:
    with pytest.raises(InputError, match=r"no defect type '../../x'; known: crack, stain"):
        act(desk, TypeAction(kind="type", value="../../x"))


def test_an_edited_image_stays_in_work_when_its_session_is_closed(desk, clock) -> None:
    session = act(desk, click(10, 10))
    desk.save(KEY, "ann", session["revision"], "done")
    act(desk, click(30, 30))
    desk.release(KEY, "ann")
    desk._open.clear()
    assert desk.row(KEY)["state"] == "in_work"


def test_a_full_disk_takes_back_the_action(desk, monkeypatch) -> None:
    before = desk.open(KEY, "ann")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "append", full)
        with pytest.raises(OSError, match="No space"):
            act(desk, click(10, 10))
    assert shown(desk.open(KEY, "ann")) == shown(before)
    assert len(act(desk, click(10, 10))["clicks"]) == 1


@pytest.mark.parametrize("smaller", [(12, 9), (90, 70)])
def test_a_picture_that_was_replaced_is_labelled_anew(desk, images, tmp_path, smaller) -> None:
    act(desk, TypeAction(kind="type", value="crack"))
    act(desk, click(30, 50))
    act(desk, UndoAction(kind="undo"))
    write_png(images / f"{KEY}.png", np.zeros((*smaller, 3), np.uint8))
    again = make_desk(images, tmp_path / "labels")
    session = again.open(KEY, "ann")
    assert "another size" in session["message"]
    assert (session["clicks"], session["can_undo"]) == ([], False)
    assert len(act(again, click(5, 5))["clicks"]) == 1
    act(again, ClearAction(kind="clear"))
    again.save(KEY, "ann", again.open(KEY, "ann")["revision"], "skipped")
    once_more = make_desk(images, tmp_path / "labels")
    assert once_more.row(KEY)["state"] == "skipped"
    assert once_more.open(KEY, "ann")["clicks"] == []


SMALL = (SIZE, SIZE)  # at which the model sees every picture


def test_masks_of_the_networks_size_are_brought_to_the_pictures(images, tmp_path) -> None:
    path = images / f"{KEY}.png"
    own = path.read_bytes()
    write_png(path, np.zeros((*SMALL, 3), np.uint8))
    before = make_desk(images, tmp_path / "labels")
    act(before, TypeAction(kind="type", value="crack"))
    session = act(before, click(8, 24))
    before.save(KEY, "ann", session["revision"], "done")
    small = saved_mask(tmp_path / "labels", KEY)
    assert small is not None and small.shape == SMALL
    path.write_bytes(own)

    desk = make_desk(images, tmp_path / "labels")
    session = desk.open(KEY, "ann")
    assert "Labelled at another size (32 x 32 pixels, the picture has 60 x 40" in session["message"]
    rows, columns = ((np.arange(side) + 0.5) * SIZE / side for side in SHAPE)
    expected = small[np.ix_(rows.astype(int), columns.astype(int))]
    assert session["objects"][0]["type"] == "crack"
    assert session["objects"][0]["area"] == expected.sum() > 0
    kept = saved_mask(tmp_path / "labels", KEY)
    assert kept is not None and np.array_equal(kept, small)  # until somebody saves
    desk.save(KEY, "ann", session["revision"], "done")
    kept = saved_mask(tmp_path / "labels", KEY)
    assert kept is not None and np.array_equal(kept, expected)
    (tmp_path / f"labels/.journal/{KEY}.jsonl").unlink()
    write_png(tmp_path / f"labels/{KEY}.png", small)
    again = make_desk(images, tmp_path / "labels")
    assert "to be brought to its size (32 x 32" in again.open(KEY, "ann")["message"]
    begun = act(again, StartAction(kind="start", source="saved"))
    assert begun["objects"][0]["area"] == expected.sum()


def test_masks_of_originals_are_brought_to_the_size_of_a_runs_pictures(images, tmp_path) -> None:
    session = act(make_desk(images, tmp_path / "labels"), click(10, 30))
    write_png(images / f"{KEY}.png", np.zeros((*SMALL, 3), np.uint8))
    opened = make_desk(images, tmp_path / "labels").open(KEY, "ann")
    assert "(60 x 40 pixels, the picture has 32 x 32)" in opened["message"]
    share = SIZE * SIZE / (SHAPE[0] * SHAPE[1])
    assert opened["objects"][0]["area"] == pytest.approx(share * session["objects"][0]["area"], 0.2)


def test_a_mask_of_another_size_is_no_start_and_says_so(images, tmp_path) -> None:
    write_png(tmp_path / f"labels/{KEY}.png", np.ones((7, 9), bool))
    desk = make_desk(images, tmp_path / "labels")
    line = "another size exists for this image (9 x 7 pixels, the picture has 60 x 40): no start"
    assert line in desk.open(KEY, "ann")["message"]
    with pytest.raises(InputError, match="9 x 7 pixels"):
        act(desk, StartAction(kind="start", source="saved"))
    assert desk.mask(KEY) is None  # a thumbnail has no outline


def test_what_was_undone_at_another_size_is_no_damage(images, tmp_path) -> None:
    desk = make_desk(images, tmp_path / "labels")
    act(desk, click(30, 50))
    act(desk, UNDO)
    write_png(images / f"{KEY}.png", np.zeros((12, 9, 3), np.uint8))
    again = make_desk(images, tmp_path / "labels")
    session = again.open(KEY, "ann")
    assert (session["objects"], session["message"]) == ([], None)
    assert len(act(again, click(5, 5))["clicks"]) == 1


ODD_NAMES = {
    "not UTF-8": os.fsdecode(b"\xe4.png"),
    "too long for a label": "ä" * 125 + ".png",
}


@pytest.mark.parametrize("name", ODD_NAMES.values(), ids=ODD_NAMES)
def test_a_picture_whose_name_no_label_can_have_is_broken_alone(images, tmp_path, name) -> None:
    (images / name).write_bytes((images / "zz.png").read_bytes())
    rows = {row["name"]: row for row in make_desk(images, tmp_path / "labels").rows()}
    json.dumps(rows).encode()
    assert len(rows) == 6
    assert "name" in rows[shown_name(name)]["broken"]
    assert rows["zz.png"]["broken"] is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (f".journal/{KEY}.jsonl", "{\n{}\n"),
        (f".journal/{KEY}.jsonl", "5\n"),
        (f".journal/{KEY}.jsonl", '{"masks": [{"mask": {"size": 3}}]}\n'),
        *[(f".journal/{KEY}.jsonl", without(name) + "\n") for name in ENTRY["masks"][0]],
        (f".journal/{KEY}.jsonl", '{"model": "another"}\n'),
        (f"{KEY}.json", "[1]"),
        (f"{KEY}.json", '{"state": "done", "objects": [{"type": 3}]}'),
        (f"{KEY}.json", '{"state": "well done"}'),
        (f"{KEY}.json", "[" * 100_000),
    ],
)
def test_a_damaged_label_is_broken_alone(images, tmp_path, name, content) -> None:
    write_text(tmp_path / "labels" / name, content)
    desk = make_desk(images, tmp_path / "labels")
    assert "restore or remove" in desk.row(KEY)["broken"]
    with pytest.raises(InputError, match="restore or remove"):
        desk.open(KEY, "ann")
    assert desk.open("zz", "ann")["revision"] == 0


def test_an_entry_of_another_model_is_whole(images, tmp_path) -> None:
    write_text(tmp_path / f"labels/.journal/{KEY}.jsonl", json.dumps(ENTRY) + "\n")
    session = make_desk(images, tmp_path / "labels").open(KEY, "ann")
    assert [(one["id"], one["area"]) for one in session["objects"]] == [(1, 0)]


def test_an_action_that_is_none_is_named(images, tmp_path) -> None:
    write_text(tmp_path / f"labels/.journal/{KEY}.jsonl", '{"action": {"kind": "fly"}}\n')
    with pytest.raises(InputError, match=f"{KEY}, journal: .*fly.*restore or remove"):
        make_desk(images, tmp_path / "labels").open(KEY, "ann")


def test_who_knows_better_what_teaches_most_is_asked(images, tmp_path) -> None:
    known: dict[str, float] = {}
    desk = make_desk(images, tmp_path / "labels", teaching=lambda: known)
    scores = desk.model.encodings.scores
    assert [row["score"] for row in desk.rows()] == [scores.get(key) for key in desk.pictures]
    known |= {"zz": 0.9, "crack/001": 0.5}
    rows = desk.rows("teaches")
    assert [row["key"] for row in rows[:2]] == ["zz", "crack/001"]
    assert (rows[0]["score"], rows[2]["score"]) == (0.9, None)
