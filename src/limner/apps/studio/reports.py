"""What was read of a subject's photos, for the page: a tag for each finding."""

from __future__ import annotations

from typing import Any

from limner.apps.jobs.tables import Reference, Subject


def report_view(subject: Subject) -> dict[str, Any]:
    """Photos with their findings, notes about all of them, and the number of faces to choose from."""
    report = subject.report or {}
    by_id = {
        str(row.get("id", row.get("reference", ""))): row for row in report.get("pictures", []) if isinstance(row, dict)
    }
    photos = [photo_view(photo, by_id.get(photo.id, {})) for photo in subject.pictures]
    return {
        "photos": photos,
        "notes": [str(each) for each in report.get("notes", [])],
        "usable": sum(photo.kept for photo in subject.pictures),
        "most_faces": max((photo["faces"] for photo in photos), default=0) if subject.kind == "face" else 0,
        "which": int(report.get("which", 1) or 1),
    }


def photo_view(photo: Reference, found: dict[str, Any]) -> dict[str, Any]:
    faces = found.get("faces") or []
    return {
        "id": photo.id,
        "filename": photo.filename,
        "caption": photo.caption or str(found.get("caption", "")),
        "kept": photo.kept,
        "mask": bool(photo.mask),
        "faces": len(faces),
        "boxes": [],
        "view": "0 0 1 1",
        "tags": [],
    }
