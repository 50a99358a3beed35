"""The one training loop.

All random values of a run are functions of its seed and step, so that a resumed run gives bit for bit the same result.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import torch

from limner.core.recipe import Rated, Source, Stage
from limner.core.streams import streams
from limner.core.types import AttentionOp, Batch, Condition, Pass, Prediction, References, Streams
from limner.errors import FileError, InputError, TeachingError

from .attach import AdaptedBase, Adapter, attach
from .checkpoint_checks import BEST, EARLIER, GATHERED, MEAN, MOMENTUM, STOP, check_moments, check_tensors
from .evolution import Searcher, summed
from .muon import Muon
from .parallel import ALONE, WHOLE, Share, Spread, Terms
from .sign import Sign

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base


Draws: TypeAlias = "Mapping[Source, Callable[[int, Streams], Batch]]"


@dataclass(frozen=True)
class Progress:
    """The state after an update. `snapshot()` returns everything that is needed to go on from here."""

    stage: int
    step: int  # within the stage, from 0
    total: int  # updates of all stages together
    done: int  # updates so far
    losses: Mapping[str, float]  # weighted, by objective
    seconds: float  # time since training was started or resumed
    resumed: int  # number of updates before it was resumed
    adapted: AdaptedBase = field(repr=False)
    snapshot: Callable[[], Checkpoint] = field(repr=False)
    last: bool = False  # whether it is the last update

    @property
    def loss(self) -> float:
        return sum(self.losses.values())

    @property
    def eta(self) -> float:
        """Seconds left, at the pace so far."""
        return self.seconds / max(self.done - self.resumed, 1) * (self.total - self.done)


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run between two updates: the next stage and step, the trained tensors, and the optimiser's
    moments."""

    stage: int
    step: int
    tensors: Mapping[str, Tensor]
    moments: Mapping[str, Tensor]

    @property
    def learned(self) -> dict[str, Tensor]:
        """The result if training ended here: the tensors, or their exponential moving averages where there are any."""
        return {name: self.moments.get(MEAN + name, tensor) for name, tensor in self.tensors.items()}


def train(
    base: Base,
    adapter: Adapter,
    *,
    stages: Sequence[Stage],
    seed: int = 0,
    start: Checkpoint | None = None,
    spread: Spread = ALONE,
) -> Generator[Progress]:
    """Train, yielding after every update. The base is restored when the generator ends, is closed or raises.

    Args:
        base: the base to train on.
        adapter: the recipe with its handle and tensors.
        stages: stages to run, in order.
        seed: seed of all random streams.
        start: checkpoint to go on from.
        spread: how updates are computed: in parts, or in several processes.

    Raises `TeachingError` when a loss is not a finite number; its `checkpoint` is the last good state.
    """
    _check_parts(base, stages, spread)
    draws, given = _prepare(base, stages), adapter.stored
    adapter = Adapter(
        adapter.recipe, adapter.handle, adapter.stored if start is None else start.tensors, 1.0, adapter.seed
    )
    total, began = sum(stage.steps for stage in stages), time.monotonic()
    resumed = sum(stage.steps for stage in stages[: start.stage]) + start.step if start else 0
    with attach(base, (adapter,)) as adapted:
        if start is not None:
            check_tensors(adapted, start.tensors, stages[: start.stage + 1], given)
        best = Best(adapted, start.moments if start else {})
        earlier: dict[str, Tensor] = {}
        for index in range(start.stage if start else 0, len(stages)):
            before = sum(stage.steps for stage in stages[:index])
            at = start if start is not None and start.stage == index else None
            final = index + 1 == len(stages)
            for step, losses, snapshot, ends in _stage(
                adapted, stages[index], draws, seed, index, at, best, final, spread, earlier
            ):
                seconds, last = time.monotonic() - began, ends and final
                yield Progress(index, step, total, before + step + 1, losses, seconds, resumed, adapted, snapshot, last)


def _stage(
    adapted: AdaptedBase,
    stage: Stage,
    draws: Draws,
    seed: int,
    index: int,
    start: Checkpoint | None,
    best: Best,
    final: bool,
    spread: Spread,
    earlier: dict[str, Tensor],
) -> Iterator[tuple[int, dict[str, float], Callable[[], Checkpoint], bool]]:
    """The updates of one stage: step, losses and snapshot of each, and whether it is the last. `earlier` has the
    tensors that sources made for the stage before, and at the end those of this one."""
    moments = start.moments if start else {}
    earlier.update((name, tensor) for name, tensor in moments.items() if name.startswith(EARLIER))
    parameters, factors = select(stage, adapted)
    if stage.search and spread.parts > 1:
        raise InputError(
            "a stage that is searched without gradients needs one process and whole batches: train it without --accumulate"
        )
    spread.lay_out(adapted)
    stop_state = start.moments.get(STOP, torch.zeros(0)) if start else torch.zeros(0)
    gathered = _gather(adapted, stage, seed, index, moments, earlier)
    draws = {**draws, **_drawn_from(adapted.base, stage, gathered)}
    moments = {name: tensor for name, tensor in moments.items() if not name.startswith((GATHERED, EARLIER))}
    earlier.clear()
    earlier.update(_onward(stage, gathered))
    if stage.anew and not (start and start.step):
        adapted.restart(parameters)
    with learning(parameters, adapted):
        learner: Learner | Searcher = (
            Searcher(stage, adapted, parameters, moments)
            if stage.search
            else Learner(stage, adapted, parameters, factors, moments, spread)
        )
        for step in range(start.step if start else 0, stage.steps):
            terms = functools.partial(_terms, adapted, stage, draws, seed, index, step)
            try:
                losses = learner.update(step, terms, streams(seed, "update", index, step))
            except TeachingError as error:
                error.checkpoint = _snapshot(index, step, adapted, learner, stop_state, best, gathered)()
                raise
            enough, stop_state = stage.stop(adapted, stop_state) if stage.stop else (False, stop_state)
            ends = enough or step + 1 == stage.steps
            if ends:
                learner.settle()
            if ends and stage.score:
                best.consider(stage.score(adapted))
            if ends and final:
                best.put_back()
            if ends and not final:  # a resumed run goes on with the next stage, also where this one ended early
                yield step, losses, _snapshot(index + 1, 0, adapted, None, torch.zeros(0), best, dict(earlier)), ends
            else:
                yield step, losses, _snapshot(index, step + 1, adapted, learner, stop_state, best, gathered), ends
            if enough:
                return


def _gather(
    adapted: AdaptedBase,
    stage: Stage,
    seed: int,
    index: int,
    moments: Mapping[str, Tensor],
    earlier: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Tensors that sources make at the start of a stage with the adapters as trained so far, or those in a checkpoint
    of this stage. Their names are "gathered.SOURCE.KEY", with sources numbered in the order of the stage's terms."""
    tensors: dict[str, Tensor] = {}
    strange = [name for name in moments if name.startswith(GATHERED)] if not _gathering(stage) else []
    if strange:
        raise FileError(
            f"the checkpoint has {strange[0][:100]!r}, which no source of this stage gathers: delete it to start anew"
        )
    for number, source in enumerate(_gathering(stage)):
        prefix = f"{GATHERED}{number}."
        source_tensors = {name: tensor for name, tensor in moments.items() if name.startswith(prefix)}
        if not source_tensors:
            assert source.gather is not None
            before = _under(f"{EARLIER}{source.name}.", earlier)
            with torch.no_grad():
                made = source.gather.make(adapted, streams(seed, source.name, index, 0), before)
            source_tensors = {prefix + name: tensor.detach().cpu() for name, tensor in made.items()}
        tensors |= source_tensors
    return tensors


def _drawn_from(base: Base, stage: Stage, gathered: Mapping[str, Tensor]) -> dict[Source, Any]:
    """Each source with a `gather` -> the function that draws its batches."""
    draws: dict[Source, Any] = {}
    for number, source in enumerate(_gathering(stage)):
        assert source.gather is not None
        draws[source] = source.gather.draw(base, _under(f"{GATHERED}{number}.", gathered))
    return draws


def _onward(stage: Stage, gathered: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of sources that the next stage's are given, by "earlier.SOURCE.KEY"."""
    return {
        f"{EARLIER}{source.name}.{name}": tensor
        for number, source in enumerate(_gathering(stage))
        if source.gather and source.gather.onward
        for name, tensor in _under(f"{GATHERED}{number}.", gathered).items()
    }


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _gathering(stage: Stage) -> list[Source]:
    return [source for source in dict.fromkeys(term.source for term in stage.loss) if source.gather]


def _check_parts(base: Base, stages: Sequence[Stage], spread: Spread) -> None:
    """Raise `InputError` where batches are split and a loss is not the mean of the losses of the parts."""
    across = [term.name for stage in stages for term in stage.loss if term.across]
    if base.predicts == "tokens":
        across += [f"the loss of {base.family}"]  # rows are weighted by their numbers of masked tokens
    if spread.parts > 1 and across:
        raise InputError(
            f"{across[0]} looks across the rows of a batch, so {spread.parts} parts of it would give another result: "
            "train it in one process and without --accumulate"
        )


@contextmanager
def learning(parameters: Mapping[str, Tensor], adapted: AdaptedBase) -> Iterator[None]:
    """At the end, also after an exception, these parameters no longer require gradients."""
    try:
        yield
    finally:
        for tensor in parameters.values():
            tensor.requires_grad_(False)
            tensor.grad = None
        adapted.averages = {}
        adapted.text_learns(False)


class Best:
    """The adapter's tensors at the end of the best of those stages that have a score."""

    def __init__(self, adapted: AdaptedBase, moments: Mapping[str, Tensor]) -> None:
        self.adapted = adapted
        self.state = {name: tensor for name, tensor in moments.items() if name.startswith(BEST)}

    def consider(self, score: float) -> None:
        if not self.state or score > float(self.state[BEST]):
            now = {BEST + name: tensor.detach().clone() for name, tensor in self.adapted.tensors.items()}
            self.state = {BEST: torch.tensor(score, dtype=torch.float64), **now}

    def put_back(self) -> None:
        now = self.adapted.tensors
        with torch.no_grad():
            for name, tensor in self.state.items():
                if name != BEST:
                    now[name.removeprefix(BEST)].copy_(tensor)
        self.adapted.round_off(now)


class Learner:
    """The parameters of one stage and their optimiser.

    Whatever a base's precision, trained values are stored in single precision, as are their gradients, moments and
    averages; runs compute with rounded copies (arXiv:1710.03740).
    """

    def __init__(
        self,
        stage: Stage,
        adapted: AdaptedBase,
        parameters: Mapping[str, Tensor],
        factors: Mapping[str, float],
        moments: Mapping[str, Tensor],
        spread: Spread,
    ) -> None:
        self.stage, self.adapted, self.parameters, self.spread = stage, adapted, dict(parameters), spread
        for tensor in self.parameters.values():
            tensor.requires_grad_(True)
        adapted.text_learns(any(name.startswith(("text_encoder", "word.", "prefix.")) for name in self.parameters))
        self.singles = adapted.in_single(self.parameters)
        groups: dict[float, list[Tensor]] = {}
        for name, tensor in self.singles.items():
            groups.setdefault(factors[name], []).append(tensor)
        self.optimizer = _optimizer(stage, groups)
        check_moments(moments, self.singles, adapted.tensors, optimizer=stage.optimizer)
        for name, tensor in self.singles.items():
            state = {k: moments[f"{k}.{name}"] for k in _MOMENTS if f"{k}.{name}" in moments}
            if state:  # a checkpoint is loaded on the CPU, where the optimiser's count of steps stays
                self.optimizer.state[tensor] = {
                    k: v.clone() if k == "step" else v.to(tensor.device, copy=True) for k, v in state.items()
                }
        self.computing: Any = spread.around(self.parameters)
        first = {n: moments.get(MEAN + n, p.detach()) for n, p in self.singles.items()} if stage.average else {}
        self.means = {name: tensor.to(self.singles[name].device, copy=True) for name, tensor in first.items()}
        start = {n: moments.get(MOMENTUM + n, p.detach()) for n, p in self.singles.items()} if stage.momentum else {}
        self.averages = {name: tensor.to(self.singles[name].device, copy=True) for name, tensor in start.items()}
        adapted.averages = self.averages

    def update(self, step: int, make: Callable[[Share], Terms], random: Streams) -> dict[str, float]:
        """One step of the optimiser on the sum of the terms. Raises `TeachingError`, with nothing changed, where the
        loss or the gradient is not finite."""
        self.optimizer.zero_grad(set_to_none=True)
        losses = self.spread.mean(self._descend(make))
        self._gather()
        norm = torch.nn.utils.clip_grad_norm_(list(self.singles.values()), self.stage.clip, foreach=True)
        if not math.isfinite(sum(losses.values())) or not bool(norm.isfinite()):
            raise TeachingError(
                f"at step {step} the loss is {losses} and the gradient's norm {float(norm)}: expected finite numbers. "
                f"Likely causes: a learning rate too high (now {self.stage.lr:g}; try a tenth), half precision that "
                "overflows (try float32), or a picture with broken values. The last good state is kept"
            )
        for group in self.optimizer.param_groups:
            group["lr"] = self.stage.rate(step) * group["factor"]
        self.optimizer.step()
        self.adapted.round_off(self.parameters)
        self._project()
        self._average(step)
        return losses

    def _project(self) -> None:
        """Let the stage project its parameters, and write them to the network where that is in half precision."""
        if self.stage.after:
            with torch.no_grad():
                self.stage.after(self.adapted)
            self.adapted.round_off(self.parameters)

    def _gather(self) -> None:
        """Move gradients in half precision to the copies of the parameters in single precision."""
        for name, tensor in self.parameters.items():
            if tensor is not self.singles[name]:
                self.singles[name].grad = None if tensor.grad is None else tensor.grad.float()
                tensor.grad = None

    def _descend(self, make: Callable[[Share], Terms]) -> dict[str, float]:
        """Sum the gradients of this process's parts of the batch; returns the mean losses of the parts."""
        losses: dict[str, float] = {}
        shares = self.spread.shares
        for share in shares:
            with nullcontext() if share is shares[-1] else self.spread.unsent(self.computing):
                terms = self.computing(functools.partial(make, share))
                total: Tensor = torch.stack([value for _, value in terms]).sum() / len(shares)
                total.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            for name, value in summed(terms).items():
                losses[name] = losses.get(name, 0.0) + value / len(shares)
        return losses

    def _average(self, step: int) -> None:
        """Update the exponential moving averages of the parameters. In the first updates, the decay of the one that
        replaces them is at most (1 + n) / (10 + n), so that it forgets the initial values."""
        keeps = min(self.stage.average, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, mean in self.means.items():
                mean.lerp_(self.singles[name], 1 - keeps)
            for name, mean in self.averages.items():
                mean.lerp_(self.singles[name], 1 - self.stage.momentum)

    def settle(self) -> None:
        """At the end of a stage, replace the parameters by their exponential moving averages, if there are any."""
        with torch.no_grad():
            for name, mean in self.means.items():
                self.singles[name].copy_(mean)
        self.adapted.round_off(self.means)

    def moments(self) -> dict[str, Tensor]:
        """The optimiser's state by parameter name, and the exponential moving averages."""
        state = {name: self.optimizer.state.get(tensor, {}) for name, tensor in self.singles.items()}
        optimizer_moments = {
            f"{kind}.{name}": value.clone() for name, kinds in state.items() for kind, value in kinds.items()
        }
        averages = {MOMENTUM + name: mean.clone() for name, mean in self.averages.items()}
        return optimizer_moments | averages | {MEAN + name: mean.clone() for name, mean in self.means.items()}


_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def _optimizer(stage: Stage, groups: Mapping[float, Sequence[Tensor]]) -> torch.optim.Optimizer:
    """The stage's optimiser for these tensors, by the multiple of the stage's learning rate."""
    parts = [{"params": tensors, "factor": factor} for factor, tensors in groups.items()]
    about: dict[str, Any] = {"lr": stage.lr, "weight_decay": stage.weight_decay}
    if stage.optimizer == "sign":
        return Sign(parts, **about)
    processor = all(tensor.device.type == "cpu" for tensors in groups.values() for tensor in tensors)
    # on a CPU, the fused form takes a third of the time
    about |= {"betas": (0.9, 0.99), "foreach": not processor, "fused": processor}
    return OPTIMIZERS[stage.optimizer](parts, **about)


OPTIMIZERS = {"adamw": torch.optim.AdamW, "muon": Muon}


def select(stage: Stage, adapted: AdaptedBase) -> tuple[dict[str, Tensor], dict[str, float]]:
    """The parameters of a stage by name, and the multiple of its learning rate for each. The original values of base
    parameters among them are stored, to be restored at the end. For a parameter in two selections, the last one's rate
    holds. Raises `InputError` where no parameter is selected."""
    parts = [
        (selection(adapted), selection.factor if isinstance(selection, Rated) else 1.0) for selection in stage.train
    ]
    chosen = {name: tensor for parameters, _ in parts for name, tensor in parameters.items()}
    if not chosen:
        raise InputError("the stage's selections match no parameter: nothing would be trained")
    adapted.changing(list(chosen))
    return chosen, {name: factor for parameters, factor in parts for name in parameters}


@dataclass
class Update:
    """One source's batch in one update: the `Step` that objectives see."""

    adapted: AdaptedBase
    batch: Batch
    time: Tensor
    noise: Tensor
    random: Streams
    # batches of this update that run in one pass, while its losses are computed; otherwise it runs alone
    together: list[Update] = field(default_factory=list, repr=False)
    _prediction: Prediction | None = None

    @property
    def noised(self) -> Tensor:
        return self.adapted.base.noised(self.batch.latents, self.noise, self.time)

    @property
    def target(self) -> Tensor:
        return self.adapted.base.target(self.batch.latents, self.noise, self.time)

    @property
    def prediction(self) -> Prediction:
        if self._prediction is None:
            _predict(self.adapted, self.together or [self])
        assert self._prediction is not None
        return self._prediction

    @property
    def x0(self) -> Tensor:
        return self.adapted.base.x0(self.noised, self.prediction.output, self.time)

    def prediction_for(
        self, prompts: Sequence[str], *, references: References | None = None, operations: tuple[AttentionOp, ...] = ()
    ) -> Prediction:
        """The prediction for the same noised latents with other prompts and references, in a separate run, in which
        these operations act too."""
        other = self.on(replace(self.batch, prompts=tuple(prompts), references=references))
        _predict(self.adapted, [other], operations)
        return other.prediction

    def on(self, batch: Batch) -> Update:
        """The same times and noise with another batch of the same size, in a separate run."""
        other = replace(self, batch=batch)
        other.together, other._prediction = [], None
        return other

    def base_prediction(self, prompts: Sequence[str] | None = None) -> Prediction:
        """The unchanged base's prediction for the same noised latents, without gradient, with these prompts or the
        batch's."""
        with torch.no_grad(), self.adapted.suspended():
            states = self.adapted.text_states(prompts or self.batch.prompts)
            about: dict[str, Any] = {"conditions": self.batch.conditions, "frames": self.batch.frames}
            run = Pass(time=self.time, fused=self.adapted.base.device.type != "cpu", **about)
            return self.adapted.base.reconstruct(self.batch, Condition(states, self.time, self.noise, run))

    def momentum_prediction(self, *, text: bool = False) -> Prediction:
        """The prediction for the same noised latents by the denoiser with the exponential moving averages of its
        trained parameters, without gradient. The prompts are read with the parameters as they are now, or, with `text`,
        with their averages too."""
        if not self.adapted.averages:
            raise InputError("this stage averages no parameters, which an objective predicts with: give it `momentum`")
        other = self.on(self.batch)
        with torch.no_grad():
            states = None if text else self.adapted.text_states(self.batch.prompts)
            with self.adapted.averaged():
                _predict(self.adapted, [other], states=states)
        return other.prediction


Kind = TypeVar("Kind", bound=Update)


def begin_update(
    kind: type[Kind],
    adapted: AdaptedBase,
    source: Source,
    draw: Callable[[int, Streams], Batch],
    seed: int,
    stage: int,
    step: int,
    share: Share = WHOLE,
    **more: Any,
) -> Kind:
    """A source's batch with its noise and times, or a share of them: a function of seed, stage and step alone."""
    at = streams(seed, source.name, stage, step)
    batch, base = draw(step, at), adapted.base
    noise = torch.randn(batch.latents.shape, generator=at("noise")).to(base.device, base.dtype)
    times = base.draw_times(len(batch.latents) // batch.frames, at("time")).to(base.device)
    if batch.times is not None:
        low, high = batch.times[:: batch.frames].to(times.device).double().unbind(1)
        times = (low * base.num_train_times + times.double() * (high - low)).to(times.dtype)
    elif source.times != (0.0, 1.0):
        first, last = source.times
        times = (first * base.num_train_times + times.double() * (last - first)).to(times.dtype)
    if batch.frames > 1:  # all frames of a clip share one time
        times = times.repeat_interleave(batch.frames)
    rows = share.rows_of(batch) if share.count > 1 else slice(None)
    if share.count > 1 and batch.weight is not None and len(batch.weight.unique()) > 1:
        raise InputError(
            f"rows of {source.name} have different weights, so the parts of a batch would give another result than the "
            "whole: train it in one process and without --accumulate"
        )
    part = share.of(batch).rendered(adapted)
    return kind(adapted, part, times[rows], noise[rows], share.streams(at), **more)


def _prepare(base: Base, stages: Sequence[Stage]) -> Draws:
    if base.predicts == "tokens":
        strange = [term.name for stage in stages for term in stage.loss if not term.any_target]
        if strange:
            raise InputError(
                f"{strange[0]} compares predictions of noise, and {base.name} ({base.family}) predicts masked tokens: this "
                "method cannot be used on it; choose one that learns by reconstruction alone, such as lora_dreambooth"
            )
    sources = dict.fromkeys(term.source for stage in stages for term in stage.loss)
    return {source: source.prepare(base) for source in sources}


def _terms(
    adapted: AdaptedBase, stage: Stage, draws: Draws, seed: int, index: int, step: int, share: Share = WHOLE
) -> Terms:
    updates: dict[Source, Update] = {}
    for source in dict.fromkeys(term.source for term in stage.loss):
        updates[source] = begin_update(Update, adapted, source, draws[source], seed, index, step, share)
    for update in updates.values():
        update.together = [other for other in updates.values() if other.batch.layout == update.batch.layout]
    values = [(term.name, term.weight * term.value(updates[term.source])) for term in stage.loss]
    for update in updates.values():
        update.together.clear()  # an update among its own batches would wait for Python's collector
    return values


def _predict(
    adapted: AdaptedBase,
    updates: Sequence[Update],
    operations: tuple[AttentionOp, ...] = (),
    states: Tensor | None = None,
) -> None:
    """One run of the denoiser for all batches of an update; `states` are the hidden states of all prompts, if they are
    known."""
    batches = [update.batch for update in updates]
    times = torch.cat([update.time for update in updates])
    prompts = [prompt for batch in batches for prompt in batch.prompts]
    states = adapted.text_states(prompts) if states is None else states
    fused = adapted.base.device.type != "cpu"
    expanded_prompts = tuple(adapted.expand_prompt(prompt) for prompt in prompts)
    about = {"references": joined_references(batches), "random": updates[0].random, **joined_conditions(batches)}
    _check_conditions(adapted, batches[0])
    noised = torch.cat([update.noised for update in updates])
    run = adapted.run(time=times, latents=noised, prompts=expanded_prompts, fused=fused, **about)
    run.operations += operations
    if adapted.base.checkpointing:  # operations of attention store maps in the run, which must not be stored twice
        adapted.base.checkpoint(not run.operations)
    output = adapted.base.predict(noised, times, states, context=run)
    start = 0
    for update in updates:
        rows = slice(start, start + len(update.batch.latents))
        update._prediction, start = Prediction(output[rows], run, rows), rows.stop


def joined_conditions(batches: Sequence[Batch]) -> dict[str, Any]:
    """The conditions of batches with equal layouts, and the number of frames of their clips, as arguments of `Pass`."""
    names = batches[0].conditions
    return {
        "conditions": {name: torch.cat([batch.conditions[name] for batch in batches]) for name in names},
        "frames": batches[0].frames,
    }


def _check_conditions(adapted: AdaptedBase, batch: Batch) -> None:
    """Raise `InputError` where adapters read a condition that a source does not give."""
    missing = sorted(adapted.reads - batch.conditions.keys())
    if missing:
        raise InputError(
            f"this recipe reads the condition {missing[0]!r}, and its source gives "
            f"{', '.join(sorted(batch.conditions)) or 'none'}: give the source conditions={{{missing[0]!r}: …}}"
        )


def joined_references(batches: Sequence[Batch]) -> References | None:
    """The references of several batches as one; rows of a batch without any are dropped."""
    given = [batch.references for batch in batches if batch.references is not None]
    if not given:
        return None
    if len(batches) == 1:
        return given[0]
    every = [batch.references or _nothing(given[0], len(batch.latents)) for batch in batches]
    masked, counted = all(r.masks is not None for r in every), all(r.identity is not None for r in every)
    marked, boxed = all(r.landmarks is not None for r in every), all(r.boxes is not None for r in every)
    moved = all(r.moves is not None for r in every)
    return References(
        torch.cat([r.pixels for r in every]),
        torch.cat([r.masks for r in every if r.masks is not None]) if masked else None,
        tuple(caption for r in every for caption in r.captions) if all(r.captions for r in every) else (),
        tuple(noun for r in every for noun in r.nouns) if all(r.nouns for r in every) else (),
        torch.cat([r.identity for r in every if r.identity is not None]) if counted else None,
        ~torch.cat([r.on for r in every]),
        tuple(look for r in every for look in r.looks) if all(r.looks for r in every) else (),
        torch.cat([r.landmarks for r in every if r.landmarks is not None]) if marked else None,
        torch.cat([r.boxes for r in every if r.boxes is not None]) if boxed else None,
        torch.cat([r.moves for r in every if r.moves is not None]) if moved else None,
        _joined_beside(every),
    )


def _joined_beside(every: Sequence[References]) -> tuple[References, ...]:
    """The references of each further subject in several batches as one; a batch without that subject drops it."""
    most = max((r.beside for r in every), key=len)
    joined = []
    for place, like in enumerate(most):
        parts = [r.beside[place] if place < len(r.beside) else _nothing(like, len(r)) for r in every]
        joined.append(joined_references([Batch(r.pixels, (), references=r) for r in parts]))
    return tuple(references for references in joined if references is not None)


def _nothing(like: References, rows: int) -> References:
    """References for rows without any: blank and marked as dropped."""
    blank = like.pixels.new_zeros(rows, *like.pixels.shape[1:])
    return References(blank, dropped=torch.ones(rows, dtype=torch.bool))


def _snapshot(
    stage: int,
    step: int,
    adapted: AdaptedBase,
    learner: Learner | Searcher | None,
    stop_state: Tensor,
    best: Best,
    gathered: Mapping[str, Tensor] = MappingProxyType({}),
) -> Callable[[], Checkpoint]:
    def take() -> Checkpoint:
        tensors = {name: tensor.detach().clone() for name, tensor in adapted.tensors.items()}
        own = learner.moments() if learner else {}
        moments = own | best.state | dict(gathered) | ({STOP: stop_state} if len(stop_state) else {})
        return Checkpoint(stage, step, tensors, moments)

    return take
