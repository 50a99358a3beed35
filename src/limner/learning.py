"""`learn`: teaching drained into a concept, with checkpoints that survive anything."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .checkpoints import FORMAT, check_position, check_run, split_parts
from .checkpoints import versions as library_versions
from .concept import Concept, read_safetensors
from .errors import FileError, InputError, PictureError, PromptError, TeachingError, UnknownName
from .files import atomic_write, check_folder, check_place
from .interrupts import stopping
from .methods import DEFAULT, code_sha256, find, place_of, remember
from .methods.full_size import FULL_SIZE
from .recipe import Recipe, Stage, settings
from .sharing import ALONE, Spread
from .subject import Subject, check_word
from .teaching import Checkpoint, Progress, teach
from .untrusted import HASH, content_hash
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
    to: Path | str | None = None,
    overwrite: bool = False,
    **given: Any,
) -> Concept:
    """Teach `base` the subject by a method and return what was learned; the base is as it was afterwards.

    `given` are the method's settings. With a folder for `checkpoints` the run's state is written there every few seconds
    and when it is interrupted; `resume` goes on from it, to the same bits as a run that was never stopped. `watch` sees
    every update; when it returns True, teaching ends there (see `limner.evaluation.signals`).

    With `to`, the concept is on disk the moment teaching ends (`overwrite` replaces one that is there), and only then the checkpoint
    goes; without, the last checkpoint stays, since nothing is safe before the caller's own `save`. Raises `InputError` for unknown
    or senseless settings, `FileError` for a checkpoint of another run and for a file that cannot be written, and `TeachingError`
    where what was learned is not finite numbers.
    """
    run = prepared_run(base, subject, method, given, seed)
    if resume and checkpoints is None:
        raise InputError("to resume, say in which folder the checkpoints are")
    if checkpoints is not None:
        check_folder(Path(checkpoints))
    if to is not None:
        check_place(Path(to), overwrite=overwrite)
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
    concept = described(run, tensors, losses, time.monotonic() - began)
    check_finite(concept)
    if to is not None:
        concept.save(to, overwrite=overwrite)
        discard(checkpoints)
    return concept


def check_finite(concept: Concept) -> None:
    """Raise `TeachingError` for a concept with values that are no finite numbers: it paints nothing, and is not to be saved."""
    import torch

    for name, tensor in concept.tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor.float()).all()):
            raise TeachingError(
                f"what {concept.method} learned of {concept.handle} is not finite numbers ({name}): teach it with a lower learning "
                "rate, or in float32"
            )


def discard(checkpoints: Path | str | None) -> None:
    """Delete a run's checkpoint: what was learned is on disk elsewhere."""
    if checkpoints is not None:
        (Path(checkpoints) / CHECKPOINT).unlink(missing_ok=True)


def is_of(concept: Concept, run: Run) -> bool:
    """Whether a concept is what this run teaches: the same method, settings, seed, base and subject."""
    header = concept.header
    return all(header.get(key) == json.loads(json.dumps(value)) for key, value in run.header.items())


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
    function = find(method) if isinstance(method, str) else remember(method)
    chosen = checked_settings(function, given, base=base.name)
    check_word(subject, base)
    recipe = function(subject, **chosen)
    if not subject.pictures:
        raise PictureError("there are no pictures to learn from: expected one or more (three to five are best)")
    name = place_of(function) or function.__name__
    about = {"name": base.name, "family": base.family, "fingerprint": base.fingerprint}
    header = {"method": name, "settings": chosen, "seed": seed, "base": about, "subject": subject.card()}
    if code := code_sha256(function):
        header["method_sha256"] = code
    header["weights"] = {recipe.weights: mark(recipe.weights, base)} if recipe.weights else {}
    outfit = Outfit(recipe, subject.handle, _shipped(recipe, base), 1.0, seed)
    check_captions(base, subject, outfit)
    return Run(subject, recipe, outfit, name, header)


MOST_VECTORS = 64
"""Vectors that a learned word has at most."""


def check_captions(base: Base, subject: Subject, outfit: Outfit) -> None:
    """Raise `PromptError` for a caption that the base does not read whole, naming its picture, before anything is taught."""
    says = outfit.recipe.says if isinstance(outfit.recipe.says, str) else outfit.recipe.says(base)
    own = {p.name: p.caption.replace(subject.handle, says) for p in subject.pictures if p.caption}
    rough = {name: base.num_tokens(text, words={}) for name, text in own.items()}
    if max(rough.values(), default=0) + MOST_VECTORS <= base.max_tokens:
        return
    with wear(base, (outfit,)) as worn:  # how many tokens a learned word takes is known when it is worn
        counts = {name: base.num_tokens(text, words=worn.words) for name, text in own.items()}
    long = [f"{name} ({count})" for name, count in counts.items() if count > base.max_tokens]
    if long:
        raise PromptError(
            f"the captions of {', '.join(long)} have more tokens than {base.name} reads ({base.max_tokens}): shorten them; nothing is cut"
        )


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
    processes, the main one writes, and all stop together. The checkpoint stays: `discard` it once what was learned is saved.
    """
    if not stages:
        with wear(base, (outfit,)) as worn:
            return {name: tensor.detach().clone() for name, tensor in worn.tensors.items()}, []
    path = Path(checkpoints) / CHECKPOINT if checkpoints is not None else None
    header = {**header, "parts": spread.parts}  # sums in other parts have other bits
    start, losses = _found(path, header, stages) if resume and path else (None, [])
    tensors = dict(start.learned) if start else {}  # of a checkpoint that was made after the last update
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
    return tensors, losses


def save_checkpoint(path: Path, point: Checkpoint, header: Mapping[str, Any], losses: Sequence[float]) -> None:
    """Write a run's state, whole or not at all."""
    from safetensors.torch import save_file

    tensors = {f"tensors.{k}": v for k, v in point.tensors.items()} | {
        f"moments.{k}": v for k, v in point.moments.items()
    }
    whole = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    place = {"stage": point.stage, "step": point.step, "losses": list(losses)}
    text = json.dumps({**header, "format": FORMAT, "versions": library_versions(), "place": place})
    metadata = {"limner": text, HASH: content_hash(text, whole)}
    atomic_write(path, lambda p: save_file(whole, p, metadata=metadata), overwrite=True)


def read_checkpoint(path: Path, header: Mapping[str, Any]) -> tuple[Checkpoint | None, list[float]]:
    """The state that `save_checkpoint` wrote and the losses so far; nothing where there is no file. Raises `FileError` for a
    checkpoint of another run."""
    return _found(path, header)


def _found(
    path: Path, header: Mapping[str, Any], stages: Sequence[Stage] | None = None
) -> tuple[Checkpoint | None, list[float]]:
    """The checkpoint and the losses so far, if there is one and it is of this very run."""
    if not path.exists():
        return None, []
    found, read = read_safetensors(path, what="checkpoint")
    if found.get("format", 1) not in (1, FORMAT) or "place" not in found:
        raise FileError(f"{path} is no checkpoint that this limner reads; delete it to start anew")
    check_run(path, found, header)
    stage, step, losses = check_position(path, found["place"], stages)
    tensors, moments = split_parts(path, read)
    return Checkpoint(stage, step, tensors, moments), losses


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
        chosen[name] = check_setting(name, value, known[name].type)
    return chosen


LIMITS: dict[str, tuple[float, float]] = {
    "steps": (1, 1_000_000), "lr": (0, 10), "batch": (1, 4096), "rank": (1, 4096), "vectors": (1, 64),
    "num_class_pictures": (1, 100_000), "prior_weight": (0, 1000), "scale": (0, 10), "tokens": (1, 256),
    "blocks": (0, 1024), "candidates": (1, 256), "cycles": (1, 10_000), "demonstrations": (0, 1024), "dims": (1, 1024),
    "estimate": (1, 1024), "experts": (1, 4096), "factor": (1, 1024), "heads": (1, 256), "hidden": (1, 16_384),
    "layers": (1, 256), "negative_vectors": (1, 64), "neighbours": (1, 1024), "packed": (1, 64), "population": (4, 4096),
    "projector": (1, 16_384), "prompts": (1, 10_000), "queries": (1, 1024), "repeats": (1, 10_000), "stages": (1, 1024),
    "states": (1, 1024), "tuning": (0, 1_000_000), "units": (0, 1_000_000), "width": (1, 16_384), "window": (1, 1_000_000),
    "words": (0, 4096),
}  # fmt: skip
"""Least and most of a setting, by its name. What ends in `_lr` or `_steps` is as `lr` and `steps`, except that no step is allowed."""
MOST = 1e6  # of the size of a number without limits of its own


def limits(name: str) -> tuple[float, float]:
    """The least and the most of a setting that is a number."""
    if name.endswith("_steps"):
        return 0, LIMITS["steps"][1]
    return LIMITS["lr"] if name.endswith("_lr") else LIMITS.get(name, (-MOST, MOST))


def check_setting(name: str, value: Any, kind: type) -> Any:
    """A setting's value in its type. Raises `InputError` for another type, and for a number outside its limits or not finite."""
    if kind is float and type(value) is int and abs(value) <= MOST:
        value = float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise InputError(f"{name} must be of type {kind.__name__}, not {str(value)[:100]!r}")
    low, high = limits(name)
    number: Any = value if kind in (int, float) else low
    positive = name == "lr" or name.endswith("_lr")
    if not low <= number <= high or (positive and number == 0 and kind is float):
        least = "above" if positive else "at least"
        raise InputError(f"{name} must be {least} {low:g} and at most {high:g}, not {str(value)[:100]}")
    return value


def _shipped(recipe: Recipe, base: Base) -> Mapping[str, Tensor]:
    from .weights import shipped

    return shipped(recipe.weights, base) if recipe.weights else {}


def _cost(seconds: float, losses: Sequence[float], tensors: Mapping[str, Tensor]) -> dict[str, float]:
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    count = sum(t.numel() for t in tensors.values())
    return {"seconds": round(seconds, 2), "steps": len(losses), "bytes": size, "parameters": count}


def versions() -> dict[str, str]:
    """Of what computed."""
    from importlib.metadata import version

    return {name: version(name) for name in ("limner", "torch", "diffusers", "transformers")}
