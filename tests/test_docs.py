"""The docs move with the code: links, commands, flags, paths and Python blocks of every page exist."""

from __future__ import annotations

import argparse
import ast
import functools
import inspect
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import limner
from limner.apps.cli.aliases import RENAMED, translated
from limner.apps.cli.main import _parser
from limner.core.method import settings
from limner.methods import methods
from tests.test_rooms import ROOMS

ROOT = Path(__file__).parent.parent
PAGES = sorted(p for p in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "LOG").glob("*.md")])
GUIDES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *(ROOT / "docs" / f"{name}.md" for name in ("index", "architecture", "commands", "troubleshooting", "notation")),
    *sorted((ROOT / "docs" / "tutorials").glob("*.md")),
]
"""Pages whose every flag is one of limner's."""


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_generated_parts_are_up_to_date() -> None:
    done = subprocess.run([sys.executable, "-m", "docs.generate", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    for target, source in re.findall(r"\]\(([^)]+)\)|src=\"([^\"]+)\"", page.read_text(encoding="utf-8")):
        link, _, anchor = (target or source).partition("#")
        if link.startswith(("http", "mailto:")):
            continue
        where = page.parent / link if link else page
        assert where.exists(), link
        if anchor:
            assert anchor in anchors(where), f"{link}#{anchor}"


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings make: lower case, no punctuation, hyphens for spaces."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


# -- commands --


def code_lines(page: Path) -> Iterator[str]:
    """The lines of a page's code blocks, those that end in a backslash joined with the next."""
    fenced = False
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            yield line.strip()


def commands_of(page: Path) -> list[str]:
    return [line for line in code_lines(page) if line.startswith("limner ")]


COMMANDS = [(page, line) for page in PAGES if page.parent.name != "methods" for line in commands_of(page)]


@pytest.fixture(scope="module")
def method_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the method file that CONTRIBUTING shows, under the name that its commands use."""
    code = re.search(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    folder = tmp_path_factory.mktemp("method")
    (folder / "my_methods.py").write_text(code.group(1), encoding="utf-8")
    return folder


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=[f"{name_of(p)}: {line[:70]}" for p, line in COMMANDS])
def test_commands_are_understood_whole(
    page: Path, line: str, method_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(method_folder)
    words = translated(shlex.split(line, comments=True)[1:], lambda text: None)
    _parser(words).parse_args(words)


def test_every_command_is_shown() -> None:
    shown = {line.split()[1] for page, line in COMMANDS if page.name == "commands.md"}
    assert set(subcommands()) - shown == {"demo"}  # README's first command is `make demo`


@functools.cache
def subcommands() -> dict[str, Any]:
    actions = _parser([])._actions
    return dict(next(action for action in actions if isinstance(action, argparse._SubParsersAction)).choices)


def flags_of_settings() -> set[str]:
    names = {setting.name.replace("_", "-") for function in methods().values() for setting in settings(function)}
    return {f"--{name}" for name in names}


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_flags_in_the_text_exist(page: Path) -> None:
    everywhere = flags_of_settings().union(*(parser.flags for parser in subcommands().values())) | {"--help"}
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for code in re.findall(r"`([^`]+)`", text):
        words = code.split()
        if words[0] in ("limner", "--help") or words[0].startswith("--"):
            known = everywhere
            if words[0] == "limner" and words[1] in subcommands():
                known = flags_of_settings() | set(subcommands()[words[1]].flags) | set(RENAMED) | {"--help"}
            strange = {word.rstrip(",.;") for word in words if word.startswith("--")} - known
            assert not strange, f"{code}: {strange}"


def test_a_method_page_shows_its_command_and_every_setting() -> None:
    for name, function in methods().items():
        text = (ROOT / "docs" / "methods" / f"{name}.md").read_text(encoding="utf-8")
        assert f"--method {name}" in text
        assert all(f"`--{setting.name.replace('_', '-')}`" in text for setting in settings(function))


# -- Python --


BLOCKS = [
    (page, code)
    for page in PAGES
    for code in re.findall(r"^ *```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
]


@pytest.mark.parametrize(("page", "code"), BLOCKS, ids=[f"{name_of(p)}-{k}" for k, (p, _) in enumerate(BLOCKS)])
def test_python_blocks_name_only_what_exists(page: Path, code: str) -> None:
    for node in ast.walk(ast.parse(textwrap.dedent(code))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("limner"):
            module = import_module(str(node.module))
            assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "limner":
            assert node.attr in limner.__all__, node.attr
        if isinstance(node, ast.Call) and re.fullmatch(r"limner(\.\w+)+", ast.unparse(node.func)):
            function = functools.reduce(getattr, ast.unparse(node.func).split(".")[1:], limner)
            named = {keyword.arg: None for keyword in node.keywords if keyword.arg}
            inspect.signature(function).bind(*([None] * len(node.args)), **named)  # type: ignore[arg-type]


# -- paths and rooms --


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_paths_in_the_text_exist(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    homes = (ROOT, ROOT / "src" / "limner", page.parent)
    for path in re.findall(r"`((?:\w+/)+(?:\w+\.(?:py|md|json|svg))?)`", text):
        if not path.startswith(("photos/", "pets/", "concepts/", "exports/", "out/", "try/", "rex/", "unfinished/")):
            assert any((home / path).exists() for home in homes), path


def test_the_picture_of_the_rooms_shows_all_of_them_and_the_tested_order() -> None:
    from docs import rooms

    assert tuple(rooms.ROOMS) == ROOMS
    order = {room: place for place, room in enumerate(ROOMS)}
    counts = rooms.imports()
    assert counts["engine", "core"] > 10
    assert not [pair for pair in counts if order[pair[0]] < order[pair[1]] and pair != ("parts", "workflows")]


def test_the_parts_that_contributing_names_are_in_their_folders() -> None:
    rows = re.findall(r"^\|.*?\| `parts/(\w+)/`.*?\| (.*?) \|$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert {"modifiers", "sources", "objectives", "guidance"} <= {folder for folder, _ in rows}
    for folder, examples in rows:
        names = re.findall(r"`(\w+)", examples)
        homes = [import_module(f"limner.parts.{home}") for home in (folder, "fusion")]
        assert names
        assert not [name for name in names if not any(hasattr(home, name) for home in homes)], folder
