"""Who may import whom."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {
    "skyhook_casa": ROOT / "skyhook_casa",
    "skyhook_client": ROOT / "client/skyhook_client",
    "skyhook_server": ROOT / "server/skyhook_server",
}
FORBIDDEN = {
    "skyhook_casa": {"skyhook_client", "skyhook_server"},
    "skyhook_client": {"skyhook_server"},
    "skyhook_server": {"skyhook_client"},
}
HANDS_ON = {"__init__.py", "cli.py", "column_cli.py", "query_cli.py", "service_cli.py"}
"""Modules of `skyhook_casa` that hand on to the client and the service: `connect`, and the command line."""
DANGEROUS = {"pickle", "marshal", "shelve", "dill", "cloudpickle"}
UNPICKLES = {FOLDERS["skyhook_client"] / "coffea/runner.py": {"cloudpickle"}}
"""coffea pickles the user's processor for the user's workers; what stands in for its runner unpickles it."""


def modules(package: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(FOLDERS[package].rglob("*.py")):
        yield path, ast.parse(path.read_text())


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield the top name of every import, those inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("package", FOLDERS)
def test_a_package_imports_only_those_below_it(package: str) -> None:
    for path, tree in modules(package):
        if package == "skyhook_casa" and path.parent == FOLDERS[package] and path.name in HANDS_ON:
            continue
        assert not FORBIDDEN[package] & set(imported(tree)), path


@pytest.mark.parametrize("package", FOLDERS)
def test_nothing_is_pickled_or_evaluated(package: str) -> None:
    for path, tree in modules(package):
        assert DANGEROUS & set(imported(tree)) <= UNPICKLES.get(path, set()), path
        calls = {
            node.func.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not calls & {"eval", "exec"}, path
