"""People of the pocket world as a bench judges them: what each prompt asks for, and the roles that metrics of faces
look through.

Pictures of the pocket world only. An edition's judge reads what it was trained to read; what it does not read is not
asked.
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
"""Fields of the judge that stay whatever a person wears and does."""


def people_encoders(encoders: Encoders, prompts: Sequence[PeoplePrompt]) -> dict[str, Encoder]:
    """The encoders with the roles of faces: "attributes" (lasting ones), "detector" (how surely what is asked for is
    there), "relations" (whether each is read) and, where the edition ships a landmark detector, "landmarks". Detector
    and relations answer for pictures of these prompts, in their order."""
    from limner.pocket import judges

    judge = encoders["judge"]
    found = {**encoders, "attributes": replace(judge, name="pocket/attributes", see=_attributes)}
    for role, look in (("detector", _surely), ("relations", _whether)):
        found[role] = AnswersOnly(
            f"pocket/{role}", judge.weights, judge.preprocessing, _attributes, answers=look, prompts=tuple(prompts)
        )
    path = judges.WEIGHTS / "landmarks.safetensors"
    if path.is_file():
        found["landmarks"] = Encoder("pocket/landmarks", file_hash(path), judge.preprocessing, _landmarks)
    return found


@dataclass(frozen=True)
class AnswersOnly(Encoder):
    """An encoder whose features depend on what each picture was asked for; nothing is cached."""

    answers: Callable[[Sequence[Image.Image], Sequence[PeoplePrompt]], Tensor] = field(
        default=lambda images, prompts: _surely(images, prompts), repr=False, compare=False
    )
    prompts: tuple[PeoplePrompt, ...] = ()

    def pictures(self, images: Sequence[Image.Image]) -> Tensor:
        if len(images) != len(self.prompts):
            raise InputError(f"{self.name} answers for {len(self.prompts)} pictures, and there are {len(images)}")
        return self.answers(images, self.prompts)


def pose(landmarks: Tensor) -> Tensor:
    """[N, K, 2] in any unit -> [N, 2 K]: around their middle, in their root mean square distance from it."""
    off = landmarks - landmarks.mean(1, keepdim=True)
    return (off / off.square().sum(-1).mean(1).sqrt().clamp_min(1e-6)[:, None, None]).flatten(1)


def _landmarks(images: Sequence[Image.Image]) -> Tensor:
    from limner.core.pixels import to_tensor
    from limner.pocket import judges

    return pose(judges.landmarks(to_tensor(images, SIZE)))


def _attributes(images: Sequence[Image.Image]) -> Tensor:
    """[N, A]: how surely each option of each lasting field is read."""
    import torch

    logits = _logits(images)
    return torch.cat([logits[name].softmax(-1) for name in LASTING if name in logits], -1)


def _surely(images: Sequence[Image.Image], prompts: Sequence[PeoplePrompt]) -> Tensor:
    """[N, K]: how surely each thing asked for is there: accessories and the scene; not a number where less is asked
    for."""
    from .truth import probabilities

    things = [
        {name: option for name, option in asked_of(prompt).items() if option == "yes" or name == "scene"}
        for prompt in prompts
    ]
    return _in_columns([list(row.values()) for row in probabilities(images, things)])


def _whether(images: Sequence[Image.Image], prompts: Sequence[PeoplePrompt]) -> Tensor:
    """[N, K]: 1 where the person is read to wear, do or be in what is asked for, else 0."""
    rows = zip(read(images), prompts, strict=True)
    return _in_columns([[float(row[name] == option) for name, option in asked_of(p).items()] for row, p in rows])


def _in_columns(rows: Sequence[Sequence[float]]) -> Tensor:
    """[N, K] with rows of unequal lengths filled up by what is no number. A row of nothing takes the mean of the
    others."""
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
