"""The workflow `states`: the states of a concept's training side by side, and the choice of one."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.core.files import check_folder, check_place, is_ours
from limner.core.wording import counted
from limner.errors import InputError, UnknownName

from .controls import PAUSE, STOP, Controls
from .events import ConceptSaved, Event, Message, Paused, RunDone, StatePainted
from .learn_watches import STATES
from .opening import choice_for, open_base, open_encoders, read_concept_choices
from .score_request import images_of

if TYPE_CHECKING:
    from limner.core.concept import Concept
    from limner.core.picture import Picture

    from .requests import BaseChoice, StatesRequest

KEPT = "kept-*.safetensors"
"""Files of states that `--keep best` saves during training (`engine.early_stopping.Keeper`)."""
SAME_RUN = ("handle", "method", "settings", "base", "subject", "seed")
"""Fields of a concept's header that its states share."""


def states_request(
    request: StatesRequest,
    *,
    open_base: Callable[[BaseChoice], Any] = open_base,
    controls: Controls | None = None,
) -> Iterator[Event]:
    """Paint with each state of a concept's training, or with `choose` write the concept of one. `open_base` may return
    a base that is open already. A pause or a stop that `controls` carry takes effect after the current state; after a
    pause, the same request with `resume` paints the others.

    Raises `InputError` where there are no states, or states of another run, and `UnknownName` for a number of updates
    that no state has.
    """
    (concept,) = yield from read_concept_choices(request.concept)
    states = states_of(concept, request.concept.path, request.states)
    if request.choose is not None:
        yield from _choose(request, states)
        return
    yield Message(f"{counted(len(states), 'state')}, after {', '.join(map(str, states))} updates")
    yield from _paint(request, concept, states, open_base, controls or Controls())


def states_of(concept: Concept, path: Path, places: Sequence[Path] = ()) -> dict[int, Concept]:
    """Number of updates -> the state of a concept's training, in order, the concept itself among them.

    concept: the concept at the end of training
    path: its file
    places: files of states, or folders that hold some; empty: those of the folder of its page
    """
    page = path.parent / path.stem
    files = [file for place in places or (page, page / STATES) for file in _files(place)]
    states = {}
    for file in files:
        done, state = _state(file, concept)
        states[done] = state
    if not states:
        raise InputError(
            f"there are no states of {concept.handle} in {page}: learn it with --states N, or save one during training"
        )
    return dict(sorted({**states, int(concept.cost.get("steps", 0)): concept}.items()))


def _files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    files = [*place.glob(KEPT), *([] if place.name != STATES else place.glob("*.safetensors"))]
    return sorted(file for file in files if is_ours(file))


def _state(file: Path, concept: Concept) -> tuple[int, Concept]:
    """The number of updates of a state, and its concept. Raises `InputError` for a state of another run."""
    from limner.core.concept import Concept
    from limner.core.tensor_files import read_safetensors

    if file.name.startswith("kept-"):
        done = int(file.stem.removeprefix("kept-"))
        _, tensors = read_safetensors(file, what="state")
        own = {name: tensor for name, tensor in tensors.items() if name in concept.tensors}
        if own.keys() != concept.tensors.keys():
            raise InputError(f"{file} is a state of another run than {concept.handle}: its tensors have other names")
        return done, replace(concept, tensors=own, scores={}, cost={**concept.cost, "steps": done})
    state = Concept.load(file, trust=concept.trusted)
    other = next((name for name in SAME_RUN if getattr(state, name) != getattr(concept, name)), None)
    if other is not None:
        raise InputError(f"{file} is a state of another run than {concept.handle}: it has another {other}")
    return int(state.cost["steps"]), state


def _choose(request: StatesRequest, states: dict[int, Concept]) -> Iterator[Event]:
    """Write the concept of the chosen state."""
    done = request.choose
    if done not in states:
        raise UnknownName("state after a number of updates:", str(done), map(str, states))
    to = request.to or request.concept.path
    check_place(to, overwrite=request.overwrite or request.to is None)
    chosen = states[done]
    concept = replace(chosen, scores={"kept_after": done, "of": max(states)})
    path = concept.save(to, overwrite=request.overwrite or request.to is None)
    yield ConceptSaved(path, concept.cost)
    yield RunDone({"concept": str(path), "kept_after": done}, str(path))


def _paint(
    request: StatesRequest,
    concept: Concept,
    states: dict[int, Concept],
    open_base: Callable[[BaseChoice], Any],
    controls: Controls,
) -> Iterator[Event]:
    """Paint the same prompts of one seed with each state, and score the pictures."""
    from limner.core.subject import Subject
    from limner.engine.sample import PaintSettings

    from .paint import paint
    from .painted_before import painted_before
    from .picture_scores import picture_scores
    from .preview_prompts import preview_prompts

    check_folder(request.out)
    base = open_base(choice_for(concept, request.base, trust=request.concept.trust))
    prompts = list(request.prompts) or preview_prompts(Subject.from_card(concept.subject))[:1]
    settings = PaintSettings(steps=request.steps, guidance=request.guidance)
    references = images_of(request.references)
    encoders = open_encoders(request.encoders, device=request.base.device)
    rows: list[dict[str, Any]] = []
    *_, last = states
    for done, state in states.items():
        paths = [request.out / f"{done:06}-{k}.png" for k in range(len(prompts))]
        about: dict[str, Any] = {"seed": request.seed, "settings": settings}
        pictures: Sequence[Picture] = []
        if request.resume:
            pictures = painted_before(paths, prompts, base=base, handles=state.handles, **about)
        if not pictures:
            pictures = paint(base, prompts, concepts=[state], **about)
            for picture, path in zip(pictures, paths, strict=True):
                picture.save(path, overwrite=request.overwrite or request.resume)
        images = [picture.image for picture in pictures]
        scores = picture_scores(base, concept, images, prompts, references=references, encoders=encoders)
        for picture, path, score in zip(pictures, paths, scores, strict=True):
            yield StatePainted(done, path, score, picture.prompt, picture.seed)
            rows.append({"done": done, "path": str(path), "prompt": picture.prompt, "scores": score})
        if done == last:
            break
        if controls.take(PAUSE):
            yield Paused(done=len(rows))
            return
        if controls.take(STOP):
            yield Message(f"stopped after the state of {counted(done, 'update')}")
            break
    yield RunDone(
        {"states": rows, "best": best_of(rows)},
        "\n".join(f"{row['done']}: {row['path']} {row['scores']}" for row in rows),
    )


def best_of(rows: Sequence[Mapping[str, Any]]) -> int | None:
    """Number of updates of the state whose pictures have the highest mean likeness; None where likeness is unknown."""
    likenesses: dict[int, list[float]] = {}
    for row in rows:
        if "likeness" in row["scores"]:
            likenesses.setdefault(row["done"], []).append(row["scores"]["likeness"])
    return max(likenesses, key=lambda done: statistics.fmean(likenesses[done])) if likenesses else None
