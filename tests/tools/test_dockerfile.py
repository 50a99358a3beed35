"""The Dockerfile names only what exists. Whether it builds, a machine with Docker says."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

from limner.apps.cli.main import _parser

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
LINES = [line.strip() for line in TEXT.splitlines() if line.strip() and not line.startswith("#")]


def rest_of(instruction: str) -> list[str]:
    """The arguments of every instruction of this name."""
    return [line.partition(" ")[2].strip() for line in LINES if line.startswith(f"{instruction} ")]


def test_every_copied_file_exists_and_is_sent_to_the_builder() -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [path for row in rest_of("COPY") if "--from" not in row for path in row.split()[:-1]]
    assert "src" in copied
    assert all((ROOT / path).exists() and path in sent for path in copied)


def test_the_extras_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (extras,) = re.findall(r'"\.\[([^\]]+)\]"', TEXT)
    assert set(extras.split(",")) <= set(project["optional-dependencies"])


def test_the_command_is_one_of_limner_and_runs_without_rights() -> None:
    (entry,), (command,) = rest_of("ENTRYPOINT"), rest_of("CMD")[-1:]
    words = json.loads(command)
    assert json.loads(entry) == ["limner"]
    _parser(words).parse_args(words)
    assert rest_of("USER") == ["limner"]
    assert LINES.index("USER limner") < LINES.index(f"ENTRYPOINT {entry}")


def test_versions_are_pinned() -> None:
    assert all("--constraint constraints.txt" in row for row in rest_of("RUN") if "pip install" in row)
