"""What fuzzing found worth keeping, replayed: through the engine's entry, and against a real OSD.

An input of `fuzz_wire` is a byte of options, the length of a request (u32), a request to the object class,
and the object that it is sent to. ``ctest`` replays the inputs of both fuzz targets in C++.
"""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import skyhook_casa
from skyhook_casa import _engine
from skyhook_casa.ceph_cluster import Cluster
from skyhook_casa.stores import ObjectStore, open_store
from skyhook_casa.worker import REPLY_BYTES_MAX

CORPUS = Path(__file__).parent.parent / "ceph_cls" / "fuzz" / "corpus"
CORPUS_BYTES_MAX = 300 << 10
METHODS = ("scan", "verify")
REQUEST_BYTES_MAX = 1 << 20
ERROR_KINDS = range(1, 5)
IS_ANSWER = 1
"""Option of an input that holds an answer in the object's place."""


@dataclass(frozen=True)
class Kept:
    """A kept request and the object that it is sent to."""

    file: str
    request: bytes
    data: bytes

    @property
    def name(self) -> str:
        """What the object is called."""
        return hashlib.sha256(self.file.encode()).hexdigest()

    def answer(self, method: str) -> bytes:
        """Return what the engine answers in this process."""
        return _engine.answer(method, self.request, lambda start, stop: self.data[start:stop])


def kept() -> list[Kept]:
    """Return the kept inputs that the object class can be asked with."""
    found = []
    for file in sorted((CORPUS / "wire").iterdir()):
        content = file.read_bytes()
        if len(content) < 5 or content[0] & IS_ANSWER:
            continue
        (length,) = struct.unpack_from("<I", content, 1)
        if length <= min(len(content) - 5, REQUEST_BYTES_MAX):
            found.append(Kept(file.name, content[5 : 5 + length], content[5 + length :]))
    return found


def kind_of(answer: bytes) -> int:
    """Return 0 for an answer and the number of its kind for an error; anything else fails."""
    assert answer[:8] == b"SKYANSW1"
    version, kind = struct.unpack_from("<II", answer, 8)
    assert version == 1
    assert kind == 0 or kind in ERROR_KINDS
    if kind:
        assert answer[128:].decode(), "an error says what is wrong"
    return int(kind)


def test_the_kept_inputs_are_few() -> None:
    for target in ("scan", "wire"):
        assert any((CORPUS / target).iterdir())
    assert sum(file.stat().st_size for file in CORPUS.glob("*/*")) <= CORPUS_BYTES_MAX


def test_every_kept_request_gets_an_answer_or_a_typed_error() -> None:
    """And many get answers, and errors of several kinds: else they would not reach far."""
    kinds = Counter((method, kind_of(one.answer(method))) for one in kept() for method in METHODS)
    assert kinds["scan", 0] >= 20
    assert kinds["verify", 0] >= 2
    assert len({kind for _, kind in kinds}) >= 3


@pytest.mark.slow
def test_a_live_osd_answers_every_kept_request_as_the_engine_does(
    new_ceph: Callable[..., Cluster], nano_file: Path, tmp_path: Path
) -> None:
    """It is the same process afterwards, and still gives right answers."""
    cluster = new_ceph(osds=1)
    client = skyhook_casa.connect(f"{cluster.url}&catalog=sqlite:///{tmp_path / 'catalog.sqlite'}", threads=1)
    client.ingest("dy", nano_file, ["MET_*", "Muon_*"], chunk_events=64, workers=1)
    query = client.query("dy", ["Muon_pt"], "MET_pt > 20 and nMuon >= 2", execution="pushdown")
    before, pids = query.to_arrow(), cluster.osd_pids()
    assert before.num_rows > 0

    store = open_store(f"{cluster.url}&namespace=kept")
    kinds = Counter(replayed(store, one, method) for one in kept() for method in METHODS)

    assert kinds[0] >= 20
    assert cluster.osd_pids() == pids
    assert query.to_arrow().equals(before)
    checked = client.verify("dy")
    assert (checked.ok, checked.objects_inside) == (True, checked.objects)


def replayed(store: ObjectStore, one: Kept, method: str) -> int:
    """Send a kept request to a kept object; return the kind of the answer."""
    store.put(one.name, one.data)
    answer = store.execute(one.name, method, one.request, REPLY_BYTES_MAX)
    assert answer == one.answer(method), one.file
    return kind_of(answer)
