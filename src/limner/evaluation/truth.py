"""Prompt accuracy on painted toys, by a judge that was trained on the ground truth of the world, independently of the
base.

Pictures of the pocket world only. The judge itself errs; `results/pocket.json` has its accuracy, field by field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from limner.errors import InputError
from limner.pocket import SIZE

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from limner.pocket.world.grammar import Prompt
    from limner.pocket.world.prompts_people import PeoplePrompt


def asked(prompt: Prompt | PeoplePrompt) -> dict[str, str]:
    """Field -> option that the prompt names."""
    from limner.pocket.world.prompts_people import PeoplePrompt

    if isinstance(prompt, PeoplePrompt):
        from .people_truth import asked_of

        return asked_of(prompt)
    options = {"scene": prompt.scene, **{name: "yes" for name, _ in prompt.accessories}}
    if prompt.view != "front":
        options["view"] = prompt.view
    return options


def probabilities(images: Sequence[Image.Image], wanted: Sequence[Mapping[str, str]]) -> list[dict[str, float]]:
    """Field -> the judge's probability of the wanted option, for each picture.

    images: pictures of the pocket world
    wanted: field -> option, for each picture
    """
    from limner.core.pixels import to_tensor
    from limner.pocket import judges
    from limner.pocket.labels import FIELDS

    if len(images) != len(wanted):
        raise InputError(f"there are {len(images)} pictures and {len(wanted)} truths; expected one each")
    logits = {f: v.softmax(-1) for f, v in judges.logits(to_tensor(images, SIZE)).items()}
    unknown = {f for row in wanted for f in row if f not in logits}
    if unknown:
        raise InputError(f"the judge reads no {min(unknown)!r}; it reads {', '.join(logits)}")
    return [
        {field: float(logits[field][k, FIELDS[field].index(option)]) for field, option in row.items()}
        for k, row in enumerate(wanted)
    ]


def alignment(images: Sequence[Image.Image], prompts: Sequence[Prompt]) -> Tensor:
    """[N] in [0, 1]: the mean probability of all attributes that each prompt names (scene, accessories, view)."""
    import torch

    rows = probabilities(images, [asked(p) for p in prompts])
    return torch.tensor([sum(row.values()) / len(row) for row in rows])


def copier_alignment(references: Sequence[Image.Image], prompts: Sequence[Prompt]) -> Tensor:
    """[P]: `alignment` of the reference images themselves with each prompt, the mean over the references."""
    import torch

    return torch.stack([alignment(references, [p] * len(references)).mean() for p in prompts])


def obeyed(images: Sequence[Image.Image], prompts: Sequence[Prompt] | Sequence[PeoplePrompt]) -> Tensor:
    """[N] of 0 and 1: 1 where the judge reads the prompt's scene and exactly its accessories; for people, everything
    that the prompt asks for."""
    import torch

    from limner.core.pixels import to_tensor
    from limner.pocket import judges
    from limner.pocket.world.prompts_people import PeoplePrompt
    from limner.pocket.world.vocabulary import CORE

    of_people = [prompt for prompt in prompts if isinstance(prompt, PeoplePrompt)]
    of_toys = [prompt for prompt in prompts if not isinstance(prompt, PeoplePrompt)]
    if of_people:
        from . import people_truth

        return people_truth.obeyed(images, of_people)
    seen = judges.read(to_tensor(images, SIZE))
    verdicts = []
    for row, prompt in zip(seen, of_toys, strict=True):
        adapted = {name for name, _ in prompt.accessories}
        right = row["scene"] == prompt.scene and all((row[n] == "yes") == (n in adapted) for n in CORE.accessories)
        verdicts.append(float(right))
    return torch.tensor(verdicts)


def shares(images: Sequence[Image.Image], wanted: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """Field -> share of pictures on which the judge reads the wanted option, among pictures that want one."""
    from limner.core.pixels import to_tensor
    from limner.pocket import judges

    seen = judges.read(to_tensor(images, SIZE))
    fields = list(dict.fromkeys(f for row in wanted for f in row))
    shares_by_field = {}
    for field in fields:
        right = [row[field] == want[field] for row, want in zip(seen, wanted, strict=True) if field in want]
        shares_by_field[field] = sum(right) / len(right)
    return shares_by_field


def fields_right(pixels: Tensor, truths: Sequence[Mapping[str, str]]) -> dict[str, Tensor]:
    """Field -> [N] of 0 and 1: whether the judge reads the option that each picture's prompt asks for. NaN where the
    prompt does not ask for it, and for an option that the edition's judge was not trained to read; a field that it does
    not read is left out.

    pixels: [N, 3, SIZE, SIZE] in [0, 1]
    truths: field -> option, for each picture
    """
    import torch

    from limner.pocket import judges
    from limner.pocket.labels import FIELDS

    logits = judges.logits(pixels)
    right = {}
    for field in dict.fromkeys(field for truth in truths for field in truth):
        if field in logits:
            best, options = logits[field].argmax(1).tolist(), FIELDS[field][: logits[field].shape[1]]
            wanted = [truth.get(field) for truth in truths]
            verdicts = [
                float(options[k] == w) if w in options else float("nan") for k, w in zip(best, wanted, strict=True)
            ]
            right[field] = torch.tensor(verdicts)
    return right
