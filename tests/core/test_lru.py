"""Caches between requests: bounded, least recently used first out, never stale, and without an effect on pictures."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import limner
from limner.core.concept import Concept
from limner.core.lru import LRU
from limner.core.weight_cache import of_weight
from limner.engine import text_cache
from limner.engine.attach import attach
from limner.engine.text_cache import read_texts
from limner.errors import FileError
from limner.library import concepts as library_concepts
from limner.library.concepts import Concepts
from limner.pocket.subjects import toy
from limner.workflows.paint_many import Order, paint_many
from tests.helpers import untouched

QUICK = limner.PaintSettings(steps=2)
LORA: dict[str, Any] = {"steps": 2, "num_class_pictures": 2, "batch": 1, "rank": 2, "lr": 0.02}
WORD: dict[str, Any] = {"steps": 2, "batch": 1, "vectors": 2, "lr": 0.05}


@pytest.fixture(scope="module")
def concepts(base: Any) -> list[Concept]:
    """Two low-rank changes and a word."""
    about = (("lora_dreambooth", LORA), ("lora_dreambooth", LORA | {"rank": 3}), ("textual_inversion", WORD))
    subjects = [toy("dog", 2_000_040 + k, name=f"rex{'abc'[k]}", count=1) for k in range(3)]
    return [limner.learn(base, s, method=m, **how) for s, (m, how) in zip(subjects, about, strict=True)]


@pytest.fixture
def files(concepts: list[Concept], tmp_path: Path) -> list[Path]:
    """Their files, old enough to be kept."""
    return [settled(c.save(tmp_path / f"{k}.safetensors")) for k, c in enumerate(concepts)]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of files that are read, as they are."""
    found: list[str] = []
    real = Concept.load
    monkeypatch.setattr(Concept, "load", lambda path: (found.append(Path(path).name), real(path))[1])
    return found


def settled(path: Path) -> Path:
    time.sleep(library_concepts.SETTLED + 0.02)
    return path


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 60))), st.integers(0, 100))
def test_the_bound_is_held_and_the_least_recently_used_goes_first(steps: list[tuple[int, int]], limit: int) -> None:
    """Against a list in the order of use."""
    recent: LRU[int] = LRU(limit)
    used: list[tuple[int, int]] = []
    for key, size in steps:
        known = next((pair for pair in used if pair[0] == key), None)
        assert (recent.get(key) is not None) == (known is not None)
        used = [pair for pair in used if pair[0] != key]
        if known and size % 2:  # looked at, not put in again
            used.append(known)
            continue
        recent.put(key, key, size)
        if size <= limit:
            used.append((key, size))
            while sum(n for _, n in used) > limit:
                used.pop(0)
        assert recent.num_bytes == sum(n for _, n in used) <= limit
        assert len(recent) == len(used)


def test_a_hot_concept_is_read_once(files: list[Path], reads: list[str]) -> None:
    hot = Concepts()
    assert hot.read(files[0]) is hot.read(str(files[0]))
    assert reads == ["0.safetensors"]
    assert hot.recent.num_bytes == hot.read(files[0]).num_bytes


def test_what_was_not_used_for_longest_makes_room(files: list[Path], concepts: list[Concept], reads: list[str]) -> None:
    hot = Concepts(limit_bytes=sum(c.num_bytes for c in concepts[:2]))
    for k in (0, 1, 0, 2, 0, 1):
        hot.read(files[k])
        assert hot.recent.num_bytes <= hot.recent.limit_bytes
    assert reads == ["0.safetensors", "1.safetensors", "2.safetensors", "1.safetensors"]


@pytest.mark.parametrize("in_place", [False, True])
def test_a_file_that_changed_is_read_anew(files: list[Path], concepts: list[Concept], in_place: bool) -> None:
    """A file of the same size and, as far as one can set them, of the same times."""
    hot, path, about = Concepts(), files[0], os.stat(files[0])
    other = replace(concepts[0], tensors={n: t + 1 for n, t in concepts[0].tensors.items()})
    hot.read(path)
    if in_place:
        path.write_bytes(other.save(path.with_name("other.safetensors")).read_bytes())
    else:
        other.save(path, overwrite=True)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert path.stat().st_size == about.st_size
    for _ in range(2):
        assert all(torch.equal(t, other.tensors[n]) for n, t in hot.read(path).tensors.items())
    path.unlink()
    with pytest.raises(FileError, match="there is no concept"):
        hot.read(path)


def test_what_changed_just_now_is_not_kept(files: list[Path], reads: list[str]) -> None:
    hot = Concepts()
    files[0].touch()
    hot.read(files[0])
    assert len(hot.recent) == 0
    settled(files[0])
    assert hot.read(files[0]) is hot.read(files[0])
    assert len(reads) == 2


def test_pictures_are_to_the_bit_what_they_are_without(
    base: Any, files: list[Path], concepts: list[Concept], reads: list[str]
) -> None:
    hot = Concepts()
    said = [f"{c.handle} on the beach" for c in concepts]

    def alone(which: Callable[[int], Concept | Path], **more: Any) -> list[bytes]:
        shown = [limner.paint(base, said[k], concepts=[which(k)], settings=QUICK, **more)[0] for k in range(3)]
        return [picture.image.tobytes() for picture in shown]

    def together(which: Callable[[int], Concept | Path], **more: Any) -> list[bytes]:
        orders = [Order(said[k], which(k), seed) for seed, k in enumerate((0, 2, 1, 0))]
        return [p.image.tobytes() for p in paint_many(base, [*orders, Order("a cat")], settings=QUICK, **more)]

    for paint in (alone, together):
        text_cache._texts.clear()
        fresh = paint(lambda k: concepts[k])
        for _ in range(2):
            assert paint(lambda k: files[k], hot=hot) == fresh
    assert sorted(reads) == [f"{k}.safetensors" for k in range(3)]
    assert paint_many(base, [Order(said[0], files[0])], settings=QUICK)[0].concepts == (concepts[0].handle,)
    assert untouched(base)


def test_weights_that_methods_start_from_stay_with_the_concepts(
    base: Any, rex: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from limner.core import weights

    concept, hot, calls = limner.learn(base, rex, method="ip_adapter"), Concepts(), []
    real = weights.shipped
    monkeypatch.setattr(weights, "shipped", lambda *a: (calls.append(a), real(*a))[1])
    plain, first, second = (
        limner.paint(base, "<rex>", concepts=[concept], settings=QUICK, hot=h)[0].image.tobytes()
        for h in (None, hot, hot)
    )
    assert plain == first == second
    assert len(calls) == 2  # without, and once with
    assert hot.recent.num_bytes > 10**6


def test_what_is_computed_from_a_weight_lasts_as_long_as_the_weight() -> None:
    weight, made = torch.nn.Parameter(torch.ones(3)), []

    def double() -> tuple[torch.Tensor, ...]:
        made.append(weight.detach() * 2)
        return (made[-1],)

    first, again = (of_weight("double", weight.detach(), double)[0] for _ in range(2))
    assert first is again
    with torch.no_grad():
        weight.add_(1)
    assert torch.equal(of_weight("double", weight.detach(), double)[0], torch.full((3,), 4.0))
    weight.data = torch.zeros(3)
    assert torch.equal(of_weight("double", weight.detach(), double)[0], torch.zeros(3))
    assert len(made) == 3


# -------------------------------------------------------------------------------------------------- text hidden states


@pytest.fixture
def runs(base: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The prompts of every pass of the text encoder from now on; it has read nothing yet."""
    found: list[tuple[str, ...]] = []
    real = base.text_states
    monkeypatch.setattr(base, "text_states", lambda p, **k: (found.append(tuple(p)), real(p, **k))[1])
    text_cache._texts.clear()
    return found


def test_a_prompt_is_read_once_for_all_requests(base: Any, concepts: list[Concept], runs: list[Any]) -> None:
    for concept in concepts:  # a word is another for each
        limner.paint(base, f"{concept.handle} in the snow", concepts=[concept], settings=QUICK)
    assert len(runs) == 3
    for concept in concepts:
        limner.paint(base, f"{concept.handle} in the snow", concepts=[concept], seed=5, settings=QUICK)
    assert len(runs) == 3


def test_a_word_is_known_by_its_vectors_not_by_its_name(base: Any, runs: list[Any]) -> None:
    one, two = torch.randn(2, base.word_vectors("dog").shape[1]).split(1)
    first = read_texts(base, ["a photo of <a>"], words={"<a>": one})["a photo of <a>"]
    same = read_texts(base, ["a photo of <b.1>"], words={"<b.1>": one, "<a>": two})["a photo of <b.1>"]
    assert torch.equal(first, same)
    assert len(runs) == 1
    other = read_texts(base, ["a photo of <a>"], words={"<a>": two})["a photo of <a>"]
    assert len(runs) == 2
    assert not torch.equal(first, other)
    assert torch.equal(other, base.text_states(["a photo of <a>", "", "", ""], words={"<a>": two})[0])


@pytest.mark.parametrize("how", ["written", "replaced", "hooked"])
def test_a_changed_tower_reads_for_itself(base: Any, runs: list[Any], how: str) -> None:
    """And what it read is not taken for the base's afterwards."""
    before = read_texts(base, ["a dog"], words={})["a dog"]
    weight = next(p for n, p in base.module("text_encoder").named_parameters() if n.endswith("fc1.weight"))
    kept = weight.data.clone()
    hook = None
    if how == "written":
        with torch.no_grad():
            weight.add_(0.1)
    elif how == "replaced":
        weight.data = kept + 0.1
    else:
        norms = [m for m in base.module("text_encoder").modules() if isinstance(m, torch.nn.LayerNorm)]
        hook = norms[-1].register_forward_hook(lambda _, __, out: 1.1 * out)
    try:
        changed = read_texts(base, ["a dog"], words={})["a dog"]
    finally:
        if hook:
            hook.remove()
        with torch.no_grad():
            weight.copy_(kept)
    assert not torch.equal(changed, before)
    assert torch.equal(read_texts(base, ["a dog"], words={})["a dog"], before)


def test_what_is_kept_is_out_of_reach(base: Any, runs: list[Any]) -> None:
    """Writing to states that were handed out changes nothing for the next."""
    read_texts(base, ["a dog"], words={})["a dog"].zero_()
    with torch.no_grad(), attach(base, []) as adapted:
        assert adapted.text_states(["a dog"]).abs().sum() > 0


def test_precision_is_part_of_what_made_it(base: Any, runs: list[Any]) -> None:
    plain = read_texts(base, ["a dog"], words={})["a dog"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = read_texts(base, ["a dog"], words={})["a dog"]
    assert not torch.equal(plain, rough)
    assert torch.equal(plain, read_texts(base, ["a dog"], words={})["a dog"])


def test_states_are_bounded(base: Any, runs: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    read_texts(base, ["a dog"], words={})
    recent = text_cache._texts[base].recent
    each = recent.num_bytes
    recent.limit_bytes = 3 * each
    for text in ("a cat", "a car", "a dog", "a red car"):
        read_texts(base, [text], words={})
        assert recent.num_bytes <= 3 * each
    count = len(runs)
    read_texts(base, ["a dog", "a car"], words={})
    assert len(runs) == count
    read_texts(base, ["a cat"], words={})
    assert len(runs) == count + 1
