"""Who may look: without a token only pages that this machine itself asks for, by its own name."""

from __future__ import annotations

import hmac
from http.cookies import CookieError, SimpleCookie
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")
COOKIE = "codesign-dashboard"
YEAR_S = 365 * 24 * 3600
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)

App: TypeAlias = Any


class Guard:
    """An ASGI application in front of another one: lets in what is safe, and reads only.

    Without a token the `Host` of a request must be a name of this machine: a page elsewhere whose
    name was pointed at it (DNS rebinding) names another one. With a token every request must bring
    it: as `?token=` of the first page, which is answered by a cookie, or as
    `Authorization: Bearer`.

    Args:
        token: empty: none is asked for.
    """

    def __init__(self, app: App, token: str) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: App, receive: App, send: App) -> None:
        """Answer, or hand on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): v.decode("latin-1") for name, v in scope["headers"]}
        if scope["method"] not in ("GET", "HEAD"):
            await _answer(send, 405, "This page is for reading only.")
        elif not self._token and _name_of(headers.get("host", "")) not in LOCAL_NAMES:
            await _answer(send, 421, "This host name is not served: use http://127.0.0.1.")
        elif self._token and self._is(_asked(scope)):
            await _answer(send, 303, "", [(b"location", b"./"), self._cookie()])
        elif self._token and not self._is(_brought(headers)):
            told = "A token is needed: open the address that `codesign dashboard` printed."
            await _answer(send, 401, told)
        else:
            await self._app(scope, receive, _with_headers(send))

    def _is(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self._token.encode())

    def _cookie(self) -> tuple[bytes, bytes]:
        held = f"{COOKIE}={self._token}; Max-Age={YEAR_S}; HttpOnly; SameSite=Strict; Path=/"
        return b"set-cookie", held.encode()


def _name_of(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _asked(scope: App) -> str:
    query = parse_qs(scope["query_string"].decode("latin-1"))
    return query.get("token", [""])[0] if scope["path"] == "/" else ""


def _brought(headers: dict[str, str]) -> str:
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return token
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return cookie.value if cookie else ""


def _with_headers(send: App) -> App:
    async def sending(message: App) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *HEADERS]
        await send(message)

    return sending


async def _answer(
    send: App, status: int, told: str, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    plain = (b"content-type", b"text/plain; charset=utf-8")
    start = {"type": "http.response.start", "status": status}
    await send({**start, "headers": [plain, *HEADERS, *(headers or [])]})
    await send({"type": "http.response.body", "body": f"{told}\n".encode()})
