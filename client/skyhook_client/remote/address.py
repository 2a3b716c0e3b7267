"""Addresses of services, and of where their answers are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from skyhook_casa.errors import InvalidRequest, ProtocolError

PORT_DEFAULT: Final = 8815
FLIGHT_SCHEMES: Final = ("grpc", "grpc+tcp")
"""How a location of answers may begin."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a service listens."""

    host: str
    """A name or number; IPv6 without brackets."""
    port: int

    @property
    def target(self) -> str:
        """``host:port``; IPv6 in brackets."""
        return f"{self.shown_host}:{self.port}"

    @property
    def shown_host(self) -> str:
        """The host, in brackets if it is IPv6."""
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def url(self) -> str:
        """The whole address."""
        return f"grpc://{self.target}"

    def flight(self, port: int) -> str:
        """Return the Flight location at a port of the same host.

        Raises
        ------
        ProtocolError
            If there can be no such port.
        """
        if not 0 < port < 1 << 16:
            raise ProtocolError(f"the service at {self.url} says that its data is at port {port}")
        return f"grpc://{self.shown_host}:{port}"


def parse_service(address: str) -> Address:
    """Take ``grpc://host:port`` apart; without a port it is `PORT_DEFAULT`.

    Raises
    ------
    InvalidRequest
        If there is no host, or there is more than host and port, or TLS is asked for.
    """
    parts = urlsplit(address)
    if parts.scheme == "grpcs":
        raise InvalidRequest(f"{address}: encrypted services cannot be reached yet; give grpc://host:port")
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidRequest(f"{address}: {error}; give grpc://host:port") from error
    more = parts.username or parts.password or parts.path.strip("/") or parts.query or parts.fragment
    if not host or more:
        raise InvalidRequest(f"{address} is no service; give grpc://host:port")
    return Address(host, PORT_DEFAULT if port is None else port)


def check_location(location: str) -> str:
    """Return a Flight location that a service named, if it is one.

    Raises
    ------
    ProtocolError
        If it is of another kind: it could lead anywhere.
    """
    try:
        parts = urlsplit(location)
        good = parts.scheme in FLIGHT_SCHEMES and bool(parts.hostname) and parts.port is not None
    except ValueError:
        good = False
    if not good:
        raise ProtocolError(
            f"the service named {location[:200]!r} as a place of data; grpc://host:port is one"
        )
    return location
