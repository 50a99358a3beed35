"""Pre-training: the weights that a method starts from are trained once for a base."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from limner.engine.parallel import Spread
from limner.errors import InputError

if TYPE_CHECKING:
    from limner.core.base import Base
    from limner.core.corpus import Corpus
    from limner.core.recipe import Recipe, Source, Stage
    from limner.engine.train import Progress

T = TypeVar("T")
LOSSES = 50
"""Number of losses in the header of the weights: evenly spread over the run, with the first and the last."""


@dataclass(frozen=True)
class Manner:
    """How weights are trained, besides the method's own settings."""

    accumulate: int = 1  # number of parts in which each batch is computed
    ema: float = 0.0  # decay of the exponential moving average that is saved; 0 saves the weights themselves
    # precision of the computation, by default the device's fastest; trained weights stay in the base's precision
    precision: Literal["auto", "bfloat16", "float32"] = "auto"

    def __post_init__(self) -> None:
        if not 0 <= self.ema < 1:
            raise InputError(
                f"--ema is the decay of an exponential moving average, from 0 (none) to below 1, not {self.ema}"
            )
        if self.precision not in ("auto", "bfloat16", "float32"):
            raise InputError(f"the precision is auto, bfloat16 or float32, not {self.precision!r}")


@dataclass(frozen=True)
class Training:
    """A pre-training that is ready to run."""

    name: str
    base: Base
    recipe: Recipe
    settings: Mapping[str, Any]
    stages: tuple[Stage, ...]
    corpus: Corpus | None  # None: the recipe's own
    seed: int
    manner: Manner
    spread: Spread
    to: Path | None = None  # file of the weights; None: the one that `weights_path` returns

    @property
    def seen(self) -> Corpus:
        """The corpus to learn from."""
        from limner.parts.sources.corpus import corpus_of

        own = (term.source.corpus for stage in self.stages for term in stage.loss)
        return corpus_of(self.base, self.corpus or next((corpus(self.base) for corpus in own if corpus), None))

    @property
    def header(self) -> dict[str, Any]:
        """The identity of the run: a checkpoint with another header belongs to another run. The number of parts and of
        processes is not in it, since it does not change the weights."""
        corpus = {"name": self.seen.name, "fingerprint": self.seen.fingerprint}
        manner = {"ema": self.manner.ema, "precision": self.manner.precision}
        about = {"method": self.name, "settings": dict(self.settings), "seed": self.seed, "corpus": corpus, **manner}
        return about | {"base": {"name": self.base.name, "fingerprint": self.base.fingerprint}}


def pretrain(
    name: str,
    *,
    base: Base | str = "pocket",
    corpus: Corpus | str | None = None,
    seed: int = 0,
    run: Path | None = None,
    manner: Manner | None = None,
    watch: Callable[[Progress], object] | None = None,
    spread: Spread | None = None,
    device: str | None = None,
    **given: Any,
) -> Path:
    """Run the pre-training stages of a method, on its own corpus or another, and save the weights where `learn` finds
    them.

    After an interruption the same call continues from the last checkpoint, to the same bits. Raises `InputError` for a
    method without pre-training, and for a corpus where the method's source takes no other.
    """
    ready = prepared(
        name, base=base, corpus=corpus, seed=seed, manner=manner, spread=spread, device=device, given=given
    )
    return trained(ready, run=run, watch=watch)


def prepared(
    name: str,
    *,
    base: Base | str = "pocket",
    corpus: Corpus | str | None = None,
    seed: int = 0,
    manner: Manner | None = None,
    spread: Spread | None = None,
    device: str | None = None,
    given: Mapping[str, Any],
    to: Path | None = None,
) -> Training:
    """Check everything before a pre-training, and return it ready to run."""
    from limner.bases.common.loading import load
    from limner.core.precision import fastest_precision
    from limner.core.subject import Subject
    from limner.data import corpora
    from limner.engine.attach import check_suits
    from limner.library.settings import checked_settings
    from limner.methods import find

    manner, function = manner or Manner(), find(name)
    spread = spread or Spread(manner.accumulate)
    loaded = load(base, device=device or spread.device) if isinstance(base, str) else base
    if manner.precision == "auto":
        manner = replace(manner, precision=fastest_precision(loaded.device))
    chosen = checked_settings(function, given, base=loaded.name)
    recipe = function(Subject("<nobody>", "toy"), **chosen)
    if not recipe.pretraining or not recipe.weights:
        raise InputError(f"{name} has nothing to pre-train: no stage of it learns from a corpus")
    check_suits(loaded, recipe)
    stages = tuple(replace(stage, average=manner.ema or stage.average) for stage in recipe.pretraining)
    if isinstance(corpus, str):
        with spread.main_first():
            corpus = corpora.corpus(corpus)
    if corpus is not None:
        corpus = corpora.fitted(corpus, loaded)
        stages = over(stages, corpus)
    return Training(name, loaded, recipe, chosen, stages, corpus, seed, manner, spread, to)


def over(stages: tuple[Stage, ...], corpus: Corpus) -> tuple[Stage, ...]:
    """The stages with their sources on another corpus. Terms that share a source still do. Raises `InputError` for a
    source that takes no other corpus."""
    new_sources: dict[Source, Source] = {}
    for source in dict.fromkeys(term.source for stage in stages for term in stage.loss):
        if source.over is None:
            raise InputError(
                f"this method learns from {source.name}, which no other corpus can replace: leave out --corpus"
            )
        new_sources[source] = source.over(corpus)
    return tuple(
        replace(stage, loss=tuple(replace(term, source=new_sources[term.source]) for term in stage.loss))
        for stage in stages
    )


def folder_of(ready: Training, run: Path | None = None) -> Path:
    """The folder for a run's checkpoint and previews."""
    from limner.core.cache import cache_folder

    return run or cache_folder() / "pretraining" / f"{ready.recipe.weights}-{ready.base.fingerprint}"


def trained(ready: Training, *, run: Path | None = None, watch: Callable[[Progress], object] | None = None) -> Path:
    """Run it, and write the weights; of several processes, the main one does."""
    from limner.engine.checkpoint import finish

    return finish(trained_updates(ready, run=run, watch=watch))


def trained_updates(
    ready: Training,
    *,
    run: Path | None = None,
    watch: Callable[[Progress], object] | None = None,
    pause: Callable[[], bool] = lambda: False,
) -> Generator[Progress, None, Path]:
    """`trained`, yielding every update; the generator returns the file of the weights. `pause` is called after every
    update; where it returns True, the checkpoint is written and `TrainingPaused` raised."""
    from limner.core.files import check_folder
    from limner.core.weights import save_weights, shipped, weights_path
    from limner.engine.attach import Adapter, attach
    from limner.engine.checkpoint import discard, run_updates

    base, recipe, began = ready.base, ready.recipe, time.monotonic()
    assert recipe.weights is not None
    if ready.spread.main:
        check_folder(folder_of(ready, run))
        check_folder((ready.to or weights_path(recipe.weights, base)).parent)
    start = shipped(recipe.begins, base) if recipe.begins else {}
    adapter = Adapter(recipe, "<nobody>", start, 1.0, ready.seed)
    with attach(base, (adapter,)) as adapted:
        names = {name for stage in ready.stages for selection in stage.train for name in selection(adapted)}
    updates = run_updates(
        base,
        adapter,
        ready.stages,
        ready.seed,
        header=ready.header,
        checkpoints=folder_of(ready, run),
        watch=watch,
        spread=ready.spread,
        pause=pause,
    )
    tensors, losses = yield from _computed(updates, base, ready.manner)
    if not ready.spread.main:
        return ready.to or weights_path(recipe.weights, base)
    weights = {key: tensor for key, tensor in tensors.items() if key in names}
    about = _about(ready, losses, time.monotonic() - began)
    path = save_weights(recipe.weights, base, weights, about=about, path=ready.to)
    discard(folder_of(ready, run))
    return path


def _computed(updates: Generator[Progress, None, T], base: Base, manner: Manner) -> Generator[Progress, None, T]:
    """Yield the updates, each computed in the manner's precision; the caller's code between updates is not affected."""
    import torch

    with closing(updates):
        while True:
            # without the cache of autocast, which would outlive the update
            computing = torch.autocast(base.device.type, torch.bfloat16, cache_enabled=False)
            with nullcontext() if manner.precision == "float32" else computing:
                try:
                    progress = next(updates)
                except StopIteration as ended:
                    value: T = ended.value
                    return value
            yield progress


def _about(ready: Training, losses: list[float], seconds: float) -> dict[str, Any]:
    """Fields of the weights' header about how they were made."""
    from limner.core.versions import versions

    every = max(1, len(losses) // LOSSES)
    parts = {"accumulate": ready.manner.accumulate, "processes": ready.spread.processes}
    corpus = dict(ready.seen.record)
    about = {key: value for key, value in ready.header.items() if key not in ("method", "base", "corpus")}
    return {
        **about,
        **parts,
        "corpus": corpus,
        "updates": len(losses),
        "losses": [loss for n, loss in enumerate(losses) if n % every == 0 or n + 1 == len(losses)],
        "seconds": round(seconds, 1),
        "versions": versions(),
    }
