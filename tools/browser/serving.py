"""The server in a process of its own, with the toy model (`python -m tools.browser.serving`) or a
model folder (`adclick annotate`).
"""

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

START_S = 300


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def main() -> None:
    import uvicorn

    from adclick.annotate.app import create_app
    from adclick.annotate.desk import Desk
    from adclick.annotate.store import find_pictures
    from adclick.annotate.worker import Model
    from tools.browser.toy import NativeToyServer, ToyServer

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--masks", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--native", action="store_true", help="see pictures at their own size")
    asked = parser.parse_args()
    pictures = find_pictures(asked.images)
    paths = {picture.key: picture.path for picture in pictures}
    model = Model(NativeToyServer if asked.native else ToyServer, paths.__getitem__)
    desk = Desk(pictures, labels=asked.labels, model=model, masks=asked.masks)
    model.encodings.want([row["key"] for row in desk.rows() if not row["broken"]])
    app = create_app(desk, token=None, version="test")
    config = uvicorn.Config(app, port=asked.port, log_level="warning", lifespan="off")
    try:
        uvicorn.Server(config).run()
    finally:
        model.close()


class Served:
    """A running server of a folder's images; `kill` is -9, `start` again goes on from its files.

    Without `model` it is the toy model that answers.
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        *,
        masks: Path | None = None,
        model: Path | None = None,
        images: Path | None = None,
        native: bool = False,
    ) -> None:
        self.native = native
        self.folder, self.port, self.masks, self.model = folder, port, masks, model
        self.images, self.labels = images or folder / "images", folder / "labels"
        self.labels.mkdir(parents=True, exist_ok=True)
        self.address = f"http://127.0.0.1:{port}/"
        self.log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process_id(self) -> int:
        if self._process is None:
            raise RuntimeError("the server does not run")
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "tools.browser.serving", "--port", str(self.port)]
        if self.model is not None:
            command[2:3] = ["adclick.cli", "annotate", "--no-open", "--model", str(self.model)]
        command += ["--images", str(self.images), "--labels", str(self.labels)]
        command += ["--masks", str(self.masks)] if self.masks else []
        command += ["--native"] if self.native else []
        root = Path(__file__).parents[2]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=root, stdout=log, stderr=log, start_new_session=True
            )
        end = time.monotonic() + START_S
        while time.monotonic() < end and self._process.poll() is None:
            with (
                contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError),
                urllib.request.urlopen(f"{self.address}api/v1/health", timeout=5),
            ):
                return
            time.sleep(0.05)
        raise RuntimeError(f"the server does not answer:\n{self.log.read_text()}")

    def kill(self) -> None:
        """End it as a power cut would; its model's processes end with it."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


if __name__ == "__main__":
    main()
