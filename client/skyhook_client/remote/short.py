"""An answer that came with its plan."""

from __future__ import annotations

from collections.abc import Iterator

from skyhook_casa.batch import Batch
from skyhook_casa.compile_query import Output
from skyhook_casa.errors import ProtocolError
from skyhook_casa.protocol import delivery_pb2 as pb

from .fetch import inline, unpacked
from .order import Order


class ShortAnswer:
    """Gives the splits of an answer that is here, as `SplitStream` gives those that come.

    Parameters
    ----------
    answer : Answer
        What came.
    outputs : tuple of Output
        The columns that the service said it would deliver.
    delivers, rows : bool
        Whether events were asked for, and their numbers.
    """

    def __init__(self, answer: pb.Answer, outputs: tuple[Output, ...], delivers: bool, rows: bool) -> None:
        self._order = Order(delivers)
        self._answer = answer
        self._outputs = outputs
        self._rows = rows
        self._pieces = self._all()

    @property
    def end(self) -> pb.QueryEnd | None:
        """The end of the answer, once all splits were taken."""
        return self._order.end

    def take(self) -> tuple[pb.Split, Batch | None] | None:
        """Return what `SplitStream.take` does.

        Raises
        ------
        ProtocolError
            If the answer contradicts itself.
        """
        return next(self._pieces, None)

    def finish(self) -> None:
        """Do nothing: there is nothing to be ended."""

    def close(self) -> None:
        """Do nothing: there is nothing to be closed."""

    def _all(self) -> Iterator[tuple[pb.Split, Batch | None]]:
        for split in self._answer.splits:
            self._order.add(split)
            if split.ticket:
                raise ProtocolError(f"split {split.number} came with the plan, but without its events")
            for batch in unpacked(split, inline(split), self._outputs, self._rows):
                yield split, batch
            yield split, None
        if not self._answer.HasField("end"):
            raise ProtocolError("the service sent an answer without its end")
        self._order.finish(self._answer.end)
