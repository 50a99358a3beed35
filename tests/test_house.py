"""The plan of the house, held by a test."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "limner"
FILES = sorted(SOURCE.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Modules of limner that a file imports when it is itself imported."""
    tree = ast.parse(path.read_text())
    package = ("limner", *path.relative_to(SOURCE).parts[:-1])
    found = set()
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            home = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            found.add(".".join(part for part in (home, node.module or "") if part))
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.startswith("limner")}


def test_only_the_loop_learns_by_denoising_and_only_painting_steps_a_scheduler() -> None:
    backward = {str(p.relative_to(SOURCE)) for p in FILES if ".backward(" in p.read_text()}
    # many at once, and the one that trains judges and the autoencoder
    assert backward == {"teaching.py", "fleet.py", "pocket/pretrain/run.py"}
    steps = {str(p.relative_to(SOURCE)) for p in FILES if "scheduler.step(" in p.read_text()}
    # the seam, a family whose rows step apart, and networks that come before or after the denoiser
    assert steps == {f"bases/{name}.py" for name in ("family", "amused", "kandinsky", "deepfloyd")}
    assert {p.name for p in FILES if ".stepped(" in p.read_text()} == {"painting.py"}


def test_parts_import_no_method_and_recipe_imports_nothing() -> None:
    assert imports(SOURCE / "recipe.py") == set()
    for path in (SOURCE / "parts").rglob("*.py"):
        assert not [name for name in imports(path) if name.startswith("limner.methods")], path
    for path in (SOURCE / "methods").rglob("*.py"):
        allowed = ("limner.parts", "limner.recipe", "limner.subject", "limner.errors")
        assert all(name.startswith(allowed) for name in imports(path)), path


def test_only_bases_name_the_layers_of_a_network() -> None:
    names = re.compile(r"attn[12]\b|to_[kqv]\b|down_blocks|up_blocks|mid_block")
    outside = [p for p in FILES if "bases" not in p.parts and "pretrain" not in p.parts]
    assert not [str(p) for p in outside if names.search(p.read_text())]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_no_swallowed_errors_no_stubs_no_global_randomness(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"except:|except (Base)?Exception:\s*\n\s*(pass|continue)", text)
    assert not re.search(r"\b(TODO|FIXME|XXX|NotImplementedError)\b", text)
    if "pretrain" not in path.parts:
        assert not re.search(r"torch\.manual_seed|np\.random\.(seed|rand\b|randn)|random\.seed", text)


def test_methods_are_short() -> None:
    for path in (SOURCE / "methods").rglob("*/*.py"):
        assert len(path.read_text().splitlines()) <= 80, path
