"""The cases and measures of the benches of styles, meanings and conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from PIL import Image

from limner.core.pixels import to_tensor
from limner.errors import InputError
from limner.evaluation.conditions import (  # fmt: skip
    background_error,
    box_overlap,
    cloth_errors,
    depth_agreement,
    edge_agreement,
    judged_garments,
    nearness,
    overlap,
)
from limner.evaluation.datasets import conditions, garments, meanings, styles
from limner.evaluation.datasets.toys import pictured
from limner.evaluation.encoders import pocket_encoders
from limner.evaluation.meanings import judged_meanings, read_by_renders, silhouettes
from limner.evaluation.styles import style_fidelity
from limner.evaluation.suites import CONDITIONS, STYLES, as_values, summary
from limner.evaluation.truth import fields_right
from limner.pocket.world import CORE, SPLITS
from limner.pocket.world.garments import garment
from limner.pocket.world.prompts import answer
from limner.pocket.world.vocabulary import HELD_OUT

if TYPE_CHECKING:
    from limner.pocket.world.drawing import Drawn
    from limner.pocket.world.graph import SceneGraph


def test_no_prompt_asks_for_what_the_references_show() -> None:
    for split in ("dev", "held-out"):
        for prompt in styles.asked(split):
            assert all(prompt.truth["class"] != kind and prompt.truth["scene"] != s for kind, s in styles.CONTENTS)
        for kind in meanings.EXAMPLES:
            examples = {one for own in meanings.EXAMPLES[kind] for one in own}
            assert not any(examples & {who.kind for who in prompt.others} for prompt in meanings.asked(kind, split))
    assert {word for _, word in meanings.STANDARD} == {*HELD_OUT["relations"], *HELD_OUT["actions"]}
    in_turn = [family in HELD_OUT["styles"] for family, _ in styles.STANDARD]
    assert in_turn == [True, False] * 4


def test_cases_are_subjects_with_captions() -> None:
    (style,) = styles.styles(count=1, prompts=1, references=2)
    (relation,) = meanings.meanings(count=1, prompts=1, references=2)
    for case, kind in ((style, "style"), (relation, "relation")):
        subject = case.subject("<x>")
        assert (subject.kind, len(subject.pictures), len(subject.without)) == (kind, 2, 2)
        assert all("<x>" in picture.caption for picture in subject.pictures)
        assert "<x>" in case.texts("<x>")[0]
        assert "{}" not in case.unnamed[0] + case.in_words[0]
    assert "embroidery" in style.in_words[0]
    assert "upside down on" in relation.in_words[0]
    # the same contents, with and without the style
    assert style.references[0].tobytes() != style.plain[0].tobytes()


@pytest.mark.parametrize("case", [{"count": 99}, {"prompts": 0}, {"split": "train"}])
def test_numbers_out_of_range(case: dict[str, object]) -> None:
    for load in (styles.styles, meanings.meanings, conditions.conditions, garments.garment_cases):
        with pytest.raises(InputError, match="there are|come from"):
            load(**case)  # type: ignore[arg-type]  # what a user may say
    for load in (styles.styles, meanings.meanings):
        with pytest.raises(InputError, match="reference images, not 9"):
            load(references=9)


def test_the_right_style_is_told_from_other_hands() -> None:
    (case,) = styles.styles(count=1, prompts=2, references=1)
    own = style_fidelity(case, case.answers([0]))
    other_hand = style_fidelity(case, case.relatives[:4])
    none = style_fidelity(case, case.unstyled)
    assert own["individual"].mean() == 1
    assert other_hand["individual"].mean() < 0.5
    assert abs(float(none["style"].mean())) < 1e-4
    assert own["style"].mean() > other_hand["style"].mean() > none["style"].mean()


def test_a_meaning_is_read_from_renders_of_other_seeds() -> None:
    _, case = meanings.meanings(count=2, prompts=1, references=1)
    assert read_by_renders(case, case.answers([0]), 1) == ["handstand"]
    standing = pictured([answer(prompt, ["standing"], seed=7) for prompt in case.prompts])
    assert "handstand" not in read_by_renders(case, standing, 1)


def test_a_subject_of_the_references_is_leakage() -> None:
    (case,) = meanings.meanings(count=1, prompts=1, references=4)
    assert judged_meanings(case, case.references, 4)["values"]["leakage"] == 1
    assert judged_meanings(case, case.answers(range(4)), 4)["values"]["leakage"] < 1


def test_silhouettes_do_not_depend_on_place_and_size() -> None:
    mask = torch.zeros(3, 64, 64)
    mask[0, 4:20, 4:12] = 1
    mask[1, 30:62, 20:36] = 1  # twice as large, elsewhere
    mask[2, 4:12, 4:20] = 1  # lying
    first, second, third = silhouettes(mask)
    assert first @ second == pytest.approx(1, abs=1e-3)
    assert first @ third < 0.5
    assert not silhouettes(torch.zeros(1, 64, 64)).any()


def test_overlaps() -> None:
    masks = torch.zeros(3, 100, 100)
    masks[0, 20:60, 20:60] = masks[1, 20:60, 40:80] = 1
    assert overlap(masks[:1], masks[1:2]).item() == pytest.approx(1 / 3)
    assert overlap(masks[2:], masks[:1]).item() == 0
    boxes = [(0.2, 0.2, 0.6, 0.6)] * 3
    assert box_overlap(masks, boxes).tolist() == pytest.approx([1, 1 / 3, 0], abs=0.02)


def test_background_error_is_measured_outside_of_the_mask_alone() -> None:
    source, mask = torch.full((1, 3, 8, 8), 0.5), torch.zeros(1, 8, 8)
    mask[:, :4] = 1
    painted = source.clone()
    painted[:, :, :4] = 1.0
    assert background_error(painted, source, mask).item() == 0
    painted[:, :, 4:] = 0.75
    assert background_error(painted, source, mask).item() == pytest.approx(0.25)


def test_edges_agree_within_two_pixels() -> None:
    from limner.parts.encoders.conditions import edges

    shown = torch.zeros(3, 3, 64, 64)
    shown[0, :, 16:48, 16:48] = shown[1, :, 16:48, 18:50] = shown[2, :, 16:48, 24:56] = 1
    asked = edges(shown[:1]).expand(3, -1, -1, -1)
    same, near, far = edge_agreement(shown, asked).tolist()
    assert same == pytest.approx(1)
    assert near > 0.95
    assert far < 0.6


def test_depth_is_that_of_the_condition() -> None:
    (case,) = conditions.conditions(count=1, prompts=3)
    shown = to_tensor(case.sources, 128)
    own, other = (depth_agreement(shown, case.depths.roll(by, 0)).mean() for by in (0, 1))
    assert own > 0.75
    assert own > other + 0.1


def test_options_that_the_judge_cannot_read_are_no_number() -> None:
    from limner.pocket import judges

    pixels = torch.rand(2, 3, 128, 128)
    readable = judges.logits(pixels)["action"].shape[1]
    right = fields_right(pixels, [{"action": "arabesque", "scene": "beach"}, {"scene": "snow"}])
    assert right["action"][0].isnan() == (readable < 14)
    assert right["action"][1].isnan()
    assert not right["scene"].isnan().any()


def test_a_row_has_the_interval_over_cases() -> None:
    record = as_values({"style": [0.5, float("nan")], "scene": [float("nan")] * 2})
    assert record == {"values": {"style": 0.5, "scene": None}, "each": {"style": [0.5, None], "scene": [None, None]}}
    about = {"label": "x", "method": "x", "family": "held-out family", "cost": {"seconds": 2.0}}
    units = [{**about, "case": str(k), "values": {"style": value}} for k, value in enumerate((0.2, 0.4))]
    (row,) = summary(units, STYLES)
    assert row["numbers"]["style"] == {"mean": 0.3, "low": 0.2, "high": 0.4, "cases": 2}
    (why,) = summary([{**about, "case": "0", "why_not": "it reads none"}], STYLES)
    assert why["why_not"] == "it reads none"


def test_a_source_holds_another_toy_in_the_same_place() -> None:
    (case,) = conditions.conditions(count=1, prompts=2)
    assert isinstance(case.sources[0], Image.Image)
    assert case.masks.shape == (2, 128, 128)
    assert case.depths.max() == 1
    assert case.depths.min() == 0
    assert case.texts("<rex>", conditions.VIEW)[0].endswith("from the side")
    outside = background_error(_pixels(case.answered), _pixels(case.sources), case.changeable)
    assert outside.max() < 0.03


def test_people_in_other_clothes_try_a_garment_on() -> None:
    (case,) = garments.garment_cases(count=1, prompts=2)
    sources, right = _pixels(case.sources), _pixels(case.answered)
    assert background_error(right, sources, case.changeable).max() < 0.003
    assert background_error(right, sources, 1 - case.garment_masks).min() > 0.1
    assert (case.garment_masks <= case.changeable).all()
    subject = case.subject("<rex>")
    assert (subject.noun, len(subject.pictures)) == ("shirt", garments.REFERENCES)
    masks = subject.masks(128)
    assert masks is not None
    assert (masks.mean((1, 2, 3)) > 0.03).all()
    assert case.looks == "green and orange striped shirt"
    assert case.texts(f"a {case.looks}")[0].startswith("a person in a green and orange striped shirt ")


@pytest.mark.parametrize("split", ["dev", "held-out"])
def test_no_training_sees_the_people_and_garments_of_these_splits(split: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import limner.pocket.world as world

    drawn: list[SceneGraph] = []
    real = world.draw

    def watched(graphs: list[SceneGraph]) -> Drawn:
        drawn.extend(graphs)
        return real(graphs)

    monkeypatch.setattr(world, "draw", watched)
    garments._case.cache_clear()
    garments.garment_cases(split=split, count=2, prompts=1)
    assert len(drawn) == 2 * (garments.REFERENCES + 2)
    assert all(graph.seed in SPLITS[split] for graph in drawn)
    assert all(graph.people[0].person.seed in SPLITS[split] for graph in drawn)
    trained_on = [garment(k, patterns=CORE.patterns).tints.tolist() for k in range(256)]
    assert all(graph.people[0].garment.tints.tolist() not in trained_on for graph in drawn if graph.people[0].garment)


def test_a_garment_is_compared_with_the_render_of_the_person_in_it() -> None:
    (case,) = garments.garment_cases(count=1, prompts=2)
    encoder = pocket_encoders()["identity"]
    right, unchanged = (judged_garments(case, own, 1, encoder)["values"] for own in (case.answered, case.sources))
    assert (right["garment"], right["colour"], right["pattern"]) == (1, 0, 0)
    assert right["identity"] == pytest.approx(1, abs=1e-3)
    assert (unchanged["background"], unchanged["garment"]) == (0, 0)
    assert unchanged["identity"] < 0.7
    assert unchanged["colour"] > 0.1
    assert unchanged["condition"] == unchanged["garment"]
    assert unchanged.keys() <= {column.name for column in CONDITIONS.columns}


def test_nearness_is_the_share_of_the_way_from_the_source_to_the_answer() -> None:
    source, answer, region = torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.8), torch.zeros(1, 4, 4)
    region[:, :2] = 1
    painted = 0.25 * answer
    painted[:, :, 2:] = 1  # outside of the region: of no account
    assert nearness(painted, source, answer, region).item() == pytest.approx(0.25)
    assert nearness(-answer, source, answer, region).item() == pytest.approx(-1)


def test_errors_of_cloth_tell_colour_from_pattern() -> None:
    worn = torch.zeros(3, 8, 8)
    worn[:, :4] = 1
    right = torch.full((3, 3, 8, 8), 0.5)
    painted = right.clone()
    painted[0] += 0.2  # another colour
    painted[1, :, :4:2], painted[1, :, 1:4:2] = 0.4, 0.6  # stripes around the same colour
    painted[2, :, 4:] = 1  # outside
    colour, pattern = cloth_errors(painted, right, worn)
    assert colour.tolist() == pytest.approx([0.2, 0, 0], abs=1e-6)
    assert pattern.tolist() == pytest.approx([0, 0.1, 0], abs=1e-6)


def _pixels(images: tuple[Image.Image, ...]) -> torch.Tensor:
    from limner.core.pixels import to_tensor

    return to_tensor(images, 128)
