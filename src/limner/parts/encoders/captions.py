"""Captions of the subject's pictures and of class images, in one grammar (arXiv:2311.04315)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject

MANNERS = ("a photo of", "a picture of")
LOOKS = ("red", "blue", "green", "")
PLACES = (
    "on the beach", "in the snow", "in the jungle", "in the city", "in the desert", "in the kitchen", "in a meadow",
    "under the night sky", "in the forest", "in a park", "in a garden", "in the living room", "in an office",
    "on a sofa", "on a wooden table", "on a street", "on the grass", "in front of a wall",
)  # fmt: skip
"""Backgrounds of the grammar: manner, looks, class, background."""

CONTENTS = (
    "a dog", "a cat", "a bear", "a robot", "a car", "a boat", "a teapot", "a backpack", "a house", "a plant", "a chair",
    "a lamp", "a rabbit", "an elephant", "a penguin", "a plane", "a truck", "a mug", "a person", "a woman", "a man",
    "a horse", "a bird", "a tree", "a flower", "a mountain", "a bridge", "a ship", "a fruit", "a bottle", "a landscape",
    "a village", "a train", "a butterfly", "a fish", "a castle",
)  # fmt: skip
"""Things that pictures of a style show, and that pictures in a style are asked for."""


def structured_captions(base: Base, subject: Subject) -> list[str]:
    """A caption for each picture, with {} for the subject, that names the background (Sec. 3.2 of arXiv:2311.04315).

    The background is then not learned as the subject's. The base's captioner writes the captions. On a base without
    one, CLIP picks the background of the grammar that is most similar to the picture. Raises `InputError` where the
    base has no CLIP of texts and pictures either.

    base: the base
    subject: the subject with its pictures
    """
    import torch
    import torch.nn.functional as F

    if not subject.pictures:
        return []
    pixels, captioner = subject.tensor(base.picture_size), base.captioner
    if captioner is not None:
        return captioner(pixels)
    places = known_to(base, PLACES)
    try:
        with torch.no_grad():
            texts = base.text_features([f"a photo of a {subject.noun} {place}" for place in places], words={})
            pictures = base.picture_features(pixels)
    except InputError as error:
        raise InputError(
            f"{base.name} has neither a captioner nor a CLIP of texts and pictures, and this method needs a caption of "
            f"each picture that names the background: give captions of your own ({error})"
        ) from error
    near = F.normalize(pictures.float(), dim=-1) @ F.normalize(texts.float(), dim=-1).T
    return [f"a photo of {{}} {places[k]}" for k in near.argmax(-1).tolist()]


def structured_class_captions(base: Base, subject: Subject) -> list[str]:
    """Captions of class images, with {} for the class noun (Sec. 3.1 of arXiv:2311.04315).

    First those of the subject's own pictures, from which they differ in the rare token alone, then every background
    of the grammar with several looks. A language model fills the slots in the paper.

    base: the base
    subject: the subject with its pictures
    """
    own = [template(picture.caption, subject.handle) for picture in subject.pictures]
    if not all(own):
        own = [given or made for given, made in zip(own, structured_captions(base, subject), strict=True)]
    looks = [f"{look} " if look else "" for look in known_to(base, LOOKS)]
    slots = [(look, place) for place in known_to(base, PLACES) for look in looks]
    return [*own, *(f"{MANNERS[k % len(MANNERS)]} a {look}{{}} {place}" for k, (look, place) in enumerate(slots))]


def named_contents(base: Base, pixels: Tensor) -> list[str]:
    """The content of each picture, named by CLIP: the most similar of the CONTENTS that the base knows.

    Raises `InputError` where the base has no CLIP of texts and pictures.

    base: the base
    pixels: [n, 3, H, W] in [0, 1]
    """
    import torch
    import torch.nn.functional as F

    contents = known_to(base, CONTENTS)
    try:
        with torch.no_grad():
            texts = base.text_features([f"a picture of {content}" for content in contents], words={})
            pictures = base.picture_features(pixels)
    except InputError as error:
        raise InputError(
            f"{base.name} has no CLIP of texts and pictures, which names what a picture of the style shows: give "
            f"captions of your own, or make them (--caption) ({error})"
        ) from error
    near = F.normalize(pictures.float(), dim=-1) @ F.normalize(texts.float(), dim=-1).T
    return [contents[k] for k in near.argmax(-1).tolist()]


def content_captions(base: Base, style: Subject) -> list[str]:
    """A caption for each picture of a style, with {} for the style: "a dog in {}". CLIP names the content.

    base: the base
    style: the style with its pictures
    """
    if not style.pictures:
        return []
    return [f"{content} in {{}}" for content in named_contents(base, style.tensor(base.picture_size))]


def repeated_content(base: Base, style: Subject) -> str:
    """The content that CLIP names alike in all pictures of a style; empty where it names several, where there is one
    picture or a caption, and on a base without a CLIP of texts and pictures.

    base: the base
    style: the style with its pictures
    """
    if len(style.pictures) < 2 or any(picture.caption for picture in style.pictures):
        return ""
    try:
        contents = named_contents(base, style.tensor(base.picture_size))
    except InputError:
        return ""
    return contents[0] if len(set(contents)) == 1 else ""


def contents_in(handle: str) -> Callable[[Base], list[str]]:
    """Base -> prompts for pictures of all sorts in a style: "a dog in <sty>".

    handle: the style's word in prompts
    """
    return lambda base: [f"{content} in {handle}" for content in known_to(base, CONTENTS)]


def template(caption: str, handle: str) -> str:
    """A caption of the user's own with {} in the place of the handle; braces in it are doubled.

    caption: the caption
    handle: the subject's word
    """
    return caption.replace("{", "{{").replace("}", "}}").replace(handle, "{}")


def known_to(base: Base, phrases: Sequence[str]) -> list[str]:
    """The phrases whose words a base knows; all on a base that knows any word.

    base: the base
    phrases: phrases of several words
    """
    known = base.capabilities.known_words
    return [phrase for phrase in phrases if known is None or set(phrase.split()) <= known()]
