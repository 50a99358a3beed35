"""The distinct properties of words that vary with layer and time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from limner.core.recipe import Recipe
from limner.core.streams import streams
from limner.core.subject import Subject
from limner.engine.attach import AdaptedBase, Adapter, attach
from limner.methods import methods

PROMPT = "a photo of <rex>"


def cross(base: Any) -> list[Any]:
    return [site for site in base.sites if site.kind == "cross"]


def watched(
    base: Any, adapted: AdaptedBase, x: Tensor, time: int, prompt: str = PROMPT, **about: Any
) -> dict[str, Any]:
    """Queries, keys and values of every cross-attention layer, and the output, of one run."""
    seen: dict[str, Any] = {}

    def note(call: Any) -> Any:
        if call.site.kind == "cross":
            seen[call.site.name] = (call.query.clone(), call.key.clone(), call.value.clone())
        return call

    t = torch.tensor([time])
    run = adapted.run(time=t, prompts=(adapted.expand_prompt(prompt),), **about)
    run.operations = (*run.operations, note)
    with torch.no_grad():
        seen["output"] = base.predict(x, t, adapted.text_states([prompt]), context=run)
    return seen


def worn_by(base: Any, name: str, rex: Subject, **settings: Any) -> Any:
    return attach(base, [Adapter(methods()[name](rex, **settings), rex.handle)])


@pytest.fixture
def x(base: Any) -> Tensor:
    return torch.randn(1, *base.latent_shape, generator=torch.Generator().manual_seed(0))


def test_p_plus_with_equal_vectors_is_textual_inversion(base: Any, rex: Subject, x: Tensor) -> None:
    vector = base.word_vectors("cat")
    with torch.no_grad(), worn_by(base, "p_plus", rex) as adapted:
        adapted.tensors["varying.<rex>.layers"][:] = vector
        layered = watched(base, adapted, x, 500)["output"]
    stored = {"word.<rex>": vector}
    with attach(base, [Adapter(methods()["textual_inversion"](rex, vectors=1), rex.handle, stored)]) as adapted:
        plain = watched(base, adapted, x, 500)["output"]
    assert torch.allclose(layered, plain, atol=1e-5)


def test_p_plus_one_layer_changes_nothing_before_it(base: Any, rex: Subject, x: Tensor) -> None:
    with torch.no_grad(), worn_by(base, "p_plus", rex) as adapted:
        before = watched(base, adapted, x, 500)
        adapted.tensors["varying.<rex>.layers"][3] += 1.0
        after = watched(base, adapted, x, 500)
    order = list(before)
    changed = [n for n in order[:-1] if not all(map(torch.equal, before[n], after[n]))]
    assert changed[0] == cross(base)[3].name == order[3]
    assert torch.equal(before[order[3]][0], after[order[3]][0])  # the query came before the word was read


def test_prospect_a_stage_speaks_only_in_its_time(base: Any, rex: Subject, x: Tensor) -> None:
    with torch.no_grad(), worn_by(base, "prospect", rex, stages=10) as adapted:
        adapted.tensors["varying.<rex>.out"].normal_(generator=torch.Generator().manual_seed(1))
        times = (10, 90, 110, 550, 999)
        before = [watched(base, adapted, x, t)["output"] for t in times]
        keys = [watched(base, adapted, x, t)[cross(base)[0].name][1] for t in (10, 90, 110)]
        adapted.tensors["varying.<rex>.stages"][0] += 1.0
        after = [watched(base, adapted, x, t)["output"] for t in times]
    assert [not torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [True, True, False, False, False]
    assert torch.equal(keys[0], keys[1])
    assert not torch.equal(keys[1], keys[2])


def test_neti_keeps_the_length_of_the_class_word(base: Any, rex: Subject) -> None:
    from limner.parts.modifiers import neural

    plain = base.word_vectors("dog")
    varied = neural()(base, plain, len(cross(base)), torch.Generator().manual_seed(0))
    for site, time in ((0, 0), (3, 500), (6, 999)):
        vector = varied.vectors(varied.start, site, time, None)
        assert torch.allclose(vector.norm(), plain.norm(), rtol=1e-4)
        assert not torch.allclose(vector, varied.vectors(varied.start, site, (time + 300) % 1000, None))


def test_neti_the_bypass_reaches_values_and_not_keys(base: Any, rex: Subject, x: Tensor) -> None:
    with torch.no_grad(), worn_by(base, "neti", rex) as adapted:
        before = watched(base, adapted, x, 500)
        adapted.tensors["varying.<rex>.bypass"].neg_()
        after = watched(base, adapted, x, 500)
    first = cross(base)[0].name
    assert torch.equal(before[first][1], after[first][1])
    assert not torch.equal(before[first][2], after[first][2])


def test_neti_without_hidden_units_forgets_layer_and_time(base: Any) -> None:
    from limner.parts.modifiers import neural

    plain = base.word_vectors("dog")
    cut = neural(units=1)(base, plain, 7, torch.Generator().manual_seed(0))
    start = {**cut.start, "word": cut.start["word"].clone()}
    start["word"][:, 0] = 0
    assert torch.allclose(cut.vectors(start, 0, 10, None), cut.vectors(start, 6, 900, None))


def test_neti_predicts_the_whole_vector_and_not_a_change_of_the_nouns(base: Any) -> None:
    from limner.parts.modifiers import neural

    plain = base.word_vectors("dog")
    varied = neural()(base, plain, 7, torch.Generator().manual_seed(0))
    free = {**varied.start, "bias": torch.zeros_like(varied.start["bias"])}
    vector, head = varied.vectors(free, 2, 400, None)[0], varied.start["word"]
    inside = head @ torch.linalg.lstsq(head, vector[:, None]).solution
    assert torch.allclose(inside[:, 0], vector, atol=1e-3)  # the head alone makes it: nothing of the noun is added
    assert not torch.allclose(head @ torch.linalg.lstsq(head, plain.T).solution, plain.T, atol=1e-2)


def test_neti_drops_units_only_while_teaching_and_alike_within_an_update(base: Any) -> None:
    from limner.parts.modifiers import neural

    varied = neural(keep=0.0)(base, base.word_vectors("dog"), 7, torch.Generator().manual_seed(0))
    whole = varied.vectors(varied.start, 2, 400, None)
    first, again, other = (varied.vectors(varied.start, 2, 400, streams(0, "x", k)) for k in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, whole)


@pytest.mark.parametrize("name", ["p_plus", "prospect", "neti"])
def test_a_prompt_without_the_word_is_the_base(base: Any, rex: Subject, x: Tensor, name: str) -> None:
    with torch.no_grad(), worn_by(base, name, rex) as adapted:
        for tensor in adapted.tensors.values():
            tensor += 0.1
        dressed = watched(base, adapted, x, 300, "a red car")["output"]
    with attach(base, [Adapter(Recipe(says="dog"), rex.handle)]) as bare:
        assert torch.equal(dressed, watched(base, bare, x, 300, "a red car")["output"])
