"""ADI: channels of the token that belong to the context keep their value at the start."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from limner.core.streams import streams
from limner.core.subject import Subject
from limner.engine.attach import Adapter, attach
from limner.engine.train import train
from limner.errors import InputError
from limner.methods import methods
from limner.parts.objectives import disentangled
from limner.parts.objectives.disentangled import action_channels
from limner.parts.sources import action_triplets
from limner.parts.sources.triplets import CAPTIONS, SAME_ACTION, SAME_CONTEXT
from tests.helpers import acting

NAME = "varying.<act>.layers"


@pytest.fixture(scope="module")
def act() -> Subject:
    return acting()


def trained(base: Any, subject: Subject, monkeypatch: pytest.MonkeyPatch, *, steps: int = 4) -> tuple[Tensor, Tensor]:
    """How often each channel was free, and how far the token moved. # [sites, 1, D] each"""
    free: list[Tensor] = []

    def noted(*slopes: Tensor, blocked: float) -> Tensor:
        free.append(action_channels(*slopes, blocked=blocked))
        return free[-1]

    monkeypatch.setattr(disentangled, "action_channels", noted)
    adapted = Adapter(methods()["adi"](subject, steps=steps, batch=1), "<act>")
    with attach(base, [adapted]) as dressed:
        start = dressed.tensors[NAME].detach().clone()
    *_, last = (
        progress.snapshot().tensors if progress.last else {}
        for progress in train(base, adapted, stages=adapted.recipe.stages)
    )
    return torch.stack(free).sum(0), (last[NAME] - start).abs()


def test_channels_that_every_update_blocks_keep_their_start_exactly(
    base: Any, act: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    times_free, moved = trained(base, act, monkeypatch)
    never = times_free == 0
    assert 0.01 < float(never.float().mean()) < 0.9
    assert not bool(moved[never].any())
    assert float((moved[~never] > 0).float().mean()) > 0.8  # a layer that reads one token alone moves none


def test_without_blocking_every_channel_moves(base: Any, act: Subject) -> None:
    adapted = Adapter(methods()["adi"](act, steps=1, batch=1, blocked=0.0), "<act>")
    with attach(base, [adapted]) as dressed:
        start = dressed.tensors[NAME].detach().clone()
    (only,) = train(base, adapted, stages=adapted.recipe.stages)
    moved = only.snapshot().tensors[NAME] != start
    assert float(moved.float().mean()) > 0.8


def test_blocked_channels_are_those_that_differ_between_actions_or_agree_between_contexts() -> None:
    anchor = torch.tensor([1.0, 1.0, 1.0, 1.0])
    action = torch.tensor([1.0, 9.0, 1.1, 1.2])  # the second channel differs most
    context = torch.tensor([5.0, 4.0, 1.0, 6.0])  # the third differs least
    assert action_channels(anchor, action, context, blocked=0.25).tolist() == [True, False, False, True]
    assert action_channels(anchor, action, context, blocked=0.0).all()
    assert not action_channels(anchor, action, context, blocked=1.0).any()


def test_the_gradient_that_is_left_agrees_with_the_action_more_than_with_the_context() -> None:
    """Gradients that are sums of parts for the action and for the context, each on channels of its own."""
    at = torch.Generator().manual_seed(0)
    for_action, for_context = (torch.arange(600) < 300, torch.arange(600) >= 300)

    def slope(action: Tensor, context: Tensor) -> Tensor:
        return action * for_action + context * for_context + 0.1 * torch.randn(600, generator=at)

    one, two, here, there = (torch.randn(600, generator=at) for _ in range(4))
    free = action_channels(slope(one, here), slope(one, there), slope(two, here), blocked=0.4)
    assert float(free[for_action].float().mean()) > 5 * float(free[for_context].float().mean())


def test_a_triplet_has_its_anchor_s_action_and_its_anchor_s_context(base: Any, act: Subject) -> None:
    batch = action_triplets(act, batch=6).prepare(base)(0, streams(0))
    with torch.no_grad():
        shown, still = (base.encode(one.tensor(base.picture_size))[0] for one in (act, act.contrast))
    captions = [picture.caption for picture in act.pictures]

    def nearest(latents: Tensor, known: Tensor) -> list[int]:
        return torch.cdist(latents.flatten(1), known.flatten(1)).argmin(1).tolist()

    anchors = [captions.index(text) for text in batch.prompts]
    others = nearest(batch.gathered[SAME_ACTION], shown)
    assert nearest(batch.latents, shown) == anchors
    assert nearest(batch.gathered[SAME_CONTEXT], still) == anchors
    assert batch.gathered[CAPTIONS].tolist() == others
    assert all(first != second for first, second in zip(anchors, others, strict=True))


def test_without_pictures_of_the_context_the_base_paints_them(base: Any, act: Subject) -> None:
    batch = action_triplets(replace(act, without=()), batch=2).prepare(base)(0, streams(0))
    assert batch.gathered[SAME_CONTEXT].shape == batch.latents.shape
    assert methods()["adi"](replace(act, without=())).notes


def test_one_picture_or_unpaired_ones_are_refused(base: Any, act: Subject) -> None:
    with pytest.raises(InputError, match="there is 1 picture of <act>"):
        methods()["adi"](replace(act, pictures=act.pictures[:1]))
    with pytest.raises(InputError, match="2 pictures without <act> and 3 with it"):
        action_triplets(replace(act, without=act.without[:2])).prepare(base)
    unnamed = replace(act, pictures=tuple(replace(p, caption="a photo of <act>") for p in act.pictures))
    with pytest.raises(InputError, match="a photo of a dog <act> on the beach"):
        methods()["adi"](unnamed)
