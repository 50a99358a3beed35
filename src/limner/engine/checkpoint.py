"""Running the stages of training to their end, with checkpoints from which an interrupted run goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from limner.core.files import atomic_write
from limner.core.interrupts import TrainingPaused, stopping
from limner.core.tensor_files import read_safetensors
from limner.core.untrusted import HASH, content_hash
from limner.errors import FileError, TeachingError

from .attach import attach
from .checkpoint_checks import FORMAT, check_position, check_run, split_parts
from .checkpoint_checks import versions as library_versions
from .parallel import ALONE
from .train import Checkpoint, train

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base
    from limner.core.recipe import Recipe, Stage
    from limner.core.subject import Subject

    from .attach import Adapter
    from .parallel import Spread
    from .train import Progress


T = TypeVar("T")
CHECKPOINT_SECONDS = 10.0
CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class Run:
    """A run that trains one subject: its recipe, its adapter, its method and the header of its files."""

    subject: Subject
    recipe: Recipe
    adapter: Adapter
    method: str
    header: dict[str, Any]
    earlier: frozenset[str] = frozenset()  # names of its tensors that come from the concept learned before


def run_updates(
    base: Base,
    adapter: Adapter,
    stages: Sequence[Stage],
    seed: int,
    *,
    header: Mapping[str, Any],
    checkpoints: Path | str | None = None,
    resume: bool = True,
    watch: Callable[[Progress], object] | None = None,
    spread: Spread = ALONE,
    pause: Callable[[], bool] = lambda: False,
) -> Generator[Progress, None, tuple[dict[str, Tensor], list[float]]]:
    """Train, yielding every update; at the end, return all tensors of the adapter and the loss of every update.

    Args:
        base: the base to train on; it is restored at the end.
        adapter: the recipe with its handle and tensors.
        stages: stages to run. Without any, the recipe is only attached.
        seed: seed of all random streams.
        header: identifies the run. A checkpoint with another header is refused with `FileError`.
        checkpoints: folder of the run's checkpoint; None saves none. The checkpoint stays after the last update:
            `discard` it once the result is saved.
        resume: go on from a checkpoint in the folder.
        watch: called with every update; training ends where it returns True.
        spread: how updates are divided over processes. The main process writes, and all stop together.
        pause: called after every update. Where it returns True, the checkpoint is written (with a folder alone) and
            `TrainingPaused` raised.
    """
    if not stages:
        with attach(base, (adapter,)) as adapted:
            return {name: tensor.detach().clone() for name, tensor in adapted.tensors.items()}, []
    path = Path(checkpoints) / CHECKPOINT if checkpoints is not None else None
    header = {**header, "parts": spread.parts}  # the number of parts changes rounding errors of sums
    start, losses = _read_checkpoint(path, header, stages) if resume and path else (None, [])
    tensors = dict(start.learned) if start else {}  # the result, where the checkpoint was made after the last update
    saved = time.monotonic()
    try:
        teaching = train(base, adapter, stages=stages, seed=seed, start=start, spread=spread)
        with stopping() as asked, closing(teaching) as running:
            for progress in running:
                losses.append(progress.loss)
                enough, halted = spread.any(watch is not None and watch(progress) is True, asked())
                yield progress
                if enough or progress.last:
                    tensors = progress.snapshot().learned
                    break
                paused = pause()
                due = (
                    halted
                    or paused
                    or time.monotonic() - saved > CHECKPOINT_SECONDS
                    or _before_gathering(stages, progress)
                )
                if path and spread.main and due:
                    save_checkpoint(path, progress.snapshot(), header, losses)
                    saved = time.monotonic()
                if halted:
                    raise KeyboardInterrupt
                if paused:
                    raise TrainingPaused
    except TeachingError as error:
        if path and spread.main and error.checkpoint is not None:
            save_checkpoint(path, error.checkpoint, header, losses)
        raise
    return tensors, losses


def _before_gathering(stages: Sequence[Stage], progress: Progress) -> bool:
    """Whether a stage has ended and the sources of the next one gather tensors: long work, which may end the run to ask
    for something."""
    ended = progress.step + 1 == stages[progress.stage].steps
    following = stages[progress.stage + 1 : progress.stage + 2] if ended else ()
    return any(term.source.gather for stage in following for term in stage.loss)


def run_to_end(
    base: Base,
    adapter: Adapter,
    stages: Sequence[Stage],
    seed: int,
    *,
    header: Mapping[str, Any],
    checkpoints: Path | str | None = None,
    resume: bool = True,
    watch: Callable[[Progress], object] | None = None,
    spread: Spread = ALONE,
) -> tuple[dict[str, Tensor], list[float]]:
    """`run_updates`, run to its end: all tensors of the adapter, and the loss of every update."""
    return finish(
        run_updates(
            base,
            adapter,
            stages,
            seed,
            header=header,
            checkpoints=checkpoints,
            resume=resume,
            watch=watch,
            spread=spread,
        )
    )


def finish(running: Generator[object, None, T]) -> T:
    """Run a generator to its end and return its value."""
    with closing(running):
        while True:
            try:
                next(running)
            except StopIteration as ended:
                value: T = ended.value
                return value


def discard(folder: Path | str | None) -> None:
    """Delete the checkpoint in a run's folder once the result is saved elsewhere."""
    if folder is not None:
        (Path(folder) / CHECKPOINT).unlink(missing_ok=True)


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


def _read_checkpoint(
    path: Path, header: Mapping[str, Any], stages: Sequence[Stage] | None = None
) -> tuple[Checkpoint | None, list[float]]:
    """The checkpoint and the losses so far; None and no losses without a file. Raises `FileError` for a checkpoint of
    another run."""
    if not path.exists():
        return None, []
    metadata, read = read_safetensors(path, what="checkpoint")
    if metadata.get("format", 1) not in (1, FORMAT) or "place" not in metadata:
        raise FileError(f"{path} is no checkpoint that this limner reads; delete it to start anew")
    check_run(path, metadata, header)
    stage, step, losses = check_position(path, metadata["place"], stages)
    tensors, moments = split_parts(path, read)
    return Checkpoint(stage, step, tensors, moments), losses
