"""FineStyle: adapters on the keys and values of cross-attention, learned from crops of a picture's concepts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

import limner
from limner.core.streams import stream, streams
from limner.core.subject import Subject
from limner.engine.attach import Adapter, attach
from limner.engine.train import Update, begin_update
from limner.errors import InputError
from limner.methods import methods
from limner.parts.sources import concept_crops, concepts_of
from limner.parts.sources.concept_crops import Concept, cropped
from limner.pocket.world import draw, individual
from limner.pocket.world.making import PARTS
from limner.pocket.world.sampling import showing
from tests.bases.families import save_tiny
from tests.helpers import fast, learn_fast, style


@pytest.fixture(scope="module")
def sty() -> Subject:
    return style(count=1, masks=True)


@pytest.fixture(scope="module")
def with_parts() -> Subject:
    """A cat with a red hat in watercolour; cat and hat are parts, with their true masks."""
    graph = showing(individual("cat", 2_000_031), seed=1, scene="beach", accessories=(("hat", "red"),))
    drawn = draw([replace(graph, style="watercolour", style_seed=2_000_001)])
    hat = drawn.part == PARTS.index("accessory")
    parts = []
    for noun, mask in (("cat", (drawn.toy >= 0) & ~hat), ("hat", hat)):
        masks = [Image.fromarray(mask[0].byte().mul(255).numpy())]
        parts.append(Subject.of(drawn.pixels, noun=noun, handle=f"the-{noun}", masks=masks))
    about: dict[str, Any] = {"noun": "watercolour style", "handle": "sty", "kind": "style", "beside": parts}
    return Subject.of(drawn.pixels, **about)


def test_adapters_are_on_keys_and_values_of_cross_attention_alone(base: Any, sty: Subject) -> None:
    concept = learn_fast(base, "finestyle", sty)
    layers = {name.removeprefix("style.denoiser.").rpartition(".")[0] for name in concept.tensors}
    crossing = {site.name for site in base.sites if site.kind == "cross"}
    assert layers == {f"{site}.{layer}" for site in crossing for layer in ("to_k", "to_v")}


def test_a_concept_counts_only_where_its_caption_names_it(base: Any, with_parts: Subject) -> None:
    """A crop's loss does not change with the pixels outside of its concept, as the target there does not count."""
    concepts = concepts_of(base, with_parts)
    assert [concept.phrase for concept in concepts] == ["cat", "hat"]
    source = concept_crops(with_parts, crops=3, batch=12)
    recipe = methods()["finestyle"](with_parts, batch=12, crops=3)
    term, seen = recipe.stages[0].loss[0], set()
    with attach(base, [Adapter(recipe, "<sty>")]) as adapted, torch.no_grad():
        update = begin_update(Update, adapted, source, source.prepare(base), 0, 0, 0)
        update.together = [update]
        mask = update.batch.mask
        assert mask is not None
        for prompt, where in zip(update.batch.prompts, mask, strict=True):
            seen.add(prompt)
            assert 0 < float(where.mean()) < 1
        assert seen == {"cat in <sty>", "hat in <sty>"}
        value = term.value(update)
        error = (update.prediction.output - update.target).square()
        each = (error * mask).sum((1, 2, 3)) / (mask.sum((1, 2, 3)) * error.shape[1])
        assert value == pytest.approx(float(each.mean()), rel=1e-5)
        assert value != pytest.approx(float(error.mean()), rel=1e-3)


def test_a_crop_holds_its_concept_and_follows_it() -> None:
    """A crop's mask is that of the concept, which its colour marks in the picture; sizes and places vary."""
    mask = torch.zeros(1, 32, 32)
    mask[:, 4:12, 20:26] = 1
    concept = Concept(torch.cat([mask, 1 - mask, 0 * mask]), mask, "a box")
    shares = []
    for k in range(12):
        pixels, where = cropped(concept, stream(0, "crop", k))
        assert pixels.shape == (3, 32, 32)
        assert float((pixels[0] - where[0]).abs().mean()) < 0.1
        shares.append(float(where.mean()))
    # 48 of 1024 pixels in the whole picture, and of 64 in the smallest crop
    assert 48 / 1024 - 0.01 <= min(shares) < max(shares) <= 48 / 64 + 0.01
    assert len({round(share, 3) for share in shares}) > 6
    tight = cropped(concept, stream(0, "crop"), tight=True)[1]
    assert float(tight.mean()) == pytest.approx(48 / 64, abs=0.02)


def test_foreground_and_background_are_concepts_where_no_parts_are_named(base: Any, sty: Subject) -> None:
    shown = sty.masks(base.picture_size)
    assert shown is not None
    toy, around = concepts_of(base, sty)
    assert (toy.phrase, around.phrase) == ("a dog", "a background")
    assert toy.mask.equal((shown[0] > 0.5).float())
    assert (toy.mask + around.mask).eq(1).all()
    bare = replace(sty, pictures=tuple(replace(p, mask=None, caption="") for p in sty.pictures))
    found = concepts_of(base, bare)  # by the base's segmenter, named by its CLIP
    assert found[1].phrase == "a background"
    assert found[0].phrase.startswith("a")
    overlap = float((found[0].mask * toy.mask).sum() / (found[0].mask + toy.mask).clamp(max=1).sum())
    assert overlap > 0.5


def test_every_batch_names_the_style(base: Any, sty: Subject) -> None:
    batch = concept_crops(sty, crops=2, batch=8).prepare(base)(0, streams(0, "look"))
    assert set(batch.prompts) == {"a dog in <sty>", "a background in <sty>"}


def test_parts_answer_to_their_handles(base: Any, with_parts: Subject) -> None:
    concept = learn_fast(base, "finestyle", with_parts)
    assert concept.handles == ("<sty>", "<the-cat>", "<the-hat>")
    how = limner.PaintSettings(steps=2)
    pictures = [
        limner.paint(base, prompt, concepts=[concept], seed=1, settings=how)[0].image.tobytes()
        for prompt in ("a <the-hat> in <sty>", "a hat in <sty>", "a cat in <sty>")
    ]
    assert pictures[0] == pictures[1] != pictures[2]


def test_on_masked_tokens_a_crop_counts_on_its_concept_too(sty: Subject, tmp_path: Any) -> None:
    masked = limner.load(str(save_tiny("amused", tmp_path)), device="cpu")
    recipe = methods()["finestyle"](sty, **fast(methods()["finestyle"]))
    term = recipe.stages[0].loss[0]
    with attach(masked, [Adapter(recipe, "<sty>")]) as adapted, torch.no_grad():
        update = begin_update(Update, adapted, term.source, term.source.prepare(masked), 0, 0, 0)
        update.together = [update]
        value, logits, target = term.value(update), update.prediction.output, update.target
        assert update.batch.mask is not None
        hidden: Tensor = (target[:, 0] >= 0) & (update.batch.mask[:, 0] > 0.5)
    by_hand = torch.nn.functional.cross_entropy(
        logits.permute(0, 2, 3, 1)[hidden], target[:, 0][hidden].long(), label_smoothing=0.1
    )
    assert value == pytest.approx(float(by_hand), rel=1e-5)


def test_pictures_that_cannot_be_cut_are_refused(base: Any, sty: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    part = Subject.of([Image.new("RGB", (32, 32))], noun="hat", handle="cap")
    with pytest.raises(InputError, match="<cap> is a part of the style's pictures, and not every one"):
        learn_fast(base, "finestyle", replace(sty, beside=(part,)))
    bare = replace(sty, pictures=tuple(replace(p, mask=None) for p in sty.pictures))
    monkeypatch.setattr(base, "capabilities", replace(base.capabilities, segmenter=None))
    with pytest.raises(InputError, match="has no segmenter, and this method cuts pictures by what they show"):
        learn_fast(base, "finestyle", bare)
    with pytest.raises(InputError, match="crops must be at least 1"):
        learn_fast(base, "finestyle", sty, crops=0)
