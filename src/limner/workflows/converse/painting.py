"""A state and the picture before it to a picture. Everything that was not named keeps its pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from limner.errors import InputError

from .masks import part_mask
from .states import State
from .tree import Conversation, Turn

if TYPE_CHECKING:
    from PIL import Image

    from limner.core.base import Base
    from limner.core.concept import Concept
    from limner.core.picture import Picture

START: Mapping[str, float] = {"accessory": 0.0, "thing": 0.3, "background": 0.0, "background and accessory": 0.0}
"""Part -> share of the sampling steps that is skipped, which keeps the pose of a thing whose colour changes."""


def paint_state(
    base: Base, state: State, concepts: Mapping[str, Concept], *, onto: tuple[State, Image.Image] | None = None
) -> Picture:
    """The picture of a state. `concepts` are by the hash of their tensors, and `onto` is the earlier state and picture
    that it is painted onto; every pixel outside of the part that may change keeps its value. Where the part is nearly
    everything, or the base cannot tell it, the picture is painted anew from the same noise.

    Raises `InputError` for a state whose concept is not among `concepts`.
    """
    from dataclasses import replace

    from limner.engine.inpainting import Region
    from limner.engine.sample import Canvas, PaintSettings
    from limner.library.opening import adapter_of
    from limner.workflows.paint import paint

    shown = [thing for thing in state.things if thing.handle]
    first = {thing.concept: thing for thing in reversed(shown)}  # a concept of several subjects is attached once
    used = [(thing, concept_of(thing, concepts)) for thing in first.values()]
    settings = PaintSettings(steps=state.steps, guidance=state.guidance, negative=state.negative)
    canvas, region = None, None
    if onto is not None:
        before, image = onto
        prompts = named_prompt(before, state), state.prompt
        adapters = [adapter_of(concept, base, scale=thing.strength) for thing, concept in used]
        mask = part_mask(base, adapters, image, prompts, state.part)
        if mask is not None:
            region = Region.around(image, mask, size=base.picture_size)
            square, inside = region.cut
            canvas = Canvas(square, inside, start=START[state.part])
    regions: Any = {thing.handle: thing.region for thing in shown if thing.region}
    picture = paint(
        base,
        state.prompt,
        concepts=[concept for _, concept in used],
        scale=[thing.strength for thing, _ in used] if used else 1.0,
        seed=state.seed,
        settings=settings,
        canvas=canvas,
        regions=regions or None,
    )[0]
    return replace(picture, image=region.put_back(picture.image)) if region else picture


def named_prompt(before: State, state: State) -> str:
    """The prompt of an earlier state, in which things whose concepts are not attached any more have their class."""
    from limner.core.wording import in_place

    handles, prompt = {thing.handle for thing in state.things}, before.prompt
    for thing in before.things:
        if thing.handle and thing.handle not in handles:
            prompt = in_place(prompt, thing.handle, thing.noun)
    return prompt


def concept_of(thing: Any, concepts: Mapping[str, Concept]) -> Concept:
    """The concept of a thing. Raises `InputError` where it is not at hand."""
    if thing.concept not in concepts:
        raise InputError(
            f"{thing.name} is shown by the concept {thing.concept[:12]}, which is not at hand: give the file of that "
            "concept, also of those that preferences made"
        )
    return concepts[thing.concept]


def repaint(
    base: Base,
    conversation: Conversation,
    turn: Turn,
    concepts: Mapping[str, Concept],
    picture_of: Callable[[Turn], Image.Image | None] = lambda turn: None,
) -> Image.Image:
    """The picture of a turn, from its state and the pictures before it. `picture_of` gives pictures at hand; others
    are painted again, to the same bits.

    Raises `InputError` where a picture painted again differs from the one that the conversation has, as on another
    machine or another version of a library.
    """
    onto = None
    if turn.state.onto:
        before = conversation.by_id(turn.state.onto)
        image = picture_of(before)
        onto = before.state, image if image is not None else repaint(base, conversation, before, concepts, picture_of)
    image = paint_state(base, turn.state, concepts, onto=onto).image
    if turn.sha256 and hash_of_picture(image) != turn.sha256:
        raise InputError(
            f"picture {turn.number} came out differently than it was: expected pixels with the hash {turn.sha256[:12]}, "
            f"and these have {hash_of_picture(image)[:12]}; keep the pictures of a conversation where machines differ"
        )
    return image


def hash_of_picture(image: Image.Image) -> str:
    """SHA-256 of the pixels."""
    return hashlib.sha256(image.convert("RGB").tobytes()).hexdigest()
