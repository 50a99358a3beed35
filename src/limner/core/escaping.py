"""Escaping of text for HTML, Markdown, YAML, TOML, Python, a shell and a terminal.

Names, prompts, captions and headers come from users and files, so all such text is escaped here and nowhere else. HTML
is made by `html`, which escapes each value that is put into a template unless `html` itself made it; no f-string in
limner holds a tag.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Any, LiteralString

from markupsafe import Markup

from .files import GENERATOR

__all__ = [
    "Markup",
    "html",
    "html_page",
    "html_table",
    "join_html",
    "markdown_code",
    "markdown_text",
    "python_literal",
    "shell_word",
    "terminal_text",
    "toml_value",
    "yaml_value",
]

_MARKDOWN = re.compile(r"[\\`*{}\[\]#|~!]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
"""Characters with a meaning in Markdown. An underscore within a word has none."""
_ENTITIES = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("://", "&#58;//"), ("www.", "www&#46;"), ("@", "&#64;"))
"""Characters of HTML within Markdown, and the beginnings of text that GitHub turns into links."""
_NOT_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
"""Characters that JSON writes unescaped and YAML does not read."""
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Characters that move a terminal's cursor, change its colours or reverse the direction of the text after them; newline
and tab are not among them."""


def html(template: LiteralString, *values: object, **named: object) -> Markup:
    """An HTML template, filled in as `str.format` does. Each value is escaped unless it is `Markup` already.

    In the template, an attribute's value must stand between double quotes.

        >>> html('<b title="{}">{}</b>', 'a "quoted" name', "<rex>")
        Markup('<b title="a &#34;quoted&#34; name">&lt;rex&gt;</b>')
    """
    return Markup(template).format(*values, **named)


def join_html(pieces: Iterable[object], between: LiteralString = "") -> Markup:
    """Pieces of HTML joined, with plain text among them escaped."""
    return Markup(between).join(pieces)  # type: ignore[arg-type]  # anything is taken as its text


def html_page(title: str, style: LiteralString, parts: Sequence[Markup]) -> Markup:
    """A whole HTML page, which loads nothing from elsewhere."""
    return html(
        '<!doctype html><html lang="en"><meta charset="utf-8">{}<title>{}</title><style>{}</style>{}',
        Markup(GENERATOR),
        title,
        Markup(style),
        join_html(parts, "\n"),
    )


def html_table(head: Sequence[Any], rows: Sequence[Sequence[Any]]) -> Markup:
    """A table with one row of headings."""
    top = join_html(html("<th>{}</th>", cell) for cell in head)
    body = join_html(html("<tr>{}</tr>", join_html(html("<td>{}</td>", cell) for cell in row)) for row in rows)
    return html("<table><tr>{}</tr>{}</table>", top, body)


def markdown_text(value: object) -> str:
    r"""Text escaped for Markdown, on one line, also for a cell of a table.

    >>> markdown_text("a|b <i> *c* lora_rank")
    'a\\|b &lt;i&gt; \\*c\\* lora_rank'
    """
    text = " ".join(str(value).split())
    text = _MARKDOWN.sub(lambda match: "\\" + match[0], text)
    for plain, entity in _ENTITIES:
        text = text.replace(plain, entity)
    return text


def markdown_code(value: object) -> str:
    """Text as inline code in Markdown, between one backtick more than the longest run of them in the text."""
    text = " ".join(str(value).split())
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    room = " " if not text or text[0] == "`" or text[-1] == "`" else ""
    return f"{ticks}{room}{text}{room}{ticks}"


def yaml_value(value: Any) -> str:
    """A text, number or plain structure as a value in YAML, on one line."""
    return _NOT_YAML.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False))


def toml_value(value: Any) -> str:
    """A text, number, truth value or list of them as a value in TOML, on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    return repr(value) if isinstance(value, int | float) else yaml_value(str(value))


def python_literal(value: object) -> str:
    """A text as a literal of Python, on one line."""
    return repr(str(value))


def shell_word(value: object) -> str:
    """A text quoted as one word of a POSIX shell. Double quotes are preferred where they suffice: Windows reads them
    too."""
    text = str(value)
    if re.fullmatch(r"[\w ,.:;/<>()'+=@?#&*|~\[\]{}^-]+", text) and shlex.quote(text) != text:
        return f'"{text}"'
    return shlex.quote(text)


def terminal_text(value: object) -> str:
    r"""A text whose control characters are written as escape sequences of Python, such as \x1b."""
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), str(value))
