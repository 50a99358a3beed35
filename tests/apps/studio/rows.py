"""A database with a row of everything that the pages show, without any work done."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image, ImageDraw

from limner.apps.api.services import Services
from limner.apps.jobs import uploads
from limner.apps.jobs.tables import (
    Board,
    BoardPicture,
    Concept,
    Conversation,
    Job,
    JobEvent,
    Picture,
    Reference,
    Subject,
    Turn,
    User,
    new_id,
)

HOSTILE = "<script>alert('x')</script>\"&{{7*7}}"
SCORES = {"with it": {"F": 0.81, "T": 0.92, "H": 0.86, "identity": 0.72, "copy_index": -0.1, "diagnosis": "overfit"}}


def png(colour: str, size: int = 48, *, mode: str = "RGB") -> bytes:
    """A picture of a disc on a plain ground."""
    image = Image.new(mode, (size, size), colour)
    ImageDraw.Draw(image).ellipse((size // 4, size // 4, 3 * size // 4, 3 * size // 4), fill="white")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def store(services: Services, user: User, data: bytes) -> str:
    return uploads.store(services.database, services.files, data, owner=user.id, media_type="image/png")


def fill(
    services: Services, user: User, *, words: str = "rex on the beach", pictures: list[bytes] | None = None
) -> dict[str, str]:
    """Add a subject, a concept, jobs of each state, pictures, a board and a conversation; return their ids by name.

    words: the text wherever people write one
    pictures: files in the place of coloured discs
    """
    files = pictures or [png(colour) for colour in ("#a33", "#3a7", "#37a", "#a83")]
    hashes = [store(services, user, each) for each in files]
    mask = store(services, user, png("black", mode="L"))
    weights = uploads.store(
        services.database,
        services.files,
        b"weights of " + words.encode(),
        owner=user.id,
        media_type="application/octet-stream",
    )
    rows: dict[str, Any] = {"learn": _learn_job(user, words), "queued": _job(user, "paint", "queued", words)}
    rows |= {
        "second": _job(user, "paint", "queued", words),
        "failed": _job(user, "paint", "failed", words, failure=words),
    }
    rows |= {
        "compare": _job(user, "compare", "done", words, prompts=["{} in the snow"]),
        "converse": _job(user, "converse", "running", words),
    }
    rows["subject"] = Subject(
        id=new_id(), owner_id=user.id, name="rex", noun="dog", kind="object", report={"notes": [words]}
    )
    rows["concept"] = _concept(user, rows, weights)
    rows["conversation"] = Conversation(id=new_id(), owner_id=user.id, title=words)
    rows["board"] = Board(id=new_id(), owner_id=user.id, name=words[:60])
    with services.database.session() as session:
        rows["learn"].payload = {**rows["learn"].payload, "subject": rows["subject"].id}
        rows["compare"].payload = {**rows["compare"].payload, "concepts": [{"id": rows["concept"].id, "scale": 1.0}]}
        rows["converse"].payload = {"conversation": rows["conversation"].id, "words": words}
        session.add(rows["subject"])
        session.flush()
        session.add_all(rows.values())
        session.flush()
        session.add_all(_photos(rows["subject"].id, hashes[:3], mask, words))
        painted = _pictures(session, user, rows, hashes, words)
        session.add(BoardPicture(board_id=rows["board"].id, picture_id=painted[0].id))
        _turns(session, rows["conversation"], painted, words)
        rows["concept"].states = _states(weights, painted)
        rows["picture"] = painted[0]
        photo = session.query(Reference).filter_by(subject_id=rows["subject"].id).first()
        assert photo is not None
        return {name: row.id for name, row in rows.items()} | {"photo": photo.id}


def _concept(user: User, rows: dict[str, Any], weights: str) -> Concept:
    return Concept(
        id=new_id(), owner_id=user.id, name="rex", handle="<rex>", noun="dog", method="lora_dreambooth", base="pocket",
        sha256=weights, num_bytes=1_300_000, subject_id=rows["subject"].id, job_id=rows["learn"].id, scores=SCORES,
        header={"settings": {"steps": 200, "lr": 0.001}, "cost": {"seconds": 31.5}, "seed": 0},
        diagnosis={"label": "overfit", "because": ["F 0.81"]},
        certificate=[{"what": "its tensors are finite numbers", "ok": True, "finding": "32 tensors"}],
    )  # fmt: skip


def _photos(subject: str, hashes: list[str], mask: str, words: str) -> list[Reference]:
    """Reference images, all but the first with a mask."""
    return [
        Reference(
            subject_id=subject,
            position=place,
            sha256=sha256,
            filename=f"{words}.jpg",
            caption=words,
            mask=mask if place else "",
        )
        for place, sha256 in enumerate(hashes)
    ]


def _states(weights: str, painted: list[Picture]) -> list[dict[str, Any]]:
    """Three states of a training, the last of which is the concept's file."""
    return [
        {
            "done": 10 * (k + 1),
            "sha256": weights if k == 2 else "0" * 64,
            "pictures": [painted[k].id],
            "scores": {"likeness": 0.5 + k / 10, "prompt_accuracy": 0.9},
        }
        for k in range(3)
    ]


def _job(user: User, kind: str, state: str, words: str, **more: Any) -> Job:
    payload = {"prompts": more.pop("prompts", [words]), "seed": 3}
    return Job(id=new_id(), owner_id=user.id, kind=kind, state=state, payload=payload, progress={}, **more)


def _learn_job(user: User, words: str) -> Job:
    job = _job(user, "learn", "running", words)
    job.payload, job.progress = (
        {"goal": "balanced", "settings": {"steps": 60}, "method": "lora_dreambooth"},
        {"done": 30, "total": 60, "eta": 42.0},
    )
    return job


def _pictures(session: Any, user: User, rows: dict[str, Any], hashes: list[str], words: str) -> list[Picture]:
    """Pictures in the gallery, of a comparison, and samples of the training with their events."""
    concepts = [{"id": rows["concept"].id, "name": "rex", "scale": 1.0}]
    scores = {"likeness": 0.71, "prompt_accuracy": 0.9}
    about = [("gallery", rows["queued"].id, words)] * 3 + [("compare", rows["compare"].id, "<rex> in the snow")] * 2
    about += [("sample", rows["learn"].id, words)] * 3
    painted = [
        Picture(id=new_id(), owner_id=user.id, job_id=job, sha256=hashes[k % len(hashes)], prompt=prompt, seed=k, base="pocket",
                settings={"steps": 25, "guidance": 4.0, "negative": words}, concepts=concepts, scores=scores, purpose=purpose)
        for k, (purpose, job, prompt) in enumerate(about)
    ]  # fmt: skip
    painted[4].concepts = []
    session.add_all(painted)
    session.flush()
    learn = rows["learn"].id
    events: list[dict[str, Any]] = [{"event": "message", "text": words}]
    events += [
        {"event": "update_done", "done": k, "total": 60, "stage": 0, "losses": {"denoising": 1 / (1 + k)}, "eta": 9.0}
        for k in range(1, 31)
    ]
    events += [
        {
            "event": "sample_painted",
            "done": 10 * (k + 1),
            "pictures": [painted[5 + k].id],
            "prompts": [words],
            "seed": 0,
            "scores": [{"likeness": 0.4 + 0.1 * k}],
        }
        for k in range(3)
    ]
    session.add_all(JobEvent(job_id=learn, record=each) for each in events)
    return painted


def _turns(session: Any, conversation: Conversation, painted: list[Picture], words: str) -> None:
    """Two turns, the second with a branch beside it and a question."""
    first = Turn(id=new_id(), conversation_id=conversation.id, words=words, picture_id=painted[0].id, state={})
    session.add(first)
    session.flush()
    second = Turn(id=new_id(), conversation_id=conversation.id, parent_id=first.id, words="make it night", answer=words,
                  picture_id=painted[1].id, state={"question": {"text": words, "choices": [{"text": words}]}})  # fmt: skip
    session.add_all(
        [second, Turn(id=new_id(), conversation_id=conversation.id, parent_id=first.id, words="in the snow", state={})]
    )
    conversation.current_id = second.id
