"""Records: elements of a collection, combinations of them, and four-vectors.

Four-vector arithmetic is done in float64: px = pt·cos φ, py = pt·sin φ, pz = pt·sinh η,
E = √(px² + py² + pz² + m²). Components of a sum are added from the left.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Final

import numpy as np

from ..errors import did_you_mean
from ..program import EVENT
from ..schema import Column, ListInfo
from .emit import Emitter
from .types import Array, Literal, Mismatch, Momentum, Operand, Record

COMBINED_PARTS_MAX: Final = 64
"""Most elements that one combination of combinations may hold."""
KINEMATICS: Final = ("pt", "eta", "phi", "mass", "energy", "px", "py", "pz", "p")
"""What can be asked of every four-vector."""
_MASSLESS: Final = frozenset(
    ("Photon", "FsrPhoton", "TrigObj", "IsoTrack", "SoftActivityJet", "CorrT1METJet", "GenIsolatedPhoton")
)
"""Collections whose mass is 0 where the file has no column for it."""


class Particles(Record):
    """Elements of a collection, or the event's one such object (`MET`)."""

    def __init__(
        self,
        emitter: Emitter,
        label: str,
        axis: int,
        get: Callable[[str], Array | None],
        momentum: Callable[[], Momentum] | None = None,
    ) -> None:
        self.emitter = emitter
        self.label = label
        self.axis = axis
        self._get = get
        self._momentum = momentum

    def field(self, name: str) -> Operand:
        """Return a stored field, or one computed from the four-momentum."""
        stored = self._get(name)
        if stored is not None:
            return stored
        if name in KINEMATICS and name not in ("pt", "eta", "phi", "mass"):
            return kinematic(self.emitter, self.momentum(), name)
        if name == "mass" and self.label in _MASSLESS:
            return self._massless()
        known = [n for n in self.emitter.names.known() if n.startswith(self.label + "_")]
        raise Mismatch(
            f"{self.label} has no column {self.label}_{name}{did_you_mean(f'{self.label}_{name}', known)}"
        )

    def momentum(self) -> Momentum:
        """Return the four-momentum of pt, eta, phi and mass."""
        if self._momentum is not None:
            return self._momentum()
        fields = [self.emitter.cast(self.field(name), "float64") for name in ("pt", "eta", "phi", "mass")]
        return _cartesian(self.emitter, *fields)

    def moved(self, axis: int, apply: Callable[[int], int]) -> Record:
        """Return the records with every field brought to another axis."""
        return Particles(self.emitter, self.label, axis, self._through(apply))

    def slot(self, axis: int, apply: Callable[[int], int]) -> Record:
        """Return the records as a part of a combination: momenta are computed before, once per element."""
        return Particles(
            self.emitter,
            self.label,
            axis,
            self._through(apply),
            lambda: _moved_momentum(self.momentum(), apply),
        )

    def _through(self, apply: Callable[[int], int]) -> Callable[[str], Array | None]:
        def get(name: str) -> Array | None:
            stored = self._get(name)
            return None if stored is None else Array(apply(stored.node))

        return get

    def _massless(self) -> Array:
        pt = self.emitter.array(self.field("pt"))
        zero = self.emitter.cast(Literal(0.0), self.emitter.dtype(pt))
        return Array(self.emitter.builder.spread(zero.node, self.axis))


class FourVectors(Record):
    """Sums of momenta."""

    def __init__(self, emitter: Emitter, axis: int, momentum: Momentum, label: str = "four-vector") -> None:
        self.emitter = emitter
        self.axis = axis
        self.label = label
        self._momentum = momentum

    def field(self, name: str) -> Operand:
        """Return one of `KINEMATICS`."""
        return kinematic(self.emitter, self._momentum, name)

    def momentum(self) -> Momentum:
        """Return the four-momentum."""
        return self._momentum

    def moved(self, axis: int, apply: Callable[[int], int]) -> Record:
        """Return the four-vectors on another axis."""
        return FourVectors(self.emitter, axis, _moved_momentum(self._momentum, apply), self.label)


class Combined(Record):
    """Combinations or pairs: `slot0`, `slot1` … are the parts; as a four-vector it is their sum."""

    def __init__(
        self,
        emitter: Emitter,
        axis: int,
        slots: Sequence[Operand],
        momentum: Callable[[], Momentum] | None = None,
    ) -> None:
        self.emitter = emitter
        self.axis = axis
        self.slots = tuple(slots)
        self.label = "combination"
        self._momentum = momentum

    def field(self, name: str) -> Operand:
        """Return a part (`slot0` …) or one of `KINEMATICS` of the sum of the parts."""
        if name.startswith("slot") and name[4:].isdigit():
            number = int(name[4:])
            if number >= len(self.slots):
                raise Mismatch(f"there is no {name}: the parts are slot0 to slot{len(self.slots) - 1}")
            return self.slots[number]
        if name not in KINEMATICS:
            raise Mismatch(f"a combination has no {name!r}; its parts are slot0 to slot{len(self.slots) - 1}")
        return kinematic(self.emitter, self.momentum(), name)

    def momentum(self) -> Momentum:
        """Return the sum of the parts' momenta."""
        if self._momentum is not None:
            return self._momentum()
        return reduce(lambda a, b: added(self.emitter, a, b), map(momentum_of, self.slots))

    def moved(self, axis: int, apply: Callable[[int], int]) -> Record:
        """Return the combinations with every part brought to another axis."""
        slots = [self.emitter.moved(s, axis, apply) for s in self.slots]
        return Combined(self.emitter, axis, slots, lambda: _moved_momentum(self.momentum(), apply))


def collection(emitter: Emitter, info: ListInfo) -> Record:
    """Return the elements of a collection."""

    def get(name: str) -> Array | None:
        column = emitter.names.column(f"{info.name}_{name}")
        return emitter.load(column) if column is not None and column.list == info.name else None

    return Particles(emitter, info.name, emitter.list_axis(info), get)


def event_object(emitter: Emitter, prefix: str) -> Record | None:
    """Return the object that event columns such as `MET_pt` and `MET_phi` describe, or None."""

    def find(name: str) -> Column | None:
        column = emitter.names.column(f"{prefix}_{name}")
        return column if column is not None and column.list is None else None

    def get(name: str) -> Array | None:
        column = find(name)
        return None if column is None else emitter.load(column)

    if find("phi") is None and find("pt") is None:
        return None
    return Particles(emitter, prefix, EVENT, get)


def combinations(emitter: Emitter, x: Operand, n: int) -> Combined:
    """Return all sets of `n` different elements of each list."""
    base = emitter.list_of(x, "combinations")
    _check_parts(n * _parts(x))
    axis = emitter.builder.combinations(base, n)
    slots = [_slot(emitter, x, axis, k) for k in range(n)]
    if not isinstance(x, Record):
        return Combined(emitter, axis, slots)

    def momentum() -> Momentum:
        parts = x.momentum()
        if any(emitter.builder.optional(part) for part in parts):
            return reduce(lambda a, b: added(emitter, a, b), map(momentum_of, slots))
        return _moved_momentum(parts, lambda node: emitter.builder.component_sum(node, axis))

    return Combined(emitter, axis, slots, momentum)


def cross(emitter: Emitter, operands: Sequence[Operand]) -> Combined:
    """Return all pairs (triples …) with one element of each list; the last one runs fastest."""
    _check_parts(sum(map(_parts, operands)))
    slots = [operands[0]]
    axis = emitter.list_of(operands[0], "cross")
    for right in operands[1:]:
        joint = emitter.builder.cross(axis, emitter.list_of(right, "cross"))
        slots = [*(_slot(emitter, s, joint, 0) for s in slots), _slot(emitter, right, joint, 1)]
        axis = joint
    return Combined(emitter, axis, slots)


def _parts(x: Operand) -> int:
    return sum(map(_parts, x.slots)) if isinstance(x, Combined) else 1


def _check_parts(parts: int) -> None:
    if parts > COMBINED_PARTS_MAX:
        raise Mismatch(f"a combination of {parts} elements; {COMBINED_PARTS_MAX} are allowed")


def _slot(emitter: Emitter, x: Operand, axis: int, number: int) -> Operand:
    def apply(node: int) -> int:
        return emitter.builder.component(node, axis, number)

    return x.slot(axis, apply) if isinstance(x, Particles) else emitter.moved(x, axis, apply)


def momentum_of(x: Operand) -> Momentum:
    """Return the four-momentum of a record."""
    if not isinstance(x, Record):
        raise Mismatch("a four-vector is needed, such as Muon, Muon[0] or pairs(Muon)")
    return x.momentum()


def added(emitter: Emitter, a: Momentum, b: Momentum, op: str = "add") -> Momentum:
    """Return the sum (or with `sub` the difference) of two momenta."""
    px, py, pz, energy = (
        emitter.array(emitter.arithmetic(op, Array(x), Array(y))).node for x, y in zip(a, b, strict=True)
    )
    return px, py, pz, energy


def combined(emitter: Emitter, op: str, a: Operand, b: Operand) -> Record:
    """Return the sum or difference of two four-vectors."""
    if op not in ("add", "sub"):
        raise Mismatch("four-vectors can only be added and subtracted")
    momentum = added(emitter, momentum_of(a), momentum_of(b), op)
    return FourVectors(emitter, emitter.axis(Array(momentum[0])), momentum)


def total(emitter: Emitter, x: Record) -> Record:
    """Return the sum of the four-vectors of each list."""
    px, py, pz, energy = (emitter.reduce("sum", Array(node)).node for node in x.momentum())
    return FourVectors(emitter, EVENT, (px, py, pz, energy))


def kinematic(emitter: Emitter, momentum: Momentum, name: str) -> Array:
    """Return one of `KINEMATICS` of a momentum, float64."""
    px, py, pz, energy = map(Array, momentum)
    if name in ("px", "py", "pz", "energy"):
        return {"px": px, "py": py, "pz": pz, "energy": energy}[name]
    do = _Float64(emitter)
    pt2 = do.add(do.mul(px, px), do.mul(py, py))
    if name == "pt":
        return do.unary("sqrt", pt2)
    if name == "phi":
        return do.binary("atan2", py, px)
    if name == "eta":
        return do.unary("asinh", do.binary("div", pz, do.unary("sqrt", pt2)))
    p2 = do.add(pt2, do.mul(pz, pz))
    if name == "p":
        return do.unary("sqrt", p2)
    if name == "mass":
        mass2 = do.binary("sub", do.mul(energy, energy), p2)
        return do.unary("signed_sqrt", mass2)
    raise Mismatch(f"a four-vector has no {name!r}; it has {', '.join(KINEMATICS)}")


def _cartesian(emitter: Emitter, pt: Array, eta: Array, phi: Array, mass: Array) -> Momentum:
    do = _Float64(emitter)
    px = do.mul(pt, do.unary("cos", phi))
    py = do.mul(pt, do.unary("sin", phi))
    pz = do.mul(pt, do.unary("sinh", eta))
    p2 = do.add(do.add(do.mul(px, px), do.mul(py, py)), do.mul(pz, pz))
    energy = do.unary("sqrt", do.add(p2, do.mul(mass, mass)))
    return px.node, py.node, pz.node, energy.node


def _moved_momentum(momentum: Momentum, apply: Callable[[int], int]) -> Momentum:
    px, py, pz, energy = map(apply, momentum)
    return px, py, pz, energy


class _Float64:
    """Arithmetic of float64 values that lie on one axis."""

    def __init__(self, emitter: Emitter) -> None:
        self._builder = emitter.builder

    def binary(self, op: str, a: Array, b: Array) -> Array:
        return Array(self._builder.binary(op, a.node, b.node))

    def unary(self, op: str, x: Array) -> Array:
        return Array(self._builder.unary(op, x.node))

    def add(self, a: Array, b: Array) -> Array:
        return self.binary("add", a, b)

    def mul(self, a: Array, b: Array) -> Array:
        return self.binary("mul", a, b)


def delta_phi(emitter: Emitter, a: Operand, b: Operand) -> Operand:
    """Return the difference of two angles in [−π, π), in the dtype that the angles have."""
    difference = emitter.arithmetic("sub", _coordinate(a, "phi"), _coordinate(b, "phi"))
    turned = emitter.arithmetic(
        "mod", emitter.arithmetic("add", difference, Literal(math.pi)), Literal(2 * math.pi)
    )
    return emitter.arithmetic("sub", turned, Literal(math.pi))


def delta_eta(emitter: Emitter, a: Operand, b: Operand) -> Operand:
    """Return the difference of two pseudorapidities."""
    return emitter.arithmetic("sub", _coordinate(a, "eta"), _coordinate(b, "eta"))


def delta_r(emitter: Emitter, eta: Operand, phi: Operand) -> Operand:
    """Return √(Δη² + Δφ²)."""
    eta2, phi2 = emitter.arithmetic("mul", eta, eta), emitter.arithmetic("mul", phi, phi)
    return emitter.unary("sqrt", np.sqrt, emitter.arithmetic("add", eta2, phi2))


def _coordinate(x: Operand, name: str) -> Operand:
    return x.field(name) if isinstance(x, Record) else x
