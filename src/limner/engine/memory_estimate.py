"""An estimate of the memory that a run will need, and settings that make it fit.

No weights are loaded: the networks are made without values (on torch's meta device), one pass is run on shapes alone,
and the values that autograd would store and those that exist at once are counted.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from limner.bases.common import attention
from limner.bases.common.layout import as_they_lie
from limner.core.types import Pass
from limner.errors import InputError

from .attach import Adapter, attach
from .train import learning, select

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base
    from limner.core.recipe import Recipe

BYTES = {"float32": 4.0, "float16": 2.0, "bfloat16": 2.0}
QUANTISED = {"int8": 1.0, "nf4": 0.56}  # bytes per weight, with the scales of its blocks
OVERHEAD = 1.1  # factor for memory that allocators lose to fragmentation
PROCESS = 0.56e9
"""Bytes of a process without a base: Python, torch, diffusers, transformers; on a GPU, CUDA's context and kernels."""
SCRATCH = 0.12e9
"""Bytes of temporary memory of kernels while both branches of guidance are run. With it, PROCESS and OVERHEAD, the
estimate for Stable Diffusion 1.5 at 256 pixels is 1 to 8 % above the memory measured in loading, training and sampling,
in single precision and in bfloat16."""
SINGLE = 4.0  # bytes per trained value and per value of the optimiser's state, whatever the precision of the base


@dataclass(frozen=True)
class Choice:
    """The settings that a base is loaded with."""

    dtype: str = "float32"
    offload: bool = False
    tiling: bool = False
    checkpointing: bool = False
    quantise: str = ""

    def __str__(self) -> str:
        flags = [
            f"--dtype {self.dtype}",
            *(f"--{name}" for name in ("offload", "tiling", "checkpointing") if getattr(self, name)),
        ]
        return " ".join([*flags, *([f"--quantise {self.quantise}"] if self.quantise else [])])


@dataclass(frozen=True)
class Estimate:
    """Peak memory in bytes of loading, training and sampling, and its parts by name."""

    choice: Choice
    parts: dict[str, float] = field(default_factory=dict)
    teaching: float = 0.0
    painting: float = 0.0
    loading: float = 0.0

    @property
    def peak(self) -> float:
        return max(self.teaching, self.painting, self.loading)

    def __str__(self) -> str:
        sizes = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in self.parts.items())
        return f"{self.peak / 1e9:.2f} GB at the peak ({sizes}) with {self.choice}"


@dataclass(frozen=True)
class Shape:
    """The numbers of values that a base and a recipe need, independent of their data type."""

    weights: dict[str, int]  # number of weights of each network
    learned: int  # number of trained values
    activations: int  # number of values that autograd stores for one update
    kept_checkpointed: int  # the same with activation checkpointing
    decoding: int  # number of values that exist at once while a picture is decoded
    decoding_tiled: int  # the same when decoding in tiles
    # bytes of each network's files, where these are read into the memory that is estimated
    stored: dict[str, int] = field(default_factory=dict)
    upcast: bool = False  # whether the autoencoder computes in single precision where float16 is chosen


def measured(base: Base, recipe: Recipe, *, batch: int = 1, handle: str = "<rex>", fused: bool = True) -> Shape:
    """Count the values on a base without weights (`loading.sketch`), or on a loaded one. `fused` is whether training
    uses fused attention, as it does on a GPU."""
    weights = {part: sum(p.numel() for p in base.module(part).parameters()) for part in base.parts}
    learned = activations = boundaries = 0
    if recipe.tuning:
        for stage in recipe.tuning:
            with attach(base, (Adapter(recipe, handle),)) as adapted:
                chosen, _ = select(stage, adapted)
                with learning(chosen, adapted):
                    for tensor in chosen.values():
                        tensor.requires_grad_(True)
                    learned = max(learned, sum(t.numel() for t in chosen.values()))
                    activations = max(activations, _count_activations(base, batch, fused=fused))
                    boundaries = max(boundaries, _kept_between(base, batch, fused=fused))
    blocks = max(sum("Block" in type(m).__name__ for m in base.module("denoiser").modules()), 1)
    recomputed = boundaries + (activations - boundaries) // blocks if boundaries else activations
    decoding = _alive(base)
    stored: dict[str, int] = {} if fused else dict(getattr(base, "stored_bytes", {}))
    autoencoder: Any = base.module("autoencoder") if "autoencoder" in base.parts else None
    upcast = bool(getattr(getattr(autoencoder, "config", None), "force_upcast", False))
    return Shape(weights, learned, activations, recomputed, decoding, decoding // 4, stored, upcast)


def estimate(shape: Shape, choice: Choice) -> Estimate:
    """The estimate for a shape when the base is loaded with these settings."""
    size = BYTES[choice.dtype]
    denoiser = shape.weights["denoiser"] * (QUANTISED.get(choice.quantise, size))
    decodes = SINGLE if shape.upcast and choice.dtype == "float16" else size
    sizes = {part: n * (decodes if part == "autoencoder" else size) for part, n in shape.weights.items()}
    others = [sizes[part] for part in sizes if part != "denoiser"]
    resident = denoiser + (max(others, default=0) if choice.offload else sum(others))
    taught = shape.learned * (size + 2 * SINGLE + size)  # gradients, two moments, and a copy to restore the base
    if size < SINGLE:  # copies of the values and their gradients in single precision
        taught += shape.learned * 2 * SINGLE
    activations = (shape.kept_checkpointed if choice.checkpointing else shape.activations) * size
    decoding = (shape.decoding_tiled if choice.tiling else shape.decoding) * decodes
    parts = {
        "weights": resident,
        "learning": taught,
        "activations": activations,
        "decoding": decoding,
        "process": PROCESS,
    }
    base = denoiser if choice.offload else resident
    teaching = (base + taught + activations) * OVERHEAD + PROCESS
    painting = (resident + decoding) * OVERHEAD + PROCESS + SCRATCH
    return Estimate(choice, parts, teaching, painting, _loading(shape, sizes | {"denoiser": denoiser}))


def _loading(shape: Shape, sizes: dict[str, float]) -> float:
    """Peak memory in bytes while the base is loaded: the largest file is in memory beside the other networks, which are
    smaller and were loaded before."""
    largest = max(shape.stored, key=lambda part: shape.stored[part], default="")
    return shape.stored[largest] + sum(s for part, s in sizes.items() if part != largest) + PROCESS if largest else 0.0


def fitting(shape: Shape, limit: float, *, start: Choice, quantise: bool = True, half_last: bool = False) -> Estimate:
    """The first settings, in order of increasing cost, that fit into `limit` bytes: half precision (for the base;
    trained values stay in single), then offloading, decoding in tiles, activation checkpointing, and quantised weights.
    With `half_last`, for a device that emulates half precision, that comes after checkpointing. Raises `InputError`,
    with the smallest estimate, where none fits."""
    tried = []
    for choice in _choices(start, quantise, half_last):
        candidate = estimate(shape, choice)
        if candidate.peak <= limit:
            return candidate
        tried.append(candidate)
    least = min(tried, key=lambda e: e.peak)
    raise InputError(
        f"it does not fit into {limit / 1e9:.1f} GB: the least is {least}. Take a smaller batch or rank, a method that learns "
        "less, or a smaller base"
    )


def _choices(start: Choice, quantise: bool, half_last: bool) -> Iterator[Choice]:
    choice = start
    yield choice
    half = ("dtype", "float32", "bfloat16")
    savings = [(name, False, True) for name in ("offload", "tiling", "checkpointing")]
    for name, costly, saving in [*savings, half] if half_last else [half, *savings]:
        if getattr(choice, name) == costly:
            more: dict[str, Any] = {name: saving}
            choice = replace(choice, **more)
            yield choice
    if quantise and not choice.quantise:
        yield replace(choice, quantise="int8")
        yield replace(choice, quantise="nf4")


# ------------------------------------------------------------------------------------------------------------- counting


def kept_in_a_pass(base: Base, recipe: Recipe) -> int:
    """Number of values that autograd stores for one row of an update."""
    with attach(base, (Adapter(recipe, "<rex>"),)) as adapted:
        chosen, _ = select(recipe.tuning[0], adapted)
        with learning(chosen, adapted):
            for tensor in chosen.values():
                tensor.requires_grad_(True)
            return _count_activations(base, 1, fused=base.device.type != "cpu")


def _kept_between(base: Base, batch: int, *, fused: bool) -> int:
    """Number of values that autograd stores with activation checkpointing; 0 where the base does not support it."""
    try:
        base.checkpoint(True)
    except InputError:
        return 0
    try:
        return _count_activations(base, batch, fused=fused)
    finally:
        base.checkpoint(base.checkpointing)


def _count_activations(base: Base, batch: int, *, fused: bool) -> int:
    """Number of values that autograd stores in one pass of the denoiser, without the weights."""
    own = {p.untyped_storage()._cdata for part in base.parts for p in base.module(part).parameters()}
    seen: dict[int, int] = {}
    alive = []

    def pack(tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage()._cdata
        if place not in own and tensor.is_floating_point():
            seen.setdefault(place, tensor.untyped_storage().nbytes() // tensor.element_size())
            alive.append(tensor)  # otherwise its storage could be given to another tensor
        return tensor

    latents = torch.zeros(batch, *base.latent_shape, device=base.device, dtype=base.dtype)
    time = torch.full((batch,), 500, device=base.device)
    states = torch.ones(batch, *base.states_shape, device=base.device, dtype=base.dtype)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t), _counted_attention(base):
        base.predict(latents, time, states, context=Pass(time=time, fused=fused))
    return sum(seen.values())


@contextmanager
def _counted_attention(base: Base) -> Iterator[None]:
    """While inside, attention on the meta device, which has no fused kernel, stores as many values as one: queries,
    keys, values and the output."""
    if base.device.type != "meta":
        yield
        return
    original = attention._fused

    class Fused(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            out = query.new_empty(*query.shape[:-1], value.shape[-1])
            ctx.save_for_backward(query, key, value, out)
            return out

    def counted(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        out: Tensor = Fused.apply(query, key, value)  # type: ignore[no-untyped-call]
        return out

    attention._fused = counted
    try:
        yield
    finally:
        attention._fused = original


class _Alive(TorchDispatchMode):
    """Counts the values of all tensors that exist at once."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self.users: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor)
        return out

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        place, size = storage._cdata, storage.nbytes() // tensor.element_size()
        if place not in self.users:
            self.now += size
            self.peak = max(self.peak, self.now)
        self.users[place] = self.users.get(place, 0) + 1
        weakref.finalize(tensor, self._drop, place, size)

    def _drop(self, place: int, size: int) -> None:
        self.users[place] -= 1
        if not self.users[place]:
            del self.users[place]
            self.now -= size


def _alive(base: Base) -> int:
    """Number of values that exist at once while one picture is decoded."""
    latents = torch.zeros(1, *base.latent_shape, device=base.device, dtype=base.dtype)
    counter = _Alive()
    # without the copies of convolution weights in another layout (`bases/common/layout.py`): these are made only once
    with torch.no_grad(), as_they_lie(), counter:
        base.decode(latents)
    return counter.peak
