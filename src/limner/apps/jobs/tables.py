"""The tables of the studio's database (SQLAlchemy 2): users, subjects, concepts, jobs, pictures, conversations, audit.

An id is 32 hexadecimal characters. Times are aware and in UTC. Files are named by the SHA-256 of their content and lie
in the file store (`files.py`); no table holds a path.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from .columns import HASH, ID
from .columns import Table as Table
from .columns import new_id as new_id
from .columns import now as now


class User(Table):
    """A person with an account. A quota of 0 means no limit."""

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(ID, primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    role: Mapped[str] = mapped_column(String(16), default="member")  # "admin" or "member"
    disabled: Mapped[bool] = mapped_column(Boolean, default=False)
    most_jobs: Mapped[int] = mapped_column(Integer, default=0)  # jobs that wait, run or are paused
    most_seconds: Mapped[int] = mapped_column(Integer, default=0)  # seconds of work within 24 hours
    most_bytes: Mapped[int] = mapped_column(BigInteger, default=0)  # bytes of the files that the user keeps
    created: Mapped[datetime] = mapped_column(default=now)


class Token(Table):
    """A secret that a program or a browser logs in with; only its SHA-256 is kept."""

    __tablename__ = "tokens"

    id: Mapped[str] = mapped_column(ID, primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    sha256: Mapped[str] = mapped_column(HASH, unique=True)
    label: Mapped[str] = mapped_column(String(64), default="")
    created: Mapped[datetime] = mapped_column(default=now)
    last_used: Mapped[datetime | None] = mapped_column(default=None)
    revoked: Mapped[datetime | None] = mapped_column(default=None)


class File(Table):
    """Content in the file store."""

    __tablename__ = "files"

    sha256: Mapped[str] = mapped_column(HASH, primary_key=True)
    num_bytes: Mapped[int] = mapped_column(BigInteger)
    media_type: Mapped[str] = mapped_column(String(64))
    owner_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)  # the user who stored it first
    created: Mapped[datetime] = mapped_column(default=now)


class Upload(Table):
    """A user who sent content that is stored, be it the first to do so or not."""

    __tablename__ = "uploads"

    sha256: Mapped[str] = mapped_column(ForeignKey("files.sha256", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), primary_key=True)


class Subject(Table):
    """A subject to teach: reference images, a class and a handle."""

    __tablename__ = "subjects"

    id: Mapped[str] = mapped_column(ID, primary_key=True, default=new_id)
    owner_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    name: Mapped[str] = mapped_column(String(64))  # "rex"; the handle is "<rex>"
    noun: Mapped[str] = mapped_column(String(64))  # the class
    kind: Mapped[str] = mapped_column(String(16), default="object")
    may: Mapped[bool] = mapped_column(Boolean, default=False)  # for a face: the person consents
    person: Mapped[str] = mapped_column(String(128), default="")
    guardian: Mapped[str] = mapped_column(String(128), default="")
    report: Mapped[dict[str, Any]] = mapped_column(default=dict)  # report of what was read: result of a "look" job
    created: Mapped[datetime] = mapped_column(default=now)
    deleted: Mapped[datetime | None] = mapped_column(default=None)
    pictures: Mapped[list[Reference]] = relationship(
        order_by="Reference.position", cascade="all, delete-orphan", lazy="selectin"
    )


class Reference(Table):
    """A reference image of a subject."""

    __tablename__ = "references"

    id: Mapped[str] = mapped_column(ID, primary_key=True, default=new_id)
    subject_id: Mapped[str] = mapped_column(ForeignKey("subjects.id"), index=True)
    position: Mapped[int] = mapped_column(Integer, default=0)
    sha256: Mapped[str] = mapped_column(HASH)
    filename: Mapped[str] = mapped_column(String(255), default="")  # for people to recognise it; it opens nothing
    caption: Mapped[str] = mapped_column(Text, default="")
    mask: Mapped[str] = mapped_column(HASH, default="")  # white where the subject is
    in_training: Mapped[bool] = mapped_column(Boolean, default=True)  # False: left out of training


class Concept(Table):
    """A learned subject; its file is a limner concept (safetensors)."""

    __tablename__ = "concepts"

    id: Mapped[str] = mapped_column(ID, primary_key=True, default=new_id)
    owner_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    name: Mapped[str] = mapped_column(String(64), index=True)  # unique among the owner's; the model name of the API
    handle: Mapped[str] = mapped_column(String(128))
    noun: Mapped[str] = mapped_column(String(64), default="")
    kind: Mapped[str] = mapped_column(String(16), default="object")
    method: Mapped[str] = mapped_column(String(64), default="")
    base: Mapped[str] = mapped_column(String(255), default="")
    sha256: Mapped[str] = mapped_column(HASH)
    num_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    subject_id: Mapped[str | None] = mapped_column(ForeignKey("subjects.id"), default=None)
    job_id: Mapped[str | None] = mapped_column(ID, default=None, index=True)  # the job that learned it
    header: Mapped[dict[str, Any]] = mapped_column(default=dict)  # its file's: settings, cost, seed, versions
    scores: Mapped[dict[str, Any]] = mapped_column(default=dict)
    diagnosis: Mapped[dict[str, Any]] = mapped_column(default=dict)  # label, finding, advice
    certificate: Mapped[list[Any]] = mapped_column(default=list)  # checks: what, ok, finding
    states: Mapped[list[Any]] = mapped_column(default=list)  # states of its training: done, sha256, picture ids, scores
    created: Mapped[datetime] = mapped_column(default=now)
    deleted: Mapped[datetime | None] = mapped_column(default=None)


class Share(Table):
    """The permission of another user to see a concept and paint with it."""

    __tablename__ = "shares"
    __table_args__ = (UniqueConstraint("concept_id", "user_id"),)

    id: Mapped[str] = mapped_column(ID, primary_key=True, default=new_id)
    concept_id: Mapped[str] = mapped_column(ForeignKey("concepts.id"), index=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    created: Mapped[datetime] = mapped_column(default=now)


class Job(Table):
    """Work for a worker.

    state: "queued", "running", "paused", "done", "failed" or "cancelled". A running job belongs to `worker` until
    `lease`; afterwards another worker may take it.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("owner_id", "key"),
        Index("jobs_waiting", "state", "position"),
    )

    id: Mapped[str] = mapped_column(ID, primary_key=True, default=new_id)
    owner_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16), default="queued")
    position: Mapped[float] = mapped_column(default=0.0)  # the least is taken first
    payload: Mapped[dict[str, Any]] = mapped_column(default=dict)
    key: Mapped[str | None] = mapped_column(String(128), default=None)  # idempotency key
    wishes: Mapped[dict[str, Any]] = mapped_column(default=dict)  # wishes of people: {"pause": 1, "sample": 2}
    progress: Mapped[dict[str, Any]] = mapped_column(default=dict)  # done, total, eta, losses
    result: Mapped[dict[str, Any]] = mapped_column(default=dict)
    failure: Mapped[str] = mapped_column(Text, default="")
    checkpoint: Mapped[dict[str, Any]] = mapped_column(default=dict)  # see `checkpoints.JobFolder.store`
    worker: Mapped[str] = mapped_column(String(128), default="")
    lease: Mapped[datetime | None] = mapped_column(default=None)
    claimed: Mapped[datetime | None] = mapped_column(default=None)  # when the worker took it
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    seconds: Mapped[float] = mapped_column(default=0.0)  # seconds of work before `claimed`
    created: Mapped[datetime] = mapped_column(default=now)
    started: Mapped[datetime | None] = mapped_column(default=None)
    ended: Mapped[datetime | None] = mapped_column(default=None, index=True)


class JobEvent(Table):
    """An event of a job, as its workflow yielded it (`limner.workflows.events`)."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    time: Mapped[datetime] = mapped_column(default=now)
    record: Mapped[dict[str, Any]] = mapped_column(default=dict)


class Picture(Table):
    """A painted picture. Its PNG holds the same settings."""

    __tablename__ = "pictures"

    id: Mapped[str] = mapped_column(ID, primary_key=True, default=new_id)
    owner_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    job_id: Mapped[str | None] = mapped_column(ID, default=None, index=True)
    sha256: Mapped[str] = mapped_column(HASH)
    prompt: Mapped[str] = mapped_column(Text, default="")
    seed: Mapped[int] = mapped_column(Integer, default=0)
    base: Mapped[str] = mapped_column(String(255), default="")
    settings: Mapped[dict[str, Any]] = mapped_column(default=dict)
    concepts: Mapped[list[Any]] = mapped_column(default=list)  # [{"id", "name", "scale"}]
    parent_id: Mapped[str | None] = mapped_column(ID, default=None)  # picture that it was made from
    scores: Mapped[dict[str, Any]] = mapped_column(default=dict)  # likeness, prompt accuracy
    favourite: Mapped[bool] = mapped_column(Boolean, default=False)
    # "gallery", "sample", "preview", "compare" or "state"
    purpose: Mapped[str] = mapped_column(String(16), default="gallery")
    created: Mapped[datetime] = mapped_column(default=now)
    deleted: Mapped[datetime | None] = mapped_column(default=None)


class Board(Table):
    """A named collection of pictures."""

    __tablename__ = "boards"
    __table_args__ = (UniqueConstraint("owner_id", "name"),)

    id: Mapped[str] = mapped_column(ID, primary_key=True, default=new_id)
    owner_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    name: Mapped[str] = mapped_column(String(64))
    created: Mapped[datetime] = mapped_column(default=now)


class BoardPicture(Table):
    """A picture on a board."""

    __tablename__ = "board_pictures"

    board_id: Mapped[str] = mapped_column(ForeignKey("boards.id"), primary_key=True)
    picture_id: Mapped[str] = mapped_column(ForeignKey("pictures.id"), primary_key=True)


class Conversation(Table):
    """A conversation about pictures: a tree of turns."""

    __tablename__ = "conversations"

    id: Mapped[str] = mapped_column(ID, primary_key=True, default=new_id)
    owner_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    title: Mapped[str] = mapped_column(String(128), default="")
    current_id: Mapped[str | None] = mapped_column(ID, default=None)  # the turn that the next one follows
    created: Mapped[datetime] = mapped_column(default=now)


class Turn(Table):
    """A turn of a conversation: words, the state they lead to, and its picture."""

    __tablename__ = "turns"

    id: Mapped[str] = mapped_column(ID, primary_key=True, default=new_id)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"), index=True)
    parent_id: Mapped[str | None] = mapped_column(ID, default=None)
    words: Mapped[str] = mapped_column(Text, default="")
    answer: Mapped[str] = mapped_column(Text, default="")  # a question back, or a line about the change
    state: Mapped[dict[str, Any]] = mapped_column(default=dict)
    picture_id: Mapped[str | None] = mapped_column(ID, default=None)
    created: Mapped[datetime] = mapped_column(default=now)


class Answer(Table):
    """The answer to a POST with an idempotency key: the same request gets it again."""

    __tablename__ = "answers"
    __table_args__ = (UniqueConstraint("owner_id", "route", "key"),)

    id: Mapped[str] = mapped_column(ID, primary_key=True, default=new_id)
    owner_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    route: Mapped[str] = mapped_column(String(128))
    key: Mapped[str] = mapped_column(String(128))
    request_sha256: Mapped[str] = mapped_column(HASH)
    status: Mapped[int] = mapped_column(Integer)
    body: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created: Mapped[datetime] = mapped_column(default=now, index=True)


class Audit(Table):
    """An act of a user, and its time."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    time: Mapped[datetime] = mapped_column(default=now, index=True)
    user_id: Mapped[str] = mapped_column(ID, default="")
    action: Mapped[str] = mapped_column(String(64))  # "concept.share", "token.create"
    about: Mapped[str] = mapped_column(String(64), default="")  # id of what it was done to
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict)
    address: Mapped[str] = mapped_column(String(64), default="")
