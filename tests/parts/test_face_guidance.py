"""Guidance of faces: the subject late, and each place by the branch that has more to say."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from limner.core.types import Denoiser
from limner.errors import InputError
from limner.parts.guidance import classifier_free, delayed, saliency_fusion
from limner.parts.guidance.saliency import salience

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
