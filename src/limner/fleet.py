"""Many subjects taught at once: one frozen base, one pass for all of them, and in it each row wears its own subject's change.

A subject taught in a fleet is the subject taught alone: the same random streams, objectives, rates and optimiser, so the same
concept but for the order in which a few sums are added up (within 2e-3 of its length after a few updates, tests/test_fleet.py).
Whoever its neighbours are makes no difference to it, nor does one of them failing.
"""

from __future__ import annotations

import queue
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from .bases.attention import Pass
from .concept import Concept
from .errors import InputError, TeachingError
from .keeping import TEXT_BYTES, Recent
from .learning import described, prepared_run
from .recipe import AttentionOp, Batch, Live, Prediction, Rated, Recipe, References, Source, Stage, Streams
from .rows import Rows, alias, alike, worn_by_rows
from .teaching import Checkpoint, Update, begun, joined_references
from .wearing import Outfit, Worn

if TYPE_CHECKING:
    from torch import Tensor

    from .bases.protocol import Base
    from .subject import Subject

SLOTS = 16
GRACE = 0.05  # seconds that a fleet waits for a job that may be there already
BETAS, EPSILON = (0.9, 0.99), 1e-8  # of AdamW, as `teaching.Learner` has them


@dataclass(frozen=True)
class Job:
    """A subject to teach, by a method whose modifiers all have a stacked form."""

    subject: Subject
    method: str | Callable[..., Recipe] = "lora_dreambooth"
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    start: Checkpoint | None = None


@dataclass(frozen=True)
class Done:
    """A subject that has left the fleet: what was learned, or why it could not be, and its last good state."""

    job: Job
    concept: Concept | None
    error: Exception | None
    checkpoint: Checkpoint


@dataclass(frozen=True)
class FleetProgress:
    """One update of all who are in the fleet."""

    losses: tuple[tuple[Job, float], ...]
    done: tuple[Done, ...]  # who left after it
    waiting: int  # jobs that were not begun, where that is known
    seconds: float
    snapshot: Callable[[Job], Checkpoint] = field(repr=False)


def teach_many(base: Base, jobs: Iterable[Job], *, slots: int = SLOTS, mixed: bool = False) -> Iterator[FleetProgress]:
    """Teach all jobs, `slots` at a time, yielding after every update of the fleet. `mixed` computes in bfloat16 and learns in the
    base's own precision: faster in large fleets, and no longer what a subject would learn alone to the last digits. A job that ends, or fails, leaves its slot to
    the next; jobs are asked for one by one as slots fall free. An iterator may wait for them, in a thread of its own: those who are in
    the fleet go on meanwhile. A job that cannot be begun is done at once, with the reason. The base is as it was when the generator
    ends, is closed or raises."""
    if slots < 1:
        raise InputError(f"a fleet has at least one slot, not {slots}")
    asked, began = Asked(jobs), time.monotonic()
    members: list[Member] = []
    while True:
        refused: list[Done] = []
        while len(members) < slots and (job := asked.next(wait=not members and not refused)) is not None:
            try:
                members.append(Member(base, job))
            except Exception as error:  # whatever is wrong with one job is not the others'
                refused.append(Done(job, None, error, job.start or Checkpoint(0, 0, {}, {})))
        if refused:
            yield FleetProgress((), tuple(refused), asked.left, time.monotonic() - began, _of_nobody)
        if not members:
            if refused:
                continue
            asked.finish()
            return
        members = [members[k] for group in alike([member.recipe for member in members]) for k in group]
        with crewed(base, members) as crew:
            crew.mixed = mixed
            while True:
                losses, ended = crew.update()
                done = tuple(crew.done(member) for member in ended)
                told = tuple((member.job, loss) for member, loss in losses)
                yield FleetProgress(told, done, asked.left, time.monotonic() - began, crew.snapshot)
                if ended or (len(members) < slots and asked.ready()):
                    crew.keep()
                    members = [member for member in members if member not in ended]
                    break


def _of_nobody(job: Job) -> Checkpoint:
    raise InputError(f"{job.subject.handle} is not in the fleet, so there is no state of it")


class Asked:
    """Jobs, one by one. An iterator that is no sequence may take its time: it is asked in a thread of its own, one job ahead of who
    wants it and never further."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._given = iter(jobs)
        self.left = len(jobs) if isinstance(jobs, Sequence) else 0  # where that is known
        self._at_hand = isinstance(jobs, Sequence)
        self._answer: queue.Queue[Job | Exception | None] = queue.Queue()
        self._asking = self._over = False
        self._error: Exception | None = None

    def next(self, *, wait: bool) -> Job | None:
        """The next job; None where there is none, or, without waiting for it, none yet."""
        if self._at_hand:
            self.left = max(self.left - 1, 0)
            return next(self._given, None)
        self._ask()
        if self._over:
            return None
        try:
            found = self._answer.get(timeout=None if wait else GRACE)
        except queue.Empty:
            return None
        self._asking = False
        if not isinstance(found, Job):
            self._over, self._error = True, found
            return None
        return found

    def ready(self) -> bool:
        """Whether `next` has an answer now."""
        return not self._over and not self._answer.empty()

    def finish(self) -> None:
        """Raises what the iterator raised, after those who had begun are done."""
        if self._error is not None:
            raise self._error

    def _ask(self) -> None:
        if not self._asking and not self._over:
            self._asking = True
            threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        try:
            self._answer.put(next(self._given, None))
        except Exception as error:
            self._answer.put(error)


def learn_many(
    base: Base,
    jobs: Iterable[Job],
    *,
    slots: int = SLOTS,
    mixed: bool = False,
    watch: Callable[[FleetProgress], object] | None = None,
) -> list[Done]:
    """`teach_many`, drained: what became of every job, in the order in which they ended."""
    found: list[Done] = []
    for progress in teach_many(base, jobs, slots=slots, mixed=mixed):
        found += progress.done
        if watch:
            watch(progress)
    return found


def room(base: Base, recipe: Recipe, *, batch: int, limit: float) -> int:
    """How many subjects fit into `limit` bytes beside the base: what autograd keeps of one row, times its rows."""
    from .planning import kept_in_a_pass

    sources = len({term.source for stage in recipe.tuning for term in stage.loss})
    size = torch.finfo(base.dtype).bits // 8
    row = kept_in_a_pass(base, recipe) * size
    weights = sum(p.numel() * p.element_size() for part in base.parts for p in base.module(part).parameters())
    return max(1, int((limit - weights) / (row * batch * sources * 1.2)))


# ------------------------------------------------------------------------------------------------------------- the members


class Member:
    """One subject on its way through the stages of its recipe."""

    def __init__(self, base: Base, job: Job) -> None:
        self.job = job
        self.run = prepared_run(base, job.subject, job.method, dict(job.settings), job.seed)
        self.recipe, self.stages = self.run.recipe, self.run.recipe.tuning
        why = self.recipe.alone
        if why:
            raise InputError(f"{self.run.method} cannot be taught in a fleet: {why}")
        sources = dict.fromkeys(term.source for stage in self.stages for term in stage.loss)
        self.draws: dict[Source, Callable[[int, Streams], Batch]] = {s: s.prepare(base) for s in sources}
        start = job.start
        self.stage, self.step = (start.stage, start.step) if start else (0, 0)
        self.tensors: dict[str, Tensor] = dict(start.tensors) if start else {}
        self.moments: dict[str, Tensor] = dict(start.moments) if start else {}
        self.losses: list[float] = []
        self.error: Exception | None = None
        self.began = time.monotonic()
        self.worn = Worn(base, (Outfit(self.recipe, job.subject.handle, self.tensors, 1.0, job.seed),))

    @property
    def now(self) -> Stage:
        return self.stages[self.stage]

    @property
    def handle(self) -> str:
        return self.job.subject.handle


@contextmanager
def crewed(base: Base, members: Sequence[Member]) -> Iterator[Crew]:
    """The members worn together, until one of them ends."""
    rows = Rows()
    outfits = [Outfit(m.recipe, m.handle, m.tensors, 1.0, m.job.seed) for m in members]
    with worn_by_rows(base, outfits, rows) as lives:
        for member, live in zip(members, lives, strict=True):
            member.worn.live = live
        yield Crew(base, members, rows)


# ---------------------------------------------------------------------------------------------------------------- the crew


class Leaf(NamedTuple):
    """A tensor that gradients come to: a stack of several members side by side, or what one member has alone."""

    tensor: Tensor
    members: slice
    span: slice  # of each member's values


class Crew:
    """The members' values in one buffer [members, values], with their gradients and moments beside them: an update of all of them is
    arithmetic on four matrices."""

    def __init__(self, base: Base, members: Sequence[Member], rows: Rows) -> None:
        self.base, self.members, self.rows = base, list(members), rows
        self.mixed = False
        self.broken: Exception | None = None  # what went wrong in a pass of all
        self.first: list[int] = []  # whose the rows of an update's first run are
        self.rows.told([-1], base.device)
        self.leaves, self.spans = self._laid_out()
        shape = len(self.members), max(leaf.span.stop for leaf in self.leaves)
        self.values, self.gradient = (torch.zeros(shape, device=base.device, dtype=base.dtype) for _ in range(2))
        self.mean, self.square, self.factor = (torch.zeros(shape, device=base.device) for _ in range(3))
        self.count = torch.zeros(len(self.members), 1, device=base.device)
        for leaf in self.leaves:
            place = self.values[leaf.members, leaf.span].view(leaf.tensor.shape)
            leaf.tensor.data = place.copy_(leaf.tensor.data)
        self.singles = (
            self.values.float()
        )  # as they are learned; the values themselves, where those are in single precision
        self.shared: Recent[Tensor] = Recent(TEXT_BYTES)  # text states of those who learn no words
        for k, member in enumerate(self.members):
            for live in member.worn.live.values():
                for name in live.stack:
                    live.tensors[name].data = live.cut(name, self._own(k, name)) if live.cut else self._own(k, name)
                for name in live.tensors.keys() & member.tensors.keys():
                    self._cut(live, k, name, self.singles).copy_(member.tensors[name])
            self._begin(k, member)

    def _laid_out(self) -> tuple[list[Leaf], list[dict[str, tuple[slice, Any]]]]:
        """Every leaf and its place in the buffer; and for each member, by name, the span and the shape of its part of a leaf."""
        found: dict[int, list[Any]] = {}
        ends = [0] * len(self.members)
        spans: list[dict[str, tuple[slice, Any]]] = [{} for _ in self.members]
        for k, member in enumerate(self.members):
            for live in member.worn.live.values():
                for name, tensor in live.tensors.items():
                    leaf = live.stack.get(name, tensor)
                    found.setdefault(id(leaf), [leaf, bool(live.stack), []])[2].append((k, name))
        leaves = []
        for leaf, stacked, users in found.values():
            first, last = users[0][0], users[-1][0]
            shape = leaf.shape[1:] if stacked else leaf.shape
            start = max(ends[first : last + 1])
            span = slice(start, start + shape.numel())
            for k, name in users:
                ends[k] = span.stop
                spans[k][name] = span, shape
            leaves.append(Leaf(leaf, slice(first, last + 1), span))
        return leaves, spans

    def _own(self, k: int, name: str, of: Tensor | None = None) -> Tensor:
        """A member's part of a leaf, or of what lies beside the values."""
        span, shape = self.spans[k][name]
        return (self.values if of is None else of)[k, span].view(shape)

    def _cut(self, live: Live, k: int, name: str, of: Tensor | None = None) -> Tensor:
        """The same without what a stack filled up."""
        full = self._own(k, name, of)
        return live.cut(name, full) if live.cut else full

    def _begin(self, k: int, member: Member) -> None:
        """What learns in a member's stage, and the moments it brings, or none at the start of a stage."""
        self.mean[k], self.square[k], self.count[k], self.factor[k] = 0, 0, 0, 0
        learns = self._chosen(member)
        for live in member.worn.live.values():
            for name in live.tensors:
                if name in learns:
                    self.factor[k, self.spans[k][name][0]] = learns[name]
                if f"exp_avg.{name}" in member.moments:
                    for kept, of in (("exp_avg", self.mean), ("exp_avg_sq", self.square)):
                        self._cut(live, k, name, of).copy_(member.moments[f"{kept}.{name}"])
                    self.count[k] = float(member.moments[f"step.{name}"])
        member.worn.text_learns(any(name.startswith("word.") for name in learns))
        if not member.worn.words:
            member.worn._states = self.shared
        for leaf in self.leaves:
            learning = bool(self.factor[leaf.members, leaf.span].any())
            leaf.tensor.requires_grad_(learning)

    def _chosen(self, member: Member) -> dict[str, float]:
        """What learns in a member's stage, and at which multiple of its rate."""
        found: dict[str, float] = {}
        for selection in member.now.train:
            factor = selection.factor if isinstance(selection, Rated) else 1.0
            found |= dict.fromkeys(selection(member.worn), factor)
        return found

    def update(self) -> tuple[list[tuple[Member, float]], list[Member]]:
        """One step of every member; returns their losses and who has ended."""
        self.gradient.zero_()
        for leaf in self.leaves:
            if leaf.tensor.requires_grad:
                leaf.tensor.grad = self.gradient[leaf.members, leaf.span].view(leaf.tensor.shape)
        self.first = []
        losses = torch.stack([torch.stack(values).sum() for values in self._terms()])
        self.rows.told(self.first, self.base.device)  # a run whose activations are computed twice is the update's first
        if losses.requires_grad:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*gradient layout contract.*")  # gradients lie in one buffer
                torch.autograd.backward(losses.sum())
        self.rows.told([-1], self.base.device)  # whoever runs the base now runs it untouched
        told = losses.detach().tolist()
        self._step(told)
        ended = []
        for k, (member, loss) in enumerate(zip(self.members, told, strict=True)):
            if member.error is not None:
                ended.append(member)
                continue
            member.losses.append(loss)
            member.step += 1
            if member.step == member.now.steps:
                if member.stage + 1 == len(member.stages):
                    ended.append(member)
                    continue
                member.stage, member.step, member.moments = member.stage + 1, 0, {}
                self._begin(k, member)
        return list(zip(self.members, told, strict=True)), ended

    def _step(self, losses: Sequence[float]) -> None:
        """AdamW for all members at once, each at its own rate, clipped and counted by itself; who is not finite stays as it is."""
        about = [(m.now.rate(m.step), m.now.weight_decay, m.now.clip) for m in self.members]
        rates, decays, clips = torch.tensor(about, device=self.mean.device, dtype=self.mean.dtype).T[..., None]
        gradient = self.gradient.float() * (self.factor > 0)
        norm = gradient.norm(dim=1, keepdim=True)
        finite = torch.isfinite(norm) & torch.isfinite(torch.tensor(losses, device=norm.device)).view(-1, 1)
        gradient = torch.where(finite, gradient * (clips / (norm + 1e-6)).clamp(max=1), 0)
        self.count += finite
        self.mean = torch.where(finite, torch.lerp(self.mean, gradient, 1 - BETAS[0]), self.mean)
        self.square = torch.where(finite, self.square * BETAS[1] + (1 - BETAS[1]) * gradient**2, self.square)
        scale = (1 - BETAS[1] ** self.count.clamp(min=1)).sqrt()
        rates = rates * self.factor * finite
        change = self.mean / (self.square.sqrt() / scale + EPSILON) * rates / (1 - BETAS[0] ** self.count.clamp(min=1))
        self.singles.mul_(1 - rates * decays).sub_(change)
        if self.singles is not self.values:
            self.values.copy_(self.singles)
        for k in (~finite).flatten().nonzero().flatten().tolist():
            member = self.members[k]
            member.error = member.error or TeachingError(
                f"{member.handle}: at step {member.step} the loss is {losses[k]:g} and the gradient's norm {float(norm[k]):g}: "
                "expected finite numbers. The others go on; its last good state is kept"
            )

    def _terms(self) -> list[list[Tensor]]:
        """The weighted objectives of every member, their batches run in one pass. What goes wrong for one member alone ends that
        member."""
        every: list[FleetUpdate] = []
        found: list[tuple[Member, dict[Source, FleetUpdate]]] = []
        for place, member in enumerate(self.members):
            own: dict[Source, FleetUpdate] = {}
            try:
                for source in dict.fromkeys(term.source for term in member.now.loss):
                    draw, place_in_run = member.draws[source], (member.job.seed, member.stage, member.step)
                    own[source] = begun(FleetUpdate, member.worn, source, draw, *place_in_run, crew=self, place=place)
            except Exception as error:
                member.error, own = error, {}
            every += own.values()
            found.append((member, own))
        for update in every:
            update.together = list(every)
        return [self._values(member, own) for member, own in found]

    def _values(self, member: Member, own: Mapping[Source, FleetUpdate]) -> list[Tensor]:
        """A member's objectives; no number, where it has failed."""
        if member.error is None:
            try:
                return [t.weight * t.value(own[t.source]) for t in member.now.loss]
            except Exception as error:
                if error is self.broken:
                    raise
                member.error = error
        return [torch.full((), float("nan"), device=self.base.device)]

    def predict(self, updates: Sequence[FleetUpdate], operations: tuple[AttentionOp, ...] = ()) -> None:
        """One run of the denoiser for batches of several members. A member whose prompts cannot be read fails alone."""
        try:
            self._predict(updates, operations)
        except Exception as error:
            good = [update for update in updates if self._reads(update)]
            if len(good) == len(updates):
                self.broken = error
                raise
            if good:
                self._predict(good, operations)

    def _reads(self, update: FleetUpdate) -> bool:
        """Whether a member's prompts can be read. If not, its update says why."""
        try:
            with torch.no_grad():
                said = [update.worn.said(prompt) for prompt in update.batch.prompts]
                self.base.text_states(said, words=update.worn.words)
        except Exception as error:
            update.failed = error
        return update.failed is None

    def _predict(self, updates: Sequence[FleetUpdate], operations: tuple[AttentionOp, ...] = ()) -> None:
        batches = [update.batch for update in updates]
        times = torch.cat([update.time for update in updates])
        places = [update.place for update in updates for _ in update.batch.prompts]
        self.rows.told(places, self.base.device)
        if (
            self.base.checkpointing
        ):  # which of its rows are whose is known of one run alone, when that is computed again
            self.base.checkpoint(not self.first and not operations)
        self.first = self.first or places
        noised = torch.cat([update.noised for update in updates])
        run = Pass(
            time=times,
            latents=noised,
            prompts=tuple(update.worn.said(p) for update in updates for p in update.batch.prompts),
            fused=self.base.device.type != "cpu",
            references=joined_references(batches),
            random=updates[0].random,
            operations=operations,
        )
        states, about = self._states(updates), {"dtype": torch.bfloat16, "enabled": self.mixed, "cache_enabled": False}
        with torch.autocast(self.base.device.type, **about):  # type: ignore[arg-type]  # one table for three of its arguments
            output = self.base.predict(noised, times, states, context=run).to(self.base.dtype)
        start = 0
        for update in updates:
            rows = slice(start, start + len(update.batch.latents))
            update._prediction, start = Prediction(output[rows], run, rows), rows.stop

    def _states(self, updates: Sequence[FleetUpdate]) -> Tensor:
        """The text states of all rows: words that learn are read in one pass of the towers, each under a name of its own."""
        wanted: dict[tuple[int, str], Tensor | None] = {}
        words: dict[str, Tensor] = {}
        texts: dict[tuple[int, str], str] = {}
        for update in updates:
            worn = update.worn
            for prompt in update.batch.prompts:
                said, key = worn.said(prompt), (update.place, worn.said(prompt))
                if worn.frozen_text:
                    wanted[key] = worn.text_states([prompt])[0]
                elif key not in texts:
                    for word, vectors in worn.words.items():
                        words[alias(word, update.place)] = vectors
                        said = said.replace(word, alias(word, update.place))
                    texts[key], wanted[key] = said, None
        if texts:
            read = self.base.text_states(list(texts.values()), words=words)
            wanted |= dict(zip(texts, read, strict=True))
        rows = [wanted[update.place, update.worn.said(p)] for update in updates for p in update.batch.prompts]
        return torch.stack([row for row in rows if row is not None])

    # ------------------------------------------------------------------------------------------------------- leaving

    def snapshot(self, job: Job) -> Checkpoint:
        """A member's state, in the names that it has alone: it can go on in another fleet, or by itself."""
        k = next(k for k, member in enumerate(self.members) if member.job is job)
        return self._point(k)

    def _point(self, k: int) -> Checkpoint:
        member = self.members[k]
        tensors = {
            name: (self._cut(live, k, name, self.singles) if name in self.spans[k] else tensor).detach().clone()
            for live in member.worn.live.values()
            for name, tensor in live.tensors.items()
        }
        moments: dict[str, Tensor] = {}
        learns = self._chosen(member)
        for live in member.worn.live.values():
            for name in learns.keys() & live.tensors.keys():
                for kept, of in (("exp_avg", self.mean), ("exp_avg_sq", self.square)):
                    moments[f"{kept}.{name}"] = self._cut(live, k, name, of).clone()
                moments[f"step.{name}"] = self.count[k, 0].cpu().clone()
        return Checkpoint(member.stage, member.step, tensors, moments)

    def keep(self) -> None:
        """Let the members take what they have along."""
        for k, member in enumerate(self.members):
            point = self._point(k)
            member.tensors, member.moments = dict(point.tensors), dict(point.moments)

    def done(self, member: Member) -> Done:
        point = self._point(self.members.index(member))
        if member.error is not None:
            if isinstance(member.error, TeachingError):
                member.error.checkpoint = point
            return Done(member.job, None, member.error, point)
        concept = described(member.run, point.tensors, member.losses, time.monotonic() - member.began)
        return Done(member.job, concept, None, point)


@dataclass
class FleetUpdate(Update):
    """A member's batch in one update of the fleet."""

    crew: Crew | None = None
    place: int = 0
    failed: Exception | None = None

    @property
    def prediction(self) -> Prediction:
        if self._prediction is None:
            assert self.crew is not None
            size = self.batch.latents.shape[1:]
            self.crew.predict(
                [u for u in self.together if isinstance(u, FleetUpdate) and u.batch.latents.shape[1:] == size]
            )
        if self.failed is not None:
            raise self.failed
        assert self._prediction is not None
        return self._prediction

    def base_prediction(self, prompts: Sequence[str] | None = None) -> Prediction:
        assert self.crew is not None
        self.crew.rows.told([-1] * len(self.batch.latents), self.worn.base.device)  # nobody's change acts
        return super().base_prediction(prompts)

    def prediction_for(
        self, prompts: Sequence[str], *, references: References | None = None, operations: tuple[AttentionOp, ...] = ()
    ) -> Prediction:
        other = replace(self, batch=replace(self.batch, prompts=tuple(prompts), references=references))
        other._prediction = None
        assert self.crew is not None
        self.crew.predict([other], operations)
        return other.prediction
