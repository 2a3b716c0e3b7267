"""What a query would deliver, asked where that costs least."""

from __future__ import annotations

import time
from typing import Final

import pyarrow as pa
import pyarrow.flight as fl
from google.protobuf.message import DecodeError

from skyhook_casa.errors import ProtocolError
from skyhook_casa.protocol import PROTOCOL_VERSION, RESOLVE_ACTION
from skyhook_casa.protocol import delivery_pb2 as pb

from .channel import Channel
from .fetch import Fetcher

RESOLVE_S: Final = 3.0
"""How long a Flight server may take, during which nothing can interrupt the call."""
PAUSE_S: Final = 30.0
"""How long a Flight server is left alone that gave no plan."""


class Resolver:
    """Resolves queries by Flight, which takes half of the time, or else on the control plane.

    Whatever goes wrong is told by the control plane. Safe to use from many threads.

    Parameters
    ----------
    channel : Channel
        To the service.
    fetcher : Fetcher
        Has connections to Flight servers.
    """

    def __init__(self, channel: Channel, fetcher: Fetcher) -> None:
        self._channel = channel
        self._fetcher = fetcher
        self._not_before_s = 0.0

    def resolve(self, start: pb.QueryStart) -> pb.QueryPlan:
        """Return what the service would deliver. Raises as `Channel.ask` does."""
        plan: pb.QueryPlan | None = self._by_flight(start)
        if plan is None:
            plan = self._channel.ask("Delivery.Resolve", start)
        return plan

    def _by_flight(self, start: pb.QueryStart) -> pb.QueryPlan | None:
        location = self._channel.greeted_flight_location
        if location is None or time.monotonic() < self._not_before_s:
            return None
        body = pb.ResolveAction(
            protocol=PROTOCOL_VERSION, client=self._channel.client_name, start=start.SerializeToString()
        )
        action = fl.Action(RESOLVE_ACTION, body.SerializeToString())
        try:
            found = self._fetcher.act(location, action, RESOLVE_S)
        except (pa.ArrowException, fl.FlightError, OSError):
            # It is a short cut: what is wrong with the service, if anything is, the other way will tell.
            self._not_before_s = time.monotonic() + PAUSE_S
            return None
        try:
            return None if found is None else pb.QueryPlan.FromString(found)
        except DecodeError as error:
            raise ProtocolError(f"the service at {location} sent a plan that is none") from error
