"""Serve the studio: `adclick studio`."""

import fcntl
import importlib.metadata
import secrets
import sys
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adclick.annotate.serving import address_of, check_token, is_local, listen
from adclick.project.writing import OVERLAY
from adclick.run.errors import InputError
from adclick.run.folders import shown


def main(*, folder: Path, host: str, port: int | None, token: str | None, open_page: bool) -> None:
    """Serve until interrupted. InputError when the folder cannot be one, or is served already."""
    import uvicorn

    from adclick.studio.app import create_app
    from adclick.studio.studio import Studio

    if folder.exists() and not folder.is_dir():
        raise InputError(f"{shown(folder)}: a file; give a folder, which may be a new one")
    if (folder / "Snakefile").exists() and not (folder / OVERLAY).exists():
        raise InputError(
            f"{shown(folder.absolute())}: has a Snakefile and no {OVERLAY}, so it is no project;"
            " give a folder of its own, which may be a new one: adclick studio bracket"
        )
    if not is_local(host) and not token:
        token = secrets.token_urlsafe(16)
    check_token(token)
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    version = importlib.metadata.version("adclick")
    with only_studio(folder):
        studio = Studio(folder, token=token, version=version)
        try:
            app = create_app(studio, token=token, version=version)
            listening = listen(host, port)
            address = address_of(host, listening, token)
            print(f"adclick studio, {shown(folder)}: {address}", flush=True)
            print("a run that goes on when this ends is found again (Ctrl-C ends)", flush=True)
            if open_page:
                webbrowser.open(address)
            settings: dict[str, Any] = {
                "log_level": "warning",
                "access_log": False,
                "lifespan": "off",
            }
            uvicorn.Server(uvicorn.Config(app, **settings)).run(sockets=[listening])
        finally:
            studio.close()
            print("ended; everything is in the project's folder", file=sys.stderr)


@contextmanager
def only_studio(folder: Path) -> Iterator[None]:
    """Hold a project's folder: InputError while another studio does."""
    place = folder / ".adclick"
    place.mkdir(exist_ok=True)
    with (place / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"{shown(folder)}: another `adclick studio` serves this folder; open its page, or"
                " end it"
            ) from None
        yield
