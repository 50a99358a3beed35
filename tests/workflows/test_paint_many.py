"""Batches in which each row has its own concept: changes of weights of several kinds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import limner
from limner.core.concept import Concept
from limner.core.recipe import Recipe
from limner.core.subject import Subject
from limner.engine.attach import Adapter
from limner.errors import InputError, PromptError
from limner.parts.modifiers import weight_changes
from limner.pocket.subjects import toy
from limner.workflows import paint as workflow
from limner.workflows import paint_many as module
from limner.workflows.paint_many import Order, paint_many, why_alone
from tests.helpers import untouched

QUICK = limner.PaintSettings(steps=2)
FEW: dict[str, Any] = {"steps": 2, "batch": 1}
TAUGHT: dict[str, dict[str, Any]] = {
    "lycoris_loha": FEW | {"rank": 2, "lr": 0.02},
    "lycoris_lokr": FEW | {"lr": 0.02, "layers": "attention"},
    "lycoris_locon": FEW | {"rank": 2, "lr": 0.02},
    "custom_diffusion": FEW | {"num_class_pictures": 2, "prior_weight": 0.0, "lr": 0.02},
    "dreambooth": FEW | {"num_class_pictures": 2, "prior_weight": 0.0},
}


@pytest.fixture(scope="module")
def concepts(base: Any) -> dict[str, Concept]:
    """One concept of each method; the handle of each is <rex>."""
    subjects = [toy("dog", 2_000_060 + k, name="rex", count=1) for k in range(len(TAUGHT))]
    return {
        method: limner.learn(base, subject, method=method, **settings)
        for subject, (method, settings) in zip(subjects, TAUGHT.items(), strict=True)
    }


def shown_alone(base: Any, order: Order) -> Any:
    about: dict[str, Any] = {"concepts": [order.concept] if order.concept else [], "scale": order.scale}
    return limner.paint(base, order.prompt, seed=order.seed, settings=QUICK, **about)[0].image


def far(first: Any, second: Any) -> int:
    return int(np.abs(np.asarray(first, dtype=int) - np.asarray(second, dtype=int)).max())


@pytest.fixture(scope="module")
def mixed(base: Any, concepts: dict[str, Concept]) -> list[tuple[Order, Any]]:
    """Orders of concepts that change the same layers in different ways, one of the base alone, and the picture of each
    painted alone."""
    names = ["lycoris_loha", "lycoris_locon", "custom_diffusion", "lycoris_lokr", "lycoris_loha"]
    orders = [Order("<rex> on the beach", concepts[name], k, 1 - 0.1 * k) for k, name in enumerate(names)]
    return [(order, shown_alone(base, order)) for order in (*orders, Order("a dog on the beach", None, 7))]


@pytest.mark.parametrize("which", [range(6), (0, 4), (0, 3)], ids=["all kinds", "one kind", "two kinds"])
@pytest.mark.parametrize("room", [2**30, 0], ids=["in memory", "computed in every step"])
def test_rows_whose_layers_change_in_different_ways_are_those_painted_alone(
    base: Any, mixed: list[tuple[Order, Any]], which: Any, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where every row changes a layer and no other change reads it, the layer itself runs on no rows."""
    monkeypatch.setattr(weight_changes, "CACHED", room)
    chosen = [mixed[k] for k in which]
    together = paint_many(base, [order for order, _ in chosen], settings=QUICK)
    for (order, alone), picture in zip(chosen, together, strict=True):
        assert far(picture.image, alone) <= 1, order
    assert untouched(base)


def test_weights_of_the_base_that_a_concept_stores_act_in_its_row(base: Any, concepts: dict[str, Concept]) -> None:
    """Without the keys and values of Custom Diffusion, its word alone paints another picture."""
    concept = concepts["custom_diffusion"]
    word = {name: tensor for name, tensor in concept.tensors.items() if name.startswith("word.")}
    assert len(word) < len(concept.tensors)
    whole, part = (
        paint_many(base, [Order("<rex> on the beach", c)], settings=QUICK)[0].image
        for c in (concept, Concept(**{**vars(concept), "tensors": word}))
    )
    assert far(whole, part) > 3


def test_a_concept_that_changes_other_parameters_is_refused(base: Any, concepts: dict[str, Concept]) -> None:
    with pytest.raises(InputError, match=r"cannot be painted in a batch with others: it changes denoiser\.\S*, which"):
        paint_many(base, [Order("<rex>", concepts["dreambooth"])], settings=QUICK)


def test_a_style_of_a_row_reads_as_alone(base: Any) -> None:
    """Where a concept's words end with "style", "the style of" in the prompt is theirs."""
    image = toy("dog", 2_000_070, count=1).pictures[0].image
    assert image is not None
    subject = Subject.of([image], noun="style", handle="<sty>", kind="style")
    about = FEW | {"rank": 2, "num_class_pictures": 2, "prior_weight": 0.0}
    concept = limner.learn(base, subject, method="lora_dreambooth", **about)
    order = Order("a dog in the style of <sty>", concept)
    assert far(paint_many(base, [order], settings=QUICK)[0].image, shown_alone(base, order)) <= 1


def test_prompts_may_have_seeds_of_their_own(base: Any) -> None:
    three = limner.paint(base, ["a dog", "a car", "a dog"], seed=[5, 6, 7], settings=QUICK)
    assert [picture.seed for picture in three] == [5, 6, 7]
    assert far(three[2].image, limner.paint(base, "a dog", seed=7, settings=QUICK)[0].image) <= 1
    with pytest.raises(InputError, match="1 seeds for 2 prompts"):
        limner.paint(base, ["a dog", "a car"], seed=[5], settings=QUICK)


def test_no_order_can_name_the_word_of_another_row(base: Any, concepts: dict[str, Concept]) -> None:
    """Neither in a prompt, nor in the negative prompt that rows share, nor by a concept made to do so."""
    own = Order("<rex> on the beach", concepts["custom_diffusion"])
    spying = Order("<rex> and <rex.0>", concepts["lycoris_locon"])
    with pytest.raises(PromptError, match=r"nothing answers to <rex\.0>"):
        paint_many(base, [own, spying], settings=QUICK)
    with pytest.raises(PromptError, match="nothing answers to <rex>"):
        paint_many(base, [own], settings=replace(QUICK, negative="<rex>"))
    assert "a word of another row" in why_alone(base, Adapter(Recipe(says="a <rex.0> dog"), "<max>"))


def test_whole_weights_are_in_batches_apart_and_pictures_in_the_order_of_their_orders(
    base: Any, concepts: dict[str, Concept], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, real = list[int](), workflow.painted
    monkeypatch.setattr(
        module,
        "painted",
        lambda a, prompts, *rest, **about: (sizes.append(len(prompts)), real(a, prompts, *rest, **about))[1],
    )
    names = ["lycoris_loha", "custom_diffusion", "lycoris_lokr", "custom_diffusion", "lycoris_loha"]
    orders = [Order("<rex>", concepts[name], seed) for seed, name in enumerate(names)]
    pictures = paint_many(base, [*orders, Order("a dog", None, 5)], settings=replace(QUICK, batch=2, steps=1))
    assert sizes == [2, 1, 2, 1]
    assert [picture.seed for picture in pictures] == list(range(6))
