"""OMG: a layout by the base alone, then each subject's own concept in its place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from limner.core.adapted import FirstPicture
from limner.core.pixels import to_tensor
from limner.core.subject import Subject
from limner.core.types import AttentionCall, Pass
from limner.engine.attach import Adapter, attach
from limner.engine.sample import PaintSettings, sample
from limner.methods import methods
from limner.parts.attention import faces_of_first, followed_attention, subject_regions
from limner.parts.attention.first_pass import MAPS, pieces, shared_out
from limner.pocket.subjects import toy
from tests import helpers
from tests.painted_faces import PaintedFaces, photograph

HOW = PaintSettings(steps=4, guidance=2.0)
BOTH = "<rex> and <bo> on the beach"


def concept(base: Any, subject: Subject, seed: int, **more: Any) -> Adapter:
    """A concept of random changes."""
    recipe = methods()["omg"](subject, **{"rank": 2, **more})
    draw = torch.Generator().manual_seed(seed)
    with attach(base, (Adapter(recipe, subject.handle),)) as adapted:
        stored = {name: 0.2 * torch.randn(t.shape, generator=draw) for name, t in adapted.tensors.items()}
    return Adapter(recipe, subject.handle, stored, noun=subject.noun)


@pytest.fixture(scope="module")
def subjects() -> tuple[Subject, Subject]:
    return toy("dog", 2_000_020, name="rex", count=1), toy("car", 2_000_021, name="bo", count=1)


def latents(base: Any, adapters: Any, prompt: str = BOTH) -> list[Tensor]:
    with torch.no_grad(), attach(base, adapters) as adapted:
        return [at.latents for at in sample(adapted, [prompt], seeds=[5], settings=HOW)]


@contextmanager
def runs(base: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[frozenset[int], Pass]]]:
    """Every run of the denoiser: the numbers of the modifiers that act in it, and the run."""
    seen: list[tuple[frozenset[int], Pass]] = []
    predict = base.predict

    def note(*given: Any, context: Pass, **named: Any) -> Tensor:
        seen.append((frozenset(k for k, live in enumerate(context.lives) if live.on), context))
        result: Tensor = predict(*given, context=context, **named)
        return result

    with monkeypatch.context() as patch:
        patch.setattr(base, "predict", note)
        yield seen


def test_two_concepts_never_act_in_one_run_and_both_act(
    base: Any, subjects: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapters = [concept(base, subject, k) for k, subject in enumerate(subjects)]
    with runs(base, monkeypatch) as seen:
        latents(base, adapters)
    assert [sorted(on) for on, _ in seen] == [[]] * 4 + [[0], [1], []] * 3
    dog, car = ("a photo of " + adapter.recipe.words(base) for adapter in adapters)
    for on, run in seen:
        wanted = {frozenset([0]): dog, frozenset([1]): car}.get(on, "dog and car on the beach")
        assert run.prompts[-1] == wanted


def test_outside_of_every_mask_the_base_predicts(base: Any, subjects: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One step after the concepts begin, positions outside of the masks are those of the first pass; inside, they are
    not. They follow its attention, so that they stay nearer to it in the end than without."""
    masks: dict[str, Tensor] = {}
    regions = subject_regions.__call__
    monkeypatch.setattr(subject_regions, "__call__", lambda own, first: masks.update(regions(own, first)) or masks)
    first = latents(base, [])
    ends = []
    for more in ({}, {"cross": 0.0, "self_attention": 0.0}):
        both = latents(base, [concept(base, subject, k, **more) for k, subject in enumerate(subjects)])
        inside = torch.stack(list(masks.values())).sum(0)[0, 0] > 0
        assert masks.keys() == {"<rex>", "<bo>"}
        assert float(torch.stack(list(masks.values())).sum(0).max()) == 1
        plain = latents(base, [], "dog and car on the beach")
        change = (both[4] - plain[1]).abs().amax((0, 1))
        assert float(change[~inside].max()) < 1e-5
        assert float(change[inside].min()) > 1e-4
        ends.append(float((both[-1] - plain[-1])[..., ~inside].norm()))
    assert ends[0] < 0.98 * ends[1]
    assert len(first) == 4


@pytest.mark.parametrize(("kind", "count", "until"), [("cross", 64, 8), ("self", 16, 3), ("self", 64, 0)])
def test_attention_of_the_prompt_follows_the_first_pass(base: Any, kind: Any, count: int, until: int) -> None:
    """In the given steps the picture has the first pass's maps, with its own values; the negative branch has its
    own."""
    draw = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(4, 2, n, 8, generator=draw) for n in (count, count, count))
    site = replace(base.sites[0], kind=kind)
    for step in range(8):
        run = Pass(step=step, branches=("negative", "text"), latents=torch.zeros(4, 4, 16, 16), parallel_stream=True)
        call = AttentionCall(site, torch.nn.Identity(), query[:, 0], key[:, 0], query, key, value, run)
        after = followed_attention()(8)(call)
        maps, before = (after.query @ after.key.mT).softmax(-1), (query @ key.mT).softmax(-1)
        assert torch.equal(maps[2], before[3 if step < until else 2])
        assert torch.equal(maps[[0, 1, 3]], before[[0, 1, 3]])
        assert torch.equal(after.value, value)


def test_pieces_of_the_foreground_are_shared_out() -> None:
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 2:8, 0:6], mask[..., 8:16, 10:16], mask[..., 0, 15] = 1, 1, 1
    assert [int(piece.sum()) for piece in pieces(mask)] == [48, 36, 1]
    maps = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    maps[0, ..., :8] += 0.5  # both look at the left, the second less so
    maps[1, ..., :8] += 0.2
    left, right = shared_out(mask, maps)
    assert torch.equal(left, pieces(mask)[1])
    assert torch.equal(right, pieces(mask)[0])
    one = mask * (torch.arange(16) > 9)  # a single piece of the least size: positions are shared out
    first, second = shared_out(one, maps)
    assert torch.equal(first + second, one)
    assert first.any()
    assert second.any()


def test_a_subject_is_where_the_segmenter_and_its_noun_see_it(base: Any, subjects: Any) -> None:
    """In a render of a toy, the only subject's region is the segmenter's mask; without a segmenter, the noun's map
    gives it."""
    adapter = concept(base, subjects[0], 0)
    pixels = toy("dog", 2_000_020).tensor(base.picture_size)[:1]
    z = torch.zeros(1, *base.latent_shape)
    with attach(base, (adapter,)) as adapted:
        maps = torch.zeros(1, 64, base.text_states(["a"], words={}).shape[1])
        maps[:, 20:22, 1] = 1  # the first word
        maps[:, 5:9, 0] = 2
        first = FirstPicture(adapted, "<rex>", pixels, z, {f"{MAPS}, 64": maps})
        mask = subject_regions()(first)["<rex>"]
        wanted = torch.nn.functional.interpolate((base.segmenter(pixels) > 0.5).float()[:, None], mask.shape[-2:])
        assert float((mask != wanted).float().mean()) < 0.06
        assert subject_regions()(first._replace(prompt="a photo of a dog")) == {}
        blank = subject_regions()(first._replace(pixels=torch.full_like(pixels, 0.5)))["<rex>"]
    rows, columns = blank[0, 0].nonzero(as_tuple=True)
    assert set(rows.tolist()) <= {3, 4, 5, 6}
    assert set(columns.tolist()) <= set(range(7, 13))


def test_faces_of_the_first_picture_are_keypoints_of_the_second(
    base: Any, subjects: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """InstantID takes part beside a concept of OMG, and reads the faces of the first picture."""
    monkeypatch.setattr(base, "capabilities", replace(base.capabilities, faces=PaintedFaces()))
    size = base.picture_size
    pixels = to_tensor([photograph((0, 20, 100), (1, 250, 100), size=(400, 400))], 400)
    with attach(base, ()) as adapted:
        drawn = faces_of_first(FirstPicture(adapted, "", pixels, pixels, {}))
        assert faces_of_first(FirstPicture(adapted, "", torch.zeros_like(pixels), pixels, {})) == {}
    assert drawn["keypoints"].shape == (1, 3, size, size)
    lit = drawn["keypoints"][0].amax((0, 1)) > 0
    assert lit[: size // 2].any()
    assert lit[size // 2 :].any()
    monkeypatch.setattr("limner.methods.face.omg.faces_of_first", lambda first: drawn)
    helpers.begun_weights("instantid", base)
    ada = replace(helpers.adapter(base, "instantid", helpers.person()), handle="<rex>", noun="person")
    with runs(base, monkeypatch) as seen:
        latents(base, [ada, concept(base, subjects[1], 1)])
    own = [run for on, run in seen if 0 in on]
    assert own
    assert all(torch.equal(run.conditions["keypoints"][:1], drawn["keypoints"]) for run in own)
    assert all("keypoints" not in run.conditions for _, run in seen[:4])
