"""The reference pages, made from the code: every command with its flags, every public name with its docstring."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
from collections.abc import Iterator
from typing import Any

import limner
from limner.apps.cli.main import _parser

PIPE = "\\|"
"""A bar inside a table's cell."""

ORDER = (
    ("The four verbs", ("learn", "paint", "score", "bench")),
    ("The five nouns", ("Subject", "load", "Recipe", "Concept", "Picture", "Pictures", "Clip")),
    ("Methods", ("method", "find", "Stage", "Painting")),
    ("Painting in detail", ("PaintSettings", "Canvas", "sample")),
    ("Training in detail", ("attach", "train")),
    ("Many subjects", ("learn_many", "Job", "train_stacked", "paint_many", "Order", "Concepts", "merge")),
    ("Faces", ("Consent", "open_faces")),
)
"""Sections of the API page; a public name that stands in none of them is an error."""


def api() -> str:
    """docs/api.md: signature and docstring of every name in `limner.__all__`."""
    listed = {name for _, names in ORDER for name in names} | {"__version__"}
    if listed != set(limner.__all__):
        raise SystemExit(f"docs/reference.py and limner.__all__ differ: {sorted(listed ^ set(limner.__all__))}")
    lines = [
        "# The Python API",
        "",
        "Every public name of `limner`, from its docstring. `import limner` loads nothing heavy: torch is imported by the first call that",
        "needs it. Errors are all `limner.errors.LimnerError`; parts for methods of your own are in [CONTRIBUTING](../CONTRIBUTING.md).",
    ]
    for title, names in ORDER:
        lines += ["", f"## {title}"]
        for name in names:
            lines += ["", *entry(name, getattr(limner, name))]
    return "\n".join(lines) + "\n"


def entry(name: str, value: Any) -> Iterator[str]:
    """The lines of one public name; of a class also its public methods and properties."""
    yield f"### `limner.{name}`"
    yield from ("", "```text", signature(name, value), "```", "", docstring(value))
    if inspect.isclass(value):
        for member, function in vars(value).items():
            function = getattr(function, "__func__", function)
            if not member.startswith("_") and inspect.isfunction(function):
                yield from ("", f"#### `{name}.{member}`", "", "```text", signature(member, function), "```")
                yield from ("", docstring(function)) if inspect.getdoc(function) else ()
            elif isinstance(function, property) and inspect.getdoc(function):
                yield from ("", f"#### `{name}.{member}` (property)", "", docstring(function))


def signature(name: str, value: Any) -> str:
    """The call as it is written, an argument to a line where it is long."""
    if inspect.isclass(value) and not dataclasses.is_dataclass(value) and "__init__" not in vars(value):
        return f"class {name}"
    arguments = [plain(str(p)) for p in inspect.signature(value).parameters.values()]
    stars = [p.kind for p in inspect.signature(value).parameters.values()]
    if inspect.Parameter.KEYWORD_ONLY in stars and inspect.Parameter.VAR_POSITIONAL not in stars:
        arguments.insert(stars.index(inspect.Parameter.KEYWORD_ONLY), "*")
    arguments = [argument for argument in arguments if argument not in ("self", "cls")]
    line = f"{name}({', '.join(arguments)}){plain(returned(value))}"
    if len(line) <= 100:
        return line
    return "\n".join([f"{name}(", *(f"    {argument}," for argument in arguments), f"){plain(returned(value))}"])


def returned(value: Any) -> str:
    """ " -> Concept", or nothing for a class."""
    annotation = inspect.signature(value).return_annotation
    if inspect.isclass(value) or annotation is inspect.Signature.empty:
        return ""
    return f" -> {annotation if isinstance(annotation, str) else annotation.__name__}"


def plain(text: str) -> str:
    """An annotation without quotes and module names; a default without its address in memory."""
    text = re.sub(r"\b(?:[A-Za-z_]\w*\.)+([A-Za-z_]\w*)", r"\1", text)
    text = re.sub(r"<factory>|<function .*? at 0x\w+>|<[\w.]+ object(?: at 0x\w+)?>", "…", text)
    return re.sub(r": '([^']*)'", r": \1", text)


def docstring(value: Any) -> str:
    """The docstring as Markdown: paragraphs stay, indented blocks are code already."""
    text = inspect.getdoc(value) or ""
    if dataclasses.is_dataclass(value) and text.startswith(f"{getattr(value, '__name__', '')}("):
        return ""  # made by dataclass, not written
    return text


def commands() -> str:
    """Every command of `limner` with its flags, from the parsers themselves."""
    parser = _parser([])
    subparsers = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    lines: list[str] = []
    for name, command in subparsers.choices.items():
        lines += [f"### `limner {name}`", "", capital(f"{shown(command.description or '')}."), "", "| | |", "|---|---|"]
        for group in command._action_groups:
            if (group.title or "").startswith("settings of"):
                continue
            lines += [row for action in group._group_actions if (row := flag(action))]
        if name in ("learn", "pretrain"):
            lines += ["", "Settings of a method are flags too: see its page in [methods](methods/index.md)."]
        lines.append("")
    return "\n".join(lines).rstrip()


def flag(action: argparse.Action) -> str:
    """A row of the table: the flag with its values, and its help with the default."""
    if action.dest == "help" or action.help == argparse.SUPPRESS:
        return ""
    names = ", ".join(action.option_strings) or str(action.metavar or action.dest)
    value = ""
    if action.option_strings and action.nargs != 0 and not isinstance(action, argparse.BooleanOptionalAction):
        choices = "|".join(str(choice) for choice in action.choices if choice) if action.choices else ""
        metavar = " ".join(action.metavar) if isinstance(action.metavar, tuple) else action.metavar
        value = " " + (choices or metavar or action.dest.upper())
    about = shown(action.help or "")
    default = action.default
    if default not in (None, False, "", [], argparse.SUPPRESS) and "default" not in about and default is not True:
        about += f"{'; ' if about else ''}default: `{' '.join(map(str, default)) if isinstance(default, (list, tuple)) else default}`"
    cells = (f"`{names}{value}`", about)
    return f"| {' | '.join(cell.replace('|', PIPE) for cell in cells)} |"


def capital(text: str) -> str:
    """The text with a capital at its start."""
    return text[:1].upper() + text[1:]


def shown(text: str) -> str:
    """A parser's text as Markdown."""
    return text.strip().replace("<", "&lt;").replace("%%", "%")
