"""The values that travel between bases, engine and parts: attention calls, passes, batches, predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn


Made = TypeVar("Made")


@dataclass(eq=False)
class Live:
    """A modifier while it is attached: its tensors, and everything that it adds to the base.

    `tensors` is everything a concept stores of it, by a name that is unique in the recipe; those that can learn are
    `nn.Parameter`s. `words` maps a word of prompts to the vectors [n, D] that a text encoder reads, or to a function
    that makes them. `operations` act in attention. `controls` add residuals inside of the denoiser; `reads` names the
    conditions that they need, and `may_read` those in whose place they have something of their own while painting.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    words: dict[str, Tensor | Callable[[], Tensor]] = field(default_factory=dict)
    residuals: dict[str, Callable[[], Tensor]] = field(
        default_factory=dict
    )  # word -> [D], added to each of its text states once the text encoder has run
    operations: tuple[AttentionOp, ...] = ()
    controls: tuple[Control, ...] = ()
    reads: frozenset[str] = frozenset()
    may_read: frozenset[str] = frozenset()
    frames: int = 1  # frames of the longest clip that the base can paint with it
    on: bool = True  # off while the adapted base is suspended: changes of layers look at it
    run: Pass | None = None  # the run under way, for changes of layers that tell its rows apart
    stack: dict[str, Tensor] = field(default_factory=dict)  # in a fleet: the leaves that this is a part of
    cut: Callable[[str, Tensor], Tensor] | None = None  # in a fleet: a tensor's own part of its place in the stack
    offers: dict[str, Any] = field(
        default_factory=dict
    )  # values that other attached modifiers of its kind read, by name
    within: tuple[Live, ...] = ()  # modifiers inside of this one that act in every run; their tensors are among its own


AttentionOp: TypeAlias = "Callable[[AttentionCall], AttentionCall]"
"""Acts inside every attention layer; the call carries its site, time and branch. One of a `Painting` that can be weaker
or stronger has `at_scale`: scale -> such an operation; any other is attached at scale 0 or 1."""


def acting_in(*kinds: Kind) -> Callable[[AttentionOp], AttentionOp]:
    """Say of an operation in which kinds of attention it acts. Attaching it to a base that has none of them is an
    error; so it is with modifiers that have an `acts_in`."""

    def mark(operation: AttentionOp) -> AttentionOp:
        operation.acts_in = kinds  # type: ignore[attr-defined]  # functions stay functions
        return operation

    return mark


@dataclass(frozen=True)
class References:
    """Reference images of each row's subject, R to a row, with their masks, captions and landmarks where these are
    known."""

    pixels: Tensor  # [B, R, 3, H, W] in [0, 1]
    masks: Tensor | None = None  # [B, R, 1, H, W] in [0, 1]: where the subject is
    captions: tuple[tuple[str, ...], ...] = ()  # B times R: what each shows, in words the base reads
    nouns: tuple[str, ...] = ()  # B: the class of each row's subject
    identity: Tensor | None = None  # [B]: equal in rows of one subject
    dropped: Tensor | None = None  # [B] bool: rows that see none of it
    looks: tuple[str, ...] = ()  # B: a description of each row's subject, "a red spotted dog", where it is known
    landmarks: Tensor | None = None  # [B, R, K, 2]: x and y as shares of width and height; NaN where unknown
    # [B, 4]: left, top, right and bottom of the subject in the picture to paint, as shares; NaN where unknown
    boxes: Tensor | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def first(self) -> Tensor:
        """[B, 3, H, W]: one picture to a row."""
        return self.pixels[:, 0]

    @property
    def on(self) -> Tensor:
        """[B] bool: rows that see their pictures."""
        import torch

        return torch.ones(len(self), dtype=torch.bool) if self.dropped is None else ~self.dropped

    def of(self, rows: Sequence[int]) -> References:
        """These rows alone."""
        return References(
            self.pixels[rows],
            None if self.masks is None else self.masks[rows],
            tuple(self.captions[row] for row in rows) if self.captions else (),
            tuple(self.nouns[row] for row in rows) if self.nouns else (),
            None if self.identity is None else self.identity[rows],
            None if self.dropped is None else self.dropped[rows],
            tuple(self.looks[row] for row in rows) if self.looks else (),
            None if self.landmarks is None else self.landmarks[rows],
            None if self.boxes is None else self.boxes[rows],
        )


@dataclass(frozen=True)
class Batch:
    """Some examples to learn from: latents as the base's encoder makes them, and everything that belongs to them.

    With `render`, latents depend on parameters that learn (a scene, a perturbed picture): `latents` then has the shape
    alone, and every update calls `render` for the values, through which its gradient passes.
    """

    latents: Tensor  # [B, C, h, w]
    prompts: tuple[str, ...]  # B, with the handle still written <rex>
    mask: Tensor | None = None  # [B, 1, h, w] in [0, 1]: where the loss counts
    weight: Tensor | None = None  # [B]
    references: References | None = None
    conditions: Mapping[str, Tensor] = field(default_factory=dict)  # name -> [B, 1 or 3, H, W] in [0, 1]
    landmarks: Tensor | None = None  # [B, K, 2] of the pictures, as in `References`
    frames: int = 1  # so many rows, one after the other, are one clip; they share their time
    render: Callable[[Any], Tensor] | None = None  # `adapted.Adapted`, which stands on this module -> [B, C, h, w]

    @property
    def layout(self) -> tuple[Any, ...]:
        """Batches with equal layouts can run in one pass."""
        shapes = sorted((name, tuple(condition.shape[1:])) for name, condition in self.conditions.items())
        return tuple(self.latents.shape[1:]), self.frames, tuple(shapes)

    def rendered(self, adapted: Any) -> Batch:
        """The batch with its latents as they are now, by the adapted base. Raises `ValueError` where they are of
        another shape than said."""
        if self.render is None:
            return self
        latents = self.render(adapted)
        if latents.shape != self.latents.shape:
            raise ValueError(
                f"rendered latents are {tuple(latents.shape)}, and the batch says {tuple(self.latents.shape)}; make "
                f"both alike"
            )
        return replace(self, latents=latents, render=None)

    def of(self, rows: Sequence[int]) -> Batch:
        """These rows alone. Rows of one clip stay together: raises `ValueError` for a part of one."""
        rows, render = list(rows), self.render
        clips = [rows[k : k + self.frames] for k in range(0, len(rows), self.frames)]
        if any(clip != list(range(clip[0], clip[0] + self.frames)) or clip[0] % self.frames for clip in clips):
            raise ValueError(f"rows {rows} cut a clip of {self.frames} frames; take whole clips")
        return Batch(
            self.latents[rows],
            tuple(self.prompts[row] for row in rows),
            None if self.mask is None else self.mask[rows],
            None if self.weight is None else self.weight[rows],
            None if self.references is None else self.references.of(rows),
            {name: condition[rows] for name, condition in self.conditions.items()},
            None if self.landmarks is None else self.landmarks[rows],
            self.frames,
            None if render is None else lambda adapted: render(adapted)[rows],
        )


Streams: TypeAlias = "Callable[[str], Generator]"
"""A random stream for each purpose: `streams("noise")`. A function of seed, purpose and step alone."""


@dataclass(frozen=True)
class Condition:
    """All that a base reads beside a batch when it reconstructs it in one run. A base without noise leaves `noise`
    alone."""

    states: Tensor  # [B, L, D] of the prompts
    time: Tensor  # [B]
    noise: Tensor  # [B, C, h, w]
    run: Pass


@dataclass(frozen=True)
class Prediction:
    """The denoiser's output, with everything that its pass kept."""

    output: Tensor  # [B, C, h, w] as the base predicts: noise, velocity or flow
    kept: Pass | None = None
    rows: slice = field(default_factory=lambda: slice(None))  # of that pass


class Denoiser(Protocol):
    """The base seen by a sampler: one prediction for each branch asked for, each [B, C, h, w], in one batched pass."""

    def __call__(self, x: Tensor, t: Tensor, *, branches: tuple[str, ...] = ("text",)) -> tuple[Tensor, ...]: ...


Guidance: TypeAlias = "Callable[[Denoiser, float], Denoiser]"
"""Denoiser and the user's scale of guidance -> denoiser whose only branch is "text"; nested like functions when
painting starts. Branches are "text", "negative", those a recipe adds, and any of them with "@" and what its reference
stream is to show."""


class ReferenceStream(NamedTuple):
    """A row that is painted along with every batch, as its first, and thrown away: what others may attend to."""

    prompt: str
    latents: Callable[[int], Tensor] | None  # step -> [C, h, w] before that step; None: painted freely
    shown: Callable[[int, str], tuple[Tensor, Tensor]] | None = None
    """(step, what a branch's name has after "@") -> latents [C, h, w] and time of the row in that branch."""


Kind: TypeAlias = Literal["self", "cross", "joint", "merged"]
"""The keys that a layer attends to: the picture itself; the text; both, the text through projections of its own
("joint": SD 3, the double blocks of FLUX, the added keys of DeepFloyd IF); both, through the same projections
("merged": FLUX's single blocks)."""


@dataclass(frozen=True)
class Site:
    """One attention layer: where it stands in the network."""

    name: str
    kind: Kind
    block: Literal["down", "mid", "up"]
    index: int  # among the sites of its kind, in the order they run


class Sampling:
    """Values that runs of one sampling hand on: keys and values of tokens read before, encoded conditions.

    Made anew for every sampling; when training, for every run. `state` is free for a base to use.
    """

    def __init__(self) -> None:
        self.state: dict[Any, Any] = {}
        self._made: dict[tuple[str, int], tuple[Any, Any]] = {}

    def once(self, name: str, about: Tensor, make: Callable[[], Made]) -> Made:
        """The value that `make` returns for this very tensor, made at the first call and kept. Not kept while gradients
        are recorded: they would go through a graph that is gone."""
        import torch

        if torch.is_grad_enabled():
            return make()
        key = name, id(about)
        if key not in self._made:
            self._made[key] = about, make()  # the tensor is held, so that no other can have its id
        found: Made = self._made[key][1]
        return found


@dataclass(frozen=True)
class Residuals:
    """Tensors that a control branch adds inside of a UNet. Several branches' add up."""

    skips: tuple[Tensor, ...] = ()  # for each skip connection, [B, C_k, h_k, w_k] (ControlNet, arXiv:2302.05543)
    middle: Tensor | None = None  # [B, C, h, w], for the middle
    features: tuple[Tensor, ...] = ()  # for each block of the down path (T2I-Adapter, arXiv:2302.08453)

    def __add__(self, other: Residuals) -> Residuals:
        def both(first: tuple[Tensor, ...], second: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            if not first or not second:
                return first or second
            return tuple(a + b for a, b in zip(first, second, strict=True))

        parts = [part for part in (self.middle, other.middle) if part is not None]
        middle = None if not parts else parts[0] if len(parts) == 1 else parts[0] + parts[1]
        return Residuals(both(self.skips, other.skips), middle, both(self.features, other.features))


Control: TypeAlias = "Callable[[Tensor, Tensor, Mapping[str, Any], Pass], Residuals]"
"""The denoiser's input [rows, C, h, w], times [rows], its further arguments by name and the run -> what to add in
it."""


@dataclass
class Pass:
    """One run of the denoiser: everything its attention may know, and everything it leaves behind. Made anew for every
    run."""

    operations: tuple[AttentionOp, ...] = ()
    time: Tensor | None = None  # [rows]
    latents: Tensor | None = None  # [rows, C, h, w]: what goes in
    step: int | None = None  # of sampling; None when training
    prompts: tuple[str, ...] = ()  # [rows], as the base reads them
    random: Streams | None = None  # of this update, when training
    seeds: tuple[int, ...] = ()  # [rows] of the pictures, when sampling
    branches: tuple[str, ...] = ("text",)  # rows are branch-major: all rows of the first branch, then of the second
    references: References | None = None  # of every row, when training
    lives: tuple[Live, ...] = ()  # everything that is attached
    reference_stream: bool = False  # the first row of each branch is a reference stream
    parallel_stream: bool = False  # the second half of each branch's rows are parallel streams of the first
    conditions: Mapping[str, Tensor] = field(default_factory=dict)  # name -> [rows, 1 or 3, H, W] in [0, 1]
    frames: int = 1  # so many rows, one after the other, are one clip; a reference stream stands before all clips
    sampling: Sampling = field(default_factory=Sampling)  # shared by all runs of one sampling
    guidance: float | None = None  # of a base that reads the scale of guidance itself
    regions: Mapping[str, Tensor] = field(
        default_factory=dict
    )  # handle -> [1, 1, h, w] in [0, 1]: which part of each place of the latents is its subject's
    handle_places: tuple[Mapping[str, tuple[int, ...]], ...] = ()  # [rows]: handle -> its places in the text states
    text_places: int = 0  # how many places of the sequence are text, where text and picture run as one
    fused: bool = (
        True  # False is the same in three plain steps: faster where a CPU learns, not the same to the last bit
    )
    cache: dict[Any, Any] = field(default_factory=dict)  # for values an operation needs at many sites of this run
    kept: dict[str, Tensor] = field(default_factory=dict)  # maps and features that operations keep

    def of(self, rows: Sequence[int]) -> Pass:
        """The run as these of its rows see it: their times, latents, prompts and references. What they keep is kept
        here."""
        at = list(rows)
        return replace(
            self,
            time=None if self.time is None else self.time[at],
            latents=None if self.latents is None else self.latents[at],
            prompts=tuple(self.prompts[row] for row in at) if self.prompts else (),
            references=None if self.references is None else self.references.of(at),
            conditions={name: condition[at] for name, condition in self.conditions.items()},
            handle_places=tuple(self.handle_places[row] for row in at) if self.handle_places else (),
        )


@dataclass
class AttentionCall:
    """q, k, v of one layer in one run. An operation returns it, changed or not.

    Shapes: query [B, H, N, d], key and value [B, H, M, d], hidden [B, N, C], states [B, M, D].
    """

    site: Site
    layer: nn.Module
    hidden: Tensor
    states: Tensor
    query: Tensor
    key: Tensor
    value: Tensor
    run: Pass
    bias: Tensor | None = None  # added to the logits, broadcast to [B, H, N, M]
    picture: slice = field(default_factory=lambda: slice(None))  # which queries are the picture's
    picture_keys: slice = field(default_factory=lambda: slice(None))  # and which keys and values
    asking: Tensor | None = None  # the picture's queries before their places are turned into them; None: as in `query`
    beside: list[tuple[Tensor, Tensor, Tensor | float]] = field(
        default_factory=list
    )  # (key, value, scale) more branches
    beyond: list[Callable[[Tensor], Tensor]] = field(
        default_factory=list
    )  # of values wider than the heads, what lies beyond [B, H, N, more] -> [B, N, C], added to the layer's output
    on_output: list[Callable[[Tensor], Tensor]] = field(default_factory=list)  # [B, H, N, d] -> same
    on_maps: list[Callable[[Tensor], Tensor]] = field(default_factory=list)  # [B, H, N, M] -> same: asks for the maps
    on_result: list[Callable[[Tensor], Tensor]] = field(
        default_factory=list
    )  # of self- and cross-attention: what the layer returns [B, N, C] -> same

    def queries(self, hidden: Tensor) -> Tensor:
        """The layer's queries of these hidden states: [B, N, C] -> [B, H, N, d]"""
        layer: Any = self.layer
        asked = split(layer.to_q(hidden), self.query.shape[1])
        return asked if layer.norm_q is None else layer.norm_q(asked)

    def keys_values(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """The layer's keys and values of more states: [B, M, D] -> [B, H, M, d] twice"""
        layer: Any = self.layer
        key, value = (split(made(states), self.query.shape[1]) for made in (layer.to_k, layer.to_v))
        return (key if layer.norm_k is None else layer.norm_k(key)), value

    def heads(self, x: Tensor) -> Tensor:
        """[B, M, H*d] -> [B, H, M, d]"""
        return x.view(x.shape[0], x.shape[1], self.query.shape[1], -1).transpose(1, 2)


def split(x: Tensor, heads: int) -> Tensor:
    """[B, N, H*d] -> [B, H, N, d]"""
    return x.view(x.shape[0], -1, heads, x.shape[-1] // heads).transpose(1, 2)
