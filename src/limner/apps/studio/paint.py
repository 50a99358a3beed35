"""Paint: a prompt with handles, strengths, regions, a canvas, conditions, and the results."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.responses import Response

from limner.apps.api.routes.common import find_own, find_visible
from limner.apps.api.routes.pictures import metadata_of
from limner.apps.jobs.conditions import Networks, read_by
from limner.apps.jobs.tables import Concept, Job, Picture
from limner.bases.common.extra_channels import read_by_base
from limner.errors import InputError

from .canvases import canvas_of_form
from .rows import (
    ConceptView,
    concepts_of,
    handles_of,
    job_view,
    labels_of,
    named_concepts,
    pictures_of_job,
    visible_picture,
)
from .uploading import keep_picture, read_picture
from .view import Form, decimal, go, is_fragment, lines, queue_job, reading, render, text, user_of, whole

router = APIRouter(include_in_schema=False)
SAMPLERS = tuple((name, name or "the base's own") for name in ("", "ddim", "ddpm", "dpm", "euler", "flow"))
CONDITIONS = (
    *("edges", "lines", "depth", "segmentation", "pose", "keypoints"),  # structure
    *("source", "mask", "content", "query"),  # pictures to start from
)
"""Conditions that methods and control branches read."""
CONDITION_ROWS = ("condition", "condition2")
"""Fields of the conditions that are given as pictures; each has one of its name with `_file` for the picture."""
COMPOSE = (
    ("blend", "predictions blended"),
    ("attention", "attention"),
    ("latents", "latents"),
    ("method", "the methods' own"),
)
BACKGROUNDS = (("base", "the base paints"), ("all", "all likenesses paint"))
IN_ADDRESS = ("prompt", "seed", "count", "steps", "guidance", "sampler", "negative", "subject_from")
SIDES = ("left", "top", "width", "height")
SHOWN = 6
"""Number of earlier results on the page."""
NUM_REGIONS = 4
DEFAULTS: dict[str, Any] = {
    "prompt": "",
    "parent": "",
    "onto": "",
    "style": "",
    "seed": "",
    "count": 2,
    "steps": 25,
    "guidance": 4.0,
    "sampler": "",
    "negative": "",
    "subject_from": 0.0,
    "start": 0.3,
    "compose": "blend",
    "background": "base",
}


@router.get("/paint")
def show(request: Request, like: str = "", concept: str = "", onto: str = "", again: str = "") -> Response:
    """The page, whose fields may stand in the address (`IN_ADDRESS`).

    like: picture whose settings it begins with
    again: "variations" of that picture (other seeds), or "refine" (paint over it)
    concept: likeness to begin with
    onto: picture to paint into
    """
    values = dict(DEFAULTS)
    with reading(request) as session:
        user = user_of(request)
        concepts = concepts_of(session, user)
        query = request.query_params
        values |= {name: query[name][:2000] for name in IN_ADDRESS if name in query}
        values["scales"] = {each.id: 1.0 for each in named_concepts(values["prompt"], concepts)}
        if like:
            values |= values_of(visible_picture(session, like, user), again)
        if onto:
            values["onto"] = visible_picture(session, onto, user).id
        if concept:
            chosen = find_visible(session, Concept, concept, user)
            values |= {"prompt": f"a photo of {chosen.handle}", "scales": {chosen.id: 1.0}}
    return page(request, values, concepts)


def page(request: Request, values: dict[str, Any], concepts: list[ConceptView]) -> Response:
    with reading(request) as session:
        wanted = select(Job).where(Job.owner_id == user_of(request).id, Job.kind == "paint")
        jobs = list(session.scalars(wanted.order_by(Job.created.desc()).limit(SHOWN)))
        results = [(job_view(job), pictures_of_job(session, job)) for job in jobs]
        readers = readers_of(session, concepts)
    labels = labels_of(concepts)
    config = request.app.state.services.config
    every = {config.base.name: read_by_base(config.base.name) or (), "every painting": tuple(config.networks.controls)}
    reads = [*((labels[number], names) for number, names in readers.items()), *every.items()]
    styles = [(c.id, labels[c.id]) for c in concepts if c.kind == "style"]
    return render(
        request,
        "paint.html",
        title="Paint",
        v=form_values(values),
        concepts=concepts,
        labels=labels,
        handles=handles_of(concepts),
        style=[("", "none"), *styles] if styles else [],
        example=f"{concepts[0].handle} on the beach" if concepts else "a dog on the beach",
        samplers=SAMPLERS,
        conditions=[("", "none"), *((name, name) for name in condition_names(config.networks))],
        condition_rows=CONDITION_ROWS,
        computed=config.networks.computed_for(config.base.name),
        readers=[f"{label}: {', '.join(names)}" for label, names in reads if names],
        compose=COMPOSE,
        backgrounds=BACKGROUNDS,
        results=results,
    )


def condition_names(networks: Networks) -> list[str]:
    """The conditions that the page offers: those that methods read, and those of the server's control branches."""
    return list(dict.fromkeys((*CONDITIONS, *networks.controls)))


def readers_of(session: Session, concepts: list[ConceptView]) -> dict[str, tuple[str, ...]]:
    """Id of each concept that reads conditions -> their names."""
    rows = session.scalars(select(Concept).where(Concept.id.in_([each.id for each in concepts]))) if concepts else ()
    return {row.id: names for row in rows if (names := read_by(row))}


def form_values(values: dict[str, Any]) -> dict[str, Any]:
    """The values of the form's fields."""
    regions = values.get("regions") or {}
    rows = [{"handle": handle, **box_in_percent(where)} for handle, where in regions.items()][:NUM_REGIONS]
    empty = {"handle": "", **dict.fromkeys(SIDES, "")}
    names = ("steps", "guidance", "sampler", "negative", "subject_from")
    return {
        "scales": {},
        "kept": [],
        "computed": [],
        **values,
        "regions": [*rows, *[empty] * (NUM_REGIONS - len(rows))] if rows else [empty] * NUM_REGIONS,
        "has_regions": bool(rows),
        "changed": any(values.get(name, DEFAULTS[name]) != DEFAULTS[name] for name in names),
    }


def box_in_percent(where: Any) -> dict[str, Any]:
    """A box [left, top, right, bottom], or the same as a text with commas, in shares of the picture -> its sides in
    percent."""
    try:
        sides = where if isinstance(where, (list, tuple)) else str(where).split(",")
        left, top, right, bottom = (float(each) * 100 for each in sides)
    except (TypeError, ValueError):
        return dict.fromkeys(SIDES, "")
    return dict(zip(SIDES, (round(left), round(top), round(right - left), round(bottom - top)), strict=True))


def values_of(picture: Picture, again: str = "") -> dict[str, Any]:
    """The form's values for a picture painted before."""
    known = {name: value for name, value in picture.settings.items() if name in (*DEFAULTS, "regions")}
    scales = {str(each["id"]): each.get("scale", 1.0) for each in picture.concepts if each.get("id")}
    pictures = dict(picture.settings.get("condition_pictures", {}))
    if picture.settings.get("computed_from"):
        pictures["like"] = picture.settings["computed_from"]
    values = {
        **known,
        "kept": list(pictures.items()),
        "computed": picture.settings.get("computed", []),
        "prompt": picture.prompt,
        "seed": picture.seed,
        "scales": scales,
        "count": 1,
        "parent": picture.id,
    }
    if again == "variations":
        values |= {"seed": "", "count": 4}
    if again == "refine":
        values |= {"onto": picture.id, "start": 0.6}
    return values


# ------------------------------------------------------------------------------------------------------------- painting


@router.post("/paint")
async def paint(request: Request, form: Form) -> Response:
    """Queue the painting; a script gets the panel that shows it, a browser without scripts the page of the job."""
    payload = await run_in_threadpool(base_payload, request, form)
    payload |= await canvas_of_form(request, form)
    payload |= await conditions_of(request, form)
    job_id = await run_in_threadpool(queue_job, request, "paint", payload, form)
    if is_fragment(request):
        return await run_in_threadpool(panel, request, job_id, "painted.html")
    return go(request, f"/jobs/{job_id}")


@router.get("/paint/{job_id}")
def show_painted(request: Request, job_id: str) -> Response:
    return panel(request, job_id, "painted_inner.html")


def panel(request: Request, job_id: str, name: str) -> Response:
    with reading(request) as session:
        job = find_own(session, Job, job_id, user_of(request))
        return render(request, name, j=job_view(job), pictures=pictures_of_job(session, job))


def base_payload(request: Request, form: FormData) -> dict[str, Any]:
    """Prompts, concepts and settings of the form."""
    prompts = [text(form, "prompt", most=2000), *lines(form, "prompts", most=16)]
    if not prompts[0]:
        raise InputError("the prompt is empty; write what the picture shows")
    with reading(request) as session:
        concepts = concepts_of(session, user_of(request))
        if parent := text(form, "parent", most=32):
            visible_picture(session, parent, user_of(request))
    style = text(form, "style", most=32)
    by_id = {each.id: each for each in concepts}
    if style in by_id:
        handle = by_id[style].handle
        prompts = [each if handle in each else f"{each}, in the style of {handle}" for each in prompts]
    payload = {
        "prompts": prompts,
        "concepts": chosen_concepts(form, concepts, prompts),
        "seed": whole(form, "seed", secrets.randbelow(1_000_000), most=2**31 - 1),
        "count": whole(form, "count", 1, least=1, most=16),
        "steps": whole(form, "steps", 25, least=1, most=200),
        "guidance": decimal(form, "guidance", 4.0, least=0, most=30),
        "subject_from": decimal(form, "subject_from", 0.0, least=0, most=1),
        "sampler": named(form, "sampler", SAMPLERS),
        "negative": text(form, "negative", most=2000),
        "score": True,
    }
    if regions := regions_of(form):
        payload |= {"regions": regions, "compose": named(form, "compose", COMPOSE)}
        payload["background"] = named(form, "background", BACKGROUNDS)
    return payload | ({"parent": parent} if parent else {})


def named(form: FormData, name: str, options: tuple[tuple[str, str], ...]) -> str:
    value = text(form, name, options[0][0], most=40)
    if value not in dict(options):
        raise InputError(f"{name} must be one of {', '.join(each for each, _ in options if each)}, not {value!r}")
    return value


def chosen_concepts(form: FormData, concepts: list[ConceptView], prompts: list[str]) -> list[dict[str, Any]]:
    """The concepts that are ticked or whose style is chosen, and those whose handles the prompts name."""
    ticked = {each for each in (*form.getlist("concept"), form.get("style")) if isinstance(each, str)}
    chosen = named_concepts(" ".join(prompts), concepts, ticked=ticked)
    return [{"id": each.id, "scale": decimal(form, f"scale-{each.id}", 1.0, least=0, most=2)} for each in chosen]


def regions_of(form: FormData) -> dict[str, str]:
    """Handle -> box "left,top,right,bottom" in shares of the picture. Raises `InputError` for a box beyond it."""
    regions: dict[str, str] = {}
    for k in range(NUM_REGIONS):
        handle = text(form, f"region-{k}", most=128)
        left, top, width, height = (decimal(form, f"{side}-{k}", 0, least=0, most=100) for side in SIDES)
        if not handle or not width or not height:
            continue
        right, bottom = min(100.0, left + width), min(100.0, top + height)
        if right <= left or bottom <= top:
            raise InputError(f"the box of {handle} lies outside of the picture; left and top are below 100")
        regions[handle] = ",".join(f"{value / 100:g}" for value in (left, top, right, bottom))
    return regions


async def conditions_of(request: Request, form: FormData) -> dict[str, Any]:
    """Conditions that are given as pictures, or computed from one."""
    config = request.app.state.services.config
    networks, computable = config.networks, config.networks.computed_for(config.base.name)
    options = (("", "none"), *((name, name) for name in condition_names(networks)))
    conditions = kept_conditions(form)
    like = conditions.pop("like", "")
    for row in CONDITION_ROWS:
        name, given = named(form, row, options), await read_picture(request, form, f"{row}_file")
        if bool(name) != bool(given):
            raise InputError("a condition needs its name and its picture; one of them is missing")
        if given:
            conditions[name] = await keep_picture(request, given.data)
    if upload := await read_picture(request, form, "like_file"):
        like = await keep_picture(request, upload.data)
    computed = [each for each in form.getlist("computed") if each in computable]
    if bool(like) != bool(computed):
        raise InputError(f"choose the picture and what to compute from it: {' or '.join(computable)}")
    payload: dict[str, Any] = {"conditions": conditions} if conditions else {}
    return payload | ({"like": like, "computed": computed} if like else {})


def kept_conditions(form: FormData) -> dict[str, str]:
    """The conditions of an earlier picture that stay ticked: name -> hash of the picture."""
    pairs = [str(each).partition("=") for each in form.getlist("kept")]
    return {name[:40]: sha256[:64] for name, _, sha256 in pairs}


@router.post("/paint/settings")
async def bring_back(request: Request, form: Form) -> Response:
    """The page with the settings that a PNG of ours holds."""
    picture = await read_picture(request, form, "picture")
    if picture is None:
        raise InputError("no picture came with the form; choose a PNG that limner painted")
    if number := await run_in_threadpool(picture_with, request, picture.data):
        return go(request, f"/paint?like={number}")
    story = await run_in_threadpool(metadata_of, picture.data)
    given = story.get("settings")
    settings: dict[str, Any] = given if isinstance(given, dict) else {}
    values = {name: settings[name] for name in IN_ADDRESS if plain(settings.get(name))}
    values |= {"prompt": str(story.get("prompt", ""))[:2000]}
    if plain(story.get("seed")):
        values["seed"] = story["seed"]
    return go(request, f"/paint?{urlencode(values)}")


def picture_with(request: Request, data: bytes) -> str:
    """The id of the user's picture with this content, whose row holds more than its file; empty where there is none."""
    sha256 = hashlib.sha256(data).hexdigest()
    wanted = select(Picture.id).where(Picture.owner_id == user_of(request).id, Picture.deleted.is_(None))
    with reading(request) as session:
        return session.scalar(wanted.where(Picture.sha256 == sha256).limit(1)) or ""


def plain(value: Any) -> bool:
    return isinstance(value, (str, int, float)) and not isinstance(value, bool)
