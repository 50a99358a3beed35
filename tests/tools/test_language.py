"""The lint of the language: each rule finds its fault, and lets plain prose through."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import language

LONG = "word " * 30


def rules(path: Path, text: str, **which: bool) -> list[tuple[str, int]]:
    """The rule and line of every fault of a file with this text."""
    path.write_text(text, encoding="utf-8")
    return [(fault.rule, fault.line) for fault in language.faults_of(path, **which)]


@pytest.mark.parametrize(
    ("text", "found_rules"),
    [
        ('"""What it does."""\n', [("opening", 1)]),
        ('"""Fine.\n\nOf its parts, one learns. Whose? Nobody says.\n"""\n', [("opening", 3), ("opening", 3)]),
        ("x = 1  # of the first\n", [("opening", 1)]),
        ('parser.add_argument("--x", help="who finds it")\n', [("opening", 1)]),
        (f'"""{LONG}"""\n', [("length", 1)]),
        (f"x = 1  # {LONG}\n", [("length", 1)]),
        ('def f():\n    """The text\n    tower reads."""\n', [("word", 2)]),
        ("# a fleet of three\n", [("word", 1)]),
    ],
)
def test_a_fault_in_python_is_found_at_its_line(tmp_path: Path, text: str, found_rules: list[tuple[str, int]]) -> None:
    assert rules(tmp_path / "a.py", text) == found_rules


@pytest.mark.parametrize(
    "text",
    [
        '"""Reads it, of which one half is kept. Whatever comes stays."""\n',
        'text = "What of it?"  # a value, no prose\n',
        '"""Calls `fleet` by its name."""\n',
        "# ruff: noqa\nx = 1\n",
    ],
)
def test_plain_python_passes(tmp_path: Path, text: str) -> None:
    assert rules(tmp_path / "a.py", text) == []


def test_pages_are_checked_but_for_code_and_generated_parts(tmp_path: Path) -> None:
    page = f"# What\n\n* Of one\n\n| a | what |\n\n    What code\n\n```\nOf code\n```\n\n<!-- generated: x -->\nWhat\n<!-- end -->\n{LONG}\n"
    assert rules(tmp_path / "a.md", page) == [("opening", 1), ("opening", 3), ("opening", 5), ("length", 16)]


def test_names_and_silent_arguments(tmp_path: Path) -> None:
    code = 'def told(x: int, y: int) -> int:\n    """Adds.\n\n    x: the first\n    """\n    found = x + y\n    return found\n'
    path = tmp_path / "a.py"
    assert rules(path, code, prose=False, names=True) == [("name", 1), ("name", 6)]
    assert rules(path, code, prose=False, arguments=True) == [("argument", 1)]


def test_a_listed_folder_that_is_gone_is_an_error() -> None:
    with pytest.raises(SystemExit, match="not there"):
        language.files_in(("no/such/folder",))


@pytest.mark.sweep  # `make check` asks the same
def test_the_tree_is_clean(capsys: pytest.CaptureFixture[str]) -> None:
    assert language.main([]) == 0, capsys.readouterr().out
