"""Encoders for the metrics of faces, on people of the pocket world.

They apply to pictures of the pocket world only. Fields that an edition's judge was not trained to read are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from limner.errors import InputError
from limner.pocket import SIZE

from .encoders import Encoder, Encoders, file_hash
from .people_truth import asked_of, read

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from limner.pocket.world.prompts_people import PeoplePrompt

LASTING = ("hairstyle", "hair colour", "age")
"""Fields of the judge that do not depend on a person's clothes and actions."""


def people_encoders(encoders: Encoders, prompts: Sequence[PeoplePrompt]) -> dict[str, Encoder]:
    """The encoders, with the roles that metrics of faces need added.

    encoders: encoders of the pocket base
    prompts: the prompts of the pictures to judge, in their order

    The roles are "attributes" (lasting ones), "detector" (probability of everything that a prompt asks for),
    "relations" (whether each of these is read) and, where the edition ships a landmark detector, "landmarks".
    """
    from limner.pocket import judges

    judge = encoders["judge"]
    roles = {**encoders, "attributes": replace(judge, name="pocket/attributes", see=_attributes)}
    for role, look in (("detector", _surely), ("relations", _whether)):
        roles[role] = AnswersOnly(
            f"pocket/{role}", judge.weights, judge.preprocessing, _attributes, answers=look, prompts=tuple(prompts)
        )
    path = judges.WEIGHTS / "landmarks.safetensors"
    if path.is_file():
        roles["landmarks"] = Encoder("pocket/landmarks", file_hash(path), judge.preprocessing, _landmarks)
    return roles


@dataclass(frozen=True)
class AnswersOnly(Encoder):
    """An encoder whose features depend on the prompt of each picture; nothing is cached."""

    answers: Callable[[Sequence[Image.Image], Sequence[PeoplePrompt]], Tensor] = field(
        default=lambda images, prompts: _surely(images, prompts), repr=False, compare=False
    )
    prompts: tuple[PeoplePrompt, ...] = ()

    def pictures(self, images: Sequence[Image.Image]) -> Tensor:
        if len(images) != len(self.prompts):
            raise InputError(f"{self.name} answers for {len(self.prompts)} pictures, but there are {len(images)}")
        return self.answers(images, self.prompts)


def pose(landmarks: Tensor) -> Tensor:
    """[N, K, 2] in any unit -> [N, 2 K]: relative to the landmarks' mean, in units of their root mean square distance
    from it."""
    off = landmarks - landmarks.mean(1, keepdim=True)
    return (off / off.square().sum(-1).mean(1).sqrt().clamp_min(1e-6)[:, None, None]).flatten(1)


def _landmarks(images: Sequence[Image.Image]) -> Tensor:
    from limner.core.pixels import to_tensor
    from limner.pocket import judges

    return pose(judges.landmarks(to_tensor(images, SIZE)))


def _attributes(images: Sequence[Image.Image]) -> Tensor:
    """[N, A]: probability of each option of each lasting field."""
    import torch

    logits = _logits(images)
    return torch.cat([logits[name].softmax(-1) for name in LASTING if name in logits], -1)


def _surely(images: Sequence[Image.Image], prompts: Sequence[PeoplePrompt]) -> Tensor:
    """[N, K]: probability of each accessory and of the scene that the prompt asks for; NaN where a prompt asks for
    fewer than K."""
    from .truth import probabilities

    things = [
        {name: option for name, option in asked_of(prompt).items() if option == "yes" or name == "scene"}
        for prompt in prompts
    ]
    return _in_columns([list(row.values()) for row in probabilities(images, things)])


def _whether(images: Sequence[Image.Image], prompts: Sequence[PeoplePrompt]) -> Tensor:
    """[N, K]: 1 where the judge reads an accessory, action or place that the prompt asks for, else 0."""
    rows = zip(read(images), prompts, strict=True)
    return _in_columns([[float(row[name] == option) for name, option in asked_of(p).items()] for row, p in rows])


def _in_columns(rows: Sequence[Sequence[float]]) -> Tensor:
    """[N, K]: rows of unequal lengths, padded with NaN. An empty row takes the mean of all values."""
    import torch

    longest = max(1, *(len(row) for row in rows))
    every = [value for row in rows for value in row]
    usual = sum(every) / len(every) if every else 0.0
    filled = [[*row, *[float("nan")] * (longest - len(row))] if row else [usual] * longest for row in rows]
    return torch.tensor(filled)


def _logits(images: Sequence[Image.Image]) -> Mapping[str, Tensor]:
    from limner.core.pixels import to_tensor
    from limner.pocket import judges

    return judges.logits(to_tensor(images, SIZE))
