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

    `tensors` are its tensors in a concept's file, by names that are unique in the recipe; those that can be trained are
    `nn.Parameter`s. `words` maps a word of prompts to the vectors [n, D] that a text encoder reads, or to a function
    that makes them. `operations` act in attention. `controls` add residuals inside of the denoiser; `reads` names the
    conditions that they need, and `may_read` those in whose place they have something of their own while painting.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    words: dict[str, Tensor | Callable[[], Tensor]] = field(default_factory=dict)
    # word -> [D], added to each of its text-encoder hidden states
    residuals: dict[str, Callable[[], Tensor]] = field(default_factory=dict)
    operations: tuple[AttentionOp, ...] = ()
    controls: tuple[Control, ...] = ()
    reads: frozenset[str] = frozenset()
    may_read: frozenset[str] = frozenset()
    frames: int = 1  # frames of the longest clip that the base can sample with it
    takes_view: bool = False  # whether it reads the viewpoint that the user asks for (`Pass.views`)
    on: bool = True  # False while the adapted base is suspended; changes of layers read it
    run: Pass | None = None  # the current run, for changes of layers that differ between its rows
    # for several subjects at once: name -> the stacked tensor that holds this modifier's tensor
    stack: dict[str, Tensor] = field(default_factory=dict)
    # for several subjects at once: name and place in the stack -> the tensor without padding
    cut: Callable[[str, Tensor], Tensor] | None = None
    # values that other attached modifiers of its kind read, by name
    offers: dict[str, Any] = field(default_factory=dict)
    within: tuple[Live, ...] = ()  # modifiers inside of this one that act in every run; their tensors are among its own


AttentionOp: TypeAlias = "Callable[[AttentionCall], AttentionCall]"
"""Called in every attention layer, with a call that has its site and its run. An operation of a `Painting` whose
strength can vary has `at_scale`, which maps a scale to an operation; any other can only be attached at scale 0 or 1."""


def acting_in(*kinds: Kind) -> Callable[[AttentionOp], AttentionOp]:
    """Decorator that declares the kinds of attention in which an operation acts. Attaching it to a base without these
    is an error, as for a modifier with an attribute `acts_in`."""

    def mark(operation: AttentionOp) -> AttentionOp:
        operation.acts_in = kinds  # type: ignore[attr-defined]  # an attribute, so that operations stay functions
        return operation

    return mark


@dataclass(frozen=True)
class References:
    """Reference images of each row's subject, R for each row, with their masks, captions and landmarks where these are
    known."""

    pixels: Tensor  # [B, R, 3, H, W] in [0, 1]
    masks: Tensor | None = None  # [B, R, 1, H, W] in [0, 1]: where the subject is
    captions: tuple[tuple[str, ...], ...] = ()  # B times R: a caption for each, in words that the base reads
    nouns: tuple[str, ...] = ()  # B: the class of each row's subject
    identity: Tensor | None = None  # [B]: equal in rows of one subject
    dropped: Tensor | None = None  # [B] bool: rows without references
    looks: tuple[str, ...] = ()  # B: a description of each row's subject, "a red spotted dog", where it is known
    landmarks: Tensor | None = None  # [B, R, K, 2]: x and y as shares of width and height; NaN where unknown
    # [B, 4]: left, top, right and bottom of the subject in the picture to sample, as shares; NaN where unknown
    boxes: Tensor | None = None
    # [B, R, 3]: move of the camera from each reference to the picture to sample (`core.views`); NaN where unknown
    moves: Tensor | None = None
    # references of each further subject of the picture to sample; `dropped` in rows without it
    beside: tuple[References, ...] = ()

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def first(self) -> Tensor:
        """[B, 3, H, W]: the first reference of each row."""
        return self.pixels[:, 0]

    @property
    def on(self) -> Tensor:
        """[B] bool: rows with references."""
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
            None if self.moves is None else self.moves[rows],
            tuple(other.of(rows) for other in self.beside),
        )


@dataclass(frozen=True)
class Batch:
    """Examples to learn from: latents as the base encodes them, with their prompts, masks, references and conditions.

    With `render`, latents depend on trained parameters (a scene, a perturbed picture): `latents` then only gives the
    shape, and every update calls `render` for the values, through which the gradient passes.
    """

    latents: Tensor  # [B, C, h, w]
    prompts: tuple[str, ...]  # B, with handles written as <rex>
    mask: Tensor | None = None  # [B, 1, h, w] in [0, 1]: where the loss counts
    weight: Tensor | None = None  # [B]
    references: References | None = None
    conditions: Mapping[str, Tensor] = field(default_factory=dict)  # name -> [B, 1 or 3, H, W] in [0, 1]
    landmarks: Tensor | None = None  # [B, K, 2] of the pictures, as in `References`
    frames: int = 1  # number of consecutive rows that form one clip; they share their time
    render: Callable[[Any], Tensor] | None = None  # `adapted.Adapted` (which imports this module) -> [B, C, h, w]
    # [B, 2]: range of each row's time, as shares of the base's; None: the range of the source
    times: Tensor | None = None
    # further tensors of its source, whole in every part of the batch: made at the stage's start, or drawn beside it
    gathered: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def layout(self) -> tuple[Any, ...]:
        """Batches with equal layouts can run in one pass."""
        shapes = sorted((name, tuple(condition.shape[1:])) for name, condition in self.conditions.items())
        return tuple(self.latents.shape[1:]), self.frames, tuple(shapes)

    def rendered(self, adapted: Any) -> Batch:
        """The batch with latents that `render` makes with the adapted base. Raises `ValueError` where their shape is
        not that of `latents`."""
        if self.render is None:
            return self
        latents = self.render(adapted)
        if latents.shape != self.latents.shape:
            raise ValueError(
                f"rendered latents are {tuple(latents.shape)}, and the batch says {tuple(self.latents.shape)}; make "
                f"both equal"
            )
        return replace(self, latents=latents, render=None)

    def of(self, rows: Sequence[int]) -> Batch:
        """These rows alone. Raises `ValueError` for rows that are only a part of a clip."""
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
            None if self.times is None else self.times[rows],
            self.gathered,
        )


Streams: TypeAlias = "Callable[[str], Generator]"
"""A random stream for each purpose: `streams("noise")`. A function of seed, purpose and step alone."""


@dataclass(frozen=True)
class Condition:
    """The inputs of a base, beside a batch, for reconstructing that batch in one run. A base that does not denoise
    ignores `noise`."""

    states: Tensor  # [B, L, D]: hidden states of the prompts
    time: Tensor  # [B]
    noise: Tensor  # [B, C, h, w]
    run: Pass


@dataclass(frozen=True)
class Prediction:
    """The denoiser's output, and the run that it comes from with the maps and features stored in it."""

    output: Tensor  # [B, C, h, w] as the base predicts: noise, velocity or flow
    run: Pass | None = None
    rows: slice = field(default_factory=lambda: slice(None))  # the rows of that run


class Denoiser(Protocol):
    """The base as a sampler sees it: one prediction [B, C, h, w] for each of the branches, in one batched pass."""

    def __call__(self, x: Tensor, t: Tensor, *, branches: tuple[str, ...] = ("text",)) -> tuple[Tensor, ...]: ...


Guidance: TypeAlias = "Callable[[Denoiser, float], Denoiser]"
"""Denoiser and the user's guidance scale -> denoiser whose only branch is "text". Guidances are nested when sampling
starts. Branches are "text", "negative" and those that a recipe adds; a branch's name may end in "@" and a name that the
reference stream's `shown` reads. A guidance that acts by region has `for_regions`, which maps the regions of a picture
(handle -> [1, 1, h, w] in [0, 1]) to a guidance."""


class ReferenceStream(NamedTuple):
    """A row that is sampled as the first of every batch, for other rows to attend to, and then dropped."""

    prompt: str | None  # None: prompt and seed of the first picture, so that the row shows that very picture
    latents: Callable[[int], Tensor] | None  # step -> [C, h, w] before that step; None: sampled as the other rows
    shown: Callable[[int, str], tuple[Tensor, Tensor]] | None = None
    """(step, the part of a branch's name after "@") -> latents [C, h, w] and time of the row in that branch."""


Kind: TypeAlias = Literal["self", "cross", "joint", "merged"]
"""The keys that a layer attends to: those of the picture ("self"), of the text ("cross"), or of both. In "joint"
attention, the text has projections of its own (SD 3, the double blocks of FLUX, the added keys of DeepFloyd IF); in
"merged" attention, both have the same (the single blocks of FLUX)."""


@dataclass(frozen=True)
class Site:
    """One attention layer and its position in the network."""

    name: str
    kind: Kind
    block: Literal["down", "mid", "up"]
    index: int  # among the sites of its kind, in the order they run


class Sampling:
    """Values shared by the runs of one sampling: keys and values of earlier tokens, encoded conditions.

    Each sampling has a new one; in training, each run has. `state` is free for a base to use, and for parts that hand
    on values from one step to the next.
    """

    def __init__(self) -> None:
        self.state: dict[Any, Any] = {}
        self._made: dict[tuple[str, int], tuple[Any, Any]] = {}

    def once(self, name: str, about: Tensor, make: Callable[[], Made]) -> Made:
        """The value that `make` returns for this very tensor, computed once and cached. While gradients are recorded,
        nothing is cached: a later run would need a graph that is already freed."""
        import torch

        if torch.is_grad_enabled():
            return make()
        key = name, id(about)
        if key not in self._made:
            self._made[key] = about, make()  # the tensor is stored too, so that no other can get its id
        value: Made = self._made[key][1]
        return value


@dataclass(frozen=True)
class Residuals:
    """Tensors that a control branch adds inside of a UNet. Those of several branches are summed."""

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
"""The denoiser's input [rows, C, h, w], times [rows], its further arguments by name and the run -> residuals to add in
the denoiser."""


@dataclass
class Pass:
    """One run of the denoiser: the inputs that attention operations may read, and the maps and features that they
    store. Each run has a new one."""

    operations: tuple[AttentionOp, ...] = ()
    time: Tensor | None = None  # [rows]
    latents: Tensor | None = None  # [rows, C, h, w]: input of the denoiser
    step: int | None = None  # number of the sampling step; None in training
    prompts: tuple[str, ...] = ()  # [rows], as the base reads them
    random: Streams | None = None  # random streams of the update, in training
    seeds: tuple[int, ...] = ()  # [rows]: seeds of the pictures, in sampling
    branches: tuple[str, ...] = ("text",)  # rows are branch-major: all rows of the first branch, then of the second
    references: References | None = None  # references of every row, in training
    lives: tuple[Live, ...] = ()  # all attached modifiers
    reference_stream: bool = False  # the first row of each branch is a reference stream
    # the second half of each branch's rows are parallel streams of the first half, or their first pass at this step;
    # the row of a reference stream stands before both halves
    parallel_stream: bool = False
    conditions: Mapping[str, Tensor] = field(default_factory=dict)  # name -> [rows, 1 or 3, H, W] in [0, 1]
    frames: int = 1  # number of consecutive rows that form one clip; a reference stream comes before all clips
    sampling: Sampling = field(default_factory=Sampling)  # shared by all runs of one sampling
    guidance: float | None = None  # guidance scale, for a base whose denoiser reads it
    # handle, or plain word of the prompt -> [1, 1, h, w] in [0, 1]: share of each position of the latents that belongs
    # to its subject
    regions: Mapping[str, Tensor] = field(default_factory=dict)
    # handle -> [3]: move of the camera around its subject, away from the first of its pictures (`core.views`)
    views: Mapping[str, Tensor] = field(default_factory=dict)
    # [rows]: handle or word -> its positions in the text-encoder hidden states
    handle_places: tuple[Mapping[str, tuple[int, ...]], ...] = ()
    text_places: int = 0  # number of text tokens in the sequence, where text and picture share one
    # whether attention is one fused kernel; False computes it in three steps: faster in training on a CPU, and equal up
    # to rounding
    fused: bool = True
    cache: dict[Any, Any] = field(default_factory=dict)  # values that an operation shares between sites of this run
    activations: dict[str, Tensor] = field(default_factory=dict)  # maps and features that operations store

    def of(self, rows: Sequence[int]) -> Pass:
        """The run restricted to these rows: their times, latents, prompts and references. Its `activations` and `cache`
        are shared with the whole run."""
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
    picture: slice = field(default_factory=lambda: slice(None))  # positions of the picture's queries
    picture_keys: slice = field(default_factory=lambda: slice(None))  # positions of the picture's keys and values
    # the picture's queries before rotary position embedding; None where they equal those in `query`
    asking: Tensor | None = None
    # further branches of attention: (key, value, scale)
    beside: list[tuple[Tensor, Tensor, Tensor | float]] = field(default_factory=list)
    # further keys and values of the same softmax, behind all others: (key, value, bias [B, 1 or H, N or 1, M])
    behind: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)
    # functions of the columns by which values are wider than the heads: [B, H, N, more] -> [B, N, C], added to the
    # layer's output
    beyond: list[Callable[[Tensor], Tensor]] = field(default_factory=list)
    on_output: list[Callable[[Tensor], Tensor]] = field(default_factory=list)  # [B, H, N, d] -> same
    # functions of the attention maps: [B, H, N, M] -> same; with one, the maps are computed explicitly
    on_maps: list[Callable[[Tensor], Tensor]] = field(default_factory=list)
    # for self- and cross-attention: functions of the layer's output [B, N, C] -> same
    on_result: list[Callable[[Tensor], Tensor]] = field(default_factory=list)

    def queries(self, hidden: Tensor) -> Tensor:
        """The layer's queries for these hidden states: [B, N, C] -> [B, H, N, d]"""
        layer: Any = self.layer
        asked = split(layer.to_q(hidden), self.query.shape[1])
        return asked if layer.norm_q is None else layer.norm_q(asked)

    def keys_values(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """The layer's keys and values for further states: [B, M, D] -> [B, H, M, d] twice"""
        layer: Any = self.layer
        key, value = (split(made(states), self.query.shape[1]) for made in (layer.to_k, layer.to_v))
        return (key if layer.norm_k is None else layer.norm_k(key)), value

    def heads(self, x: Tensor) -> Tensor:
        """[B, M, H*d] -> [B, H, M, d]"""
        return x.view(x.shape[0], x.shape[1], self.query.shape[1], -1).transpose(1, 2)


def split(x: Tensor, heads: int) -> Tensor:
    """[B, N, H*d] -> [B, H, N, d]"""
    return x.view(x.shape[0], -1, heads, x.shape[-1] // heads).transpose(1, 2)
