"""Painting for the images API: by the painter of this process, which gathers many users' orders, or by the queue."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from limner.apps.jobs.gather import PaintOrder
from limner.apps.jobs.partials import Partials
from limner.apps.jobs.quotas import check_quota
from limner.apps.jobs.tables import Job, Picture, User, new_id, now
from limner.apps.jobs.wishes import wish
from limner.errors import InputError

from ..errors import ApiError
from ..routes.common import add_job, store
from .answers import Answered, Partial, png_file
from .fields import KEPT_BY_DEFAULT, Edit
from .naming import Chosen, name_concepts, named_concepts

if TYPE_CHECKING:
    from fastapi import Request
    from PIL import Image

    from ..services import Services
    from .fields import Generation

DEFAULT_GUIDANCE = 4.0
MOST_SEED = 2**31 - 16


@dataclass(frozen=True)
class Plan:
    """A request that was checked: its concepts, its prompt with their handles, and its seeds."""

    fields: Generation
    user: User
    concepts: Sequence[Chosen]
    prompt: str
    seed: int
    canvas: str = ""  # SHA-256 of the picture to change
    mask: str = ""  # SHA-256 of its mask, white where it may change
    payload: dict[str, Any] = field(default_factory=dict)

    @property
    def seeds(self) -> list[int]:
        return [self.seed + k for k in range(self.fields.n or 1)]


def plan(services: Services, user: User, fields: Generation, *, canvas: str = "", mask: str = "") -> Plan:
    """Check a request against the user's concepts and quotas."""
    base = services.config.base.name
    with services.database.reading() as session:
        check_quota(session, user, services.database.now(session))
        concepts = named_concepts(session, fields, user, base)
    prompt = name_concepts(fields.prompt, concepts, fields.negative_prompt or "")
    seed = secrets.randbelow(MOST_SEED) if fields.seed is None else fields.seed
    planned = Plan(fields, user, concepts, prompt, seed, canvas, mask)
    planned.payload.update(_payload(planned))
    return planned


def _payload(planned: Plan) -> dict[str, Any]:
    """The request as the payload of a job."""
    fields = planned.fields
    payload: dict[str, Any] = {
        "prompts": [planned.prompt],
        "concepts": [{"id": each.row.id, "scale": each.scale} for each in planned.concepts],
        "seed": planned.seed,
        "count": fields.n or 1,
        "steps": fields.steps,
        "guidance": DEFAULT_GUIDANCE if fields.guidance_scale is None else fields.guidance_scale,
        "negative": fields.negative_prompt or "",
    }
    if planned.canvas:
        assert isinstance(fields, Edit)
        payload |= {"onto": planned.canvas, "start": fields.start}
        payload |= {"where": planned.mask} if planned.mask else {}
    return payload


async def paint(request: Request, services: Services, planned: Plan) -> AsyncIterator[Answered | Partial]:
    """Paint the pictures and yield each, in the order of their seeds, and in a stream partial pictures before it, those
    of later pictures among them. Pictures are stored in the user's gallery."""
    pictures = _by_painter if services.painter is not None else _by_queue
    began = time.perf_counter()
    async for answered in pictures(request, services, planned):
        if isinstance(answered, Answered):
            services.metrics.pictures.inc()
        yield answered
    services.metrics.painting.observe(time.perf_counter() - began)


# ---------------------------------------------------------------------------------------------------------- the painter


async def _by_painter(request: Request, services: Services, planned: Plan) -> AsyncIterator[Answered | Partial]:
    arrived: asyncio.Queue[Partial] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    futures = await run_in_threadpool(
        _order, services, planned, lambda partial: loop.call_soon_threadsafe(arrived.put_nowait, partial)
    )
    job_id, numbers, seconds, started = new_id(), [], 0.0, now()
    try:
        for seed, future in zip(planned.seeds, futures, strict=True):
            async for partial in _patiently(request, services, future, arrived):
                yield partial
            painted = future.result()
            answered = await run_in_threadpool(_store, services, planned, job_id, seed, painted)
            numbers.append(answered.number)
            seconds += painted.painting / max(painted.rows, 1)
            yield answered
    finally:
        for future in futures:
            future.cancel()
        if numbers:
            await asyncio.shield(run_in_threadpool(_account, services, planned, job_id, numbers, seconds, started))


def _order(services: Services, planned: Plan, send: Callable[[Partial], object]) -> list[Future[Any]]:
    """Order each picture; `send` gets the partial pictures of a stream, in the thread that paints. Paths are those of
    the store's local copies, which the server names."""

    def local(sha256: str, suffix: str) -> Any:
        return services.local(sha256, suffix) if sha256 else None

    concepts = [(local(each.row.sha256, ".safetensors"), each.scale) for each in planned.concepts]
    payload = planned.payload
    concept, scale = concepts[0] if concepts else (None, 1.0)
    futures: list[Future[Any]] = []
    for index, seed in enumerate(planned.seeds):
        order = PaintOrder(
            prompt=planned.prompt,
            user=planned.user.id,
            concept=concept,
            scale=scale,
            further=tuple(concepts[1:]),
            seed=seed,
            base=services.config.base,
            steps=payload["steps"],
            guidance=payload["guidance"],
            negative=payload["negative"],
            onto=local(planned.canvas, ".png"),
            where=local(planned.mask, ".png"),
            start=payload.get("start", KEPT_BY_DEFAULT),
        )
        try:
            futures.append(
                services.painter.submit(
                    order, partials=_partials(planned, services.config.base.name, index, seed, send)
                )
            )
        except Exception:
            # whatever refuses an order, nobody will wait for those before it
            for future in futures:
                future.cancel()
            raise
    return futures


def _partials(planned: Plan, base: str, index: int, seed: int, send: Callable[[Partial], object]) -> Partials | None:
    """The partial pictures that a stream wants of one picture."""
    if not planned.fields.stream or not planned.fields.partial_images:
        return None
    settings = {name: planned.payload[name] for name in ("steps", "guidance", "negative")}

    def take(number: int, image: Image.Image) -> None:
        about = {"concepts": [each.row.handle for each in planned.concepts], "base": base, "software": "limner"}
        story = {"prompt": planned.prompt, "seed": seed, **about, "settings": {**settings, "partial": number}}
        send(Partial(image, story, number, index))

    return Partials(planned.fields.partial_images, take)


async def _patiently(
    request: Request, services: Services, future: Future[Any], arrived: asyncio.Queue[Partial]
) -> AsyncIterator[Partial]:
    """Partial pictures as they arrive, until the future is done. Raises its exception, and `ApiError` where it takes
    too long or nobody waits for it any more."""
    waiting = asyncio.wrap_future(future)
    end = time.monotonic() + services.config.limits.wait_seconds
    while not waiting.done() or not arrived.empty():
        following = asyncio.ensure_future(arrived.get())
        try:
            await asyncio.wait({waiting, following}, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
        finally:
            has_come = following.done()
            following.cancel()  # a partial picture that comes now stays in the queue
        if has_come:
            yield following.result()
            continue
        if waiting.done():
            continue
        if await request.is_disconnected():
            raise ApiError(499, "client_gone", "the client closed the connection")
        if time.monotonic() > end:
            raise ApiError(504, "timeout", "the picture was not painted in time; try again, or submit a job")
    waiting.result()


def _store(services: Services, planned: Plan, job_id: str, seed: int, painted: Any) -> Answered:
    """Store a painted picture in the user's gallery."""
    picture = painted.picture
    data = png_file(picture.image, picture.story)
    sha256 = store(services, planned.user, data, "image/png")
    row = Picture(
        id=new_id(),
        owner_id=planned.user.id,
        job_id=job_id,
        sha256=sha256,
        prompt=planned.prompt,
        seed=seed,
        base=picture.base,
        settings=dict(picture.settings),
        concepts=[{"id": each.row.id, "name": each.row.name, "scale": each.scale} for each in planned.concepts],
    )
    with services.database.session() as session:
        session.add(row)
    metrics = {
        "seconds_waited": round(painted.waited, 4),
        "seconds_painting": round(painted.painting, 4),
        "pictures_in_batch": painted.rows,
    }
    return Answered(picture.image, picture.story, row.id, planned.prompt, seed, metrics)


def _account(services: Services, planned: Plan, job_id: str, numbers: list[str], seconds: float, started: Any) -> None:
    """Note the work as a job that is done, so that it counts for the user's quota of seconds."""
    with services.database.session() as session:
        job = Job(
            id=job_id,
            owner_id=planned.user.id,
            kind="paint",
            state="done",
            payload=planned.payload,
            result={"pictures": numbers},
            seconds=seconds,
            attempts=1,
            started=started,
            ended=now(),
        )
        session.add(job)


# ------------------------------------------------------------------------------------------------------------ the queue


async def _by_queue(request: Request, services: Services, planned: Plan) -> AsyncIterator[Answered]:
    """Pictures painted by workers elsewhere, as a job of the queue."""
    number = await run_in_threadpool(lambda: add_job(services, planned.user, "paint", planned.payload))
    end = time.monotonic() + services.config.limits.wait_seconds
    while not (job := await run_in_threadpool(_over, services, number)):
        await asyncio.sleep(0.1)
        gone = await request.is_disconnected()
        if gone or time.monotonic() > end or services.stopping.is_set():
            await run_in_threadpool(_give_up, services, number)
            if gone:
                raise ApiError(499, "client_gone", "the client closed the connection")
            raise ApiError(504, "timeout", "the picture was not painted in time; is a worker running (limner worker)?")
    if job.state != "done":
        raise InputError(job.failure or f"the pictures were {job.state}")
    for row in await run_in_threadpool(_pictures, services, planned.user, number):
        yield await run_in_threadpool(_read, services, row, planned, job)


def _give_up(services: Services, number: str) -> None:
    try:
        wish(services.database, number, "cancel")
    except InputError:
        return  # it is over by now


def _over(services: Services, number: str) -> Job | None:
    with services.database.reading() as session:
        job = session.get(Job, number)
        return job if job is not None and job.state in ("done", "failed", "cancelled", "paused") else None


def _pictures(services: Services, user: User, number: str) -> list[Picture]:
    with services.database.reading() as session:
        wanted = select(Picture).where(Picture.job_id == number, Picture.owner_id == user.id, Picture.deleted.is_(None))
        return list(session.scalars(wanted.order_by(Picture.seed)))


def _read(services: Services, row: Picture, planned: Plan, job: Job) -> Answered:
    from limner.core.decoding import decoded

    image = decoded(services.files.read(row.sha256), name="the picture").rgb
    story = {"prompt": row.prompt, "seed": row.seed, "base": row.base, "settings": row.settings, "software": "limner"}
    story["concepts"] = [each["name"] for each in row.concepts]
    return Answered(image, story, row.id, planned.prompt, row.seed, {"seconds_painting": round(job.seconds, 4)})
