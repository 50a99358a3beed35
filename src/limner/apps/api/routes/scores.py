"""/api/scores: numbers for concepts: likeness, prompt accuracy, drift, copying."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from limner.apps.jobs.access import visible
from limner.apps.jobs.tables import Concept

from ..fields import Fields, Id, Prompt, Record, Seed
from .common import Me, Work, add_job

router = APIRouter(prefix="/api/scores", tags=["scores"])


class NewScore(Fields):
    """The concept to score, the prompts (none: those of the base's bench) and the pictures of each."""

    concept: Id
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
    """Start the job that paints a concept and scores it beside its base."""
    payload = {"concept": {"id": score.concept}, **score.model_dump(exclude={"concept"})}
    return {"job": add_job(work, me, "score", payload)}
