"""/api/scores: numbers for concepts and pictures: likeness, prompt accuracy, drift, copying."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from limner.apps.jobs.access import visible
from limner.apps.jobs.tables import Concept

from ..errors import ApiError
from ..fields import Fields, Id, Prompt, Record, Seed, Stored
from .common import Me, Work, add_job

router = APIRouter(prefix="/api/scores", tags=["scores"])


class NewScore(Fields):
    """The concept to score, the prompts (none: those of the base's bench) and the number of pictures of each. Or
    pictures to score by the concept, with one prompt for each or one for all (none: those they were painted with)."""

    concept: Id
    pictures: Annotated[list[Stored], Field(max_length=64)] = Field(default_factory=list)
    prompts: Annotated[list[Prompt], Field(max_length=100)] = Field(default_factory=list)
    count: Annotated[int, Field(ge=1, le=16)] = 2
    seed: Seed = 0


@router.get("")
def list_scores(work: Work, me: Me) -> Record:
    """Scores and diagnosis of every concept that the user may see."""
    with work.database.reading() as session:
        rows = session.scalars(visible(Concept, me).order_by(Concept.created.desc())).all()
    fields = ("id", "name", "method", "base", "scores", "diagnosis")
    return {"scores": [{name: getattr(row, name) for name in fields} for row in rows]}


@router.post("", status_code=202)
def score_concept(score: NewScore, work: Work, me: Me) -> Record:
    """Start the job that paints a concept and scores it beside its base, or that scores the given pictures."""
    payload = {"concept": {"id": score.concept}, **score.model_dump(exclude={"concept"})}
    if len(score.prompts) not in (0, 1, len(score.pictures)) and score.pictures:
        text = (
            f"there are {len(score.pictures)} pictures and {len(score.prompts)} prompts: give one for all, or one each"
        )
        raise ApiError(400, "invalid_field", text, param="prompts")
    return {"job": add_job(work, me, "score", payload)}
