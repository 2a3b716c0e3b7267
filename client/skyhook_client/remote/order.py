"""The order in which a service tells of an answer."""

from __future__ import annotations

from skyhook_casa.errors import ProtocolError
from skyhook_casa.protocol import delivery_pb2 as pb

from .fetch import check_size


class Order:
    """Refuses splits that come out of turn, and an end that does not fit to them.

    Parameters
    ----------
    delivers : bool
        Whether events were asked for.
    """

    def __init__(self, delivers: bool) -> None:
        self.end: pb.QueryEnd | None = None
        """What came last, once it is there."""
        self._delivers = delivers
        self._splits = 0
        self._events = 0

    def add(self, split: pb.Split) -> None:
        """Note a split.

        Raises
        ------
        ProtocolError
            If another one follows, or it is too large.
        """
        self._splits += 1
        self._events += split.events
        if split.number != self._splits:
            raise ProtocolError(f"the service announced split {split.number} after {self._splits - 1}")
        check_size(split)

    def finish(self, end: pb.QueryEnd) -> None:
        """Note the end.

        Raises
        ------
        ProtocolError
            If it tells of other splits than came.
        """
        if end.splits != self._splits:
            raise ProtocolError(f"the service ended after {self._splits} splits; it says {end.splits}")
        if self._delivers and end.report.events_out != self._events:
            raise ProtocolError(
                f"the splits have {self._events} events; the service says {end.report.events_out}"
            )
        self.end = end
