"""The workflow `swap`: a photo and a concept in, the photo with the subject in it on disk out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from limner.core.files import check_folder
from limner.core.picture import Numbers
from limner.core.recipe import Recipe

from .events import Event, Message, Note, PictureSaved, RunDone
from .opening import choice_for, open_base, plan_memory, read_concept_choices, strange_words_note
from .photo import cut_photo, opened_photo, swap_prompt

if TYPE_CHECKING:
    from limner.engine.inpainting import Region

    from .requests import BaseChoice, SwapRequest


def swap_request(request: SwapRequest, *, open_base: Callable[[BaseChoice], Any] = open_base) -> Iterator[Event]:
    """Paint the pictures of a request and save each as soon as it is painted. `open_base` may return a base that is
    open already.

    Raises `PromptError` for a prompt that does not name the concept, and `InputError` for a photo, mask or concept with
    which it cannot be done.
    """
    from limner.engine.sample import PaintSettings
    from limner.library.swapping import into_source

    from . import paint as workflow

    check_folder(request.out)
    photo = opened_photo(request.photo, request.where)
    (concept,) = yield from read_concept_choices(request.concept)
    prompt = swap_prompt(
        request.prompt,
        source_noun=request.source_noun,
        source_prompt=request.source_prompt,
        handle=concept.handle,
        noun=concept.subject["noun"],
    )
    choice = choice_for(concept, request.base, trust=request.concept.trust)
    choice, memory = plan_memory(choice, Recipe(says=""))
    if memory:
        yield Message(memory)
    base = open_base(choice)
    if note := strange_words_note(base.name, f"{prompt} {request.source_noun} {request.source_prompt}"):
        yield Note(note)
    nouns = {"source_noun": request.source_noun, "source_prompt": request.source_prompt}
    settings = {**request.settings, **{name: text for name, text in nouns.items() if text}}
    concept, sampled_as = into_source(concept, base, how=request.how, settings=settings)
    image, mask, region = cut_photo(*photo, size=base.picture_size)
    pictures = workflow.painting(
        base,
        prompt,
        concepts=[concept],
        count=request.count,
        seed=request.seed,
        settings=PaintSettings(request.steps, request.guidance, negative=request.negative),
        any_base=request.any_base,
        conditions={"source": image} | ({"mask": mask} if mask else {}),
        sampled_as=sampled_as,
    )
    yield from saved(pictures, region, Numbers(request.out, request.count, overwrite=request.overwrite))


def saved(pictures: Iterator[Any], region: Region | None, saver: Numbers) -> Iterator[Event]:
    """Put each picture back into its photo, and save it."""
    paths = []
    for picture in pictures:
        whole = replace(picture, image=region.put_back(picture.image)) if region else picture
        paths.append(str(saver.save(whole)))
        yield PictureSaved(saver.saved[-1], picture.prompt, picture.seed)
    yield RunDone({"pictures": paths}, "\n".join(paths))
