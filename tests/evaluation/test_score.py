"""Albums, scorecards and `score` on the pocket base."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image

import limner
from limner.core.capabilities import NONE
from limner.errors import InputError, PromptError
from limner.evaluation import truth
from limner.evaluation.datasets.toys import asked, gallery, pictured, toys
from limner.evaluation.encoders import pocket_encoders
from limner.evaluation.measuring import GREY, Album, cut, measure, pocket_masks, values
from limner.evaluation.score import judged
from limner.pocket.world import individual, references, showing
from limner.pocket.world.grammar import Prompt


@pytest.fixture(scope="module")
def real() -> Album:
    """Renders that obey: a held-out toy in the places asked for, two of each; for the base another toy of its class."""
    (case,) = toys(count=1, prompts=4).cases
    member, prompts = case.member, case.truth
    own, other = individual("dog", 2_000_040), individual("dog", 2_000_777)

    def shown(who: Any) -> tuple[Image.Image, ...]:
        graphs = [
            showing(who, seed=100 * k + s, scene=p.scene, accessories=p.accessories)
            for k, p in enumerate(prompts)
            for s in range(2)
        ]
        return tuple(pictured(graphs))

    return Album(
        "dog",
        shown(own),
        tuple(case.canonical(p.text) for p in prompts for _ in range(2)),
        base=shown(other),
        training=member.images,
        held_out=member.held_out,
        gallery=tuple(gallery("dog", 8)),
        descriptions=tuple(f"a {member.looks}" for _ in range(8)),
    )


@pytest.fixture(scope="module")
def prompts() -> list[Prompt]:
    return [p for p in asked()[:4] for _ in range(2)]


def test_the_toy_itself_scores_high(real: Album, prompts: list[Prompt]) -> None:
    card = judged(real, pocket_encoders(), truths=prompts, segment=pocket_masks)
    assert card.tradeoff is not None
    assert card.tradeoff.fidelity > 0.6
    assert card.tradeoff.alignment > 0.6
    assert card.tradeoff.harmonic > 0.6
    assert card.truth["scene"] > 0.9
    assert card.measured["retrieval"].value is not None
    assert card.record["metrics"]["identity"]["references"] == "held-out references"
    assert card.record["metrics"]["clip_t"]["text"].startswith("canonical")
    assert "H" in card.brief
    assert card.diagnosis.label in str(card)


def test_the_base_scores_no_likeness_and_a_copier_no_obedience(real: Album, prompts: list[Prompt]) -> None:
    base = judged(replace(real, pictures=real.base), pocket_encoders(), truths=prompts)
    assert base.tradeoff is not None
    assert base.tradeoff.harmonic < 0.05
    assert base.tradeoff.alignment == pytest.approx(1.0, abs=0.01)
    copied = judged(replace(real, pictures=real.training * 2), pocket_encoders(), truths=prompts)
    assert copied.tradeoff is not None
    assert copied.tradeoff.fidelity > 0.8
    assert copied.tradeoff.alignment < 0.35
    assert copied.measured["copy_index"].value > 0.9  # type: ignore[operator]
    assert copied.measured["nearest_reference"].value == pytest.approx(1.0, abs=1e-3)


def test_without_truths_clip_decides_on_alignment(real: Album) -> None:
    card = judged(real, pocket_encoders(), only=["clip_t"])
    assert card.tradeoff is not None
    assert not card.truth


def test_what_is_missing_is_a_gap_with_its_reason(real: Album) -> None:
    bare = Album("dog", real.pictures, real.canonical)
    found = measure(bare, pocket_encoders())
    assert found["identity"].value is None
    assert "no real pictures of the subject" in found["identity"].gap
    assert "segmenter" in measure(real, pocket_encoders())["dino_i_masked"].gap
    assert "training pictures are missing" in found["copy_index"].gap
    assert "role 'dinov2'" in found["dinov2_i"].gap
    assert "prompts without the subject" in found["drift"].gap
    assert values(found).keys().isdisjoint({"identity", "drift"})
    card = judged(bare, pocket_encoders())
    assert card.tradeoff is None
    assert card.diagnosis.label == "undetermined"
    assert any("no trade-off" in note for note in card.notes)


def test_training_references_are_marked(real: Album) -> None:
    found = measure(replace(real, held_out=()), pocket_encoders(), only=["identity"])["identity"]
    assert "overestimate" in found.references
    assert found.id == "identity@1"
    assert found.record["weights"] == pocket_encoders()["identity"].weights


def test_albums_that_do_not_fit_are_errors(real: Album) -> None:
    with pytest.raises(InputError, match="no pictures to score"):
        Album("dog", (), ())
    with pytest.raises(InputError, match="canonical prompts"):
        Album("dog", real.pictures, ("a dog",))
    with pytest.raises(InputError, match="same order"):
        replace(real, base=real.base[:2])
    with pytest.raises(InputError, match="expected pairs"):
        replace(real, before=real.base)
    with pytest.raises(InputError, match="too small"):
        replace(real, held_out=(Image.new("RGB", (4, 4)),))


def test_a_mask_cuts_and_its_other_side_is_the_background() -> None:
    image, mask = Image.new("RGB", (8, 8), "red"), torch.zeros(8, 8)
    mask[:, :4] = 1
    assert cut(image, mask).getpixel((1, 4)) == (255, 0, 0)
    assert cut(image, mask).getpixel((6, 4)) == GREY
    assert cut(image, 1 - mask).getpixel((6, 4)) == (255, 0, 0)


def test_truth_reads_renders() -> None:
    who = individual("car", 2_000_041)
    images = pictured([showing(who, seed=k, scene=s) for k, s in enumerate(("beach", "snow", "desert", "city"))])
    wanted = [{"class": "car", "scene": s} for s in ("beach", "snow", "desert", "city")]
    assert truth.shares(images, wanted)["scene"] == 1.0
    assert truth.alignment(images, [Prompt("{}", s) for s in ("beach", "snow", "desert", "city")]).min() > 0.5
    assert truth.alignment(images, [Prompt("{}", "meadow")] * 4).max() < 0.5
    assert truth.obeyed(images, [Prompt("{}", "meadow")] * 4).sum() == 0
    with pytest.raises(InputError, match="reads no 'smell'"):
        truth.probabilities(images, [{"smell": "rose"}] * 4)
    with pytest.raises(InputError, match="one each"):
        truth.alignment(images, [Prompt("{}", "beach")])


def test_score_paints_and_judges(base: Any, rex: Any) -> None:
    concept = limner.learn(base, rex, method="dreambooth", steps=2, prior_weight=0.0)
    training = [p.image for p in rex.pictures]
    how = limner.PaintSettings(steps=4)
    shown = pictured(references(individual("dog", 2_000_012), 2, seed=1))
    card = limner.score(
        base, concept, training=training, held_out=shown, prompts=asked()[:2], seeds=(3, 4), settings=how
    )
    assert len(card.pictures) == len(card.base) == 4
    assert [p.seed for p in card.pictures] == [3, 4, 3, 4]
    assert card.measured["drift"].value is not None
    assert card.cost["seconds_per_picture"] > 0
    plain = limner.score(base, concept, prompts=["<rex> in the snow"], seeds=(0,), settings=how, only=["clip_t"])
    assert plain.tradeoff is None  # no real pictures
    with pytest.raises(PromptError, match="does not name"):
        limner.score(base, concept, prompts=["a dog"])


def test_another_base_needs_encoders(base: Any, rex: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    concept = limner.learn(base, rex, method="dreambooth", steps=1, prior_weight=0.0)
    monkeypatch.setattr(base, "capabilities", NONE)
    with pytest.raises(InputError, match="--clip"):
        limner.score(base, concept, prompts=["<rex>"])


def test_references_of_a_toy_are_told_apart_from_others() -> None:
    own = individual("dog", 2_000_050)
    first, second = (pictured(references(own, 2, seed=s)) for s in (0, 1))
    see = pocket_encoders()["identity"].pictures
    near, far = see(first) @ see(second).T, see(first) @ see(gallery("dog", 8)).T
    assert near.mean() > far.mean() + 0.2
