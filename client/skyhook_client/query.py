"""A lazy query: it runs when rows are asked for."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from skyhook_casa.errors import InvalidRequest
from skyhook_casa.progress import Progress
from skyhook_casa.report import Report

from .keeping import Keeping

if TYPE_CHECKING:
    import awkward as ak
    import dask_awkward
    import pandas as pd
    import pyarrow as pa
    from hist import Hist

    from skyhook_casa.batch import Array, Batch
    from skyhook_casa.compile_query import Output
    from skyhook_casa.explain import Explanation
    from skyhook_casa.histogram import Histogram
    from skyhook_casa.query import Query as QueryValue

    from .backend import Bins, Question, Run
    from .cutflow import Cutflow

T = TypeVar("T")

BATCH_BYTES: Final = 2 << 20
"""About how large the batches of an iteration are."""


class Query(Keeping):
    """A question to one version of a dataset. Nothing is read until rows are asked for.

    Made by `Client.query`. Every way of asking for rows runs the query anew.
    """

    def __init__(self, question: Question, progress: bool | None = None) -> None:
        self.question = question
        self._progress = progress
        self._report: Report | None = None

    @property
    def dataset(self) -> str:
        """Name of the dataset."""
        return self.question.version.dataset

    @property
    def version(self) -> int:
        """Number of the version asked: the latest when the query was made, unless one was named."""
        return self.question.version.number

    @property
    def columns(self) -> list[str]:
        """Names of the columns of the answer, in order."""
        return [output.name for output in self.question.outputs]

    @property
    def outputs(self) -> tuple[Output, ...]:
        """The columns of the answer with their types."""
        return self.question.outputs

    @property
    def cut(self) -> str | None:
        """The condition on events."""
        return self.question.value.cut

    @property
    def value(self) -> QueryValue:
        """What is asked, as the frozen value that travels as JSON."""
        return self.question.value

    @property
    def has_run(self) -> bool:
        """Whether there is a report."""
        return self._report is not None

    @property
    def report(self) -> Report:
        """What the last run did.

        Raises
        ------
        InvalidRequest
            If the query did not run yet.
        """
        if self._report is None:
            raise InvalidRequest(
                "the query did not run yet; ask for rows first, with to_awkward() for example"
            )
        return self._report

    # -- rows -------------------------------------------------------------------------------
    def to_awkward(self, nested: bool = False) -> ak.Array:
        """Return the answer as a record array.

        Parameters
        ----------
        nested : bool
            False: flat names, ``events.Muon_pt``, equal to what uproot gives. True: collections and
            event columns with a common first part are records, ``events.Muon.pt``, ``events.MET.pt``.
        """
        from .records import to_awkward

        return to_awkward(self._collect(self.question), nested)

    def to_arrow(self, nested: bool = False) -> pa.Table:
        """Return the answer as an Arrow table: ``list<float>`` columns, or with `nested` ``list<struct>``."""
        from .arrays import to_arrow

        return to_arrow(self._collect(self.question), nested)

    def to_numpy(self) -> dict[str, Array]:
        """Return each column as a NumPy array, shape (n_events,).

        Raises
        ------
        InvalidRequest
            If a column is jagged or can have missing elements.
        """
        from .arrays import check_numpy, to_numpy

        check_numpy(self.question.outputs)
        return to_numpy(self._collect(self.question))

    def to_pandas(self, collection: str | None = None) -> pd.DataFrame:
        """Return a frame.

        Parameters
        ----------
        collection : str, optional
            The list whose columns to give, one row per element, indexed by ``entry`` (number of the
            event in the dataset) and ``subentry`` (place in the event's list). None: the columns
            with one value per event, one row per event, indexed by ``entry``.

        Raises
        ------
        InvalidRequest
            If rows would have to be of different kinds: the message says which collection to name.
        """
        from .arrays import pandas_columns, to_pandas

        names = pandas_columns(self.question.outputs, collection)
        whole = len(names) == len(self.outputs)
        return to_pandas(self._collect(self.question if whole else self.question.only(names), rows=True))

    def count(self) -> int:
        """Return how many events the answer has; no column of the answer is read."""
        version, query = self.question.version, self.value
        if not query.selects and query.partitions is None:
            events = version.events if query.limit is None else min(version.events, query.limit)
            self._report = Report(
                version.dataset,
                version.number,
                events_in=events,
                events_out=events,
                bytes_skipped=version.bytes,
            )
            self.question.tell_tally_of(self._report)
            return events
        return self._run(self.question, lambda run: run.count())

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Yield the answer as record batches of about 2 MB, while the rest is still computed."""
        return self.batches()

    def batches(
        self, nested: bool = False, batch_bytes: int = BATCH_BYTES, ordered: bool = True
    ) -> Iterator[pa.RecordBatch]:
        """Yield the answer as record batches of about `batch_bytes` bytes; memory stays bounded.

        Events come in dataset order, or if not `ordered` in whatever order is fastest.
        """
        from .arrays import to_record_batch

        for batch in self.stream(batch_bytes, ordered=ordered):
            yield to_record_batch(batch, nested)

    def stream(
        self, batch_bytes: int = BATCH_BYTES, rows: bool = False, ordered: bool = True
    ) -> Iterator[Batch]:
        """Yield the answer in pieces of the engine's own buffers; the report is there at the end.

        With `rows` they tell the number of each event in the dataset. Events come in dataset order,
        or if not `ordered` in whatever order is fastest.

        Raises
        ------
        InvalidRequest
            If `batch_bytes` is not above 0.
        SkyhookError
            If any part fails.
        """
        if batch_bytes < 1:
            raise InvalidRequest(f"batches of {batch_bytes} bytes are asked; at least 1 is needed")
        with self._bar(f"query {self.dataset}") as bar:
            run = self.question.run(bar, rows)
            try:
                yield from run.stream(batch_bytes, ordered)
            except GeneratorExit:  # who asks has enough: the report tells of what was worked through
                self._report = run.report
                raise
        self._report = run.report

    @contextmanager
    def exporting(
        self, label: str, batch_bytes: int, rows: bool = False
    ) -> Iterator[tuple[Progress, Iterator[Batch]]]:
        """Give the bar of a run and its batches, as `stream` gives them; the report is there at the end."""
        with self._bar(label) as bar:
            run = self.question.run(bar, rows)

            def batches() -> Generator[Batch]:
                yield from run.stream(batch_bytes)

            with closing(batches()) as given:
                yield bar, given
        self._report = run.report

    def nanoevents(self, schemaclass: Any = None, *, mode: str = "virtual", **options: Any) -> Any:
        """Return the answer as coffea's NanoEvents; a column is fetched when it is touched, once.

        Fields, cross references and documentation are those of `NanoEventsFactory.from_root`. The
        numbers that identify an event and all counters are there, whatever the columns. With a cut,
        the first fetch finds the events; all others are of the same ones.

        Parameters
        ----------
        schemaclass : coffea schema, optional
            How columns become objects; by default `NanoAODSchema`.
        mode : str
            ``"eager"`` to fetch everything at once, now.
        **options
            As `skyhook_client.coffea.nanoevents` has them: `metadata` (by default the dataset's name),
            `preload` (columns to fetch at once, now), `trace` (a function of events, such as a processor's
            `process`: the columns that it touches are found first and fetched at once), `access_log`
            and `buffer_cache`.

        Raises
        ------
        InvalidRequest
            If the query thins collections, or delivers a column that can have missing elements.
        """
        from .coffea.events import of_query

        return of_query(self.question, self._tell, schemaclass, mode, **options)

    def nanoevents_partitions(
        self, schemaclass: Any = None, *, events_max: int = 0, mode: str = "virtual", **options: Any
    ) -> Iterator[Any]:
        """Yield NanoEvents of one partition after the other; see `nanoevents`.

        Parameters
        ----------
        schemaclass, mode, **options
            As `nanoevents` has them.
        events_max : int
            Partitions that have no more events together, before the cut, come together.

        Raises
        ------
        InvalidRequest
            As `nanoevents` does; and if the query has a limit, which counts over all partitions.
        """
        from .coffea.events import of_partitions

        return of_partitions(self.question, self._tell, events_max, schemaclass, mode, **options)

    def dask_awkward(self, nested: bool = False) -> dask_awkward.Array:
        """Return the answer as a lazy array of dask-awkward, to be computed by Dask; nothing is read now.

        It has a partition for each partition of the dataset that has events; with a limit it has one.
        Computed, it equals what `to_awkward` gives. A computation reads the columns that it touches. Without
        a cut the divisions are known. Whoever computes opens the store, or reaches the service, by the same
        address.

        Parameters
        ----------
        nested : bool
            As `to_awkward` has it.

        Raises
        ------
        InvalidRequest
            If dask-awkward is not installed, or the store is in the memory of this process.
        """
        try:
            from .dask_awkward import of_query
        except ImportError as error:
            raise InvalidRequest(
                f"dask_awkward() needs more packages ({error}): pip install 'skyhook_casa[dask-awkward]', "
                "which brings a Dask that works with them"
            ) from error

        return of_query(self.question, nested)

    def hist(
        self,
        *axes: Any,
        bins: int | None = None,
        range: tuple[float, float] | None = None,
        weight: str | Sequence[str] | Mapping[str, str] | None = None,
        category: Any = None,
    ) -> Hist:
        """Return a histogram, filled where the data is: only its bins travel.

        Counts equal those of filling the same axes here with the values of the events kept, flow
        bins included; sums of weights are added in float64 in another order, so that each is within
        n · 2⁻⁵³ · Σ|w| of the exact one for n entries. Jagged axes fill once per element, and values
        per event with each of them. An entry with a missing value or weight fills nothing.

        Parameters
        ----------
        *axes : str or hist.axis
            Columns or expressions; as a `hist` axis, its name is the column or expression. Regular and
            Variable axes take numbers, Integer and IntCategory axes whole numbers, Boolean axes
            truth values; with or without flow bins.
        bins, range : int and (float, float)
            Bins of the axes that are given as text.
        weight : str, or list or dict of them, optional
            Column or expression that weighs the entries; the bins then keep sums and variances. Several
            make an axis ``variation``, a category for each: the names of a dict, the texts of a list.
        category : str, hist.axis or dict, optional
            A first axis. A text: a column or expression of whole numbers or truth values, one category
            for each value there is; a run before finds them, if they lie in −2048 to 2047. A dict
            of name and condition: an axis ``region``; an entry fills each region whose condition holds.

        Raises
        ------
        InvalidRequest
            If the bins are none, an axis does not fit its values, or axes lie on different lists.
        ExpressionError
            If an expression cannot be parsed or typed.
        """
        from .histograms import Wanted, check_hist, fill

        check_hist()
        wanted = Wanted.make(axes, bins, range, weight, category)
        return fill(self.question, [wanted], self._fill)[0]

    @overload
    def hists(self, asked: Mapping[str, Any], **shared: Any) -> dict[str, Hist]: ...

    @overload
    def hists(self, asked: Sequence[Any], **shared: Any) -> list[Hist]: ...

    def hists(self, asked: Mapping[str, Any] | Sequence[Any], **shared: Any) -> dict[str, Hist] | list[Hist]:
        """Return several histograms that one run fills; their axes may lie on different lists.

        Parameters
        ----------
        asked : dict or list
            For each histogram an axis, a list of axes, or a dict of what `hist` takes, the axes
            as ``axes``: ``{"met": "MET_pt", "pt": {"axes": [axis], "weight": "Jet_area"}}``.
        **shared
            What `hist` takes, for those that do not have their own.

        Raises
        ------
        InvalidRequest, ExpressionError
            As `hist` does.
        """
        from .histograms import check_hist, fill, wanted_of

        check_hist()
        each = asked.values() if isinstance(asked, Mapping) else asked
        made = fill(self.question, [wanted_of(one, shared) for one in each], self._fill)
        return dict(zip(asked, made, strict=True)) if isinstance(asked, Mapping) else made

    def cutflow(
        self, cuts: Sequence[str] | Mapping[str, str], weight: str | None = None, n_minus_one: bool = False
    ) -> Cutflow:
        """Return how many of the events kept pass each of several conditions, in one run.

        Parameters
        ----------
        cuts : list of str, or dict of name and str
            Conditions on an event, in the order in which they are counted together.
        weight : str, optional
            Column or expression, one value per event: sums of it are given too. Events without a
            weight count as events only.
        n_minus_one : bool
            Whether to count the events that pass all the others, too.

        Raises
        ------
        InvalidRequest
            If there are no conditions or too many, or one has not one truth value per event.
        ExpressionError
            If an expression cannot be parsed or typed.
        """
        from .cutflow import count

        return count(self.question, cuts, weight, n_minus_one, self._fill)

    def explain(self) -> Explanation:
        """Return what the query would do, without reading any events."""
        return self.question.explain()

    # -- inside -----------------------------------------------------------------------------
    def _collect(self, question: Question, rows: bool = False) -> Batch:
        return self._run(question, lambda run: run.collect(), rows)

    def _fill(self, question: Question, described: Sequence[Histogram]) -> Bins:
        from skyhook_casa.histogram import encode_histograms

        return self._run(question, lambda run: run.fill(), histograms=encode_histograms(described))

    def _run(
        self, question: Question, work: Callable[[Run], T], rows: bool = False, histograms: bytes = b""
    ) -> T:
        """Return what a run gives; its report is there then."""
        with self._bar(f"query {self.dataset}") as bar:
            run = question.run(bar, rows, histograms)
            found = work(run)
        self._report = run.report
        return found

    def _bar(self, label: str) -> Progress:
        return Progress(label, self.question.version.events, "events", self._progress)

    def _tell(self, report: Report) -> None:
        self._report = report

    def __repr__(self) -> str:
        from .display import query_text

        return query_text(self)

    def _repr_html_(self) -> str:
        from .display import query_html

        return query_html(self)
