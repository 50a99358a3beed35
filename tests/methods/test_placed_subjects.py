"""Subjects placed by boxes: grounding tokens in a gated self-attention (Subject-Diffusion)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import limner
from limner.core.regions import region_masks
from limner.core.streams import stream, streams
from limner.core.subject import Subject
from limner.core.types import Batch, Live, Pass
from limner.engine.attach import attach
from limner.engine.train import joined_references
from limner.errors import InputError
from limner.library.opening import adapter_of
from limner.methods.multi.subject_diffusion import CLAUSE
from limner.parts.encoders import alone, clip_before_last, each_of
from limner.parts.fusion import box_channel, grounding
from limner.parts.fusion.box_channel import outside_of
from limner.parts.fusion.grounding import grounded, grounding_sites
from limner.parts.fusion.words_of_pictures import with_clauses
from limner.parts.sources import placed
from limner.pocket.corpus import toys
from limner.pocket.subjects import toy
from tests.helpers import QUICK, begun_weights, learn_fast

LEFT, RIGHT = (0.0, 0.25, 0.5, 1.0), (0.5, 0.25, 1.0, 1.0)
PATCHES = alone(each_of(clip_before_last))


@pytest.fixture(scope="module")
def scene(base: Any) -> Batch:
    """Composed pictures, of which some show one subject and some two."""
    source = placed(batch=6, scenes=12, corpus=toys(24), drop_image=0, drop_text=0, drop_both=0)
    return source.prepare(base)(0, streams(0, 0))


@pytest.fixture(scope="module")
def bo() -> Subject:
    return toy("cat", 2_000_014, name="bo", count=2)


def opened(tensors: dict[str, Tensor], much: float = 1.0) -> None:
    """Set the gates, so that what they let through counts."""
    with torch.no_grad():
        for name, tensor in tensors.items():
            if name.endswith(("alpha", "beta")):
                tensor.fill_(much)


@contextmanager
def put_on(base: Any, part: Any) -> Iterator[Live]:
    with part(base, stored={}, generator=stream(0, "modifier"), scale=1.0) as live:
        yield live


def predicted(
    base: Any, lives: list[Live], box: Any, branch: str = "text", *, other: tuple[float, ...] | None = None
) -> Tensor:
    """A prediction with <rex> in a box and <bo> in another, or without regions. # [1, C, h, w]"""
    latents = torch.randn(1, *base.latent_shape, generator=stream(0, "latents"))
    given = {name: where for name, where in (("rex", box), ("bo", other)) if where}
    regions = region_masks(given, handles=["<rex>", "<bo>"], size=base.latent_shape[1:])
    operations = tuple(operation for live in lives for operation in live.operations)
    run = Pass(operations, torch.tensor([500]), step=0, branches=(branch,), lives=tuple(lives), regions=regions)
    for live in lives:
        live.run = run
    with torch.no_grad():
        return base.predict(latents, torch.tensor([500]), base.text_states(["a dog"], words={}), context=run)


# ----------------------------------------------------------------------------------------------------------- the source


def test_boxes_of_composed_pictures_are_those_of_the_masks(base: Any, scene: Batch) -> None:
    assert scene.references is not None
    assert scene.mask is not None
    boxes, (other,) = scene.references.boxes, scene.references.beside
    assert boxes is not None
    assert other.boxes is not None
    assert other.dropped is not None
    assert torch.equal(other.dropped, other.boxes.isnan().any(1))
    assert 0 < int(other.dropped.sum()) < len(boxes)
    outside = outside_of([boxes], *base.latent_shape[1:])
    assert float((scene.mask * outside).sum()) < 0.1 * float(scene.mask.sum())
    two = ~other.dropped
    apart = (boxes[two, 2] <= other.boxes[two, 0] + 0.02) | (other.boxes[two, 2] <= boxes[two, 0] + 0.02)
    assert bool(apart.all())
    assert all((" and " in prompt) == bool(there) for prompt, there in zip(scene.prompts, two, strict=True))


def test_a_scene_is_the_same_whatever_it_was_made_with(base: Any) -> None:
    about: dict[str, Any] = {"scenes": 4, "corpus": toys(24), "drop_text": 0}
    first, second = (placed(batch=size, **about).prepare(base) for size in (2, 6))
    one, _ = first(0, streams(0, 0)), second(1, streams(0, 1))
    again = second(0, streams(0, 0))
    assert torch.equal(one.latents, again.latents[:2])
    assert torch.equal(one.references.boxes, again.references.boxes[:2])  # type: ignore[union-attr]


def test_a_corpus_without_masks_cannot_be_composed(base: Any) -> None:
    class bare(toys):
        def drawn(self, pictures: Any, size: int) -> tuple[Tensor, None]:
            return super().drawn(pictures, size)[0], None

        @property
        def fingerprint(self) -> str:
            return "bare toys"

    with pytest.raises(InputError, match="cuts out by their masks"):
        placed(batch=2, corpus=bare(24)).prepare(base)


def test_joined_references_keep_boxes_and_further_subjects(scene: Batch) -> None:
    assert scene.references is not None
    alone = replace(scene, references=replace(scene.references, beside=()))
    joined = joined_references([scene, alone])
    assert joined is not None
    assert joined.boxes is not None
    assert len(joined.boxes) == 12
    (other,) = joined.beside
    assert other.on.tolist() == [*scene.references.beside[0].on.tolist(), *[False] * 6]
    assert len(joined.of([0, 7]).beside[0]) == 2


# -------------------------------------------------------------------------------------------------------- the grounding


@pytest.mark.parametrize("look", [None, PATCHES], ids=["text", "pictures"])
def test_at_first_a_box_changes_nothing_and_then_it_does(base: Any, rex: Subject, look: Any) -> None:
    plain = predicted(base, [], LEFT)
    with put_on(base, grounding(rex, look)) as live:
        assert torch.equal(predicted(base, [live], LEFT), plain)
        opened(live.tensors)
        left, right, nowhere = (predicted(base, [live], box) for box in (LEFT, RIGHT, None))
        assert not torch.allclose(left, plain, atol=1e-3)
        assert not torch.allclose(left, right, atol=1e-4)
        assert torch.equal(nowhere, plain) == (look is None)  # without a picture, nothing is known but the box
        assert torch.equal(predicted(base, [live], LEFT, "negative"), plain)
    assert torch.equal(predicted(base, [], LEFT), plain)


def test_it_stands_before_the_last_cross_attention_of_each_block(base: Any) -> None:
    sites = grounding_sites(base)
    blocks = [name.removeprefix("denoiser.") for name in base.transformer_blocks()]
    assert sorted(site.name.rpartition(".")[0] for site in sites) == sorted(blocks)
    assert all(base.module("denoiser").get_submodule(site.name) is not None for site in sites)


def test_absent_tokens_are_not_attended_to(base: Any, rex: Subject) -> None:
    site = grounding_sites(base)[0]
    with put_on(base, grounding(rex)) as live:
        own = {n.split(f"{site.name}.")[1]: t for n, t in live.tensors.items() if f".{site.name}." in n}
    hidden = torch.randn(2, 9, base.attention_widths(site)[1], generator=stream(0, "hidden"))
    tokens = torch.randn(2, 4, 64, generator=stream(0, "tokens"))
    there = torch.tensor([[True, True, False, False]] * 2)
    wanted = grounded(hidden, tokens[:, :2], there[:, :2], own)
    assert torch.allclose(grounded(hidden, tokens, there, own), wanted, atol=1e-5)
    assert not torch.allclose(grounded(hidden, tokens, ~there, own), wanted, atol=1e-3)


def test_two_subjects_are_grounded_in_one_attention(base: Any, rex: Subject, bo: Subject) -> None:
    """Two concepts equal one attention over the tokens of both, not two attentions one behind the other."""
    with put_on(base, grounding(rex)) as first, put_on(base, grounding(bo)) as second:
        opened(first.tensors)
        opened(second.tensors)
        one, other, both, turned = (
            predicted(base, lives, LEFT, other=box)
            for lives, box in (
                ([first], None),
                ([first, second], None),
                ([first, second], RIGHT),
                ([second, first], RIGHT),
            )
        )
    assert torch.allclose(one, other, atol=1e-5)  # without a region, the second has no token
    assert not torch.allclose(one, both, atol=1e-3)
    assert torch.allclose(both, turned, atol=1e-4)


def test_rows_without_references_are_unchanged(base: Any, rex: Subject, scene: Batch) -> None:
    assert scene.references is not None
    gone = replace(scene.references, dropped=torch.tensor([True] + [False] * 5))
    with put_on(base, grounding(rex, PATCHES)) as live:
        outputs = []
        for gate in (0.0, 1.0):
            opened(live.tensors, gate)
            run = Pass(live.operations, references=gone, random=streams(0, 0), lives=(live,))
            states = base.text_states(list(scene.prompts), words={})
            with torch.no_grad():
                outputs.append(base.predict(scene.latents, torch.full((6,), 500), states, context=run))
    assert torch.equal(outputs[0][0], outputs[1][0])
    assert not torch.allclose(outputs[0][1:], outputs[1][1:], atol=1e-3)


def test_it_acts_in_the_first_share_of_sampling(base: Any, rex: Subject) -> None:
    plain = predicted(base, [], LEFT)  # at half of the time
    for until, acts in ((0.4, False), (0.6, True)):
        with put_on(base, grounding(rex, until=until)) as live:
            opened(live.tensors)
            assert torch.equal(predicted(base, [live], LEFT), plain) != acts


# ---------------------------------------------------------------------------------------------------- Subject-Diffusion


def test_the_channel_is_zero_in_boxes_and_where_none_is_known() -> None:
    boxes = torch.tensor([[0.0, 0.0, 0.5, 0.5], [torch.nan] * 4])
    other = torch.tensor([[0.5, 0.5, 1.0, 1.0], [torch.nan] * 4])
    channel = outside_of([boxes, other], 4, 4)[:, 0]
    assert channel[0].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]]
    assert not channel[1].any()


def test_the_channel_changes_nothing_at_first_and_is_undone(base: Any, rex: Subject) -> None:
    plain = predicted(base, [], LEFT)
    with put_on(base, box_channel(rex)) as live:
        assert torch.equal(predicted(base, [live], LEFT), plain)
        with torch.no_grad():
            live.tensors["box_channel.kernel"].normal_(generator=stream(0, "kernel"))
        left, right = (predicted(base, [live], box) for box in (LEFT, RIGHT))
        assert not torch.allclose(left, right, atol=1e-3)
        assert torch.equal(predicted(base, [live], None), plain)
    assert torch.equal(predicted(base, [], LEFT), plain)


def test_every_subject_has_a_clause_at_the_end(rex: Subject, bo: Subject) -> None:
    run = Pass(prompts=("<rex> beside <bo> on the beach", "a <rex>"), branches=("text", "negative"))
    assert with_clauses(run, [0, 1], rex, CLAUSE) == ["dog beside <bo> on the beach, the dog is <rex>", "a dog"]
    (last,) = with_clauses(run, [0], bo, CLAUSE)
    assert last == "dog beside cat on the beach, the dog is <rex>, the cat is <bo>"


def test_moving_a_box_leaves_the_text_as_it_is(base: Any, rex: Subject) -> None:
    """The box reaches the picture through grounding and channel alone: cross-attention reads the same states."""
    begun_weights("subject_diffusion", base)
    concept = learn_fast(base, "subject_diffusion", rex)
    seen: list[Tensor] = []
    latents = []
    with attach(base, [adapter_of(concept, base)]) as adapted, torch.no_grad():
        for box in (LEFT, RIGHT):
            time, x = torch.tensor([500]), torch.zeros(1, *base.latent_shape)
            run = adapted.run(time=time, latents=x, prompts=("a photo of <rex>",), step=0)
            run.regions = region_masks({"rex": box}, handles=["<rex>"], size=base.latent_shape[1:])
            run.operations += (lambda call: seen.append(call.states) or call,)  # type: ignore[func-returns-value]
            latents.append(base.predict(x, time, adapted.text_states(["a photo of <rex>"]), context=run))
    half = len(seen) // 2
    cross = [k for k, states in enumerate(seen[:half]) if states.shape[1:] == base.states_shape]
    assert cross
    assert all(torch.equal(seen[k], seen[half + k]) for k in cross)
    assert not torch.allclose(latents[0], latents[1], atol=1e-4)


def test_two_subjects_share_the_guidance_and_are_painted_in_one_pass(base: Any, rex: Subject, bo: Subject) -> None:
    begun_weights("subject_diffusion", base)
    concepts = [learn_fast(base, "subject_diffusion", subject) for subject in (rex, bo)]
    settings = replace(QUICK, compose="attention")
    pictures = [
        limner.paint(base, "<rex> beside <bo>", concepts=concepts, regions=regions, settings=settings)[
            0
        ].image.tobytes()
        for regions in ({"rex": LEFT, "bo": RIGHT}, {"rex": RIGHT, "bo": LEFT})
    ]
    assert pictures[0] != pictures[1]
    with pytest.raises(InputError, match="give compose 'attention'"):
        limner.paint(base, "<rex> beside <bo>", concepts=concepts, regions={"rex": LEFT}, settings=QUICK)
