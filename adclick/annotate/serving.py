"""Serve the annotation tool: `adclick annotate`."""

import importlib.metadata
import re
import secrets
import socket
import sys
import webbrowser
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from adclick.annotate.store import Picture, find_pictures, only_server
from adclick.run.errors import InputError
from adclick.run.settings.data import MaskValues

FIRST_PORT, PORTS = 8765, 20


@dataclass(frozen=True)
class Work:
    """What is labelled with what: a model folder, pictures, and where labels go."""

    model: Path
    pictures: list[Picture]
    labels: Path


def main(
    *,
    run: Path | None,
    model: Path | None,
    images: Path | None,
    labels: Path | None,
    masks: Path | None,
    mask_values: MaskValues | None,
    variant: str | None,
    seed: int,
    host: str,
    port: int | None,
    token: str | None,
    open_page: bool,
) -> None:
    """Serve until interrupted. InputError when something that it needs is missing."""
    if run is None:
        work = _from_folders(model, images, labels)
    elif model is not None:
        raise InputError(f"--model {model}: {run} has its own; leave one of them out")
    else:
        work = _from_run(run, variant, seed, images, labels)
    if masks is not None and not masks.is_dir():
        raise InputError(f"{masks}: no such folder of masks")
    if not is_local(host) and not token:
        token = secrets.token_urlsafe(16)
    check_token(token)
    with only_server(work.labels) as spool:
        _serve(
            work,
            spool=spool,
            masks=masks,
            mask_values=mask_values,
            host=host,
            port=port,
            token=token,
            open_page=open_page,
        )


def _from_folders(model: Path | None, images: Path | None, labels: Path | None) -> Work:
    if model is None or images is None or labels is None:
        raise InputError(
            "give the folder of a run's category (results/<run>/<data set>/<category>), or all of"
            " --model, --images and --labels"
        )
    if labels.resolve().is_relative_to(images.resolve()):
        raise InputError(
            f"--labels {labels}: masks would lie among the pictures; give a folder outside {images}"
        )
    return Work(model, find_pictures(images), labels)


def _from_run(
    run: Path, variant: str | None, seed: int, images: Path | None, labels: Path | None
) -> Work:
    """A category of a finished run: its own defects, with the model exported where it is used;
    with `images` as the files below that folder, and of a project as its photographs, as in the
    studio, so that labels go on in either.
    """
    from adclick.annotate.run_pictures import (
        find_manifest_pictures,
        find_run_pictures,
        write_run_images,
    )
    from adclick.models.export import exported
    from adclick.models.run_sources import trained_variants
    from adclick.project.writing import SHEETS, project_of

    trained = trained_variants(run)
    chosen = variant or next(iter(trained), None)
    if chosen is None or chosen not in trained:
        known = ", ".join(trained) or "none"
        raise InputError(f"{run}: no trained model {chosen or ''} (trained: {known})")
    folder = run / "annotate"
    model = folder / "model" / f"{chosen}-seed{seed}"
    project = project_of(run)
    if images is not None:
        pictures = find_run_pictures(run, images)
    elif project is not None:
        pictures = find_manifest_pictures(run, project.folder / SHEETS)
    else:
        pictures = find_pictures(write_run_images(run, folder / "images"))
    return Work(
        exported(run, chosen, seed=seed, output=model), pictures, labels or folder / "labels"
    )


def _serve(
    work: Work,
    *,
    spool: Path,
    masks: Path | None,
    mask_values: MaskValues | None,
    host: str,
    port: int | None,
    token: str | None,
    open_page: bool,
) -> None:
    import uvicorn

    from adclick.annotate.app import create_app
    from adclick.annotate.desk import Desk
    from adclick.annotate.worker import Model, Server

    path_of = {picture.key: picture.path for picture in work.pictures}
    model = Model(partial(Server, work.model, spool), path_of.__getitem__)
    try:
        desk = Desk(
            work.pictures, labels=work.labels, model=model, masks=masks, mask_values=mask_values
        )
        model.encodings.want([row["key"] for row in desk.rows() if row["state"] == "todo"])
        app = create_app(desk, token=token, version=importlib.metadata.version("adclick"))
        listening = listen(host, port)
        address = address_of(host, listening, token)
        print(f"{model.facts.title}, {len(work.pictures)} images: {address}", flush=True)
        print(f"labels: {work.labels} (Ctrl-C ends)", flush=True)
        if open_page:
            webbrowser.open(address)
        settings: dict[str, Any] = {"log_level": "warning", "access_log": False, "lifespan": "off"}
        uvicorn.Server(uvicorn.Config(app, **settings)).run(sockets=[listening])
    finally:
        model.close()
        print("ended; every click is in the labels' folder", file=sys.stderr)


def is_local(host: str) -> bool:
    """Whether only this machine reaches a host."""
    return host in ("127.0.0.1", "localhost", "::1")


def check_token(token: str | None) -> None:
    """InputError for a token that is too short, or that an address cannot carry."""
    if token is not None and not re.fullmatch(r"[A-Za-z0-9_.~-]{8,}", token):
        raise InputError("--token: give at least 8 letters, digits, or any of _ . ~ -")


def listen(host: str, port: int | None) -> socket.socket:
    """A socket on the port, or on the first free one from 8765. InputError when it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    wanted = [port] if port is not None else range(FIRST_PORT, FIRST_PORT + PORTS)
    reason: str | None = None
    for one in wanted:
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, one))
        except OSError as error:
            listening.close()
            reason = error.strerror
            continue
        listening.listen(128)
        return listening
    raise InputError(f"{host}:{wanted[0]}: {reason}; give another --port")


def address_of(host: str, listening: socket.socket, token: str | None) -> str:
    """The page's address as a browser takes it."""
    port = listening.getsockname()[1]
    shown = f"[{host}]" if ":" in host else socket.gethostname() if host == "0.0.0.0" else host
    return f"http://{shown}:{port}/" + (f"?token={token}" if token else "")
