"""Readers of payloads, one for each kind of job. Each names the fields that a client may give, and no other is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from limner.core.subject import check_name
from limner.errors import InputError
from limner.workflows.photo import swap_prompt

from .conversations import PAYLOAD, read_turn
from .layout import INPUTS
from .reading import Reading
from .tables import Picture, Subject

Reader = Callable[[Reading, bool], None]
LEARN = (
    *("method", "settings", "seed", "goal", "budget", "hold_out", "keep", "stop", "sample_every", "sample_prompts"),
    *("states", "preview", "score", "check", "slots", "mixed", "which"),
)
STATES = 4
"""States of a training that are saved where the payload names no number, to choose among afterwards."""
MOST_SEEDS = 16
PAINT = (
    *("prompts", "seed", "count", "steps", "guidance", "guide_between", "subject_from", "sampler", "negative", "start"),
    *("any_base", "views", "compose", "background", "computed", "frames", "score"),
)
SCORE = ("prompts", "seed", "count")
CHECK = ("seed", "steps", "any_base")
EXPORT = ("to", "rank")
PUBLISH = ("to", "licence", "private", "upload", "formats")
SWAP = (
    *("prompt", "source_noun", "source_prompt", "how", "settings", "seed", "count", "steps", "guidance", "negative"),
    "any_base",
)
SWAP_WORDS = ("prompt", "source_noun", "source_prompt")
TRY_ON = ("noun", "method", "seed", "count", "steps", "guidance")
PROTECT = ("method", "settings", "seed")
COMPARE = ("prompts", "steps", "guidance", "negative", "any_base")
ESTIMATE = ("goal", "method", "settings", "kind", "noun", "num_pictures", "budget", "photographs", "measure")
STRIP = ("prompts", "seed", "steps", "guidance")
"""Fields of a job of each kind that are copied as they are; `STRIP` is that of "states"."""


def _learn(reading: Reading, again: bool) -> None:
    reading.take(*LEARN)
    ids = reading.payload.get("subjects") or [reading.payload.get("subject")]
    if reading.payload.get("subjects") and reading.payload.get("subject"):
        raise InputError("name one subject as subject, or several as subjects, not both")
    subjects = [reading.subject(each) for each in ids]
    reading.fields |= {"out": str(reading.layout.out), "resume": again, "kind": subjects[0].kind}
    reading.fields["may"] = all(subject.may for subject in subjects)
    reading.fields |= {name: getattr(subjects[0], name) for name in ("person", "guardian")}
    if len(subjects) > 1 or reading.payload.get("together"):
        _several(reading, subjects)
        return
    name = check_name(str(reading.payload.get("name") or subjects[0].name))
    folder = reading.layout.photos(subjects[0], f"photos/{name}")
    reading.fields |= {"pictures": [str(folder)], "name": name, "noun": subjects[0].noun}
    reading.fields.setdefault("states", STATES)
    if reading.payload.get("after"):
        reading.fields["after"] = reading.concept(reading.payload["after"], own=True)["path"]
    beside = [reading.subject(each) for each in reading.payload.get("beside") or ()]
    reading.fields["beside"] = [
        {"name": each.name, "noun": each.noun, "pictures": str(reading.layout.photos(each, f"beside/{each.name}"))}
        for each in beside
    ]


def _several(reading: Reading, subjects: Sequence[Subject]) -> None:
    """Many subjects in one pass, each in a folder of its name."""
    kinds = sorted({subject.kind for subject in subjects})
    if len(kinds) > 1:
        raise InputError(f"subjects that are taught together must be of one kind, not {' and '.join(kinds)}")
    names: list[str] = []
    for subject in subjects:
        name = next(n for n in _numbered(subject.name) if n not in names)
        names.append(name)
        reading.layout.photos(subject, f"subjects/{name}")
    nouns = {name: subject.noun for name, subject in zip(names, subjects, strict=True)}
    folder = reading.layout.folder / INPUTS / "subjects"
    reading.fields |= {"pictures": [str(folder)], "nouns": nouns, "together": True}


def _numbered(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}{number}" for number in range(2, 1000))


def _paint(reading: Reading, again: bool) -> None:
    reading.take(*PAINT)
    concepts = [reading.concept(each) for each in reading.payload.get("concepts") or ()]
    reading.fields |= {"concepts": concepts, "out": str(reading.layout.out), "overwrite": True}
    if reading.scales:
        reading.fields["scale"] = reading.scales
    for name in ("onto", "where", "like"):
        reading.picture(name)
    conditions = _table(reading, "conditions")
    reading.fields["conditions"] = {
        _word(name): str(reading.layout.picture(each, f"condition-{_word(name)}")) for name, each in conditions.items()
    }
    regions = {
        str(name): _region(reading, k, each) for k, (name, each) in enumerate(_table(reading, "regions").items())
    }
    reading.fields["regions"] = regions
    if reading.payload.get("parent"):
        reading.layout.picture(reading.payload["parent"], "parent")
    if reading.payload.get("score") and (folder := reading.references()):
        reading.fields["references"] = folder


def _region(reading: Reading, number: int, value: object) -> str:
    """A region: a word, a box, or a mask by its id or hash. Only the last becomes the name of a file."""
    if isinstance(value, list):
        value = ",".join(str(each) for each in value)
    if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{32}|[0-9a-f]{64}", value):
        mask = reading.layout.picture(value, f"region-{number}")
        place = mask.with_suffix(".png")
        reading.layout.files[place] = reading.layout.files.pop(mask)
        return str(place)
    if isinstance(value, str) and re.fullmatch(r"[a-z \-]{1,30}|[0-9eE.,+\- ]{1,200}", value):
        return value
    raise InputError(
        f'a region is a word such as "left", a box such as "0,0,0.5,1", or a mask by its id, not {str(value)[:80]!r}'
    )


def _word(name: object) -> str:
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_-]{0,30}", name):
        raise InputError(f"a condition has a short name such as depth, not {str(name)[:60]!r}")
    return name


def _table(reading: Reading, name: str) -> Mapping[str, Any]:
    value = reading.payload.get(name) or {}
    if not isinstance(value, dict):
        raise InputError(f"{name} must be a table, not {str(value)[:80]!r}")
    return value


def _one_concept(*names: str, own: bool = False, references: str = "", out: bool = False) -> Reader:
    """A reader of payloads about one concept."""

    def read(reading: Reading, again: bool) -> None:
        reading.take(*names)
        reading.fields["concept"] = reading.concept(reading.payload.get("concept"), own=own)
        if references and (folder := reading.references()):
            reading.fields[references] = folder
        if out:
            reading.fields["out"] = str(reading.layout.out)
            if reading.kind != "publish":
                reading.fields["overwrite"] = True

    return read


def _publish(reading: Reading, again: bool) -> None:
    _one_concept(*PUBLISH, own=True, out=True)(reading, again)
    if reading.payload.get("upload", True) is not False and reading.layout.user.role != "admin":
        raise InputError(
            "uploads use the server's account at the hub, so only admins publish; download the files instead"
        )


def _with_pictures(*names: str, plain: Sequence[str]) -> Reader:
    """A reader of payloads with pictures in the fields `names` and other values in the fields `plain`."""

    def read(reading: Reading, again: bool) -> None:
        reading.take(*plain)
        for name in names:
            reading.picture(name)
        reading.fields |= {"out": str(reading.layout.out), "overwrite": True}
        if reading.payload.get("parent"):
            reading.layout.picture(reading.payload["parent"], "parent")

    return read


def _score(reading: Reading, again: bool) -> None:
    _one_concept(*SCORE, references="photos")(reading, again)
    given = reading.payload.get("pictures") or []
    places = [reading.layout.picture(each, f"pictures/{number:03}") for number, each in enumerate(given)]
    reading.fields["pictures"] = [str(place) for place in places]
    if given and not reading.payload.get("prompts"):
        reading.fields["prompts"] = [_prompt_of(reading, each) for each in given]


def _prompt_of(reading: Reading, value: str) -> str:
    """The prompt that a picture was painted with; empty for stored content, and for a picture without one."""
    row = reading.layout.session.get(Picture, value) if len(value) == 32 else None
    return row.prompt if row is not None else ""


def _swap(reading: Reading, again: bool) -> None:
    reading.fields["concept"] = reading.concept(reading.payload.get("concept"))
    _with_pictures("photo", "where", plain=SWAP)(reading, again)
    (row,) = reading.concepts
    prompt, source_noun, source_prompt = (str(reading.payload.get(name) or "") for name in SWAP_WORDS)
    swap_prompt(prompt, source_noun=source_noun, source_prompt=source_prompt, handle=row.handle, noun=row.noun)


def _compare(reading: Reading, again: bool) -> None:
    reading.take(*COMPARE)
    reading.fields["concepts"] = [reading.concept(each) for each in reading.payload.get("concepts") or ()]
    seed, count = reading.payload.get("seed", 0), reading.payload.get("count", 1)
    if type(seed) is not int or type(count) is not int:
        raise InputError("seed and count must be whole numbers")
    if count > MOST_SEEDS:
        raise InputError(f"a comparison has at most {MOST_SEEDS} seeds, not {count}")
    reading.fields["seeds"] = reading.payload.get("seeds") or [seed + k for k in range(count)]
    reading.fields |= {
        "plain": bool(reading.payload.get("base_too")),
        "out": str(reading.layout.out),
        "resume": True,
    }
    if folder := reading.references():
        reading.fields["references"] = folder


def _look(reading: Reading, again: bool) -> None:
    reading.take("which")
    subject = reading.subject(reading.payload.get("subject"))
    folder = reading.layout.photos(subject, "photos")
    reading.fields |= {"pictures": [str(folder)], "noun": subject.noun, "name": subject.name, "kind": subject.kind}
    reading.fields |= {"out": str(reading.layout.out), "overwrite": True}


def _protect(reading: Reading, again: bool) -> None:
    reading.take(*PROTECT)
    subject = reading.subject(reading.payload.get("subject"))
    folder = reading.layout.photos(subject, "photos")
    reading.fields |= {"pictures": [str(folder)], "noun": subject.noun, "out": str(reading.layout.out)}
    reading.fields |= {"overwrite": True, "resume": again}


def _estimate(reading: Reading, again: bool) -> None:
    reading.take(*ESTIMATE)
    if reading.payload.get("subject"):
        subject = reading.subject(reading.payload["subject"])
        count = sum(picture.in_training for picture in subject.pictures)
        reading.fields |= {"kind": subject.kind, "noun": subject.noun, "num_pictures": count}


def _states(reading: Reading, again: bool) -> None:
    _one_concept(*STRIP, references="references", out=True)(reading, again)
    reading.fields["resume"] = True
    reading.fields["states"] = [
        str(reading.layout.add(state["sha256"], f"states/{int(state.get('done', 0)):06}.safetensors"))
        for state in reading.concepts[0].states
        if state.get("sha256")
    ]


def _merge(reading: Reading, again: bool) -> None:
    reading.take("by", "weights")
    reading.fields["concepts"] = [reading.concept(each, own=True) for each in reading.payload.get("concepts") or ()]
    name = check_name(str(reading.payload.get("name") or "merged"))
    reading.fields |= {"out": str(reading.layout.out / f"{name}.safetensors"), "overwrite": True}


def _import(reading: Reading, again: bool) -> None:
    reading.take("name", "noun", "says", "partial")
    filename = str(reading.payload.get("filename", ""))
    stem = re.sub(r"[^A-Za-z0-9]", "", filename.rsplit("/", 1)[-1].rsplit(".", 1)[0])[:40] or "imported"
    path = reading.layout.picture(reading.payload.get("file"), "file")
    place = path.with_name(f"{stem}.safetensors")
    reading.layout.files[place] = reading.layout.files.pop(path)
    reading.fields |= {"file": str(place), "out": str(reading.layout.out), "overwrite": True}


READERS: Mapping[str, tuple[Reader, tuple[str, ...]]] = {
    "learn": (_learn, (*LEARN, "subject", "subjects", "together", "name", "after", "beside")),
    "paint": (_paint, (*PAINT, "concepts", "onto", "where", "like", "conditions", "regions")),
    "score": (_score, (*SCORE, "concept", "pictures")),
    "check": (_one_concept(*CHECK), (*CHECK, "concept")),
    "export": (_one_concept(*EXPORT, own=True, out=True), (*EXPORT, "concept")),
    "publish": (_publish, (*PUBLISH, "concept")),
    "swap": (_swap, (*SWAP, "photo", "where", "concept")),
    "try-on": (_with_pictures("person", "garment", "where", plain=TRY_ON), (*TRY_ON, "person", "garment", "where")),
    "protect": (_protect, (*PROTECT, "subject")),
    "compare": (_compare, (*COMPARE, "concepts", "seed", "count", "seeds", "base_too")),
    "look": (_look, ("subject", "which")),
    "estimate": (_estimate, (*ESTIMATE, "subject")),
    "states": (_states, (*STRIP, "concept")),
    "merge": (_merge, ("concepts", "by", "weights", "name")),
    "converse": (read_turn, PAYLOAD),
    "import": (_import, ("file", "filename", "name", "noun", "says", "partial")),
}
"""Kind of a job -> the reader of its payload, and the fields of the payload."""
