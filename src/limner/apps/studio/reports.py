"""The report on a subject's photos, the result of a job "look", as the page shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from limner.apps.jobs.tables import Reference, Subject

MASKS = {"segmenter": "subject found", "model": "subject found", "given": "your mask"}
CAPTIONS = {"captioner": "captioned for you", "model": "captioned for you"}


def report_view(subject: Subject) -> dict[str, Any]:
    """Photos with their findings, notes about all of them, and the number of faces to choose from."""
    report = subject.report or {}
    photos = [photo_view(photo, reading) for photo, reading in matched(subject)]
    names = {each["key"]: each["filename"] for each in photos}
    notes = [str(each) for each in report.get("notes", ())]
    notes += [f"{names.get(str(name), name)} was not read: {why}" for name, why in report.get("unread", ())]
    notes += [str(report["unclear"])] if report.get("unclear") else []
    for pair in report.get("duplicates", ()):
        twins = [photo for photo in photos if photo["key"] in pair]
        for photo in twins[1:]:
            photo["tags"].append({"text": f"like {twins[0]['filename']}", "bad": True})
    return {
        "photos": photos,
        "notes": notes,
        "usable": sum(photo.in_training for photo in subject.pictures),
        "most_faces": max((photo["faces"] for photo in photos), default=0) if subject.kind == "face" else 0,
        "which": int(report.get("which", 1) or 1),
        "consent": [str(each) for each in report.get("consent", ())],
    }


def matched(subject: Subject) -> list[tuple[Reference, Mapping[str, Any]]]:
    """Each photo with what was read of it."""
    reading = {str(row.get("id")): row for row in (subject.report or {}).get("pictures", ())}
    return [(photo, reading.get(photo.id, {})) for photo in subject.pictures]


def photo_view(photo: Reference, reading: Mapping[str, Any]) -> dict[str, Any]:
    faces = reading.get("faces") or []
    width, height = reading.get("width", 1), reading.get("height", 1)
    boxes = [{**box(reading["crop"]), "kind": "crop"}] if reading.get("crop") else []
    boxes += [{**box(each["box"]), "kind": "chosen" if each.get("chosen") else "face"} for each in faces]
    tags = [MASKS[reading["mask_source"]]] if reading.get("mask_source") in MASKS else []
    tags += [CAPTIONS[reading["caption_source"]]] if reading.get("caption_source") in CAPTIONS else []
    tags += ["turned upright"] if reading.get("orientation", 1) != 1 else []
    bad = ["subject not visible"] if reading.get("visible") is False else []
    bad += [str(each["fault"]) for each in faces if each.get("fault") and (each.get("chosen") or len(faces) == 1)]
    return {
        "id": photo.id,
        "key": str(reading.get("name", photo.filename)),
        "filename": photo.filename or f"photo {photo.position + 1}",
        "caption": photo.caption or str(reading.get("caption", "")),
        "in_training": photo.in_training,
        "mask": mask_of(photo, reading),
        "faces": len(faces),
        "boxes": boxes,
        "view": f"0 0 {width} {height}",
        "tags": [{"text": each, "bad": False} for each in tags] + [{"text": each, "bad": True} for each in bad],
    }


def mask_of(photo: Reference, reading: Mapping[str, Any]) -> str:
    """SHA-256 of a photo's mask: the user's own, else the one that the report names."""
    return photo.mask or str(reading.get("mask") or "")


def box(edges: Any) -> dict[str, float]:
    left, top, right, bottom = (float(each) for each in edges)
    return {"x": left, "y": top, "width": right - left, "height": bottom - top}
