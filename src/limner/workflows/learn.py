"""`learn`: train a base on a subject that is in memory, with checkpoints that survive a kill. (`learn_request` goes
from files to files.)"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.core.artefact import packed
from limner.core.concept import Concept
from limner.core.files import check_folder, check_place
from limner.core.versions import versions
from limner.core.weights import mark
from limner.engine.attach import Adapter, attach, check_suits
from limner.engine.checkpoint import Run, _read_checkpoint, discard, finish, run_updates
from limner.engine.early_stopping import together
from limner.errors import InputError, PictureError, PromptError, TeachingError
from limner.library.after import check_answers, hash_of, subject_after, tensors_of
from limner.library.apart import check_words
from limner.library.concepts import read_concepts
from limner.library.settings import check_word, checked_settings
from limner.methods import DEFAULT, code_sha256, find, place_of, remember

from .faces import demand_consent, face_alone
from .first_use import make_weights
from .progress import show

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.artefact import Artefact
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
    progress: bool = False,
    after: Concept | Path | str | None = None,
    **given: Any,
) -> Concept:
    """Learn the subject on `base` by a method and return the concept; afterwards the base is in its former state.

    `given` are the method's settings. `progress` draws a bar with the time left on the error stream. With a folder for
    `checkpoints` the run's state is written there every few seconds and when it is interrupted; `resume` continues from
    it, to the same bits as a run that was never stopped. `watch` is called with every update; training ends when it
    returns True (see `limner.engine.early_stopping`).

    With `after`, a concept or its file, the subject is learned after the subjects of that concept: training starts from
    it, and the new concept answers to all their handles. Both need one method, which must be one for subjects in
    sequence, and one base.

    With `to`, the concept is saved as soon as training ends (`overwrite` replaces an existing one), and then the
    checkpoint is deleted; without `to`, the last checkpoint stays until the caller's own `save`. Raises `InputError`
    for unknown or invalid settings, `FileError` for a checkpoint of another run and for a file that cannot be written,
    and `TeachingError` where learned values are not finite numbers.
    """
    draw = show() if progress else None
    running = learn_updates(
        base,
        subject,
        method=method,
        seed=seed,
        checkpoints=checkpoints,
        resume=resume,
        watch=together(*(each for each in (draw, watch) if each is not None)),
        to=to,
        overwrite=overwrite,
        after=after,
        **given,
    )
    return finish(running)


def learn_updates(
    base: Base,
    subject: Subject,
    *,
    method: str | Callable[..., Recipe],
    seed: int = 0,
    checkpoints: Path | str | None = None,
    resume: bool = False,
    watch: Callable[[Progress], object] | None = None,
    to: Path | str | None = None,
    overwrite: bool = False,
    after: Concept | Path | str | None = None,
    **given: Any,
) -> Generator[Progress, None, Concept]:
    """`learn`, yielding every update; the generator returns the concept."""
    run = prepared_run(base, subject, method, given, seed, after=after)
    return (
        yield from run_of(base, run, checkpoints=checkpoints, resume=resume, watch=watch, to=to, overwrite=overwrite)
    )


def run_of(
    base: Base,
    run: Run,
    *,
    checkpoints: Path | str | None = None,
    resume: bool = False,
    watch: Callable[[Progress], object] | None = None,
    to: Path | str | None = None,
    overwrite: bool = False,
    pause: Callable[[], bool] = lambda: False,
) -> Generator[Progress, None, Concept]:
    """`learn_updates` of a run that is prepared. `pause` is called after every update; where it returns True, the
    checkpoint is written and `TrainingPaused` raised."""
    if resume and checkpoints is None:
        raise InputError("to resume, name the folder of the checkpoints: checkpoints=FOLDER")
    if checkpoints is not None:
        check_folder(Path(checkpoints))
    if to is not None:
        check_place(Path(to), overwrite=overwrite)
    began = time.monotonic()
    tensors, losses = yield from run_updates(
        base,
        run.adapter,
        run.recipe.tuning,
        int(run.header["seed"]),
        header=run.header,
        checkpoints=checkpoints,
        resume=resume,
        watch=watch,
        pause=pause,
    )
    concept = _with_artefacts(base, run, to_concept(run, tensors, losses, time.monotonic() - began), tensors)
    check_finite(concept)
    if to is not None:
        concept.save(to, overwrite=overwrite)
        discard(checkpoints)
    return concept


def state_of(base: Base, run: Run, progress: Progress) -> Concept:
    """The concept that training would give if it ended with this update. Training is not changed."""
    import torch

    learned = progress.snapshot().learned
    full = torch.autocast(base.device.type, enabled=False)
    with full, progress.adapted.suspended():
        concept = _with_artefacts(base, run, to_concept(run, learned, [progress.loss], progress.seconds), learned)
    check_finite(concept)
    return replace(concept, cost={**concept.cost, "steps": progress.done})


def _with_artefacts(base: Base, run: Run, concept: Concept, tensors: Mapping[str, Tensor]) -> Concept:
    """The concept with the artefacts that its method makes, packed into its tensors."""
    made = artefacts_of(base, run, tensors)
    return replace(concept, tensors={**concept.tensors, **packed(made)}) if made else concept


def artefacts_of(base: Base, run: Run, tensors: Mapping[str, Tensor]) -> Sequence[Artefact]:
    """The files that the method of a run makes from its trained tensors; none for most methods."""
    if run.recipe.artefacts is None:
        return ()
    import torch

    with torch.no_grad(), attach(base, (replace(run.adapter, stored={**run.adapter.stored, **tensors}),)) as adapted:
        return run.recipe.artefacts(adapted)


def check_finite(concept: Concept) -> None:
    """Raise `TeachingError` for a concept with values that are not finite numbers: it cannot paint, and must not be
    saved."""
    import torch

    for name, tensor in concept.tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor.float()).all()):
            raise TeachingError(
                f"{concept.method} learned values for {concept.handle} that are not finite numbers ({name}): train "
                "with a lower learning rate, or in float32"
            )


def is_of(concept: Concept, run: Run) -> bool:
    """Whether a concept is the result of this run: the same method, settings, seed, base and subject."""
    header = concept.header
    return all(header.get(key) == json.loads(json.dumps(value)) for key, value in run.header.items())


def prepared_run(
    base: Base,
    subject: Subject,
    method: str | Callable[..., Recipe],
    given: Mapping[str, Any],
    seed: int,
    after: Concept | Path | str | None = None,
) -> Run:
    """Check and prepare everything for training. Raises `InputError` for settings or a subject that the method cannot
    learn, and for a concept that the subject cannot be learned after."""
    function = find(method) if isinstance(method, str) else remember(method)
    name = place_of(function) or function.__name__
    earlier = read_concepts([after], None)[0] if after is not None else None
    chosen = checked_settings(function, given, base=base.name)
    demand_consent(base, subject)
    subject = face_alone(base, subject)
    check_word(subject, base)
    if earlier is not None:
        subject = subject_after(subject, earlier, base, name)
    recipe = function(subject, **chosen)
    check_answers(recipe, subject, name)
    check_suits(base, recipe)
    if not subject.pictures:
        raise PictureError("there are no pictures to learn from: expected one or more (three to five are best)")
    make_weights(name, recipe, base)
    about = {"name": base.name, "family": base.family, "fingerprint": base.fingerprint}
    header = {"method": name, "settings": chosen, "seed": seed, "base": about, "subject": subject.card()}
    if code := code_sha256(function):
        header["method_sha256"] = code
    header["weights"] = {recipe.weights: mark(recipe.weights, base)} if recipe.weights else {}
    stored = tensors_of(earlier) if earlier is not None else {}
    if earlier is not None:
        header["after"] = hash_of(earlier)
    adapter = Adapter(recipe, subject.handle, {**_shipped(recipe, base), **stored}, 1.0, seed)
    check_words(base, adapter.answers)
    check_captions(base, subject, adapter)
    return Run(subject, recipe, adapter, name, header, frozenset(stored))


MOST_VECTORS = 64
"""Largest number of vectors of a learned word."""


def check_captions(base: Base, subject: Subject, adapter: Adapter) -> None:
    """Raise `PromptError`, before training, for a caption with more tokens than the base reads; it names the
    picture."""
    recipe = adapter.recipe
    own = {p.name: recipe.expand(p.caption, subject.handle, base) for p in subject.pictures if p.caption}
    rough = {name: base.num_tokens(text, words={}) for name, text in own.items()}
    if max(rough.values(), default=0) + MOST_VECTORS <= base.max_tokens:
        return
    # the number of tokens of a learned word is known once it is attached
    with attach(base, (adapter,)) as adapted:
        counts = {name: base.num_tokens(text, words=adapted.words) for name, text in own.items()}
    long = [f"{name} ({count})" for name, count in counts.items() if count > base.max_tokens]
    if long:
        raise PromptError(
            f"the captions of {', '.join(long)} have more tokens than {base.name} reads ({base.max_tokens}): "
            "shorten them; nothing is cut"
        )


def to_concept(run: Run, tensors: Mapping[str, Tensor], losses: Sequence[float], seconds: float) -> Concept:
    """The concept of a run: the tensors that the training changed, and those of the concept learned before."""
    shipped = {key: tensor for key, tensor in run.adapter.stored.items() if key not in run.earlier}
    own = {key: tensor for key, tensor in tensors.items() if key not in shipped or not tensor.equal(shipped[key])}
    return Concept(
        handle=run.subject.handle,
        tensors=own,
        losses=list(losses),
        cost=_cost(seconds, losses, own),
        versions=versions(),
        **run.header,
    )


def read_checkpoint(path: Path, header: Mapping[str, Any]) -> tuple[Checkpoint | None, list[float]]:
    """The state that `save_checkpoint` wrote and the losses so far; (None, []) without a file. Raises `FileError` for a
    checkpoint of another run."""
    return _read_checkpoint(path, header)


def _shipped(recipe: Recipe, base: Base) -> Mapping[str, Tensor]:
    from limner.core.weights import shipped

    return shipped(recipe.weights, base) if recipe.weights else {}


def _cost(seconds: float, losses: Sequence[float], tensors: Mapping[str, Tensor]) -> dict[str, float]:
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    count = sum(t.numel() for t in tensors.values())
    return {"seconds": round(seconds, 2), "steps": len(losses), "bytes": size, "parameters": count}
