"""Encoders that are told which of several things in a reference image is meant (SSR-Encoder)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from limner.core.streams import stream, streams
from limner.core.subject import Subject
from limner.core.types import Pass, References
from limner.errors import InputError
from limner.methods.multi.ssr_encoder import DEPTHS
from limner.parts.encoders import clip_depths, each_of
from limner.parts.fusion import selected_states
from limner.parts.sources import pairs
from limner.parts.sources.pairs import side_by_side
from limner.parts.sources.toys import toys

LOOK = each_of(clip_depths(DEPTHS))


@pytest.fixture(scope="module")
def shared(base: Any) -> References:
    """References with two things of different classes, each row's subject on either side."""
    batch = pairs(batch=48, ground="shared", drop_image=0, corpus=toys(24)).prepare(base)(0, streams(0, 0))
    assert batch.references is not None
    return batch.references


def _own(base: Any, selected: selected_states) -> dict[str, Tensor]:
    own, _ = selected(base, {}, stream(0, "modifier"))
    return own


def test_the_subject_of_a_shared_reference_stands_on_one_side(shared: References) -> None:
    assert shared.masks is not None
    left, right = shared.masks[:, 0, 0].float().mean(1).chunk(2, -1)
    sides = torch.stack([left.sum(-1), right.sum(-1)], 1)
    assert bool((sides.amin(1) < 0.1 * sides.amax(1)).all())
    assert 0.2 < float((sides[:, 0] > sides[:, 1]).float().mean()) < 0.8


def test_half_size_subjects_keep_their_colour_and_the_ground_of_the_other() -> None:
    red, blue = (torch.tensor(c).view(1, 3, 1, 1).expand(1, 3, 32, 32) for c in ((1.0, 0, 0), (0, 0, 1.0)))
    whole = torch.ones(1, 1, 32, 32)
    middle = torch.zeros(1, 1, 32, 32)
    middle[..., 8:24, 8:24] = 1
    pixels, masks = side_by_side(blue, middle, red, middle, stream(0, "sides"))
    assert torch.allclose(masks.sum(), middle.sum() / 4, rtol=0.1)
    assert torch.allclose((pixels * masks).sum((2, 3)) / masks.sum(), torch.tensor([[1.0, 0, 0]]), atol=1e-3)
    assert torch.allclose(pixels * (1 - masks.ceil()), blue * (1 - masks.ceil()), atol=1e-3)
    assert masks.shape == whole.shape


def test_a_corpus_of_one_class_cannot_share_references(base: Any) -> None:
    class one_class(toys):
        def noun(self, picture: int) -> str:
            return "dog"

    draw = pairs(batch=2, ground="shared", corpus=one_class(24)).prepare(base)
    with pytest.raises(InputError, match="no other class than 'dog'"):
        draw(0, streams(0, 0))


def test_only_the_query_decides_what_is_selected(base: Any, rex: Subject, shared: References) -> None:
    """Queries and keys are fitted by least squares, patches of the subject to its noun's states: attention falls on the queried
    thing, and leaves it with the query."""
    selected = selected_states(rex, LOOK, width=64)
    own = {name: tensor.detach().clone() for name, tensor in _own(base, selected).items()}
    tokens = LOOK(base, shared)
    assert shared.masks is not None
    side = round(tokens.shape[2] - 1) ** 0.5
    inside = torch.nn.functional.adaptive_avg_pool2d(shared.masks[:, 0].float(), int(side)).flatten(1)
    query = base.text_states(list(shared.nouns), words={})
    asked = query.mean(1)
    asked = torch.nn.functional.layer_norm(asked - asked.mean(0), asked.shape[-1:])
    patches = torch.nn.functional.layer_norm(tokens[:, 0, 1:, 0], tokens.shape[-1:])
    seen = (patches * inside[..., None]).sum(1) / inside.sum(1, keepdim=True)
    fit = torch.linalg.lstsq(seen.T @ seen + 10 * torch.eye(seen.shape[1]), seen.T @ asked).solution  # [D, C]
    u, s, v = torch.linalg.svd(fit, full_matrices=False)
    own["selected.key"] = (u[:, :64] * s[:64].sqrt()).T
    own["selected.query"] = (v[:64].T * s[:64].sqrt()).T * 20
    found = selected.attention(own, tokens, query - query.mean(0)).mean(1)[:, 1:]
    share = (found * (inside > 0.1)).sum(1) / found.sum(1)
    chance = (inside > 0.1).float().mean(1)
    assert float(share.mean()) > 3 * float(chance.mean())
    swapped = selected.attention(own, tokens, (query - query.mean(0)).roll(1, 0)).mean(1)[:, 1:]
    others = (swapped * (inside > 0.1)).sum(1) / swapped.sum(1)
    assert float(share.mean()) > 1.3 * float(others.mean())


def test_changing_only_the_query_changes_the_states(base: Any, rex: Subject, shared: References) -> None:
    selected = selected_states(rex, LOOK)
    own, make = selected(base, {}, stream(0, "modifier"))
    first, second = shared.of([0, 0]), References(shared.pixels[[0, 0]], nouns=("dog", "car"))
    run = Pass(references=References(first.pixels, nouns=("dog", "dog")), random=streams(0, 0))
    same = make(own, run, 2)
    other = make(own, Pass(references=second, random=streams(0, 0)), 2)
    assert torch.equal(same[0], same[1])
    assert torch.equal(other[0], same[0])
    assert not torch.allclose(other[1], same[1], atol=1e-3)


def test_rows_without_references_have_states_of_zeros(base: Any, rex: Subject, shared: References) -> None:
    selected = selected_states(rex, LOOK)
    own, make = selected(base, {}, stream(0, "modifier"))
    gone = References(shared.pixels[:2], nouns=shared.nouns[:2], dropped=torch.tensor([True, False]))
    states = make(own, Pass(references=gone, random=streams(0, 0)), 2)
    assert not states[0].any()
    assert states[1].any()
