"""Tensors are freed with the work that made them: none waits in a cycle of references for Python's collector, which
looks at a server's many objects once in minutes."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

import limner
from limner.core.subject import Subject
from limner.workflows.learn_many import Job
from limner.workflows.paint_many import Order, paint_many

TWO = limner.PaintSettings(2, 4.0, batch=2)


def tensors_in_cycles(act: Callable[[], object]) -> list[torch.Tensor]:
    """The tensors that only the collector of cycles frees after a function was called."""
    act()  # the first call fills caches
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        act()
        gc.collect()
        return [each for each in gc.garbage if isinstance(each, torch.Tensor)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.fixture(scope="module")
def concept(base: Any, rex: Subject) -> limner.Concept:
    return limner.learn(base, rex, method="lora_dreambooth", steps=1, num_class_pictures=2, rank=2)


@pytest.mark.parametrize("method", ["textual_inversion", "custom_diffusion"])
def test_training_leaves_no_tensor_in_a_cycle(base: Any, rex: Subject, method: str) -> None:
    about: dict[str, Any] = {"num_class_pictures": 2} if method == "custom_diffusion" else {}
    assert not tensors_in_cycles(lambda: limner.learn(base, rex, method=method, steps=2, **about))


def test_sampling_leaves_no_tensor_in_a_cycle(base: Any, concept: limner.Concept) -> None:
    assert not tensors_in_cycles(lambda: limner.paint(base, "<rex> on the beach", concepts=[concept], settings=TWO))


def test_sampling_of_many_concepts_leaves_no_tensor_in_a_cycle(base: Any, concept: limner.Concept) -> None:
    orders = [Order("<rex> on the beach", concept), Order("a dog in the snow")]
    assert not tensors_in_cycles(lambda: paint_many(base, orders, settings=TWO))


def test_training_many_subjects_leaves_no_tensor_in_a_cycle(base: Any, rex: Subject) -> None:
    settings = {"steps": 2, "num_class_pictures": 2, "rank": 2}
    jobs = [Job(rex, "lora_dreambooth", k, settings) for k in range(2)]
    assert not tensors_in_cycles(lambda: limner.learn_many(base, jobs))


def test_blended_regions_leave_no_tensor_in_a_cycle(base: Any, concept: limner.Concept) -> None:
    def blend() -> object:
        about: dict[str, Any] = {"regions": {"rex": "left"}, "settings": replace(TWO, compose="blend")}
        return limner.paint(base, "<rex> on the beach", concepts=[concept], **about)

    assert not tensors_in_cycles(blend)
