"""Weights that are made when a method is first used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import limner
from limner.core.weights import weights_path
from limner.errors import FileError
from limner.methods import find
from limner.pocket.people_corpus import people
from limner.workflows.first_use import make_weights
from tests.helpers import person

METHOD = '''
from limner.core.method import method
from limner.core.recipe import Recipe, Stage
from limner.parts.modifiers import low_rank
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import pairs_of_people


@method(title="Quick", scope=("face",))
def quick(subject, *, steps: int = 2, batch: int = 2):
    """A change of attention.

    Settings:
        steps: updates of the one-time training
        batch: pictures in an update
    """
    change = low_rank(1, name="quick")
    stage = Stage((learned(change),), (denoising(pairs_of_people(batch=batch)),), steps, 1e-3)
    return Recipe(subject.noun, (change,), (stage,), weights="quick")
'''


def test_weights_are_made_once_with_a_word_beforehand(
    base: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(base, "capabilities", replace(base.capabilities, people=people(individuals=2)))
    (tmp_path / "quick.py").write_text(METHOD)
    method = find(f"{tmp_path / 'quick.py'}:quick")
    concept = limner.learn(base, person(count=1), method=method)
    path = weights_path("quick", base)
    assert path.is_relative_to(tmp_path / "cache")
    first = capsys.readouterr().err
    assert "trained once for pocket" in first
    assert "2 updates on people" in first
    assert str(path) in first
    limner.learn(base, person(count=1), method=method)
    assert "trained once" not in capsys.readouterr().err
    limner.paint(base, "<rex> on the beach", concepts=[concept], settings=limner.PaintSettings(steps=2))


def test_for_full_size_bases_none_are_made(base: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(base, "capabilities", replace(base.capabilities, full_size=True, weights=None))
    (tmp_path / "quick.py").write_text(METHOD)
    method = find(f"{tmp_path / 'quick.py'}:quick")
    assert make_weights("quick", method(person(count=1)), base) is None
    with pytest.raises(FileError, match="limner pretrain quick"):
        limner.learn(base, person(count=1), method=method)
