"""Styles learned from sets: auxiliary pictures, a token for each attribute, rounds of active learning."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor

import limner
from limner.core.recipe import Recipe
from limner.core.streams import streams
from limner.core.subject import Subject
from limner.engine.attach import Adapter, attach
from limner.engine.sample import sample
from limner.errors import InputError, PictureError
from limner.library.opening import adapter_of
from limner.methods import methods
from limner.parts.modifiers import rare_word
from limner.pocket import SIZE
from limner.pocket.subjects import toy
from limner.pocket.world.styles import stylise
from limner.workflows.events import Note
from limner.workflows.requests import LearnRequest
from limner.workflows.run import run as run_request
from tests.helpers import QUICK, fast, learn_fast, same, state, untouched


def in_style(kind: str, seed: int, family: str, count: int = 3) -> Tensor:
    """Pictures of a toy in a hand of a style family. # [n, 3, H, W]"""
    pixels = toy(kind, seed, count=count).tensor(SIZE)
    return stylise(pixels, [family] * count, list(range(count)))


@pytest.fixture(scope="module")
def style() -> Subject:
    """Pictures of chairs in watercolour, with auxiliary ones of a dog in charcoal."""
    middle = ImageOps.expand(Image.new("L", (SIZE // 2, SIZE // 2), 255), SIZE // 4)
    return Subject.of(
        in_style("chair", 2_000_040, "watercolour"),
        noun="watercolour",
        handle="sty",
        kind="style",
        masks=[middle] * 3,
        auxiliary=in_style("dog", 2_000_012, "charcoal", 2),
    )


def recipe_of(name: str, subject: Subject, **more: Any) -> Recipe:
    return methods()[name](subject, **fast(methods()[name], **more))


# ----------------------------------------------------------------------------------------------------------- StyleBoost


def nearest(base: Any, latents: Tensor, sets: dict[str, Tensor]) -> list[str]:
    """For each row of latents, the name of the set of pictures that the nearest one is of."""
    means = {name: base.encode(pixels)[0] for name, pixels in sets.items()}
    return [min(means, key=lambda name: float((means[name] - row).flatten(1).norm(dim=1).min())) for row in latents]


def test_styleboost_learns_the_auxiliary_pictures_under_the_generic_word(base: Any, style: Subject) -> None:
    own, auxiliary = (
        term.source.prepare(base)(0, streams(0)) for term in recipe_of("styleboost", style).stages[0].loss
    )
    sets = {"own": style.tensor(SIZE), "auxiliary": replace(style, pictures=style.auxiliary).tensor(SIZE)}
    assert set(own.prompts) == {"<sty>"}
    assert set(auxiliary.prompts) == {"watercolour"}
    with torch.no_grad():
        assert set(nearest(base, own.latents, sets)) == {"own"}
        assert set(nearest(base, auxiliary.latents, sets)) == {"auxiliary"}


def test_auxiliary_pictures_change_the_style(base: Any, style: Subject) -> None:
    """Others of them teach another concept, and so do pictures of the base's own; without their term they do not."""
    other = replace(style, auxiliary=Subject.of(in_style("cat", 2_000_031, "pop art"), noun="x", handle="y").pictures)
    before = state(base)
    learned = [learn_fast(base, "styleboost", each) for each in (style, other, replace(style, auxiliary=()))]
    assert not any(same(learned[0].tensors, each.tensors) for each in learned[1:])
    alone = [learn_fast(base, "styleboost", each, auxiliary_weight=0.0) for each in (style, other)]
    assert same(alone[0].tensors, alone[1].tensors)
    assert same(state(base), before)
    assert untouched(base)


def test_without_auxiliary_pictures_the_base_paints_some_and_says_so(base: Any, style: Subject) -> None:
    bare = recipe_of("styleboost", replace(style, auxiliary=()))
    assert bare.stages[0].loss[1].source.learns_from == "class"
    assert "no auxiliary pictures for <sty> (--auxiliary FOLDER)" in bare.notes[0]
    assert set(bare.stages[0].loss[1].source.prepare(base)(0, streams(0)).prompts) == {"watercolour"}
    assert not recipe_of("styleboost", style).notes


def test_auxiliary_pictures_are_checked_as_any_stranger_s(style: Subject, tmp_path: Path) -> None:
    about: dict[str, Any] = {"noun": "watercolour", "handle": "sty", "kind": "style"}
    with pytest.raises(PictureError, match="there are no pictures in"):
        Subject.of(list(style.pictures), auxiliary=tmp_path, **about)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(PictureError, match="broken"):
        Subject.of(list(style.pictures), auxiliary=tmp_path, **about)
    named = tuple(replace(picture, caption="a dog in <sty>") for picture in style.auxiliary)
    with pytest.raises(InputError, match="names <sty>, whose pictures it is not among"):
        recipe_of("styleboost", replace(style, auxiliary=named))


def test_auxiliary_pictures_that_a_method_does_not_use_are_noted(photos: Path, tmp_path: Path) -> None:
    request = LearnRequest(
        pictures=(photos,), noun="dog", name="rex", method="stylealigned", auxiliary=photos, out=tmp_path,
        preview=0, score=False, check=False,
    )  # fmt: skip
    notes = [event.text for event in run_request(request) if isinstance(event, Note)]
    assert any("the auxiliary pictures of rex were not used: stylealigned" in note for note in notes)


# ----------------------------------------------------------------------------------------------------------- StyleForge


def with_scenery(style: Subject) -> Subject:
    scenery = Subject.of(in_style("house", 2_000_050, "watercolour"), noun="watercolour", handle="bg", kind="style")
    return replace(style, beside=(scenery,))


def tokens_of(base: Any, recipe: Recipe) -> dict[str, str]:
    """Handle -> the rare token that replaces it."""
    answers = {"<sty>": recipe.says, **{answer.handle: answer.says for answer in recipe.also}}
    return {handle: says(base).split()[0] for handle, says in answers.items() if not isinstance(says, str)}


@pytest.mark.parametrize("split", ["by folders", "by masks"])
def test_every_training_picture_names_exactly_one_token(base: Any, style: Subject, split: str) -> None:
    subject = with_scenery(style) if split == "by folders" else style
    recipe = recipe_of("styleforge", subject)
    tokens = tokens_of(base, recipe)
    assert len(set(tokens.values())) == 2
    named = []
    with attach(base, [Adapter(recipe, "<sty>")]) as adapted:
        for term in recipe.stages[0].loss:
            texts = {adapted.expand_prompt(text) for text in term.source.prepare(base)(0, streams(0)).prompts}
            counts = [sum(word in tokens.values() for word in text.split()) for text in texts]
            assert counts == [0 if "auxiliary" in term.source.name else 1] * len(texts)
            named += [word for text in texts for word in text.split() if word in tokens.values()]
    assert sorted(named) == sorted(tokens.values())


def test_folders_keep_attributes_apart_and_masks_split_one_set(base: Any, style: Subject) -> None:
    subject = with_scenery(style)
    sets = {one.handle: one.tensor(SIZE) for one in (subject, *subject.beside)}
    for term, handle in zip(recipe_of("styleforge", subject).stages[0].loss[::2], sets, strict=True):
        batch = term.source.prepare(base)(0, streams(0))
        assert set(batch.prompts) == {handle}
        assert batch.mask is None
        with torch.no_grad():
            assert set(nearest(base, batch.latents, sets)) == {handle}
    masked = [term.source for term in recipe_of("styleforge", style).stages[0].loss[::2]]
    # one number of random draws for both, so that their rows show the same pictures
    inside, outside = (source.prepare(base)(0, streams(0)) for source in masked)
    assert inside.mask is not None
    assert outside.mask is not None
    assert torch.allclose(inside.mask + outside.mask, torch.ones_like(inside.mask), atol=1e-5)


def test_tokens_of_one_concept_differ_where_handles_collide(base: Any, style: Subject) -> None:
    rare = base.rare_words
    same_place = next(
        name for name in (f"bg{k}" for k in range(1000))
        if zlib.crc32(f"<{name}>".encode()) % len(rare) == zlib.crc32(b"<sty>") % len(rare)
    )  # fmt: skip
    assert rare_word(f"<{same_place}>")(base) == rare_word("<sty>")(base)
    second = replace(with_scenery(style).beside[0], handle=f"<{same_place}>")
    tokens = tokens_of(base, recipe_of("styleforge", replace(style, beside=(second,))))
    assert len(set(tokens.values())) == 2
    assert rare_word("<sty>")(base) in tokens.values()


def test_attributes_that_cannot_be_told_apart_are_refused(style: Subject) -> None:
    with pytest.raises(InputError, match="<bg> has no pictures of its own"):
        recipe_of("styleforge", replace(style, beside=(Subject.shown_with("bg", noun="picture"),)))
    subject = with_scenery(style)
    pictures = tuple(replace(picture, caption="<sty> and <bg>") for picture in subject.pictures)
    with pytest.raises(InputError, match="names <bg> beside <sty>"):
        recipe_of("styleforge", replace(subject, pictures=pictures))


# ------------------------------------------------------------------------------------------------------------------ GAL


def test_gal_reads_a_style_in_plain_words_and_a_thing_by_a_rare_token(base: Any, style: Subject, rex: Subject) -> None:
    plain, thing = recipe_of("gal", style), recipe_of("gal", rex)
    assert plain.says == "watercolour"
    assert thing.words(base) == f"{rare_word('<rex>')(base)} dog"
    assert [len(stage.loss) for stage in plain.stages] == [1, 1]
    assert [len(stage.loss) for stage in thing.stages] == [2, 2]
    assert "class" in thing.stages[0].learns_from


def test_every_round_of_gal_begins_with_the_base(base: Any, style: Subject, rex: Subject) -> None:
    for subject in (style, rex):
        stages = recipe_of("gal", subject, cycles=3).stages
        assert all(stage.anew for stage in stages)
        assert [bool(stage.loss[0].source.gather) for stage in stages] == [False, True, True]
        assert len({stage.loss[0].source.name for stage in stages[1:]}) == 1


def test_a_caption_of_a_style_is_the_prompt_that_samples_are_compared_with(
    base: Any, style: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    from limner.parts.sources import active

    compared = []

    def watching(adapted: Any, pixels: Tensor, texts: Any, references: Any, **more: Any) -> active.Overfitting:
        compared.append((sorted(set(texts)), references))
        share = torch.full((len(set(texts)),), 0.5)
        return active.Overfitting(share, active.entropy(share), torch.zeros(len(share)).long())

    monkeypatch.setattr(active, "overfitting", watching)
    pictures = tuple(replace(picture, caption="a chair in <sty>") for picture in style.pictures)
    for subject in (style, replace(style, pictures=pictures)):
        learn_fast(base, "gal", subject, steps=1)
    named, own = (references for _, references in compared)
    assert own == ["a chair in <sty>"] * 3
    assert len(named) == 3
    assert all(text.endswith(" in <sty>") for text in named)
    assert all("a robot in <sty>" in texts for texts, _ in compared)


# -------------------------------------------------------------------------------------------- a style beside a subject


@pytest.mark.parametrize("method", ["styleboost", pytest.param("gal", marks=pytest.mark.sweep)])
def test_a_style_beside_a_subject_paints_what_neither_paints_alone(
    base: Any, rex: Subject, style: Subject, method: str
) -> None:
    """Two concepts of different methods, attached together: a low-rank change of the subject and a whole denoiser."""
    thing = learn_fast(base, "lora_dreambooth", rex, steps=4, lr=2e-2)
    hand = learn_fast(base, method, style, steps=4)
    before, prompt = state(base), "<rex> in the style of <sty>"

    def painted(*concepts: limner.Concept) -> Tensor:
        adapters = [adapter_of(concept, base) for concept in concepts]
        text = prompt
        for subject in (rex, style):
            if subject.handle not in {concept.handle for concept in concepts}:
                text = text.replace(subject.handle, subject.noun)
        with torch.no_grad(), attach(base, adapters) as adapted:
            *_, last = sample(adapted, [text], seeds=[3], settings=QUICK)
        return last.latents

    both, alone = painted(thing, hand), [painted(thing), painted(hand)]
    assert bool(both.isfinite().all())
    for other in alone:
        assert float((both - other).norm()) > 0.01 * float(both.norm())
    assert same(state(base), before)
    assert untouched(base)
