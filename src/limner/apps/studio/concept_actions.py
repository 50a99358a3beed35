"""Actions of a likeness's page: teach again, score, certify, states, export, publish, share, delete."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from limner.apps.api.routes import concepts as api
from limner.apps.api.routes.common import find_own, note
from limner.apps.jobs.tables import Concept
from limner.errors import InputError

from .concepts import FORMATS, advice_for
from .view import Form, flag, go, line, queue_job, reading, text, user_of, whole, writing
from .words import diagnosis_words

router = APIRouter(include_in_schema=False)


def own(request: Request, concept_id: str) -> Concept:
    with reading(request) as session:
        return find_own(session, Concept, concept_id, user_of(request))


@router.post("/concepts/{concept_id}/try")
def try_remedy(request: Request, concept_id: str, form: Form) -> Response:
    """Teach the same photos again with the change that the diagnosis advises."""
    concept = own(request, concept_id)
    diagnosis = diagnosis_words(concept.diagnosis, concept.scores, concept.header) or {"label": ""}
    with reading(request) as session:
        advice = advice_for(session, concept, diagnosis["label"])
    if advice is None:
        raise InputError("there is nothing to try for this likeness: it is balanced, or its photos are not here")
    return go(request, f"/jobs/{queue_job(request, 'learn', advice[0], form)}")


@router.post("/concepts/{concept_id}/score")
def score(request: Request, concept_id: str, form: Form) -> Response:
    concept = own(request, concept_id)
    payload = {"concept": {"id": concept.id}, "count": 4 if concept.scores else 2}
    return go(request, f"/jobs/{queue_job(request, 'score', payload, form)}")


@router.post("/concepts/{concept_id}/check")
def check(request: Request, concept_id: str, form: Form) -> Response:
    payload = {"concept": {"id": own(request, concept_id).id}}
    return go(request, f"/jobs/{queue_job(request, 'check', payload, form)}")


@router.post("/concepts/{concept_id}/states")
def paint_states(request: Request, concept_id: str, form: Form) -> Response:
    concept = own(request, concept_id)
    prompt = text(form, "prompt", most=2000) or f"a photo of {concept.handle}"
    payload = {"concept": {"id": concept.id}, "prompts": [prompt], "seed": 0}
    return go(request, f"/jobs/{queue_job(request, 'states', payload, form)}")


@router.post("/concepts/{concept_id}/state")
def use_state(request: Request, concept_id: str, form: Form) -> Response:
    """Keep the concept as it was at a state of its training."""
    state = api.State(done=whole(form, "done", -1, least=-1))
    api.choose_state(concept_id, state, request, request.app.state.services, user_of(request))
    return go(request, f"/concepts/{concept_id}", "state")


@router.post("/concepts/{concept_id}/export")
def export(request: Request, concept_id: str, form: Form) -> Response:
    concept, to = own(request, concept_id), text(form, "to", most=40)
    if to not in FORMATS:
        raise InputError(f"export for one of {', '.join(FORMATS)}, not {to!r}")
    payload = {"concept": {"id": concept.id}, "to": to, "rank": whole(form, "rank", 0, most=512)}
    return go(request, f"/jobs/{queue_job(request, 'export', payload, form)}")


@router.post("/concepts/{concept_id}/publish")
def publish(request: Request, concept_id: str, form: Form) -> Response:
    concept = own(request, concept_id)
    payload = {
        "concept": {"id": concept.id},
        "to": line(form, "repository", most=200),
        "licence": line(form, "licence", most=100),
        "private": flag(form, "private"),
        "upload": not flag(form, "local"),
    }
    with writing(request) as session:
        note(session, request, "concept.publish", concept.id, to=payload["to"])
    return go(request, f"/jobs/{queue_job(request, 'publish', payload, form)}")


@router.post("/concepts/{concept_id}/share")
def share(request: Request, concept_id: str, form: Form) -> Response:
    name = line(form, "user", most=64)
    if not name:
        raise InputError("write the name of the user to share it with")
    api.share_concept(concept_id, api.NewShare(user=name), request, request.app.state.services, user_of(request))
    return go(request, f"/concepts/{concept_id}", "shared")


@router.post("/concepts/{concept_id}/unshare")
def unshare(request: Request, concept_id: str, form: Form) -> Response:
    services = request.app.state.services
    api.unshare_concept(concept_id, line(form, "user", most=64), request, services, user_of(request))
    return go(request, f"/concepts/{concept_id}", "unshared")


@router.post("/concepts/{concept_id}/delete")
def delete(request: Request, concept_id: str) -> Response:
    api.delete_concept(concept_id, request, request.app.state.services, user_of(request))
    return go(request, "/concepts", "deleted")
