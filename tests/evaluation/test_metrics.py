"""Metrics against other implementations, known answers, and each other."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from limner.errors import InputError, LimnerError, MissingExtra, UnknownName
from limner.evaluation import metrics as kinds
from limner.evaluation.judging import concept_preservation, image_reward, prompt_following
from limner.evaluation.metrics import alignment, copying, distribution, fidelity, lycoris, stellar


def rows(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_every_metric_has_a_card_and_known_evidence() -> None:
    known = kinds.__doc__ or ""
    found = kinds.metrics()
    assert len(found) >= 28
    for name, function in found.items():
        card = kinds.card(function)
        assert card.id == f"{name}@{card.version}"
        assert card.says
        assert card.source
        assert card.better in ("higher", "lower", "")
        for need in kinds.evidence(function):
            assert f"`{need.removesuffix('_background')}`" in known, f"{name} needs {need}, which is not told of"


def test_clip_t_is_a_plain_cosine() -> None:
    x, t = torch.tensor([[2.0, 0.0], [1.0, 1.0]]), torch.tensor([[1.0, 0.0], [-3.0, 0.0]])
    assert alignment.clip_t(x, t).tolist() == pytest.approx([1.0, -math.sqrt(0.5)])
    assert alignment.pickscore(x, t, scale=10.0)[0] == pytest.approx(10.0)


def test_directional_follows_the_words() -> None:
    said, plain = torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([1.0, 0.0, 0.0])
    references = torch.tensor([[1.0, 0.0, 0.0]])
    right = alignment.clip_directional(torch.tensor([[1.0, 1.0, 0.0]]), said, references, plain)
    wrong = alignment.clip_directional(torch.tensor([[1.0, -1.0, 0.0]]), said, references, plain)
    assert right.item() == pytest.approx(1.0, abs=1e-5)
    assert wrong.item() < right.item()


def test_likeness_is_the_mean_over_references() -> None:
    x, r = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert fidelity.dino_i(x, r).item() == pytest.approx(0.5)
    assert fidelity.face_identity(-x, r[:1]).item() == 0
    assert fidelity.face_identity(torch.zeros(1, 2), r).item() == 0  # no face


def test_retrieval_needs_the_subject_to_be_nearest() -> None:
    own, others = torch.tensor([[1.0, 0.1]]), torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    assert fidelity.retrieval(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), own, others).tolist() == [1.0, 0.0]


def test_fid_kid_and_inception_score_agree_with_torchmetrics() -> None:
    from torchmetrics.image.kid import poly_mmd

    x, y = rows(300, 8), rows(300, 8, seed=1) * 1.3 + 0.2
    own_mean, own_cov = [v.double().mean(0) for v in (x, y)], [torch.cov(v.double().T) for v in (x, y)]
    root = torch.linalg.eigvals(own_cov[0] @ own_cov[1]).sqrt().real.sum()
    expected = (own_mean[0] - own_mean[1]).square().sum() + own_cov[0].trace() + own_cov[1].trace() - 2 * root
    assert distribution.fid(x, y).item() == pytest.approx(expected.item(), rel=1e-3)
    assert distribution.fid(x, x).item() == pytest.approx(0, abs=1e-3)
    assert distribution.kid(x, y).item() == pytest.approx(poly_mmd(x, y).item(), rel=1e-3)
    logits = rows(200, 5) * 3
    p = logits.softmax(-1)
    kl = (p * (p.log() - p.mean(0, keepdim=True).log())).sum(1).mean().exp()
    assert distribution.inception_score(logits).item() == pytest.approx(kl.item(), rel=1e-4)
    assert distribution.inception_score(torch.full((4, 5), 2.0)).item() == pytest.approx(1.0)


def test_kid_of_two_samples_of_one_distribution_is_about_zero() -> None:
    values = [distribution.kid(rows(100, 4, seed=k), rows(100, 4, seed=k + 50)).item() for k in range(6)]
    assert abs(np.mean(values)) < 0.5 * distribution.kid(rows(100, 4), rows(100, 4, seed=9) + 1.0).item()


def test_vendi_counts_different_pictures() -> None:
    assert distribution.vendi(torch.eye(5)).item() == pytest.approx(5.0, rel=1e-4)
    assert distribution.vendi(torch.ones(5, 3)).item() == pytest.approx(1.0, rel=1e-4)


def test_prompt_sensitivity_has_no_floor_of_chance() -> None:
    groups = torch.arange(10).repeat_interleave(4)
    blind = [distribution.prompt_sensitivity(rows(40, 16, seed=k), groups).item() for k in range(8)]
    assert abs(np.mean(blind)) < 0.03
    heeding = rows(10, 16)[groups] + 0.05 * rows(40, 16, seed=1)
    assert distribution.prompt_sensitivity(heeding, groups).item() > 0.95
    assert distribution.prompt_sensitivity(torch.ones(40, 16), groups).item() == pytest.approx(0.0)
    with pytest.raises(InputError, match="two prompts"):
        distribution.prompt_sensitivity(rows(4, 2), torch.zeros(4))


def test_diversity_is_within_prompts() -> None:
    x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert distribution.diversity(x, torch.tensor([0, 0, 1, 1])).item() == pytest.approx(0)
    assert distribution.diversity(x, torch.tensor([0, 1, 0, 1])).item() == pytest.approx(1)
    with pytest.raises(InputError, match="two pictures"):
        distribution.diversity(x, torch.arange(4))


def test_copy_index_at_its_three_marks() -> None:
    held, training = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    x = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    assert copying.copy_index(x, training, held).tolist() == pytest.approx([1.0, -1.0, 0.0], abs=1e-3)
    assert copying.nearest_reference(x, training).tolist() == pytest.approx([1.0, 0.0, math.sqrt(0.5)])


def test_leak_is_measured_above_the_base() -> None:
    training = torch.tensor([[1.0, 0.0]])
    assert copying.background_leak(
        torch.tensor([[1.0, 0.0]]), training, torch.tensor([[0.0, 1.0]])
    ).item() == pytest.approx(1)
    assert copying.background_leak(training, training, training).item() == pytest.approx(0)
    assert copying.drift(rows(3, 4), rows(3, 4)).abs().max() < 1e-5


def test_lycoris_dimensions() -> None:
    x = rows(4, 6)
    assert lycoris.centroid_distance(x, x).item() == pytest.approx(0, abs=1e-6)
    assert lycoris.vendi_by_prompt(torch.eye(4), torch.tensor([0, 0, 1, 1])).item() == pytest.approx(2, rel=1e-3)
    assert lycoris.style_drift(x, x).sum() == 0
    assert lycoris.description_alignment(x, x).tolist() == pytest.approx([1.0] * 4)
    assert lycoris.quality(torch.tensor([[0.5], [1.0]])).tolist() == [0.5, 1.0]
    assert lycoris.likeness_to_training(x, x).shape == (4,)


def test_soft_penalty_falls_on_copies_alone() -> None:
    training = torch.nn.functional.normalize(torch.tensor([[1.0, 0.5, 0.0], [1.0, -0.5, 0.0]]), dim=-1)
    like = torch.tensor([[1.0, 0.0, 1.3]])
    texts = torch.tensor([[1.0, 0.2, 0.8]])
    copied, free = (stellar.soft_penalised_clip(x, texts, training).item() for x in (training[:1], like))
    assert copied < 0.1 * alignment.clip_t(training[:1], texts).item()
    assert free > 0.8 * alignment.clip_t(like, texts).item()


def test_stellar_shares() -> None:
    real = torch.tensor([[0.9, 0.1], [0.8, 0.2]])
    read = torch.tensor([[0.7, 0.3], [0.2, 0.3], [float("nan"), float("nan")]])
    assert stellar.attribute_preservation(read, real).tolist() == [1.0, 0.5, 0.0]
    assert stellar.identity_stability(torch.tensor([[1.0, 0.0]]), torch.eye(2)).item() == 0
    asked = torch.tensor([[0.5, float("nan")], [1.0, 0.0]])
    assert stellar.grounding_accuracy(asked).tolist() == [0.5, 0.5]
    assert stellar.relation_fidelity(asked).tolist() == [0.5, 0.5]


def test_a_judge_that_is_asked() -> None:
    picture, asked = Image.new("RGB", (32, 32)), []

    def ask(question: str, pictures: object) -> str:
        asked.append((question, len(pictures)))  # type: ignore[arg-type]
        return "Both are dogs.\n**Score: 3**, the ears differ."

    assert concept_preservation(ask, [picture], picture, times=2) == [3.0]
    assert prompt_following(ask, [picture], ["a dog on the beach"], times=1) == [3.0]
    assert [n for _, n in asked] == [2, 2, 1]
    assert "a dog on the beach" in asked[-1][0]
    for bad in ("I cannot say", "score: 7", "score: 3.5", "score: 40"):
        with pytest.raises(LimnerError, match="no 'score"):
            concept_preservation(lambda *_, bad=bad: bad, [picture], picture)


def test_image_reward_is_asked_through_its_own_package(monkeypatch: pytest.MonkeyPatch) -> None:
    class Model:
        def score(self, prompt: str, picture: Image.Image) -> float:
            return len(prompt) + picture.width

    assert image_reward([Image.new("RGB", (8, 8))], ["dog"], model=Model()) == [11.0]
    monkeypatch.setitem(sys.modules, "ImageReward", None)  # type: ignore[arg-type]
    with pytest.raises(MissingExtra, match="pip install image-reward"):
        image_reward([], [])


def test_unknown_metrics_are_named() -> None:
    from limner.evaluation.measuring import Album, measure

    album = Album("dog", (Image.new("RGB", (16, 16)),), ("a dog",))
    with pytest.raises(UnknownName, match="clip_t"):
        measure(album, {}, only=["clip_tt"])
