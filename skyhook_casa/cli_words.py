"""Messages as a shell needs them: they name keywords of Python, and who reads them here types options."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from typer.core import TyperOption
from typer.main import get_command


def for_shell(text: str) -> str:
    """Return a message with the options of this command line in place of the keywords that they stand for.

    ``replace=True`` becomes ``--replace``, ``trees=False`` becomes ``--no-trees``, and ``fill={"a": 0}``
    becomes ``--fill 'a = 0'``. What is no option stays as it is.
    """
    return _KEYWORD.sub(_option, text)


_VALUE = r'True|False|\{"(?P<key>\w+)": (?P<of_key>[^}]*)\}'
_KEYWORD = re.compile(rf"(?<![\w.-])(?<!\w\()(?P<name>[a-z_]+)=(?:(?P<value>{_VALUE})|(?=[\s,;.…]|$))")


def _option(found: re.Match[str]) -> str:
    options = _options().get(found["name"])
    if options is None:
        return found[0]
    on, off = options
    if found["key"]:
        return f"{on} '{found['key']} = {found['of_key']}'"
    return off if found["value"] == "False" else on


@cache
def _options() -> dict[str, tuple[str, str]]:
    """Return the option of each keyword, and the one that says no to it."""
    from .cli import app

    found: dict[str, tuple[str, str]] = {}
    commands: list[Any] = [get_command(app)]
    for command in commands:
        commands += getattr(command, "commands", {}).values()
        for option in command.params:
            if isinstance(option, TyperOption) and option.opts[0].startswith("--"):
                name = option.opts[0].removeprefix("--").replace("-", "_")
                found[name] = (option.opts[0], (option.secondary_opts or option.opts)[0])
    return found
