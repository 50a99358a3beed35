"""Tokens whose vectors depend on the attention layer and on the time: P+, ProSpect, NeTI.

The prompt is encoded once for each (layer, moment) that differs, all in one batch, and every cross-attention layer
reads its own hidden states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from limner.core.types import Live

from .parameters import Kept, prefixed, taken, under
from .states import VECTORS, claim, other_words, put_in, read_beside

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.types import AttentionCall, Kind, Pass, Site, Streams


@dataclass(frozen=True)
class Varied:
    """How a token varies with layer and time.

    start: parameters at their start
    moment: time -> the moment that it belongs to
    vectors: parameters, site, moment, random streams (None in sampling) -> the vectors [n, D] that the site reads
    bypass: the same arguments -> a vector [D] added to the values' states at the token's position
    """

    start: dict[str, Tensor]
    moment: Callable[[int], int]
    vectors: Callable[[Mapping[str, Tensor], int, int, Streams | None], Tensor]
    bypass: Callable[[Mapping[str, Tensor], int, int, Streams | None], Tensor] | None = None


Vary: TypeAlias = "Callable[[Base, Tensor, int, Generator], Varied]"
"""Base, the token's vectors [n, D] to start from, number of cross-attention sites, generator -> how it varies."""

BYPASS = 0.2
"""Length of the bypass as a share of the hidden state that it is added to (NeTI's code)."""


@dataclass(frozen=True)
class varying_word:
    """A token that starts as the vectors of `like` everywhere and may then differ between layers and times.

    word: the token
    like: text whose vectors it starts as
    vary: how it varies
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("cross",)

    word: str
    like: str
    vary: Vary

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        import torch

        sites = [site.name for site in base.sites if site.kind == "cross"]
        plain = base.word_vectors(self.like)
        varied = self.vary(base, plain, len(sites), generator)
        prefix = f"varying.{self.word}."
        given = under(prefix, stored)
        own = taken(varied.start, given, base, what=self.word)
        cache = Kept()
        live = Live(prefixed(prefix, own), {self.word: plain})

        def operation(call: AttentionCall) -> AttentionCall:
            if call.site.kind != "cross" or not live.on:
                return call
            rows = [k for k, prompt in enumerate(call.run.prompts) if self.word in prompt]
            if not rows:
                return call
            if id(self) not in call.run.cache:
                if call.run.random is None:
                    claim(call.run, rows, self.word, composes=VECTORS)
                call.run.cache[id(self)] = self._read(
                    base, call.run, rows, varied, own, plain, scale, len(sites), cache
                )
            # a batch's attention may read no more positions than its longest prompt has
            length = call.states.shape[1]
            for_keys, for_values = (part[sites.index(call.site.name), :, :length] for part in call.run.cache[id(self)])
            key, value = base.key_value(call.site)
            at = torch.tensor(rows, device=call.key.device)
            call.key = call.key.index_copy(0, at, call.heads(key(for_keys)).to(call.key))
            call.value = call.value.index_copy(0, at, call.heads(value(for_values)).to(call.value))
            return call

        if scale:
            live.operations = (operation,)
        yield live

    def _read(
        self,
        base: Base,
        run: Pass,
        rows: list[int],
        varied: Varied,
        own: Mapping[str, Tensor],
        plain: Tensor,
        scale: float,
        sites: int,
        cache: Kept,
    ) -> tuple[Tensor, Tensor]:
        """States that attention reads for keys and for values: each [sites, rows with the token, M, C]."""
        import torch

        cache.check(own.values())
        assert run.time is not None
        moments = [varied.moment(int(run.time[row])) for row in rows]
        beside = [[other_words(run, row, site, but=self.word) for row in rows] for site in range(sites)]
        wanted = [
            [
                (run.prompts[row], site, m, tuple(id(vectors) for vectors in others.values()))
                for row, m, others in zip(rows, moments, beside[site], strict=True)
            ]
            for site in range(sites)
        ]
        others_of = {
            key: others
            for line, own_line in zip(wanted, beside, strict=True)
            for key, others in zip(line, own_line, strict=True)
        }
        new = [key for key in others_of if key not in cache.values]
        if new:
            words = {
                f"{self.word}{k}": torch.lerp(plain, varied.vectors(own, site, moment, run.random), scale)
                for k, (_, site, moment, _) in enumerate(new)
            }
            prompts = [prompt.replace(self.word, f"{self.word}{k}") for k, (prompt, *_) in enumerate(new)]
            others = [others_of[key] for key in new]
            states = read_beside(base, prompts, words, others, run)
            for k, (key, state) in enumerate(zip(new, states, strict=True)):
                passed = self._passed(base, prompts[k], k, key, state, varied, own, run, scale, {**words, **others[k]})
                cache.values[key] = state, passed, words[f"{self.word}{k}"], others[k]
        entries = [[cache.values[key] for key in line] for line in wanted]
        for n, row in enumerate(rows):
            put_in(run, self.word, {row: _by_site([line[n][2] for line in entries])})
        stacks = (torch.stack([torch.stack([pair[n] for pair in line]) for line in entries]) for n in (0, 1))
        first, second = (base.attended(stack.flatten(0, 1)).unflatten(0, stack.shape[:2]) for stack in stacks)
        return first, second

    def _passed(
        self,
        base: Base,
        prompt: str,
        number: int,
        key: tuple[Any, ...],
        state: Tensor,
        varied: Varied,
        own: Mapping[str, Tensor],
        run: Pass,
        scale: float,
        words: Mapping[str, Tensor],
    ) -> Tensor:
        """The hidden state [L, D] for values: the bypass is added at the token's position, as a share of the length
        there."""
        if varied.bypass is None:
            return state
        push = varied.bypass(own, key[1], key[2], run.random)
        push = push / push.norm().clamp_min(1e-6)
        state = state.clone()
        for place in base.word_places(prompt, f"{self.word}{number}", words=words):
            state[place] = state[place] + scale * BYPASS * state[place].norm().detach() * push
        return state


def _by_site(vectors: Sequence[Tensor]) -> Callable[[int], Tensor]:
    return lambda site: vectors[site]


def per_layer() -> Vary:
    """Separate vectors for every cross-attention layer (Extended Textual Inversion, Sec. 3 of arXiv:2303.09522)."""

    def vary(base: Base, plain: Tensor, sites: int, generator: Generator) -> Varied:
        start = {"layers": plain.cpu().float().expand(sites, *plain.shape).clone()}
        return Varied(start, lambda time: 0, lambda own, site, moment, random: own["layers"][site])

    return vary


def per_stage(stages: int = 10) -> Vary:
    """Separate vectors for each of several equal stages of the time (ProSpect, Sec. 3.2 of arXiv:2305.16225).

    They come from the start vectors through a small residual block, a multilayer perceptron on the vector and a learned
    embedding of the stage, whose last layer is zero at first. In zyxElsa/ProSpect a transformer block attends over the
    start token alone, and its gated feed-forward layer, with dropout, emits the vectors of all stages at once; here
    the stages share their layers, which makes the file twenty times smaller.

    stages: number of stages
    """

    def vary(base: Base, plain: Tensor, sites: int, generator: Generator) -> Varied:
        import torch
        import torch.nn.functional as F

        wide, total = plain.shape[-1], base.num_train_times
        spread = float(plain.float().std())
        start = {
            "stages": torch.randn(stages, wide, generator=generator) * spread,
            "in": torch.randn(wide, wide, generator=generator) / wide**0.5,
            "out": torch.zeros(wide, wide),
        }

        def vectors(own: Mapping[str, Tensor], site: int, moment: int, random: Streams | None) -> Tensor:
            h = F.layer_norm(plain + own["stages"][moment], (wide,))
            return plain + F.gelu(h @ own["in"].T) @ own["out"].T

        return Varied(start, lambda time: min(time * stages // total, stages - 1), vectors)

    return vary


def per_step(steps: int = 50) -> Vary:
    """A shared vector and a shift for each sampling step, scaled to the start vector's length (HiFi Tuner).

    Source: Sec. 3.2 of arXiv:2312.00079.

    steps: number of equal parts of the time that have a shift
    """

    def vary(base: Base, plain: Tensor, sites: int, generator: Generator) -> Varied:
        import torch

        length = plain.norm(dim=-1, keepdim=True)
        start = {"shared": plain.cpu().float().clone(), "steps": torch.zeros(steps, *plain.shape)}

        def vectors(own: Mapping[str, Tensor], site: int, moment: int, random: Streams | None) -> Tensor:
            now = own["shared"] + own["steps"][moment]
            return now / now.norm(dim=-1, keepdim=True) * length

        total = base.num_train_times
        return Varied(start, lambda time: min(time * steps // total, steps - 1), vectors)

    return vary


def neural(*, width: int = 128, anchors: int = 10, keep: float = 0.5, units: int = 0) -> Vary:
    """Vectors predicted from (time, layer) by a small network, in the length of the start vectors (NeTI).

    Source: Sec. 4 of arXiv:2305.15391. Random Fourier features of the normalised pair, with standard deviations 0.03
    (time) and 2 (layer), pass a linear layer that starts as those features at `anchors` times of every layer, two
    hidden layers, and two heads: the input vector and the bypass. In training the hidden vector is cut at a random
    length in some updates (nested dropout). The bias of the input vector's head starts as the start vectors, so that
    the token starts near the class noun; the authors start it at random, and give the other layers biases too.

    width: width of the hidden layers
    anchors: times of every layer at which the first layer starts
    keep: probability of an uncut hidden vector in training, from 0 to 1
    units: length at which the hidden vector is always cut; 0 cuts only by nested dropout
    """

    def vary(base: Base, plain: Tensor, sites: int, generator: Generator) -> Varied:
        import math

        import torch
        import torch.nn.functional as F

        wide, total, count = plain.shape[-1], base.num_train_times, sites * anchors
        frequencies = torch.randn(2, 1024, generator=generator) / torch.tensor([[0.03], [2.0]])
        length = plain.float().norm(dim=-1).mean()

        def features(time: float, site: float) -> Tensor:
            at = torch.tensor([time / total * 2 - 1, site / max(sites - 1, 1) * 2 - 1])
            angles = (at[:, None] * frequencies).sum(0)
            return torch.cat([angles.sin(), angles.cos()]) / math.sqrt(1024)

        grid = [features((n + 0.5) * total / anchors, s) for s in range(sites) for n in range(anchors)]
        start = {
            "first": torch.randn(width, count, generator=generator) / count**0.5,
            "second": torch.randn(width, width, generator=generator) / width**0.5,
            "word": torch.randn(wide, width, generator=generator) * 0.1 / width**0.5,
            "bias": plain.cpu().float().clone(),
            "bypass": torch.randn(wide, width, generator=generator) / width**0.5,
            "anchors": torch.stack(grid),
        }

        def hidden(own: Mapping[str, Tensor], site: int, moment: int, random: Streams | None) -> Tensor:
            h = own["anchors"] @ features(moment, site).to(own["anchors"])
            h = F.leaky_relu(F.layer_norm(own["first"] @ h, (width,)))
            h = F.leaky_relu(F.layer_norm(own["second"] @ h, (width,)))
            cut = units
            if not cut and random is not None:
                at = random("nested dropout")
                if float(torch.rand((), generator=at)) >= keep:
                    cut = int(torch.randint(1, width + 1, (), generator=at))
            return torch.cat([h[:cut], torch.zeros_like(h[cut:])]) if cut else h

        def vectors(own: Mapping[str, Tensor], site: int, moment: int, random: Streams | None) -> Tensor:
            moved = own["bias"] + own["word"] @ hidden(own, site, moment, random)
            return moved / moved.norm(dim=-1, keepdim=True) * length

        def bypass(own: Mapping[str, Tensor], site: int, moment: int, random: Streams | None) -> Tensor:
            return own["bypass"] @ hidden(own, site, moment, random)

        return Varied(start, lambda time: time, vectors, bypass)

    return vary


ATTRIBUTES = ("colour", "object", "layout", "style")
SCOPES = {"layout": ("coarse", 2), "colour": ("moderate", 2), "object": ("coarse", 1), "style": ("moderate", 0)}
"""Attribute -> layers and third of the time (2 the noisiest) in which its vector is read (Fig. 3 of
arXiv:2311.11919)."""


def scales(sites: Sequence[Site]) -> list[str]:
    """ "fine", "moderate" or "coarse" of each cross-attention layer of a UNet, by the resolution at which it acts.

    The first blocks on the way down and the last on the way up are fine, those next to them moderate, and all others
    coarse (for Stable Diffusion: 64, 32, and 16 and below). Without a third resolution the finest is moderate.

    sites: the layers, in the order they run
    """
    blocks = list(dict.fromkeys((site.block, *site.name.split(".")[:2]) for site in sites))
    down, up = (len([block for block in blocks if block[0] == way]) for way in ("down", "up"))
    levels = {}
    for block in blocks:
        same = [other for other in blocks if other[0] == block[0]].index(block)
        levels[block] = {"down": same, "mid": max(down, up), "up": max(up - 1 - same, 0)}[block[0]]
    first = 0 if max(levels.values()) > 1 else 1
    names = ("fine", "moderate", "coarse")
    return [names[min(levels[site.block, *site.name.split(".")[:2]] + first, 2)] for site in sites]


def scoped(attributes: Sequence[str] = ATTRIBUTES) -> Vary:
    """A vector for each attribute, read only in its layers and its third of the time (MATTE, Sec. 3 of
    arXiv:2311.11919).

    Elsewhere, and in fine layers, the token is the one it starts from.

    attributes: attributes that are read, of ATTRIBUTES
    """

    def vary(base: Base, plain: Tensor, sites: int, generator: Generator) -> Varied:
        start = {name: plain.mean(0).cpu().float().clone() for name in ATTRIBUTES}
        where = scales([site for site in base.sites if site.kind == "cross"])

        def vectors(own: Mapping[str, Tensor], site: int, moment: int, random: Streams | None) -> Tensor:
            vectors_in_scope = [own[name] for name in attributes if SCOPES[name] == (where[site], moment)]
            return vectors_in_scope[0][None] if vectors_in_scope else plain

        return Varied(start, lambda time: min(time * 3 // base.num_train_times, 2), vectors)

    return vary
