"""`learn`: teaching drained into a concept, with checkpoints that survive anything."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .concept import Concept, read_safetensors
from .errors import FileError, InputError, TeachingError
from .files import atomic_write
from .interrupts import stopping
from .methods import DEFAULT, find
from .recipe import Recipe, settings
from .subject import Subject, check_word
from .teaching import Checkpoint, Progress, teach
from .wearing import Outfit, wear

if TYPE_CHECKING:
    from torch import Tensor

    from .bases.protocol import Base

CHECKPOINT_SECONDS = 10.0
CHECKPOINT = "checkpoint.safetensors"


@dataclass
class _Run:
    """One teaching run as `learn` keeps it."""

    header: dict[str, Any]  # what must be equal for a checkpoint to be gone on from
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0


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
    and when it is interrupted; `resume` goes on from it, to the same bits as a run that was never stopped. Raises
    `InputError` for unknown or senseless settings and `FileError` for a checkpoint of another run.
    """
    function = find(method) if isinstance(method, str) else method
    chosen = checked_settings(function, given)
    check_word(subject, base)
    recipe = function(subject, **chosen)
    name = method if isinstance(method, str) else getattr(function, "__name__", "method")
    run = _Run(_header(base, subject, name, chosen, seed))
    outfit = Outfit(recipe, subject.handle, _shipped(recipe, base), 1.0, seed)
    start = _found(checkpoints, run) if resume else None
    tensors = _taught(base, outfit, recipe, seed, start, run, checkpoints, watch)
    concept = Concept(
        handle=subject.handle,
        method=name,
        settings=chosen,
        base=run.header["base"],
        subject=subject.card(),
        seed=seed,
        tensors=tensors,
        losses=run.losses,
        cost=_cost(run, recipe, tensors),
        versions=_versions(),
    )
    if checkpoints is not None:
        (Path(checkpoints) / CHECKPOINT).unlink(missing_ok=True)
    return concept


def checked_settings(function: Callable[..., Recipe], given: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a method with the given ones in place. Raises `InputError` for a name, type or value it cannot have."""
    from .errors import UnknownName

    known = {setting.name: setting for setting in settings(function)}
    chosen = {name: setting.default for name, setting in known.items()}
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
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if not low <= value <= high or (name == "lr" and value == 0):
            raise InputError(f"{name} must be {'above' if name == 'lr' else 'at least'} {low:g} and at most {high:g}, not {value!r}")
    return value


def _taught(
    base: Base,
    outfit: Outfit,
    recipe: Recipe,
    seed: int,
    start: Checkpoint | None,
    run: _Run,
    checkpoints: Path | str | None,
    watch: Callable[[Progress], object] | None,
) -> dict[str, Tensor]:
    """The tensors of the concept: learned by the stages that look at the subject, or simply worn when there are none."""
    if not recipe.tuning:
        with wear(base, (outfit,)) as worn:
            own = {n: t.detach().clone() for n, t in worn.tensors.items() if n not in outfit.stored}
        return own
    saved = before = time.monotonic()
    earlier = run.seconds
    try:
        with stopping() as asked:
            for progress in teach(base, outfit, stages=recipe.tuning, seed=seed, start=start):
                run.losses.append(progress.loss)
                run.seconds = earlier + time.monotonic() - before
                if watch:
                    watch(progress)
                if progress.done == progress.total:
                    return {n: t for n, t in progress.snapshot().tensors.items() if n not in outfit.stored}
                if checkpoints is not None and (asked() or time.monotonic() - saved > CHECKPOINT_SECONDS):
                    save_checkpoint(Path(checkpoints), progress.snapshot(), run)
                    saved = time.monotonic()
                if asked():
                    raise KeyboardInterrupt
    except TeachingError as error:
        if checkpoints is not None and error.checkpoint is not None:
            save_checkpoint(Path(checkpoints), error.checkpoint, run)
        raise
    raise InputError("the checkpoint is of a run that had ended already; start without resuming")


def save_checkpoint(folder: Path, point: Checkpoint, run: _Run) -> None:
    """Write a run's state, whole or not at all."""
    from safetensors.torch import save_file

    tensors = {f"tensors.{k}": v for k, v in point.tensors.items()} | {f"moments.{k}": v for k, v in point.moments.items()}
    whole = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    place = {"stage": point.stage, "step": point.step, "losses": run.losses, "seconds": run.seconds}
    text = json.dumps({**run.header, "place": place})
    atomic_write(folder / CHECKPOINT, lambda p: save_file(whole, p, metadata={"limner": text}), overwrite=True)


def _found(folder: Path | str | None, run: _Run) -> Checkpoint | None:
    """The checkpoint in a folder, if there is one and it is of this very run."""
    if folder is None:
        raise InputError("to resume, say in which folder the checkpoints are")
    path = Path(folder) / CHECKPOINT
    if not path.exists():
        return None
    header, tensors = read_safetensors(path, what="checkpoint")
    place = header.pop("place")
    different = [key for key in run.header if header.get(key) != json.loads(json.dumps(run.header[key]))]
    if different:
        raise FileError(f"{path} is of another run: its {', '.join(different)} differ; resume with the same, or start without resuming")
    run.losses, run.seconds = place["losses"], place["seconds"]
    parts = {part: {k[8:]: v for k, v in tensors.items() if k.startswith(part)} for part in ("tensors.", "moments.")}
    return Checkpoint(place["stage"], place["step"], parts["tensors."], parts["moments."])


def _header(base: Base, subject: Subject, method: str, chosen: Mapping[str, Any], seed: int) -> dict[str, Any]:
    about = {"name": base.name, "family": base.family, "fingerprint": base.fingerprint}
    return {"method": method, "settings": dict(chosen), "seed": seed, "base": about, "subject": subject.card()}


def _shipped(recipe: Recipe, base: Base) -> Mapping[str, Tensor]:
    from .weights import shipped

    return shipped(recipe.weights, base) if recipe.weights else {}


def _cost(run: _Run, recipe: Recipe, tensors: Mapping[str, Tensor]) -> dict[str, float]:
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    return {"seconds": round(run.seconds, 2), "steps": len(run.losses), "bytes": size, "parameters": sum(t.numel() for t in tensors.values())}


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("limner", "torch", "diffusers", "transformers")}
