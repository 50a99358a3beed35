"""The workflow `swap`: a photo and a concept in, the photo with the subject in it on disk out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.core.files import check_folder
from limner.core.picture import Numbers
from limner.core.recipe import Recipe
from limner.errors import InputError, PromptError

from .events import Event, Message, Note, PictureSaved, RunDone
from .opening import choice_for, open_base, plan_memory, read_concept_choices, strange_words_note

if TYPE_CHECKING:
    from PIL import Image

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
    prompt = _prompt(request, concept.handle, concept.subject["noun"])
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


def opened_photo(photo: Path, where: Path | None) -> tuple[Image.Image, Image.Image | None]:
    """A photo, and the mask in the file `where`, else the one beside the photo, if there is any. Raises `InputError`
    for a mask of another size, for an empty one, and for one that covers everything."""
    from limner.core.subject import read_mask, read_picture

    reference = read_picture(photo)[0]
    assert reference.image is not None
    mask = read_mask(where) if where else reference.mask
    if mask is None:
        return reference.image, None
    if mask.size != reference.image.size:
        sizes = [f"{size[0]} x {size[1]}" for size in (mask.size, reference.image.size)]
        raise InputError(f"the mask is {sizes[0]} pixels and the photo {sizes[1]}: give a mask of the photo's size")
    low, high = mask.convert("L").point(lambda value: 255 if value >= 128 else 0).getextrema()
    if low == high:
        colour, wanted = ("white", "black where it must stay") if low else ("black", "white where it may change")
        raise InputError(f"the mask of {photo} is {colour} everywhere: expected {wanted}")
    return reference.image, mask


def cut_photo(
    image: Image.Image, mask: Image.Image | None, *, size: int
) -> tuple[Image.Image, Image.Image | None, Region | None]:
    """The square of a photo that is painted, the mask in it, and the way back into the photo. Without a mask it is the
    whole photo. Raises `InputError` for a photo without a mask that is not square."""
    from limner.engine.inpainting import Region

    if mask is None:
        if image.width != image.height:
            raise InputError(
                f"the photo is {image.width} x {image.height} pixels, and a base paints squares: name the part that may "
                "change (--where MASK), around which a square is cut out, or crop the photo to a square"
            )
        return image, None, None
    region = Region.around(image, mask, size=size)
    square, inside = region.cut
    return square, None if inside.getextrema() == (255, 255) else inside, region


def _prompt(request: SwapRequest, handle: str, noun: str) -> str:
    """The prompt of the picture. Raises `PromptError` where it does not name the subject."""
    replaced = request.source_noun or noun
    if request.prompt:
        if handle not in request.prompt:
            raise PromptError(
                f"the prompt {request.prompt!r} does not name {handle}, which is to be put into the photo"
            )
        return request.prompt
    prompt, count = re.subn(rf"\b{re.escape(replaced)}\b", handle, request.source_prompt, count=1)
    if request.source_prompt and not count:
        raise InputError(
            f"the source prompt {request.source_prompt!r} does not name the {replaced} that is to be replaced: write it "
            "there, or name another noun (--source-noun)"
        )
    return prompt or f"a photo of {handle}"
