"""Feedback rounds: paint what is learned, choose, learn again; to the same bits when it is interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from limner.core.choices import choices_below, write_choice
from limner.core.recipe import Recipe, Stage
from limner.core.streams import streams
from limner.core.subject import Subject
from limner.engine.attach import Adapter
from limner.engine.checkpoint import CHECKPOINT, _read_checkpoint, run_to_end
from limner.engine.train import train
from limner.errors import ChoiceNeeded, FileError, InputError
from limner.parts.modifiers import new_word
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import by_hand, by_score, feedback, photos
from limner.parts.sources.feedback import check_choice
from tests.helpers import same, state, untouched

WORD = new_word("<rex>", "dog")
PROMPTS = ("<rex> in red", "<rex> in blue")


def redness(adapted: Any, pixels: Tensor, prompts: Any) -> Tensor:
    return pixels[:, 0].mean((1, 2)) - pixels[:, 2].mean((1, 2))


def rounds(rex: Subject, choose: Any, **more: Any) -> Recipe:
    about: dict[str, Any] = {"count": 3, "keep": 2, "batch": 2, "steps": 2, **more}
    sources = photos(rex, batch=1), *(feedback(PROMPTS, choose=choose, name=f"round {k}", **about) for k in (1, 2))
    stages = tuple(Stage((learned(WORD),), (denoising(source),), 2, 0.05) for source in sources)
    return Recipe("<rex>", (WORD,), stages)


def test_the_best_are_learned_and_rounds_resume_to_the_same_bits(base: Any, rex: Subject) -> None:
    before, shown = state(base), []

    def choose(adapted: Any, pixels: Tensor, prompts: Any, keep: int) -> Any:
        numbers = by_score(redness)(adapted, pixels, prompts, keep)
        scores = redness(adapted, pixels, prompts)
        assert min(scores[k] for k in numbers) >= max(scores[k] for k in range(3) if k not in numbers)
        shown.append((pixels, numbers))
        return numbers

    recipe = rounds(rex, choose)
    points = [p.snapshot() for p in train(base, Adapter(recipe, "<rex>"), stages=recipe.tuning)]
    assert len(shown) == 2
    assert not torch.equal(shown[0][0], shown[1][0])  # the updates in between make a difference
    kept = points[2].moments["gathered.0.latents"]
    assert kept.shape == (2, *base.latent_shape)
    assert "gathered.0.latents" not in points[3].moments  # the round is over
    for point in (points[2], points[4]):
        *_, end = train(base, Adapter(recipe, "<rex>"), stages=recipe.tuning, start=point)
        assert same(end.snapshot().tensors, points[-1].tensors)
    assert len(shown) == 2 + 1  # painted anew only where a round had not begun
    assert recipe.why_not_stackable
    assert same(state(base), before)
    assert untouched(base)


def test_what_nobody_gathers_is_no_part_of_a_checkpoint(base: Any, rex: Subject) -> None:
    from dataclasses import replace

    recipe = rounds(rex, by_score(redness))
    first = next(train(base, Adapter(recipe, "<rex>"), stages=recipe.tuning)).snapshot()
    strange = replace(first, moments={**first.moments, "gathered.0.latents": torch.zeros(1)})
    with pytest.raises(FileError, match="no source of this stage gathers"):
        list(train(base, Adapter(recipe, "<rex>"), stages=recipe.tuning, start=strange))


def test_a_person_chooses_between_two_runs(base: Any, rex: Subject, tmp_path: Path) -> None:
    recipe = rounds(rex, by_hand(tmp_path / "choose"))
    recipe = Recipe("<rex>", (WORD,), recipe.stages[:2])
    about: dict[str, Any] = {"header": {}, "checkpoints": tmp_path}
    with pytest.raises(ChoiceNeeded, match=r"choose at most 2 of the 3 pictures .*chosen\.txt") as needed:
        run_to_end(base, Adapter(recipe, "<rex>"), recipe.tuning, 0, **about)
    asked = needed.value
    assert (asked.folder, asked.keep, list(asked.prompts)) == (tmp_path / "choose", 2, [*PROMPTS, PROMPTS[0]])
    shown = sorted((tmp_path / "choose").glob("*.png"))
    before = [path.read_bytes() for path in shown]
    assert len(shown) == 3
    (tmp_path / "choose" / "chosen.txt").write_text("2, 0\n")
    tensors, losses = run_to_end(base, Adapter(recipe, "<rex>"), recipe.tuning, 0, **about)
    assert len(losses) == 4
    assert [path.read_bytes() for path in shown] == before
    assert tensors


@pytest.mark.parametrize(
    ("text", "said"), [("1 x", "whole numbers"), ("0 1 2", "at most 2"), ("1 1", ""), ("7", ""), ("", "")]
)
def test_choices_that_cannot_be(text: str, said: str, tmp_path: Path) -> None:
    pixels, prompts = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)), ("a dog",) * 3

    def choose(pixels: Tensor) -> Any:
        return by_hand(tmp_path)(None, pixels, prompts, 2)  # type: ignore[arg-type]  # it asks nothing of the base

    with pytest.raises(InputError, match="choose at most 2"):
        choose(pixels)
    (tmp_path / "chosen.txt").write_text(text)
    with pytest.raises(InputError, match="chooses among other pictures than are painted now"):
        choose(1 - pixels)
    if said:
        with pytest.raises(InputError, match=said):
            choose(pixels)
        return
    with pytest.raises(InputError, match="different pictures from 0 to 2, at least one"):
        check_choice(choose(pixels), 3)


def test_a_relative_folder_lies_in_the_folder_of_choices(tmp_path: Path) -> None:
    """As a worker of the studio gives it; there, the choice alone is enough."""
    pixels, prompts = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)), ("a dog",) * 3
    choose: Any = by_hand("page")
    with choices_below(tmp_path / "choices"):
        with pytest.raises(ChoiceNeeded) as needed:
            choose(None, pixels, prompts, 2)
        assert needed.value.folder == tmp_path / "choices" / "page"
        assert len(list(needed.value.folder.glob("*.png"))) == 3
        write_choice(needed.value.folder, [2, 1])
        assert choose(None, pixels, prompts, 2) == [2, 1]
    with choices_below(tmp_path / "elsewhere"):
        write_choice(tmp_path / "elsewhere" / "page", [0])
        assert choose(None, pixels, prompts, 2) == [0]


def test_prompts_may_depend_on_the_base(base: Any, rex: Subject) -> None:
    seen: list[Any] = []

    def choose(adapted: Any, pixels: Tensor, prompts: Any, keep: int) -> Any:
        seen.append(list(prompts))
        return [0, 2]

    source = feedback(lambda on: [f"<rex> on {on.name}", "<rex>"], choose=choose, count=3, keep=2, steps=1, batch=8)
    recipe = Recipe("<rex>", (WORD,), (Stage((learned(WORD),), (denoising(source),), 1, 0.05),))
    assert source.gather is not None
    point = next(train(base, Adapter(recipe, "<rex>"), stages=recipe.tuning)).snapshot()
    assert seen == [[f"<rex> on {base.name}", "<rex>", f"<rex> on {base.name}"]]
    kept = {name.split(".")[-1]: tensor for name, tensor in point.moments.items() if name.startswith("gathered")}
    assert set(source.gather.draw(base, kept)(0, streams(0, "draw")).prompts) == {f"<rex> on {base.name}"}


def test_a_run_that_stops_to_ask_keeps_what_it_has_learned(base: Any, rex: Subject, tmp_path: Path) -> None:
    recipe = rounds(rex, by_hand(tmp_path / "choose"))
    about: dict[str, Any] = {"header": {"run": 1}, "checkpoints": tmp_path / "run"}
    with pytest.raises(InputError, match="choose at most 2"):
        run_to_end(base, Adapter(recipe, "<rex>"), recipe.tuning, 0, **about)
    parts = {"parts": 1}
    start, losses = _read_checkpoint(tmp_path / "run" / CHECKPOINT, about["header"] | parts, recipe.tuning)
    assert start is not None
    assert (start.stage, start.step, len(losses)) == (1, 0, 2)


def test_senseless_rounds() -> None:
    with pytest.raises(InputError, match="from 1 to 3 can be kept, not 4"):
        feedback(PROMPTS, choose=by_score(redness), count=3, keep=4)
    with pytest.raises(InputError, match="at least one sampling step, not 0"):
        feedback(PROMPTS, choose=by_score(redness), steps=0)
    with pytest.raises(InputError, match="given none"):
        feedback((), choose=by_score(redness))
