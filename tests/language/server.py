"""A language model's server on the loopback interface, with scripted answers."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Llm:
    """A chat completions server on the loopback interface that gives scripted answers in turn.

    The last answer repeats. It keeps still while `awake` is not set, and from the request after
    `stall_after` on, which sets `stalled`.
    """

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes, str]] = []
        self.requests: list[tuple[str, str | None, dict[str, Any]]] = []
        self.awake = threading.Event()
        self.awake.set()
        self.stall_after: int | None = None
        self.stalled = threading.Event()
        llm = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                body = json.loads(self.rfile.read(length))
                llm.requests.append((self.path, self.headers["authorization"], body))
                if llm.stall_after is not None and len(llm.requests) > llm.stall_after:
                    llm.awake.clear()
                    llm.stalled.set()
                llm.awake.wait(60)
                status, answer, kind = (
                    llm.answers.pop(0) if len(llm.answers) > 1 else llm.answers[0]
                )
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(answer)))
                self.send_header("retry-after-ms", "1")
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *args: Any) -> None:
                pass  # a client that gave up waiting

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def says(self, text: str | None, finish_reason: str = "stop", **usage: float) -> None:
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": finish_reason}
        body = {"object": "chat.completion", "choices": [choice], "usage": usage or None}
        self.answers_with(200, json.dumps(body))

    def answers_with(self, status: int, body: str, kind: str = "application/json") -> None:
        self.answers.append((status, body.encode(), kind))


@contextmanager
def serving() -> Iterator[Llm]:
    """A server that answers until the block ends."""
    server = Llm()
    thread = threading.Thread(target=server.server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.awake.set()
        server.server.shutdown()
        server.server.server_close()
        thread.join()
