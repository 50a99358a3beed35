"""Portrait Diffusion: the values of a style image, the queries of a content image and then of the portrait."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import limner
from limner.core.recipe import Painting, Recipe
from limner.core.subject import Subject
from limner.core.types import AttentionCall
from limner.engine.attach import Adapter, attach
from limner.engine.sample import sample
from limner.errors import InputError
from limner.methods.face.portrait_diffusion import portrait_diffusion
from limner.parts.modifiers.query_transfer import apart
from tests.helpers import person

PROMPT = "a <rex>"
FOUR = limner.PaintSettings(steps=4)
STRENGTH = 1.5
PAINTED: dict[Any, tuple[Subject, Tensor]] = {}  # with the subject, so that its id stays its own


@pytest.fixture(scope="module")
def style() -> Subject:
    return person(2_000_003)


@pytest.fixture(scope="module")
def portrait(style: Subject) -> Subject:
    """The style with a content image: the face of somebody else."""
    return replace(style, without=person(2_000_096).pictures[:1])


def painted(
    base: Any, subject: Subject, *, seed: int = 3, settings: Any = FOUR, more: Any = None, **about: Any
) -> Tensor:
    """Latents of a portrait; several tests ask for the same ones."""
    key = (id(subject), seed, repr(settings), tuple(sorted(about.items())))
    if more or key not in PAINTED:
        adapter = Adapter(portrait_diffusion(subject, **about), subject.handle)
        with torch.no_grad(), attach(base, (adapter,)) as adapted:
            *_, last = sample(adapted, [PROMPT], seeds=[seed], settings=settings, conditions=more or {})
        if more:
            return last.latents
        PAINTED[key] = subject, last.latents
    return PAINTED[key][1]


def layers(base: Any, subject: Subject, **about: Any) -> list[SimpleNamespace]:
    """Every self-attention layer in every step: its call, and its output [branches, rows, H, N, d]."""
    seen: list[SimpleNamespace] = []

    def keep(call: AttentionCall) -> AttentionCall:
        if call.site.kind == "self":
            note = SimpleNamespace(index=call.site.index, step=call.run.step, changed=len(call.on_output) > 0)
            note.query, note.key, note.value = (
                x.unflatten(0, (2, 3)).clone() for x in (call.query, call.key, call.value)
            )

            def out(output: Tensor) -> Tensor:
                note.out = output.unflatten(0, (2, 3)).clone()
                return output

            call.on_output.append(out)
            seen.append(note)
        return call

    recipe = portrait_diffusion(subject, **about)
    recipe = replace(recipe, painting=replace(recipe.painting, operations=(keep,)))
    with torch.no_grad(), attach(base, (Adapter(recipe, subject.handle),)) as adapted:
        list(sample(adapted, [PROMPT], seeds=[3], settings=FOUR))
    return seen


def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return (query @ key.mT / query.shape[-1] ** 0.5).softmax(-1) @ value


STYLE, TARGET, CONTENT = 0, 1, 2


def test_values_are_the_styles_and_queries_the_contents_then_the_targets(base: Any, portrait: Subject) -> None:
    seen = layers(base, portrait, style_guidance=STRENGTH)
    times = [1 - float(time) / base.num_train_times for time in base.scheduler("", steps=4).timesteps]
    acting = [note for note in seen if note.changed]
    assert {times[note.step] >= 0.7 for note in acting} == {True, False}
    for note in acting:
        read = {
            row: attention(note.query[:, row], note.key[:, STYLE], note.value[:, STYLE])
            for row in (STYLE, TARGET, CONTENT)
        }
        wanted = read[CONTENT]
        if times[note.step] >= 0.7:
            wanted = wanted + STRENGTH * (read[TARGET] - wanted)
            assert not torch.allclose(read[TARGET], read[CONTENT], atol=1e-3)
        assert torch.allclose(note.out[:, STYLE], read[STYLE], atol=1e-4)
        assert torch.allclose(note.out[:, CONTENT], read[CONTENT], atol=1e-4)
        assert torch.allclose(note.out[:, TARGET], wanted, atol=1e-4)
    for note in (note for note in seen if not note.changed):  # the first layers stay as they are
        own = attention(note.query, note.key, note.value)
        assert torch.allclose(note.out, own, atol=1e-4)
    begun = [note for note in seen if times[note.step] >= 0.08]
    assert len(begun) < len(seen)
    assert {note.index for note in begun if not note.changed} == {0, 1}
    assert {(note.step, note.index) for note in acting} == {(n.step, n.index) for n in begun if n.index > 1}


def test_without_style_guidance_the_late_phase_has_the_contents_queries(base: Any, portrait: Subject) -> None:
    assert torch.equal(painted(base, portrait, style_guidance=0.0), painted(base, portrait, switch=1.0))
    assert not torch.allclose(painted(base, portrait), painted(base, portrait, switch=1.0), atol=1e-3)


def test_a_content_from_the_prompt_stays_without_the_style(base: Any, style: Subject) -> None:
    acting = [note for note in layers(base, style) if note.changed]
    assert acting
    for note in acting:
        own = attention(note.query[:, CONTENT], note.key[:, CONTENT], note.value[:, CONTENT])
        assert torch.allclose(note.out[:, CONTENT], own, atol=1e-4)
        assert not torch.allclose(note.out[:, TARGET], own, atol=1e-3)
    assert not torch.allclose(painted(base, style), painted(base, style, switch=1.0), atol=1e-3)


def test_the_content_image_and_not_the_seed_decides_the_portrait(base: Any, style: Subject, portrait: Subject) -> None:
    """An image of the condition "content" is the same as one that the style was learned with."""
    image = portrait.contrast.tensor(base.picture_size)
    first, other, given = (
        painted(base, portrait),
        painted(base, portrait, seed=4),
        painted(base, style, more={"content": image}),
    )
    assert torch.allclose(first, other, atol=1e-4)
    assert torch.allclose(first, given, atol=1e-3)
    from_prompts = painted(base, style), painted(base, style, seed=4)
    assert not torch.allclose(*from_prompts, atol=0.1)
    somebody_else = painted(base, style, more={"content": person(2_000_500).tensor(base.picture_size)[:1]})
    assert not torch.allclose(given, somebody_else, atol=0.1)


def test_the_style_of_the_content_itself_gives_the_content_back(base: Any, style: Subject, portrait: Subject) -> None:
    """No text is needed: without guidance the inverted content is painted again, and departs with another style."""
    about: dict[str, Any] = {"settings": limner.PaintSettings(steps=10), "text_guidance": 1.0, "style_guidance": 1.0}
    own = replace(style, without=style.pictures[:1])
    with torch.no_grad():
        contents = [base.encode(subject.contrast.tensor(base.picture_size)[:1])[0] for subject in (own, portrait)]
    same, changed = (painted(base, subject, **about) for subject in (own, portrait))
    lost = [float((found - content).square().mean() / content.square().mean())
            for found, content in zip((same, changed), contents, strict=True)]  # fmt: skip
    assert lost[0] < 0.15
    assert lost[1] > 2 * lost[0]


def masked(subject: Subject, size: int) -> Subject:
    """The left half of the style and the upper half of the content are the subject."""
    from PIL import Image

    left, top = (Image.new("L", (size, size)) for _ in range(2))
    left.paste(255, (0, 0, size // 2, size))
    top.paste(255, (0, 0, size, size // 2))
    pictures = tuple(replace(picture, mask=left) for picture in subject.pictures)
    return replace(subject, pictures=pictures, without=tuple(replace(p, mask=top) for p in subject.without))


@pytest.mark.parametrize("masks", ["apart", "inside"])
def test_masks_keep_face_and_background_to_their_own(base: Any, portrait: Subject, masks: str) -> None:
    seen = layers(base, masked(portrait, base.picture_size), masks=masks, style_guidance=STRENGTH)
    for note in (note for note in seen if note.changed):
        side = round(note.query.shape[3] ** 0.5)
        place = torch.arange(side**2)
        top, left = place < side**2 // 2, place % side < side // 2
        half = {
            face: attention(note.query, note.key[:, :1, :, left == face], note.value[:, :1, :, left == face])
            for face in (True, False)
        }
        styled = torch.where(top[:, None], half[True], half[False])  # [branches, rows, H, N, d]
        own, late = attention(note.query, note.key, note.value)[:, CONTENT], note.step == 3
        wanted = styled[:, CONTENT]
        if late:
            wanted = wanted + STRENGTH * (styled[:, TARGET] - wanted)
        if masks == "inside":
            wanted = torch.where(top[:, None], wanted, own) if late else own
        assert torch.allclose(note.out[:, TARGET], wanted, atol=1e-4)
        assert torch.allclose(note.out[:, CONTENT], own if masks == "inside" else styled[:, CONTENT], atol=1e-4)


def test_a_side_that_the_style_lacks_reads_all_of_it() -> None:
    content, nothing = torch.tensor([[True, False]]), torch.tensor([[False, False]])
    assert apart(content, torch.tensor([[True, False]]))[0, 0].isinf().tolist() == [[False, True], [True, False]]
    assert not apart(content, nothing).isinf().any()


def test_masks_of_a_content_from_the_prompt_are_refused(base: Any, style: Subject) -> None:
    with pytest.raises(InputError, match="needs the mask of the content image"):
        painted(base, masked(style, base.picture_size), masks="apart")
    with pytest.raises(InputError, match="masks must be 'none', 'apart' or 'inside'"):
        painted(base, style, masks="some")
    with pytest.raises(InputError, match="begin before switch"):
        painted(base, style, begin=0.8)


def test_streams_of_two_concepts_are_still_refused(base: Any, style: Subject) -> None:
    """One recipe may have a reference stream and parallel streams; of two recipes, neither knows of the other's."""
    painting = portrait_diffusion(style).painting
    one = Recipe(
        "person", portrait_diffusion(style).modifiers, painting=Painting(reference_stream=painting.reference_stream)
    )
    other = Recipe("person", painting=Painting(parallel_stream=painting.parallel_stream))
    adapters = Adapter(one, "<rex>"), Adapter(other, "<ada>")
    with attach(base, adapters) as adapted, pytest.raises(InputError, match="attach one at a time"):
        list(sample(adapted, [PROMPT], seeds=[3], settings=FOUR))
