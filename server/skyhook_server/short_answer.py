"""Answers that travel with their plan, because they are short and soon there."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Final

from skyhook_casa.protocol import INLINE_BYTES
from skyhook_casa.protocol import delivery_pb2 as pb

if TYPE_CHECKING:
    from .query_run import QueryRun

AT_ONCE_S: Final = 0.03
"""How long a plan waits for an answer: the caller did not ask for rows yet, but most do next."""


async def with_answer(run: QueryRun) -> pb.QueryPlan:
    """Return the plan of a run, with what is soon there of its answer and not longer than `INLINE_BYTES`.

    Raises
    ------
    SkyhookError
        What the run raises.
    """
    plan, answer, room = pb.QueryPlan(), pb.Answer(), INLINE_BYTES
    with suppress(TimeoutError):
        async with asyncio.timeout(AT_ONCE_S), aclosing(run.events()) as events:
            async for event in events:
                room -= event.ByteSize()
                if room < 0 or event.split.ticket:
                    break
                if event.HasField("plan"):
                    plan = event.plan
                elif event.HasField("split"):
                    answer.splits.append(event.split)
                elif event.HasField("end"):
                    answer.end.CopyFrom(event.end)
    if answer.splits or answer.HasField("end"):
        plan.answer.CopyFrom(answer)
    return plan
