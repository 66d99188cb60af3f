"""A command as a person types it, in this process."""

import signal
from dataclasses import dataclass

import pytest

from adclick import cli


@dataclass(frozen=True)
class Said:
    """How a command ended: its exit code, and what it wrote."""

    code: int
    out: str
    err: str


def type_command(
    argv: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Said:
    """Run `adclick` with these words."""
    monkeypatch.setattr("sys.argv", ["adclick", *argv])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    written = capsys.readouterr()
    return Said(int(caught.value.code or 0), written.out, written.err)
