"""Continual Diffusion: a new low-rank change avoids the weights that earlier ones moved, and earlier subjects stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import limner
from limner.apps.cli.main import main
from limner.core.concept import Concept
from limner.core.subject import Subject
from limner.engine.attach import attach
from limner.errors import FileError
from limner.library.opening import adapter_of
from limner.parts.modifiers import random_start
from limner.parts.objectives.self_regularised import products
from limner.pocket.subjects import toy

QUICK: dict[str, Any] = {"method": "continual_diffusion", "steps": 16, "lr": 0.02, "batch": 2, "rank": 4}


@pytest.fixture(scope="module")
def bo() -> Subject:
    return toy("car", 2_000_021, name="bo", count=2)


@pytest.fixture(scope="module")
def first(base: Any, rex: Subject) -> Concept:
    return limner.learn(base, rex, **QUICK)


@pytest.fixture(scope="module")
def both(base: Any, bo: Subject, first: Concept) -> dict[float, Concept]:
    """The second subject after the first, by the weight of the loss that keeps the new change apart."""
    return {weight: limner.learn(base, bo, after=first, forgetting=weight, **QUICK) for weight in (0.0, 1e4)}


def changes_of(base: Any, concept: Concept) -> list[Tensor]:
    """The changes of all weights by the first and by the second subject. # [weights] each"""
    adapter = adapter_of(concept, base)
    with torch.no_grad(), attach(base, [adapter]) as adapted:
        every = [products(adapted, change) for change in adapter.recipe.modifiers[2:]]  # type: ignore[arg-type]
    return [torch.cat([change.flatten() for change in each.values()]) for each in every]


def predicted(base: Any, concept: Concept, prompt: str) -> Tensor:
    """The prediction of noise for a prompt at several times. # [B, C, h, w]"""
    with torch.no_grad(), attach(base, [adapter_of(concept, base)]) as adapted:
        x = torch.randn(4, *base.latent_shape, generator=torch.Generator().manual_seed(0))
        time = torch.tensor([200, 400, 600, 800])
        run = adapted.run(time=time, latents=x, prompts=(adapted.expand_prompt(prompt),) * 4)
        return base.predict(x, time, adapted.text_states([prompt] * 4), context=run)  # type: ignore[no-any-return]


def test_weights_that_the_first_change_moved_far_move_little_again(base: Any, both: dict[float, Concept]) -> None:
    """The mean change where the earlier one is among its largest tenth, over the mean change elsewhere."""
    ratios = {}
    for weight, concept in both.items():
        earlier, new = (change.abs() for change in changes_of(base, concept))
        most = earlier > torch.quantile(earlier, 0.9)
        ratios[weight] = float(new[most].mean() / new[~most].mean())
        assert float(new.max()) > 1e-4
    assert ratios[1e4] < 0.3 < 1 < ratios[0.0]


def test_the_first_subject_stays_as_the_second_is_learned(
    base: Any, first: Concept, both: dict[float, Concept]
) -> None:
    """Predictions for the first subject's prompt move less with the loss than without; its tensors do not move."""
    known = predicted(base, first, "a photo of <rex>")
    moved = {weight: float((predicted(base, c, "a photo of <rex>") - known).norm()) for weight, c in both.items()}
    assert 0 < moved[1e4] < 0.6 * moved[0.0]
    for concept in both.values():
        assert all(torch.equal(concept.tensors[name], tensor) for name, tensor in first.tensors.items())


def test_the_regulariser_by_hand(base: Any, bo: Subject, first: Concept) -> None:
    """The term is zero before the first update, where the new change is; its value follows from the matrices."""
    concept = limner.learn(base, bo, after=first, forgetting=1e4, **{**QUICK, "steps": 1})
    earlier, new = changes_of(base, concept)
    assert float((earlier * new).square().sum()) > 0
    terms: list[dict[str, float]] = []
    about = {**QUICK, "steps": 2, "forgetting": 1e4}
    limner.learn(base, bo, after=first, watch=lambda at: terms.append(dict(at.losses)), **about)
    own = [next(value for name, value in each.items() if name.startswith("self-regularised")) for each in terms]
    assert own[0] == 0
    # the first update of a constant rate does not depend on the number of updates
    assert own[1] == pytest.approx(1e4 * float((earlier * new).square().sum()), rel=1e-4)


def test_a_token_starts_at_random_and_stands_without_the_class_noun(base: Any, rex: Subject, first: Concept) -> None:
    with attach(base, [adapter_of(first, base)]) as adapted:
        assert adapted.expand_prompt("a photo of <rex> in the snow") == "a photo of <rex> in the snow"
    starts = [random_start(handle)(base) for handle in ("<rex>", "<bo>", "<rex>")]
    assert torch.equal(starts[0], starts[2])
    assert not torch.equal(starts[0], starts[1])
    table = base.word_table()
    alike = torch.nn.functional.cosine_similarity(starts[0], base.word_vectors(rex.noun)[:1])
    assert abs(float(alike)) < 0.5
    assert float(starts[0].std() / table.std()) == pytest.approx(1, rel=0.3)


def test_another_rank_than_the_first_is_refused(base: Any, bo: Subject, first: Concept) -> None:
    with pytest.raises(FileError, match=r"\(4, \d+\) in the concept; this base and rank want \(2, \d+\)"):
        limner.learn(base, bo, after=first, **{**QUICK, "rank": 2})


def test_the_command_learns_one_after_another(
    first: Concept, bo: Subject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = first.save(tmp_path / "rex.safetensors")
    folder = tmp_path / "bo"
    folder.mkdir()
    for number, picture in enumerate(bo.pictures):
        assert picture.image is not None
        picture.image.save(folder / f"{number}.png")
    words = ["learn", str(folder), "--class", "car", "--after", str(start)]
    quick = ["--method", "continual_diffusion", "--rank", "4", "--steps", "1", "--batch", "1"]
    ends = ["--no-score", "--no-check", "--preview", "0"]
    assert main([*words, "--name", "bo", "--out", str(tmp_path), *quick, *ends]) == 0
    concept = Concept.load(tmp_path / "bo.safetensors")
    assert concept.handles == ("<bo>", "<rex>")
    capsys.readouterr()
    taken = ["--name", "rex", "--out", str(tmp_path / "other")]
    assert main([*words, *taken, *quick, *ends]) != 0
    assert "answers to <rex> already" in capsys.readouterr().err
