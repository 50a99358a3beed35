"""Find generated text that is older than its inputs, in about a second and without torch.

python -m tools.fresh           one line for each stale part, and for each that says FAILED; exit 1
python -m tools.fresh --write   record the inputs of the text that is there (`make docs` does, after writing it)

docs/made_from.json holds a hash of every input and of every generated part; results/proofs.json a hash of the code that
each of its tables was tested for. Whether the text is right, tests/test_docs.py says by generating it again.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RECORD = Path("docs", "made_from.json")
PROOFS = Path("results", "proofs.json")
SHOWN = 20
"""Lines printed at most."""
PART = re.compile(r"<!-- generated: (.+?) -->\n(.*?)<!-- end -->", re.DOTALL)

GENERATOR = "code:docs/*.py"
METHODS = "cards:src/limner/methods/*/*.py"
BENCH = ("results/bench.json", "code:src/limner/evaluation/report.py")
EDITION = ("src/limner/pocket/weights/*.safetensors", "src/limner/pocket/weights/base/*/*.safetensors")
"""The base and its judges: results that were measured on others say so."""
PARTS = {
    "methods": (METHODS, *BENCH),
    "best": (METHODS, *BENCH, *EDITION),
    "results": (*BENCH, *EDITION),
    "diagnoses": BENCH,
    "six": ("results/six.json", *EDITION),
    "strength": ("results/curve.json", *EDITION),
    "curve": ("results/dreambooth_curve.json", *EDITION),
    "families": ("results/proofs.json", "cards:src/limner/bases/common/loading.py"),
    "formats": ("results/proofs.json",),
    "metrics": ("cards:src/limner/evaluation/metrics/*.py",),
    "fuzz": ("results/fuzz.json",),
    "kills": ("results/kills.json",),
    "table1": ("results/table1.json", "code:src/limner/evaluation/report_table1.py", "code:src/limner/evaluation/table1.py"),
    "pairs": ("results/pairs.json", "code:src/limner/evaluation/suites.py"),
    "faces": ("results/faces.json", "code:src/limner/evaluation/report.py"),
    "couples": ("results/couples.json", "code:docs/couples.py", "code:src/limner/evaluation/suites.py"),
    "styles": ("results/styles.json", "code:src/limner/evaluation/suites.py"),
    "meanings": ("results/meanings.json", "code:src/limner/evaluation/suites.py"),
    "conditions": ("results/conditions.json", "code:src/limner/evaluation/suites.py"),
    "scores": ("results/pocket.json", "cards:training/pocket/evaluate.py", *EDITION),
    "captions": ("docs/images/pocket.txt",),
    "commands": ("code:src/limner/apps/cli/*.py",),
}  # fmt: skip
"""Generated part of a page -> its inputs: paths or globs, hashed by their bytes; with `cards:`, by what a page shows of
a module (docstrings, constants, decorators and arguments of public names); with `code:`, by statements without comments
and docstrings."""
PAGES = {
    "docs/api.md": ("cards:src/limner/core/*.py", "cards:src/limner/engine/*.py", "cards:src/limner/workflows/*.py"),
    "docs/methods/index.md": PARTS["methods"],
    "docs/methods/*.md": ("cards:src/limner/methods/*/{stem}.py", *BENCH),
}
"""Generated page, the first that fits -> its inputs."""
PROVEN_BY = {
    "bases": ("code:src/limner/bases/**/*.py", "code:tests/bases/*.py"),
    "formats": ("code:src/limner/formats/**/*.py", "code:tests/formats/*.py"),
}
"""Table of results/proofs.json -> the code that its tests run, and the tests."""


def main() -> int:
    if "--write" in sys.argv[1:]:
        (ROOT / RECORD).write_text(json.dumps(record(), indent=1, sort_keys=True) + "\n")
        return 0
    lines = [*stale_proofs(), *stale_parts()]
    for line in [*lines[:SHOWN], *([f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else [])]:
        print(line, file=sys.stderr)
    return int(bool(lines))


def record(root: Path = ROOT) -> dict[str, dict[str, str]]:
    """The hash of every input, and of every part's text."""
    parts = {name: (text, inputs) for name, text, inputs in generated(root)}
    return {
        "inputs": {source: digest(source, root) for _, inputs in parts.values() for source in inputs},
        "parts": {name: hash_of(text.encode()) for name, (text, _) in parts.items()},
    }


def stale_parts(root: Path = ROOT) -> Iterator[str]:
    """One line for each input that changed, each part that was edited or says FAILED, and each that nothing is known
    of."""
    if not (root / RECORD).exists():
        yield f"{RECORD} is missing: run `make docs`"
        return
    made: dict[str, dict[str, str]] = json.loads((root / RECORD).read_text())
    depends: dict[str, list[str]] = {}
    for name, text, inputs in generated(root):
        if not inputs:
            yield f"{name}: tools/fresh.py does not list its inputs"
        elif made["parts"].get(name) != hash_of(text.encode()):
            yield f"{name}: not the text that `make docs` wrote"
        if "FAILED" in text:
            yield f"{name}: says FAILED: mend the test, then `make proofs`"
        for source in inputs:
            depends.setdefault(source, []).append(name)
    for source, names in depends.items():
        if made["inputs"].get(source) != digest(source, root):
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            yield f"{names[0]}{more}: stale, {source.partition(':')[2] or source} has changed: run `make docs`"


def stale_proofs(root: Path = ROOT) -> Iterator[str]:
    """One line for each table of results/proofs.json that other code was tested for, and for each cell that says
    FAILED."""
    tables: dict[str, Any] = json.loads((root / PROOFS).read_text())
    for table in PROVEN_BY:
        made, now = tables.get("made from", {}).get(table), proof_digest(table, root)
        if made != now:
            yield f"{PROOFS}, {table}: stale ({made} was tested, {now} is there now): run `make proofs`"
        for row, columns in tables.get(table, {}).items():
            for column in (column for column, shown in columns.items() if shown == "FAILED"):
                yield f"{PROOFS}, {table}, {row}, {column}: FAILED: mend the test, then `make proofs`"


def proof_digest(table: str, root: Path = ROOT) -> str:
    """Hash of the code behind a table of results/proofs.json."""
    return hash_of(" ".join(digest(source, root) for source in PROVEN_BY[table]).encode())


def generated(root: Path) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Name, text and inputs of every generated part of a page, and of every page that is generated whole."""
    for page in sorted([*root.glob("*.md"), *(root / "docs").rglob("*.md")]):
        name, text = str(page.relative_to(root)), page.read_text(encoding="utf-8")
        whole = next((inputs for pattern, inputs in PAGES.items() if page.relative_to(root).match(pattern)), ())
        if whole:
            own = (source.format(stem=page.stem) for source in whole)
            yield name, text, (GENERATOR, *(source if is_there(source, root) else METHODS for source in own))
        for part, value in PART.findall(text):
            yield f"{name}, {part}", value, (GENERATOR, *PARTS[part]) if part in PARTS else ()


def is_there(source: str, root: Path) -> bool:
    return any(root.glob(source.rpartition(":")[2]))


def digest(source: str, root: Path = ROOT) -> str:
    """Hash of the files that an input names: of their names and contents. Without files, of nothing."""
    kind, _, pattern = source.rpartition(":")
    files = sorted(path for path in root.glob(pattern) if path.is_file())
    return hash_of(" ".join(f"{path.relative_to(root)} {content(path, kind)}" for path in files).encode())


@functools.cache
def content(path: Path, kind: str) -> str:
    """Hash of one file, as its kind says."""
    if not kind:
        return hash_of(path.read_bytes())
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return hash_of("\n".join(cards(tree.body) if kind == "cards" else statements(tree)).encode())


def hash_of(value: bytes) -> str:
    """The first twelve hexadecimal digits of a SHA-256."""
    return hashlib.sha256(value).hexdigest()[:12]


def cards(body: list[ast.stmt]) -> Iterator[str]:
    """All that a page shows of a module or class: texts, constants, and of public names decorators, arguments and
    docstrings."""
    for node in body:
        if is_text(node) or isinstance(node, (ast.Assign, ast.AnnAssign)):
            yield ast.unparse(node)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            yield from (ast.unparse(decorator) for decorator in node.decorator_list)
            yield f"{node.name}: {ast.get_docstring(node)}"
            if isinstance(node, ast.FunctionDef):
                yield f"{ast.unparse(node.args)} -> {node.returns and ast.unparse(node.returns)}"
            else:
                yield from cards(node.body)


def statements(tree: ast.Module) -> Iterator[str]:
    """The statements of a module, without bare strings: docstrings, and notes below constants."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            node.body = [child for child in node.body if not is_text(child)] or [ast.Pass()]
    yield ast.dump(tree)


def is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


if __name__ == "__main__":
    raise SystemExit(main())
