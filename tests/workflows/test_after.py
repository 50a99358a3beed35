"""One subject learned after another: a concept that started from an earlier one, and answers to both handles."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import limner
from limner.core.concept import Concept
from limner.core.headers import check_header
from limner.core.method import method
from limner.core.recipe import Answer, Recipe, Stage
from limner.core.subject import Subject
from limner.engine.attach import attach
from limner.errors import FileError, InputError, WrongBase
from limner.library.after import method_after
from limner.library.opening import adapter_of
from limner.parts.modifiers import new_word
from limner.parts.objectives import denoising
from limner.parts.parameters import words
from limner.parts.sources import photos
from limner.pocket.subjects import toy
from limner.workflows.learn import learn_updates
from tests.helpers import same


@method(title="in sequence", scope=("object",), arxiv="2208.01618")
def in_sequence(subject: Subject, *, steps: int = 2, lr: float = 1e-2) -> Recipe:
    """A token for each subject; that of the last one learns.

    Settings:
        steps: updates
        lr: learning rate
    """
    tokens = [new_word(each.handle, like=each.noun) for each in (*subject.before, subject)]
    stage = Stage(train=(words(tokens[-1]),), loss=(denoising(photos(subject, batch=1)),), steps=steps, lr=lr)
    also = tuple(Answer(each.handle, each.handle, each.noun) for each in subject.before)
    return Recipe(says=subject.handle, modifiers=tuple(tokens), stages=(stage,), also=also)


@pytest.fixture(scope="module")
def bo() -> Subject:
    return toy("car", 2_000_021, name="bo", count=2)


@pytest.fixture(scope="module")
def first(base: Any, rex: Subject) -> Concept:
    return limner.learn(base, rex, method=in_sequence)


@pytest.fixture(scope="module")
def second(base: Any, bo: Subject, first: Concept) -> Concept:
    return limner.learn(base, bo, method=in_sequence, after=first)


def test_the_next_concept_answers_to_both_handles(
    base: Any, first: Concept, second: Concept, bo: Subject, tmp_path: Path
) -> None:
    """It holds the earlier concept's tensors, also in its file, and both act when it paints."""
    loaded = Concept.load(second.save(tmp_path / "bo.safetensors"))
    assert loaded.header == second.header
    assert loaded.handle == "<bo>"
    assert loaded.handles == ("<bo>", "<rex>")
    assert torch.equal(loaded.tensors["word.<rex>"], first.tensors["word.<rex>"])
    alone = limner.learn(base, bo, method=in_sequence)
    assert torch.equal(loaded.tensors["word.<bo>"], alone.tensors["word.<bo>"])
    with torch.no_grad():
        with attach(base, [adapter_of(loaded, base)]) as both:
            together = both.text_states(["<rex> next to <bo>"])
        with attach(base, [adapter_of(concept, base) for concept in (first, alone)]) as apart:
            assert torch.equal(together, apart.text_states(["<rex> next to <bo>"]))


def test_a_third_subject_follows_the_second(base: Any, second: Concept) -> None:
    third = limner.learn(base, toy("cat", 2_000_022, name="tom", count=2), method=in_sequence, after=second)
    assert third.handles == ("<tom>", "<rex>", "<bo>")
    assert second.after != third.after != ""
    merged = limner.merge(base, [third, limner.learn(base, toy("dog", 2_000_023, name="ace"), method=in_sequence)])
    assert merged.handles == ("<tom>", "<rex>", "<bo>", "<ace>")
    with attach(base, [adapter_of(merged, base)]) as adapted:
        assert adapted.words.keys() == set(merged.handles)


def test_an_interrupted_run_goes_on_from_its_own_start_alone(
    base: Any, bo: Subject, first: Concept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("limner.engine.checkpoint.CHECKPOINT_SECONDS", -1.0)
    about: dict[str, Any] = {"method": in_sequence, "steps": 3, "checkpoints": tmp_path}
    running = learn_updates(base, bo, after=first, **about)
    next(running)
    next(running)
    running.close()
    moved = replace(first, tensors={name: tensor + 1 for name, tensor in first.tensors.items()})
    with pytest.raises(FileError, match="its after differ"):
        limner.learn(base, bo, after=moved, resume=True, **about)
    resumed = limner.learn(base, bo, after=first, resume=True, **about)
    whole = limner.learn(base, bo, after=first, method=in_sequence, steps=3)
    assert same(resumed.tensors, whole.tensors)


def test_a_concept_that_cannot_be_followed_is_refused(base: Any, rex: Subject, bo: Subject, first: Concept) -> None:
    other = replace(first, base={**first.base, "name": "elsewhere", "fingerprint": "0" * 16})
    with pytest.raises(WrongBase, match="was learned on elsewhere"):
        limner.learn(base, bo, method=in_sequence, after=other)
    with pytest.raises(InputError, match="both need one method"):
        limner.learn(base, bo, method="textual_inversion", after=first)
    with pytest.raises(InputError, match="answers to <rex> already"):
        limner.learn(base, rex, method=in_sequence, after=first)
    with pytest.raises(InputError, match="merged from several"):
        method_after(replace(first, method="merged"))
    alone = limner.learn(base, rex, method="textual_inversion", steps=1, batch=1)
    with pytest.raises(InputError, match="learns every subject by itself: it would lose <rex>"):
        limner.learn(base, bo, method="textual_inversion", steps=1, batch=1, after=alone)


def test_a_file_alone_names_no_method_to_run(first: Concept, tmp_path: Path) -> None:
    strange = replace(first, method=f"{tmp_path / 'mine.py'}:nobody_named_it", method_sha256="")
    with pytest.raises(FileError, match="a file never names code to run"):
        method_after(strange)


def changed(second: Concept) -> Iterator[tuple[dict[str, Any], str]]:
    before = second.subject["before"]
    yield {**second.subject, "before": [{**before[0], "handle": f"<dog{k}>"} for k in range(16)]}, "16 is the most"
    yield {**second.subject, "beside": before}, "different handles"
    yield {**second.subject, "before": before * 2}, "different handles"
    yield {**second.subject, "before": [{**before[0], "before": before}]}, "does not write: 'before'"
    yield {**second.subject, "before": [{**before[0], "beside": before}]}, "does not write: 'beside'"
    yield {**second.subject, "before": [{**before[0], "noun": "\0"}]}, "noun"
    yield {**second.subject, "before": [{**before[0], "handle": "<bo>"}]}, "different handles"


def test_a_header_with_strange_subjects_before_is_refused(second: Concept) -> None:
    header = json.loads(json.dumps({**second.header, "members": []}))
    check_header(header, second.tensors, "bo.safetensors")
    for subject, message in changed(second):
        with pytest.raises(FileError, match=message):
            check_header({**header, "subject": subject}, second.tensors, "bo.safetensors")
