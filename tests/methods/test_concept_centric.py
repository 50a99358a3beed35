"""Concept-centric Personalization: its null-text network, and its two processes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import limner
from limner.core.streams import stream
from limner.core.subject import Subject
from limner.core.types import AttentionCall, Denoiser, Pass
from limner.engine.attach import AdaptedBase, Adapter, attach
from limner.methods import methods
from limner.parts.guidance import concept_and_text, dual_process
from limner.parts.modifiers import low_rank, rare_word_and
from tests.helpers import learn_fast, person

TIME = torch.tensor([400])


@pytest.fixture(scope="module")
def ada() -> Subject:
    return person()


def adapter(subject: Subject, **settings: Any) -> Adapter:
    return Adapter(methods()["concept_centric"](subject, **settings), subject.handle)


@torch.no_grad()
def predict(base: Any, adapted: AdaptedBase | None, prompt: str, *operations: Any) -> Tensor:
    """The prediction for one noisy picture under a prompt, by the base or by an adapted base."""
    latents = torch.randn(1, *base.latent_shape, generator=stream(0, "latents"))
    run = Pass(time=TIME) if adapted is None else adapted.run(time=TIME, prompts=(prompt,))
    run.operations = (*run.operations, *operations)
    return base.predict(latents, TIME, base.text_states([prompt], words={}), context=run)


def averaged(call: AttentionCall) -> AttentionCall:
    """Replace the output of cross-attention by its own mean over positions."""
    if call.site.kind == "cross":
        call.on_result.append(lambda out: out.mean(1, keepdim=True).expand_as(out))
    return call


def test_the_concepts_network_reads_no_prompt_and_starts_near_the_empty_one(base: Any, ada: Subject) -> None:
    empty, text, flat = (
        predict(base, None, "", *more) if not prompt else predict(base, None, prompt, *more)
        for prompt, more in (("", ()), ("a red dog in the snow", ()), ("", (averaged,)))
    )
    with attach(base, [adapter(ada)]) as adapted:
        concept = [predict(base, adapted, prompt) for prompt in ("", "a red dog in the snow", "a photo of a person")]
    assert torch.equal(concept[0], concept[1])
    assert torch.equal(concept[0], concept[2])
    assert not torch.allclose(text, empty, atol=1e-2)
    assert (concept[0] - flat).norm() < 0.5 * (text - empty).norm()
    assert (concept[0] - flat).norm() < (concept[0] - text).norm()


def test_everything_but_the_reading_of_text_is_tuned(base: Any, ada: Subject) -> None:
    with attach(base, [adapter(ada)]) as adapted:
        tuned = set(adapted.adapters[0].recipe.stages[0].train[0](adapted))
        constants = {name for name in adapted.tensors if name.startswith("null_text.")}
    text = set(base.select("cross_attention"))
    assert not tuned & text
    rest = base.select("everything").keys() - text - tuned
    sites = [site for site in base.sites if site.kind == "cross"]
    assert constants == {f"null_text.{site.name}" for site in sites}
    # the norms before cross-attention, a weight and a bias each, are all that is left out beside it
    assert len(rest) == 2 * len(sites)
    assert all("norm" in name for name in rest)
    assert not any(parameter.requires_grad for parameter in base.select("everything").values())


def test_the_base_gives_the_text_and_the_tuned_network_the_concept(base: Any, ada: Subject) -> None:
    x, t = torch.randn(1, *base.latent_shape, generator=stream(0, "latents")), TIME

    def plain(*prompts: str) -> list[Tensor]:
        return [predict(base, None, prompt) for prompt in prompts]

    text = "a person on the beach"
    bare = dict(zip(("negative", "text"), plain("", text), strict=True))
    with torch.no_grad(), attach(base, [adapter(ada)]) as adapted:
        tuned = adapted.adapters[0].recipe.stages[0].train[0](adapted)
        adapted.changing(list(tuned))
        for parameter in tuned.values():
            parameter.mul_(1.01)
        own = predict(base, adapted, text)

        def denoise(x: Tensor, t: Tensor, *, branches: tuple[str, ...] = ("text",)) -> tuple[Tensor, ...]:
            prompts = {"text": text, "negative": "", "concept": ""}
            return tuple(predict(base, adapted, prompts[branch]) for branch in branches)

        process = adapted.denoiser
        assert process is not None
        found = process(adapted, denoise)(x, t, branches=("text", "concept", "negative"))
    assert torch.allclose(found[0], bare["text"], atol=1e-5)
    assert torch.allclose(found[2], bare["negative"], atol=1e-5)
    assert torch.allclose(found[1], own, atol=1e-5)
    assert not torch.allclose(own, bare["negative"], atol=1e-3)


def test_another_concept_acts_in_the_texts_process_alone(base: Any, ada: Subject) -> None:
    """Any customised network may give the text's guidance."""
    seen: dict[str, list[bool]] = {}

    def denoise(x: Tensor, t: Tensor, *, branches: tuple[str, ...] = ("text",)) -> tuple[Tensor, ...]:
        for branch in branches:
            seen[branch] = [live.on for live in adapted.live.values()]
        return tuple(x for _ in branches)

    other = Adapter(limner.core.recipe.Recipe(rare_word_and("dog", handle="<fly>"), (low_rank(2),)), "<fly>")
    with attach(base, [other, adapter(ada)]) as adapted:
        process = adapted.denoiser
        assert process is not None
        process(adapted, denoise)(torch.zeros(1), TIME, branches=("negative", "text", "concept"))
        assert all(live.on for live in adapted.live.values())
    assert seen == {"negative": [False, False], "text": [True, False], "concept": [False, True]}


def test_both_guidances_add_up_and_without_the_concept_it_is_classifier_free_guidance() -> None:
    values = {"negative": 1.0, "text": 2.0, "concept": 5.0}
    asked: list[tuple[str, ...]] = []

    def denoise(x: Tensor, t: Tensor, *, branches: tuple[str, ...] = ("text",)) -> tuple[Tensor, ...]:
        asked.append(branches)
        return tuple(x + values[branch] for branch in branches)

    def guided(scale: float, w: float) -> float:
        inner: Denoiser = concept_and_text(scale)(denoise, w)
        return float(inner(torch.zeros(1), TIME)[0])

    assert guided(2.5, 3.0) == 1 + 2.5 * 4 + 3 * 1
    assert guided(0.0, 3.0) == 1 + 3 * 1
    assert asked == [("negative", "text", "concept"), ("negative", "text")]
    assert dual_process() is not dual_process()


def test_at_concept_scale_zero_a_tuned_concept_paints_as_the_base(base: Any, ada: Subject) -> None:
    settings = limner.PaintSettings(steps=3)
    pictures = [
        limner.paint(base, prompt, concepts=concepts, seed=3, settings=settings)[0].image.tobytes()
        for prompt, concepts in (
            ("<rex> on the beach", [learn_fast(base, "concept_centric", ada, concept_scale=0.0, lr=1e-2)]),
            ("<rex> on the beach", [learn_fast(base, "concept_centric", ada, lr=1e-2)]),
            ("person on the beach", []),
        )
    ]
    assert pictures[0] == pictures[2]
    assert pictures[1] != pictures[2]
