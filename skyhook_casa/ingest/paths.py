"""From paths, globs and URLs to the files of an ingest."""

from __future__ import annotations

import os
from collections.abc import Iterable
from glob import glob
from pathlib import Path

from ..errors import IngestError

_GLOB = "*?["
NO_FILE = "Correct the path: it must lead to the file where the workers run, too."


def expand(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[str]:
    """Return absolute paths and URLs; those that a glob means are sorted.

    A file whose name has `*` or `[` in it is taken as it is if it exists.

    Raises
    ------
    IngestError
        If nothing was given, or something given matches no file.
    """
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    if not given:
        raise IngestError("no file to ingest was given")
    found: list[str] = []
    for one in given:
        text = os.fspath(one)
        found += _remote(text) if "://" in text else _local(text)
    return found


def _local(text: str) -> list[str]:
    path = Path(text).expanduser()
    if path.is_dir():
        raise IngestError(f"{text} is a directory; to ingest its files, say {path / '*.root'}", NO_FILE)
    if path.exists():
        return [str(path.absolute())]
    if not any(sign in text for sign in _GLOB):
        raise IngestError(f"no file {text}", NO_FILE)
    found = sorted(glob(str(path.absolute()), recursive=True))  # noqa: PTH207 - Path.glob needs a start
    if not found:
        raise IngestError(f"no file matches {text}", NO_FILE)
    return found


def _remote(text: str) -> list[str]:
    if not any(sign in text.partition("?")[0] for sign in "*["):
        return [text]
    import fsspec

    try:
        system, pattern = fsspec.core.url_to_fs(text)
        found = sorted(system.unstrip_protocol(name) for name in system.glob(pattern))
    except (ImportError, OSError, ValueError, NotImplementedError) as error:
        raise IngestError(f"cannot list {text}: {error}") from error
    if not found:
        raise IngestError(f"no file matches {text}", NO_FILE)
    return found
