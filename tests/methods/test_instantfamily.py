"""InstantFamily: tokens of identities behind those of the text, each read in its own face alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import limner
from limner.core.regions import region_masks
from limner.core.subject import Subject
from limner.core.types import AttentionCall
from limner.core.weights import shipped
from limner.engine.attach import Adapter, attach
from limner.engine.regions import Layout
from limner.engine.sample import sample
from limner.engine.train import Update, begin_update
from limner.errors import InputError
from limner.methods.face.instantfamily import instantfamily
from limner.parts.encoders import keypoint_image
from limner.parts.fusion import KEYPOINTS
from limner.parts.fusion.grounded_states import touched
from limner.parts.fusion.masked_identities import GROWN, face_squares, in_middle_of
from limner.pocket.people_corpus import people
from limner.workflows.pretrain import over
from tests.helpers import begun_weights, person

THIRDS = {"ada": "left third", "bob": "middle third", "cleo": "right third"}
FIVE = torch.tensor([[[0.4, 0.4], [0.6, 0.4], [0.5, 0.5], [0.43, 0.6], [0.57, 0.6]]])
ONE = limner.PaintSettings(steps=1, guidance=2.0)


@pytest.fixture(scope="module")
def family() -> dict[str, Subject]:
    return {name: person(2_000_003 + 31 * k, name=name, count=1) for k, name in enumerate(THIRDS)}


def worn(base: Any, subject: Subject, **settings: Any) -> Adapter:
    """The method on a subject, with weights near those that its pre-training begins with."""
    begun_weights("instantfamily", base)
    return Adapter(
        instantfamily(subject, **settings), subject.handle, shipped("instantfamily", base), noun=subject.noun
    )


def first_layer(
    base: Any, adapters: list[Adapter], regions: dict[str, str], conditions: dict[str, Tensor] | None = None
) -> tuple[Tensor, Tensor | None]:
    """Attention outputs [2, H, N, d] of the first cross-attention layer in rows "negative" and "text" of the first
    step, and the bias [2, N] of the last identity's first token."""
    outputs: list[Tensor] = []
    biases: list[Tensor] = []

    def keep(call: AttentionCall) -> AttentionCall:
        if call.site.kind == "cross" and call.site.index == 0 and not outputs:
            call.on_output.append(lambda out: outputs.append(out.clone()) or out)  # type: ignore[func-returns-value]
            biases.extend(bias[:, 0, :, 0] for _, _, bias in call.behind[-1:])
        return call

    masks = region_masks(regions, handles=[a.handle for a in adapters], size=base.latent_shape[1:]) if regions else {}
    layout = Layout(masks, compose="attention", operations=(keep,))
    prompt = " and ".join(f"<{name}>" for name in THIRDS)
    with torch.no_grad(), attach(base, adapters) as adapted:
        about: dict[str, Any] = {"layout": layout, "conditions": conditions or {}}
        list(sample(adapted, [prompt.replace(">", "> person")], seeds=[3], settings=ONE, **about))
    return outputs[0], biases[0] if biases else None


def test_another_identity_changes_nothing_in_the_face_of_the_others(base: Any, family: dict[str, Subject]) -> None:
    """Three people, two more than training shows in a picture."""
    adapters = [worn(base, subject) for subject in family.values()]
    stranger = replace(family["bob"], pictures=person(2_000_500, count=1).pictures)
    first, _ = first_layer(base, adapters, THIRDS)
    other, _ = first_layer(base, [adapters[0], worn(base, stranger), adapters[2]], THIRDS)
    side = round(first.shape[2] ** 0.5)
    changed = (first != other)[1].any(0).any(-1).unflatten(0, (side, side)).any(0)  # [columns]
    middle = torch.arange(side)
    assert not changed[middle < side // 3].any()
    assert not changed[middle >= side - side // 3].any()
    assert changed[side // 2 - 1 : side // 2 + 1].all()
    assert torch.equal(first[0], other[0])  # the negative branch


def test_outside_of_faces_the_text_alone_is_read(base: Any, family: dict[str, Subject]) -> None:
    adapters = [worn(base, family["ada"])]
    plain, _ = first_layer(base, [worn(base, family["ada"], scale=0.0)], {})
    masked, bias = first_layer(base, adapters, {"ada": "left"})
    side = round(plain.shape[2] ** 0.5)
    grid = (plain - masked)[1].abs().amax((0, 2)).unflatten(0, (side, side))
    assert float(grid[:, side // 2 :].max()) < 1e-5
    assert float(grid[:, : side // 2].amin()) > 1e-5
    assert torch.allclose(plain[0], masked[0], atol=1e-5)
    assert bias is not None
    assert bias[0].isinf().all()  # no identity in the negative branch


def test_the_face_is_where_the_keypoints_are(base: Any, family: dict[str, Subject]) -> None:
    for apart in (-0.25, 0.25):
        points = 0.5 * (FIVE - 0.5) + 0.5 + torch.tensor([apart, 0.0])
        picture = keypoint_image(points, base.picture_size)
        _, bias = first_layer(base, [worn(base, family["ada"])], {}, {KEYPOINTS: picture})
        assert bias is not None
        side = round(bias.shape[1] ** 0.5)
        half = GROWN / 2 * 0.1
        square = torch.tensor([[0.5 + apart - half, 0.5 - half, 0.5 + apart + half, 0.5 + half]])
        wanted = touched(square, side)[0, 0, :, 0]
        assert float((wanted == bias[1].isfinite()).float().mean()) > 0.9
        (found,) = face_squares(picture)
        assert torch.allclose(found, square[0], atol=0.05)
        columns = bias[1].isfinite().unflatten(0, (side, side)).any(0).nonzero().flatten()
        assert bool((columns < side / 2).all() if apart < 0 else (columns >= side / 2 - 1).all())


def test_black_keypoints_leave_the_face_open_and_a_regions_middle_is_its_own() -> None:
    assert face_squares(torch.zeros(1, 3, 32, 32)).isnan().all()
    region = torch.zeros(1, 1, 16, 16)
    region[..., :, 8:] = 1
    moved = in_middle_of(FIVE, region)
    assert torch.allclose(moved.mean(1), torch.tensor([[0.75, 0.5]]), atol=0.01)
    assert torch.allclose(moved[0, 1] - moved[0, 0], torch.tensor([0.1, 0.0]))
    assert torch.equal(in_middle_of(-torch.ones(1, 5, 2), region), -torch.ones(1, 5, 2))


def test_every_part_learns_and_rows_without_pictures_read_the_text_alone(base: Any) -> None:
    nobody = Subject("<nobody>", "person")
    recipe = instantfamily(nobody, batch=4)
    (stage,) = over(recipe.pretraining, people(individuals=4))
    adapter = replace(worn(base, nobody), recipe=recipe)
    with attach(base, (adapter,)) as adapted:
        source = stage.loss[0].source
        step = begin_update(Update, adapted, source, source.prepare(base), 0, 0, 0)
        step.together = [step]
        learning = stage.train[0](adapted)
        for tensor in learning.values():
            tensor.requires_grad_(True)
        stage.loss[0].value(step).backward()
        for part in ("image.global.", "image.local.", "stacked.", "control."):
            grads = [t.grad for name, t in learning.items() if name.startswith(part)]
            assert any(grad is not None and bool(grad.any()) for grad in grads), part
        assert step.batch.references is not None
        gone = replace(step.batch.references, dropped=torch.ones(4, dtype=torch.bool))
        found = []
        for much in (0.0, 1.0):
            with torch.no_grad():
                for name, tensor in learning.items():
                    if name.startswith("stacked."):
                        tensor.add_(much)
                found.append(step.prediction_for(step.batch.prompts, references=gone).output)
    assert torch.equal(*found)


def test_a_strength_below_zero_is_refused(base: Any, family: dict[str, Subject]) -> None:
    with pytest.raises(InputError, match="must be 0 or more"), attach(base, [worn(base, family["ada"], scale=-1.0)]):
        pass
