"""Training several subjects at once: one frozen base and one pass for all of them, in which each row is changed by its
own subject's adapter.

The result for a subject is the same as from training it alone: random streams, objectives, learning rates and optimiser
are the same, and only the order of a few sums differs (by up to 2e-3 of the concept's norm after a few updates,
tests/engine/test_stacked.py). It does not depend on the other subjects, nor on whether one of them fails.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from limner.core.lru import LRU, TEXT_BYTES
from limner.core.recipe import Rated
from limner.core.types import Pass, Prediction
from limner.engine.attach import AdaptedBase, Adapter
from limner.engine.checkpoint import Run
from limner.engine.train import Checkpoint, Update, begin_update, joined_conditions, joined_references
from limner.errors import InputError, TeachingError

from .rows import Rows, alias, attach_rows

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base
    from limner.core.recipe import Recipe, Source, Stage
    from limner.core.types import AttentionOp, Batch, Live, References, Streams


SLOTS = 16


BETAS, EPSILON = (0.9, 0.99), 1e-8  # AdamW's constants, as in `train.Learner`


def room(base: Base, recipe: Recipe, *, batch: int, limit: float) -> int:
    """The number of subjects that fit into `limit` bytes beside the base, from the memory that autograd needs for one
    row."""
    from limner.engine.memory_estimate import kept_in_a_pass

    sources = len({term.source for stage in recipe.tuning for term in stage.loss})
    size = torch.finfo(base.dtype).bits // 8
    row = kept_in_a_pass(base, recipe) * size
    weights = sum(p.numel() * p.element_size() for part in base.parts for p in base.module(part).parameters())
    return max(1, int((limit - weights) / (row * batch * sources * 1.2)))


# ---------------------------------------------------------------------------------------------------------- the members


class SubjectRun:
    """The training of one subject: its recipe, and its state in the stages of that recipe."""

    def __init__(self, base: Base, run: Run, start: Checkpoint | None = None) -> None:
        self.run = run
        self.recipe, self.stages = self.run.recipe, self.run.recipe.tuning
        why = self.recipe.why_not_stackable
        if why:
            raise InputError(
                f"{self.run.method} cannot train several subjects at once: {why}. Learn each on its own, or use a method "
                "whose page names --together"
            )
        sources = dict.fromkeys(term.source for stage in self.stages for term in stage.loss)
        self.draws: dict[Source, Callable[[int, Streams], Batch]] = {s: s.prepare(base) for s in sources}
        self.stage, self.step = (start.stage, start.step) if start else (0, 0)
        self.tensors: dict[str, Tensor] = dict(start.tensors) if start else {}
        self.moments: dict[str, Tensor] = dict(start.moments) if start else {}
        self.losses: list[float] = []
        self.error: Exception | None = None
        self.began = time.monotonic()
        self.adapted = AdaptedBase(base, (Adapter(self.recipe, self.handle, self.tensors, 1.0, self.seed),))

    @property
    def now(self) -> Stage:
        return self.stages[self.stage]

    @property
    def handle(self) -> str:
        return self.run.subject.handle

    @property
    def seed(self) -> int:
        return self.run.adapter.seed


@contextmanager
def stacked_trainer(base: Base, members: Sequence[SubjectRun]) -> Iterator[StackedTrainer]:
    """Attach the adapters of all members together; yields the trainer of all, to be used until one member ends."""
    rows = Rows()
    adapters = [Adapter(m.recipe, m.handle, m.tensors, 1.0, m.seed) for m in members]
    with attach_rows(base, adapters, rows) as lives:
        for member, live in zip(members, lives, strict=True):
            member.adapted.live = live
        yield StackedTrainer(base, members, rows)


# ---------------------------------------------------------------------------------------------------------- the trainer


class StackedTensor(NamedTuple):
    """A leaf tensor of the graph: a stack of the tensors of several members, or the tensor of one member."""

    tensor: Tensor
    members: slice
    span: slice  # columns of the buffer that hold each member's values


class StackedTrainer:
    """Trains all members together. Their values are the rows of one buffer [members, values], and so are their
    gradients and moments: an update of all members is arithmetic on four matrices."""

    def __init__(self, base: Base, members: Sequence[SubjectRun], rows: Rows) -> None:
        self.base, self.members, self.rows = base, list(members), rows
        self.mixed = False
        self.broken: Exception | None = None  # an error in a pass of all members, which is no single member's
        self.first: list[int] = []  # the member of each row in an update's first run
        self.rows.assign([-1], base.device)
        self.leaves, self.spans = self._laid_out()
        shape = len(self.members), max(leaf.span.stop for leaf in self.leaves)
        self.values, self.gradient = (torch.zeros(shape, device=base.device, dtype=base.dtype) for _ in range(2))
        self.mean, self.square, self.factor = (torch.zeros(shape, device=base.device) for _ in range(3))
        self.count = torch.zeros(len(self.members), 1, device=base.device)
        for leaf in self.leaves:
            place = self.values[leaf.members, leaf.span].view(leaf.tensor.shape)
            leaf.tensor.data = place.copy_(leaf.tensor.data)
        # the trained values in single precision; the same tensor as `values` where that is in single precision
        self.singles = self.values.float()
        self.shared: LRU[Tensor] = LRU(TEXT_BYTES)  # text-encoder hidden states of members without learned words
        for k, member in enumerate(self.members):
            for live in member.adapted.live.values():
                for name in live.stack:
                    live.tensors[name].data = live.cut(name, self._own(k, name)) if live.cut else self._own(k, name)
                for name in live.tensors.keys() & member.tensors.keys():
                    self._cut(live, k, name, self.singles).copy_(member.tensors[name])
            self._begin(k, member)

    def _laid_out(self) -> tuple[list[StackedTensor], list[dict[str, tuple[slice, Any]]]]:
        """Every leaf with its place in the buffer, and for each member: name -> span and shape of its part of a
        leaf."""
        users_by_leaf: dict[int, list[Any]] = {}
        ends = [0] * len(self.members)
        spans: list[dict[str, tuple[slice, Any]]] = [{} for _ in self.members]
        for k, member in enumerate(self.members):
            for live in member.adapted.live.values():
                for name, tensor in live.tensors.items():
                    leaf = live.stack.get(name, tensor)
                    users_by_leaf.setdefault(id(leaf), [leaf, bool(live.stack), []])[2].append((k, name))
        leaves = []
        for leaf, stacked, users in users_by_leaf.values():
            first, last = users[0][0], users[-1][0]
            shape = leaf.shape[1:] if stacked else leaf.shape
            start = max(ends[first : last + 1])
            span = slice(start, start + shape.numel())
            for k, name in users:
                ends[k] = span.stop
                spans[k][name] = span, shape
            leaves.append(StackedTensor(leaf, slice(first, last + 1), span))
        return leaves, spans

    def _own(self, k: int, name: str, of: Tensor | None = None) -> Tensor:
        """A member's part of a leaf in `values`, or in another buffer of that shape."""
        span, shape = self.spans[k][name]
        return (self.values if of is None else of)[k, span].view(shape)

    def _cut(self, live: Live, k: int, name: str, of: Tensor | None = None) -> Tensor:
        """A member's part of a leaf without the padding of its stack."""
        full = self._own(k, name, of)
        return live.cut(name, full) if live.cut else full

    def _begin(self, k: int, member: SubjectRun) -> None:
        """Prepare a member's stage: select its parameters, and load its moments, if it has any."""
        self.mean[k], self.square[k], self.count[k], self.factor[k] = 0, 0, 0, 0
        learns = self._chosen(member)
        for live in member.adapted.live.values():
            for name in live.tensors:
                if name in learns:
                    self.factor[k, self.spans[k][name][0]] = learns[name]
                if f"exp_avg.{name}" in member.moments:
                    for kind, of in (("exp_avg", self.mean), ("exp_avg_sq", self.square)):
                        self._cut(live, k, name, of).copy_(member.moments[f"{kind}.{name}"])
                    self.count[k] = float(member.moments[f"step.{name}"])
        member.adapted.text_learns(any(name.startswith("word.") for name in learns))
        if not member.adapted.words:
            member.adapted._states = self.shared
        for leaf in self.leaves:
            learning = bool(self.factor[leaf.members, leaf.span].any())
            leaf.tensor.requires_grad_(learning)

    def _chosen(self, member: SubjectRun) -> dict[str, float]:
        """Name of each parameter of a member's stage -> multiple of the stage's learning rate."""
        factors: dict[str, float] = {}
        for selection in member.now.train:
            factor = selection.factor if isinstance(selection, Rated) else 1.0
            factors |= dict.fromkeys(selection(member.adapted), factor)
        return factors

    def update(self) -> tuple[list[tuple[SubjectRun, float]], list[SubjectRun]]:
        """One update of every member. Returns the members with their losses, and the members that have ended."""
        self.gradient.zero_()
        for leaf in self.leaves:
            if leaf.tensor.requires_grad:
                leaf.tensor.grad = self.gradient[leaf.members, leaf.span].view(leaf.tensor.shape)
        self.first = []
        losses = torch.stack([torch.stack(values).sum() for values in self._terms()])
        # in the backward pass, activation checkpointing recomputes the update's first run
        self.rows.assign(self.first, self.base.device)
        if losses.requires_grad:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*gradient layout contract.*")  # gradients lie in one buffer
                torch.autograd.backward(losses.sum())
        self.rows.assign([-1], self.base.device)  # outside of updates, no adapter acts
        loss_values = losses.detach().tolist()
        self._step(loss_values)
        ended = []
        for k, (member, loss) in enumerate(zip(self.members, loss_values, strict=True)):
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
        return list(zip(self.members, loss_values, strict=True)), ended

    def _step(self, losses: Sequence[float]) -> None:
        """AdamW for all members at once, each with its own learning rate, gradient norm and count of steps. A member
        whose loss or gradient is not finite stays unchanged."""
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
                f"{member.handle}: at step {member.step} the loss is {losses[k]:g} and the gradient's norm "
                f"{float(norm[k]):g}: expected finite numbers. The others go on; its last good state is kept"
            )

    def _terms(self) -> list[list[Tensor]]:
        """The weighted objectives of every member, with all batches in one pass. An error of one member ends only that
        member."""
        every: list[StackedUpdate] = []
        member_updates: list[tuple[SubjectRun, dict[Source, StackedUpdate]]] = []
        for place, member in enumerate(self.members):
            own: dict[Source, StackedUpdate] = {}
            try:
                for source in dict.fromkeys(term.source for term in member.now.loss):
                    draw, place_in_run = member.draws[source], (member.seed, member.stage, member.step)
                    own[source] = begin_update(
                        StackedUpdate, member.adapted, source, draw, *place_in_run, trainer=self, place=place
                    )
            except Exception as error:
                member.error, own = error, {}
            every += own.values()
            member_updates.append((member, own))
        for update in every:
            update.together = list(every)
        values = [self._values(member, own) for member, own in member_updates]
        for update in every:
            update.together.clear()  # as in `train._terms`
        return values

    def _values(self, member: SubjectRun, own: Mapping[Source, StackedUpdate]) -> list[Tensor]:
        """A member's weighted objectives; NaN where it has failed."""
        if member.error is None:
            try:
                return [t.weight * t.value(own[t.source]) for t in member.now.loss]
            except Exception as error:
                if error is self.broken:
                    raise
                member.error = error
        return [torch.full((), float("nan"), device=self.base.device)]

    def predict(self, updates: Sequence[StackedUpdate], operations: tuple[AttentionOp, ...] = ()) -> None:
        """One run of the denoiser for batches of several members. Prompts that cannot be encoded end only their
        member."""
        try:
            self._predict(updates, operations)
        except Exception as error:
            good = [update for update in updates if self._reads(update)]
            if len(good) == len(updates):
                self.broken = error
                raise
            if good:
                self._predict(good, operations)

    def _reads(self, update: StackedUpdate) -> bool:
        """Whether a member's prompts can be encoded. If not, the error is stored in its update."""
        try:
            with torch.no_grad():
                texts = [update.adapted.expand_prompt(prompt) for prompt in update.batch.prompts]
                self.base.text_states(texts, words=update.adapted.words)
        except Exception as error:
            update.failed = error
        return update.failed is None

    def _predict(self, updates: Sequence[StackedUpdate], operations: tuple[AttentionOp, ...] = ()) -> None:
        batches = [update.batch for update in updates]
        times = torch.cat([update.time for update in updates])
        places = [update.place for update in updates for _ in update.batch.prompts]
        self.rows.assign(places, self.base.device)
        # the members of rows are remembered for one run only, so activation checkpointing is limited to the first
        if self.base.checkpointing:
            self.base.checkpoint(not self.first and not operations)
        self.first = self.first or places
        noised = torch.cat([update.noised for update in updates])
        run = Pass(
            time=times,
            latents=noised,
            prompts=tuple(update.adapted.expand_prompt(p) for update in updates for p in update.batch.prompts),
            fused=self.base.device.type != "cpu",
            references=joined_references(batches),
            random=updates[0].random,
            operations=operations,
            **joined_conditions(batches),
        )
        states, about = self._states(updates), {"dtype": torch.bfloat16, "enabled": self.mixed, "cache_enabled": False}
        with torch.autocast(self.base.device.type, **about):  # type: ignore[arg-type]  # arguments of different types
            output = self.base.predict(noised, times, states, context=run).to(self.base.dtype)
        start = 0
        for update in updates:
            rows = slice(start, start + len(update.batch.latents))
            update._prediction, start = Prediction(output[rows], run, rows), rows.stop

    def _states(self, updates: Sequence[StackedUpdate]) -> Tensor:
        """The text-encoder hidden states of all rows. Prompts with words in training are encoded in one pass, with a
        distinct name for each member's words."""
        wanted: dict[tuple[int, str], Tensor | None] = {}
        words: dict[str, Tensor] = {}
        texts: dict[tuple[int, str], str] = {}
        for update in updates:
            adapted = update.adapted
            for prompt in update.batch.prompts:
                text, key = adapted.expand_prompt(prompt), (update.place, adapted.expand_prompt(prompt))
                if adapted.frozen_text:
                    wanted[key] = adapted.text_states([prompt])[0]
                elif key not in texts:
                    for word, vectors in adapted.words.items():
                        words[alias(word, update.place)] = vectors
                        text = text.replace(word, alias(word, update.place))
                    texts[key], wanted[key] = text, None
        if texts:
            read = self.base.text_states(list(texts.values()), words=words)
            wanted |= dict(zip(texts, read, strict=True))
        rows = [
            wanted[update.place, update.adapted.expand_prompt(p)] for update in updates for p in update.batch.prompts
        ]
        return torch.stack([row for row in rows if row is not None])

    # -------------------------------------------------------------------------------------------- state of a member

    def snapshot(self, member: SubjectRun) -> Checkpoint:
        """A member's state, by the names that training alone uses: it can go on with other members, or alone."""
        return self._point(self.members.index(member))

    def _point(self, k: int) -> Checkpoint:
        member = self.members[k]
        tensors = {
            name: (self._cut(live, k, name, self.singles) if name in self.spans[k] else tensor).detach().clone()
            for live in member.adapted.live.values()
            for name, tensor in live.tensors.items()
        }
        moments: dict[str, Tensor] = {}
        learns = self._chosen(member)
        for live in member.adapted.live.values():
            for name in learns.keys() & live.tensors.keys():
                for kind, of in (("exp_avg", self.mean), ("exp_avg_sq", self.square)):
                    moments[f"{kind}.{name}"] = self._cut(live, k, name, of).clone()
                moments[f"step.{name}"] = self.count[k, 0].cpu().clone()
        return Checkpoint(member.stage, member.step, tensors, moments)

    def keep(self) -> None:
        """Store each member's tensors and moments in the member, to go on in another trainer."""
        for k, member in enumerate(self.members):
            point = self._point(k)
            member.tensors, member.moments = dict(point.tensors), dict(point.moments)

    def end(self, member: SubjectRun) -> Checkpoint:
        """The final state of a member, which is also stored in the `TeachingError` that ended it, if one did."""
        point = self._point(self.members.index(member))
        if isinstance(member.error, TeachingError):
            member.error.checkpoint = point
        return point


@dataclass
class StackedUpdate(Update):
    """A member's batch in one update of all members."""

    trainer: StackedTrainer | None = None
    place: int = 0
    failed: Exception | None = None

    @property
    def prediction(self) -> Prediction:
        if self._prediction is None:
            assert self.trainer is not None
            layout = self.batch.layout
            self.trainer.predict(
                [u for u in self.together or [self] if isinstance(u, StackedUpdate) and u.batch.layout == layout]
            )
        if self.failed is not None:
            raise self.failed
        assert self._prediction is not None
        return self._prediction

    def base_prediction(self, prompts: Sequence[str] | None = None) -> Prediction:
        assert self.trainer is not None
        self.trainer.rows.assign([-1] * len(self.batch.latents), self.adapted.base.device)  # no adapter acts
        return super().base_prediction(prompts)

    def prediction_for(
        self, prompts: Sequence[str], *, references: References | None = None, operations: tuple[AttentionOp, ...] = ()
    ) -> Prediction:
        other = replace(self, batch=replace(self.batch, prompts=tuple(prompts), references=references))
        other._prediction = None
        assert self.trainer is not None
        self.trainer.predict([other], operations)
        return other.prediction
