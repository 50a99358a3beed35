"""The docs move with the code."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted(p for p in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
PRESENT = [page for page in PAGES if page.name not in ("CHANGELOG.md", "LOG.md")]
"""Pages that say how things are; the others say how they were."""


def test_generated_parts_are_up_to_date() -> None:
    done = subprocess.run([sys.executable, "-m", "docs.generate", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)|src=\"([^\"]+)\"", page.read_text()):
        link = target[0] or target[1]
        if not link.startswith(("http", "mailto:")):
            assert (page.parent / link).exists(), link


FENCED = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:^ {4}(?:\$ )?|`)limner ([a-z][a-z-]*)", re.MULTILINE)
"""A command at the start of a line of code, or of code within a sentence."""


def commands_in(text: str) -> set[str]:
    """The commands that a page names; prose that begins a line with "limner" is none."""
    code = "\n".join(f"    {line}" for block in FENCED.findall(text) for line in block.splitlines())
    return {*COMMAND.findall(FENCED.sub("", text)), *COMMAND.findall(code)}


@pytest.fixture(scope="module")
def commands() -> set[str]:
    """The commands that there are."""
    from limner.apps.cli.main import _parser

    (choices,) = [action.choices for action in _parser([])._actions if isinstance(action, argparse._SubParsersAction)]
    return set(choices)


def test_pages_name_commands_that_exist(commands: set[str]) -> None:
    for page in PRESENT:
        assert commands_in(page.read_text()) <= commands, page


def test_every_command_stands_in_the_docs(commands: set[str]) -> None:
    named = {name for page in PRESENT for name in commands_in(page.read_text())}
    assert commands <= named


def test_a_command_that_is_gone_would_be_found() -> None:
    page = "    limner paint x\nuse `limner frobnicate` or\nlimner of old\n```sh\nlimner teach y\n```\n"
    assert commands_in(page) == {"paint", "frobnicate", "teach"}
