"""Derived columns computed and stored as column sets: once for a version, whoever asks first."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import local
from typing import Final

import numpy as np

from ..batch import Batch
from ..catalog import Catalog, DatasetVersion, DerivedSet, ObjectInfo, Partition
from ..compile_query import Output
from ..cores import usable_cores
from ..definitions import needed
from ..errors import AccessDenied, ExpressionError, InvalidRequest, MissingColumn, NotFound, did_you_mean
from ..execution import Choice
from ..expression import is_record
from ..functions import OWN_LIST, PER_EVENT, Function, function_of, load
from ..plan import Plan
from ..program import ProgramBuilder
from ..query import Query
from ..resolve import DatasetNames, check_defined, list_named
from ..schema import Schema, offsets_column
from ..stores import ObjectStore
from ..worker import Worker
from .called import call
from .derivation import Pending, Stored, stored_as, stored_function
from .keys import Array
from .objects import SetObjects

__all__ = ["define", "ready", "store_derived"]

LEASE_S: Final = 60.0
"""How long a process that computes a column may say nothing before another takes over."""
WAIT_S: Final = 0.05
"""Between two looks whether another process is done; longer each time, up to `WAIT_MAX_S`."""
WAIT_MAX_S: Final = 1.0


def define(catalog: Catalog, dataset: str, definitions: Mapping[str, str]) -> None:
    """Declare derived columns of a dataset: names, and expressions or functions as text; each may use others.

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
            _check_function(names, known, name)
            _is_record(names, known, name)
        except ExpressionError as error:
            if name in definitions:
                raise
            raise InvalidRequest(f"then {name!r}, which uses it, would be wrong: {error}") from error
    catalog.define(dataset, definitions)


def _check_function(names: DatasetNames, known: Mapping[str, str], name: str) -> None:
    """Refuse a function of columns that are not there, or for a list that is not."""
    function = function_of(known[name])
    if function is None:
        return
    for column in function.columns:
        if column not in known and names.column(column) is None:
            near = did_you_mean(column, [*names.known(), *known])
            raise InvalidRequest(f"function {function.path} needs {column!r}, which is no column{near}")
    if function.per not in (PER_EVENT, OWN_LIST):
        list_named(names, function.per)


def ready(
    plan: Plan,
    catalog: Catalog,
    store: ObjectStore,
    threads: int | None = None,
    functions: Sequence[str] = (),
) -> Plan:
    """Return the plan after the derived columns that it names were computed and stored.

    A column that others compute is waited for. What cannot be stored is computed with each query: records,
    columns that some files lack columns for, lists whose elements may be missing; and everything, where
    nothing may be put into the store.

    Parameters
    ----------
    functions : sequence of str
        Modules and packages from which functions may be imported.

    Raises
    ------
    AccessDenied
        If a function may not be imported, or what it returns may not be stored: in the store, or because
        the catalog is read-only.
    SkyhookError
        As a query that delivers the column does; then nothing of it is kept but whole objects, from
        which the next one goes on.
    """
    if not plan.pending:
        return plan
    denied = False
    for one in plan.pending:
        calls = plan.calls(one.name)
        if denied and not calls:
            continue
        try:
            store_derived(catalog, store, plan.version, one, threads, functions)
        except AccessDenied as error:
            if calls:
                raise AccessDenied(_not_called(plan, one.name, error)) from error
            denied = True
    return plan.renewed()


def _not_called(plan: Plan, name: str, error: AccessDenied) -> str:
    return (
        f"{name!r} of {plan.version.dataset!r} is a function that was not called yet for version "
        f"{plan.version.number}, and you may not let it be called: {error}. Ask somebody who may to query it "
        "once; then everybody can read it"
    )


def store_derived(
    catalog: Catalog,
    store: ObjectStore,
    version: DatasetVersion,
    wanted: Pending,
    threads: int | None = None,
    functions: Sequence[str] = (),
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
        stored = _Computation(catalog, store, version, claim, threads, functions).run()
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
        functions: Sequence[str],
    ) -> None:
        self._allowed = functions
        self._catalog, self._store, self._version, self._claim = catalog, store, version, claim
        self._threads = threads or usable_cores()
        self._own = local()

    def run(self) -> Stored | None:
        """Return how the column is stored; None if it is not to be."""
        known = self._catalog.definition_texts(self._version.dataset)
        text = known.get(self._claim.name)
        if text is None:
            raise NotFound(f"definition {self._claim.name!r} of {self._version.dataset!r} was dropped")
        function = function_of(text)
        if function is not None:
            return self._call(function)
        plan = self._plan(known)
        if plan is None:
            return None
        (output,) = plan.outputs
        stored = self._stored(output, plan)
        if stored is not None:
            self._store_all(plan, stored, lambda batch: _arrays(stored, output, batch))
        return stored

    def _call(self, function: Function) -> Stored:
        """Store what a function returns."""
        called = load(function.path, self._allowed)
        stored = stored_function(self._claim.name, self._claim.digest, function)
        plan = self._ready(function.columns)
        self._store_all(plan, stored, lambda batch: call(called, function, batch, stored.column))
        return stored

    def _store_all(self, plan: Plan, stored: Stored, arrays_of: Callable[[Batch], dict[str, Array]]) -> None:
        """Store what is made of each partition."""
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
            arrays = arrays_of(self._values(plan, narrow))
            self._catalog.record_derived(self._claim, part.index, objects.put(part, arrays), LEASE_S)

        with ThreadPoolExecutor(self._threads, "derive") as pool:
            futures = [pool.submit(compute, task) for task in todo]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _ready(self, columns: Sequence[str]) -> Plan:
        """Return a plan that delivers columns, after what it must read was stored."""
        asked = Query.make(self._version.dataset, columns, version=self._version.number)
        plan = Plan(self._catalog, asked)
        waiting = [one for one in plan.pending if one.name != self._claim.name]
        for one in waiting:
            rest = (self._threads, self._allowed)
            store_derived(self._catalog, self._store, self._version, one, *rest)
        return plan.renewed() if waiting else plan

    def _plan(self, known: dict[str, str]) -> Plan | None:
        """Return the plan that delivers the column; None if it cannot be delivered alone everywhere."""
        name = self._claim.name
        if _is_record(DatasetNames(self._catalog, self._version), known, name):
            return None
        plan = self._ready([name])
        try:
            for layout_ids in plan.partitions.layouts:
                plan.program(*layout_ids)
        except MissingColumn:
            return None
        return plan

    def _stored(self, output: Output, plan: Plan) -> Stored | None:
        """Return how the values shall be stored."""
        if output.axis is not None and output.optional:
            return None
        home = plan.stored_list(output.name) if output.axis is not None else None
        if home is not None and self._catalog.list_info(self._version, home) is None:
            home = None  # the list of another derived column
        return stored_as(
            output.name,
            self._claim.digest,
            output.dtype,
            home,
            output.axis is not None,
            output.optional,
            output.title,
        )

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


def _is_record(names: DatasetNames, known: Mapping[str, str], name: str) -> bool:
    """Return whether a definition gives a record. Raises as compiling it does."""
    before: dict[str, str] = {}
    for one in needed(known, [name]):
        function = function_of(known[one])
        if function is None:
            before[one] = known[one]
        else:
            stored = stored_function(one, "", function)
            names.add(stored.column, stored.list)
            before[one] = stored.text
    text = before.pop(name)
    return is_record(ProgramBuilder(), names, text, before)


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
