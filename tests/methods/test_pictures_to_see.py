"""How pictures come to be seen: pairs of a corpus, words of pictures, the reference network."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from limner.core.recipe import Recipe, Stage
from limner.core.streams import streams
from limner.core.subject import Subject
from limner.core.types import AttentionCall, References
from limner.engine.attach import Adapter, attach
from limner.engine.train import train
from limner.errors import InputError
from limner.parts.encoders import clip_global
from limner.parts.encoders.looks import alone, mean_of
from limner.parts.fusion.reference_network import Reading, Shown, reference_network
from limner.parts.fusion.words_of_pictures import Mapped, Mapper, words_of_pictures
from limner.parts.modifiers import changed_states, low_rank
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import pairs
from limner.pocket.corpus import NUM_VIEWS, toys
from tests.helpers import same, state, untouched

NOBODY = Subject("<nobody>", "toy")


def drawn(base: Any, step: int = 0, **how: Any) -> Any:
    return pairs(corpus=toys(6), **how).prepare(base)(step, streams(0, "pairs", 0, step))


# --------------------------------------------------------------------------------------------------------------- pairs


def test_what_is_seen_is_never_what_is_painted_but_of_the_same_toy(base: Any) -> None:
    whole = base.encode(toys(6).drawn(range(24), base.picture_size)[0].float() / 255)[0]
    batch = drawn(base, batch=16, references=2)
    seen = base.encode(batch.references.pixels.flatten(0, 1))[0].unflatten(0, (16, 2))
    for row in range(16):
        target = int((whole - batch.latents[row]).flatten(1).norm(dim=1).argmin())
        shown = [int((whole - picture).flatten(1).norm(dim=1).argmin()) for picture in seen[row]]
        assert target not in shown
        assert {k // NUM_VIEWS for k in shown} == {target // NUM_VIEWS} == {int(batch.references.identity[row])}
        assert batch.references.nouns[row] == toys(6).noun(target)


def test_rows_of_a_batch_are_drawn_apart(base: Any) -> None:
    batch = drawn(base, batch=24)
    whole = base.encode(toys(6).drawn(range(24), base.picture_size)[0].float() / 255)[0]
    views = {int((whole - latents).flatten(1).norm(dim=1).argmin()) % NUM_VIEWS for latents in batch.latents}
    assert len(views) > 1


def test_a_batch_is_a_function_of_its_step(base: Any) -> None:
    first, again, later = (drawn(base, step, batch=4) for step in (3, 3, 4))
    assert torch.equal(first.latents, again.latents)
    assert first.prompts == again.prompts
    assert not torch.equal(first.latents, later.latents)


def test_conditions_are_left_out_as_often_as_asked(base: Any) -> None:
    batch = drawn(base, batch=400, drop_image=0.1, drop_text=0.2, drop_both=0.3)
    quiet, off = torch.tensor([not said for said in batch.prompts]), batch.references.dropped
    shares = {(q, d): float(((quiet == q) & (off == d)).float().mean()) for q in (False, True) for d in (False, True)}
    assert shares == pytest.approx(
        {(False, True): 0.1, (True, False): 0.2, (True, True): 0.3, (False, False): 0.4}, abs=0.07
    )


@pytest.mark.parametrize("ground", ["plain", "swapped"])
def test_on_other_ground_the_subject_alone_is_as_it_was(base: Any, ground: str) -> None:
    own, other = drawn(base, batch=4).references, drawn(base, batch=4, ground=ground).references
    inside = own.masks > 0.5
    assert torch.equal(own.pixels * inside, other.pixels * inside)
    assert not torch.equal(own.pixels, other.pixels)


def test_alike_rows_are_of_one_toy(base: Any) -> None:
    identity = drawn(base, batch=8, alike=2).references.identity
    assert torch.equal(identity[::2], identity[1::2])
    assert len(identity.unique()) > 1


def test_a_corpus_without_masks_cannot_be_cut_out(base: Any) -> None:
    class bare(toys):
        @property
        def fingerprint(self) -> str:
            return "bare"

        def drawn(self, pictures: Any, size: int) -> Any:
            return super().drawn(pictures, size)[0], None

    with pytest.raises(InputError, match="needs to know where the subject is"):
        pairs(corpus=bare(2), ground="plain").prepare(base)


# ---------------------------------------------------------------------------------------------------- words of pictures


def linear(count: int) -> Mapper:
    def mapper(base: Any, shape: tuple[int, ...], generator: torch.Generator) -> Mapped:
        wide = base.word_vectors("a").shape[-1]
        start = {"map": torch.randn(count * wide, shape[-1], generator=generator) / shape[-1] ** 0.5}
        return Mapped(start, lambda own, seen, plain, run: (seen @ own["map"].T).unflatten(-1, (count, wide)))

    return mapper


def worded(subject: Subject) -> Recipe:
    look = alone(mean_of(clip_global))
    word = changed_states(subject.handle, subject.noun, words_of_pictures(subject, look, linear(2)), name="try")
    return Recipe(says=subject.handle, modifiers=(word,))


def test_every_row_reads_the_words_of_its_own_picture(base: Any) -> None:
    shown = drawn(base, batch=3, ground="plain").references
    with torch.no_grad(), attach(base, [Adapter(worded(NOBODY), "<nobody>")]) as adapted:
        x, t = torch.randn(3, *base.latent_shape), torch.tensor([300, 300, 300])
        said = ["<nobody> on the beach", "a photo of <nobody>", "a blue car"]

        def told(rows: list[int]) -> torch.Tensor:
            prompts = [said[row] for row in rows]
            run = adapted.run(
                time=t[rows], prompts=tuple(prompts), references=shown.of(rows), random=streams(0, "try", 0)
            )
            found: torch.Tensor = base.predict(x[rows], t[rows], adapted.text_states(prompts), context=run)
            return found

        whole, alone_ = told([0, 1, 2]), torch.cat([told([k]) for k in range(3)])
        torch.testing.assert_close(whole, alone_, atol=2e-4, rtol=1e-3)
        bare = base.predict(
            x[2:], t[2:], adapted.text_states(said[2:]), context=adapted.run(time=t[2:], prompts=(said[2],))
        )
        torch.testing.assert_close(whole[2:], bare, atol=2e-4, rtol=1e-3)
        assert (whole[:1] - told_without(base, adapted, x[:1], t[:1], said[0])).abs().max() > 1e-3


def told_without(base: Any, adapted: Any, x: Any, t: Any, prompt: str) -> Any:
    plain = prompt.replace("<nobody>", "toy")
    return base.predict(x, t, adapted.text_states([plain]), context=adapted.run(time=t, prompts=(plain,)))


def test_a_dropped_picture_reads_as_the_noun(base: Any) -> None:
    shown = drawn(base, batch=1, ground="plain").references
    off = References(shown.pixels, shown.masks, nouns=("dog",), dropped=torch.tensor([True]))
    with torch.no_grad(), attach(base, [Adapter(worded(NOBODY), "<nobody>")]) as adapted:
        x, t = torch.randn(1, *base.latent_shape), torch.tensor([300])
        run = adapted.run(time=t, prompts=("<nobody> in snow",), references=off, random=streams(0, "try", 0))
        seen = base.predict(x, t, adapted.text_states(["<nobody> in snow"]), context=run)
        states = base.text_states(["dog in snow"], words={})
        plain = base.predict(x, t, states, context=adapted.run(time=t, prompts=("dog in snow",)))
    torch.testing.assert_close(seen, plain, atol=1e-5, rtol=1e-4)


# ------------------------------------------------------------------------------------------------ the reference network


def noting(found: dict[str, Shown]) -> Reading:
    def reading(base: Any, sites: Any, stored: Any, generator: Any) -> Any:
        def use(call: AttentionCall, shown: Shown, own: Any) -> None:
            found[call.site.name] = shown
            call.value = call.value + shown.hidden.mean()

        return {}, use

    return reading


def test_the_copy_is_worn_in_runs_on_references_alone_and_learns(base: Any) -> None:
    before, found = state(base), {}  # type: ignore[var-annotated]
    copy, own = low_rank(2, "everything", name="copy"), low_rank(2, "self_attention")
    network = reference_network(NOBODY, noting(found), lambda site: site.kind == "self", plain=True, copy=copy)
    loss = denoising(pairs(batch=2, corpus=toys(4), ground="plain"))
    recipe = Recipe("toy", (own, network), (Stage((learned(network, own),), (loss,), 2, 1e-2),))
    *_, last = train(base, Adapter(recipe, "<nobody>"), stages=recipe.stages)
    moved = last.snapshot().tensors
    assert any(name.startswith("copy.") and name.endswith("up") and t.abs().max() > 0 for name, t in moved.items())
    assert set(found) == {site.name for site in base.sites if site.kind == "self"}
    assert same(state(base), before)
    assert untouched(base)


def test_without_a_copy_it_sees_what_the_bare_base_sees(base: Any, rex: Subject) -> None:
    found: dict[str, Shown] = {}
    network = reference_network(rex, noting(found), lambda site: site.kind == "self", noised=False, says="a dog")
    seen: dict[str, torch.Tensor] = {}

    def note(call: AttentionCall) -> AttentionCall:
        seen[call.site.name] = call.hidden
        return call

    pixels = rex.tensor(base.picture_size)
    with torch.no_grad(), attach(base, [Adapter(Recipe("dog", (low_rank(2), network)), "<rex>", seed=3)]) as adapted:
        x, t = torch.randn(2, *base.latent_shape), torch.tensor([500, 500])
        base.predict(
            x, t, adapted.text_states(["a dog", "a dog"]), context=adapted.run(time=t, branches=("text", "negative"))
        )
        clean, zero = base.encode(pixels)[0], torch.zeros(len(pixels), dtype=torch.long)
        from limner.core.types import Pass

        states = base.text_states(["a dog"], words={}).expand(len(pixels), -1, -1)
        base.predict(clean, zero, states, context=Pass((note,), time=zero))
    for name, shown in found.items():
        torch.testing.assert_close(shown.hidden[0], seen[name].flatten(0, 1), atol=1e-4, rtol=1e-4)
        assert shown.on.tolist() == [True, False]
