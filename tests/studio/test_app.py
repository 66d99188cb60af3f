import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from adclick.data.images import read_image, write_png
from adclick.project.sheet import left_out_before
from adclick.project.survey import survey_photographs, without
from adclick.project.writing import write_project
from adclick.studio.app import create_app
from adclick.studio.photographs import folders_of
from adclick.studio.studio import Studio, targets
from tests.project.photographs import normal_picture, write_photographs
from tests.studio.labels import write_label

API = "/api/v1"
HEADERS = {"X-Adclick": "1"}
BYTES = {**HEADERS, "Content-Type": "application/octet-stream"}


@pytest.fixture
def photographs(tmp_path: Path) -> tuple[Path, Path]:
    return write_photographs(
        tmp_path / "given", "washer", normals=12, kinds={"rust": 2, "chipped": 1}, size_px=96
    )


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    (tmp_path / "brack et").mkdir()
    made = Studio(tmp_path / "brack et")
    yield made
    made.close()


@pytest.fixture
def client(studio: Studio) -> TestClient:
    app = create_app(studio, token=None, version="1.2")
    return TestClient(app, base_url="http://127.0.0.1:8765", headers=HEADERS)  # pyright: ignore


def found(client: TestClient) -> dict[str, Any]:
    """What the survey found, once it has."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        state = client.get(f"{API}/photographs").json()
        if state["found"] or state["error"]:
            return state
        time.sleep(0.02)
    raise AssertionError("no survey")


def choose(client: TestClient, photographs: tuple[Path, Path]) -> dict[str, Any]:
    normal, defective = map(str, photographs)
    client.post(f"{API}/photographs/choose", json={"normal": normal, "defective": defective})
    return found(client)["found"]


def test_every_step_has_a_page_before_there_is_anything(client: TestClient) -> None:
    for step in ("photographs", "learn", "label/", "inspect", "take"):
        page = client.get(f"/{step}")
        assert page.status_code == 200 and 'aria-current="page"' in page.text
    assert client.get("/").url.path == "/photographs"
    assert client.get(f"{API}/project").json()["exists"] is False
    assert client.get(f"{API}/learning").json()["run"] is None
    assert client.get(f"{API}/inspection").json() == {"detector": False}
    assert client.get(f"{API}/exports").json()["exports"] == []
    assert "no project yet" in client.post(f"{API}/learning/start", json={}).json()["error"]
    assert client.get("/label/api/v1/health").status_code == 400
    assert client.get(f"{API}/labelling").json() == {"state": "no model", "error": None}


def test_from_two_folders_to_a_project(
    client: TestClient, studio: Studio, photographs: tuple[Path, Path]
) -> None:
    seen = choose(client, photographs)
    assert (seen["normals"], seen["defects"]) == (12, 3)
    assert seen["kinds"] == {"chipped": 1, "rust": 2}
    assert seen["sizes"] == "96 x 96"
    client.post(f"{API}/project", json={"size_px": 128, "texture": False})
    state = client.get(f"{API}/project").json()
    assert state["exists"] and state["name"] == "brack-et"
    assert state["photographs"] == {"normal": 12, "defective": 3, "held_out": 2}
    assert "size_px: 128" in (studio.folder / "adclick.yaml").read_text()
    assert targets(studio.project()) == ["click_models"]
    thumbnail = client.get(
        f"{API}/photographs/thumbnail", params={"path": seen["samples"]["normal"][0]}
    )
    assert thumbnail.headers["content-type"] == "image/jpeg"


def test_only_photographs_that_were_found_are_shown(
    client: TestClient, tmp_path: Path, photographs: tuple[Path, Path]
) -> None:
    choose(client, photographs)
    write_png(tmp_path / "secret.png", normal_picture("washer", 99, 64))
    path = str(tmp_path / "secret.png")
    assert client.get(f"{API}/photographs/thumbnail", params={"path": path}).status_code == 404


def test_what_was_chosen_is_there_after_a_restart(
    client: TestClient, studio: Studio, photographs: tuple[Path, Path]
) -> None:
    choose(client, photographs)
    path = str(photographs[0] / "003.png")
    client.post(f"{API}/photographs/leave-out", json={"path": path, "left_out": True})
    again = create_app(Studio(studio.folder), token=None, version="1")
    later = TestClient(again, base_url="http://127.0.0.1", headers=HEADERS)  # pyright: ignore
    assert found(later)["found"]["normals"] == 11


def test_photographs_that_are_dropped_are_kept_in_the_project(
    client: TestClient, studio: Studio, photographs: tuple[Path, Path]
) -> None:
    def drop(kind: str, name: str, content: bytes) -> Any:
        place = f"{API}/files/photographs"
        return client.post(
            place, params={"kind": kind, "name": name}, content=content, headers=BYTES
        )

    for path in sorted(photographs[0].iterdir()):
        assert drop("good", path.name, path.read_bytes()).status_code == 200
    rust = photographs[1] / "rust/000.png"
    assert drop("rust", "a.png", rust.read_bytes()).status_code == 200
    assert drop("rust", "a.png", rust.read_bytes()).json()["path"].endswith("rust/a.png")
    other = (photographs[1] / "rust/001.png").read_bytes()
    assert drop("rust", "a.png", other).json()["path"].endswith("rust/a-2.png")
    client.post(f"{API}/photographs/added", json={"kinds": ["good", "rust"]})
    seen = found(client)["found"]
    assert (seen["normals"], seen["kinds"]) == (12, {"rust": 2})
    client.post(f"{API}/project", json={})
    assert "brack-et/good/000.png" in studio.project().sheet.read_text()


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("rust", "../../etc/passwd", "no picture"),
        ("rust", "notes.txt", "no picture"),
        ("rust", ".hidden.png", "no picture can have"),
        ("../up", "a.png", "no name of a kind"),
        ("", "a.png", "no name of a kind"),
    ],
)
def test_what_cannot_be_a_photograph_is_refused(
    client: TestClient, studio: Studio, kind: str, name: str, said: str
) -> None:
    answer = client.post(
        f"{API}/files/photographs",
        params={"kind": kind, "name": name},
        content=b"x",
        headers=BYTES,
    )
    assert answer.status_code == 400 and said in answer.json()["error"]
    assert [*studio.folder.rglob("*.png")] == []


def test_a_changing_request_must_have_the_header_and_the_kind(client: TestClient) -> None:
    place = f"{API}/files/photographs?kind=good&name=a.png"
    assert client.post(place, content=b"x", headers={"X-Adclick": "1"}).status_code == 415
    lacking = {"Content-Type": "application/octet-stream", "X-Adclick": "no"}
    assert client.post(place, content=b"x", headers=lacking).status_code == 403
    assert client.post(f"{API}/learning/start", content=b"{}", headers=BYTES).status_code == 415


def test_folders_are_listed_for_choosing_one(
    client: TestClient, photographs: tuple[Path, Path]
) -> None:
    here = client.get(f"{API}/folders", params={"path": str(photographs[1])}).json()
    assert (here["folders"], here["pictures"]) == (["chipped", "rust"], 0)
    assert client.get(f"{API}/folders", params={"path": here["path"] + "/chipped"}).json()[
        "pictures"
    ]
    assert "no such folder" in client.get(f"{API}/folders?path=/no/where").json()["error"]
    assert client.get(f"{API}/folders?path=relative").status_code == 400


def test_a_folder_without_photographs_is_told_in_a_line(client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    client.post(f"{API}/photographs/choose", json={"normal": str(tmp_path / "empty")})
    assert "no normal photograph" in found(client)["error"]
    wrong = client.post(f"{API}/photographs/choose", json={"normal": "relative"})
    assert "give the whole path" in wrong.json()["error"]


def test_a_dropped_photograph_keeps_its_bytes(client: TestClient, studio: Studio) -> None:
    picture = normal_picture("washer", 5, 64)
    write_png(studio.folder / "one.png", picture)
    content = (studio.folder / "one.png").read_bytes()
    answer = client.post(
        f"{API}/files/photographs",
        params={"kind": "good", "name": "ü x.png"},
        content=content,
        headers=BYTES,
    )
    assert Path(answer.json()["path"]).read_bytes() == content
    assert (read_image(Path(answer.json()["path"])) == picture).all()


def test_the_detector_is_learnt_along_when_three_labels_are_new(
    client: TestClient, studio: Studio, photographs: tuple[Path, Path]
) -> None:
    choose(client, photographs)
    client.post(f"{API}/project", json={})
    assert studio.learns_along
    client.post(f"{API}/learning/along", json={"along": False})
    assert not Studio(studio.folder).learns_along
    client.post(f"{API}/learning/along", json={"along": True})
    run = studio.folder / ".adclick/runs/1"
    run.mkdir(parents=True)
    facts = {"pid": 1, "targets": ["click_models"], "time": 0.0, "labels": 0}
    (run / "run.json").write_text(json.dumps(facts))
    (run / "ended.json").write_text(json.dumps({"code": 0, "time": 1.0}))
    mask = np.zeros((96, 96), bool)
    mask[10:20, 30:50] = True
    due = []
    for number in range(4):
        write_label(studio.project(), f"train/rust/{number}", mask, "rust", Path("a.png"))
        due.append(studio.is_due())
    assert due == [False, False, True, True]
    (run / "ended.json").write_text(json.dumps({"code": 1, "time": 1.0}))
    assert not studio.is_due()  # what failed is left to a person


def test_a_project_of_the_shell_shows_its_photographs(
    tmp_path: Path, photographs: tuple[Path, Path]
) -> None:
    project = write_project(tmp_path / "shell", survey_photographs(*photographs))
    assert folders_of(project) == {
        "normal": str(photographs[0]),
        "defective": str(photographs[1]),
        "added": [],
    }
    app = create_app(Studio(project.folder), token=None, version="1")
    later = TestClient(app, base_url="http://127.0.0.1", headers=HEADERS)  # pyright: ignore
    seen = found(later)["found"]
    assert (seen["normals"], seen["kinds"]) == (12, {"chipped": 1, "rust": 2})


def drop(client: TestClient, kind: str, path: Path) -> None:
    place = f"{API}/files/photographs"
    params = {"kind": kind, "name": path.name}
    answer = client.post(place, params=params, content=path.read_bytes(), headers=BYTES)
    assert answer.status_code == 200


def test_half_a_photograph_is_none(client: TestClient, studio: Studio) -> None:
    """The connection breaks off after some of the bytes, as when a tab is closed."""
    parts = iter(
        [
            {"type": "http.request", "body": b"half", "more_body": True},
            {"type": "http.disconnect"},
        ]
    )

    async def receive() -> dict[str, Any]:
        return next(parts)

    async def send(_: Any) -> None:
        raise AssertionError("nobody is there to answer")

    scope = {
        "type": "http",
        "method": "POST",
        "path": f"{API}/files/photographs",
        "query_string": b"kind=good&name=a.png",
        "headers": [
            (b"host", b"127.0.0.1"),
            (b"content-type", b"application/octet-stream"),
            (b"x-adclick", b"1"),
        ],
    }
    asyncio.run(client.app(scope, receive, send))  # pyright: ignore
    assert not [*studio.folder.rglob("a.png")]
    short = {"content-length": "9", **BYTES}
    place = f"{API}/files/photographs?kind=good&name=a.png"
    assert client.post(place, content=b"half", headers=short).status_code == 400
    assert not [*studio.folder.rglob("a.png")]


def test_what_is_added_counts_beside_the_folder_that_is_chosen(
    client: TestClient, studio: Studio, photographs: tuple[Path, Path], tmp_path: Path
) -> None:
    choose(client, photographs)
    normal, defective = write_photographs(
        tmp_path / "later", "washer", normals=14, kinds={"rust": 3}, size_px=96
    )
    for number in (12, 13):
        drop(client, "good", normal / f"{number:03}.png")
    drop(client, "rust", defective / "rust/002.png")
    client.post(f"{API}/photographs/added", json={"kinds": ["good", "rust"]})
    state = found(client)
    assert (state["normal"], state["defective"]) == (str(photographs[0]), str(photographs[1]))
    assert (state["found"]["normals"], state["found"]["kinds"]) == (14, {"chipped": 1, "rust": 3})
    client.post(f"{API}/project", json={})
    again = Studio(studio.folder).photographs.state()  # by a server that is started anew
    assert again["normal"] == state["normal"] and again["added"] == state["added"]
    client.post(f"{API}/photographs/clear", json={"kind": "defective"})
    assert found(client)["found"]["kinds"] == {}


def opened(folder: Path) -> TestClient:
    app = create_app(Studio(folder), token=None, version="1")
    return TestClient(app, base_url="http://127.0.0.1", headers=HEADERS)  # pyright: ignore


def test_a_change_of_photographs_keeps_what_the_project_has(
    tmp_path: Path, photographs: tuple[Path, Path]
) -> None:
    """Size, kind of product and photographs for tests, of a project that the shell made."""
    tests, _ = write_photographs(tmp_path / "p/tests", "capsule", normals=3, kinds={}, size_px=96)
    survey = survey_photographs(*photographs, normal_test_dir=tests)
    proposed = survey.view.texture
    made = write_project(tmp_path / "shell", survey, size_px=320, texture=not proposed)
    client = opened(made.folder)
    state = found(client)
    assert state["has"] == {"size_px": 320, "texture": not proposed, "masks": False, "scale": None}
    assert (state["found"]["normals"], state["found"]["tests"]) == (12, 3)
    before = (made.sheet.read_text(), made.overlay.read_text())
    assert client.post(f"{API}/project", json={}).status_code == 200
    assert (made.sheet.read_text(), made.overlay.read_text()) == before


def test_what_the_shell_left_out_the_page_leaves_out(
    tmp_path: Path, photographs: tuple[Path, Path]
) -> None:
    survey = survey_photographs(*photographs)
    gone = [survey.normals[2].path, survey.defects[0].path]
    made = write_project(tmp_path / "shell", without(survey, gone))
    client = opened(made.folder)
    assert found(client)["found"]["normals"] == 11
    before = made.sheet.read_text()
    assert client.post(f"{API}/project", json={}).status_code == 200
    assert made.sheet.read_text() == before
    assert set(left_out_before(made.sheet)) == set(gone)


def test_a_choice_is_of_the_photographs_that_the_project_had_then(
    client: TestClient, studio: Studio, photographs: tuple[Path, Path], tmp_path: Path
) -> None:
    choose(client, photographs)
    client.post(f"{API}/project", json={})
    others = write_photographs(
        tmp_path / "others", "capsule", normals=13, kinds={"crack": 2}, size_px=96
    )
    write_project(studio.folder, survey_photographs(*others), name="brack-et")  # adclick init
    refused = client.post(f"{API}/project", json={})
    assert refused.status_code == 400 and "changed elsewhere" in refused.json()["error"]
    assert found(client)["normal"] == str(others[0])
    assert found(opened(studio.folder))["found"]["kinds"] == {"crack": 2}


def test_a_project_with_masks_is_left_to_the_shell(
    tmp_path: Path, photographs: tuple[Path, Path]
) -> None:
    survey = survey_photographs(*photographs)
    masks = {one.path: one.path for one in survey.defects}
    made = write_project(tmp_path / "masked", survey, masks=masks)
    client = opened(made.folder)
    assert found(client)["has"]["masks"] is True
    before = made.sheet.read_text()
    refused = client.post(f"{API}/project", json={})
    assert refused.status_code == 400 and "learns from masks" in refused.json()["error"]
    assert made.sheet.read_text() == before
    assert targets(made) == ["detectors"]


def test_what_the_shell_left_out_stays_so(tmp_path: Path, photographs: tuple[Path, Path]) -> None:
    path = photographs[0] / "003.png"
    survey = without(survey_photographs(*photographs), [path])
    made = write_project(tmp_path / "shell", survey)
    client = opened(made.folder)
    seen = found(client)["found"]
    assert (seen["normals"], seen["left_out"]) == (11, ["003.png"])
    before = made.sheet.read_text()
    client.post(f"{API}/project", json={})
    assert made.sheet.read_text() == before
    client.post(f"{API}/photographs/leave-out", json={"path": str(path), "left_out": False})
    client.post(f"{API}/project", json={})
    assert found(client)["found"]["normals"] == 12
    assert client.get(f"{API}/project").json()["photographs"]["normal"] == 12


def test_a_project_among_the_photographs_is_none_of_them(
    tmp_path: Path, photographs: tuple[Path, Path]
) -> None:
    (photographs[0] / "project/results").mkdir(parents=True)
    picture = normal_picture("washer", 50, 96)
    write_png(photographs[0] / "project/results/map.png", picture)
    client = opened(photographs[0] / "project")
    assert choose(client, photographs)["normals"] == 12
