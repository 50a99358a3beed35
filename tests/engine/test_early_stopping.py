"""Signs while teaching: fixed losses, stops, and the best state kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import limner
from limner.engine.early_stopping import Keeper, Signals, together
from limner.errors import InputError
from tests.helpers import same

FAST: dict[str, Any] = {"method": "dreambooth", "prior_weight": 0.0, "batch": 2}


def test_the_loss_on_the_references_falls(base: Any, rex: Any, tmp_path: Path) -> None:
    held_out = [p.image for p in rex.pictures[2:]]
    signs = Signals(rex, held_out, every=4, file=tmp_path / "signals.jsonl")
    limner.learn(base, rex, steps=8, lr=1e-4, watch=signs, **FAST)
    assert [look["done"] for look in signs.looks] == [4, 8]
    assert signs.last["loss"] < signs.looks[0]["loss"]
    assert signs.last["gap"] == pytest.approx(signs.last["held_out_ratio"] - signs.last["loss_ratio"])
    marker, *looks = [json.loads(x) for x in (tmp_path / "signals.jsonl").read_text().splitlines()]
    assert marker == {"limner": "losses on the way"}
    assert looks == signs.looks


def test_looking_changes_nothing(base: Any, rex: Any) -> None:
    plain = limner.learn(base, rex, steps=2, **FAST)
    watched = limner.learn(base, rex, steps=2, watch=Signals(rex, every=1), **FAST)
    assert same(plain.tensors, watched.tensors)


def test_a_sign_ends_the_teaching_and_what_is_learned_so_far_is_kept(base: Any, rex: Any) -> None:
    signs = Signals(rex, every=2, stop="overfit", least=10.0)
    found = limner.learn(base, rex, steps=50, watch=signs, **FAST)
    assert found.cost["steps"] == 2
    assert same(found.tensors, limner.learn(base, rex, steps=2, **FAST).tensors)


def test_variance_and_gap_rules() -> None:
    rex: Any = None
    flat = Signals(rex, stop="variance", patience=2)
    for loss in (1.0, 0.5, 0.2, 0.2):
        flat.looks.append({"loss": loss})
    assert flat._enough()
    flat.looks[-1]["loss"] = 0.9
    assert not flat._enough()
    gap = Signals(rex, held_out=[rex], stop="gap")
    gap.looks = [{"loss": 1.0, "held_out_ratio": 0.8}, {"loss": 0.5, "held_out_ratio": 0.95}]
    assert gap._enough()
    with pytest.raises(InputError, match="held out"):
        Signals(rex, stop="gap")
    with pytest.raises(InputError, match="'variance'"):
        Signals(rex, stop="mood")


def test_a_resumed_run_goes_on_with_its_looks(base: Any, rex: Any, tmp_path: Path) -> None:
    whole = Signals(rex, every=2, file=tmp_path / "whole.jsonl")
    limner.learn(base, rex, steps=4, watch=whole, **FAST)

    class Killed(Exception):
        pass

    def kill(progress: Any) -> None:
        if progress.done == 3:
            raise KeyboardInterrupt

    file = tmp_path / "cut.jsonl"
    with pytest.raises(KeyboardInterrupt):
        limner.learn(
            base, rex, steps=4, checkpoints=tmp_path, watch=together(Signals(rex, every=2, file=file), kill), **FAST
        )
    resumed = Signals(rex, every=2, file=file)
    limner.learn(base, rex, steps=4, checkpoints=tmp_path, resume=True, watch=resumed, **FAST)
    assert [look["done"] for look in resumed.looks] == [2, 4]
    assert resumed.looks == whole.looks


def test_the_best_state_on_the_way_is_kept(base: Any, rex: Any, tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, marks=3)
    concept = limner.learn(base, rex, steps=6, watch=keeper, **FAST)
    assert keeper.steps(6) == [2, 4, 6]
    worth = {2: 0.1, 4: 0.9, 6: 0.5}
    best = keeper.best(concept, lambda c: worth[int(c.cost["steps"])])
    assert best.scores["kept_after"] == 4
    assert best.scores["values"] == {"2": 0.1, "4": 0.9, "6": 0.5}
    assert same(best.tensors, limner.learn(base, rex, steps=4, **FAST).tensors)
    keeper.clear()
    assert not list(tmp_path.glob("kept-*"))
