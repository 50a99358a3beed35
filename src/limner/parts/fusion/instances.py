"""Instances of a picture, each shaded alone and then aggregated (MIGC, arXiv:2402.05408)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from limner.core.streams import stream
from limner.core.types import Live, split
from limner.errors import InputError
from limner.parts.encoders.looks import Look, looked_at
from limner.parts.encoders.perceptron import perceptron, perceptron_start
from limner.parts.modifiers.parameters import prefixed, taken, under

from .aggregation import aggregated, aggregation_start
from .grounded_states import fourier, touched
from .grounding import POSITIONS, acting, boxes_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import AttentionCall, Kind, Pass, References, Site

HEADS = 4
WHOLE = (0.0, 0.0, 1.0, 1.0)
MOST_PHRASES = 4096
ARTICLES = ("a", "an", "the", "one")
MAPS = "maps of instances"
"""Beginning of the names of maps that `inhibition` reads: the maps [rows, S, N] of S instances' nouns."""


class Instances(NamedTuple):
    """One instance of each row of a run."""

    phrases: tuple[str, ...]  # B: "a red dog"; empty in rows without it
    boxes: Tensor  # [B, 4]; the whole picture where it is unknown
    pictures: Tensor  # [B, F]: image embedding of the subject
    seen: Tensor  # [B] bool: rows with an image embedding

    @property
    def there(self) -> Tensor:
        """[B] bool"""
        import torch

        return torch.tensor([bool(phrase) for phrase in self.phrases])


@dataclass(frozen=True)
class instance_shading:
    """Cross-attention divided into instances and put together again (arXiv:2402.05408).

    In the middle and the first third of the up path, each instance has a shading of its own, inside of its box alone:

        M_i (CA(x, phrase_i) + EA(LN(x), [phrase_i, pictures_i, box_i]))

    CA is the layer's own attention, to the phrase's states; EA is enhancement attention to grounded tokens: the
    phrase's text embedding, tokens of the subject's image embedding (those of MIGC++, arXiv:2407.02329) and the box's
    Fourier features. The background has the layer's attention to the whole prompt, outside of all boxes. Layout
    attention, a self-attention restricted to pairs of positions in one instance or both in the background, makes a
    template. The shading aggregation controller returns their weighted mean. In rows without an instance, and in other
    layers, the layer is unchanged. Concepts under one name are instances of one aggregation.

    A subject's phrase is its class noun with the words before its handle, from the last article on; in training, the
    `looks` of the references. A subject without a region has the whole picture.

    subject: the subject; its handle is a word with the vectors of its class noun
    look: base and references -> image embedding [B, F]
    tokens: tokens of an image embedding
    width: width of both attentions, a multiple of HEADS
    slots: places for background, template and instances
    until: share of the sampling time, from the noisiest, in which it acts, from 0 to 1
    drop_box: probability in a row of training with one instance that the box is the whole picture, from 0 to 1
    name: prefix of its tensors' names
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("cross",)

    subject: Subject
    look: Look
    tokens: int = 2
    width: int = 48
    slots: int = 8
    until: float = 0.5
    drop_box: float = 0.1
    name: str = "instances"

    @property
    def like(self) -> str:
        return self.subject.noun

    @property
    def word(self) -> str:
        return self.subject.handle

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        prefix = f"{self.name}."
        given = under(prefix, stored)
        features = looked_at(base, self.subject, self.look, given, "features")
        sites = shaded_sites(base)
        own = taken(self._start(base, sites, features.shape[-1], generator), given, base, what="the instance shading")
        tensors = prefixed(prefix, {**own, "features": features})
        live = Live(tensors, {self.subject.handle: base.word_vectors(self.subject.noun)})
        read = _Phrases(base)

        def instances(run: Pass, rows: int) -> list[Instances]:
            if id(self) not in run.cache:
                run.cache[id(self)] = self._instances(base, run, rows, features)
            made: list[Instances] = run.cache[id(self)]
            return made

        def operation(call: AttentionCall) -> AttentionCall:
            if call.site.kind != "cross" or not live.on or acting(call.run, prefix)[0] is not live:
                return call
            every = [
                one for other in acting(call.run, prefix) for one in other.offers[prefix](call.run, len(call.query))
            ]
            if call.run.random is not None and call.site not in sites:
                call.on_maps.append(_kept_maps(base, call, every))
            if call.site in sites and self._acts_at(base, call.run):
                mine = {**under(f"{call.site.name}.", own), **under("shared.", own)}
                call.on_result.append(lambda out: out.lerp(self._shaded(base, call, out, every, mine, read), scale))
            return call

        if scale:
            live.operations = (operation,)
            live.offers[prefix] = instances
        yield live

    def _start(self, base: Base, sites: Sequence[Site], seen: int, generator: Generator) -> dict[str, Tensor]:
        import torch

        def matrix(out: int, into: int) -> Tensor:
            return torch.randn(out, into, generator=generator) / into**0.5

        text, inner = base.phrase_features([self.subject.noun]).shape[-1], 64
        start = perceptron_start("shared.phrase", text, inner, inner, generator)
        start |= perceptron_start("shared.picture", seen, inner, self.tokens * inner, generator)
        start |= perceptron_start("shared.box", POSITIONS, inner, inner, generator)
        for site in sites:
            _, wide, _ = base.attention_widths(site)
            sizes = {"enhance.query": (self.width, wide), "layout.query": (self.width, wide)}
            sizes |= {"layout.key": (self.width, wide), "layout.value": (self.width, wide)}
            sizes |= {"enhance.key": (self.width, inner), "enhance.value": (self.width, inner)}
            start |= {f"{site.name}.{part}": matrix(*size) for part, size in sizes.items()}
            # small at first beside the layer's own shading
            start |= {f"{site.name}.{part}.out": 0.1 * matrix(wide, self.width) for part in ("enhance", "layout")}
            start |= prefixed(f"{site.name}.", aggregation_start(wide, self.slots, generator))
        return start

    def _acts_at(self, base: Base, run: Pass) -> bool:
        if run.step is None or run.time is None:
            return True
        return float(run.time.max()) >= (1 - self.until) * base.num_train_times

    def _instances(self, base: Base, run: Pass, rows: int, features: Tensor) -> list[Instances]:
        import torch

        if run.references is None:
            phrases = [""] * rows
            if run.random is None:
                branches = [branch for branch in run.branches for _ in range(rows // len(run.branches))]
                texts = [
                    "" if branch == "negative" else text for text, branch in zip(run.prompts, branches, strict=True)
                ]
                phrases = [phrase_before(text, self.subject) for text in texts]
            boxes = boxes_of(run, self.subject.handle, rows)
            seen = torch.ones(rows, dtype=torch.bool)
            return [Instances(tuple(phrases), _known(boxes), features.expand(rows, -1), seen)]
        places = range(1, 1 + len(run.references.beside))
        others = [boxes_of(run, self.subject.handle, rows, place=place).cpu() for place in places]
        single = torch.stack([own.isnan().any(1) for own in others] or [torch.ones(rows).bool()]).all(0)
        made = []
        for place, shown in enumerate((run.references, *run.references.beside)):
            boxes = boxes_of(run, self.subject.handle, rows, place=place).cpu()
            named = zip(run.prompts, shown.looks, boxes.isnan().any(1).tolist(), strict=True)
            phrases = [looks if prompt and not unplaced else "" for prompt, looks, unplaced in named]
            if place == 0 and run.random is not None:
                lost = (torch.rand(rows, generator=run.random("instances")) < self.drop_box) & single
                boxes = torch.where(lost[:, None], torch.tensor(WHOLE), boxes)
            made.append(Instances(tuple(phrases), _known(boxes), self._seen(base, run, shown, place), shown.on))
        return made

    def _seen(self, base: Base, run: Pass, shown: References, place: int) -> Tensor:
        import torch

        key = ("looked at", self.look, place)
        if key not in run.cache:
            with torch.no_grad():
                run.cache[key] = self.look(base, shown).to(base.dtype)
        seen: Tensor = run.cache[key]
        return seen

    def _shaded(
        self,
        base: Base,
        call: AttentionCall,
        out: Tensor,
        every: Sequence[Instances],
        own: Mapping[str, Tensor],
        read: _Phrases,
    ) -> Tensor:
        """[B, N, C]: the aggregated shading; `out` in rows without an instance."""
        import torch
        import torch.nn.functional as F

        if len(every) > self.slots - 2:
            raise InputError(
                f"{len(every)} instances are in one picture, and this method has places for {self.slots - 2}: name fewer "
                "subjects, or train it with more slots"
            )
        side = round(out.shape[1] ** 0.5)
        there = torch.stack([one.there for one in every]).to(out.device)  # [S, B]
        inside = [touched(one.boxes.to(out.device), side)[:, 0] for one in every]  # [B, N, 1] of 0 and 1
        masks = [part.to(out) * here[:, None, None] for part, here in zip(inside, there, strict=True)]
        background = 1 - torch.stack(masks).amax(0)
        shadings = [background * out]
        hidden = F.layer_norm(call.hidden, call.hidden.shape[-1:])
        for one, mask in zip(every, masks, strict=True):
            states, embeddings = read(one.phrases)
            shadings.append(mask * (own_attention(base, call, states) + enhanced(hidden, one, embeddings, own)))
        template = layout_attention(call.hidden, [background, *masks], own)
        mixed, _ = aggregated(
            [*shadings, template],
            [background, *masks, torch.ones_like(background)],
            own,
            slots=self.slots,
            order=_order(call.run, self.slots - 2),
        )
        return torch.where(there.any(0)[:, None, None], mixed, out)


class _Phrases:
    """States and text embeddings of phrases, each encoded once."""

    def __init__(self, base: Base) -> None:
        self.base = base
        self.known: dict[str, tuple[Tensor, Tensor]] = {}

    def __call__(self, phrases: Sequence[str]) -> tuple[Tensor, Tensor]:
        """[B, L, D] and [B, F]"""
        import torch

        if len(self.known) > MOST_PHRASES:
            self.known.clear()
        new = sorted(set(phrases) - self.known.keys())
        if new:
            with torch.no_grad():
                read = self.base.text_states(new, words={})[:, : self.base.text_positions]
                made = read, self.base.phrase_features(new)
            self.known.update(zip(new, zip(*made, strict=True), strict=True))
        states, embeddings = zip(*(self.known[phrase] for phrase in phrases), strict=True)
        return torch.stack(states), torch.stack(embeddings)


def own_attention(base: Base, call: AttentionCall, states: Tensor) -> Tensor:
    """[B, N, C]: the layer's own attention to other states, through its output projection.

    base: the base
    call: the attention layer's call
    states: [B, L, D]
    """
    import torch.nn.functional as F

    key, value = call.keys_values(states.to(call.query))
    out = F.scaled_dot_product_attention(call.query, key, value)
    result: Tensor = base.query_out(call.site)[1](out.transpose(1, 2).flatten(2))
    return result


def enhanced(hidden: Tensor, one: Instances, embeddings: Tensor, own: Mapping[str, Tensor]) -> Tensor:
    """[B, N, C]: enhancement attention to an instance's grounded tokens.

    hidden: [B, N, C], normalised
    one: the instance
    embeddings: text embeddings of its phrases [B, F]
    own: the layer's parameters and the shared ones
    """
    import torch
    import torch.nn.functional as F

    phrase = perceptron(own, "phrase", embeddings.to(hidden))[:, None]
    pictures = perceptron(own, "picture", one.pictures.to(hidden)).unflatten(1, (-1, phrase.shape[-1]))
    box = perceptron(own, "box", fourier(one.boxes.to(hidden)))[:, None]
    tokens = torch.cat([phrase, box, pictures], 1)  # [B, 2 + T, D]
    absent = F.pad((~one.seen).to(hidden.device)[:, None].expand(-1, pictures.shape[1]), (2, 0), value=False)
    bias = hidden.new_zeros(absent.shape).masked_fill(absent, float("-inf"))[:, None, None]
    return _attended(hidden, tokens, own, "enhance", bias)


def layout_attention(hidden: Tensor, masks: Sequence[Tensor], own: Mapping[str, Tensor]) -> Tensor:
    """[B, N, C]: self-attention between positions that share a mask.

    hidden: [B, N, C]
    masks: [B, N, 1] of 0 and 1, of the background and each instance; every position is in one
    own: the layer's parameters
    """
    import torch

    joined = torch.cat(list(masks), 2)  # [B, N, S]
    shared = joined @ joined.mT > 0  # [B, N, N]
    bias = hidden.new_zeros(shared.shape).masked_fill(~shared, float("-inf"))[:, None]
    return _attended(hidden, hidden, own, "layout", bias)


def _attended(hidden: Tensor, states: Tensor, own: Mapping[str, Tensor], part: str, bias: Tensor) -> Tensor:
    import torch.nn.functional as F

    asked = ((hidden, "query"), (states, "key"), (states, "value"))
    query, key, value = (split(F.linear(x, own[f"{part}.{name}"]), HEADS) for x, name in asked)
    out = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    return F.linear(out.transpose(1, 2).flatten(2), own[f"{part}.out"])


def shaded_sites(base: Base) -> list[Site]:
    """The cross-attention sites of the middle, and those of the first third of the up path.

    In Stable Diffusion these have 8 * 8 and 16 * 16 positions, as in arXiv:2402.05408 from memory, and one of 32 * 32.
    On a base without up path, these are the first third of all.

    base: the base
    """
    cross = [site for site in base.sites if site.kind == "cross"]
    up = [site for site in cross if site.block == "up"] or cross
    chosen = up[: math.ceil(len(up) / 3)]
    middle = [site for site in cross if site.block == "mid"] if up is not cross else []
    return [*middle, *chosen]


def phrase_before(prompt: str, subject: Subject) -> str:
    """The class noun with the words before the handle, from the last article on: "a red <rex>" is "a red dog".

    The noun alone where no article stands within four words before it or other marks come between. Empty for a prompt
    without the handle.

    prompt: the prompt, with handles
    subject: the subject
    """
    if subject.handle not in prompt:
        return ""
    words = re.findall(r"<[^<>\s]+>|\w+|[^\w\s]", prompt[: prompt.index(subject.handle)])
    for count in range(1, 6):
        if len(words) < count or not words[-count].isalnum():
            break
        if words[-count].lower() in ARTICLES:
            return " ".join([*words[-count:], subject.noun])
    return subject.noun


def last_place(base: Base, prompt: str, phrase: str) -> int:
    """Position of a phrase's last token in a prompt's hidden states; 0, the begin token's, where it is not there.

    base: the base
    prompt: the prompt
    phrase: the phrase, or nothing
    """
    import torch

    if not phrase or phrase not in prompt:
        return 0
    count, mark = base.num_tokens(phrase, words={}), "<the-phrase-whose-place-is-looked-up>"
    places = base.word_places(prompt.replace(phrase, mark, 1), mark, words={mark: torch.zeros(count, 1)})
    return places[0] + count - 1 if places else 0


def _known(boxes: Tensor) -> Tensor:
    """Boxes [B, 4], with the whole picture in place of NaN."""
    import torch

    whole = torch.tensor(WHOLE, device=boxes.device, dtype=boxes.dtype)
    return torch.where(boxes.isnan().any(1)[:, None], whole, boxes)


def _order(run: Pass, count: int) -> Tensor:
    """A random order of the instances' slots: of the update in training, and always the same in sampling."""
    import torch

    generator = run.random("slots") if run.random is not None else stream(0, "slots")
    return torch.randperm(count, generator=generator)


def _kept_maps(base: Base, call: AttentionCall, every: Sequence[Instances]) -> Callable[[Tensor], Tensor]:
    """A function of the attention maps that stores those of each instance's last word in the prompt."""

    def keep(maps: Tensor) -> Tensor:
        import torch

        mean, run = maps.mean(1), call.run  # [B, N, M]
        if MAPS not in run.cache:
            run.cache[MAPS] = [
                [last_place(base, *pair) for pair in zip(run.prompts, one.phrases, strict=True)] for one in every
            ]
        stored = [
            torch.stack([mean[row, :, place] if place else 0 * mean[row, :, 0] for row, place in enumerate(places)])
            for places in run.cache[MAPS]
        ]
        run.activations[f"{MAPS}, {call.site.name}"] = torch.stack(stored, 1)
        return maps

    return keep
