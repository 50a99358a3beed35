"""Subjects placed by boxes: grounding tokens in a gated self-attention (Subject-Diffusion, PACGen), and shading of each
instance alone (MIGC)."""

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
from limner.core.weights import shipped
from limner.engine.attach import Adapter, attach
from limner.engine.train import joined_references, train
from limner.errors import InputError
from limner.library.opening import adapter_of
from limner.methods import methods
from limner.methods.multi.subject_diffusion import CLAUSE
from limner.parts.encoders import alone, clip_before_last, clip_global, each_of, mean_of
from limner.parts.fusion import box_channel, grounding, instance_shading
from limner.parts.fusion.aggregation import aggregated, aggregation_start
from limner.parts.fusion.box_channel import outside_of
from limner.parts.fusion.grounding import grounded, grounding_sites
from limner.parts.fusion.instances import MAPS, layout_attention, phrase_before, shaded_sites
from limner.parts.fusion.words_of_pictures import with_clauses
from limner.parts.guidance import guided_by_region
from limner.parts.objectives.inhibition import unevenness
from limner.parts.sources import photos, placed, relocated
from limner.parts.sources.relocated import on_canvas
from limner.pocket.corpus import toys
from limner.pocket.subjects import toy
from tests.helpers import QUICK, begun_weights, fast, learn_fast

LEFT, RIGHT = (0.0, 0.25, 0.5, 1.0), (0.5, 0.25, 1.0, 1.0)
PATCHES = alone(each_of(clip_before_last))


@pytest.fixture(scope="module")
def scene(base: Any) -> Batch:
    """Composed pictures, of which some show one subject and some two."""
    source = placed(batch=6, scenes=12, corpus=toys(24), masked=True, drop_image=0, drop_text=0, drop_both=0)
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
    for batch in (one, again):
        assert batch.references is not None
        assert batch.references.boxes is not None
    assert torch.equal(one.references.boxes, again.references.boxes[:2])  # type: ignore[union-attr,arg-type,index]


def test_a_corpus_without_masks_cannot_be_composed(base: Any) -> None:
    class bare(toys):
        def drawn(self, pictures: Any, size: int) -> tuple[Tensor, None]:
            return super().drawn(pictures, size)[0], None

        @property
        def fingerprint(self) -> str:
            return "bare toys"

    with pytest.raises(InputError, match="cuts out by their masks"):
        placed(batch=2, scenes=2, corpus=bare(2)).prepare(base)


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


# --------------------------------------------------------------------------------------------------------------- PACGen


def _centres(base: Any, subject: Subject, source: Any) -> Tensor:
    """Centres of what is not plain ground in a source's pictures, as shares. # [n, 2]"""
    draw = source.prepare(base)
    pixels = torch.cat([base.decode(draw(k, streams(0, k)).latents) for k in range(4)])
    dark = (pixels.mean(1) < 0.9).float()
    place = (torch.arange(dark.shape[-1]) + 0.5) / dark.shape[-1]
    total = dark.sum((1, 2))
    return torch.stack([(dark.sum(1) * place).sum(1), (dark.sum(2) * place).sum(1)], 1) / total[:, None]


def test_relocated_pictures_stand_anywhere(base: Any, rex: Subject) -> None:
    """The subject's place does not follow from its picture; it does in the pictures as they are."""
    about: dict[str, Any] = {"batch": 6}
    moved = _centres(base, rex, relocated(rex, **about, views=24, most=0.6))
    still = _centres(base, rex, photos(rex, **about))
    assert float(moved.std(0).min()) > 0.08
    assert float(moved.std(0).min()) > 3 * float(still.std(0).max())


def test_a_picture_on_the_canvas_keeps_its_middle_and_nothing_else_shows() -> None:
    picture = torch.zeros(1, 3, 32, 32)
    picture[..., :4], picture[..., 28:] = 0.5, 0.5  # a border that the crop removes
    (canvas,) = on_canvas(picture, torch.tensor([0.5]), torch.tensor([0.6]), torch.tensor([[1.0, 0.0]]))
    inside = torch.zeros(32, 32, dtype=torch.bool)
    inside[:16, 16:] = True  # at the right and top edge
    assert float(canvas[:, inside].abs().max()) < 1e-5
    assert bool((canvas[:, ~inside] == 1).all())


def test_guidance_differs_inside_and_outside_of_regions() -> None:
    """negative + w (text - negative) inside, faults + w (quality - faults) outside."""
    values = {"negative": 1.0, "text": 2.0, "faults": 10.0, "quality": 13.0}
    asked: list[tuple[str, ...]] = []

    def denoise(x: Tensor, t: Tensor, *, branches: tuple[str, ...] = ("text",)) -> tuple[Tensor, ...]:
        asked.append(branches)
        return tuple(torch.full_like(x, values[branch]) for branch in branches)

    region = torch.tensor([1.0, 0.0, 0.5, 0.0]).view(1, 1, 2, 2)
    x, t = torch.zeros(1, 3, 2, 2), torch.tensor([500])
    (out,) = guided_by_region().for_regions({"<rex>": region})(denoise, 4.0)(x, t)
    inside, outside = 1 + 4 * (2 - 1), 10 + 4 * (13 - 10)
    assert out[0, 0].flatten().tolist() == [inside, outside, (inside + outside) / 2, outside]
    (alone,) = guided_by_region().for_regions({"<rex>": region})(denoise, 1.0)(x, t)
    assert alone[0, 0].flatten().tolist() == [2, 13, 7.5, 13]
    (plain,) = guided_by_region()(denoise, 4.0)(x, t)
    assert bool((plain == inside).all())
    assert asked[-1] == ("negative", "text")


def test_the_grounding_is_frozen_and_silent_in_tuning(base: Any, rex: Subject) -> None:
    """Tuning is DreamBooth's: with open gates, the same updates as without the adapter."""
    begun_weights("pacgen", base)
    concept = learn_fast(base, "pacgen", rex)
    assert all(name.startswith("denoiser.") for name in concept.tensors)
    own, grounded_too = methods()["pacgen"](rex, **fast(methods()["pacgen"])), []
    for recipe in (own, replace(own, modifiers=())):
        shipped_tensors = shipped("pacgen", base) if recipe.modifiers else {}
        running = train(base, Adapter(recipe, "<rex>", shipped_tensors), stages=own.tuning, seed=0)
        *_, last = (p.snapshot().tensors if p.last else {} for p in running)
        grounded_too.append(last)
    assert grounded_too[1]
    assert all(torch.equal(grounded_too[0][name], tensor) for name, tensor in grounded_too[1].items())


def test_a_box_and_the_prompts_of_its_surroundings_change_the_picture(base: Any, rex: Subject) -> None:
    begun_weights("pacgen", base)
    concept = learn_fast(base, "pacgen", rex)
    other = learn_fast(base, "pacgen", rex, faults="a red car")
    settings = replace(QUICK, compose="attention")
    pictures = [
        limner.paint(base, "<rex>", concepts=[own], regions={"rex": box} if box else None, settings=settings)[0].image
        for own, box in ((concept, LEFT), (concept, RIGHT), (other, LEFT), (concept, None), (other, None))
    ]
    left, right, faults, nowhere, again = (picture.tobytes() for picture in pictures)
    assert len({left, right, faults, nowhere}) == 4
    assert nowhere == again  # without regions, nothing is outside of them


# ----------------------------------------------------------------------------------------------------------------- MIGC


def _aggregation(width: int = 12, slots: int = 6) -> dict[str, Tensor]:
    return aggregation_start(width, slots, stream(0, "aggregation"))


def test_weights_sum_to_one_at_every_position() -> None:
    at = stream(0, "shadings")
    shadings = [torch.randn(2, 16, 12, generator=at) for _ in range(4)]
    masks = [(torch.rand(2, 16, 1, generator=at) > 0.5).float() for _ in range(4)]
    out, weights = aggregated(shadings, masks, _aggregation(), slots=6, order=torch.randperm(4, generator=at))
    assert weights.shape == (2, 4, 16, 1)
    assert torch.allclose(weights.sum(1), torch.ones(2, 16, 1), atol=1e-5)
    wanted = sum(weights[:, k] * shading for k, shading in enumerate(shadings))
    assert torch.allclose(out, wanted, atol=1e-5)  # type: ignore[arg-type]  # a sum of tensors
    inside = masks[1][..., 0] > 0
    assert float(weights[:, 1, :, 0][inside].mean()) > float(weights[:, 1, :, 0][~inside].mean())


def test_a_slot_has_the_weight_of_its_own_score() -> None:
    """The order of slots is undone: with gates alike for all slots, it does not matter."""
    own = _aggregation()
    own = {name: torch.zeros_like(t) if name.startswith("slots.") else t for name, t in own.items()}
    at = stream(0, "shadings")
    shadings, masks = [torch.randn(1, 16, 12, generator=at) for _ in range(5)], [torch.ones(1, 16, 1)] * 5
    orders = torch.arange(4), torch.tensor([2, 0, 3, 1])
    first, second = (aggregated(shadings, masks, own, slots=6, order=order)[1] for order in orders)
    assert torch.allclose(first, second, atol=1e-6)
    assert not torch.allclose(first[:, 1], first[:, 2], atol=1e-4)


def test_layout_attention_stays_within_an_instance() -> None:
    hidden = torch.randn(1, 8, 12, generator=stream(0, "hidden"))
    own = {
        f"layout.{part}": torch.randn(12, 12, generator=stream(0, part)) for part in ("query", "key", "value", "out")
    }
    first = torch.tensor([1.0, 1, 1, 0, 0, 0, 0, 0]).view(1, 8, 1)
    second = torch.tensor([0.0, 0, 0, 1, 1, 0, 0, 0]).view(1, 8, 1)
    masks = [1 - first - second, first, second]
    moved = hidden.clone()
    moved[:, 3:5] += 1
    before, after = layout_attention(hidden, masks, own), layout_attention(moved, masks, own)
    changed = (before - after).abs().amax(-1)[0] > 1e-6
    assert changed.tolist() == [False, False, False, True, True, False, False, False]


def test_phrases_are_the_words_before_the_handle(rex: Subject) -> None:
    for prompt, phrase in {
        "a red <rex> beside a blue <bo>": "a red dog",
        "<rex> on the beach": "dog",
        "a photo of the old striped <rex>": "the old striped dog",
        "on the beach, <rex>": "dog",
        "a cat on the beach": "",
        "a <bo> and <rex>": "dog",
    }.items():
        assert phrase_before(prompt, rex) == phrase, prompt


def test_each_instance_reads_its_own_phrase_inside_of_its_box(base: Any, rex: Subject, bo: Subject) -> None:
    """Attribute binding: the words of one instance change a shaded layer in its own box, in another's not at all."""
    parts = [instance_shading(subject, alone(mean_of(clip_global))) for subject in (rex, bo)]
    site = shaded_sites(base)[-1]

    def shadings(prompt: str) -> list[Tensor]:
        kept: list[Tensor] = []

        def keep(given: Any, *rest: Any, **more: Any) -> tuple[Tensor, Tensor]:
            kept.extend(given)
            return aggregated(given, *rest, **more)

        with put_on(base, parts[0]) as first, put_on(base, parts[1]) as second, pytest.MonkeyPatch.context() as patch:
            patch.setattr("limner.parts.fusion.instances.aggregated", keep)
            given = {"rex": LEFT, "bo": RIGHT}
            regions = region_masks(given, handles=["<rex>", "<bo>"], size=base.latent_shape[1:])
            layer = base.module("denoiser").get_submodule(site.name)
            run = Pass(first.operations + second.operations, torch.tensor([900]), step=0, prompts=(prompt,))
            run.lives, run.regions = (first, second), regions
            wide = base.attention_widths(site)[1]
            hidden = torch.randn(1, 64, wide, generator=stream(0, "hidden"))
            with torch.no_grad():
                layer(hidden, encoder_hidden_states=base.text_states(["two toys"], words={}), run=run)
        return kept

    plain, turned = shadings("a red <rex> beside a blue <bo>"), shadings("a green <rex> beside a blue <bo>")
    background, own, other, template = (torch.equal(a, b) for a, b in zip(plain, turned, strict=True))
    assert (background, own, other, template) == (True, False, True, True)
    columns = plain[1].abs().amax(-1).view(8, 8).amax(0) > 0
    assert columns.tolist() == [True] * 4 + [False] * 4
    swapped = shadings("a blue <rex> beside a red <bo>")
    assert not torch.allclose(swapped[1], plain[1], atol=1e-4)
    assert not torch.allclose(swapped[2], plain[2], atol=1e-4)


def test_the_controller_acts_in_the_first_share_of_sampling_and_not_without_the_handle(base: Any, rex: Subject) -> None:
    plain = predicted(base, [], LEFT)  # at half of the time, and with a prompt without the handle
    latents = torch.randn(1, *base.latent_shape, generator=stream(0, "latents"))
    for until, prompt, acts in ((0.4, "a <rex>", False), (0.6, "a <rex>", True), (0.6, "a dog", False)):
        with put_on(base, instance_shading(rex, alone(mean_of(clip_global)), until=until)) as live, torch.no_grad():
            run = Pass(live.operations, torch.tensor([500]), step=0, prompts=(prompt,), lives=(live,))
            out = base.predict(latents, torch.tensor([500]), base.text_states(["a dog"], words={}), context=run)
        assert torch.equal(out, plain) != acts


def test_inhibition_is_zero_for_even_attention_in_the_background() -> None:
    background = torch.tensor([[[1.0, 1, 0, 0]]])
    maps = torch.tensor([[[0.3, 0.3, 0.9, 0.1]], [[0.1, 0.5, 0.9, 0.1]]])
    assert float(unevenness(maps[:1], background)) == pytest.approx(0, abs=1e-6)
    assert float(unevenness(maps[1:], background)) == pytest.approx(0.2)


def test_inhibition_reads_the_nouns_of_both_instances(base: Any, rex: Subject) -> None:
    recipe = methods()["migc"](rex, batch=4)
    (stage,) = recipe.pretraining
    with attach(base, [Adapter(recipe, "<rex>")]) as adapted:
        about: dict[str, Any] = {"scenes": 8, "corpus": toys(24), "drop_image": 0.0, "drop_text": 0.0}
        batch = placed(batch=4, drop_both=0.0, named="{looks}", beside="{looks}", **about).prepare(base)(
            0, streams(0, 0)
        )
        run = adapted.run(references=batch.references, prompts=batch.prompts, random=streams(0, 0))
        states = base.text_states(list(batch.prompts), words={})
        with torch.no_grad():
            base.predict(batch.latents, torch.full((4,), 500), states, context=run)
    maps = {name: kept for name, kept in run.activations.items() if name.startswith(MAPS)}
    assert batch.references is not None
    there = torch.stack([batch.references.on, batch.references.beside[0].on], 1)
    assert len(stage.loss) == 2
    # a layer may attend to the begin token alone
    assert torch.equal(torch.stack([kept.amax(-1) for kept in maps.values()]).sum(0) > 0, there)


def test_more_instances_than_slots_are_refused(base: Any, rex: Subject) -> None:
    begun_weights("migc", base)
    concepts = [learn_fast(base, "migc", toy("cat", 2_000_014 + k, name=f"c{k}", count=1)) for k in range(7)]
    prompt = " and ".join(concept.handle for concept in concepts)
    with pytest.raises(InputError, match="7 instances are in one picture, and this method has places for 6"):
        limner.paint(base, prompt, concepts=concepts, settings=QUICK)
