"""A run's events as a file of JSON lines: a logger plug-in of Snakemake's own interface.

`adclick.studio.child` registers this module under the name `adclick`; Snakemake then takes
`--logger adclick --logger-adclick-file FILE`. What it prints stays as it is.
"""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from logging import LogRecord
from pathlib import Path
from typing import Any, Optional

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase

PLUGIN = "snakemake_logger_plugin_adclick"
# What is kept of each event, by the names that Snakemake gives.
KEPT = {
    "run_info": ("stats",),
    "job_info": ("jobid", "rule_name", "log"),
    "job_finished": ("job_id",),
    "job_error": ("jobid", "rule_name", "log"),
    "progress": ("done", "total"),
}


@dataclass
class LogHandlerSettings(LogHandlerSettingsBase):
    """The plug-in's one setting."""

    file: Optional[Path] = field(  # noqa: UP045, since Snakemake reads no `Path | None`
        default=None,
        metadata={"help": "file that events are added to, a JSON line each", "required": True},
    )


class LogHandler(LogHandlerBase):
    """Adds the events of a run to a file, each line written at once."""

    def __post_init__(self) -> None:
        """Opens the file."""
        settings = self.settings
        assert isinstance(settings, LogHandlerSettings) and settings.file is not None
        self._file = Path(settings.file).open("a", encoding="utf-8", buffering=1)  # noqa: SIM115

    def emit(self, record: LogRecord) -> None:
        """Write one event; a record that is none is left to the printed log."""
        event = getattr(record, "event", None)
        if event is None or str(event) not in KEPT:
            return
        try:
            values = {name: getattr(record, name, None) for name in KEPT[str(event)]}
            line = {"time": time.time(), "event": str(event), **values}
            self._file.write(json.dumps(line, default=_plain) + "\n")
        except Exception:  # such as of a full disk: it must not end the thread that logs
            self.handleError(record)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    @property
    def writes_to_stream(self) -> bool:
        """Nothing is printed."""
        return False

    @property
    def writes_to_file(self) -> bool:
        """It is no log for people: Snakemake would name it as one."""
        return False

    @property
    def has_filter(self) -> bool:
        """What is left out is decided in `emit`."""
        return True

    @property
    def has_formatter(self) -> bool:
        """A line is JSON."""
        return True

    @property
    def needs_rulegraph(self) -> bool:
        """Jobs are enough."""
        return False


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """The events of a file so far; a line that is still being written is left out."""
    if not path.is_file():
        return
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            yield json.loads(line)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (list, tuple, set)):
        return list(value)
    return str(value)
