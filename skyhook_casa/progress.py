"""Progress of long work: a rich bar on a terminal, tqdm in a notebook, silence when piped."""

from __future__ import annotations

import sys
import time
from importlib.util import find_spec
from types import TracebackType
from typing import Any, Final, Literal, Protocol

DELAY_S: Final = 0.5
"""Work that is over sooner shows no bar, and loads none."""

Place = Literal["terminal", "notebook", "silent"]


class Bar(Protocol):
    """What a kind of display does."""

    def advance(self, n: int, note: str) -> None:
        """Add `n` to what is done, and show a note beside it."""

    def close(self) -> None:
        """Leave the display as it is; nothing more will come."""


class Progress:
    """Counts what is done of `total` and shows it where somebody looks.

    Use it as a context manager. `advance` must be called from one thread at a time.

    Parameters
    ----------
    label : str
        What is being done, for example ``"ingest dy"``.
    total : int
        How much there is to do, in `unit`.
    unit : str
        What is counted, for example ``"events"``.
    show : bool, optional
        False for never, True for always; by default only on a terminal or in a notebook.

    Attributes
    ----------
    note : str
        What to show beside the bar when it moves next.
    """

    def __init__(self, label: str, total: int, unit: str = "events", show: bool | None = None) -> None:
        self.label = label
        self.total = total
        self.unit = unit
        self.done = 0
        self.note = ""
        self._place: Place = "silent" if show is False else place(force=show is True)
        self._bar: Bar | None = None
        self._start_s = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, n: int = 1) -> None:
        """Add `n` to what is done; the bar appears after `DELAY_S` seconds."""
        self.done += n
        if self._place == "silent":
            return
        if self._bar is not None:
            self._bar.advance(n, self.note)
        elif self.done < self.total and time.monotonic() - self._start_s >= DELAY_S:
            self._bar = _make(self._place, self)
            self._bar.advance(self.done, self.note)

    def reach(self, done: int, total: int) -> None:
        """Say how much is done by now, of how much in all."""
        self.total = total
        self.advance(done - self.done)


def place(force: bool = False) -> Place:
    """Return where progress can be shown now."""
    shell = sys.modules.get("IPython")
    if shell is not None and getattr(shell.get_ipython(), "kernel", None) is not None:
        return "notebook"
    return "terminal" if force or sys.stderr.isatty() else "silent"


class _RichBar:
    def __init__(self, progress: Progress) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._rich = RichProgress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(progress.unit),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._rich.add_task(progress.label, total=progress.total, note="")
        self._rich.start()

    def advance(self, n: int, note: str) -> None:
        self._rich.update(self._task, advance=n, note=note)

    def close(self) -> None:
        self._rich.stop()


class _TqdmBar:
    def __init__(self, progress: Progress) -> None:
        from tqdm import tqdm

        kind: Any = tqdm
        if find_spec("ipywidgets") is not None:
            from tqdm.notebook import tqdm as kind
        self._tqdm = kind(
            desc=progress.label, total=progress.total, unit=f" {progress.unit}", unit_scale=True
        )

    def advance(self, n: int, note: str) -> None:
        if note:
            self._tqdm.set_postfix_str(note, refresh=False)
        self._tqdm.update(n)

    def close(self) -> None:
        self._tqdm.close()


def _make(where: Place, progress: Progress) -> Bar:
    return _TqdmBar(progress) if where == "notebook" else _RichBar(progress)
