"""The plan of the house, held by tests: rooms stand on those above them, and imports go that way only."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "limner"
FILES = sorted(SOURCE.rglob("*.py"))
ROOMS = (
    *("errors", "core", "pocket", "bases", "engine", "parts", "data"),
    *("evaluation", "methods", "library", "formats", "workflows", "apps"),
)
"""Each may import itself and those before it."""


def module(path: Path) -> str:
    """Dotted name under limner: "engine.train"."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(path): path for path in FILES if path != SOURCE / "__main__.py"}


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """(module under limner, "top", "function" or "type") of every import in a file, wherever it stands."""
    text = path.read_text()
    tree, dynamic = ast.parse(text), "import_module" in text
    package = ("limner", *path.relative_to(SOURCE).parts[:-1])
    kinds: dict[ast.AST, str] = {}
    for node in ast.walk(tree):
        kind = kinds.get(node, "top")
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            kind = "function"
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            kind = "type"
        kinds.update(dict.fromkeys(ast.iter_child_nodes(node), kind))
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            home = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            home = ".".join(part for part in (home, node.module or "") if part)
            found = [
                f"{home}.{a.name}" if f"{home}.{a.name}".removeprefix("limner.") in MODULES else home
                for a in node.names
            ]
        elif dynamic and isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            found = re.findall(r"^f?['\"](limner(?:\.\w+)*)", ast.unparse(node.args[0]))
        else:
            continue
        for name in dict.fromkeys(found):
            if name.split(".")[0] == "limner":
                yield name.removeprefix("limner").removeprefix("."), kinds[node]


@cache
def graph() -> dict[str, list[tuple[str, str]]]:
    """Module -> its imports."""
    return {name: sorted(set(imports(path))) for name, path in MODULES.items() if name}


def room(name: str) -> int:
    return ROOMS.index(name.split(".")[0])


def test_every_module_stands_in_a_room() -> None:
    assert {name.split(".")[0] for name in graph()} == set(ROOMS)


def test_imports_go_down_only() -> None:
    up = set()
    for name, found in graph().items():
        for other, _ in found:
            if not other:  # `import limner`: its lazy names lead to workflows
                assert room(name) >= ROOMS.index("workflows"), f"{name} imports limner itself"
            elif room(other) > room(name):
                up.add((name, other))
    assert not up, f"imports that point up: {sorted(up)}"


def test_an_import_is_seen_wherever_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside a function, for types alone, relative, and by a name in a string."""
    monkeypatch.setattr(sys.modules[__name__], "SOURCE", tmp_path)
    file = tmp_path / "core" / "x.py"
    file.parent.mkdir()
    file.write_text(
        "from ..errors import InputError\n"
        "if TYPE_CHECKING:\n    from limner.engine.train import Progress\n"
        "def f():\n    class A:\n        def g(self):\n            import limner.workflows.learn\n"
        "            import_module(f'limner.bases.{name}')\n"
    )
    assert set(imports(file)) == {
        *(("errors", "top"), ("engine.train", "type"), ("workflows.learn", "function"), ("bases", "function"))
    }


def test_no_circle() -> None:
    assert not list(
        circles({name: {other for other, _ in found if other in graph()} for name, found in graph().items()})
    )


def circles(edges: dict[str, set[str]]) -> Iterator[frozenset[str]]:
    """Modules that reach one another."""
    reach = {name: reachable(name, edges) for name in edges}
    seen: set[str] = set()
    for name in edges:
        circle = frozenset(other for other in reach[name] if name in reach[other])
        if len(circle) > 1 and name not in seen:
            seen |= circle
            yield circle


def reachable(start: str, edges: dict[str, set[str]]) -> set[str]:
    found, new = set(), [start]
    while new:
        for other in edges.get(new.pop(), ()):
            if other not in found and other != start:
                found.add(other)
                new.append(other)
            elif other == start:
                found.add(start)
    return found


def test_parts_name_nothing_at_their_root() -> None:
    assert (SOURCE / "parts" / "__init__.py").read_text() == ""


def test_a_method_is_made_of_parts_alone() -> None:
    allowed = ("parts", "core.recipe", "core.types", "core.method", "core.subject", "core.streams", "errors")
    for name, found in graph().items():
        if name.startswith("methods.") and name.count(".") == 2:
            assert all(other.startswith(allowed) for other, _ in found), name


def test_only_the_engine_learns_and_only_sampling_and_its_inversion_step_a_scheduler() -> None:
    backward = {name for name, path in MODULES.items() if ".backward(" in path.read_text()}
    assert backward == {"engine.train", "engine.stacked.train"}
    steps = {name for name, path in MODULES.items() if "scheduler.step(" in path.read_text()}
    # the seam, a family whose rows step apart, and networks that come before or after the denoiser
    assert steps == {
        *(
            "bases.common.family",
            "bases.autoregressive.amused",
            "bases.diffusion.kandinsky",
            "bases.diffusion.deepfloyd",
        )
    }
    stepping = {"engine.sample", "engine.inversion"}  # an exact inversion solves the sampler's own steps
    assert {name for name, path in MODULES.items() if ".stepped(" in path.read_text()} == stepping


def test_nothing_below_the_commands_asks_which_base_it_is_on() -> None:
    """A base's capabilities are asked for instead (`core.capabilities`); its name opens it, in `bases` alone."""
    asks = re.compile(r"""[!=]= ["']pocket["']|["']pocket["'] [!=]=""")
    found = {name for name, path in MODULES.items() if asks.search(path.read_text())}
    assert {name for name in found if not name.startswith(("bases.", "apps."))} == set()
    for name, others in graph().items():
        if name.startswith(("core.", "engine.", "parts.", "methods.")):
            assert not [other for other, _ in others if other.startswith("pocket")], name


def test_parts_and_methods_know_no_word_of_the_pocket_world() -> None:
    for name, path in MODULES.items():
        if name.startswith(("parts.", "methods.")):
            assert not re.search(r"\b(pocket|toys?)\b", path.read_text(), re.IGNORECASE), name


def test_only_bases_name_the_layers_of_a_network() -> None:
    names = re.compile(r"attn[12]\b|to_[kqv]\b|down_blocks|up_blocks|mid_block")
    # `AttentionCall` projects other states with the layer's own to_k and to_v
    allowed = {"core.types"}
    outside = [
        name for name, path in MODULES.items() if not name.startswith("bases") and names.search(path.read_text())
    ]
    assert set(outside) == allowed


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_no_swallowed_errors_no_stubs_no_global_randomness(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"except:|except (Base)?Exception:\s*\n\s*(pass|continue)", text)
    assert not re.search(r"\b(TODO|FIXME|XXX|NotImplementedError)\b", text)
    assert not re.search(r"torch\.manual_seed|np\.random\.(seed|rand\b|randn)|random\.seed", text)


def test_methods_are_short() -> None:
    for path in (SOURCE / "methods").rglob("*/*.py"):
        text = re.sub(
            r"^@method\(.*?^def ", "def ", path.read_text(), flags=re.MULTILINE | re.DOTALL
        )  # without its card
        lines = [line for line in text.splitlines() if not line.startswith(("from ", "import "))]
        assert len(lines) <= 90, path
