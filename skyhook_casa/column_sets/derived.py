"""Derived columns computed and stored as column sets: once for a version, whoever asks first."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import local
from typing import Final

import numpy as np

from ..batch import Batch
from ..catalog import Catalog, DatasetVersion, DerivedSet, ObjectInfo, Partition
from ..compile_query import Output
from ..cores import usable_cores
from ..definitions import needed
from ..errors import AccessDenied, ExpressionError, InvalidRequest, MissingColumn
from ..execution import Choice
from ..expression import is_record
from ..plan import Plan
from ..program import ProgramBuilder
from ..query import Query
from ..resolve import DatasetNames, check_defined
from ..schema import Column, ListInfo, Schema, offsets_column
from ..stores import ObjectStore
from ..worker import Worker
from .derivation import DIGEST_CHARS, Pending, Stored
from .keys import Array
from .objects import SetObjects

__all__ = ["define", "ready", "store_derived"]

LEASE_S: Final = 60.0
"""How long a process that computes a column may say nothing before another takes over."""
WAIT_S: Final = 0.05
"""Between two looks whether another process is done; longer each time, up to `WAIT_MAX_S`."""
WAIT_MAX_S: Final = 1.0


def define(catalog: Catalog, dataset: str, definitions: Mapping[str, str]) -> None:
    """Declare derived columns of a dataset: names and expressions; each may use others.

    Raises
    ------
    NotFound
        If there is no such dataset.
    InvalidRequest
        If a name is no identifier, or is that of a column or list; or definitions use each other in a circle.
    ExpressionError
        If an expression cannot be parsed, or typed for the latest version.
    """
    if not isinstance(definitions, Mapping) or not definitions:
        raise InvalidRequest(f"definitions are {definitions!r}; a dict of names and expressions is needed")
    names = DatasetNames(catalog, catalog.version(dataset))
    for name, text in definitions.items():
        if not isinstance(name, str) or not isinstance(text, str) or not text.strip():
            raise InvalidRequest(f"definition {name!r} is {text!r}; a name and an expression are needed")
        check_defined(names, name)
    known = {**catalog.definition_texts(dataset), **definitions}
    for name in needed(known, known):
        try:
            is_record(ProgramBuilder(), names, known[name], _before(known, name))
        except ExpressionError as error:
            if name in definitions:
                raise
            raise InvalidRequest(f"then {name!r}, which uses it, would be wrong: {error}") from error
    catalog.define(dataset, definitions)


def ready(plan: Plan, catalog: Catalog, store: ObjectStore, threads: int | None = None) -> Plan:
    """Return the plan after the derived columns that it names were computed and stored.

    A column that others compute is waited for. What cannot be stored is computed with each query: records,
    columns that some files lack columns for, lists whose elements may be missing; and everything, where
    nothing may be put into the store.

    Raises
    ------
    SkyhookError
        As a query that delivers the column does; then nothing of it is kept but whole objects, from
        which the next one goes on.
    """
    if not plan.pending:
        return plan
    for one in plan.pending:
        try:
            store_derived(catalog, store, plan.version, one, threads)
        except AccessDenied:
            return plan
    return plan.renewed()


def store_derived(
    catalog: Catalog, store: ObjectStore, version: DatasetVersion, wanted: Pending, threads: int | None = None
) -> None:
    """Compute and store a derived column, or wait until who does so is done. Raises as `ready`."""
    owner, wait_s = secrets.token_hex(16), WAIT_S
    while True:
        claim = catalog.claim_derived(version, *wanted, owner, LEASE_S)
        if claim.state != "running":
            return
        if claim.owner == owner:
            break
        time.sleep(wait_s)
        wait_s = min(2 * wait_s, WAIT_MAX_S)
    try:
        stored = _Computation(catalog, store, version, claim, threads).run()
    except BaseException:
        catalog.finish_derived(claim, "running")
        raise
    catalog.finish_derived(claim, "inline" if stored is None else "done", stored.to_json() if stored else "")


class _Computation:
    """One derived column at work."""

    def __init__(
        self,
        catalog: Catalog,
        store: ObjectStore,
        version: DatasetVersion,
        claim: DerivedSet,
        threads: int | None,
    ) -> None:
        self._catalog, self._store, self._version, self._claim = catalog, store, version, claim
        self._threads = threads or usable_cores()
        self._own = local()

    def run(self) -> Stored | None:
        """Return how the column is stored; None if it is not to be."""
        plan = self._plan()
        if plan is None:
            return None
        (output,) = plan.outputs
        stored = self._stored(output, plan)
        if stored is None:
            return None
        objects = SetObjects(self._catalog, self._store, _schema(stored, self._catalog, self._version))
        recorded = self._catalog.derived_objects(self._claim.id)
        whole = self._catalog.partitions(self._version)
        todo = [
            (part, narrow)
            for part, narrow in zip(whole, plan.partitions, strict=True)
            if part.events and not self._is_there(recorded.get(part.index))
        ]

        def compute(task: tuple[Partition, Partition]) -> None:
            part, narrow = task
            arrays = _arrays(stored, output, self._values(plan, narrow))
            self._catalog.record_derived(self._claim, part.index, objects.put(part, arrays), LEASE_S)

        with ThreadPoolExecutor(self._threads, "derive") as pool:
            futures = [pool.submit(compute, task) for task in todo]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        return stored

    def _plan(self) -> Plan | None:
        """Return the plan that delivers the column; None if it cannot be delivered alone everywhere."""
        names = DatasetNames(self._catalog, self._version)
        name, known = self._claim.name, self._catalog.definition_texts(self._version.dataset)
        if is_record(ProgramBuilder(), names, known[name], _before(known, name)):
            return None
        plan = Plan(self._catalog, Query.make(self._version.dataset, [name], version=self._version.number))
        try:
            for part in plan.partitions:
                if part.events:
                    plan.program(*part.layout_ids)
        except MissingColumn:
            return None
        return plan

    def _stored(self, output: Output, plan: Plan) -> Stored | None:
        """Return how the values shall be stored."""
        name = f"{output.name}__{self._claim.digest[:DIGEST_CHARS]}"
        title = output.title
        if output.axis is None:
            if not output.optional:
                return Stored(Column(name, output.dtype, title=title), None, name)
            # A value that may be missing is the first element of a list that may be empty.
            return Stored(Column(name, output.dtype, name, title=title), ListInfo(name), f"{name}[0]")
        if output.optional:
            return None
        home = plan.stored_list(output.name)
        if home is not None and self._catalog.list_info(self._version, home) is not None:
            return Stored(Column(name, output.dtype, home, title=title), None, name)
        return Stored(Column(name, output.dtype, name, title=title), ListInfo(name), name)

    def _is_there(self, info: ObjectInfo | None) -> bool:
        return info is not None and self._store.exists(info.name)

    def _values(self, plan: Plan, part: Partition) -> Batch:
        if not hasattr(self._own, "worker"):
            self._own.worker = Worker(plan, self._store, Choice(plan, self._store))
        result = Batch.result(plan.outputs, rows=False)
        cursor = 0
        while cursor >= 0:
            cursor = self._own.worker.run(part, result, cursor)
        return Batch.of(plan.outputs, result)


def _before(known: dict[str, str], name: str) -> dict[str, str]:
    """Return the definitions that one uses, in their order."""
    return {one: known[one] for one in needed(known, [name]) if one != name}


def _schema(stored: Stored, catalog: Catalog, version: DatasetVersion) -> Schema:
    """Return the schema of the set's objects."""
    column = stored.column
    if column.list is None:
        return Schema({column.name: column})
    info = stored.list or catalog.list_info(version, column.list)
    assert info is not None
    columns = {column.name: column}
    if info.counter is not None:
        counter = catalog.column(version, info.counter)
        assert counter is not None
        columns = {counter.name: counter, **columns}
    return Schema(columns, {info.name: info})


def _arrays(stored: Stored, output: Output, batch: Batch) -> dict[str, Array]:
    """Return the values of a partition as they are stored."""
    column, values, valid = stored.column, batch.values[0], batch.valid[0]
    if column.list is None:
        return {column.name: values}
    if output.axis is not None:
        offsets = batch.offsets[0]
        assert offsets is not None
        return {column.name: values, offsets_column(column.list): offsets}
    there = np.ones(len(values), np.bool_) if valid is None else valid
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(there)])
    return {column.name: values[there], offsets_column(column.list): ends}
