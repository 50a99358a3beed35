"""CONTRIBUTING's promise, tried out: one file, nothing else edited, and the method goes everywhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import limner
from limner.apps.cli.main import main
from limner.core.recipe import Recipe
from limner.core.subject import Subject
from limner.core.types import Pass
from limner.engine.attach import Adapter, attach
from limner.errors import FileError, InputError, UnknownName

from .helpers import same, state, untouched

GUIDE = Path(__file__).parent.parent / "CONTRIBUTING.md"


@pytest.fixture
def method_file(tmp_path: Path) -> Path:
    """The method that CONTRIBUTING shows, written to a file as a reader would."""
    code = re.search(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert code is not None
    path = tmp_path / "my_methods.py"
    path.write_text(code.group(1))
    return path


def test_the_guide_opens_with_adding_a_method() -> None:
    assert GUIDE.read_text().split("\n")[2].startswith("## Add a method in one file")


def test_it_goes_through_the_command_line(
    method_file: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"{method_file}:bias_tuning"
    words = [
        "learn",
        str(photos),
        "--class",
        "dog",
        "--name",
        "rex",
        "--method",
        name,
        "--steps",
        "2",
        "--out",
        str(tmp_path),
        "--preview",
        "1",
        "--no-score",
        "--no-check",
    ]
    assert main(words) == 0
    concept = tmp_path / "rex.safetensors"
    assert (
        main(["paint", "<rex> in the snow", "--with", str(concept), "--steps", "2", "--out", str(tmp_path / "out")])
        == 0
    )
    assert (tmp_path / "out" / "000.png").exists()
    assert limner.Concept.load(concept).method == name


def test_it_keeps_the_contracts(method_file: Path, base: Any, rex: Subject) -> None:
    function = limner.find(f"{method_file}:bias_tuning")
    before = state(base)
    first, second = (limner.learn(base, rex, method=function, steps=2) for _ in range(2))
    assert same(first.tensors, second.tensors)
    assert all(name.endswith(".bias") for name in first.tensors)
    assert same(state(base), before)
    assert untouched(base)


def test_wrong_files_and_names_are_explained(method_file: Path, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no method file"):
        limner.find(f"{tmp_path / 'nowhere.py'}:x")
    with pytest.raises(UnknownName, match="did you mean 'bias_tuning'"):
        limner.find(f"{method_file}:bias_tunnig")
    (tmp_path / "empty.py").write_text("x = 1\n")
    with pytest.raises(InputError, match="no function marked with @method"):
        limner.find(f"{tmp_path / 'empty.py'}:x")


def test_a_setting_without_help_is_refused() -> None:
    with pytest.raises(TypeError, match="setting 'steps' of method 'silent' needs"):

        @limner.method(title="Silent", arxiv="2401.00001", scope=("object",))
        def silent(subject: Subject, *, steps: int = 3) -> limner.Recipe:
            """No help for steps."""
            return limner.Recipe(says=subject.noun)


def test_the_guides_modifier_is_undone_learns_and_is_the_identity_at_first(base: Any) -> None:
    code = next(c for c in re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL) if "attention_scales" in c)
    names: dict[str, Any] = {"__name__": "guide"}
    exec(code, names)
    before, x = state(base), torch.randn(1, *base.latent_shape, generator=torch.Generator().manual_seed(0))
    time, states = torch.tensor([500]), base.text_states(["a dog"], words={})

    def predicted(scales: float | None = None) -> torch.Tensor:
        recipe = Recipe(says="dog", modifiers=(names["attention_scales"](),))
        with torch.no_grad(), attach(base, [Adapter(recipe, "<rex>")]) as adapted:
            for tensor in adapted.tensors.values():
                tensor.fill_(1.0 if scales is None else scales)
            output: torch.Tensor = base.predict(x, time, states, context=adapted.run(time=time, prompts=("a dog",)))
        return output

    with torch.no_grad():
        plain = base.predict(x, time, states, context=Pass())
    assert torch.allclose(predicted(), plain, atol=1e-6)
    assert not torch.allclose(predicted(0.5), plain, atol=1e-3)
    assert same(state(base), before)
    assert untouched(base)
