"""The workflow `paint`: prompts in, pictures on disk out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from limner.core.files import check_folder
from limner.core.interrupts import standing
from limner.core.picture import Numbers
from limner.core.recipe import Recipe
from limner.core.wording import counted, shortened
from limner.errors import InputError, PromptError

from .events import Event, Message, Note, PictureSaved, RunDone
from .opening import choice_for, hash_note, open_base, plan_memory, read_concept, strange_words_note

if TYPE_CHECKING:
    from limner.core.concept import Concept
    from limner.engine.inpainting import Region
    from limner.engine.sample import Canvas

    from .requests import BaseChoice, PaintRequest


def paint_request(request: PaintRequest, *, open_base: Callable[[BaseChoice], Any] = open_base) -> Iterator[Event]:
    """Paint what a request asks for, saving every picture as it is done. `open_base` may give a base that is open already.

    Raises `PromptError` for a prompt that does not name a concept that is worn, and `InputError` for what cannot be painted.
    """
    from . import paint as workflow

    for scale in request.scale:
        workflow.check_scale(scale)
    if request.where and not request.onto:
        raise InputError("--where says which part of a canvas may change; name the canvas with --onto FILE")
    total = request.count * len(request.prompts)
    check_folder(request.out)
    saver = Numbers(request.out, total, overwrite=request.overwrite)
    standing(
        lambda: (
            f"{len(saver.saved)} of {counted(total, 'picture')} are saved in {request.out}; the same command paints all of them"
        )
    )
    concepts = [read_concept(choice) for choice in request.concepts]
    for concept, one in zip(concepts, request.concepts, strict=True):
        if note := hash_note(concept, one.path):
            yield Note(note)
    _check_named(request, concepts)
    choice = _base_choice(request, concepts)
    choice, memory = plan_memory(choice, Recipe(says=""))
    if memory:
        yield Message(memory)
    base = open_base(choice)
    if note := strange_words_note(base.name, " ".join([*request.prompts, request.negative])):
        yield Note(note)
    canvas, region = _canvas(request, base)
    pictures = workflow.painting(
        base,
        list(request.prompts),
        concepts=concepts,
        count=request.count,
        seed=request.seed,
        scale=request.scale[0] if len(request.scale) == 1 else request.scale,
        settings=_settings(request),
        canvas=canvas,
        any_base=request.any_base,
    )
    paths = []
    for picture in pictures:
        whole = replace(picture, image=region.put_back(picture.image)) if region else picture
        paths.append(str(saver.save(whole)))
        yield PictureSaved(saver.saved[-1], picture.prompt, picture.seed)
    yield RunDone({"pictures": paths}, "\n".join(paths))


def _check_named(request: PaintRequest, concepts: list[Concept]) -> None:
    """Raise `PromptError` for a prompt that does not name a concept that is worn."""
    for prompt in request.prompts:
        asked = f"{prompt}\n{request.negative}"
        unnamed = [c.handle for c in concepts if c.has_trigger and c.handle not in asked]
        if unnamed:
            raise PromptError(
                f"the prompt {shortened(prompt)!r} does not name {unnamed[0]}; write {unnamed[0]} where the subject is to be (or "
                "in --negative, where it is what not to paint)"
            )


def _base_choice(request: PaintRequest, concepts: list[Concept]) -> BaseChoice:
    if concepts:
        return choice_for(concepts[0], request.base, trust=request.concepts[0].trust)
    return request.base if request.base.name else replace(request.base, name="pocket")


def _settings(request: PaintRequest) -> Any:
    from limner.engine.sample import PaintSettings

    return PaintSettings(
        request.steps,
        request.guidance,
        request.sampler,
        request.negative,
        guide_between=request.guide_between,
        subject_from=request.subject_from,
    )


def _canvas(request: PaintRequest, base: Any) -> tuple[Canvas | None, Region | None]:
    """The picture that is painted into, and the region of it that may change."""
    from limner.core.subject import read_picture
    from limner.engine.inpainting import Region
    from limner.engine.sample import Canvas

    if not request.onto:
        return None, None
    images: list[Any] = [read_picture(file)[0].image for file in (request.onto, request.where) if file]
    region = Region.around(*images, size=base.picture_size) if request.where else None
    whole, mask = region.cut if region else (images[0], None)
    return Canvas(whole, mask, start=request.start), region
