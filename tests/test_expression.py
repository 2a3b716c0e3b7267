"""What expressions compile to, and what the errors say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from skyhook_casa.errors import SHOWN_CHARS_MAX, ExpressionError, InvalidRequest
from skyhook_casa.expression import (
    CONSTANTS,
    FUNCTIONS,
    Value,
    compile_cut,
    compile_thinning,
    compile_value,
    index_target,
    is_record,
    mentioned_names,
)
from skyhook_casa.expression.compile import DEFINITIONS_MAX
from skyhook_casa.expression.emit import INTEGER_BITS_MAX
from skyhook_casa.expression.fourvector import COMBINED_PARTS_MAX, KINEMATICS
from skyhook_casa.expression.parse import DEPTH_MAX, PARTS_MAX, TEXT_CHARS_MAX
from skyhook_casa.program import COMBINATIONS_MAX, EVENT, NODES_MAX, ProgramBuilder
from skyhook_casa.schema import Column, ListInfo

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "query_language.md"


class Events:
    """Names of a small NanoAOD file; counts how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.columns: dict[str, Column] = {}
        self.lists = {name: ListInfo(name, f"n{name}", collection=True) for name in ("Muon", "Jet", "Photon")}
        self.lists |= {name: ListInfo(name) for name in ("weights", "scales")}
        for name in ("Muon", "Jet", "Photon"):
            self._add(f"n{name}", "uint32", counts=name)
            for field in ("pt", "eta", "phi", "mass")[: 3 if name == "Photon" else 4]:
                self._add(f"{name}_{field}", "float32", name)
        for field, dtype in (
            ("charge", "int32"),
            ("tightId", "bool"),
            ("cleanmask", "uint8"),
            ("jetIdx", "int16"),
        ):
            self._add(f"Muon_{field}", dtype, "Muon")
        for name in ("weights", "scales"):
            self._add(name, "float32", name)
        for name, dtype in (
            ("MET_pt", "float32"),
            ("MET_phi", "float32"),
            ("run", "uint32"),
            ("event", "uint64"),
        ):
            self._add(name, dtype)
        self._add("HLT_IsoMu24", "bool")
        self._add("Flag_x", "int8")

    def _add(self, name: str, dtype: str, owner: str | None = None, counts: str | None = None) -> None:
        self.columns[name] = Column(name, dtype, owner, counts)

    def column(self, name: str) -> Column | None:
        self.asked.append(name)
        return self.columns.get(name)

    def list_info(self, name: str) -> ListInfo | None:
        return self.lists.get(name)

    def known(self) -> list[str]:
        return [*self.columns, *self.lists]


def value(text: str, defined: dict[str, str] | None = None) -> tuple[Value, ProgramBuilder]:
    builder = ProgramBuilder()
    return compile_value(builder, Events(), text, defined or {}), builder


def cut(text: str, defined: dict[str, str] | None = None) -> tuple[list[str], ProgramBuilder]:
    builder = ProgramBuilder()
    terms = compile_cut(builder, Events(), text, defined or {})
    assert all(builder.dtype(t.node) == "bool" and builder.axis(t.node) == EVENT for t in terms)
    assert not any(builder.optional(t.node) for t in terms)
    return [t.text for t in terms], builder


def refusal(text: str, defined: dict[str, str] | None = None) -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        cut(text, defined)
    return caught.value


def marked(error: ExpressionError) -> str:
    """Return the part of the text that the carets are under."""
    return error.text[error.start : error.stop]


# -- dtypes -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "dtype"),
    [
        ("Muon_pt * 2", "float32"),
        ("Muon_pt * 0.1", "float32"),
        ("Muon_pt + MET_pt", "float32"),
        ("Muon_charge / 2", "float64"),
        ("Muon_charge // 2", "int32"),
        ("Muon_charge * 0.5", "float64"),
        ("Muon_charge * Muon_pt", "float64"),
        ("Muon_cleanmask + 1", "uint8"),
        ("Muon_cleanmask & 3", "uint8"),
        ("Muon_tightId + Muon_tightId", "bool"),
        ("Muon_tightId + 1", "int64"),
        ("-Muon_cleanmask", "uint8"),
        ("Flag_x ** 2", "int8"),
        ("sqrt(Flag_x)", "float32"),
        ("sqrt(Muon_charge)", "float64"),
        ("run + event", "uint64"),
        ("event + Flag_x", "float64"),
        ("sum(Muon_pt)", "float32"),
        ("sum(Muon_charge)", "int64"),
        ("sum(Muon_cleanmask)", "uint64"),
        ("sum(Muon_tightId)", "int64"),
        ("prod(Muon_tightId)", "int64"),
        ("mean(Muon_pt)", "float64"),
        ("min(Muon_cleanmask)", "uint8"),
        ("max(Muon_tightId)", "bool"),
        ("nMuon", "uint32"),
        ("len(Muon)", "int64"),
        ("argmax(Muon_pt)", "int64"),
        ("where(HLT_IsoMu24, MET_pt, 0)", "float64"),
        ("where(HLT_IsoMu24, MET_pt, float32(0))", "float32"),
        ("mass(Muon)", "float32"),
        ("Muon.px", "float64"),
        ("mass(pairs(Muon))", "float64"),
        ("deltaphi(Muon[0], MET)", "float32"),
        ("3", "int64"),
        ("1e3", "float64"),
        ("True", "bool"),
    ],
)
def test_a_value_has_the_dtype_that_numpy_gives(text: str, dtype: str) -> None:
    assert value(text)[0].dtype == dtype


# -- where values lie -------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("Muon_pt", "Muon"),
        ("Muon_pt * MET_pt", "Muon"),
        ("weights * scales", "weights"),
        ("weights[weights > 0]", None),
        ("MET_pt", None),
        ("sum(Muon_pt)", None),
        ("pairs(Muon).mass", None),
    ],
)
def test_a_value_names_the_stored_list_that_it_lies_on(text: str, stored: str | None) -> None:
    assert value(text)[0].list == stored


@pytest.mark.parametrize(
    "text", ["Muon_pt[0]", "min(Muon_pt)", "Muon_pt[0] + MET_pt", "Muon[0].mass", "Jet_pt - Muon_pt[0]"]
)
def test_a_value_that_may_be_missing_says_so(text: str) -> None:
    assert value(text)[0].optional


@pytest.mark.parametrize(
    "text", ["Muon_pt", "sum(Muon_pt)", "mean(Muon_pt)", "Muon_pt[0] > 3", "fill_none(Muon_pt[0], 0)"]
)
def test_a_value_that_is_always_there_says_so(text: str) -> None:
    assert not value(text)[0].optional


def test_only_the_columns_used_become_part_of_the_program() -> None:
    _, builder = cut("deltaphi(MET, Muon[0]) < 1 and Muon.pt[0] > 2")

    assert {c.name for c in builder.columns} == {"MET_phi", "Muon_phi", "Muon_pt", "Muon#"}


def test_equal_selections_share_one_axis() -> None:
    a, builder = value("Muon_pt[Muon_pt > 20]")
    b = compile_value(builder, Events(), "Muon_eta[Muon_pt > 20]", {})

    assert a.axis == b.axis


def test_lists_that_an_object_does_not_have_stay_apart() -> None:
    builder = ProgramBuilder(absent_lists=frozenset(("Muon", "Jet")), absent={"Muon_pt": 0, "Jet_pt": 0})

    assert compile_value(builder, Events(), "Muon_pt * 2").list == "Muon"
    assert compile_value(builder, Events(), "Jet_pt * 2").list == "Jet"
    assert compile_value(builder, Events(), "Muon_pt * 3").list == "Muon"
    with pytest.raises(ExpressionError, match="one per Muon and one per Jet"):
        compile_value(builder, Events(), "Muon_pt * Jet_pt")


# -- cuts -------------------------------------------------------------------------------------
def test_a_cut_is_split_at_the_top_and_the_cheapest_term_comes_first() -> None:
    terms, _ = cut(
        "any(mass(pairs(Muon)) > 60) && sum(cos(Jet_phi)) > 0 and (any(Muon_pt > 20) & (nMuon >= 2))"
    )

    assert terms == [
        "nMuon >= 2",
        "any(Muon_pt > 20)",
        "sum(cos(Jet_phi)) > 0",
        "any(mass(pairs(Muon)) > 60)",
    ]


def test_a_term_that_stands_twice_is_evaluated_once() -> None:
    assert cut("nMuon > 2 and MET_pt > 3 and nMuon > 2")[0] == ["MET_pt > 3", "nMuon > 2"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("nMuon > 1 && MET_pt > 2", "nMuon > 1 and MET_pt > 2"),
        ("nMuon>1&&MET_pt>2||HLT_IsoMu24", "nMuon > 1 and MET_pt > 2 or HLT_IsoMu24"),
        ("!HLT_IsoMu24", "not HLT_IsoMu24"),
        ("~HLT_IsoMu24", "not HLT_IsoMu24"),
        ("!(nMuon != 1)", "not (nMuon != 1)"),
        ("any(!Muon_tightId & (Muon_pt > 3))", "any(~Muon_tightId & (Muon_pt > 3))"),
        ("any(Muon.pt > 3)", "any(Muon_pt > 3)"),
        ("HLT.IsoMu24", "HLT_IsoMu24"),
        ("MET.pt > 2", "MET_pt > 2"),
        ("np.sqrt(MET_pt) > 2", "sqrt(MET_pt) > 2"),
        ("ak.sum(Muon_pt, axis=1) > 2", "sum(Muon_pt) > 2"),
        ("ak.any(Muon_pt > 2, axis=-1)", "any(Muon_pt > 2)"),
        ("nMuon in (1, 2)", "nMuon == 1 or nMuon == 2"),
        ("nMuon not in [1, 2]", "not (nMuon == 1 or nMuon == 2)"),
        ("len(pairs(Muon)) > 1", "len(combinations(Muon, 2)) > 1"),
        ("len(combinations(Muon, n=3)) > 1", "len(combinations(Muon, 3)) > 1"),
        ("10 < MET_pt < 20", "10 < MET_pt and MET_pt < 20"),
        ("MET_pt ** 2 > 4", "MET_pt * MET_pt > 4"),
        ("MET_pt > 2 * 3 + 4", "MET_pt > 10"),
        ("MET_pt > 1_000e-3", "MET_pt > 1.0"),
        ("  nMuon\n> 1\t", "nMuon > 1"),
        ("arctan2(MET_pt, 1) > 1", "atan2(MET_pt, 1) > 1"),
    ],
)
def test_two_ways_to_write_a_cut_give_one_program(one: str, other: str) -> None:
    first, second = ProgramBuilder(), ProgramBuilder()

    terms = [
        [t.node for t in compile_cut(b, Events(), text, {})] for b, text in ((first, one), (second, other))
    ]

    used = [_reachable(b, nodes) for b, nodes in zip((first, second), terms, strict=True)]
    assert used[0] == used[1]


def _reachable(builder: ProgramBuilder, terms: list[int]) -> list[str]:
    """Return each term as one text, so that the numbers of nodes do not matter."""

    def spell(number: int) -> str:
        if number < 0:
            return str(number)
        node = builder.nodes[number]
        stored = node.op in ("load", "list")
        args = [builder.columns[a].name if stored and i == 0 else spell(a) for i, a in enumerate(node.args)]
        if node.op in ("eq", "and", "or", "add", "mul"):
            args.sort()
        return f"{node.op}:{node.dtype}:{node.imm}({','.join(args)})"

    flat: list[str] = []
    waiting = list(terms)
    while waiting:
        node = builder.nodes[waiting.pop()]
        if node.op == "and":
            waiting.extend(node.args)
        else:
            flat.append(spell(builder.nodes.index(node)))
    return sorted(flat)


# -- definitions ------------------------------------------------------------------------------
def test_a_definition_may_use_earlier_ones_and_may_be_a_record() -> None:
    defined = {"good": "Muon[Muon_pt > 10]", "z": "pairs(good)", "m": "z.mass", "unused": "1 +"}
    del defined["unused"]

    assert value("max(m)", defined)[0].dtype == "float64"


def test_a_definition_does_not_see_later_ones() -> None:
    error = refusal("a > 1", {"a": "b + 1", "b": "MET_pt"})

    assert "in the definition of 'a': there is no column or collection 'b'" in str(error)
    assert marked(error) == "b"


def test_a_definition_may_redefine_a_column_by_itself() -> None:
    got, builder = value("Muon_pt", {"Muon_pt": "Muon_pt * 1.01"})

    assert builder.nodes[got.node].op == "mul"


def test_an_unused_definition_is_not_looked_at() -> None:
    value("MET_pt", {"broken": "1 +"})


def test_a_record_cannot_be_delivered_but_may_be_defined() -> None:
    with pytest.raises(ExpressionError, match=r"this is a record \(combination\); take one of its fields"):
        value("pairs(Muon)")

    assert is_record(ProgramBuilder(), Events(), "pairs(Muon)")
    assert not is_record(ProgramBuilder(), Events(), "nMuon")


# -- errors -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        ("Muon_pp > 2", "there is no column or collection 'Muon_pp'; did you mean 'Muon_pt'", "Muon_pp"),
        ("Muon.pp[0] > 2", "did you mean 'Muon_pt'", "Muon.pp"),
        ("nMuon = 2", "= is no comparison; write ==", "="),
        ("MET_pt > 20 GeV", "numbers have no units", "GeV"),
        ("nope + MET_pt > 2", "there is no column or collection 'nope'", "nope"),
        ("sqr(MET_pt) > 2", "there is no function 'sqr'; did you mean 'sqrt'", "sqr"),
        ("sum > 2", "sum is a function, write sum(…)", "sum"),
        ("Muon_pt > 20", "this is one per Muon; reduce it with any(…) or all(…)", "Muon_pt > 20"),
        (
            "nMuon > 1 and Muon_pt > 20",
            "one per Muon; reduce it with any(…) or all(…)",
            "nMuon > 1 and Muon_pt > 20",
        ),
        ("pairs(Muon).mass > 5", "this is one per Muon, taken 2 together; reduce it", "pairs(Muon).mass > 5"),
        ("nMuon", "not uint32, one per event; compare it, for example with > 0", "nMuon"),
        ("Muon", "a cut needs one truth value per event, not record Muon", "Muon"),
        ("any(Muon_pt > Jet_pt)", "one per Muon and one per Jet cannot be combined", "Muon_pt > Jet_pt"),
        ("any(Muon_pt[Jet_pt > 3] > 1)", "a", "Muon_pt[Jet_pt > 3]"),
        (
            "any(Muon_pt[Muon_pt > 2] > Muon_pt[Muon_pt > 3])",
            "two different selections",
            "Muon_pt[Muon_pt > 2] > Muon_pt[Muon_pt > 3]",
        ),
        (
            "any(Muon_pt[MET_pt > 2] > 1)",
            "the condition in […] has one value per event",
            "Muon_pt[MET_pt > 2]",
        ),
        ("any(Muon_pt > 25 & Muon_eta < 2)", "& | ^ bind tighter than comparisons", "25 & Muon_eta"),
        ("nMuon and MET_pt > 2", "and needs true or false, not uint32, one per event", "nMuon"),
        ("!nMuon > 3", "not needs true or false", "!nMuon"),
        ("nMuon >= ", "the expression ends too early", " "),
        ("MET_pt > 2 &&", "the expression ends too early", ""),
        ("(nMuon > 2", "'(' was never closed", "("),
        ("nMuon > 2)", "unmatched ')'", ")"),
        ("nMuon => 2", "there is no =>; write >=", "="),
        ("a && && b", "invalid syntax", "&&"),
        ("nMuon > 'x'", 'unexpected "\'"', "'"),
        ("nMuon > 1; run", "unexpected ';'", ";"),
        ("nMuon > 1k", "1k is not a number", "1k"),
        ("nMuon > 1j", "1j is not a number", "1j"),
        ("nMuon > 5if 1", "5if is not a number", "5if"),
        ("µ > 2", "unexpected character 'µ'", "µ"),
        ("(lambda: 3)()", "Lambda is not part of the query language", "lambda: 3"),
        ("[x for x in Muon_pt]", "ListComp is not part of the query language", "[x for x in Muon_pt]"),
        ("(x := 3) > 2", "NamedExpr is not part of the query language", "x := 3"),
        ("nMuon is 3", "Is is not part of the query language", ""),
        ("None", "None is no number", "None"),
        ("nMuon > ...", "Ellipsis is no number", "..."),
        ("__import__(MET_pt)", "there is no function '__import__'", "__import__"),
        ("Muon_pt.sum() > 2", "only functions can be called", "Muon_pt.sum"),
        ("sum(Muon_pt, 2) > 2", "sum takes 1 operand, not 2", "sum(Muon_pt, 2)"),
        ("atan2(MET_pt) > 2", "atan2 takes 2 operands, not 1", "atan2(MET_pt)"),
        ("sum(Muon_pt, axis=0) > 2", "axis is 1 or -1", "axis=0"),
        ("sum(Muon_pt, axis=2) > 2", "axis=2 needs a value of pairs", "sum(Muon_pt, axis=2)"),
        ("max(Muon_pt, Muon_eta, axis=2) > 2", "max takes 1 operand", "max(Muon_pt, Muon_eta, axis=2)"),
        ("len(cross(Muon, Jet), axis=2) > 2", "axis is 1 or -1", "axis=2"),
        ("sum(cross(Muon, Jet), axis=2) > 2", "axis=2 needs a value", "sum(cross(Muon, Jet), axis=2)"),
        ("sum(Muon_pt, keep=1) > 2", "sum has no keyword keep", "keep=1"),
        ("sum(**Muon_pt) > 2", "sum has no keyword **", "**Muon_pt"),
        ("sum(*Muon_pt) > 2", "Starred is not part of the query language", "*Muon_pt"),
        ("sum(MET_pt) > 2", "sum needs a list, not float32, one per event", "sum(MET_pt)"),
        ("MET_pt[0] > 2", "an index […] needs a list", "MET_pt[0]"),
        ("Muon_pt[0.5] > 2", "an index must be a whole number, not 0.5", "Muon_pt[0.5]"),
        ("Muon_pt[Muon_charge] > 2", "an index must be one whole number per event", "Muon_pt[Muon_charge]"),
        ("Muon_pt[:, 0] > 2", "one index is enough", ":, 0"),
        ("any(Muon_pt[::-1] > 2)", "a slice needs a positive step", "Muon_pt[::-1]"),
        ("any(Muon_pt[:nMuon] > 2)", "the bounds of a slice must be whole numbers", "nMuon"),
        ("(1, 2) == nMuon", "several values are only allowed after `in`", "(1, 2)"),
        ("nMuon in run", "after `in` a list of values is needed", "run"),
        ("Flag_x + 300 > 2", "300 is out of the range of int8 [-128, 127]", "Flag_x + 300"),
        ("run + -1 > 2", "-1 is out of the range of uint32", "run + -1"),
        ("run ** -1 > 2", "write x**-1.0", "run ** -1"),
        ("1 / 0 > nMuon", "division by zero", "1 / 0"),
        ("9 ** 9 ** 9 > nMuon", f"more than {INTEGER_BITS_MAX} bits", "9 ** 9 ** 9"),
        ("1 << 1000000000 > nMuon", f"more than {INTEGER_BITS_MAX} bits", "1 << 1000000000"),
        ("(-8) ** 0.5 > nMuon", "complex", "(-8) ** 0.5"),
        ("sqrt(-1) > nMuon", "", "sqrt(-1)"),
        ("HLT_IsoMu24 - HLT_IsoMu24 > 0", "subtract cannot take bool", "HLT_IsoMu24 - HLT_IsoMu24"),
        ("MET_pt % HLT_IsoMu24 << 2 > 1", "left_shift cannot take float32", "MET_pt % HLT_IsoMu24 << 2"),
        ("Muon > 3", "Muon is a record; take one of its fields", "Muon > 3"),
        ("2 * Muon[0] > 3", "Muon is a record; take one of its fields", "2 * Muon[0]"),
        (
            "(Muon[0] * Muon[1]).mass > 3",
            "four-vectors can only be added and subtracted",
            "Muon[0] * Muon[1]",
        ),
        (
            "pairs(Muon).slot2.pt[0] > 3",
            "there is no slot2: the parts are slot0 to slot1",
            "pairs(Muon).slot2",
        ),
        ("pairs(Muon).charge[0] > 3", "a combination has no 'charge'", "pairs(Muon).charge"),
        ("MET.eta > 3", "MET has no column MET_eta", "MET.eta"),
        ("(MET + Muon[0]).mass > 3", "MET has no column MET_eta", "MET + Muon[0]"),
        ("mass(Muon_pt)[0] > 3", "mass needs a record such as Muon", "mass(Muon_pt)"),
        ("deltaR(Muon, Jet)[0] > 3", "one per Muon and one per Jet cannot be combined", "deltaR(Muon, Jet)"),
        (
            "len(combinations(Muon, 1)) > 3",
            f"combinations are taken of 2 to {COMBINATIONS_MAX}",
            "combinations(Muon, 1)",
        ),
        ("len(combinations(Muon, nJet)) > 3", "combinations are taken of 2 to", "combinations(Muon, nJet)"),
        ("MET_pt.foo > 3", "float32, one per event has no fields", "MET_pt.foo"),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, message: str, place: str) -> None:
    error = refusal(text)

    assert message in str(error)
    if place.strip():
        assert marked(error) == place


def test_the_carets_stand_under_the_place_in_the_text_as_it_was_written() -> None:
    error = refusal("nMuon > 1 && !HLT_IsoMu24 && Muon_pp > 2")

    assert str(error).splitlines()[1:] == [
        "    nMuon > 1 && !HLT_IsoMu24 && Muon_pp > 2",
        "                                 ^^^^^^^",
    ]


def test_a_long_expression_is_shown_around_the_place() -> None:
    error = refusal("nMuon > 1 and " * 100 + "Muon_pp > 2 and " + "nMuon > 1 and " * 100 + "True")

    _, shown, carets = str(error).splitlines()
    assert len(shown) <= 4 + SHOWN_CHARS_MAX + 2
    assert shown[4] == shown[-1] == "…"
    assert shown[carets.index("^") : carets.rindex("^") + 1] == "Muon_pp"


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_an_empty_expression_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError, match="the expression is empty"):
        cut(text)


# -- limits -----------------------------------------------------------------------------------
def test_the_longest_text_is_read_and_one_more_character_is_not() -> None:
    cut("nMuon > 1".ljust(TEXT_CHARS_MAX))

    with pytest.raises(ExpressionError, match=f"{TEXT_CHARS_MAX} are allowed"):
        cut("nMuon > 1".ljust(TEXT_CHARS_MAX + 1))


def test_the_deepest_nesting_is_read_and_one_more_level_is_not() -> None:
    depth = DEPTH_MAX - 3
    cut("-" * depth + "MET_pt > -MET_pt")

    with pytest.raises(ExpressionError, match=f"nested more than {DEPTH_MAX} deep"):
        cut("-" * (depth + 2) + "MET_pt > -MET_pt")


@pytest.mark.parametrize(
    "text",
    [
        "-" * 30_000 + "run",
        "(" * 30_000,
        "not " * 9_000 + "HLT_IsoMu24",
        "run" + "+run" * 12_000,
        "run" + "[0]" * 9_000,
        "9" * 60_000,
    ],
)
def test_a_hostile_text_is_refused_at_once(text: str) -> None:
    with pytest.raises(ExpressionError):
        cut(text)


def test_a_chain_of_operators_is_not_nesting() -> None:
    cut(" | ".join(["HLT_IsoMu24"] * 500))
    cut(" + ".join(["MET_pt"] * 500) + " > 1")


def test_the_most_parts_are_read_and_one_more_is_not() -> None:
    cut("1 in (" + "1," * (PARTS_MAX - 3) + ")")

    with pytest.raises(ExpressionError, match=f"more than {PARTS_MAX} names, numbers and operators"):
        cut("1 in (" + "1," * (PARTS_MAX - 2) + ")")


def test_an_expression_of_too_many_steps_is_refused_while_it_is_compiled() -> None:
    with pytest.raises(ExpressionError, match=f"the query takes more than {NODES_MAX} steps"):
        cut("nMuon in (" + ",".join(map(str, range(PARTS_MAX - 3))) + ")")


def test_the_most_definitions_are_read_and_one_more_is_not() -> None:
    defined = {f"d{i}": "1" if i == 0 else f"d{i - 1}" for i in range(DEFINITIONS_MAX)}
    value(f"d{DEFINITIONS_MAX - 1}", defined)

    with pytest.raises(ExpressionError, match=f"{DEFINITIONS_MAX} are allowed"):
        value("1", defined | {"one_more": "1"})


def test_a_combination_of_combinations_is_bounded() -> None:
    nested = "Muon"
    for _ in range(COMBINED_PARTS_MAX.bit_length() - 1):
        nested = f"pairs({nested})"
    value(f"len({nested})")

    with pytest.raises(ExpressionError, match=f"{COMBINED_PARTS_MAX} are allowed"):
        value(f"len(pairs({nested}))")


@given(st.text(st.sampled_from("nMuon_pt1.0e+-*/%<>=!&|^~()[],: \n'\"#\\µ0x7jifandornot")))
@example("1_")
@example("0x")
@example("1.2.3")
@example("\0")
@example("x = 3")
@example("a if b")
@example("*a")
@example("f(a=1, a=2)")
def test_any_text_compiles_or_is_refused(text: str) -> None:
    try:
        cut(text)
    except InvalidRequest as error:
        str(error)


# -- names ------------------------------------------------------------------------------------
def test_the_names_that_compiling_asks_for_are_mentioned() -> None:
    text = "any(Muon.pt > 3) and mass(pairs(Jet))[0] > pi and MET_pt > 3 and deltaR(Muon[0], Jet[0]) > 1"
    events = Events()

    compile_cut(ProgramBuilder(), events, text, {})

    known = {name for name in events.asked if name in events.columns or name in events.lists}
    assert known <= mentioned_names(text)
    assert {"Muon", "Muon_pt", "Jet", "Jet_mass", "MET_pt"} <= mentioned_names(text)
    assert not {"any", "mass", "pairs"} & mentioned_names(text)


@pytest.mark.parametrize(
    ("column", "target"),
    [
        ("Muon_jetIdx", "Jet"),
        ("Jet_electronIdx1", "Electron"),
        ("Jet_muonIdx2", "Muon"),
        ("FatJet_subJetIdx1", "SubJet"),
        ("FatJet_muonIdx3SJ", "Muon"),
        ("FatJet_genJetAK8Idx", "GenJetAK8"),
        ("GenPart_genPartIdxMother", "GenPart"),
        ("GenVisTau_genPartIdxMother", "GenPart"),
        ("Electron_genPartIdx", "GenPart"),
        ("FsrPhoton_muonIdx", "Muon"),
        ("Muon_fsrPhotonIdx", "FsrPhoton"),
        ("Muon_svIdx", "SV"),
        ("FatJetPFCands_jetIdx", "FatJet"),
        ("FatJetPFCands_pFCandsIdx", "PFCands"),
        ("PPSLocalTrack_multiRPIdx", "Proton_multiRP"),
        ("Muon_jetIdxG", "Jet"),
        ("Muon_pt", None),
        ("Muon_tauIdx", None),
        ("Muon_jetIdxTwice", None),
        ("Nobody_jetIdx", None),
    ],
)
def test_an_index_column_tells_the_collection_it_points_into(column: str, target: str | None) -> None:
    collections = (
        "Muon Jet Electron SubJet FatJet GenJetAK8 GenPart GenVisTau FsrPhoton SV FatJetPFCands PFCands "
        "PPSLocalTrack Proton_multiRP"
    ).split()

    assert index_target(column, collections) == target


# -- thinning ---------------------------------------------------------------------------------
def test_a_thinning_condition_may_leave_out_the_collection() -> None:
    builder = ProgramBuilder()

    short = compile_thinning(builder, Events(), "Muon", "pt > 30 and abs(eta) < 2.4")

    assert short == compile_thinning(builder, Events(), "Muon", "Muon_pt > 30 and abs(Muon.eta) < 2.4")
    assert builder.nodes[short].op == "filter"


def test_a_thinning_condition_may_use_the_event() -> None:
    builder = ProgramBuilder()

    assert builder.nodes[compile_thinning(builder, Events(), "Muon", "pt > MET_pt")].op == "filter"


@pytest.mark.parametrize(
    ("collection", "text", "message"),
    [
        ("Muom", "pt > 3", "there is no collection 'Muom'"),
        ("Muon", "pt", "a selection of Muon needs true or false"),
        ("Muon", "Jet_pt > 3", "this is one per Jet; to select from Muon it must be one per Muon"),
        ("Muon", "Muon", "a selection of Muon needs true or false"),
    ],
)
def test_a_wrong_thinning_condition_is_refused(collection: str, text: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=re.escape(message)):
        compile_thinning(ProgramBuilder(), Events(), collection, text)


# -- the document -----------------------------------------------------------------------------
def test_every_function_and_constant_stands_in_the_document() -> None:
    text = DOCUMENT.read_text()

    missing = [name for name in (*FUNCTIONS, *CONSTANTS, *KINEMATICS) if f"`{name}" not in text]
    assert missing == []


def test_every_limit_stands_in_the_document() -> None:
    text = DOCUMENT.read_text().replace(",", "")

    for limit in (
        TEXT_CHARS_MAX,
        DEPTH_MAX,
        PARTS_MAX,
        NODES_MAX,
        DEFINITIONS_MAX,
        COMBINATIONS_MAX,
        COMBINED_PARTS_MAX,
    ):
        assert str(limit) in text
