"""Guidance of faces: the subject late, each place by who has more to say, and fusion sampling."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from limner.core.adapted import Moment
from limner.core.recipe import Painting, Recipe
from limner.core.types import Denoiser
from limner.engine.attach import Adapter, attach
from limner.engine.sample import PaintSettings, sample
from limner.errors import InputError
from limner.parts.guidance import classifier_free, delayed, fusion, saliency_fusion, told_apart
from limner.parts.guidance.saliency import salience
from limner.parts.modifiers import new_word
from limner.parts.objectives.rewards import levels

X = torch.zeros(2, 4, 8, 8)


def branches(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(2, 4, 8, 8, generator=generator) for name in ("negative", "plain", "text")}


def denoiser(found: dict[str, Tensor], asked: list[str] | None = None) -> Denoiser:
    def denoise(x: Tensor, t: Tensor, *, branches: tuple[str, ...] = ("text",)) -> tuple[Tensor, ...]:
        if asked is not None:
            asked.extend(branches)
        return tuple(found[name] for name in branches)

    return denoise


def at(time: int) -> Tensor:
    return torch.tensor([time, time])


def test_the_subject_comes_in_late() -> None:
    found = branches()
    guided = delayed(begin=700)(denoiser(found), 5.0)
    early, late = guided(X, at(701))[0], guided(X, at(700))[0]
    torch.testing.assert_close(early, found["negative"] + 5 * (found["plain"] - found["negative"]))
    assert torch.equal(late, classifier_free(denoiser(found), 5.0)(X, at(0))[0])
    asked: list[str] = []
    delayed(begin=700)(denoiser(found, asked), 5.0)(X, at(900))
    assert "text" not in asked  # steps before are the same for all subjects


def test_every_place_is_one_of_the_two_whole() -> None:
    found = branches()
    guided = saliency_fusion(begin=700, end=400)(denoiser(found), 3.0)
    scene = found["negative"] + 3 * (found["plain"] - found["negative"])
    subject = found["plain"] + 3 * (found["text"] - found["plain"])
    (mixed,) = guided(X, at(500))
    of_scene, of_subject = ((mixed == each).all(1) for each in (scene, subject))
    assert bool((of_scene ^ of_subject).all())
    assert of_scene.any()
    assert of_subject.any()
    assert torch.equal(guided(X, at(800))[0], scene)
    assert torch.equal(guided(X, at(300))[0], subject)


def test_the_more_salient_branch_takes_its_places() -> None:
    found = {name: torch.zeros(1, 4, 8, 8) for name in ("negative", "plain", "text")}
    found["plain"][..., :4] = 5.0  # the scene speaks on the left
    found["text"] = found["plain"].clone()
    found["text"][..., 4:] += 5.0  # the subject on the right
    (mixed,) = saliency_fusion()(denoiser(found), 2.0)(X[:1], at(500)[:1])
    assert float(mixed[..., :3].min()) == 10  # negative + 2 (plain - negative)
    assert float(mixed[..., 5:].min()) == 10  # plain + 2 (text - plain)
    torch.testing.assert_close(salience(found["plain"]).sum((1, 2, 3)), torch.ones(1))


def test_phases_that_cannot_be_are_said() -> None:
    with pytest.raises(InputError, match="expected 1000 >= begin >= end >= 0"):
        saliency_fusion(begin=300, end=500)


def test_subject_and_text_are_told_apart() -> None:
    found = branches()
    (both,) = told_apart(subject=3, text=2)(denoiser(found), 4.0)(X, at(5))
    less = found["negative"]
    torch.testing.assert_close(both, less + 3 * (found["text"] - less) + 2 * (found["plain"] - less))
    (alone,) = told_apart(subject=5, text=0)(denoiser(found), 4.0)(X, at(5))
    torch.testing.assert_close(alone, classifier_free(denoiser(found), 5.0)(X, at(5))[0])


@pytest.fixture(scope="module")
def moment(base: Any) -> Moment:
    """A moment of one prompt on the pocket base."""
    word = new_word("<ann>", "dog")
    with attach(base, (Adapter(Recipe("<ann>", (word,)), "<ann>"),)) as adapted, torch.no_grad():
        states, against = adapted.text_states(["<ann> on the beach"]), adapted.text_states([""])
        x = torch.randn(1, *base.latent_shape, generator=torch.Generator().manual_seed(0))
        return Moment(adapted, x, torch.tensor(600), 10, 25, ("<ann> on the beach",), states, None, against, 4.0)


def test_fusion_keeps_the_level_of_noise(base: Any, moment: Moment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the noise that is taken down is the very noise of the latents, what comes back has as much: sqrt(1 - a_t)
    in every number."""
    import limner.parts.guidance.fusion_sampling as module

    signal, spread = levels(base, 600)
    noise = torch.randn(400, *base.latent_shape, generator=torch.Generator().manual_seed(1))
    clean = torch.ones(1, *base.latent_shape)
    monkeypatch.setattr(module, "_guided", lambda *_: noise)
    monkeypatch.setattr(module, "stream", lambda *at: torch.Generator().manual_seed(7))
    drawn = torch.randn(base.latent_shape, generator=torch.Generator().manual_seed(7))
    later = fusion(repeats=1, words=1.0)(moment._replace(latents=signal * clean + spread * noise)) - signal * clean
    kept = float((later * noise).mean())
    fresh = float(((later - kept * noise) * drawn).mean() / drawn.square().mean())
    assert 0 < kept < spread
    assert kept**2 + fresh**2 == pytest.approx(spread**2, rel=0.02)


def test_fusion_that_is_left_out_changes_nothing(moment: Moment) -> None:
    for silent in (fusion(repeats=0), fusion(eta=0.0)):
        assert torch.equal(silent(moment), moment.latents)
    moved = fusion()(moment)
    assert not torch.equal(moved, moment.latents)
    assert torch.equal(fusion()(moment), moved)
    assert not torch.equal(fusion(words=1.0)(moment), moved)
    last = moment._replace(time=torch.tensor(1))
    assert torch.equal(fusion()(last), last.latents)


def test_fusion_sampling_paints(base: Any) -> None:
    word = new_word("<ann>", "dog")
    plain = {"plain": lambda prompt: prompt.replace("<ann>", "dog")}
    painting = Painting(guidance=(told_apart(),), latents=(fusion(),), branches=plain)
    with attach(base, (Adapter(Recipe("<ann>", (word,), painting=painting), "<ann>"),)) as adapted, torch.no_grad():
        *_, last = sample(adapted, ["<ann> on the beach"], seeds=[0], settings=PaintSettings(steps=3))
    assert bool(torch.isfinite(last.latents).all())
