"""The control connection: one gRPC channel, its errors, and patience when the service is away."""

from __future__ import annotations

import getpass
import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import grpc
from tenacity import RetryCallState, Retrying, retry_if_exception_type
from tenacity.wait import wait_random_exponential

from skyhook_casa import __version__
from skyhook_casa.errors import ProtocolError, ServiceBusy, ServiceLost, SkyhookError
from skyhook_casa.protocol import CLIENT_KEY, MESSAGE_BYTES_MAX, PROTOCOL_KEY, PROTOCOL_VERSION
from skyhook_casa.protocol import delivery_pb2 as pb
from skyhook_casa.protocol.delivery_pb2_grpc import DeliveryStub, IngestStub
from skyhook_casa.protocol.errors import from_rpc_error

from .address import Address, check_location

CALL_S: Final = 120.0
"""Longest time that a call without long work may take."""
OPTIONS: Final = (
    # The largest histogram with weights is as long as two messages.
    ("grpc.max_receive_message_length", 2 * MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    # A dead host is noticed also while nothing is to be sent.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # We try again ourselves, and soon.
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Services are reached directly; proxies for the web would not pass them on.
    ("grpc.enable_http_proxy", 0),
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for a service that is away or busy before giving up."""

    lost_s: float = 15.0
    """Seconds to wait in all for a service that cannot be reached."""
    busy_s: float = 30.0
    """Seconds to wait in all for a service that has too much to do."""
    first_s: float = 0.1
    """About how long to wait before the second attempt; then twice as long each time …"""
    most_s: float = 3.0
    """… but no longer than this."""

    def keep(self, attempt: Callable[[], T], before_wait: Callable[[], None] | None = None) -> T:
        """Return what an attempt returns; make others while the service is lost or busy.

        Parameters
        ----------
        attempt : callable
            Its last error is raised.
        before_wait : callable, optional
            Called between two attempts.
        """
        try:
            return attempt()
        except (ServiceLost, ServiceBusy) as error:
            failed: list[SkyhookError] = [error]

        def again() -> T:
            if failed:  # the attempt that was made already
                raise failed.pop()
            return attempt()

        return self._retrying(before_wait)(again)

    def _retrying(self, before_wait: Callable[[], None] | None) -> Retrying:
        grows = wait_random_exponential(multiplier=self.first_s, max=self.most_s)

        def wait(state: RetryCallState) -> float:
            error = _error(state)
            asked_s = error.retry_after_s if isinstance(error, ServiceBusy) else 0.0
            return asked_s + self.first_s / 2 + grows(state)

        def stop(state: RetryCallState) -> bool:
            limit_s = self.busy_s if isinstance(_error(state), ServiceBusy) else self.lost_s
            return state.idle_for + state.upcoming_sleep > limit_s

        return Retrying(
            retry=retry_if_exception_type((ServiceLost, ServiceBusy)),
            wait=wait,
            stop=stop,
            before_sleep=None if before_wait is None else lambda _: before_wait(),
            reraise=True,
        )


def _error(state: RetryCallState) -> BaseException | None:
    return None if state.outcome is None else state.outcome.exception()


class Channel:
    """A connection to a service, made at first use. Safe to use from many threads.

    Parameters
    ----------
    address : Address
        Where the service listens.
    patience : Patience
        How long to wait for it.
    """

    def __init__(self, address: Address, patience: Patience) -> None:
        self.address = address
        self.patience = patience
        self.client_name: Final = client_name()
        self.metadata: Final = ((PROTOCOL_KEY, str(PROTOCOL_VERSION)), (CLIENT_KEY, self.client_name))
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None
        self._stubs: dict[str, Any] = {}
        self._hello: pb.HelloReply | None = None

    @property
    def url(self) -> str:
        """Address of the service."""
        return self.address.url

    # -- calls ------------------------------------------------------------------------------
    def ask(self, name: str, request: Any, *, again: bool = True, timeout_s: float | None = CALL_S) -> Any:
        """Return the reply to a call of the service `Delivery` or `Ingest`.

        Parameters
        ----------
        name : str
            ``Service.Call``.
        request : message
            What is sent.
        again : bool
            Whether the call may be made twice; if not it is tried again only if the service was busy.
        timeout_s : float or None
            Seconds after which to give up.
        """
        return self.patiently(lambda: self._call(name)(request, timeout_s), again)

    def list(self, name: str, request: Any, timeout_s: float | None = CALL_S) -> list[Any]:
        """Return all messages that a call gives."""
        return self.patiently(lambda: list(self._call(name)(request, timeout_s)))

    def follow(self, name: str, request: Any) -> Iterator[Any]:
        """Yield the messages of a call as they come, for as long as it takes; it is not tried again."""
        self.hello()
        with self.speaking():
            call = self._call(name)(request, None)
            try:
                yield from call
            finally:
                call.cancel()

    def query(self, messages: Iterator[pb.QueryMessage]) -> Any:
        """Begin a `Query` call and return it; use `speaking` around what is read from it."""
        self.hello()
        return self._stub("Delivery").Query(messages, metadata=self.metadata)

    def patiently(self, call: Callable[[], T], again: bool = True) -> T:
        """Return what a call returns; try again while the service is busy, if `again` also while lost."""

        def attempt() -> T:
            self.hello()
            try:
                with self.speaking():
                    return call()
            except ServiceLost as error:
                if again:
                    raise
                raise _Uncertain(error) from error

        try:
            return self.patience.keep(attempt)
        except _Uncertain as uncertain:
            raise uncertain.error from None

    @contextmanager
    def speaking(self) -> Iterator[None]:
        """Turn errors of gRPC into those of the project; after a loss the service is greeted again."""
        try:
            yield
        except grpc.RpcError as error:
            found = from_rpc_error(error, self.url)
            if isinstance(found, ServiceLost) and error.code() is not grpc.StatusCode.CANCELLED:
                self._hello = None
            raise found from None

    # -- the connection ---------------------------------------------------------------------
    def hello(self) -> pb.HelloReply:
        """Return what the service said of itself, asked once for each connection.

        Raises
        ------
        ProtocolError
            If it speaks other versions.
        """
        hello = self._hello
        if hello is None:
            with self.speaking():
                hello = self._call("Delivery.Hello")(pb.HelloRequest(), CALL_S)
            if PROTOCOL_VERSION not in hello.protocols:
                spoken = ", ".join(map(str, hello.protocols)) or "none"
                raise ProtocolError(
                    f"the service at {self.url} (skyhook_casa {hello.server}) speaks protocol {spoken}; "
                    f"this client (skyhook_casa {__version__}) speaks {PROTOCOL_VERSION}"
                )
            self._hello = hello
        return hello

    @property
    def greeted_flight_location(self) -> str | None:
        """Where the service's own Flight server is; None before the service was greeted."""
        hello = self._hello
        return None if hello is None else self._flight_location(hello)

    def flight_location(self) -> str:
        """Return where the service's own Flight server is."""
        return self._flight_location(self.hello())

    def _flight_location(self, hello: pb.HelloReply) -> str:
        if hello.flight_location:
            return check_location(hello.flight_location)
        return self.address.flight(hello.flight_port)

    def close(self) -> None:
        """Close the connection; the next call makes a new one."""
        with self._lock:
            channel, self._channel, self._hello, self._stubs = self._channel, None, None, {}
        if channel is not None:
            channel.close()

    def _stub(self, service: str) -> Any:
        with self._lock:
            if self._channel is None:
                self._channel = grpc.insecure_channel(self.address.target, OPTIONS)
                kinds: dict[str, Any] = {"Delivery": DeliveryStub, "Ingest": IngestStub}
                self._stubs = {name: kind(self._channel) for name, kind in kinds.items()}
            return self._stubs[service]

    def _call(self, name: str) -> Callable[[Any, float | None], Any]:
        service, _, method = name.partition(".")
        call = getattr(self._stub(service), method)
        return lambda request, timeout_s: call(request, metadata=self.metadata, timeout=timeout_s)


class _Uncertain(Exception):
    """The service was lost during a call that must not be made twice."""

    def __init__(self, error: ServiceLost) -> None:
        super().__init__(error)
        self.error = error


def client_name() -> str:
    """Return a name for one client of this process: ``user@host:pid-xxxx``."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number without a name
        user = str(os.getuid())
    name = f"{user}@{socket.gethostname()}:{os.getpid()}-{secrets.token_hex(2)}"
    return name.encode("ascii", "replace").decode()
