"""The network goes in the middle of a download: one line, nothing half-fetched is taken, and the
same command works once the network is back.
"""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import timm
from safetensors.torch import save_file

pytestmark = [pytest.mark.slow]
NAME = "test_resnet.r160_in1k"  # timm's smallest
COMMAND = f"""
from adclick.residuals.backbone import load_backbone
from adclick.run.job import run

def main():
    network = load_backbone({NAME!r}, layers=(1,), source="hub").network
    print("loaded", float(sum(one.sum() for one in network.state_dict().values())))

run(main)
"""


class Hub(BaseHTTPRequestHandler):
    """A model hub with one file; `gone` once half of it was sent."""

    content = b""
    gone = False
    breaks = True

    def do_HEAD(self) -> None:  # noqa: N802
        self._answer(0, body=False)

    def do_GET(self) -> None:  # noqa: N802
        asked = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        self._answer(int(asked[1]) if asked else 0, body=True)

    def _answer(self, start: int, *, body: bool) -> None:
        hub = type(self)
        if hub.gone:
            self.close_connection = True
            return
        if not self.path.endswith(f"/timm/{NAME}/resolve/main/model.safetensors"):
            self.send_error(404)
            return
        self.send_response(206 if start else 200)
        self.send_header("ETag", '"one"')
        self.send_header("X-Repo-Commit", "1" * 40)
        self.send_header("Content-Length", str(len(hub.content) - start))
        if start:
            whole = len(hub.content)
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        self.end_headers()
        if body and hub.breaks:
            self.wfile.write(hub.content[start : len(hub.content) // 2])
            hub.gone, self.close_connection = True, True
        elif body:
            self.wfile.write(hub.content[start:])

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[str]:
    save_file(timm.create_model(NAME).state_dict(), tmp_path / "model.safetensors")
    Hub.content, Hub.gone, Hub.breaks = (tmp_path / "model.safetensors").read_bytes(), False, True
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def load(hub: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_ENDPOINT": hub, "HF_HOME": str(home)}
    environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DOWNLOAD_TIMEOUT": "3"}
    return subprocess.run(
        [sys.executable, "-c", COMMAND], env=environment, capture_output=True, text=True
    )


def test_a_download_that_breaks_off_is_one_line_and_is_ended_later(
    hub: str, tmp_path: Path
) -> None:
    broken = load(hub, tmp_path / "home")
    assert broken.returncode == 2, broken.stderr[-3000:]
    line = broken.stderr.splitlines()[-1]
    assert line.startswith(f"error: backbone {NAME}: the network could not be reached")
    assert "Traceback" not in broken.stderr
    assert not list((tmp_path / "home").rglob("model.safetensors"))
    Hub.gone, Hub.breaks = False, False
    again = load(hub, tmp_path / "home")
    assert again.returncode == 0, again.stderr[-3000:]
    assert again.stdout.startswith("loaded ")
