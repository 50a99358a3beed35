"""The loop: exact undo, single precision, and parts of a batch that teach what the whole does, or are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import limner
from limner.core.recipe import Objective, Recipe, Stage
from limner.core.subject import Subject
from limner.engine.attach import Adapter
from limner.engine.checkpoint import CHECKPOINT, save_checkpoint
from limner.engine.early_stopping import Signals
from limner.engine.parallel import Spread
from limner.engine.train import Checkpoint, train
from limner.errors import FileError, InputError
from limner.methods import methods
from limner.parts.modifiers import low_rank, new_word
from limner.parts.modifiers.parameters import Kept
from limner.parts.parameters import learned
from limner.parts.sources import photos
from limner.parts.sources.pairs import Shots
from limner.pocket.subjects import toy
from tests.helpers import fast, same, state, untouched


@pytest.fixture(scope="module")
def dog() -> Subject:
    return toy("dog", 2_000_020, name="rex", count=2)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limner.pocket.corpus.INDIVIDUALS", 4)


@pytest.mark.parametrize(
    ("dtype", "method"),
    [("bfloat16", "lora_dreambooth"), pytest.param("float16", "custom_diffusion", marks=pytest.mark.sweep)],
)
def test_in_half_precision_a_run_moves_as_far(base: Any, dog: Subject, dtype: str, method: str) -> None:
    """Updates far smaller than what a half-precision number can tell apart."""
    about = fast(methods()[method], num_class_pictures=1, prior_weight=0.0, batch=1, steps=4, lr=1e-5)
    half = limner.load("pocket", device="cpu", dtype=dtype)
    before = state(half)
    moved = []
    for one in (base, half):
        start = state(one)
        found = limner.learn(one, dog, method=method, **about).tensors
        assert all(tensor.dtype == torch.float32 for tensor in found.values())
        moved.append(
            sum(
                float((t - start[n].float() if n in start else t * n.endswith("up")).norm())
                for n, t in found.items()
                if not n.startswith("word")
            )
        )
    assert moved[1] == pytest.approx(moved[0], rel=0.2)
    assert same(state(half), before)
    assert untouched(half)


def test_half_precision_resumes_to_the_same_bits(dog: Subject) -> None:
    half = limner.load("pocket", device="cpu", dtype="bfloat16")
    recipe = methods()["textual_inversion"](dog, steps=4, batch=1)
    adapter = Adapter(recipe, dog.handle)
    points = [p.snapshot() for p in train(half, adapter, stages=recipe.tuning)]
    *_, last = train(half, adapter, stages=recipe.tuning, start=points[1])
    assert same(last.snapshot().tensors, points[-1].tensors)


def two_words(*, stop: Any = None, lr: float = 0.01) -> Recipe:
    words = [new_word(f"<rex{k}>", "dog") for k in range(2)]
    source = photos(toy("dog", 2_000_020, name="rex", count=1), batch=1)
    length = lambda step: torch.stack([v.square().sum() for v in step.adapted.words.values()]).sum()  # noqa: E731
    term = Objective("pull", source, length, any_target=True)
    stages = tuple(Stage((learned(word),), (term,), 3, lr, stop=stop if word is words[0] else None) for word in words)
    return Recipe("dog", tuple(words), stages)


def test_a_stage_that_was_stopped_is_not_gone_on_with(base: Any) -> None:
    recipe = two_words(stop=lambda adapted, state: (True, torch.ones(1)))
    whole, adapter = [], Adapter(recipe, "<rex>")
    points: list[Checkpoint] = []
    for progress in train(base, adapter, stages=recipe.tuning):
        whole.append((progress.stage, progress.step))
        points.append(progress.snapshot())
    assert whole == [(0, 0), (1, 0), (1, 1), (1, 2)]
    again = list(train(base, adapter, stages=recipe.tuning, start=points[0]))
    assert [(p.stage, p.step) for p in again] == whole[1:]


def test_a_run_that_cannot_begin_leaves_nothing_learning(base: Any, dog: Subject) -> None:
    recipe = methods()["dreambooth"](dog, prior_weight=0.0, steps=2)
    stages = tuple(replace(stage, lr=-1.0) for stage in recipe.tuning)
    before = state(base)
    with pytest.raises(ValueError, match="learning rate"):
        next(train(base, Adapter(recipe, dog.handle), stages=stages))
    assert untouched(base)
    assert same(state(base), before)


def test_losses_of_one_name_add_up(base: Any) -> None:
    recipe = two_words()
    stage = recipe.stages[0]
    (term,) = stage.loss
    losses = [
        next(train(base, Adapter(recipe, "<rex>"), stages=[replace(stage, loss=terms, search=search)])).loss
        for terms in ((term,), (term, term))
        for search in (None, limner.core.recipe.Evolution(4, 1e-9))
    ]
    assert losses[2:] == pytest.approx([2 * losses[0], 2 * losses[1]], rel=1e-4)


@pytest.mark.parametrize("name", ["custom_contrast", "taming_encoder"])
def test_a_loss_that_looks_across_a_batch_is_not_computed_in_parts(base: Any, dog: Subject, name: str) -> None:
    recipe = methods()[name](replace(dog, pictures=()), **fast(methods()[name], batch=8))
    with pytest.raises(InputError, match=r"looks across the rows of a batch, so 2 parts.*without --accumulate"):
        next(train(base, Adapter(recipe, dog.handle), stages=recipe.pretraining, spread=Spread(2)))
    assert untouched(base)


def test_what_draws_within_an_update_is_not_computed_in_parts(base: Any, dog: Subject, few: None) -> None:
    recipe = methods()["bootpig"](replace(dog, pictures=()), batch=2, steps=1)
    with pytest.raises(InputError, match="draws reference noise within an update, which 2 parts"):
        next(train(base, Adapter(recipe, dog.handle), stages=recipe.pretraining, spread=Spread(2)))
    assert untouched(base)


def test_a_checkpoint_says_in_how_many_parts_it_was_computed(base: Any, dog: Subject, tmp_path: Path) -> None:
    from limner.engine.checkpoint import run_to_end

    recipe = methods()["textual_inversion"](dog, steps=3, batch=2)
    adapter = Adapter(recipe, dog.handle)
    point = next(train(base, adapter, stages=recipe.tuning)).snapshot()
    save_checkpoint(tmp_path / CHECKPOINT, point, {"seed": 0, "parts": 1}, [0.0])
    about: dict[str, Any] = {"header": {"seed": 0}, "checkpoints": tmp_path}
    with pytest.raises(FileError, match="its parts differ"):
        run_to_end(base, adapter, recipe.tuning, 0, spread=Spread(2), **about)
    assert len(run_to_end(base, adapter, recipe.tuning, 0, **about)[1]) == 3


def test_signals_see_what_the_method_has_learned(base: Any, dog: Subject) -> None:
    """HiPer's states are read by the prompts of a run: its loss is another at every look."""
    signals = Signals(dog, every=1)
    limner.learn(base, dog, method="hiper", steps=3, watch=signals)
    losses = [look["loss"] for look in signals.looks]
    assert len(set(losses)) == len(losses) == 3


def test_two_changes_of_pictures_draw_apart(base: Any, few: None) -> None:
    from limner.core.streams import streams
    from limner.parts.sources import pairs

    seen: list[float] = []

    def change(shots: Shots, generator: torch.Generator) -> Shots:
        seen.append(float(torch.rand((), generator=generator)))
        return shots

    pairs(batch=2, changes=(change, change)).prepare(base)(0, streams(0, "pairs", 0, 0))
    assert len(set(seen)) == 2


def test_what_is_kept_is_bounded_by_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limner.parts.modifiers.parameters.MOST_BYTES", 1000)
    kept = Kept()
    for k in range(3):
        kept.check([])
        kept.values[k] = (torch.zeros(100), {"more": [torch.zeros(50)]})
    assert list(kept.values) == [2] or len(kept.values) < 3


def test_text_states_of_a_painting_are_bounded_by_their_bytes(base: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from limner.core.lru import LRU
    from limner.engine.attach import attach

    with torch.no_grad(), attach(base, ()) as adapted:
        one = base.text_states(["a dog"], words={})
        adapted._states = LRU(3 * one.numel() * one.element_size())
        found = adapted.text_states([f"a dog {k}" for k in range(8)])
        assert len(adapted._states) == 3
        assert torch.equal(found, adapted.text_states([f"a dog {k}" for k in range(8)]))


def test_objectives_predict_with_a_momentum_network_that_resumes(base: Any, dog: Subject) -> None:
    """It starts as the parameters, follows them by its decay, ends with the stage, and is the same after a resume."""
    apart: list[float] = []
    averages: list[torch.Tensor] = []
    word, change = new_word("<rex>", like="dog"), low_rank(2, layers="cross_attention_kv")

    def value(step: Any) -> torch.Tensor:
        mean = step.momentum_prediction().output
        apart.append(float((mean - step.prediction.output.detach()).norm()))
        averages.append(step.adapted.averages[name].clone())
        return step.prediction.output.square().mean()

    source = photos(dog, batch=1)
    stage = Stage((learned(word, change),), (Objective("own", source, value),), steps=3, lr=1e-2, momentum=0.75)
    adapter = Adapter(Recipe("<rex>", (word, change), (stage,)), "<rex>")
    name = "word.<rex>"
    points = [p.snapshot() for p in train(base, adapter, stages=(stage,))]
    assert apart[0] == 0
    assert min(apart[1:]) > 0
    values = [base.word_vectors("dog"), *(p.tensors[name] for p in points)]
    assert torch.allclose(averages[1], 0.75 * values[0] + 0.25 * values[1], atol=1e-6)
    assert torch.equal(points[-1].learned[name], values[-1])
    (*_, last) = train(base, adapter, stages=(stage,), start=points[0])
    assert same(last.snapshot().tensors, points[-1].tensors)
    assert same(last.snapshot().moments, points[-1].moments)
    assert not last.adapted.averages


def test_without_momentum_there_is_no_momentum_network(base: Any, dog: Subject) -> None:
    word = new_word("<rex>", like="dog")
    term = Objective("own", photos(dog, batch=1), lambda step: step.momentum_prediction().output.mean())
    stage = Stage((learned(word),), (term,), steps=1, lr=1e-2)
    with pytest.raises(InputError, match="give it `momentum`"):
        next(train(base, Adapter(Recipe("<rex>", (word,), (stage,)), "<rex>"), stages=(stage,)))
    with pytest.raises(ValueError, match="momentum"):
        replace(stage, momentum=1.1)
