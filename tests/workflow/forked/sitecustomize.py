"""Every interpreter with this on its path: one that was started for a job of the workflow hands it
to the process that forks (`tests/workflow/forks.py`), waits, and ends as the fork did.
"""

import os
import sys
from pathlib import Path

is_job = " ".join(sys.orig_argv[1:3]).startswith("-m adclick.commands.")
if is_job and "ADCLICK_TESTS_FORKS" in os.environ:
    import json
    import socket

    task = {
        "module": sys.orig_argv[2],
        "arguments": sys.orig_argv[3:],
        "folder": str(Path.cwd()),
        "environment": dict(os.environ),
    }
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.environ["ADCLICK_TESTS_FORKS"])
        text = json.dumps(task).encode()
        sent = socket.send_fds(connection, [text], [0, 1, 2])
        connection.sendall(text[sent:])
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(1)
    os._exit(answer[0] if answer else 1)
