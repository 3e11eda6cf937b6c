"""Checks requests before MONAI Label sees them. Only the server's own pages and programs may send requests."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from camtools.label.places import Places
from camtools.label.requests import BATCH, NEXT, TRAIN, RequestError, Rule, checked, plain_name

__all__ = ["Guard"]

logger = logging.getLogger("camtools")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

RULES: dict[str, Mapping[str, Rule]] = {"activelearning": NEXT, "batch": BATCH, "train": TRAIN, "scoring": {}}
NAMES = ("image", "id", "label", "tag")
MOST_BYTES = 1_000_000
SESSION = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
SET_BY_THE_SERVER = ("bundle_path", "local_rank")


class ForbiddenError(ValueError):
    """A request from a host or origin that the server refuses."""


class Guard:
    """An ASGI application in front of another one. It refuses requests that a foreign web page could send.

    - ``Host`` must name this server and ``Origin``, if sent, one of its pages (:class:`Places`);
      ``Sec-Fetch-Site`` must not name another site. Answer: 403.
    - No ``..`` in a path, and only plain names of volumes, tags and sessions in the query. Answer: 400.
    - From the JSON of trainings, batches and samples, only values that :func:`camtools.label.requests.checked` accepts
      are passed on. Answer to any other value: 400.

    Args:
        app: the application that answers.
        places: hosts and origins that may send requests.
        prefix: path under which the application is served, such as ``"/api"``.
    """

    def __init__(self, app: App, places: Places, prefix: str = "") -> None:
        self.app = app
        self.places = places
        self.prefix = prefix

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Refuse one request, or pass it on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        try:
            if scope["type"] != "http":
                raise ForbiddenError(f"Expected HTTP, found {scope['type']}.")
            self._check_place(scope)
            _check_names(scope)
            kind, *rest = scope["path"].removeprefix(self.prefix).strip("/").split("/")
            if scope["method"] == "POST" and kind in RULES:
                receive = await _checked_body(receive, RULES[kind], by_model=kind == "train" and not rest)
        except (ForbiddenError, RequestError) as error:
            logger.warning("Refused %s %r: %s", scope.get("method", ""), scope["path"], error)
            await _answer(send, scope["type"], 403 if isinstance(error, ForbiddenError) else 400, str(error))
            return
        await self.app(scope, receive, send)

    def _check_place(self, scope: Mapping[str, Any]) -> None:
        def values(header: bytes) -> list[str]:
            return [value.decode("latin-1").strip() for name, value in scope["headers"] if name.lower() == header]

        hosts, origins, sites = (values(header) for header in (b"host", b"origin", b"sec-fetch-site"))
        if len(hosts) != 1 or not self.places.is_own_host(hosts[0]):
            raise ForbiddenError(
                f"Host: expected a name of this server, such as {self.places.host}:{self.places.port}, found "
                f"{', '.join(hosts) or 'none'!r}. Behind a tunnel or proxy start with --allow-origin http://NAME:PORT."
            )
        foreign = [origin for origin in origins if not self.places.is_own_origin(origin, hosts[0])]
        if foreign:
            raise ForbiddenError(
                f"Origin: expected a page of this server, found {foreign[0]!r}. "
                "To let a viewer at another address in, start with --allow-origin ADDRESS."
            )
        if not origins and any(site not in ("same-origin", "none") for site in sites):
            raise ForbiddenError(
                f"Sec-Fetch-Site: expected a request of this server's own pages, found {sites[0]!r}. "
                "To open a page of the server, type its address."
            )


def _check_names(scope: Mapping[str, Any]) -> None:
    path = unquote(unquote(scope["path"]))
    if ".." in re.split(r"[/\\]", path) or re.search(r"[\x00-\x1f\x7f]", path):
        raise RequestError(f"Path: expected no .. and no control character, found {path!r}.")
    for field, value in parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True):
        if field in NAMES and value:
            plain_name(field, value)
        if field == "session_id" and value and re.fullmatch(SESSION, value) is None:
            raise RequestError(f"session_id: expected one that PUT /session/ gave, found {value[:80]!r}.")


async def _checked_body(receive: Receive, rules: Mapping[str, Rule], by_model: bool) -> Receive:
    """The checked JSON of the request, as the application will receive it."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = bool(message.get("more_body"))
        if len(body) > MOST_BYTES:
            raise RequestError(f"Body: expected at most {MOST_BYTES} bytes of JSON, found more.")
    content = _known(_parsed(body), rules, by_model) if body.strip() else None
    sent = [{"type": "http.request", "body": b"" if content is None else json.dumps(content).encode()}]

    async def replay() -> Message:
        return sent.pop() if sent else await receive()

    return replay


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"Body: expected JSON, found something else ({type(error).__name__}).") from None


def _known(content: Any, rules: Mapping[str, Rule], by_model: bool) -> Any:
    if content is None:
        return None
    if not isinstance(content, dict):
        raise RequestError(f"Body: expected names with values, found {type(content).__name__}.")
    for field in SET_BY_THE_SERVER:
        if field in content:
            raise RequestError(f"{field}: expected none, since the server sets it, found {str(content[field])[:80]!r}.")
    if by_model:
        return {plain_name("model", model): _known(options, rules, False) for model, options in content.items()}
    return checked(content, rules)


async def _answer(send: Send, kind: str, status: int, detail: str) -> None:
    if kind == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    body = json.dumps({"detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
