"""Serves the live page until it is interrupted."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn

from codesign.dashboard.app import make_app
from codesign.dashboard.guard import LOCAL_NAMES
from codesign.dashboard.source import StudySource
from codesign.errors import LaunchError

DEFAULT_PORT = 8765


def serve(
    study: Path, *, host: str, port: int | None, token: bool, ready: Callable[[str], None]
) -> None:
    """Serve a study's page until SIGINT or SIGTERM.

    Args:
        host: a name or an address of this machine.
        port: 0: any free one; None: the default one, or any where that is in use.
        token: whether to ask for one on this machine's own names, too; elsewhere one is asked for.
        ready: called with the address to open, once it is answered.

    Raises:
        CodesignError: the folder holds no study; the port is in use; the host is none.
    """
    source = StudySource(study)
    listening = _listen(host, port)
    secret = secrets.token_urlsafe(24) if token or host not in LOCAL_NAMES else ""
    config = uvicorn.Config(
        make_app(source, token=secret), log_level="warning", access_log=False, lifespan="on",
        server_header=False, timeout_graceful_shutdown=2,
    )  # fmt: skip
    name = socket.gethostname() if host in ("0.0.0.0", "::") else host
    shown = f"[{name}]" if ":" in name else name
    asked = f"?token={secret}" if secret else ""
    with listening:
        ready(f"http://{shown}:{listening.getsockname()[1]}/{asked}")
        uvicorn.Server(config).run(sockets=[listening])


def _listen(host: str, port: int | None) -> socket.socket:
    try:
        return _bound(host, DEFAULT_PORT if port is None else port)
    except OSError as error:
        if port is None and not isinstance(error, socket.gaierror):
            return _bound(host, 0)
        raise LaunchError(
            f"cannot be listened on: {error.strerror}",
            where=f"{host}:{port}",
            hint="name another --port (0: any free one), or a --host of this machine",
        ) from error


def _bound(host: str, port: int) -> socket.socket:
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    return socket.create_server((host, port), family=family)
