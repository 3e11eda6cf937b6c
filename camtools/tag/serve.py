"""Start the server of ``camtools tag`` on a free port of this machine, and open the page."""

from __future__ import annotations

import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable

from camtools.tag.session import TagSession

__all__ = ["serve_tags"]


def serve_tags(
    session: TagSession, port: int = 0, open_browser: bool = True, say: Callable[[str], None] = print
) -> None:
    """Serve a session on 127.0.0.1 until Ctrl-C.

    Args:
        session: what is tagged.
        port: 0 for a free one.
        open_browser: open the page where this machine has a screen.
        say: tells the user where the page is.

    Raises:
        ImportError: the server is not installed.
        OSError: the port is taken.
    """
    try:
        import uvicorn

        from camtools.tag.server import new_token, tag_app
    except ImportError as error:
        raise ImportError(f"camtools tag needs {error.name}: pip install 'camtools[tag]'.") from None
    listener = _listen(port)
    port = listener.getsockname()[1]
    token = new_token()
    address = f"http://127.0.0.1:{port}/?token={token}"
    session.start()
    try:
        volumes = session.folder.volumes.values()
        broken = sum(bool(volume.problem) for volume in volumes)
        say(f"{len(volumes)} volumes in {session.folder.root}" + (f", {broken} of them broken" if broken else ""))
        say(f"Tag them at {address}\nCtrl-C stops; every action is on the disk already.")
        if open_browser and _has_screen():
            threading.Timer(0.5, webbrowser.open, [address]).start()
        config = uvicorn.Config(
            tag_app(session, port, token),
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=2,
        )
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        pass
    finally:
        session.stop()
        listener.close()


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise OSError(
            f"Expected a free port, found 127.0.0.1:{port} not to be ({error}). Choose another --port."
        ) from None


def _has_screen() -> bool:
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
