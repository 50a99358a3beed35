"""A source picture, inverted, whose subject is swapped for the one that was learned (arXiv:2305.18286)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from limner.core.types import Live
from limner.errors import InputError, UnknownName

from .source_masks import MASK, changeable

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.adapted import LatentOperation, Moment
    from limner.core.base import Base
    from limner.core.types import AttentionCall, AttentionOp, Kind
    from limner.engine.inversion import Predict

SOURCE = "source"
"""Name of the condition that is the source picture."""
INVERSIONS = ("ddim", "exact")
"""Ways of inversion: by the prediction of the step before, or by solving the sampler's own steps."""
SWAP = "swap into a source picture"
"""Key of the values of one sampling."""


@dataclass
class Swap:
    """The source picture in one sampling: n is 1 where all pictures have the same one."""

    part: source_picture
    way: Tensor  # [steps + 1, n, C, h, w]: the source's latents before each step and after the last
    negatives: Tensor | None  # [steps, n, L, D]: null-text hidden states
    prompts: tuple[str, ...]  # n: the source's prompts
    targets: tuple[str, ...]  # prompts of the pictures to sample, as the base reads them
    words: str  # the words that the base reads in the handle's place
    mask: Tensor | None  # [n, 1, h, w] of 0 and 1: the part that may change, where it is known
    step: int = -1
    recorded: dict[tuple[str, str], Tensor] = field(default_factory=dict)  # (layer, what) -> values of the source
    cache: dict[Any, Any] = field(default_factory=dict)  # values that attention operations share between steps


Recording: TypeAlias = "Callable[[Swap, Moment], AttentionOp | None]"
"""The operation that stores what a step needs of the source's run; None where the step needs nothing."""


@dataclass(frozen=True)
class source_picture:
    """The condition "source" is inverted by DDIM, and by null-text optimisation (arXiv:2211.09794) for guidance.

    The negative branch of the pictures to sample then reads the null-text hidden states of each step. The exact
    inversion solves the steps of guided sampling instead, and needs no null text. Without the condition, the source is
    what the base paints from the source's prompt and the same noise.

    handle: the subject's word in prompts
    noun: class noun of the subject
    source_noun: noun of the thing to be replaced; empty for the subject's class noun
    source_prompt: prompt of the source, which names that noun; empty for the picture's own prompt with that noun in the
        handle's place
    rounds: updates of the null-text optimisation in each step; 0 leaves it out
    masked: whether a mask is needed: the condition "mask", or where the base's segmenter finds a subject
    inversion: one of INVERSIONS
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("cross",)

    handle: str
    noun: str
    source_noun: str = ""
    source_prompt: str = ""
    rounds: int = 10
    masked: bool = False
    inversion: str = "ddim"

    def __post_init__(self) -> None:
        check_inversion(self.inversion)

    @property
    def replaced(self) -> str:
        """The noun of the thing to be replaced."""
        return self.source_noun or self.noun

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        check_whole_scale(self.handle, scale)
        if self.source_prompt and not re.search(rf"\b{re.escape(self.replaced)}\b", self.source_prompt):
            raise InputError(
                f"the source prompt {self.source_prompt!r} does not name the {self.replaced} that is to be replaced: write "
                f"it there, or name another noun (source_noun, --source-noun)"
            )
        live = Live(may_read=frozenset({SOURCE, MASK}))

        def operation(call: AttentionCall) -> AttentionCall:
            run, swap = call.run, swap_of(call)
            if swap is None or not live.on or call.site.kind != "cross" or swap.negatives is None:
                return call
            if "negative" in run.branches:
                rows = branch_rows(call, "negative")
                states = swap.negatives[swap.step].expand(rows.stop - rows.start, -1, -1).to(call.states)
                key, value = call.keys_values(states)
                call.key, call.value = _with_rows(call.key, rows, key), _with_rows(call.value, rows, value)
            return call

        if scale:
            live.operations = (operation,)
        yield live


def check_inversion(name: str) -> None:
    """Raise `UnknownName` for anything but one of INVERSIONS.

    name: name of a way of inversion
    """
    if name not in INVERSIONS:
        raise UnknownName("inversion", name, INVERSIONS)


def check_whole_scale(handle: str, scale: float) -> None:
    """Raise `InputError` for a scale that is neither 0 nor 1.

    handle: the subject's word in prompts
    scale: scale of its adapter
    """
    if scale not in (0, 1):
        raise InputError(
            f"{handle} acts in sampling in a way that cannot be scaled: it can be attached at scale 0 or 1, not {scale:g}"
        )


def swap_of(call: AttentionCall) -> Swap | None:
    """The source of the sampling that a call belongs to, at the call's step; None outside of such a sampling.

    call: the attention layer's call
    """
    swap: Swap | None = call.run.sampling.state.get(SWAP)
    return swap if swap is not None and call.run.step is not None and call.run.step == swap.step else None


def branch_rows(call: AttentionCall, branch: str) -> slice:
    """The rows of a branch of the run.

    call: the attention layer's call
    branch: name of the branch
    """
    each = len(call.query) // len(call.run.branches)
    begin = call.run.branches.index(branch) * each
    return slice(begin, begin + each)


def _with_rows(x: Tensor, rows: slice, new: Tensor) -> Tensor:
    changed = x.clone()
    changed[rows] = new
    return changed


def along_source(part: source_picture, recording: Recording | None = None) -> LatentOperation:
    """Sampling starts where the source starts; before each step, a run of the source is recorded.

    part: the part that has the source
    recording: what is recorded
    """

    def operation(moment: Moment) -> Tensor:
        assert moment.sampling is not None
        latents, state = moment.latents, moment.sampling.state
        swap: Swap | None = state.get(SWAP)
        if swap is None:
            swap = state[SWAP] = _begun(part, moment)
            latents = swap.way[moment.step].expand_as(latents)
        check_alone(swap.part, part, moment)
        swap.step = moment.step
        swap.recorded.clear()
        store = recording(swap, moment) if recording else None
        if store is not None:
            now = swap.way[moment.step]
            at, states = moment.time.expand(len(now)), moment.adapted.text_states(swap.prompts)
            outside_of_sampling(moment, swap.prompts, states, (store,))(now, at)
        return latents

    return operation


def check_alone(first: object, second: object, moment: Moment) -> None:
    """Raise `InputError` where two adapters change the same source picture, and beside a reference stream.

    first: the part that has the source of this sampling
    second: the part that asks for one
    moment: the sampling step
    """
    if first is not second:
        handles = " and ".join(adapter.handle for adapter in moment.adapted.adapters)
        raise InputError(
            f"two of these concepts ({handles}) put their subject into the source picture: paint one after the other, the "
            "second into the first's picture"
        )
    for adapter in moment.adapted.adapters:
        if adapter.scale and adapter.recipe.painting.reference_stream:
            raise InputError(
                f"{adapter.handle} is painted beside a reference of its own, and another concept into a source picture; only "
                "one of them can be attached at a time"
            )


def kept_around(part: source_picture, where: Callable[[Swap, Moment], Tensor | None]) -> LatentOperation:
    """After a step, the source's own latents replace those outside of a mask.

    part: the part that has the source
    where: the mask [n, 1, h, w] in [0, 1], 1 where the picture may change; None: everywhere
    """

    def operation(moment: Moment) -> Tensor:
        import torch

        assert moment.sampling is not None
        swap: Swap = moment.sampling.state[SWAP]
        mask = where(swap, moment)
        return moment.latents if mask is None else torch.lerp(swap.way[moment.step], moment.latents, mask.to(swap.way))

    return operation


# ------------------------------------------------------------------------------------------------------ its beginning


def _begun(part: source_picture, moment: Moment) -> Swap:
    adapted = moment.adapted
    words = adapted.expand_prompt(part.handle)
    targets = moment.prompts
    prompts = [part.source_prompt or text.replace(words, part.replaced) for text in targets]
    pixels = source_pixels(moment)
    shown = [moment.conditions[name] for name in (SOURCE, MASK) if name in moment.conditions]
    same = pixels is not None and len(set(prompts)) == 1 and all(bool((x == x[:1]).all()) for x in shown)
    rows = slice(0, 1) if same else slice(None)
    pixels, prompts = None if pixels is None else pixels[rows], prompts[rows]
    limited = part.masked or MASK in moment.conditions
    # a mask that is wrong is refused before the inversion, which takes long
    early = changeable(part, moment, moment.latents[rows], pixels, rows) if limited and pixels is not None else None
    way, negatives = _way(part, moment, prompts, pixels, rows)
    mask = changeable(part, moment, way[-1], pixels, rows) if limited and early is None else early
    return Swap(part, way, negatives, tuple(prompts), targets, words, None if mask is None else mask.to(way))


def source_pixels(moment: Moment) -> Tensor | None:
    """[B, 3, H, W]: the source pictures; None without the condition. Raises `InputError` for a mask without a source.

    moment: the sampling step
    """
    pixels = moment.conditions.get(SOURCE)
    if pixels is None and MASK in moment.conditions:
        raise InputError(
            "a mask was given without the picture that it is for: give it too, conditions={'source': picture, 'mask': "
            "mask} (--condition source=FILE mask=FILE)"
        )
    return None if pixels is None else pixels.expand(-1, 3, -1, -1).float()


def _way(
    part: source_picture, moment: Moment, prompts: list[str], pixels: Tensor | None, rows: slice
) -> tuple[Tensor, Tensor | None]:
    """The source's latents through all steps, and its null-text hidden states. An inversion is cached."""
    import torch

    from limner.engine.inversion import inverted_along, null_text_inverted, sampled_along, solved_along

    adapted, base = moment.adapted, moment.adapted.base
    assert moment.times is not None
    assert moment.against is not None
    states, against = adapted.text_states(prompts), moment.against[rows]
    text = outside_of_sampling(moment, prompts, states)

    def negative(x: Tensor, at: Tensor, against: Tensor) -> Tensor:
        return outside_of_sampling(moment, [""] * len(x), against)(x, at)

    def guided(x: Tensor, at: Tensor) -> Tensor:
        towards = text(x, at)
        return towards if moment.guidance == 1 else torch.lerp(negative(x, at, against), towards, moment.guidance)

    if pixels is None:
        way = sampled_along(base, guided, moment.latents[rows], moment.times, begin=moment.step)
        return torch.stack(way), None
    about = (tuple(prompts), moment.guidance, pixels, moment.times, against)
    known = adapted.cache.get((SWAP, part))
    if known is None or not _equal(known[0], about):
        with torch.no_grad():
            clean = base.encode(pixels)[0].to(base.dtype)
        exact, null = part.inversion == "exact", None
        way = (solved_along if exact else inverted_along)(base, guided if exact else text, clean, moment.times)
        if part.rounds and moment.guidance != 1 and not exact:
            given: dict[str, Any] = {"guidance": moment.guidance, "rounds": part.rounds}
            null = null_text_inverted(base, text, negative, way, against, moment.times, **given).negatives
        known = adapted.cache[SWAP, part] = about, torch.stack(way), null
    return known[1], known[2]


def _equal(first: tuple[Any, ...], second: tuple[Any, ...]) -> bool:
    import torch

    return all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) and a.shape == b.shape else not hasattr(a, "shape") and a == b
        for a, b in zip(first, second, strict=True)
    )


def outside_of_sampling(
    moment: Moment, prompts: Any, states: Tensor, operations: tuple[AttentionOp, ...] = ()
) -> Predict:
    """The adapted base's prediction for prompts with these hidden states, in runs that belong to no sampling.

    moment: the sampling step, which gives the adapted base and the conditions
    prompts: n prompts
    states: their hidden states [n, L, D]
    operations: further attention operations of these runs
    """

    def predict(x: Tensor, at: Tensor) -> Tensor:
        rows = [row % len(moment.latents) for row in range(len(x))]
        conditions = {name: condition[rows] for name, condition in moment.conditions.items()}
        run = moment.adapted.run(time=at, latents=x, prompts=tuple(prompts), conditions=conditions)
        run.operations += operations
        output: Tensor = moment.adapted.base.predict(x, at, states, context=run)
        return output

    return predict
