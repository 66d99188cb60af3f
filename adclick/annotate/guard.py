"""What every request must pass and every answer says: hosts, token, forgery, sizes, policy."""

import hmac
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE = "adclick"
LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")
MOST_BODY_BYTES = 16_000_000
CHANGING = ("POST", "PUT", "PATCH", "DELETE")
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:;"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


POLICY = b"content-security-policy"


class Guard:
    """Wraps the application: refuses what it should not see, and adds the policy to all answers.

    Without a token only loopback names are served, so that a foreign page that points its own name
    here learns nothing. A changing request must be JSON with the header `X-Adclick: 1`, which no
    form of another site can send.
    """

    def __init__(
        self,
        app: App,
        *,
        token: str | None,
        files: str | None = None,
        most_bytes: int = MOST_BODY_BYTES,
    ) -> None:
        """`token` is needed by every request but the first, which may carry it as `?token=`. Below
        the path `files` a changing request may be a file's bytes, of `most_bytes` at most.
        """
        self.app, self.token = app, token
        self._files, self._most_bytes = files, most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in scope["headers"]
        }
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _answer(send, *refusal)
            return
        most = self._most_bytes if self._takes_file(scope) else MOST_BODY_BYTES
        try:
            body = await _body(receive, most)
        except _GoneError:
            return  # nobody is there to answer, and half a file must not be taken for one
        if body is None:
            await _answer(send, 413, f"a request may have {most} bytes at most")
            return
        if headers.get("content-length", str(len(body))).strip() != str(len(body)):
            await _answer(send, 400, "the request was cut short; send it again")
            return
        shown = self.token if self._matches(_query_token(scope)) else None
        await self.app(scope, _replayed(body, receive), _adding(send, shown))

    def _refusal(self, scope: Scope, headers: Mapping[str, str]) -> tuple[int, str] | None:
        host = headers.get("host", "").rsplit(":", 1)[0] if headers.get("host") else ""
        if self.token is None and host not in LOCAL_HOSTS:
            return 421, "this server answers to 127.0.0.1 only; start it with --token for others"
        if self.token is not None and not self._knows_token(scope, headers):
            return 401, "token needed: open the address that the server has printed"
        if scope["method"] in CHANGING:
            kind = "application/octet-stream" if self._takes_file(scope) else "application/json"
            if headers.get("content-type", "").split(";")[0].strip() != kind:
                named = "JSON" if kind.endswith("json") else "a file's bytes"
                return 415, f"send {named} (Content-Type: {kind})"
            if headers.get("x-adclick") != "1":
                return 403, "the header X-Adclick: 1 is missing"
        return None

    def _takes_file(self, scope: Scope) -> bool:
        return self._files is not None and str(scope["path"]).startswith(self._files)

    def _knows_token(self, scope: Scope, headers: Mapping[str, str]) -> bool:
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        given = [bearer, *_cookies(headers.get("cookie", "")), _query_token(scope)]
        return any(self._matches(one) for one in given)

    def _matches(self, given: str) -> bool:
        return bool(self.token and given) and hmac.compare_digest(
            given.encode(), (self.token or "").encode()
        )


def _cookies(header: str) -> list[str]:
    """The values of our cookie. Other applications of this host send theirs beside it, in whatever
    form.
    """
    pairs = (part.partition("=") for part in header.split(";"))
    return [value.strip() for name, _, value in pairs if name.strip() == COOKIE]


def _query_token(scope: Scope) -> str:
    return parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]


class _GoneError(Exception):
    """The connection ended before the request was whole."""


async def _body(receive: Receive, most: int) -> bytes | None:
    """The whole body; None when it is larger than `most` bytes."""
    content = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _GoneError
        content += message.get("body", b"")
        if len(content) > most:
            return None
        if not message.get("more_body"):
            return bytes(content)


def _replayed(body: bytes, receive: Receive) -> Receive:
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> MutableMapping[str, Any]:
        return waiting.pop() if waiting else await receive()

    return again


def _adding(send: Send, token: str | None) -> Send:
    """Sends the policy with every answer that has none of its own, and the cookie to who has shown
    the token.
    """
    extra = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
    if token is not None:
        cookie = f"{COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/"
        extra.append((b"set-cookie", cookie.encode()))

    async def adding(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            given = [(name.lower(), value) for name, value in message.get("headers", [])]
            named = {name for name, _ in given if name == POLICY}
            ours = [pair for pair in extra if pair[0] not in named]
            kept = [pair for pair in given if pair[0] not in {name for name, _ in ours}]
            message = {**message, "headers": [*kept, *ours]}
        await send(message)

    return adding


async def _answer(send: Send, status: int, line: str) -> None:
    adding = _adding(send, None)
    content = [(b"content-type", b"application/json")]
    await adding({"type": "http.response.start", "status": status, "headers": content})
    await adding({"type": "http.response.body", "body": json.dumps({"error": line}).encode()})
