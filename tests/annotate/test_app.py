import base64
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from PIL import ExifTags, Image
from starlette.testclient import TestClient

from adclick.annotate.app import create_app
from adclick.annotate.desk import png_bytes
from adclick.annotate.guard import MOST_BODY_BYTES
from adclick.data.images import decode_image, write_png
from tests.annotate.conftest import HEADERS, SHAPE, make_desk
from tests.annotate.fake import FACTS

API = "/api/v1"
KEY = f"{API}/images/crack/000"
ME = {"annotator": "ann"}


def act(client, action, revision, key=KEY):
    body = {**ME, "revision": revision, "action": action}
    return client.post(f"{key}/actions", json=body)


def click(row, column, positive=True):
    return {"kind": "click", "row": row, "column": column, "positive": positive}


def picture(response):
    return cv2.imdecode(np.frombuffer(response.content, np.uint8), cv2.IMREAD_UNCHANGED)


def test_an_image_is_labelled_over_http(client) -> None:
    queue = client.get(f"{API}/images").json()
    assert queue["counts"]["todo"] == 5
    session = client.post(f"{KEY}/open", json=ME).json()
    assert (session["width"], session["height"], session["revision"]) == (60, 40, 0)
    session = act(client, click(10, 12), 0).json()
    mask = cv2.imdecode(
        np.frombuffer(base64.b64decode(session["mask"]), np.uint8), cv2.IMREAD_UNCHANGED
    )
    assert mask.shape == (40, 60)
    assert mask[10, 12] == 255
    assert act(client, {"kind": "undo"}, 1).json()["objects"] == []
    assert act(client, {"kind": "redo"}, 2).json()["clicks"] == [[10, 12, True]]
    saved = client.post(f"{KEY}/save", json={**ME, "revision": 3, "state": "done"}).json()
    assert saved["next"] == "crack/001"
    assert client.get(f"{API}/images", params={"state": "done"}).json()["images"][0]["clicks"] == 1
    report = client.get(f"{API}/report.csv").text.splitlines()
    assert report[0] == "key,state,annotator,types,clicks,strokes,seconds"
    assert report[-1].startswith("sum,")


def test_pictures_of_every_kind(client) -> None:
    assert picture(client.get(f"{KEY}/picture")).shape == (40, 60, 3)
    assert picture(client.get(f"{KEY}/thumbnail")).shape == (107, 160, 3)
    assert picture(client.get(f"{KEY}/residual")).shape == (32, 32, 3)
    assert picture(client.get(f"{KEY}/neighbour")).shape == (32, 32, 3)
    assert client.get(f"{API}/images/%C3%BC%20b/%C3%A4/picture").status_code == 200
    broken = client.get(f"{API}/images/broken/thumbnail")
    assert broken.status_code == 400
    assert "broken" in broken.json()["error"]


def test_a_deep_picture_is_shown_as_its_camera_saw_it(desk, images) -> None:
    Image.fromarray(np.full((40, 60), 4095, np.uint16)).save(images / "crack/000.png")
    desk.model.facts = replace(FACTS, bits=12)
    app = create_app(desk, token=None, version="1.2")
    client = TestClient(app, base_url="http://127.0.0.1:8765", headers=HEADERS)
    assert picture(client.get(f"{KEY}/picture")).min() == 255
    assert picture(client.get(f"{KEY}/thumbnail")).min() == 255


def test_two_annotators_and_a_stale_page(client) -> None:
    client.post(f"{KEY}/open", json=ME)
    other = client.post(f"{KEY}/open", json={"annotator": "bob"})
    assert (other.status_code, other.json()["leased_by"]) == (409, "ann")
    act(client, click(10, 12), 0)
    again = act(client, click(10, 12), 0)
    assert again.status_code == 409
    assert again.json()["session"]["revision"] == 1
    client.post(f"{KEY}/release", json=ME)
    assert client.post(f"{KEY}/open", json={"annotator": "bob"}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "says"),
    [
        ("POST", f"{API}/images/nothing/open", ME, 404, "no image 'nothing'"),
        ("POST", f"{API}/images/broken/open", ME, 400, "broken"),
        ("POST", f"{API}/images/../../etc/passwd/open", ME, 405, ""),
        ("POST", f"{API}/images/%2e%2e%2f%2e%2e%2fetc%2fpasswd/open", ME, 404, "no image"),
        ("GET", f"{API}/images/%2e%2e%2fzz/picture", None, 404, "no image"),
        ("GET", "/..%2f..%2fpyproject.toml", None, 404, ""),
        ("GET", "/__init__.py", None, 404, ""),
        ("POST", f"{KEY}/open", {}, 422, "annotator"),
        ("POST", f"{KEY}/open", {"annotator": "a", "more": 1}, 422, "more"),
        ("POST", f"{KEY}/actions", {**ME, "revision": 0, "action": {"kind": "dig"}}, 422, "action"),
        ("POST", f"{KEY}/actions", {**ME, "revision": 0, "action": click(-1, 2)}, 422, "row"),
        ("POST", f"{KEY}/actions", {**ME, "revision": 0, "action": click(40, 2)}, 400, "outside"),
        ("POST", f"{KEY}/actions", {**ME, "revision": 0, "action": {"kind": "undo"}}, 400, "undo"),
        ("POST", f"{KEY}/save", {**ME, "revision": 0, "state": "done"}, 400, "mask is empty"),
        ("GET", f"{API}/images?order=size", None, 422, "order"),
    ],
)
def test_every_mistake_is_one_line(client, method, path, body, status, says) -> None:
    answer = client.request(method, path, json=body)
    assert answer.status_code == status, answer.text
    if says:
        assert says in answer.json()["error"]
        assert "\n" not in answer.json()["error"]


def test_a_start_mask_that_is_no_picture_of_the_size_is_refused(client) -> None:
    other = base64.b64encode(png_bytes(np.zeros((8, 10), np.uint8))).decode()
    for png, says in (
        ("%%%", "base64"),
        ("aGVsbG8=", "not a picture"),
        (other, "start mask: 10 x 8 pixels, the image has 60 x 40"),
    ):
        answer = act(client, {"kind": "start", "source": "png", "png": png}, 0)
        assert answer.status_code == 400
        assert says in answer.json()["error"]


def test_foreign_pages_forms_and_hosts_are_refused(client, desk) -> None:
    plain = client.post(f"{KEY}/open", content="{}", headers={"content-type": "text/plain"})
    assert plain.status_code == 415
    bare = TestClient(create_app(desk, token=None, version="1"), base_url="http://127.0.0.1")  # pyright: ignore
    assert bare.post(f"{KEY}/open", json=ME).status_code == 403
    foreign = bare.get(f"{API}/health", headers={"host": "evil.example"})
    assert foreign.status_code == 421
    large = bare.post(
        f"{KEY}/open",
        content=b" " * (MOST_BODY_BYTES + 1),
        headers={**HEADERS, "content-type": "application/json"},
    )
    assert large.status_code == 413


def test_the_policy_allows_nothing_foreign_and_the_page_names_nothing_foreign(client) -> None:
    page = client.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    static = Path(create_app.__code__.co_filename).parent / "static"
    for file in static.glob("*.*"):
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text
        assert "https://" not in text
    assert "<style" not in page.text
    assert "onclick=" not in page.text


def test_other_hosts_need_the_token(desk) -> None:
    app = create_app(desk, token="s3cret-token", version="1")
    client = TestClient(app, base_url="http://bench.local:8765", headers=HEADERS)  # pyright: ignore
    assert client.get(f"{API}/health").status_code == 401
    assert client.get(f"{API}/health?token=wrong").status_code == 401
    bearer = {"authorization": "Bearer s3cret-token"}
    assert client.get(f"{API}/health", headers=bearer).status_code == 200
    shown = client.get("/?token=s3cret-token")
    assert shown.status_code == 200
    cookie = shown.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert client.get(f"{API}/health").json()["token_needed"]


@pytest.mark.parametrize(
    "cookies",
    [
        'prefs={"a":1,"b":[2]}; adclick=s3cret-token',
        "adclick=old; x; =; a=b=c;adclick=s3cret-token ",
        "adclick=s3cret-token; name=\xfcml\x80",
    ],
)
def test_cookies_of_other_applications_lock_nobody_out(desk, cookies: str) -> None:
    app = create_app(desk, token="s3cret-token", version="1")
    client = TestClient(app, base_url="http://bench.local:8765", headers=HEADERS)  # pyright: ignore
    sent = {"cookie": cookies.encode("latin-1")}
    assert client.get(f"{API}/health", headers=sent).status_code == 200
    wrong = {"cookie": cookies.replace("s3cret-token", "s3cret").encode("latin-1")}
    assert client.get(f"{API}/health", headers=wrong).status_code == 401


def test_an_unforeseen_failure_is_one_line_and_the_others_go_on(desk, monkeypatch) -> None:
    app = create_app(desk, token=None, version="1")
    client = TestClient(  # pyright: ignore
        app, base_url="http://127.0.0.1", headers=HEADERS, raise_server_exceptions=False
    )

    def fails(*_: object) -> None:
        raise ZeroDivisionError("by\nzero")

    with monkeypatch.context() as patched:
        patched.setattr(desk.model, "predict", fails)
        answer = act(client, click(1, 1), 0)
    assert answer.status_code == 500
    assert answer.json()["error"].startswith("unforeseen ZeroDivisionError (by zero)")
    assert client.post(f"{KEY}/open", json=ME).json()["revision"] == 0


def test_a_mirrored_photograph_is_shown_as_it_is_read(images, tmp_path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 3
    pixels = np.zeros((*SHAPE, 3), np.uint8)
    pixels[:8] = 255
    Image.fromarray(pixels).save(images / "zz.png", exif=exif)
    client = TestClient(  # pyright: ignore
        create_app(make_desk(images, tmp_path / "labels"), token=None, version="1"),
        base_url="http://127.0.0.1",
    )
    shown = client.get(f"{API}/images/zz/picture").content
    assert not Image.open(BytesIO(shown)).getexif()
    assert decode_image(shown, Path("zz"))[-8:].min() == 255


def test_a_large_picture_and_a_long_stroke_are_answered(images, tmp_path) -> None:
    write_png(images / "large.png", np.zeros((2000, 2000, 3), np.uint8))
    desk = make_desk(images, tmp_path / "labels")
    app = create_app(desk, token=None, version="1")
    client = TestClient(app, base_url="http://127.0.0.1", headers=HEADERS)  # pyright: ignore
    points = [[index % 2000, (7 * index) % 2000] for index in range(5000)]
    action = {"kind": "stroke", "erase": False, "radius": 20, "points": points}
    answer = act(client, action, 0, key=f"{API}/images/large")
    assert answer.json()["objects"][0]["area"] > 1_000_000


def test_the_api_keeps_its_word_on_random_requests(client) -> None:
    """Whatever is sent, the answer is one of the described kind and never a server error."""
    generator = random.Random(0)
    paths = list(client.get("/openapi.json").json()["paths"].items())
    values = [None, -1, 0, 3, 1e9, "", "x", "done", "ann", [], [[1, 2]], {}, True, click(3, 4)]
    names = ["annotator", "revision", "action", "state", "seconds", "order", "kind", "odd"]
    for _ in range(400):
        path, methods = generator.choice(paths)
        method = generator.choice(list(methods))
        key = generator.choice(["crack/000", "zz", "none", "..", "%00", "a" * 300, "broken"])
        body = {name: generator.choice(values) for name in generator.sample(names, 4)}
        if generator.random() < 0.5:
            body |= {**ME, "revision": generator.randint(0, 3)}
        answer = client.request(method, path.replace("{key}", key), json=body)
        assert answer.status_code < 500, (method, path, key, body, answer.text)
        if answer.status_code >= 400:
            assert answer.json().get("error") or answer.json().get("detail")


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def start(images: Path, labels: Path, port: int) -> subprocess.Popen:
    command = [sys.executable, "-m", "tests.annotate.fake", str(images), str(labels), str(port)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    while process.poll() is None:
        try:
            httpx.get(f"http://127.0.0.1:{port}{API}/health", timeout=60)
            return process
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError("the server did not start")


def click_once(client: httpx.Client, base: str, revision: int) -> int | None:
    """The revision that the server answers with; none when it is gone."""
    body = {**ME, "revision": revision, "action": click(revision % 30, revision % 50)}
    with contextlib.suppress(httpx.TransportError):
        return client.post(f"{base}/actions", json=body).json()["revision"]
    return None


def test_a_killed_server_loses_no_acknowledged_click(images, tmp_path) -> None:
    generator, port, known = random.Random(1), free_port(), 0
    base = f"http://127.0.0.1:{port}{KEY}"
    for _ in range(4):
        process = start(images, tmp_path / "labels", port)
        with httpx.Client(headers=HEADERS, timeout=None) as client:
            session = client.post(f"{base}/open", json=ME).json()
            # The one in flight when the server died may or may not have arrived.
            assert session["revision"] in (known, known + 1)
            known = session["revision"]
            assert len(session["clicks"]) == known
            for _ in range(generator.randrange(2, 12)):
                known = click_once(client, base, known)
            in_flight = threading.Thread(target=click_once, args=(client, base, known))
            in_flight.start()
            os.kill(process.pid, signal.SIGKILL)
            in_flight.join()
        process.wait()
    assert known > 4


def test_deep_colours_are_shown_as_the_camera_saw_them(desk, images) -> None:
    cv2.imwrite(str(images / "crack/000.png"), np.full((40, 60, 3), 4095, np.uint16))
    desk.model.facts = replace(FACTS, bits=12)
    app = create_app(desk, token=None, version="1.2")
    client = TestClient(app, base_url="http://127.0.0.1:8765", headers=HEADERS)
    shown = picture(client.get(f"{KEY}/picture"))
    assert (shown.dtype, shown.min()) == (np.uint8, 255)
