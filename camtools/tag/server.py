"""The web application of ``camtools tag``: page, pixels and actions, behind the guard of the label server."""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from camtools.data.errors import DataError, reason
from camtools.label.guard import App, Guard, Message, Receive, Send
from camtools.label.places import Places
from camtools.tag.session import TagSession
from camtools.tag.store import Conflict

__all__ = ["tag_app"]

T = TypeVar("T")

STATIC = Path(__file__).parent / "static"
MOST_BYTES = 2_000_000
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def tag_app(session: TagSession, port: int, token: str) -> Guard:
    """The application.

    Requests must name this server as their host and come from its own page (:class:`camtools.label.guard.Guard`), and
    carry the token, once in the address and then in a cookie: other users of this machine do not have it. Files are
    named by ids of the volumes of the folder and by a fixed list of pages, never by paths.

    Args:
        session: what answers.
        port: port of the server.
        token: what the address that opens the page ends with.
    """
    routes = _Routes(session)
    app = Starlette(
        routes=[
            Route("/", routes.page),
            Route("/static/{name}", routes.static),
            Route("/api/overview", routes.overview),
            Route("/api/changes", routes.changes),
            Route("/api/volumes/{key}", routes.detail),
            Route("/api/volumes/{key}/planes/{axis:int}/{index:int}", routes.plane),
            Route("/api/volumes/{key}/thumbs", routes.thumbs),
            Route("/api/volumes/{key}/act", routes.act, methods=["POST"]),
            Route("/api/volumes/{key}/undo", routes.undo, methods=["POST"]),
            Route("/api/ahead", routes.ahead, methods=["POST"]),
            Route("/api/preview", routes.preview, methods=["POST"]),
            Route("/api/splits", routes.splits, methods=["POST"]),
        ],
        exception_handlers={
            KeyError: lambda _, error: _refusal(404, f"Expected a volume of this folder, found {error}."),
            Conflict: lambda _, error: _refusal(409, str(error)),
            DataError: lambda _, error: _refusal(422, str(error)),
            ValueError: lambda _, error: _refusal(400, str(error)),
            TypeError: lambda _, error: _refusal(400, str(error)),
            OSError: lambda _, error: _refusal(507, reason(error)),
        },
    )
    return Guard(_Admission(app, f"camtools_tag_{port}", token), Places("127.0.0.1", port))


def _refusal(status: int, detail: str) -> Response:
    return JSONResponse({"detail": detail}, status, headers=HEADERS)


class _Admission:
    """Lets requests through that have the token."""

    def __init__(self, app: App, cookie: str, token: str) -> None:
        self.app = app
        self.cookie = cookie
        self.token = token

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        response: Response | None = None
        if request.url.path == "/" and self._fits(request.query_params.get("token")):
            response = RedirectResponse("/", 303, HEADERS)
            response.set_cookie(self.cookie, self.token, httponly=True, samesite="strict", path="/")
        elif not self._fits(request.cookies.get(self.cookie)):
            response = _refusal(403, "Expected the address that camtools tag printed, with its token. Open it again.")
        await (response or self.app)(scope, receive, send)

    def _fits(self, given: str | None) -> bool:
        return given is not None and hmac.compare_digest(given.encode(), self.token.encode())


class _Routes:
    """One method for each address; work is done in threads."""

    def __init__(self, session: TagSession) -> None:
        self.session = session
        self._files = {path.name: path for path in STATIC.iterdir() if path.suffix in KINDS}

    async def page(self, request: Request) -> Response:
        return self._file("index.html")

    async def static(self, request: Request) -> Response:
        return self._file(request.path_params["name"])

    async def overview(self, request: Request) -> Response:
        return await _json(self.session.overview)

    async def changes(self, request: Request) -> Response:
        query = request.query_params
        since, suggested = int(query.get("since", "0")), int(query.get("suggested", "0"))
        return await _json(lambda: self.session.changes(since, suggested))

    async def detail(self, request: Request) -> Response:
        return await _json(lambda: self.session.detail(request.path_params["key"]))

    async def plane(self, request: Request) -> Response:
        key, axis, index = (request.path_params[name] for name in ("key", "axis", "index"))

        def picture() -> bytes:
            pixels = self.session.pixels(key)
            if axis >= len(pixels.planes) or index >= pixels.planes[axis].count:
                raise ValueError(f"Expected a plane of this volume, found {axis}/{index}.")
            return pixels.picture(axis, index)

        return _bytes(await run_in_threadpool(picture))

    async def thumbs(self, request: Request) -> Response:
        key = request.path_params["key"]
        return _bytes(await run_in_threadpool(lambda: self.session.pixels(key).thumbs.tobytes()))

    async def act(self, request: Request) -> Response:
        content = await _content(request)
        return await _json(lambda: self.session.act(request.path_params["key"], content))

    async def undo(self, request: Request) -> Response:
        content = await _content(request)
        return await _json(lambda: self.session.undo(request.path_params["key"], content))

    async def ahead(self, request: Request) -> Response:
        keys = (await _content(request)).get("volumes")
        if not isinstance(keys, list) or len(keys) > 8:
            raise ValueError("volumes: expected at most 8 volumes.")
        self.session.cache.ahead([key for key in keys if not self.session.volume(key).problem])
        return JSONResponse({}, headers=HEADERS)

    async def preview(self, request: Request) -> Response:
        content = await _content(request)
        return await _json(lambda: self.session.preview(content))

    async def splits(self, request: Request) -> Response:
        content = await _content(request)
        return await _json(lambda: self.session.choose(content))

    def _file(self, name: str) -> Response:
        path = self._files.get(name)
        if path is None:
            return _refusal(404, "Expected a file of the page.")
        return Response(path.read_bytes(), media_type=KINDS[path.suffix], headers=HEADERS)


async def _json(work: Callable[[], Mapping[str, Any]]) -> Response:
    return JSONResponse(await run_in_threadpool(work), headers=HEADERS)


def _bytes(content: bytes) -> Response:
    return Response(content, media_type="application/octet-stream", headers=HEADERS)


async def _content(request: Request) -> dict[str, Any]:
    """The JSON object of a request; a form of a foreign page cannot send this type."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ValueError(f"Content-Type: expected application/json, found {kind!r}.")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise ValueError(f"Body: expected at most {MOST_BYTES} bytes, found more.")
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("Body: expected JSON, found something else.") from None
    if not isinstance(content, dict):
        raise ValueError("Body: expected a JSON object, found something else.")
    return content


def new_token() -> str:
    """A token that cannot be guessed."""
    return secrets.token_urlsafe(24)
