"""A generated table that is older than its inputs is found, and so is one that says FAILED."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools import fresh

TABLE = "<!-- generated: kills -->\n| killed | 3 |\n<!-- end -->\n"
METHOD = '''"""Neti, a paper."""

SIZE = 3


@method(title="NeTI", scope=("object",))
def neti(subject: Subject, *, steps: int = 3) -> Recipe:
    """A word.

    Settings:
        steps: updates
    """
    return Recipe(says="x")
'''


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A small repository whose docs are up to date."""
    for name, text in {
        "README.md": f"# A\n\n{TABLE}",
        "docs/generate.py": '"""Writes docs."""\nprint("kills")\n',
        "docs/methods/neti.md": "# NeTI\n",
        "results/kills.json": "{}\n",
        "results/bench.json": "{}\n",
        "src/limner/methods/object/neti.py": METHOD,
        "src/limner/bases/sd.py": '"""A base."""\n\nSIZE = 1\n',
        "tests/bases/test_sd.py": '"""Its tests."""\n\nassert True\n',
        "src/limner/formats/kohya.py": "SIZE = 2\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    proofs = {"bases": {"sd": {"paints": "yes"}}, "formats": {}}
    made = {table: fresh.proof_digest(table, tmp_path) for table in proofs}
    (tmp_path / fresh.PROOFS).write_text(json.dumps({**proofs, "made from": made}))
    (tmp_path / fresh.RECORD).write_text(json.dumps(fresh.record(tmp_path)))
    return tmp_path


def faults(root: Path) -> list[str]:
    fresh.content.cache_clear()
    return [*fresh.stale_proofs(root), *fresh.stale_parts(root)]


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_what_was_just_made_is_fresh(house: Path) -> None:
    assert faults(house) == []


@pytest.mark.parametrize(
    ("name", "old", "new", "found"),
    [
        ("results/kills.json", "{}", '{"all": 3}', "README.md, kills: stale, results/kills.json has changed"),
        ("results/bench.json", "{}", '{"units": []}', "neti.md: stale, results/bench.json has changed"),
        ("docs/generate.py", '"kills"', '"ends"', "stale, docs/*.py has changed"),
        ("src/limner/methods/object/neti.py", "steps: int = 3", "steps: int = 4", "methods/object/neti.py|neti.md: stale"),
        ("src/limner/methods/object/neti.py", "SIZE = 3", "SIZE = 4", "neti.md: stale"),
        ("src/limner/methods/object/neti.py", "a paper", "a preprint", "neti.md: stale"),
        ("src/limner/methods/object/neti.py", "steps: updates", "steps: number of updates", "neti.md: stale"),
        ("README.md", "| killed | 3 |", "| killed | 4 |", "README.md, kills: not the text that `make docs` wrote"),
        ("README.md", "generated: kills", "generated: deaths", "README.md, deaths: tools/fresh.py does not list"),
        ("README.md", "| 3 |", "| FAILED |", "README.md, kills: says FAILED"),
        ("src/limner/bases/sd.py", "SIZE = 1", "SIZE = 2", "proofs.json, bases: stale"),
        ("tests/bases/test_sd.py", "assert True", "assert 1 + 1", "proofs.json, bases: stale"),
        ("results/proofs.json", '"yes"', '"FAILED"', "proofs.json, bases, sd, paints: FAILED"),
    ],
)  # fmt: skip
def test_a_change_is_found(house: Path, name: str, old: str, new: str, found: str) -> None:
    change(house / name, old, new)
    told = faults(house)
    assert told
    assert any(part in line for part in found.split("|") for line in told), told


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("src/limner/methods/object/neti.py", 'says="x"', 'says="y"'),  # no page shows the body
        ("src/limner/bases/sd.py", '"""A base."""', '"""One base."""\n# and why'),
        ("docs/generate.py", "Writes docs", "Write the docs"),
    ],
)
def test_a_change_that_no_table_shows_is_let_be(house: Path, name: str, old: str, new: str) -> None:
    change(house / name, old, new)
    assert faults(house) == []


def test_a_page_whose_method_is_gone_and_a_page_that_was_never_recorded_are_found(house: Path) -> None:
    other = house / "src/limner/methods/object/other.py"  # any method's file may hold it now
    (house / "src/limner/methods/object/neti.py").rename(other)
    change(other, "a paper", "a preprint")
    shutil.copy(house / "docs/methods/neti.md", house / "docs/methods/oft.md")
    told = faults(house)
    assert any(line.startswith("docs/methods/neti.md") and "stale" in line for line in told)
    assert any(line.startswith("docs/methods/oft.md: not the text") for line in told)


def test_a_repository_without_a_record_is_stale(house: Path) -> None:
    (house / fresh.RECORD).unlink()
    assert faults(house) == ["docs/made_from.json is missing: run `make docs`"]


def test_it_takes_seconds_and_no_torch() -> None:
    began = time.monotonic()
    code = "import sys; from tools import fresh; list(fresh.stale_parts()); list(fresh.stale_proofs()); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=fresh.ROOT)
    assert time.monotonic() - began < 20


NOT_RUN = {f"results/{suite}.json" for suite in ("table1", "pairs", "faces", "couples")}
"""Results of suites that were not run yet: the pages say so."""


def test_every_generated_part_of_this_repository_has_known_inputs() -> None:
    parts = list(fresh.generated(fresh.ROOT))
    assert len(parts) > 60
    for name, _, inputs in parts:
        assert inputs, name
        for source in set(inputs) - NOT_RUN:
            assert list(fresh.ROOT.glob(source.rpartition(":")[2])), f"{name}: nothing matches {source}"
