"""Find generated text that is older than its inputs, in about a second and without torch.

python -m tools.fresh

Every generated part of a page ends with a stamp that names its inputs and carries a hash of them and of the text:

    <!-- made from results/bench.json docs/generate.py: 0123456789ab -->

`docs/generate.py` writes the stamps; results/proofs.json has one for each of its tables.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
STAMP = re.compile(r"\n<!-- made from ([^:\n]+): ([0-9a-f]{12}) -->")
PART = re.compile(r"<!-- generated: (.+?) -->\n")
END = "<!-- end -->"
PROOFS = Path("results", "proofs.json")
PROVEN_BY = {
    "bases": ("src/limner/bases/**/*.py", "tests/bases/*.py"),
    "formats": ("src/limner/formats/**/*.py", "tests/formats/*.py"),
}
"""Table of results/proofs.json -> the code that its tests run, and the tests."""


def stamp(text: str, *inputs: str, root: Path = ROOT) -> str:
    """The text with its stamp. `inputs` are paths or globs under `root`."""
    return f"{text}\n<!-- made from {' '.join(inputs)}: {digest(inputs, text, root=root)} -->"


def digest(inputs: Iterable[str], text: str = "", *, root: Path = ROOT) -> str:
    """Twelve hexadecimal digits that change with the text, with an input's content and with the list of files.

    Raises `FileNotFoundError` where an input matches no file.
    """
    total = hashlib.sha256(text.encode())
    for pattern in inputs:
        paths = sorted(path for path in root.glob(pattern) if path.is_file())
        if not paths:
            raise FileNotFoundError(f"no file matches {pattern}")
        for path in paths:
            total.update(f"{path.relative_to(root)} {content(path, proven=False)}".encode())
    return total.hexdigest()[:12]


def proof_digest(table: str, *, root: Path = ROOT) -> str:
    """Digest of the statements behind a table of results/proofs.json; comments and docstrings do not count."""
    total = hashlib.sha256()
    for pattern in PROVEN_BY[table]:
        for path in sorted(root.glob(pattern)):
            total.update(f"{path.relative_to(root)} {content(path, proven=True)}".encode())
    return total.hexdigest()[:12]


@functools.cache
def content(path: Path, *, proven: bool) -> str:
    """Hash of a file: its statements where it is `proven` by tests, a module of src/ by its cards, any other by its bytes."""
    if path.suffix == ".py" and (proven or "src" in path.parts):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        value = "\n".join(statements(tree) if proven else cards(tree)).encode()
    else:
        value = path.read_bytes()
    return hashlib.sha256(value).hexdigest()


def cards(tree: ast.Module) -> Iterator[str]:
    """All that a page shows of a module: docstrings, constants, and the decorators and settings of its functions."""
    yield ast.get_docstring(tree) or ""
    for node in tree.body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            yield ast.unparse(node)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield from (ast.unparse(decorator) for decorator in node.decorator_list)
            yield f"{node.name}: {ast.get_docstring(node)}"
            yield ast.unparse(node.args) if isinstance(node, ast.FunctionDef) else ""


def statements(tree: ast.Module) -> Iterator[str]:
    """The statements of a module, without bare strings, which are docstrings and the notes below constants."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            node.body = [child for child in node.body if not is_text(child)] or [ast.Pass()]
    yield ast.dump(tree)


def is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def stale_pages(root: Path = ROOT) -> Iterator[str]:
    """One line for each generated part that is stale, has no stamp or says FAILED."""
    pages = [*root.glob("*.md"), *(root / "docs").rglob("*.md")]
    for page in sorted(pages):
        name, text = page.relative_to(root), page.read_text(encoding="utf-8")
        for part, value in generated(text, whole=page.parent.name == "methods"):
            label = f"{name}, {part}" if part else f"{name}"
            yield from (f"{label}: {fault}" for fault in faults(value, root))


def generated(text: str, *, whole: bool) -> Iterator[tuple[str, str]]:
    """(name, text with its stamp) of each generated part; of the page itself where that is generated."""
    if whole:
        yield "", text.rstrip("\n")
    for start in PART.finditer(text):
        yield start.group(1), text[start.end() :].partition(END)[0].rstrip("\n")


def faults(value: str, root: Path) -> Iterator[str]:
    """Everything wrong with one generated part."""
    if "FAILED" in value:
        yield "says FAILED: mend the test, then `make proofs`"
    found = STAMP.search(value)
    if found is None:
        yield "has no hash of its inputs: run `make docs`"
        return
    try:
        now = digest(found.group(1).split(), value[: found.start()], root=root)
    except FileNotFoundError as error:
        yield f"{error}: run `make docs`"
        return
    if now != found.group(2):
        yield f"stale ({found.group(2)} was made, {now} is there now): run `make docs`"


def stale_proofs(root: Path = ROOT) -> Iterator[str]:
    """One line for each table of results/proofs.json that other code was tested for, or that says FAILED."""
    tables = json.loads((root / PROOFS).read_text(encoding="utf-8"))
    for table in PROVEN_BY:
        made, now = tables.get("made from", {}).get(table), proof_digest(table, root=root)
        if made != now:
            yield f"{PROOFS}, {table}: stale ({made} was tested, {now} is there now): run `make proofs`"
        for row, columns in tables.get(table, {}).items():
            for column in (column for column, shown in columns.items() if shown == "FAILED"):
                yield f"{PROOFS}, {table}: {row}, {column}: FAILED: mend the test, then `make proofs`"


def main() -> int:
    found = [*stale_proofs(), *stale_pages()]
    for line in found:
        print(line, file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    raise SystemExit(main())
