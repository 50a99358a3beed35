"""`learn`: teaching drained into a concept, with checkpoints that survive anything."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .concept import Concept, read_safetensors
from .errors import FileError, InputError, PictureError, TeachingError, UnknownName
from .files import atomic_write
from .interrupts import stopping
from .methods import DEFAULT, find
from .methods.full_size import FULL_SIZE
from .recipe import Recipe, Stage, settings
from .sharing import ALONE, Spread
from .subject import Subject, check_word
from .teaching import Checkpoint, Progress, teach
from .wearing import Outfit, wear
from .weights import mark

if TYPE_CHECKING:
    from torch import Tensor

    from .bases.protocol import Base

CHECKPOINT_SECONDS = 10.0
CHECKPOINT = "checkpoint.safetensors"


def learn(
    base: Base,
    subject: Subject,
    *,
    method: str | Callable[..., Recipe] = DEFAULT,
    seed: int = 0,
    checkpoints: Path | str | None = None,
    resume: bool = False,
    watch: Callable[[Progress], object] | None = None,
    **given: Any,
) -> Concept:
    """Teach `base` the subject by a method and return what was learned; the base is as it was afterwards.

    `given` are the method's settings. With a folder for `checkpoints` the run's state is written there every few seconds
    and when it is interrupted; `resume` goes on from it, to the same bits as a run that was never stopped. `watch` sees
    every update; when it returns True, teaching ends there (see `limner.evaluation.signals`). Raises
    `InputError` for unknown or senseless settings and `FileError` for a checkpoint of another run.
    """
    run = prepared_run(base, subject, method, given, seed)
    if resume and checkpoints is None:
        raise InputError("to resume, say in which folder the checkpoints are")
    began = time.monotonic()
    tensors, losses = drained(
        base,
        run.outfit,
        run.recipe.tuning,
        seed,
        header=run.header,
        checkpoints=checkpoints,
        resume=resume,
        watch=watch,
    )
    return described(run, tensors, losses, time.monotonic() - began)


@dataclass(frozen=True)
class Run:
    """A subject about to be taught: its recipe, what it wears, and what its files will say."""

    subject: Subject
    recipe: Recipe
    outfit: Outfit
    method: str
    header: dict[str, Any]


def prepared_run(
    base: Base, subject: Subject, method: str | Callable[..., Recipe], given: Mapping[str, Any], seed: int
) -> Run:
    """Everything that is checked and made before a subject is taught. Raises `InputError` for what cannot be."""
    function = find(method) if isinstance(method, str) else method
    chosen = checked_settings(function, given, base=base.name)
    check_word(subject, base)
    recipe = function(subject, **chosen)
    if not subject.pictures:
        raise PictureError("there are no pictures to learn from: expected one or more (three to five are best)")
    name = method if isinstance(method, str) else _where(function)
    about = {"name": base.name, "family": base.family, "fingerprint": base.fingerprint}
    header = {"method": name, "settings": chosen, "seed": seed, "base": about, "subject": subject.card()}
    header["weights"] = {recipe.weights: mark(recipe.weights, base)} if recipe.weights else {}
    outfit = Outfit(recipe, subject.handle, _shipped(recipe, base), 1.0, seed)
    return Run(subject, recipe, outfit, name, header)


def described(run: Run, tensors: Mapping[str, Tensor], losses: Sequence[float], seconds: float) -> Concept:
    """What was learned in a run, as a concept."""
    stored = run.outfit.stored
    own = {key: tensor for key, tensor in tensors.items() if key not in stored or not tensor.equal(stored[key])}
    return Concept(
        handle=run.subject.handle,
        tensors=own,
        losses=list(losses),
        cost=_cost(seconds, losses, own),
        versions=versions(),
        **run.header,
    )


def drained(
    base: Base,
    outfit: Outfit,
    stages: Sequence[Stage],
    seed: int,
    *,
    header: Mapping[str, Any],
    checkpoints: Path | str | None = None,
    resume: bool = True,
    watch: Callable[[Progress], object] | None = None,
    spread: Spread = ALONE,
) -> tuple[dict[str, Tensor], list[float]]:
    """`teach` to its end: all tensors worn then, and the loss of every update.

    `header` says which run this is; a checkpoint of another is refused. Without stages, the recipe is only put on. Of several
    processes, the main one writes, and all stop together.
    """
    if not stages:
        with wear(base, (outfit,)) as worn:
            return {name: tensor.detach().clone() for name, tensor in worn.tensors.items()}, []
    path = Path(checkpoints) / CHECKPOINT if checkpoints is not None else None
    header = {**header, "parts": spread.parts}  # sums in other parts have other bits
    start, losses = _found(path, header) if resume and path else (None, [])
    saved = time.monotonic()
    try:
        teaching = teach(base, outfit, stages=stages, seed=seed, start=start, spread=spread)
        with stopping() as asked, closing(teaching) as running:
            for progress in running:
                losses.append(progress.loss)
                enough, halted = spread.any(watch is not None and watch(progress) is True, asked())
                if enough or progress.last:
                    tensors = progress.snapshot().learned
                    break
                if path and spread.main and (halted or time.monotonic() - saved > CHECKPOINT_SECONDS):
                    save_checkpoint(path, progress.snapshot(), header, losses)
                    saved = time.monotonic()
                if halted:
                    raise KeyboardInterrupt
    except TeachingError as error:
        if path and spread.main and error.checkpoint is not None:
            save_checkpoint(path, error.checkpoint, header, losses)
        raise
    if path and spread.main:
        path.unlink(missing_ok=True)
    return tensors, losses


def save_checkpoint(path: Path, point: Checkpoint, header: Mapping[str, Any], losses: Sequence[float]) -> None:
    """Write a run's state, whole or not at all."""
    from safetensors.torch import save_file

    tensors = {f"tensors.{k}": v for k, v in point.tensors.items()} | {
        f"moments.{k}": v for k, v in point.moments.items()
    }
    whole = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    place = {"stage": point.stage, "step": point.step, "losses": list(losses)}
    text = json.dumps({**header, "place": place})
    atomic_write(path, lambda p: save_file(whole, p, metadata={"limner": text}), overwrite=True)


def _found(path: Path, header: Mapping[str, Any]) -> tuple[Checkpoint | None, list[float]]:
    """The checkpoint and the losses so far, if there is one and it is of this very run."""
    if not path.exists():
        return None, []
    found, tensors = read_safetensors(path, what="checkpoint")
    place = found.pop("place")
    different = [key for key in header if found.get(key) != json.loads(json.dumps(header[key]))]
    if different:
        raise FileError(
            f"{path} is of another run: its {', '.join(different)} differ; resume with the same, or delete it to start anew"
        )
    parts = {part: {k[8:]: v for k, v in tensors.items() if k.startswith(part)} for part in ("tensors.", "moments.")}
    return Checkpoint(place["stage"], place["step"], parts["tensors."], parts["moments."]), place["losses"]


def checked_settings(
    function: Callable[..., Recipe], given: Mapping[str, Any], *, base: str = "pocket"
) -> dict[str, Any]:
    """All settings of a method with the given ones in place. Those not given are the signature's on the pocket base and the
    authors', where they gave any, on another. Raises `InputError` for a name, type or value it cannot have."""
    known = {setting.name: setting for setting in settings(function)}
    chosen = {name: setting.default for name, setting in known.items()}
    theirs = FULL_SIZE.get(function.__name__) if base != "pocket" else None
    chosen |= theirs.settings if theirs else {}
    for name, value in given.items():
        if name not in known:
            raise UnknownName(f"setting of {function.__name__}", name, known)
        chosen[name] = _checked(name, value, known[name].type)
    return chosen


LIMITS: dict[str, tuple[float, float]] = {
    "steps": (1, 1_000_000), "lr": (0, 10), "batch": (1, 4096), "rank": (1, 4096), "vectors": (1, 64),
    "num_class_pictures": (1, 100_000), "prior_weight": (0, 1000), "scale": (0, 10), "tokens": (1, 256),
}  # fmt: skip


def _checked(name: str, value: Any, kind: type) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise InputError(f"{name} must be of type {kind.__name__}, not {value!r}")
    low, high = LIMITS.get(name, (float("-inf"), float("inf")))
    number: Any = value if kind in (int, float) else low
    if not low <= number <= high or (name == "lr" and number == 0):
        least = "above" if name == "lr" else "at least"
        raise InputError(f"{name} must be {least} {low:g} and at most {high:g}, not {value!r}")
    return value


def _shipped(recipe: Recipe, base: Base) -> Mapping[str, Tensor]:
    from .weights import shipped

    return shipped(recipe.weights, base) if recipe.weights else {}


def _where(function: Callable[..., Recipe]) -> str:
    """How a concept's file names a method: by name where limner has it, else by file and function."""
    from .methods import methods

    name = getattr(function, "__name__", "")
    if methods().get(name) is function:
        return name
    code = getattr(function, "__code__", None)
    if code is None:
        raise InputError(f"{function!r} is no function marked with @method")
    return f"{Path(code.co_filename).resolve()}:{name}"


def _cost(seconds: float, losses: Sequence[float], tensors: Mapping[str, Tensor]) -> dict[str, float]:
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    count = sum(t.numel() for t in tensors.values())
    return {"seconds": round(seconds, 2), "steps": len(losses), "bytes": size, "parameters": count}


def versions() -> dict[str, str]:
    """Of what computed."""
    from importlib.metadata import version

    return {name: version(name) for name in ("limner", "torch", "diffusers", "transformers")}
