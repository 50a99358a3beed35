"""/api/swaps and /api/try-ons: a concept's subject, or a garment, put into a photo."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from ..fields import Fields, Id, Line, Prompt, Record, Seed, Stored
from .common import Me, Work, add_job

router = APIRouter(prefix="/api", tags=["photos"])
Count = Annotated[int, Field(ge=1, le=16)]
Steps = Annotated[int, Field(ge=1, le=200)]
Guidance = Annotated[float, Field(ge=0, le=30)]


class NewSwap(Fields):
    """The photo, and the concept whose subject takes the place of something there.

    where: mask of the photo's size, white where it may change; without one, the photo is square
    prompt: of the new picture, with the handle; empty: "a photo of" the subject
    source_noun: the thing that is replaced; empty: the subject's class
    source_prompt: description of the photo as it is, with that noun
    how: "photoswap" or "swapanything", for a concept of a method that samples plainly
    settings: of that method
    """

    photo: Stored
    concept: Id
    where: Stored | None = None
    prompt: Prompt = ""
    source_noun: Line = ""
    source_prompt: Prompt = ""
    how: Line = ""
    settings: dict[str, Any] = Field(default_factory=dict)
    negative: Prompt = ""
    seed: Seed = 0
    count: Count = 1
    steps: Steps = 50
    guidance: Guidance = 7.5


class NewTryOn(Fields):
    """Photos of a person and of a garment.

    where: mask of the person's photo, white where the garment goes; without one, it goes below the largest face
    noun: the kind of garment
    """

    person: Stored
    garment: Stored
    where: Stored | None = None
    noun: Line = "shirt"
    seed: Seed = 0
    count: Count = 1
    steps: Steps = 25
    guidance: Guidance = 4.0


@router.post("/swaps", status_code=202)
def swap(swap: NewSwap, work: Work, me: Me) -> Record:
    """Start the job that puts a concept's subject into a photo. Outside of the mask, the photo stays as it is."""
    fields = swap.model_dump(exclude_none=True) | {"concept": {"id": swap.concept}}
    return {"job": add_job(work, me, "swap", fields)}


@router.post("/try-ons", status_code=202)
def try_on(try_on: NewTryOn, work: Work, me: Me) -> Record:
    """Start the job that puts a garment on the person in a photo."""
    return {"job": add_job(work, me, "try-on", try_on.model_dump(exclude_none=True))}
