"""StyleAdapter: tokens of patches in any order, without a class token, on a path of their own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import limner
from limner.core.streams import streams
from limner.core.subject import Subject
from limner.core.types import Pass, References
from limner.core.weights import shipped
from limner.engine.attach import AdaptedBase, Adapter, attach
from limner.engine.sample import sample
from limner.engine.train import train
from limner.errors import InputError
from limner.methods import methods
from limner.parts.fusion.decoupled_cross_attention import STATES
from limner.parts.parameters import learned
from limner.parts.sources.styles import styles_of
from limner.pocket.seeded_corpus import NUM_VIEWS
from limner.pocket.style_corpus import styles
from limner.workflows.pretrain import over
from tests.helpers import begun_weights, same, state

PATCH = 16
"""Side in pixels of a patch of the pocket base's CLIP, which reads pictures of 128 pixels."""


def moved_patches(pixels: Tensor, *, seed: int = 0) -> Tensor:
    """The same patches of pictures [n, 3, H, W] at other places."""
    side = pixels.shape[-1] // PATCH
    cut = pixels.unflatten(3, (side, PATCH)).unflatten(2, (side, PATCH)).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    order = torch.randperm(side**2, generator=torch.Generator().manual_seed(seed))
    back = cut[:, order].unflatten(1, (side, side)).permute(0, 3, 1, 4, 2, 5)
    return back.flatten(4).flatten(2, 3)


def worn(base: Any, subject: Subject, **settings: Any) -> Adapter:
    begun_weights("styleadapter", base)
    return Adapter(methods()["styleadapter"](subject, **settings), subject.handle, shipped("styleadapter", base))


def tokens_of(adapted: AdaptedBase, **about: Any) -> Tensor:
    (live,) = adapted.live.values()
    with torch.no_grad():
        states: Tensor = live.offers[STATES](Pass(**about), 1)
    return states


def test_the_tokens_are_the_same_for_every_order_of_a_pictures_patches(base: Any, rex: Subject) -> None:
    pixels = rex.tensor(base.picture_size)
    others = [Subject.of(moved_patches(pixels, seed=k).clamp(0, 1), noun="dog", handle="rex") for k in (0, 1)]
    reverse = Subject.of(1 - pixels, noun="dog", handle="rex")
    found = []
    for subject in (Subject.of(pixels, noun="dog", handle="rex"), *others, reverse):
        with attach(base, (worn(base, subject),)) as adapted:
            found.append(tokens_of(adapted))
    assert found[0].shape == (1, 8, base.states_shape[1])
    for moved in found[1:3]:
        torch.testing.assert_close(moved, found[0], atol=1e-4, rtol=1e-4)
    assert (found[3] - found[0]).abs().max() > 1e-2


def test_with_clips_own_places_the_order_would_matter(base: Any, rex: Subject) -> None:
    pixels = rex.tensor(base.picture_size)[:1]
    with torch.no_grad():
        first, moved = (base.picture_states(x, (1.0,))[:, 1:] for x in (pixels, moved_patches(pixels)))
        unplaced = [base.picture_patches(x).mean(1) for x in (pixels, moved_patches(pixels))]
    assert (first.mean(1) - moved.mean(1)).abs().max() > 1e-2
    torch.testing.assert_close(unplaced[0], unplaced[1], atol=1e-4, rtol=1e-4)


def test_the_class_token_is_read_nowhere(base: Any, rex: Subject) -> None:
    token: Tensor = base._picture_tower[0].vision_model.embeddings.class_embedding
    own, adapter, found = token.detach().clone(), worn(base, rex), []
    try:
        for change in (0.0, 3.0):
            with torch.no_grad():
                token.copy_(own + change)
            with torch.no_grad(), attach(base, (adapter,)) as adapted:  # reads the subject's pictures
                shown = References(rex.tensor(base.picture_size)[None])
                training = tokens_of(adapted, references=shown, random=streams(0, "shuffle", 0, 0))
                found.append((tokens_of(adapted), training, base.picture_states(shown.first, (1.0,))))
    finally:
        with torch.no_grad():
            token.copy_(own)
    (first, training, plain), (second, again, changed) = found
    assert torch.equal(first, second)
    assert torch.equal(training, again)
    assert not torch.equal(plain, changed)  # other encoders do read it


def test_training_shuffles_the_places_anew_in_every_update(base: Any, rex: Subject) -> None:
    shown = References(rex.tensor(base.picture_size)[None])
    with attach(base, (worn(base, rex),)) as adapted:
        found = [tokens_of(adapted, references=shown, random=streams(0, "shuffle", 0, step)) for step in (0, 0, 1)]
    assert torch.equal(found[0], found[1])
    assert (found[0] - found[2]).abs().max() > 1e-4


def test_several_references_are_one_set(base: Any, rex: Subject) -> None:
    pictures = rex.tensor(base.picture_size)
    found = []
    for pixels in (pictures, pictures.flip(0), pictures[:1]):
        with attach(base, (worn(base, Subject.of(pixels, noun="dog", handle="rex")),)) as adapted:
            found.append(tokens_of(adapted))
    torch.testing.assert_close(found[0], found[1], atol=1e-4, rtol=1e-4)
    assert (found[0] - found[2]).abs().max() > 1e-3


def test_the_learned_weight_scales_the_styles_path(base: Any, rex: Subject) -> None:
    adapter, quick, found = worn(base, rex), limner.PaintSettings(steps=1), []
    for weight in (None, 1.0, 0.0):
        with torch.no_grad(), attach(base, (adapter,)) as adapted:
            (live,) = adapted.live.values()
            weights = [
                tensor for name, tensor in live.tensors.items() if name.endswith(".weight") and tensor.numel() == 1
            ]
            assert len(weights) == sum(site.kind == "cross" for site in base.sites)
            for tensor in weights if weight is not None else []:
                tensor.fill_(weight or 0.0)
            *_, last = sample(adapted, ["<rex> on the beach"], seeds=[1], settings=quick)
            found.append(last.latents)
            if weight == 0:
                with adapted.suspended():
                    *_, last = sample(adapted, ["dog on the beach"], seeds=[1], settings=quick)
                assert torch.allclose(last.latents, found[-1], atol=1e-5)
    assert not torch.allclose(found[1], found[2], atol=1e-3)


def test_the_tokens_the_weights_and_the_keys_learn_and_the_base_does_not(base: Any) -> None:
    recipe = methods()["styleadapter"](Subject("<nobody>", "toy"), batch=2)
    (stage,) = over(recipe.pretraining, styles(2))
    adapter, before = Adapter(recipe, "<nobody>"), state(base)
    with attach(base, (adapter,)) as adapted:
        start = {name: tensor.detach().clone() for name, tensor in learned(recipe.modifiers[0])(adapted).items()}
    *_, last = train(base, adapter, stages=(replace(stage, steps=2),), seed=0)
    end = last.snapshot().tensors
    assert same(state(base), before)
    still = {name for name in start if torch.equal(start[name], end[name])}
    assert not [name for name in still if name.startswith("image.style.") and not name.endswith("key.bias")]
    weights = {name for name, tensor in start.items() if name.endswith(".weight") and tensor.numel() == 1}
    assert weights
    assert not still & weights


# ------------------------------------------------------------------------------------------------ the corpus of styles


def test_pictures_of_a_style_share_the_hand_and_nothing_else(base: Any) -> None:
    from limner.pocket.style_corpus import _graph, families
    from limner.pocket.world.vocabulary import HELD_OUT

    corpus = styles(len(families()) + 1)
    graphs = [[_graph(k) for k in line] for line in corpus.subjects]
    assert all(len({(g.style, g.style_seed) for g in line}) == 1 for line in graphs)
    assert len({(line[0].style, line[0].style_seed) for line in graphs}) == len(graphs)
    assert all(len({g.toys[0].individual.seed for g in line}) == NUM_VIEWS for line in graphs)
    assert not {line[0].style for line in graphs} & {*HELD_OUT["styles"], "render"}


def test_captions_say_nothing_of_the_style() -> None:
    corpus = styles(14)
    texts = [corpus.caption(k, f"a {corpus.noun(k)}", seed=n) for line in corpus.subjects for n, k in enumerate(line)]
    from limner.pocket.world.grammar import STYLED

    assert not [text for text in texts for words in STYLED.values() if words in text]


def test_the_target_is_among_its_references_and_the_others_are_of_its_style(base: Any) -> None:
    recipe = methods()["styleadapter"](Subject("<nobody>", "toy"), batch=4)
    (stage,) = over(recipe.pretraining, styles(3))
    batch = stage.loss[0].source.prepare(base)(0, streams(0, "pairs", 0, 0))
    assert batch.references is not None
    assert batch.references.pixels.shape[1] == 3
    with torch.no_grad():
        first = base.encode(batch.references.first)[0]
        second = base.encode(batch.references.pixels[:, 1])[0]
    assert (first - batch.latents).abs().mean() < 0.1 * (second - batch.latents).abs().mean()


def test_a_base_without_a_corpus_of_styles_lends_its_subjects(base: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert styles_of(base) == styles()
    monkeypatch.setattr(base, "capabilities", replace(base.capabilities, styles=None))
    assert styles_of(base) == base.corpus
    monkeypatch.setattr(base, "capabilities", replace(base.capabilities, corpus=None))
    with pytest.raises(InputError, match="name a corpus"):
        styles_of(base)
