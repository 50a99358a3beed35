"""The workflow `try-on`: photos of a person and of a garment in, the person in the garment on disk out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from limner.core.files import check_folder
from limner.core.picture import Numbers
from limner.core.recipe import Recipe
from limner.errors import InputError, UnknownName

from .events import Event, Message, Note
from .opening import open_base, plan_memory
from .photo import cut_photo, opened_photo
from .swap_request import saved

if TYPE_CHECKING:
    from PIL import Image

    from limner.core.base import Base

    from .requests import BaseChoice, TryOnRequest

BELOW_FACE = (-1.1, 1.1, 2.1, 4.2)
"""Box of a garment: left, top, right and bottom, where the face's box is from 0 to 1 across and down."""


def try_on_request(request: TryOnRequest, *, open_base: Callable[[BaseChoice], Any] = open_base) -> Iterator[Event]:
    """Paint the pictures of a request and save each as soon as it is painted. `open_base` may return a base that is
    open already.

    Raises `InputError` for photos or masks with which it cannot be done, and for a method that learns for every
    subject.
    """
    from limner.core.subject import Subject
    from limner.engine.sample import Canvas, PaintSettings
    from limner.methods import methods

    from . import paint as workflow
    from .learn import learn

    check_folder(request.out)
    if request.method not in methods():
        raise UnknownName("method", request.method, methods())
    image, mask = opened_photo(request.person, request.where)
    garment = Subject.of([request.garment], noun=request.noun, handle="garment")
    if methods()[request.method](garment).tuning:
        raise InputError(
            f"{request.method} is trained for every garment: try one on with a method that is not, such as pe_viton"
        )
    for text in garment.notes:
        yield Note(text)
    choice, memory = plan_memory(request.base, Recipe(says=""))
    if memory:
        yield Message(memory)
    base = open_base(choice)
    mask = mask or below_face(base, image)
    square, inside, region = cut_photo(image, mask, size=base.picture_size)
    concept = learn(base, garment, method=request.method, seed=request.seed)
    pictures = workflow.painting(
        base,
        f"a person in {concept.handle}",
        concepts=[concept],
        count=request.count,
        seed=request.seed,
        settings=PaintSettings(request.steps, request.guidance),
        # the method reads both as conditions; what surrounds the garment is held to the photo while it is painted
        canvas=Canvas(square, inside, start=0.0),
    )
    yield from saved(pictures, region, Numbers(request.out, request.count, overwrite=request.overwrite))


def below_face(base: Base, image: Image.Image) -> Image.Image:
    """A mask of the place of a garment: the box below the largest face. Raises `InputError` where the base has no
    networks of faces, or where these find none."""
    from PIL import Image, ImageDraw

    networks = base.capabilities.faces
    face = max(networks.find(image), key=lambda one: one.height * one.width, default=None) if networks else None
    if face is None:
        why = "no face was found in the photo" if networks else f"{base.name} has no networks that find faces"
        raise InputError(f"{why}, so the place of the garment is unknown: give a mask, white there (--where FILE)")
    left, top = face.box[:2]
    across, down = (face.width, face.height)
    box = [
        round(start + share * length)
        for start, share, length in zip((left, top) * 2, BELOW_FACE, (across, down) * 2, strict=True)
    ]
    box = [max(0, box[0]), max(0, box[1]), min(image.width, box[2]) - 1, min(image.height, box[3]) - 1]
    if box[0] >= box[2] or box[1] >= box[3]:
        raise InputError(
            "there is no room below the face in the photo: give a mask, white where the garment goes (--where FILE)"
        )
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).rectangle(box, fill=255)
    return mask
