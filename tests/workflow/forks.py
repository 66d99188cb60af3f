"""Jobs of a workflow as forks of one process that has loaded the libraries, not as interpreters
that each load them anew, which takes longer than what most jobs of the micro run do.

This module is the process (`python -m tests.workflow.forks ADDRESS`). Nothing of `adclick` is
loaded in it, so a fork reads the code as it then is. `forked/sitecustomize.py`, on the path of the
jobs' interpreter, hands a job over.
"""

import array
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
ADDRESS = "ADCLICK_TESTS_FORKS"  # read by FORKED/sitecustomize.py
PEAK = "ADCLICK_TESTS_PEAK"  # the file where a job's greatest memory is written, KiB
FORKED = Path(__file__).parent / "forked"
LIBRARIES = ("torch", "timm", "transformers", "cv2", "h5py", "numba", "pandas", "scipy.ndimage")
LIBRARIES += ("sklearn.decomposition", "skimage.segmentation", "matplotlib.pyplot", "pydantic")


@contextmanager
def forking() -> Iterator[str]:
    """The address of such a process while it lives, for `Project.forks`."""
    with tempfile.TemporaryDirectory(prefix="forks-") as folder:
        address = Path(folder) / "socket"
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "tests.workflow.forks", str(address)]
        server = subprocess.Popen(command, cwd=ROOT, env=environment)
        try:
            while not address.exists():
                assert server.poll() is None, "the process that forks ended"
                time.sleep(0.05)
            yield str(address)
        finally:
            server.kill()
            server.wait()


def serve(address: str) -> None:
    for name in LIBRARIES:
        importlib.import_module(name)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address + ".part")
    listener.listen(16)
    Path(address + ".part").rename(address)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # who waits for a job is not waited for
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _run_job(connection)
        connection.close()


def _run_job(connection: socket.socket) -> None:
    """Fork once more for the job, and tell its exit status when it has ended."""
    task, streams = _read_task(connection)
    job = os.fork()
    if job == 0:
        connection.close()
        os._exit(_ended(task, streams))
    status, peak_kb = _waited(job, connection)
    if PEAK in task["environment"]:
        Path(task["environment"][PEAK]).write_text(str(peak_kb), encoding="ascii")
    with suppress(BrokenPipeError):
        connection.sendall(bytes([os.waitstatus_to_exitcode(status) % 256]))
    os._exit(0)


def _waited(job: int, connection: socket.socket) -> tuple[int, int]:
    """The status with which a job ends, and its greatest memory, KiB; it is killed when the process
    that waits for it is gone.
    """
    gone = select.poll()
    gone.register(connection, select.POLLHUP)
    while True:
        ended, status, usage = os.wait4(job, os.WNOHANG)
        if ended:
            return status, usage.ru_maxrss
        if any(event & select.POLLHUP for _, event in gone.poll(20)):
            os.kill(job, signal.SIGKILL)
            _, status, usage = os.wait4(job, 0)
            return status, usage.ru_maxrss


def _read_task(connection: socket.socket) -> tuple[dict, list[int]]:
    size = array.array("i").itemsize
    text, ancillary, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(3 * size))
    streams = array.array("i", ancillary[0][2][: 3 * size]).tolist()
    while part := connection.recv(65536):
        text += part
    return json.loads(text), streams


def _ended(task: dict, streams: list[int]) -> int:
    """The exit status of the job, run here."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.chdir(task["folder"])
    os.environ.clear()
    os.environ.update(task["environment"])
    sys.path[0] = task["folder"]
    sys.argv = [task["module"], *task["arguments"]]
    status = 0
    try:
        runpy.run_module(task["module"], run_name="__main__", alter_sys=True)
    except SystemExit as ending:
        status = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return status


if __name__ == "__main__":
    serve(sys.argv[1])
