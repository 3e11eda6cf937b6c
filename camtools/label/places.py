"""Who may send requests to the label server: its own pages, and viewers that the user has named."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Places", "web_origin"]

LOOPBACK = ("localhost", "127.0.0.1", "::1")
EVERY_ADDRESS = ("", "0.0.0.0", "::")


def web_origin(address: str) -> str:
    """Scheme, host and port of a viewer's address, as browsers write them.

    Raises:
        ValueError: not an address, or a pattern that matches several.

    Example:
        >>> web_origin("https://Viewer.example:443/")
        'https://viewer.example'
    """
    found = re.fullmatch(r"(https?)://([a-z0-9.-]+|\[[0-9a-f:]+\])(?::(\d{1,5}))?/?", address.strip().lower())
    if found is None:
        raise ValueError(f"--allow-origin: expected an address such as https://viewer.example:3000, found {address!r}.")
    scheme, host, port = found.groups()
    usual = {"http": "80", "https": "443"}[scheme]
    return f"{scheme}://{host}" + (f":{port}" if port and port != usual else "")


@dataclass(frozen=True)
class Places:
    """Hosts and origins that the server answers.

    A page of another site can send requests to a server on the same machine, and a name of that site can be made to
    point there ("DNS rebinding"). A browser sends both: the page in ``Origin``, the name in ``Host``.

    Attributes:
        host: address that the server is bound to.
        port: its port.
        allowed: origins (:func:`web_origin`) of further viewers; also the names that a proxy or tunnel uses.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    allowed: Sequence[str] = ()

    def origins(self) -> set[str]:
        """Origins of the server's own pages and of the allowed viewers."""
        return {f"http://{host}" for host in self._own()} | set(self.allowed)

    def is_own_host(self, host: str) -> bool:
        """Whether ``host``, with its port, names this server.

        A server bound to every address also accepts any numeric address with its port: only names can be rebound.

        Example:
            >>> [Places().is_own_host(host) for host in ("localhost:8000", "rebound.example:8000", "localhost:81")]
            [True, False, False]
        """
        host = host.lower()
        allowed = {origin.split("://")[1] for origin in self.allowed}
        if host in self._own() | allowed:
            return True
        name, _, port = host.rpartition(":") if self.port != 80 else (host, "", "80")
        return self.host in EVERY_ADDRESS and port == str(self.port) and _is_number(name)

    def is_own_origin(self, origin: str, host: str) -> bool:
        """Whether a page at ``origin`` may ask the server under the name ``host``.

        Example:
            >>> [Places().is_own_origin(page, "127.0.0.1:8000") for page in ("http://localhost:8000", "null")]
            [True, False]
        """
        return origin in self.origins() or origin == f"http://{host.lower()}"

    def _own(self) -> set[str]:
        names = {*LOOPBACK, self.host.lower()} - set(EVERY_ADDRESS)
        if self.host in EVERY_ADDRESS:
            names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
        written = {f"[{name}]" if ":" in name else name for name in names}
        return {f"{name}:{self.port}" for name in written} | (written if self.port == 80 else set())


def _is_number(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
