"""The workflow `paint`: prompts in, pictures on disk out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.core.files import check_folder
from limner.core.interrupts import standing
from limner.core.picture import Numbers
from limner.core.recipe import Recipe
from limner.core.wording import counted, shortened
from limner.errors import InputError, PromptError

from .controls import PAUSE, STOP, Controls
from .events import Event, Message, Note, Paused, PictureSaved, RunDone
from .opening import choice_for, open_base, plan_memory, read_concept_choices, strange_words_note

if TYPE_CHECKING:
    from limner.core.base import Base
    from limner.core.concept import Concept
    from limner.core.picture import Picture
    from limner.engine.inpainting import Region
    from limner.engine.sample import Canvas, PaintSettings

    from .requests import BaseChoice, ConverseRequest, PaintRequest


def paint_request(
    request: PaintRequest,
    *,
    open_base: Callable[[BaseChoice], Any] = open_base,
    controls: Controls | None = None,
) -> Iterator[Event]:
    """Paint the pictures of a request and save each as soon as it is painted. `open_base` may return a base that is
    open already. A pause or stop that `controls` carry takes effect after the current batch; after a pause, the same
    request with `skip` as the event says paints the others, equal to the bit.

    Raises `PromptError` for a prompt that does not name every attached concept, and `InputError` for a request that
    cannot be painted.
    """
    from . import paint as workflow

    for scale in request.scale:
        workflow.check_scale(scale)
    if request.where and not request.onto:
        raise InputError("--where masks the part of a canvas that may change; name the canvas with --onto FILE")
    total = request.count * len(request.prompts)
    check_folder(request.out)
    saver = Numbers(request.out, total, overwrite=request.overwrite)
    standing(
        lambda: (
            f"{len(saver.saved)} of {counted(total, 'picture')} are saved in {request.out}; the same command paints "
            "all of them"
        )
    )
    concepts = yield from read_concept_choices(*request.concepts)
    _check_named(request, concepts)
    _check_files(request)
    choice, memory = plan_memory(base_choice(request, concepts), Recipe(says=""))
    if memory:
        yield Message(memory)
    base = open_base(choice)
    if note := strange_words_note(base.name, " ".join([*request.prompts, request.negative])):
        yield Note(note)
    arguments, region = painting_arguments(request, base, concepts)
    pictures = workflow.painting(
        base,
        list(request.prompts),
        concepts=concepts,
        count=request.count,
        seed=request.seed,
        scale=request.scale[0] if len(request.scale) == 1 else request.scale,
        **arguments,
        skip=request.skip,
    )
    paths: list[str] = []
    score = _scorer(request, base, concepts)
    batch = max(1, arguments["settings"].batch // max(request.frames, 1))
    with closing(pictures):
        for picture in pictures:
            if controls is not None and paths and len(paths) % batch == 0:
                if controls.take(PAUSE):
                    yield Paused(done=request.skip + len(paths))
                    return
                if controls.take(STOP):
                    yield Message(f"stopped after {request.skip + len(paths)} of {counted(total, 'picture')}")
                    break
            whole = replace(picture, image=region.put_back(picture.image)) if region else picture
            paths.append(str(saver.save(whole)))
            yield PictureSaved(saver.saved[-1], picture.prompt, picture.seed, score(picture))
    yield RunDone({"pictures": paths}, "\n".join(paths))


def painting_arguments(
    request: PaintRequest, base: Any, concepts: Sequence[Concept]
) -> tuple[dict[str, Any], Region | None]:
    """The arguments of `workflows.paint.painting` for a request, beside prompts, concepts, their scales, count and
    seed; and the region of a canvas that the painted square is put back into, if there is one."""
    canvas, region = _canvas(request, base)
    arguments = {
        "settings": paint_settings(request),
        "canvas": canvas,
        "any_base": request.any_base,
        "regions": _regions(request),
        "conditions": _conditions(request, base, concepts),
        "controls": request.controls,
        "frames": request.frames,
        "motion": request.motion,
    }
    return arguments, region


def _check_files(request: PaintRequest) -> None:
    """Raise `InputError` for regions and conditions that do not fit together, before a base is opened."""
    _regions(request)
    _check_conditions(request)


def _scorer(request: PaintRequest, base: Any, concepts: list[Concept]) -> Callable[[Picture], dict[str, float]]:
    """A function that scores a picture, or returns an empty table where the request asks for no scores."""
    from .picture_scores import picture_scores
    from .score_request import images_of

    if not request.score:
        return lambda _: {}
    concept = concepts[0] if concepts else None
    references = images_of(request.references)

    def score(picture: Picture) -> dict[str, float]:
        (scores,) = picture_scores(base, concept, [picture.image], [picture.prompt], references=references)
        return scores

    return score


def _check_named(request: PaintRequest, concepts: list[Concept]) -> None:
    """Raise `PromptError` for a prompt that does not name every attached concept."""
    for prompt in request.prompts:
        asked = f"{prompt}\n{request.negative}"
        unnamed = [handle for c in concepts if c.has_trigger for handle in _unnamed(c, asked)]
        if unnamed:
            raise PromptError(
                f"the prompt {shortened(prompt)!r} does not name {unnamed[0]}; write {unnamed[0]} where the subject "
                "is to be (or in --negative, to keep it out of the picture)"
            )


def _unnamed(concept: Concept, prompt: str) -> tuple[str, ...]:
    """The handles of a concept if the prompt names none of them, else ()."""
    return () if any(handle in prompt for handle in concept.handles) else concept.handles


def _regions(request: PaintRequest) -> dict[str, Any]:
    """Regions by handle: those of the layout file, then those of the request."""
    from limner.core.regions import read_layout, read_region

    regions: dict[str, Any] = read_layout(request.layout) if request.layout else {}
    for name, where in request.regions.items():
        if any(name.strip("<>") == other.strip("<>") for other in regions):
            raise InputError(f"{name} has two regions; give it one")
        regions[name] = read_region(where, handle=name, folder=Path())
    return regions


def _check_conditions(request: PaintRequest) -> None:
    """Raise `InputError` for computed conditions without a picture, and for a picture without computed conditions."""
    if request.computed and not request.like:
        name = request.computed[0]
        raise InputError(f"--condition {name} needs a picture: {name}=FILE, or --like FILE to compute it from")
    if request.like and not request.computed:
        raise InputError(
            "--like names the picture that conditions are computed from; name some, such as --condition edges"
        )


def _conditions(request: PaintRequest, base: Base, concepts: Sequence[Concept]) -> dict[str, Any]:
    """The conditions given as pictures, and those computed from a picture, which shows things of the concepts'
    classes."""
    from limner.core.pixels import to_tensor
    from limner.core.subject import read_picture
    from limner.parts.encoders.conditions import computed
    from limner.parts.encoders.estimators import LAYOUT

    conditions: dict[str, Any] = {name: read_picture(file)[0].image for name, file in request.conditions.items()}
    if request.like:
        image: Any = read_picture(request.like)[0].image
        pixels, own = to_tensor([image], base.picture_size), base.capabilities.estimators
        nouns = [str(concept.subject["noun"]) for concept in concepts]
        for name in request.computed:
            if name == LAYOUT:
                conditions[name] = _layout(request, pixels, {c.handle: n for c, n in zip(concepts, nouns, strict=True)})
            else:
                conditions[name] = computed(name, pixels, request.estimators, own, nouns)
    return conditions


def _layout(request: PaintRequest, pixels: Any, nouns: Mapping[str, str]) -> dict[str, Any]:
    """Handle -> the box of a thing of its class in a picture. Raises `InputError` without a network or concepts."""
    from limner.parts.encoders.estimators import LAYOUT, boxes

    if LAYOUT not in request.estimators:
        raise InputError(
            "a layout is found by a network: open one with --estimator layout=FOLDER (a model of transformers for object "
            "detection, such as DETR or YOLOS), or give the places with --region NAME=BOX"
        )
    if not nouns:
        raise InputError("a layout places concepts, and none is given: name one with --with FILE")
    return dict(zip(nouns, boxes(pixels, request.estimators[LAYOUT], list(nouns.values())), strict=True))


def base_choice(request: PaintRequest | ConverseRequest, concepts: Sequence[Concept]) -> BaseChoice:
    """The base to paint on: the one that the request names, else that of its first concept, else pocket."""
    if concepts:
        return choice_for(concepts[0], request.base, trust=request.concepts[0].trust)
    return request.base if request.base.name else replace(request.base, name="pocket")


def paint_settings(request: PaintRequest) -> PaintSettings:
    """The settings of sampling of a request."""
    from limner.core.views import read_view
    from limner.engine.sample import PaintSettings

    return PaintSettings(
        request.steps,
        request.guidance,
        request.sampler,
        request.negative,
        guide_between=request.guide_between,
        subject_from=request.subject_from,
        compose=request.compose,
        background=request.background,
        views={name: read_view(text) for name, text in request.views.items()},
    )


def _canvas(request: PaintRequest, base: Any) -> tuple[Canvas | None, Region | None]:
    """The picture to paint into, and its region that may change."""
    from limner.core.subject import read_picture
    from limner.engine.inpainting import Region
    from limner.engine.sample import Canvas

    if not request.onto:
        return None, None
    images: list[Any] = [read_picture(file)[0].image for file in (request.onto, request.where) if file]
    region = Region.around(*images, size=base.picture_size) if request.where else None
    whole, mask = region.cut if region else (images[0], None)
    return Canvas(whole, mask, start=request.start), region
