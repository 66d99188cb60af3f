"""Snakemake in a process of its own, with the logger plug-in `adclick`, and a note of how it ended.

`python -m adclick.studio.child FOLDER unlock|- <Snakemake's arguments>`
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from adclick.run.artifacts import write_text
from adclick.studio import events
from adclick.studio.runs import note_identity

NICE = 5  # learning gives way to the clicks of who labels meanwhile


def main() -> None:
    """Run Snakemake; `ended.json` has its exit code, and is not there when it was killed."""
    place, unlock, *arguments = sys.argv[1:]
    folder = Path(place)
    if not (folder / "run.json").is_file():
        note_identity(folder, os.getpid())
    os.nice(NICE)
    if unlock == "unlock":
        command = [sys.executable, "-m", "snakemake", *_without_logger(arguments), "--unlock"]
        subprocess.run(command, check=False)
    code: object = 1
    try:
        code = _snakemake(arguments)
    finally:
        write_text(folder / "ended.json", json.dumps({"code": code, "time": time.time()}) + "\n")
    raise SystemExit(code)


def _snakemake(arguments: list[str]) -> int:
    from snakemake.cli import main as snakemake
    from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry

    LoggerPluginRegistry().register_plugin(events.PLUGIN, events)
    try:
        snakemake(arguments)
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    return 0


def _without_logger(arguments: list[str]) -> list[str]:
    return arguments[: arguments.index("--logger")] if "--logger" in arguments else arguments


if __name__ == "__main__":
    main()
