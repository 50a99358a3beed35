"""Events of a running job -> stored files and rows.

Pictures, samples and states are stored as soon as they are painted, under ids that follow from the job and their place
in it: a job that is interrupted and resumed stores the same rows again, not more of them. Concepts appear when the job
is done. No path of the worker's machine leaves this module.
"""

from __future__ import annotations

import logging
import mimetypes
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from limner.core.artefact import copy_names
from limner.core.choices import picture_file
from limner.errors import ChoiceNeeded
from limner.workflows import events as ev
from limner.workflows.requests import PaintRequest

from .concept_rows import add_concepts, concept_id, diagnosis_of, place_states, update_concept
from .database import Database
from .files import Files, hash_of
from .heartbeat import AWAY
from .layout import CHOICES, OUTPUTS, kept_pictures
from .made import Made
from .payloads import Plan
from .pictures import picture_row
from .tables import Job, Subject
from .turns import add_turn
from .uploads import add_file

log = logging.getLogger("limner.jobs")
Row = Callable[[Session], object]
"""Adds or changes a row in a session that the caller commits."""
LEARNS = ("learn", "import", "merge")
PLACES = ("page", "cells", "states", "concept", "pictures")
"""Fields of workflows' results that hold paths; rows stand in their place."""


class Results(Made):
    """Stores what a job makes. `rows` are to be added in the next transaction about the job."""

    def __init__(
        self, job: Job, plan: Plan, database: Database, files: Files, folder: Path, *, num_pictures: int = 0
    ) -> None:
        super().__init__(job, plan)
        self.database, self.files, self.folder = database, files, folder
        for state in job.progress.get("states", ()):  # saved before the job was interrupted
            self.states[state["done"]] = {**state, "pictures": [], "scores": {}}
        self.num_pictures = num_pictures  # pictures of a job to paint that an earlier worker stored
        self.rows: list[Row] = []
        self.result: dict[str, Any] = {}
        self.cells: list[dict[str, Any]] = []
        self.report: dict[str, Any] = {}
        self.reply: dict[str, Any] = {}  # the reply of a conversation

    # ------------------------------------------------------------------------------------------------------ each event

    def take(self, event: ev.Event) -> dict[str, Any]:
        """Store what an event brings, and return its record without paths: pictures by their ids, files by hash."""
        record = self.shown(event.record)
        more: dict[str, Any] = {}
        match event:
            case ev.SamplePainted():
                more = {"pictures": self._samples(event)}
                record.pop("paths")
            case ev.PictureSaved():
                more = {"picture": self._painted(event)}
                record.pop("path")
            case ev.StateSaved():
                more = {"sha256": self._state(event)}
                record.pop("path")
            case ev.PreviewsPainted():
                more = {"pictures": [self.store_picture(p, "preview", self.of_file()) for p in event.pictures]}
                record.pop("page")
            case ev.ConceptSaved():
                self.concepts[event.path.stem] = event.path
            case ev.ConceptScored():
                self.scores, self.diagnosis = dict(event.scores), diagnosis_of(event.diagnosis)
            case ev.CheckDone():
                self.certificate.append({"what": event.what, "ok": event.ok, "finding": event.finding})
            case ev.PictureScored():
                record["picture"] = self.job.payload["pictures"][event.number]
                record.pop("path")
            case ev.PhotoProtected():
                record["photo"] = self._filename(event.photo)
                record.pop("path")
            case ev.StatePainted():
                more = {"picture": self._state_painted(event)}
                record.pop("path")
            case ev.CellPainted():
                more = {"picture": self._cell(event)}
                record.pop("path")
            case ev.SubjectRead():
                record = self._looked(event)
            case ev.RunDone():
                self._done(event)
            case _ if record["event"] == "turn_done":
                record = self._answered(event)
        return {**record, **more}

    def asked(self, choice: ChoiceNeeded) -> dict[str, Any]:
        """Store the pictures that a person is to choose among, and return the event that shows them."""
        places = [picture_file(choice.folder, number) for number in range(len(choice.prompts))]
        ids = [
            self.store_picture(place, "sample", self.of_file(), prompt=prompt)
            for place, prompt in zip(places, choice.prompts, strict=True)
        ]
        folder = str(choice.folder.relative_to(self.folder / CHOICES))
        return {"event": "choice_needed", "folder": folder, "keep": choice.keep, "pictures": ids}

    def prepare(self) -> None:
        """Store the concepts' files as they are at the end: before the transaction of `end`, which is short."""
        self.stored = {stem: self.store(path) for stem, path in self.concepts.items()}

    def end(self, session: Session, job: Job) -> dict[str, Any]:
        """Add the last rows, in the transaction that ends the job, and return the job's result."""
        self.flush(session)
        result = dict(self.result)
        if self.job.kind in LEARNS and self.concepts:
            result["concepts"] = add_concepts(session, self)
        elif self.job.kind == "converse" and self.reply:
            result = add_turn(session, self, self.reply, add_concepts(session, self))
        elif self.job.kind in ("score", "check"):
            update_concept(session, self)
        elif self.job.kind == "states":
            place_states(session, self)
        elif self.job.kind == "look" and self.plan.subjects:
            self._report(session)
        if self.cells:
            result["cells"] = self.cells
        if self.num_pictures:
            result["pictures"] = [self.id(f"picture {number}") for number in range(self.num_pictures)]
        return result

    def flush(self, session: Session) -> None:
        """Add the rows that wait."""
        for add in self.rows:
            add(session)
        self.rows.clear()

    # --------------------------------------------------------------------------------------------------------- storing

    def store(self, path: Path) -> str:
        """Store a file that the workflow wrote, and return its SHA-256."""
        media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        num_bytes, owner = path.stat().st_size, self.job.owner_id

        def add(session: Session) -> None:
            add_file(session, sha256, num_bytes, owner=owner, media_type=media_type, counted=False)

        sha256 = hash_of(path)
        # the row comes first, and is young: the sweep then leaves content that lies there already, and finds content
        # that a worker stored just before it was killed
        try:
            with self.database.session() as session:
                add(session)
        except AWAY as error:
            log.warning("the row of a file of job %s waits for the database: %s", self.job.id, error)
            self.rows.append(add)
        self.files.put_file(path)
        return sha256

    def store_picture(self, path: Path, purpose: str, concepts: Sequence[Mapping[str, Any]], **about: Any) -> str:
        """Store a picture with its row, and return its id, which follows from the job and the picture's place."""
        place = about.pop("place", None) or str(path.relative_to(self.folder))
        sha256, id = self.store(path), self.id(place)
        row = picture_row(path, id=id, sha256=sha256, job=self.job, purpose=purpose, concepts=concepts, **about)
        self.rows.append(lambda session: session.merge(row))
        return id

    def shown(self, value: Any) -> Any:
        """A value without the path of the job's folder."""
        if isinstance(value, Mapping):
            return {key: self.shown(each) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.shown(each) for each in value]
        return value.replace(f"{self.folder}/", "") if isinstance(value, str) else value

    def of_plan(self) -> list[dict[str, Any]]:
        """The concepts that the payload names, as rows of pictures hold them."""
        rows = zip(self.plan.concepts, self.plan.scales, strict=True)
        return [{"id": row.id, "name": row.name, "scale": scale} for row, scale in rows]

    def of_file(self, stem: str = "") -> list[dict[str, Any]]:
        """The concept that this job learns, which has no row yet."""
        stem = stem or next(iter(self.concepts), "") or getattr(self.plan.request, "name", "")
        return [{"id": concept_id(self, stem), "name": stem, "scale": 1.0}]

    def _samples(self, event: ev.SamplePainted) -> list[str]:
        ids = []
        for k, path in enumerate(event.paths):
            scores = dict(event.scores[k]) if k < len(event.scores) else {}
            prompt = event.prompts[k] if k < len(event.prompts) else ""
            about = {"prompt": prompt, "seed": event.seed, "scores": scores, "settings": {"done": event.done}}
            ids.append(self.store_picture(path, "sample", self.of_file(), **about))
        return ids

    def _painted(self, event: ev.PictureSaved) -> str:
        parent = self.job.payload.get("parent")
        place, self.num_pictures = f"picture {self.num_pictures}", self.num_pictures + 1
        about = {"prompt": event.prompt, "seed": event.seed, "parent": parent, "place": place, "scores": event.scores}
        return self.store_picture(event.path, "gallery", self.of_plan(), settings=self._shown_to_it(), **about)

    def _shown_to_it(self) -> dict[str, Any]:
        """The pictures that a painting was conditioned on, by the hash of their content, which is kept with it."""
        request = self.plan.request
        if not isinstance(request, PaintRequest):
            return {}
        given = {name: self.plan.files[path] for name, path in request.conditions.items()}
        shown: dict[str, Any] = {"condition_pictures": given} if given else {}
        if request.like:
            shown |= {"computed_from": self.plan.files[request.like], "computed": list(request.computed)}
        return shown

    def _state(self, event: ev.StateSaved) -> str:
        sha256 = self.store(event.path)
        self.states[event.done] = {"done": event.done, "sha256": sha256, "pictures": [], "scores": {}}
        return sha256

    def _state_painted(self, event: ev.StatePainted) -> str:
        about = {"prompt": event.prompt, "seed": event.seed, "scores": event.scores, "settings": {"done": event.done}}
        id = self.store_picture(event.path, "state", self.of_plan(), **about)
        state = self.states.setdefault(event.done, {"done": event.done, "pictures": [], "scores": dict(event.scores)})
        state["pictures"].append(id)
        return id

    def _cell(self, event: ev.CellPainted) -> str:
        concept = self._concept_in(event.concept)
        concepts = [one for one in self.of_plan() if one["id"] == concept][:1]
        about = {"prompt": event.text, "seed": event.seed, "scores": event.scores, "settings": {"asked": event.prompt}}
        id = self.store_picture(event.path, "compare", concepts, **about)
        cell = {"concept": concept, "prompt": event.prompt, "seed": event.seed, "picture": id}
        self.cells.append({**cell, "scores": dict(event.scores), "row": event.row, "column": event.column})
        return id

    def _filename(self, name: str) -> str:
        """The user's own name of a photograph, whose file in the job's folder has its number as name."""
        references = kept_pictures(self.plan.subjects[0])
        return references[int(Path(name).stem)].filename or name

    def _answered(self, event: Any) -> dict[str, Any]:
        """The reply to a sentence: its picture by id, its new concepts by name."""
        self.reply = self.shown(event.record)
        picture = self.store_picture(event.picture, "gallery", self.of_plan()) if event.picture is not None else None
        self.reply["picture"] = picture
        self.concepts |= {path.stem: path for path in event.concepts}
        self.reply["references"] = {p.parent.name: self.store(p) for p in event.references}
        return {name: self.reply[name] for name in ("event", "turn", "is_new", "answer", "choices", "picture")}

    def _concept_in(self, path: str) -> str:
        """The id of the concept of a file, whose name holds it; empty for the plain base."""
        return next((row.id for row in self.plan.concepts if row.id in path), "")

    # ---------------------------------------------------------------------------------------------------------- the end

    def _looked(self, event: ev.SubjectRead) -> dict[str, Any]:
        """The report on a subject: its pictures by the ids of their references, masks and crops by hash."""
        references = kept_pictures(self.plan.subjects[0]) if self.plan.subjects else ()
        record = dict(event.record)
        for row, read in zip(record["pictures"], event.pictures, strict=True):
            number = int(Path(read.name).stem) if Path(read.name).stem.isdecimal() else -1
            row["id"] = references[number].id if 0 <= number < len(references) else ""
            row["filename"] = references[number].filename if 0 <= number < len(references) else read.name
            row["picture"] = self.store(read.picture)
            row["mask"] = self.store(read.mask) if read.mask is not None else ""
        self.report = self.shown({name: value for name, value in record.items() if name != "event"})
        return {"event": record["event"], "num_pictures": len(event.pictures), "notes": list(event.notes)}

    def _report(self, session: Session) -> None:
        row = session.get(Subject, self.plan.subjects[0].id)
        if row is not None and self.report:
            which = {"which": row.report["which"]} if "which" in row.report else {}
            row.report = {**self.report, **which}

    def _done(self, event: ev.RunDone) -> None:
        result = {name: value for name, value in event.result.items() if name not in PLACES}
        if self.job.kind == "look":
            result = {}
        if self.job.kind == "compare":
            result["rows"] = [{**row, "concept": self._concept_in(row["concept"])} for row in event.result["rows"]]
        for row, picture in zip(result.get("scored", ()), self.job.payload.get("pictures", ()), strict=False):
            row["picture"] = picture
        self.result = {**self.shown(result), **({"failure": event.failure} if event.failure else {})}
        paths = [Path(path) for path in event.result.get("files", ())]
        if self.job.kind == "publish":
            paths = [path for path in sorted(Path(event.result["folder"]).rglob("*")) if path.is_file()]
            self.result.pop("folder", None)
        if self.job.kind == "protect":
            self._protected(event.result["photos"])
        if self.job.kind in ("export", "publish"):
            self.result["files"] = self._files(paths)

    def _protected(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """The copies of photographs as files, under the names that the user gave the photographs."""
        photos, files = [self._filename(row["photo"]) for row in rows], self._files([Path(row["path"]) for row in rows])
        self.result["files"] = [{**each, "name": name} for each, name in zip(files, copy_names(photos), strict=True)]
        self.result["photos"] = [
            {"photo": photo, "largest": row["largest"], "psnr": row["psnr"]}
            for photo, row in zip(photos, rows, strict=True)
        ]

    def _files(self, paths: Sequence[Path]) -> list[dict[str, Any]]:
        """Files that the workflow wrote for downloading, stored."""
        root = self.folder / OUTPUTS
        return [
            {"name": str(path.relative_to(root)), "sha256": self.store(path), "bytes": path.stat().st_size}
            for path in paths
            if path.is_file()
        ]
