"""Quick workflows in place of the real ones, for tests of workers; importable by processes of their own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from limner.core.choices import CHOICE, choice_folder, picture_file
from limner.errors import ChoiceNeeded
from limner.workflows import events as ev
from limner.workflows.controls import Controls

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63606060000000040001f61738"
    "550000000049454e44ae426082"
)
"""A PNG of one pixel."""


def concept_file(path: Path, name: str, **header: Any) -> Path:
    """A file with the header of a concept and no tensors."""
    about = {"handle": f"<{name}>", "method": "fake", "base": {"name": "pocket"}, "subject": {"noun": "dog"}, **header}
    text = json.dumps({"__metadata__": {"limner": json.dumps(about)}}).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    return path


def train(request: Any, *, controls: Controls, open_base: Callable[[Any], Any] | None) -> Iterator[ev.Event]:
    """A training of `settings["steps"]` updates of `settings["pause"]` milliseconds each. Its "weights" are the sum of
    the numbers of its updates, which a resumed run continues from a checkpoint after every update."""
    steps, wait = int(request.settings["steps"]), float(request.settings.get("pause", 1)) / 1000
    page = request.out / request.name
    checkpoint = page / "checkpoint.safetensors"
    done, total = json.loads(checkpoint.read_text()) if request.resume and checkpoint.exists() else (0, 0)
    page.mkdir(parents=True, exist_ok=True)
    yield ev.RunPlanned("fake", request.settings, "pocket", request.out / f"{request.name}.safetensors", page)
    if request.settings.get("choose") and done == 0:
        total = chosen(choice_folder(request.settings["choose"]), checkpoint, request.name)
    stopped = False
    while done < steps and not stopped:
        time.sleep(wait)
        done, total = done + 1, total + done + 1
        part = page / "checkpoint.part"
        part.write_text(json.dumps([done, total]))
        part.replace(checkpoint)
        yield ev.UpdateDone(done, steps, 0, {"loss": 1 / done}, 0.0, done == steps)
        if controls.take("sample"):
            (page / f"{done}.png").write_bytes(PIXEL)
            yield ev.SamplePainted(done, (page / f"{done}.png",), (f"a photo of <{request.name}>",), 7)
        if controls.take("save"):
            yield ev.StateSaved(done, concept_file(page / "states" / f"{done:06}.safetensors", request.name, sum=total))
        if controls.take("pause"):
            yield ev.Paused(checkpoint)
            return
        stopped = controls.take("stop")
    cost = {"steps": done}
    path = concept_file(request.out / f"{request.name}.safetensors", request.name, sum=total, cost=cost)
    yield ev.ConceptSaved(path, cost)
    yield ev.ConceptScored({"F": 0.9, "diagnosis": "balanced"}, "balanced: a line")
    yield ev.CheckDone("the base comes back", True, "bit for bit")
    yield ev.RunDone({"concept": str(path), "cost": cost}, str(path))


def chosen(folder: Path, checkpoint: Path, name: str) -> int:
    """The sum of the numbers that a person chose of three pictures."""
    checkpoint.write_text("[0, 0]")
    if not (folder / CHOICE).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(3):
            picture_file(folder, number).write_bytes(PIXEL)
        needed = ChoiceNeeded(f"choose at most 2 of the 3 pictures in {folder}")
        needed.folder, needed.prompts, needed.keep = folder, tuple(f"picture {k} in <{name}>" for k in range(3)), 2
        raise needed
    return sum(map(int, (folder / CHOICE).read_text().split()))


def paint(request: Any, *, controls: Controls, open_base: Callable[[Any], Any] | None) -> Iterator[ev.Event]:
    """Pictures of one pixel, which can be paused after each."""
    request.out.mkdir(parents=True, exist_ok=True)
    total = request.count * len(request.prompts)
    for number in range(request.skip, total):
        path = request.out / f"{number - request.skip:03}.png"
        path.write_bytes(PIXEL)
        yield ev.PictureSaved(path, request.prompts[number // request.count], request.seed + number)
        if controls.take("pause"):
            yield ev.Paused(done=number + 1)
            return
    yield ev.RunDone({"pictures": [str(request.out)]}, "")


def slow(request: Any, *, controls: Controls, open_base: Callable[[Any], Any] | None) -> Iterator[ev.Event]:
    """Messages for ten seconds."""
    for number in range(200):
        time.sleep(0.05)
        yield ev.Message(f"message {number}")
    yield ev.RunDone({}, "")


def broken(request: Any, *, controls: Controls, open_base: Callable[[Any], Any] | None) -> Iterator[ev.Event]:
    """Fails as a program does that has a fault."""
    yield ev.Message("so far, so good")
    raise ZeroDivisionError("of no use")


def mixed(request: Any, **about: Any) -> Iterator[ev.Event]:
    """The workflow for the kind of the request."""
    return {"learn": train, "paint": paint}.get(request.kind_of_work, slow)(request, **about)
