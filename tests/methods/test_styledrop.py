"""StyleDrop: adapters after attention, guidance of two strengths, and a second round on chosen pictures alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import limner
from limner.core.recipe import Recipe
from limner.core.streams import streams
from limner.core.subject import Subject
from limner.engine.attach import Adapter, attach
from limner.engine.sample import sample
from limner.engine.train import Update, begin_update, train
from limner.errors import InputError
from limner.library.opening import adapter_of
from limner.methods import methods
from limner.parts.encoders import contents_in
from limner.parts.guidance import two_strengths
from tests.bases.families import save_tiny
from tests.helpers import QUICK, fast, learn_fast, same, style, untouched

PROMPT = "a dog on the beach in <sty>"


@pytest.fixture(scope="module")
def sty() -> Subject:
    return style(count=1)


@pytest.fixture(scope="module")
def learned(base: Any, sty: Subject) -> limner.Concept:
    return learn_fast(base, "styledrop", sty)


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A random base of masked tokens."""
    return limner.load(str(save_tiny("amused", tmp_path_factory.mktemp("amused"))), device="cpu")


def recipe_of(sty: Subject, **more: Any) -> Recipe:
    return methods()["styledrop"](sty, **fast(methods()["styledrop"], **more))


def latents(base: Any, concepts: list[limner.Concept], prompt: str, **more: Any) -> Tensor:
    adapters = [replace(adapter_of(concept, base), **more) for concept in concepts]
    with torch.no_grad(), attach(base, adapters) as adapted:
        *_, last = sample(adapted, [prompt], seeds=[5], settings=QUICK)
    return last.latents


def test_a_strength_of_minus_one_removes_the_adapters_exactly(base: Any, learned: limner.Concept) -> None:
    plain = latents(base, [], "a dog on the beach in watercolour style")
    settings = {**learned.header["settings"], "style_guidance": -1.0}
    off = latents(base, [replace(learned, settings=settings)], PROMPT)
    assert off.equal(plain)
    assert float((latents(base, [learned], PROMPT) - plain).norm() / plain.norm()) > 1e-3


def test_two_strengths_by_hand() -> None:
    values = {"text": 3.0, "plain": 1.0, "negative": -2.0}
    asked: list[tuple[str, ...]] = []

    def denoise(x: Tensor, t: Tensor, *, branches: tuple[str, ...] = ("text",)) -> tuple[Tensor, ...]:
        asked.append(branches)
        return tuple(torch.tensor(values[branch]) for branch in branches)

    def guided(scale: float, w: float) -> float:
        (output,) = two_strengths(scale)(denoise, w)(torch.zeros(1), torch.zeros(1))
        return float(output)

    assert guided(2.0, 6.0) == 3 + 2 * (3 - 1) + 5 * (1 + 2)
    assert set(asked[-1]) == {"text", "plain", "negative"}
    assert guided(-1.0, 6.0) == -2 + 6 * (1 + 2)
    assert set(asked[-1]) == {"plain", "negative"}
    assert guided(2.0, 1.0) == 3 + 2 * (3 - 1)
    assert set(asked[-1]) == {"text", "plain"}


def test_before_the_first_update_each_prediction_equals_the_bases(base: Any, sty: Subject) -> None:
    recipe = recipe_of(sty)
    source = recipe.stages[0].loss[0].source
    with attach(base, [Adapter(recipe, "<sty>")]) as adapted, torch.no_grad():
        update = begin_update(Update, adapted, source, source.prepare(base), 0, 0, 0)
        update.together = [update]
        first = update.prediction.output
        assert first.equal(update.base_prediction(tuple(map(adapted.expand_prompt, update.batch.prompts))).output)
        for name, tensor in adapted.tensors.items():
            if name.endswith(".up"):
                tensor.add_(0.05)
        assert not update.on(update.batch).prediction.output.allclose(first, atol=1e-3)
        sites = [site.name for site in base.sites]
        assert {name.removeprefix("adapter.").rpartition(".")[0] for name in adapted.tensors} == set(sites)


def test_the_adapters_act_in_the_branch_of_the_text_alone(base: Any, learned: limner.Concept) -> None:
    adapter, kinds = adapter_of(learned, base), ("negative", "plain", "text")
    x = torch.randn(1, *base.latent_shape, generator=torch.Generator().manual_seed(0)).repeat(3, 1, 1, 1)
    time = torch.full((3,), 500)
    with torch.no_grad(), attach(base, [adapter]) as adapted:
        states = adapted.text_states([PROMPT] * 3)
        negative, plain, text = base.predict(x, time, states, context=adapted.run(time=time, latents=x, branches=kinds))
        with adapted.suspended():
            alone = base.predict(x, time, states, context=adapted.run(time=time, latents=x, branches=kinds))
    assert torch.allclose(negative, plain, atol=1e-5)
    assert torch.allclose(plain, alone[1], atol=1e-5)
    assert not torch.allclose(text, plain, atol=1e-3)


def test_the_second_round_learns_from_chosen_pictures_alone(base: Any, sty: Subject) -> None:
    """No batch of the second round holds the picture that was given; each is one that was painted, with its prompt; and
    the adapters begin as they did in the first round."""
    recipe = recipe_of(sty)
    running = train(base, Adapter(recipe, "<sty>", seed=3), stages=recipe.tuning, seed=1)
    with attach(base, [Adapter(recipe, "<sty>", seed=3)]) as adapted:
        begin = {name: tensor.clone() for name, tensor in adapted.tensors.items()}
    points = [next(running).snapshot() for _ in range(3)]  # two updates of the first round, one of the second
    running.close()
    given = base.encode(sty.tensor(base.picture_size))[0]
    gathered = {name.split(".")[-1]: t for name, t in points[2].moments.items() if name.startswith("gathered.")}
    assert gathered["latents"].shape == (2, *base.latent_shape)
    assert all(float((own - given).abs().mean()) > 0.05 for own in gathered["latents"])
    source = recipe.stages[1].loss[0].source
    assert source.gather is not None
    prompts = contents_in("<sty>")(base)
    assert prompts[0] == "a dog in <sty>"
    for step in range(5):
        batch = source.gather.draw(base, gathered)(step, streams(0, "look", step))
        for own, prompt in zip(batch.latents, batch.prompts, strict=True):
            (number,) = [k for k, painted in enumerate(gathered["latents"]) if painted.equal(own)]
            assert prompt == prompts[int(gathered["numbers"][number])]
    # one update moves a value by at most the rate, and weight decay by a little
    first, second = points[1].tensors, points[2].tensors
    moved = {name: float((second[name] - begin[name]).abs().max()) for name in begin}
    assert max(moved.values()) < 1.5 * recipe.stages[1].lr
    assert max(float((first[name] - begin[name]).abs().max()) for name in begin) > 1.5 * recipe.stages[1].lr


def test_the_second_round_can_be_left_out(sty: Subject) -> None:
    assert len(recipe_of(sty).stages) == 2
    assert len(recipe_of(sty, second_steps=0).stages) == 1


def test_the_text_score_chooses(base: Any, sty: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures with the highest cosine of CLIP's embeddings to their prompts are kept."""
    recipe = recipe_of(sty, pictures=5, chosen=2)
    monkeypatch.setattr(base, "picture_features", lambda pixels: torch.eye(5)[: len(pixels)])
    worth = torch.tensor([0.1, 0.9, 0.2, 0.8, 0.3])
    monkeypatch.setattr(base, "text_features", lambda texts, words: torch.diag(worth) + 0.5)
    source = recipe.stages[1].loss[0].source
    assert source.gather is not None
    with torch.no_grad(), attach(base, [Adapter(recipe, "<sty>")]) as adapted:
        gathered = source.gather.make(adapted, streams(0, "second round", 1, 0), {})
    assert sorted(gathered["numbers"].tolist()) == [1, 3]


def test_a_person_chooses_and_the_run_goes_on(base: Any, sty: Subject, tmp_path: Path) -> None:
    settings = fast(methods()["styledrop"], choose=str(tmp_path / "choose"))
    about: dict[str, Any] = {"method": "styledrop", "checkpoints": tmp_path / "run", **settings}
    with pytest.raises(InputError, match=r"choose at most 2 of the 4 pictures in .*choose\.html"):
        limner.learn(base, sty, **about)
    assert len(list((tmp_path / "choose").glob("*.png"))) == 4
    page = (tmp_path / "choose" / "choose.html").read_text()
    assert "a dog in &lt;sty&gt;" in page
    assert page.count("<button") == 4
    assert "http" not in page
    (tmp_path / "choose" / "chosen.txt").write_text("1 3\n")
    updates: list[tuple[int, int]] = []
    watch = lambda progress: updates.append((progress.stage, progress.step))  # noqa: E731
    concept = limner.learn(base, sty, resume=True, watch=watch, **about)
    assert updates == [(1, 0), (1, 1)]  # the first round was not trained again
    whole = limner.learn(base, sty, method="styledrop", **settings)
    assert same(concept.tensors, whole.tensors)
    with pytest.raises(InputError, match="chooses among other pictures than are painted now"):
        limner.learn(base, sty, method="styledrop", seed=8, **settings)
    assert untouched(base)


def test_on_masked_tokens_the_loss_is_smoothed_cross_entropy(masked: Any, sty: Subject) -> None:
    for smoothing in (0.1, 0.0):
        recipe = recipe_of(sty, smoothing=smoothing)
        term = recipe.stages[0].loss[0]
        with attach(masked, [Adapter(recipe, "<sty>")]) as adapted, torch.no_grad():
            update = begin_update(Update, adapted, term.source, term.source.prepare(masked), 0, 0, 0)
            update.together = [update]
            value, logits, target = term.value(update), update.prediction.output, update.target
        hidden = target[:, 0] >= 0
        by_hand = torch.nn.functional.cross_entropy(
            logits.permute(0, 2, 3, 1)[hidden], target[:, 0][hidden].long(), label_smoothing=smoothing
        )
        assert value == pytest.approx(float(by_hand), rel=1e-5)


def test_both_rounds_run_on_masked_tokens(masked: Any, sty: Subject) -> None:
    concept = learn_fast(masked, "styledrop", sty)
    assert len(concept.losses) == 4
    about: dict[str, Any] = {"seed": 2, "settings": limner.PaintSettings(steps=2)}
    shown = limner.paint(masked, PROMPT, concepts=[concept], **about)[0].image
    assert shown.size == (16, 16)


def test_without_a_clip_the_way_to_go_on_is_named(base: Any, sty: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(pixels: Tensor) -> Tensor:
        raise InputError("no image encoder")

    monkeypatch.setattr(base, "picture_features", none)
    with pytest.raises(InputError, match="give captions of your own"):
        learn_fast(base, "styledrop", style(count=1, captions=False))
    with pytest.raises(InputError, match=r"choose them by hand \(choose=FOLDER\)"):
        learn_fast(base, "styledrop", sty)
