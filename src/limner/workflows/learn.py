"""`learn`: teaching drained into a concept, with checkpoints that survive anything."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.core.concept import Concept
from limner.core.files import check_folder, check_place
from limner.core.weights import mark
from limner.engine.attach import Adapter, attach
from limner.engine.checkpoint import CHECKPOINT, Run, _found, run_to_end
from limner.errors import InputError, PictureError, PromptError, TeachingError
from limner.library.settings import check_word, checked_settings
from limner.methods import DEFAULT, code_sha256, find, place_of, remember

from .first_use import make_weights
from .runs import versions

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base
    from limner.core.recipe import Recipe
    from limner.core.subject import Subject
    from limner.engine.train import Checkpoint, Progress


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
    every update; when it returns True, teaching ends there (see `limner.engine.early_stopping`).

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
    tensors, losses = run_to_end(
        base,
        run.adapter,
        run.recipe.tuning,
        seed,
        header=run.header,
        checkpoints=checkpoints,
        resume=resume,
        watch=watch,
    )
    concept = to_concept(run, tensors, losses, time.monotonic() - began)
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
    make_weights(name, recipe, base)
    about = {"name": base.name, "family": base.family, "fingerprint": base.fingerprint}
    header = {"method": name, "settings": chosen, "seed": seed, "base": about, "subject": subject.card()}
    if code := code_sha256(function):
        header["method_sha256"] = code
    header["weights"] = {recipe.weights: mark(recipe.weights, base)} if recipe.weights else {}
    adapter = Adapter(recipe, subject.handle, _shipped(recipe, base), 1.0, seed)
    check_captions(base, subject, adapter)
    return Run(subject, recipe, adapter, name, header)


MOST_VECTORS = 64
"""Vectors that a learned word has at most."""


def check_captions(base: Base, subject: Subject, adapter: Adapter) -> None:
    """Raise `PromptError` for a caption that the base does not read whole, naming its picture, before anything is taught."""
    says = adapter.recipe.says if isinstance(adapter.recipe.says, str) else adapter.recipe.says(base)
    own = {p.name: p.caption.replace(subject.handle, says) for p in subject.pictures if p.caption}
    rough = {name: base.num_tokens(text, words={}) for name, text in own.items()}
    if max(rough.values(), default=0) + MOST_VECTORS <= base.max_tokens:
        return
    with attach(base, (adapter,)) as adapted:  # how many tokens a learned word takes is known when it is worn
        counts = {name: base.num_tokens(text, words=adapted.words) for name, text in own.items()}
    long = [f"{name} ({count})" for name, count in counts.items() if count > base.max_tokens]
    if long:
        raise PromptError(
            f"the captions of {', '.join(long)} have more tokens than {base.name} reads ({base.max_tokens}): shorten them; nothing is cut"
        )


def to_concept(run: Run, tensors: Mapping[str, Tensor], losses: Sequence[float], seconds: float) -> Concept:
    """What was learned in a run, as a concept."""
    stored = run.adapter.stored
    own = {key: tensor for key, tensor in tensors.items() if key not in stored or not tensor.equal(stored[key])}
    return Concept(
        handle=run.subject.handle,
        tensors=own,
        losses=list(losses),
        cost=_cost(seconds, losses, own),
        versions=versions(),
        **run.header,
    )


def read_checkpoint(path: Path, header: Mapping[str, Any]) -> tuple[Checkpoint | None, list[float]]:
    """The state that `save_checkpoint` wrote and the losses so far; nothing where there is no file. Raises `FileError` for a
    checkpoint of another run."""
    return _found(path, header)


def _shipped(recipe: Recipe, base: Base) -> Mapping[str, Tensor]:
    from limner.core.weights import shipped

    return shipped(recipe.weights, base) if recipe.weights else {}


def _cost(seconds: float, losses: Sequence[float], tensors: Mapping[str, Tensor]) -> dict[str, float]:
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    count = sum(t.numel() for t in tensors.values())
    return {"seconds": round(seconds, 2), "steps": len(losses), "bytes": size, "parameters": count}
