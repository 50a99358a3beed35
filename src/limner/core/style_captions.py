"""Captions of a style's pictures: what a picture shows, told apart from the style."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .wording import counted, shortened

MOST_OF_A_STYLE = 10
"""Number of pictures of a style from which on the user gets a note."""


def content_of(caption: str, handle: str) -> str:
    """The content that a caption names beside the style; empty where it names none.

    >>> content_of("a dog on a sofa in <sty>", "<sty>"), content_of("a <sty> of a dog", "<sty>")
    ('a dog on a sofa', 'a dog')
    >>> content_of("a dog in the style of <sty>", "<sty>"), content_of("a picture in <sty>", "<sty>")
    ('a dog', '')

    caption: the caption, with the style's handle
    handle: word for the style in prompts
    """
    style = re.escape(handle)
    text = re.sub(rf"^(?:(?:an?|the)\s+)?{style}\s+(?:of|with|showing)\s+", "", caption.strip(), flags=re.IGNORECASE)
    text = re.sub(rf",?\s*\b(?:painted\s+|drawn\s+)?in\s+(?:the\s+style\s+of\s+)?{style}", "", text)
    text = text.replace(handle, "").strip(" ,.")
    return "" if text.lower() in ("", "a photo of", "a picture", "a picture of", "a painting", "an image") else text


def in_style(text: str, handle: str, noun: str) -> str:
    """A plain caption as one of a style's picture: "a watercolour of a dog" -> "a dog in <sty>".

    >>> in_style("a watercolour style painting of a dog.", "<sty>", "watercolour style")
    'a dog in <sty>'

    text: the caption
    handle: word for the style in prompts
    noun: class noun of the style
    """
    about = (
        rf"^(?:an?\s+|the\s+)?(?:{re.escape(noun)}|painting|drawing|illustration|picture|image)(?:\s+painting)?\s+of\s+"
    )
    content = re.sub(about, "", text.strip().rstrip("."), flags=re.IGNORECASE)
    return f"{content or 'a picture'} in {handle}"


def style_notes(captions: Sequence[str], handle: str) -> list[str]:
    """Lines for the user about the number of a style's pictures, and about captions that all name one content.

    captions: a caption for each picture, empty where there is none
    handle: word for the style in prompts
    """
    if len(captions) == 1:
        return ["only one picture of the style: a caption that names its content keeps content and style apart"]
    notes = content_notes(captions, handle)
    if len(captions) > MOST_OF_A_STYLE:
        notes.append(
            f"{len(captions)} pictures of a style: one to {MOST_OF_A_STYLE} by one hand are best, since more of them "
            "often differ in style"
        )
    return notes


def content_notes(captions: Sequence[str], handle: str) -> list[str]:
    """A line for the user where several pictures of a style all show one content, by their captions.

    captions: a caption for each picture, empty where there is none
    handle: word for the style in prompts
    """
    contents = [content_of(caption, handle).lower() for caption in captions if caption]
    if len(contents) < 2 or len(set(contents)) > 1 or not contents[0]:
        return []
    return [
        f"all captions of {counted(len(contents), 'picture')} name one content ({shortened(contents[0])!r}): content and "
        "style cannot be told apart; give pictures of different things"
    ]
