"""UniCTokens: tokens that understanding and generation share, in three stages, on a small random base of masked
tokens."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

import limner
from limner.core.subject import Subject
from limner.engine.attach import Adapter, attach
from limner.engine.train import train
from limner.errors import InputError
from limner.library.opening import adapter_of
from limner.methods import methods
from limner.parts.encoders.clusters import k_means
from limner.parts.objectives import facts_of
from tests.bases.families import save_tiny
from tests.helpers import fast

HAT = "its hat = a red hat"
GROUPS = ["word.<rex-concept>", "word.<rex-understood>", "word.<rex-painted>", "word.<rex-deepened>"]


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A random base of masked tokens."""
    return limner.load(str(save_tiny("amused", tmp_path_factory.mktemp("amused"))), device="cpu")


@pytest.fixture(scope="module")
def dog() -> Subject:
    pictures = [Image.effect_noise((32, 32), 40 + 30 * k).convert("RGB") for k in range(3)]
    return Subject.of(pictures, noun="dog", handle="rex")


def recipe_of(subject: Subject, **more: Any) -> Any:
    about = {"first_tokens": 3, "second_tokens": 2, "third_tokens": 2, "num_class_pictures": 2, **more}
    return methods()["unictokens"](subject, **fast(methods()["unictokens"], **about))


def test_each_stage_names_and_trains_its_own_tokens(masked: Any, dog: Subject) -> None:
    """All stages learn the concept token; the third leaves earlier groups as they are, and no stage changes the
    base."""
    recipe = recipe_of(dog, facts=HAT)
    states: list[dict[str, Tensor]] = []
    with attach(masked, [Adapter(recipe, "<rex>")]) as adapted:
        states.append({name: tensor.detach().clone() for name, tensor in adapted.tensors.items()})
    for progress in train(masked, Adapter(recipe, "<rex>"), stages=recipe.stages, seed=0):
        ends = progress.step + 1 == recipe.stages[progress.stage].steps
        if ends:
            states.append(dict(progress.snapshot().tensors))
    assert list(states[0]) == GROUPS
    assert [len(states[0][name]) for name in GROUPS] == [1, 3, 2, 2]
    moved = [[not torch.equal(a[n], b[n]) for n in GROUPS] for a, b in pairwise(states)]
    assert moved == [[True, True, False, False], [True, True, True, False], [True, False, False, True]]
    kinds = [[term.name.split("(")[0] for term in stage.loss] for stage in recipe.stages]
    answers = ["recognition answer", "knowledge"]
    assert kinds == [answers, ["denoising", *answers], ["denoising", *answers]]
    assert recipe.words(masked) == "<rex-concept> <rex-understood> <rex-painted> <rex-deepened>"


def test_generation_is_the_cross_entropy_of_masked_tokens(masked: Any, dog: Subject) -> None:
    """The denoising term of the second stage, computed by hand."""
    recipe = recipe_of(dog, word_steps=1, batch=2)
    stage = recipe.stages[1]
    values: list[tuple[float, float]] = []
    term = stage.loss[0]

    def look(step: Any) -> Tensor:
        target, logits = step.target[:, 0].long(), step.prediction.output
        hidden = target >= 0
        by_hand = torch.nn.functional.cross_entropy(logits.permute(0, 2, 3, 1)[hidden], target[hidden])
        value = term.value(step)
        values.append((float(value.detach()), float(by_hand.detach())))
        return value

    for _ in train(masked, Adapter(recipe, "<rex>"), stages=(replace(stage, loss=(replace(term, value=look),)),)):
        pass
    assert values[0][0] == pytest.approx(values[0][1], rel=1e-5)


def test_knowledge_given_as_text_alone_is_answered_and_changes_generation(masked: Any, dog: Subject) -> None:
    """The text about the subject's hat comes nearer to the answer, and other knowledge paints other tokens."""
    nearness, painted = [], []
    for facts in ("its hat = a red hat", "its hat = a night beach"):
        about: dict[str, Any] = {"facts": facts, "shared_steps": 12, "word_steps": 2, "steps": 2, "lr": 0.02}
        recipe = recipe_of(dog, **about)
        concept = limner.learn(masked, dog, method="unictokens", first_tokens=3, num_class_pictures=2, batch=2, **about)
        losses = [p.losses for p in train(masked, Adapter(recipe, "<rex>"), stages=recipe.stages[:1], seed=0)]
        name = next(name for name in losses[0] if name.startswith("knowledge"))
        nearness.append((losses[0][name], losses[-1][name]))
        with torch.no_grad(), attach(masked, [adapter_of(concept, masked)]) as adapted:
            states = adapted.text_states(["<rex> with its hat"])
            noise = torch.randn(1, *masked.latent_shape, generator=torch.Generator().manual_seed(0))
            time = torch.tensor([900.0])
            hidden = masked.noised(torch.zeros_like(noise), noise, time)
            run = adapted.run(time=time, latents=hidden, prompts=(adapted.expand_prompt("<rex> with its hat"),))
            painted.append(masked.predict(hidden, time, states, context=run))
    assert all(after < before for before, after in nearness)
    assert float((painted[0] - painted[1]).abs().max()) > 1e-4


def test_facts_are_read_or_refused() -> None:
    assert facts_of("") == ()
    assert [tuple(fact) for fact in facts_of("its hat = a red hat; its car=a blue car;")] == [
        ("its hat", "a red hat"),
        ("its car", "a blue car"),
    ]
    with pytest.raises(InputError, match="has no question and answer"):
        facts_of("its hat is red")


def test_a_concept_is_read_from_its_file_without_the_photographs(masked: Any, dog: Subject, tmp_path: Path) -> None:
    concept = limner.learn(
        masked,
        dog,
        method="unictokens",
        **fast(methods()["unictokens"], num_class_pictures=2, first_tokens=2, second_tokens=2, third_tokens=2),
    )
    again = limner.Concept.load(concept.save(tmp_path / "rex.safetensors"))
    with attach(masked, [adapter_of(again, masked)]) as adapted:
        assert {n: len(t) for n, t in adapted.tensors.items()} == dict(zip(GROUPS, (1, 2, 2, 2), strict=True))


def test_k_means_finds_clusters_that_are_apart() -> None:
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    counts = (6, 4, 2)
    near = 0.1 * torch.randn(12, 2, generator=torch.Generator().manual_seed(0))
    points = torch.repeat_interleave(centres, torch.tensor(counts), dim=0) + near
    found = k_means(points, 3)
    assert torch.allclose(found, centres, atol=0.3)  # the largest cluster first
    assert len(k_means(points[:2], 5)) == 5
