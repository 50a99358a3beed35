"""A commit that adds more than 1 MB outside an edition is found, also in a clone without history."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tools.size import EDITION, faults

WHO = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
WEIGHTS = "src/limner/pocket/weights/base/unet.safetensors"


def git(root: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=root, check=True, capture_output=True, env=os.environ | WHO)


def put(root: Path, name: str, size: int) -> None:
    """A file that does not compress."""
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(os.urandom(size))
    git(root, "add", "--all")


def found(root: Path) -> list[str]:
    return list(faults(root, tree=100_000))


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A repository with one commit on main, and a branch."""
    root = tmp_path / "house"
    root.mkdir()
    git(root, "init", "--initial-branch", "main")
    put(root, "README.md", 10)
    git(root, "commit", "--message", "first")
    git(root, "checkout", "-b", "more")
    return root


def test_small_commits_and_weights_of_an_edition_pass(house: Path) -> None:
    assert EDITION.match(WEIGHTS)
    put(house, WEIGHTS, 3_000_000)
    put(house, "docs/a.jpg", 500_000)
    assert found(house) == []
    git(house, "commit", "--message", "an edition")
    assert found(house) == []


def test_a_large_file_in_the_index_is_named(house: Path) -> None:
    put(house, "docs/a.jpg", 1_200_000)
    assert found(house) == ["the index adds 1.20 MB, 1 MB are allowed: docs/a.jpg 1.20"]


def test_many_small_files_of_one_commit_are_found_behind_later_commits(house: Path) -> None:
    for k in range(4):
        put(house, f"docs/{k}.jpg", 300_000)
    git(house, "commit", "--message", "pictures")
    git(house, "rm", "-r", "docs")
    git(house, "commit", "--message", "without them")
    (line,) = found(house)
    assert line.startswith("commit ")
    assert "adds 1.20 MB" in line


def test_a_merge_of_small_commits_passes(house: Path) -> None:
    for k in range(3):
        put(house, f"docs/{k}.jpg", 400_000)
        git(house, "commit", "--message", "a picture")
    git(house, "checkout", "main")
    git(house, "merge", "--no-ff", "--no-edit", "more")
    assert list(faults(house, tree=2_000_000)) == []


def test_text_counts_as_git_stores_it(house: Path) -> None:
    (house / "results.json").write_text("0" * 900_000)
    (house / "more.json").write_text("0" * 900_000)
    git(house, "add", "--all")
    assert found(house) == []


def test_a_clone_without_history_knows_large_files_and_a_tree_that_grew(house: Path, tmp_path: Path) -> None:
    put(house, "docs/large.jpg", 1_050_000)
    for k in range(3):
        put(house, f"docs/{k}.jpg", 300_000)
        git(house, "commit", "--message", "a picture")
    git(house, "checkout", "main")
    git(house, "merge", "--squash", "more")
    git(house, "commit", "--message", "all")
    subprocess.run(
        ["git", "clone", "--depth", "1", f"file://{house}", "shallow"], cwd=tmp_path, check=True, capture_output=True
    )
    told = found(tmp_path / "shallow")
    assert "docs/large.jpg has 1.05 MB, 1 MB are allowed" in told
    assert any(line.startswith("all tracked files have 1.95 MB, 1.10 MB are allowed") for line in told)
