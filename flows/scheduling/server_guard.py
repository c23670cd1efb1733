"""Refuse requests from other web pages to the Prefect server that Tidecast starts.

Prefect answers every `Host` and every `Origin`. So any page in the user's browser could read deployments and start
runs, by a cross-site request or by DNS rebinding. This ASGI wrapper accepts only the server's own pages, programs on
this machine, and the origins that `PREFECT_SERVER_CORS_ALLOWED_ORIGINS` names.
"""

import json
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Any, Send], Awaitable[None]]

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
ANY = "*"
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::\d{1,5})?")
_OTHER_PAGE = (b"cross-site", b"same-site")  # "same-site": another port of this machine


def own_origins(port: int) -> list[str]:
    """Return the origins of the server's own pages.

    Parameters
    ----------
    port : int
    """
    return [f"http://{host}:{port}" for host in LOOPBACK]


def named_origins(setting: str) -> list[str]:
    """Return the origins in a setting, separated by commas, without ``*``, which would mean every page.

    Parameters
    ----------
    setting : str
        The value, such as "http://a:1, http://b:2".
    """
    return [origin for part in setting.split(",") if (origin := part.strip().rstrip("/").lower()) not in ("", ANY)]


class OwnPagesOnly:
    """Wraps an ASGI app; checks `Host`, `Origin` and `Sec-Fetch-Site`.

    Parameters
    ----------
    app : ASGI application
    origins : iterable of str
        Origins that may send requests, as ``http://127.0.0.1:4200``. Their hosts are accepted as `Host`, too.
    """

    def __init__(self, app: App, origins: Iterable[str]) -> None:
        self._app = app
        self._origins = {origin.lower() for origin in origins}
        self._hosts = {*LOOPBACK, *(_host_of(urlsplit(origin).netloc) for origin in self._origins)}

    async def __call__(self, scope: Scope, receive: Any, send: Send) -> None:
        """Answer 403, or pass the request on."""
        if scope["type"] in ("http", "websocket") and (why := self.refusal(scope)):
            await _refuse(scope, send, why)
        else:
            await self._app(scope, receive, send)

    def refusal(self, scope: Scope) -> str | None:
        """Return why a request is refused; None when it may pass.

        Parameters
        ----------
        scope : Scope
            Of an HTTP request or a WebSocket, as ASGI defines it.
        """
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value)
        hosts, origins = headers.get(b"host", []), headers.get(b"origin", [])
        host = hosts[0].decode("latin-1").lower() if len(hosts) == 1 else ""
        if _host_of(host) not in self._hosts:
            return f"Host must be this machine, got {host!r}. Open the address that `tidecast schedule` prints."
        if len(origins) > 1:
            return "A request must have one Origin, got several."
        if origins:
            origin = origins[0].decode("latin-1").lower()
            if origin in self._origins or origin in (f"http://{host}", f"https://{host}"):
                return None
            return (
                f"Origin must be the server's own pages, got {origin!r}. Name others in "
                "PREFECT_SERVER_CORS_ALLOWED_ORIGINS where the server is started."
            )
        from_page = any(value.lower() in _OTHER_PAGE for value in headers.get(b"sec-fetch-site", []))
        is_link = scope.get("method") == "GET" and headers.get(b"sec-fetch-mode") == [b"navigate"]
        return "A request must not come from another web page." if from_page and not is_link else None


def _host_of(host: str) -> str:
    """The name in a `Host` header, without the port; empty when it is not valid."""
    found = _HOST.fullmatch(host)
    return found[1].lower() if found else ""


async def _refuse(scope: Scope, send: Send, why: str) -> None:
    if scope["type"] == "websocket":  # closed before it is accepted: the client sees 403
        await send({"type": "websocket.close", "code": 1008, "reason": why[:120]})
        return
    body = json.dumps({"detail": why}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})
