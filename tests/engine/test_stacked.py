"""Many subjects in one pass: each is what it would be alone, whoever its neighbours are."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import limner
from limner.apps.cli.main import main
from limner.core.concept import Concept
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.engine.attach import Adapter
from limner.engine.stacked.train import room
from limner.engine.train import Checkpoint, train
from limner.errors import InputError
from limner.methods import methods
from limner.parts.objectives import distillation
from limner.parts.parameters import at_rate
from limner.pocket.subjects import toy
from limner.workflows.learn_many import Done, Job, learn_many, train_stacked
from limner.workflows.paint_many import Order, paint_many
from limner.workflows.workers import learn_over
from tests.helpers import fast, same, state, untouched

LORA: dict[str, Any] = {"steps": 3, "num_class_pictures": 2, "batch": 2, "rank": 2}
LOHA: dict[str, Any] = {"steps": 3, "batch": 1, "rank": 2}
WORD: dict[str, Any] = {"steps": 3, "batch": 2, "vectors": 2}
NEAR = 2e-3
"""How far a concept may be from the one taught alone, of its length: sums are added up in another order, and Adam's
first updates, which divide a gradient by its own size, make the most of it where a gradient is next to nothing."""


@pytest.fixture(scope="module")
def subjects() -> list[Subject]:
    return [
        toy(noun, 2_000_020 + k, name=f"rex{'abcd'[k]}", count=2)
        for k, noun in enumerate(("dog", "car", "dog", "teapot"))
    ]


def alone(base: Any, job: Job) -> Concept:
    return limner.learn(base, job.subject, method=job.method, seed=job.seed, **job.settings)


def near(first: Concept, second: Concept | None) -> bool:
    assert second is not None
    assert first.tensors.keys() == second.tensors.keys()
    assert first.header | {"cost": 0, "losses": 0} == second.header | {"cost": 0, "losses": 0}
    assert first.losses == pytest.approx(second.losses, rel=1e-4)
    far = sum(float((first.tensors[n] - t).square().sum()) for n, t in second.tensors.items())
    return far <= NEAR**2 * sum(float(t.square().sum()) for t in first.tensors.values())


def by_name(done: list[Done]) -> dict[tuple[str, int], Done]:
    return {(d.job.subject.name, d.job.seed): d for d in done}


def test_a_fleet_teaches_what_each_would_learn_alone(base: Any, subjects: list[Subject]) -> None:
    """Other ranks, rates, lengths and seeds, words and low rank mixed, fewer slots than subjects: who ends leaves, who
    waits joins."""
    jobs = [
        Job(subjects[0], "lora_dreambooth", 1, LORA),
        Job(subjects[1], "textual_inversion", 2, WORD),
        Job(subjects[2], "lora_dreambooth", 3, LORA | {"rank": 5, "lr": 5e-3, "steps": 4}),
        Job(subjects[3], "textual_inversion", 4, WORD | {"vectors": 1, "steps": 2}),
        Job(subjects[1], "lora_dreambooth", 5, LORA | {"prior_weight": 0.0, "steps": 2, "layers": "attention"}),
    ]
    before = state(base)
    done = by_name(learn_many(base, jobs, slots=3))
    assert same(state(base), before)
    assert untouched(base)
    for job in jobs:
        assert near(alone(base, job), done[job.subject.name, job.seed].concept)


@pytest.mark.parametrize(
    "name", ["lycoris_loha", *(pytest.param(n, marks=pytest.mark.sweep) for n in ("lycoris_lokr", "svdiff", "oft"))]
)
def test_changes_of_weights_of_every_kind_go_in_fleets(base: Any, subjects: list[Subject], name: str) -> None:
    """Beside another kind: a fleet of two methods."""
    settings = fast(methods()[name], prior_weight=0.0, num_class_pictures=2)
    jobs = [Job(subjects[k], name, k, settings) for k in range(2)] + [Job(subjects[2], "lora_dreambooth", 2, LORA)]
    done = by_name(learn_many(base, jobs))
    for job in jobs:
        assert near(alone(base, job), done[job.subject.name, job.seed].concept)
    assert untouched(base)


def test_neighbours_make_no_difference(base: Any, subjects: list[Subject]) -> None:
    job = Job(subjects[0], "lora_dreambooth", 1, LORA)
    others = [Job(s, "lora_dreambooth", k, LORA | {"lr": 0.05 * k + 1e-3}) for k, s in enumerate(subjects[1:3])]
    found = [by_name(learn_many(base, [*before, job, *after]))[subjects[0].name, 1].concept for before, after in (
        ([], []), (others, []), ([], others[:1]),
    )]  # fmt: skip
    assert all(near(found[0], concept) for concept in found[1:] if found[0])


def test_one_subject_at_many_seeds_and_settings(base: Any, subjects: list[Subject]) -> None:
    """Error bars and sweeps: one handle, many rows; each word is its own."""
    jobs = [
        Job(subjects[0], "textual_inversion", seed, WORD | {"lr": rate})
        for seed, rate in ((0, 0.01), (1, 0.01), (2, 0.03))
    ]
    done = by_name(learn_many(base, jobs))
    for job in jobs:
        assert near(alone(base, job), done[subjects[0].name, job.seed].concept)


def test_what_breaks_one_touches_no_other(base: Any, subjects: list[Subject]) -> None:
    """A subject whose picture is not of numbers fails alone, with its last good state."""
    good, bad = Job(subjects[0], "lora_dreambooth", 1, LORA), Job(subjects[1], spoiled, 2, {"steps": 4})
    done = by_name(learn_many(base, [good, bad]))
    assert near(alone(base, good), done[subjects[0].name, 1].concept)
    failed = done[subjects[1].name, 2]
    assert failed.concept is None
    assert "expected finite numbers" in str(failed.error)
    assert (failed.checkpoint.step, all(bool(t.isfinite().all()) for t in failed.checkpoint.tensors.values())) == (
        2,
        True,
    )
    assert untouched(base)


def test_any_mix_in_any_order_is_what_each_learns_alone(base: Any, subjects: list[Subject]) -> None:
    """DreamArtist runs its own batch a second time, alone: its neighbour's low rank has no part in that."""
    jobs = [
        Job(subjects[0], "dreamartist", 1, fast(methods()["dreamartist"])),
        Job(subjects[1], "lora_dreambooth", 2, LORA),
    ]
    wanted = [alone(base, job) for job in jobs]
    for order in (jobs, jobs[::-1]):
        done = by_name(learn_many(base, order))
        for job, concept in zip(jobs, wanted, strict=True):
            assert near(concept, done[job.subject.name, job.seed].concept)
    assert untouched(base)


@limner.method(title="Held", arxiv="2601.00002", scope=("object",))
def held(subject: Subject, *, steps: int = 3) -> Recipe:
    """A low-rank change held near what the untouched base says.

    Settings:
        steps: updates
    """
    recipe = methods()["lora_dreambooth"](subject, steps=steps, prior_weight=0.0, rank=2, batch=1)
    (stage,) = recipe.stages
    return replace(recipe, stages=(replace(stage, loss=(*stage.loss, distillation(stage.loss[0].source, "a dog"))),))


def test_the_untouched_base_is_untouched_by_neighbours(base: Any, subjects: list[Subject]) -> None:
    jobs = [Job(subjects[0], held, 1, {"steps": 3}), *(Job(subjects[k], "lycoris_loha", k, LOHA) for k in (1, 2))]
    done = by_name(learn_many(base, jobs))
    for job in jobs:
        assert near(alone(base, job), done[job.subject.name, job.seed].concept)


@limner.method(title="Failing", arxiv="2601.00003", scope=("object",))
def failing(subject: Subject, *, where: str = "loss", steps: int = 4) -> Recipe:
    """A word whose third update fails where it is said.

    Settings:
        where: "draw", "loss" or "prompt"
        steps: updates
    """
    recipe = methods()["textual_inversion"](subject, steps=steps, batch=1)
    (stage,), (term,) = recipe.stages, recipe.stages[0].loss
    source = term.source

    def prepare(base: Any) -> Any:
        draw = source.prepare(base)

        def again(step: int, at: Any) -> Any:
            batch = draw(step, at)
            if step == 2 and where == "draw":
                raise ValueError("no such picture")
            return replace(batch, prompts=("dog " * 999,)) if step == 2 and where == "prompt" else batch

        return again

    def value(step: Any) -> Any:
        found = term.value(step)
        if where == "loss" and len(seen) == 2:
            raise ValueError("no such loss")
        seen.append(0)
        return found

    seen: list[int] = []
    own = replace(term, source=replace(source, prepare=prepare), value=value)
    return replace(recipe, stages=(replace(stage, loss=(own,)),))


@pytest.mark.parametrize(
    ("where", "why"), [("draw", "no such picture"), ("loss", "no such loss"), ("prompt", "tokens")]
)
def test_a_job_that_fails_ends_alone(base: Any, subjects: list[Subject], where: str, why: str) -> None:
    good, bad = Job(subjects[0], "textual_inversion", 1, WORD), Job(subjects[1], failing, 2, {"where": where})
    done = by_name(learn_many(base, [bad, good]))
    assert near(alone(base, good), done[subjects[0].name, 1].concept)
    failed = done[subjects[1].name, 2]
    assert why in str(failed.error)
    assert failed.checkpoint.step == 2
    assert untouched(base)


def test_who_waits_for_a_job_does_not_hold_up_the_others(base: Any, subjects: list[Subject]) -> None:
    """The second job comes only once the first has learned; what the iterator raises comes after those who had
    begun."""
    learned = threading.Event()

    def slow() -> Iterator[Job]:
        yield Job(subjects[0], "textual_inversion", 0, WORD | {"steps": 3})
        assert learned.wait(60)
        yield Job(subjects[1], "textual_inversion", 1, WORD | {"steps": 2})
        raise RuntimeError("the queue broke")

    done: list[Done] = []

    def drain() -> None:
        for progress in train_stacked(base, slow()):
            learned.set()
            done.extend(progress.done)

    with pytest.raises(RuntimeError, match="the queue broke"):
        drain()
    assert [d.job.seed for d in done if d.concept] == [0, 1]
    assert untouched(base)


def test_in_half_precision_a_fleet_learns_in_single(subjects: list[Subject]) -> None:
    half = limner.load("pocket", device="cpu", dtype="bfloat16")
    job = Job(subjects[0], "textual_inversion", 1, {"steps": 6, "lr": 1e-5, "batch": 1, "vectors": 1})
    before = half.word_vectors("dog").float()
    (done,) = learn_many(half, [job])
    assert done.concept is not None
    (vectors,) = done.concept.tensors.values()
    assert vectors.dtype == torch.float32
    far = float((vectors - before).abs().mean())
    assert 0.1 < far / (6 * 1e-5) <= 1.01  # less than half the last bit of most numbers, which would have stayed


@limner.method(title="Spoiled", arxiv="2601.00001", scope=("object",))
def spoiled(subject: Subject, *, steps: int = 4) -> Recipe:
    """A low-rank change whose loss is no number from the third update on.

    Settings:
        steps: updates
    """
    recipe = methods()["lora_dreambooth"](subject, steps=steps, prior_weight=0.0, rank=2, batch=1)
    (stage,), (term, *_) = recipe.stages, recipe.stages[0].loss
    seen = iter(range(100))
    ruined = replace(term, value=lambda step: term.value(step) * (float("nan") if next(seen) >= 2 else 1.0))
    return replace(recipe, stages=(replace(stage, loss=(ruined,)),))


def test_it_can_be_left_and_gone_on_with_alone_or_together(base: Any, subjects: list[Subject]) -> None:
    jobs = [Job(s, "lora_dreambooth", k, LORA) for k, s in enumerate(subjects[:2])]
    points: dict[str, Checkpoint] = {}
    running: Any = train_stacked(base, jobs)
    for number, progress in enumerate(running):
        if number == 1:
            points = {job.subject.name: progress.snapshot(job) for job in jobs}
            break
    running.close()
    assert untouched(base)
    whole = by_name(learn_many(base, jobs))
    again = by_name(learn_many(base, [replace(job, start=points[job.subject.name]) for job in jobs]))
    for job in jobs:
        key = (job.subject.name, job.seed)
        first, second = whole[key].checkpoint, again[key].checkpoint
        assert same(first.tensors, second.tensors)
        recipe = methods()["lora_dreambooth"](job.subject, **LORA)
        adapter = Adapter(recipe, job.subject.handle, {}, 1.0, job.seed)
        *_, last = train(base, adapter, stages=recipe.tuning, seed=job.seed, start=points[job.subject.name])
        for name, tensor in last.snapshot().tensors.items():
            assert torch.allclose(tensor, first.tensors[name], atol=1e-3)


def test_jobs_are_asked_for_when_a_slot_is_free(base: Any, subjects: list[Subject]) -> None:
    asked: list[int] = []

    def queue() -> Iterator[Job]:
        for k, subject in enumerate(subjects[:3]):
            asked.append(k)
            yield Job(subject, "textual_inversion", k, WORD | {"steps": 2})

    running: Any = train_stacked(base, queue(), slots=1)
    next(running)
    assert asked == [0]
    assert len(next(running).done) == 1
    next(running)
    assert asked == [0, 1]
    running.close()
    assert untouched(base)


def test_what_has_no_stacked_form_is_refused_with_the_reason(base: Any, subjects: list[Subject]) -> None:
    names = ("custom_diffusion", "p_plus", "stylealigned", "ip_adapter")
    reasons = ("the base's own weights", "varying_word has no stacked form", "learns nothing", "learns nothing")
    done = learn_many(base, [Job(subjects[0], name) for name in names])
    for name, why, end in zip(names, reasons, done, strict=True):
        assert end.concept is None
        assert isinstance(end.error, InputError)
        assert f"{name} cannot train several subjects at once" in str(end.error)
        assert why in str(end.error)
    with pytest.raises(InputError, match="number of slots must be 1"):
        next(train_stacked(base, [], slots=0))
    stage = Stage(train=(at_rate(2.0, lambda adapted: adapted.base.select("everything")),), loss=(), steps=1, lr=1e-3)
    assert Recipe(says="dog", stages=(stage,)).why_not_stackable == "it changes the base's own weights"
    assert not methods()["lora_dreambooth"](subjects[0]).why_not_stackable
    assert learn_many(base, []) == []


@pytest.mark.sweep
def test_mixed_precision_learns_nearly_the_same(base: Any, subjects: list[Subject]) -> None:
    jobs = [Job(s, "lora_dreambooth", k, LORA) for k, s in enumerate(subjects[:2])]
    for job, done in zip(jobs, learn_many(base, jobs, mixed=True), strict=True):
        assert done.concept is not None
        assert done.concept.losses == pytest.approx(alone(base, job).losses, rel=0.02)
        assert all(t.dtype == torch.float32 for t in done.concept.tensors.values())


def test_the_room_there_is_grows_with_memory(base: Any, subjects: list[Subject]) -> None:
    recipe = methods()["lora_dreambooth"](subjects[0], **LORA)
    few, many = (room(base, recipe, batch=4, limit=limit) for limit in (0.6e9, 6e9))
    assert 1 <= few < many
    assert untouched(base)


def test_each_row_paints_its_own_concept(base: Any, subjects: list[Subject]) -> None:
    """Words, low rank of two ranks and layer sets, one handle twice, other strengths, and rows that wear nothing."""
    jobs = [
        Job(subjects[0], "lora_dreambooth", 1, LORA | {"lr": 0.02}),
        Job(subjects[0], "textual_inversion", 2, WORD | {"lr": 0.05}),
        Job(subjects[1], "lora_dreambooth", 3, LORA | {"rank": 4, "lr": 0.02, "layers": "attention"}),
    ]
    learned = [alone(base, job) for job in jobs]
    orders = [
        Order(f"{learned[0].handle} on the beach", learned[0], 1),
        Order("a red car at night", None, 2),
        Order(f"{learned[1].handle} in the snow", learned[1], 3),
        Order(f"{learned[2].handle} in the city", learned[2], 4, scale=0.5),
        Order(f"a photo of {learned[0].handle}", learned[0], 5, scale=0.0),
    ]
    how = limner.PaintSettings(steps=3, batch=4)
    together = paint_many(base, orders, settings=how)
    assert untouched(base)
    for order, picture in zip(orders, together, strict=True):
        adapted = [order.concept] if order.concept else []
        single = limner.paint(base, order.prompt, concepts=adapted, seed=order.seed, scale=order.scale, settings=how)[0]
        far = np.abs(np.asarray(single.image, dtype=int) - np.asarray(picture.image, dtype=int))
        assert far.max() <= 1
        assert (picture.prompt, picture.seed, picture.concepts) == (single.prompt, single.seed, single.concepts)
    shown = {p.image.tobytes() for p in together}
    assert len(shown) == len(orders)


def test_what_cannot_be_painted_by_rows_is_refused(base: Any, subjects: list[Subject]) -> None:
    concept = limner.learn(base, subjects[0], method="stylealigned")
    with pytest.raises(InputError, match=r"cannot be painted in a batch with others"):
        paint_many(base, [Order(concept.handle, concept)])
    with pytest.raises(limner.errors.PromptError, match="nothing answers"):
        paint_many(base, [Order("<nobody> on the beach")])
    assert untouched(base)


@pytest.mark.sweep
def test_over_processes_it_is_the_same(base: Any, subjects: list[Subject]) -> None:
    jobs = [Job(s, "textual_inversion", k, WORD | {"steps": 2}) for k, s in enumerate(subjects[:3])]
    done = by_name(list(learn_over("pocket", jobs, workers=2, opening={"device": "cpu"})))
    for job in jobs:
        assert near(alone(base, job), done[job.subject.name, job.seed].concept)
    with pytest.raises(InputError, match="'local' or 'ray'"):
        next(learn_over("pocket", jobs, on="cloud"))
    with pytest.raises(InputError, match="at least one worker"):
        next(learn_over("pocket", jobs, workers=0))


def test_over_a_cluster_actors_open_the_base_once(
    base: Any, subjects: list[Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through Ray's own calls; the stand-in makes an actor when it is asked for and runs its calls when they are waited
    for."""
    made: list[Any] = []

    def remote(kind: Any) -> Any:
        def make(*args: Any) -> Any:
            made.append(kind(*args))
            actor = made[-1]
            return SimpleNamespace(run=SimpleNamespace(remote=lambda *a: _Call(actor.run, a)))

        return SimpleNamespace(remote=make)

    fake = SimpleNamespace(
        init=lambda **_: None,
        remote=remote,
        wait=lambda running, num_returns: (running[:1], running[1:]),
        get=lambda call: call.work(*call.about),
    )
    monkeypatch.setitem(sys.modules, "ray", fake)  # type: ignore[arg-type]
    jobs = [Job(s, "textual_inversion", k, WORD | {"steps": 1}) for k, s in enumerate(subjects[:3])]
    done = list(learn_over("pocket", jobs, workers=2, on="ray", opening={"device": "cpu"}))
    assert len(made) == 2
    assert {d.job.subject.name for d in done} == {s.name for s in subjects[:3]}


class _Call:
    def __init__(self, work: Any, about: Any) -> None:
        self.work, self.about = work, about


def test_learn_together_from_the_command_line(subjects: list[Subject], tmp_path: Path, capsys: Any) -> None:
    for subject in subjects[:2]:
        folder = tmp_path / "subjects" / subject.name
        folder.mkdir(parents=True)
        for k, picture in enumerate(subject.pictures):
            assert picture.image is not None
            picture.image.save(folder / f"{k}.png")
    told = [
        "learn",
        str(tmp_path / "subjects"),
        "--together",
        "--class",
        "dog",
        "--steps",
        "2",
    ]
    told += ["--num-class-pictures", "2", "--batch", "1", "--rank", "1", "--out", str(tmp_path / "out")]
    assert main(told) == 0
    for subject in subjects[:2]:
        assert Concept.load(tmp_path / "out" / f"{subject.name}.safetensors").handle == subject.handle
    assert "2 subjects" in capsys.readouterr().err
    assert main(told) == 0
    assert "2 of 2 subjects are learned already" in capsys.readouterr().err
