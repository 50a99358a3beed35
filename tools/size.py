"""Refuse a commit that adds more than 1 MB outside the weights of an edition.

python -m tools.size

Three rules, so that it also works where a clone has no history (`git clone --depth 1`): each commit since the main
branch, and the index, adds at most 1 MB after compression; no new file is larger than 1 MB; all tracked files together
stay within `TREE`, which only a person raises.
"""

from __future__ import annotations

import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
MOST = 1_000_000
"""Bytes a commit may add, compressed as git stores them."""
TREE = 11_700_000
"""Bytes of all tracked files outside editions when this was last raised; `MOST` more are allowed."""
EDITION = re.compile(r"src/limner/pocket/weights/|training/sixth/")
EMPTY = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
"""Git's name of the tree without files."""


def git(root: Path, *words: str) -> bytes:
    return subprocess.run(["git", *words], cwd=root, check=True, capture_output=True).stdout


def known(root: Path, name: str) -> bool:
    """Whether a revision is in this clone."""
    return not subprocess.run(
        ["git", "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"], cwd=root, capture_output=True
    ).returncode


def steps(root: Path) -> Iterator[tuple[str, str, str]]:
    """(label, tree before, tree after or "" for the index) of each commit since the main branch, and of the index."""
    main = next((name for name in ("origin/main", "main") if known(root, name)), "HEAD")
    base = git(root, "merge-base", main, "HEAD").decode().strip() if main != "HEAD" else ""
    commits = git(root, "rev-list", "--no-merges", f"{base}..HEAD").decode().split() if base else []
    for commit in commits or git(root, "rev-list", "--no-merges", "--max-count=1", "HEAD").decode().split():
        if known(root, f"{commit}~1"):
            yield f"commit {commit[:9]}", f"{commit}~1", commit
    yield "the index", "HEAD", ""


def added(root: Path, before: str, after: str) -> dict[str, int]:
    """Path -> compressed bytes of every file outside editions that is new or other than before."""
    words = ("diff-tree", "-r", before, after) if after else ("diff-index", "--cached", before)
    rows = git(root, *words, "-z", "--no-renames", "--diff-filter=AM").decode().split("\0")
    blobs = {path: row.split()[3] for row, path in zip(rows[::2], rows[1::2], strict=False)}
    return {
        path: len(zlib.compress(git(root, "cat-file", "blob", blob), 6))
        for path, blob in blobs.items()
        if not EDITION.match(path)
    }


def tracked(root: Path) -> dict[str, int]:
    """Path -> bytes of every file of the last commit, outside editions."""
    rows = git(root, "ls-tree", "-r", "-l", "-z", "HEAD").decode().split("\0")
    sizes = {row.partition("\t")[2]: row.split(None, 4)[3] for row in rows if row}
    return {path: int(size) for path, size in sizes.items() if size.isdigit() and not EDITION.match(path)}


def faults(root: Path = ROOT, *, tree: int = TREE) -> Iterator[str]:
    """One line for each rule that is broken."""
    for label, before, after in steps(root):
        sizes = added(root, before, after)
        if (total := sum(sizes.values())) > MOST:
            most = sorted(sizes, key=lambda path: -sizes[path])[:3]
            named = ", ".join(f"{path} {sizes[path] / 1e6:.2f}" for path in most)
            yield f"{label} adds {total / 1e6:.2f} MB, {MOST / 1e6:.0f} MB are allowed: {named}"
    sizes = tracked(root)
    for path in sorted(path for path, size in sizes.items() if size > MOST):
        yield f"{path} has {sizes[path] / 1e6:.2f} MB, {MOST / 1e6:.0f} MB are allowed"
    if (total := sum(sizes.values())) > tree + MOST:
        yield f"all tracked files have {total / 1e6:.2f} MB, {(tree + MOST) / 1e6:.2f} MB are allowed: see TREE in tools/size.py"


def main() -> int:
    lines = list(faults())
    for line in lines:
        print(line, file=sys.stderr)
    return int(bool(lines))


if __name__ == "__main__":
    raise SystemExit(main())
