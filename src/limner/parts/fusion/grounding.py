"""Boxes of subjects as grounding tokens in a gated self-attention (GLIGEN, arXiv:2301.07093), before the text's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from limner.core.types import Live, split
from limner.parts.encoders.looks import Look, looked_at, shown_rows
from limner.parts.encoders.perceptron import perceptron, perceptron_start
from limner.parts.modifiers.parameters import prefixed, taken, under

from .grounded_states import FREQUENCIES, box_around, fourier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import AttentionCall, Kind, Pass, References, Site

HEADS = 4
POSITIONS = 8 * FREQUENCIES  # width of a box's Fourier features


@dataclass(frozen=True)
class grounding:
    """Two gated residual layers before the cross-attention of every transformer block (Eq. 8 of arXiv:2301.07093, and
    the feed-forward layer of the authors' code):

        x <- x + tanh(alpha) * S([x, g]), restricted to the positions x
        x <- x + tanh(beta) * FF(x)

    S is self-attention over the positions x and the grounding tokens g of all subjects; alpha and beta, one number a
    layer, are zero at first, so that the base is unchanged. A grounding token is a perceptron of [content, Fourier
    features of the box] (Eq. 5); its content is the text embedding of the class noun, or a patch token of the subject's
    pictures. The box is the subject's region in sampling and the target's in training; a learned vector stands for an
    unknown one. Both layers read the input of cross-attention, after its norm, where GLIGEN's have norms of their own.

    Rows without references in training, and the negative branch in sampling, are unchanged; so are rows without a
    region where the content is text. Concepts that ground subjects under one name act together, in one attention.

    subject: the subject whose region and pictures are used in sampling
    look: base and references -> patch tokens [B, R, L, D]; None for the class noun's text embedding
    width: width of the attention, a multiple of HEADS
    tokens: width of the grounding tokens
    drop_box: probability of an unknown box in a row of training, from 0 to 1
    until: share of the sampling time, from the noisiest, in which it acts (scheduled sampling), from 0 to 1
    name: prefix of its tensors' names
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("cross",)

    subject: Subject
    look: Look | None = None
    width: int = 48
    tokens: int = 64
    drop_box: float = 0.1
    until: float = 1.0
    name: str = "grounding"

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        import torch

        prefix = f"{self.name}."
        given = under(prefix, stored)
        features = looked_at(base, self.subject, self.look, given, "features") if self.look else None
        with torch.no_grad():
            content = features if features is not None else base.phrase_features([self.subject.noun])
        sites = grounding_sites(base)
        own = taken(self._start(base, sites, content.shape[-1], generator), given, base, what="the grounding")
        live = Live(prefixed(prefix, own if features is None else {**own, "features": features}))
        known: dict[str, Tensor] = {}  # noun -> its text embedding

        def tokens(run: Pass, rows: int) -> tuple[Tensor, Tensor]:
            if id(self) not in run.cache:
                run.cache[id(self)] = self._tokens(base, run, rows, own, features, known)
            made: tuple[Tensor, Tensor] = run.cache[id(self)]
            return made

        def operation(call: AttentionCall) -> AttentionCall:
            if call.site not in sites or not live.on or not self._acts_at(base, call.run):
                return call
            if acting(call.run, prefix)[0] is live:
                added = self._added(call, under(f"{call.site.name}.", own), prefix)
                call.hidden = call.hidden + added
                call.query = call.queries(call.hidden)
                call.on_result.append(lambda out: out + added)
            return call

        if scale:
            live.operations = (operation,)
            live.offers[prefix] = tokens, scale
        yield live

    def _start(self, base: Base, sites: Sequence[Site], content: int, generator: Generator) -> dict[str, Tensor]:
        import torch

        def matrix(out: int, into: int) -> Tensor:
            return torch.randn(out, into, generator=generator) / into**0.5

        start = perceptron_start("token", content + POSITIONS, self.tokens, self.tokens, generator)
        start["unknown"] = torch.zeros(POSITIONS)
        for site in sites:
            _, wide, _ = base.attention_widths(site)
            sizes = {"query": (self.width, wide), "key": (self.width, wide), "value": (self.width, wide)}
            sizes |= {"tokens": (wide, self.tokens), "out": (wide, self.width)}
            sizes |= {"first": (wide // 2, wide), "second": (wide, wide // 2)}
            start |= {f"{site.name}.{part}": matrix(*size) for part, size in sizes.items()}
            start |= {f"{site.name}.{gate}": torch.zeros(1) for gate in ("alpha", "beta")}
        return start

    def _acts_at(self, base: Base, run: Pass) -> bool:
        late = run.step is not None and run.time is not None
        return not late or float(run.time.max()) >= (1 - self.until) * base.num_train_times  # type: ignore[union-attr]

    def _added(self, call: AttentionCall, own: Mapping[str, Tensor], prefix: str) -> Tensor:
        """[B, N, C]: the sum of both layers' residuals."""
        import torch
        import torch.nn.functional as F

        offers = [live.offers[prefix] for live in acting(call.run, prefix)]
        strength = max((scale for _, scale in offers), key=abs)
        made = [make(call.run, len(call.hidden)) for make, _ in offers]
        shares = [scale / strength for _, scale in offers]
        tokens = torch.cat([share * part for share, (part, _) in zip(shares, made, strict=True)], 1)
        there = torch.cat([known for _, known in made], 1)
        on = strength * there.any(1).to(call.hidden).view(-1, 1, 1)
        first = own["alpha"].tanh() * grounded(call.hidden, tokens, there, own)
        hidden = F.layer_norm(call.hidden + first, call.hidden.shape[-1:])
        second = own["beta"].tanh() * F.linear(F.gelu(F.linear(hidden, own["first"])), own["second"])
        return on * (first + second)

    def _tokens(
        self,
        base: Base,
        run: Pass,
        rows: int,
        own: Mapping[str, Tensor],
        features: Tensor | None,
        known: dict[str, Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Grounding tokens [rows, L, D], and whether each is there [rows, L]."""
        import torch

        if run.references is None:
            boxes, on = boxes_of(run, self.subject.handle, rows), shown_rows(run, rows)
            if features is None:
                features, on = noun_embeddings(base, [self.subject.noun], known), on & ~boxes.isnan().any(1).cpu()
            return self._made(own, features.expand(rows, *features.shape[1:]), boxes, on)
        parts = []
        on = run.references.on
        for place, shown in enumerate((run.references, *run.references.beside)):
            where = boxes_of(run, self.subject.handle, rows, place=place)
            if run.random is not None and place == 0:
                lost = torch.rand(rows, generator=run.random("grounding")) < self.drop_box
                where = torch.where(lost[:, None], torch.nan, where.cpu())
            content = self._seen(base, run, shown, place, known)
            parts.append(self._made(own, content, where, shown.on & on))
        tokens, there = zip(*parts, strict=True)
        return torch.cat(tokens, 1), torch.cat(there, 1)

    def _made(self, own: Mapping[str, Tensor], content: Tensor, boxes: Tensor, on: Tensor) -> tuple[Tensor, Tensor]:
        import torch

        boxes = boxes.to(content)
        missing = boxes.isnan().any(1)[:, None]
        places = torch.where(missing, own["unknown"].to(content), fourier(boxes.nan_to_num()))
        flat = content.flatten(1, -2)  # [rows, L, D]
        both = torch.cat([flat, places[:, None].expand(-1, flat.shape[1], -1)], -1)
        there = on.to(content.device)[:, None].expand(-1, flat.shape[1])
        return perceptron(own, "token", both), there

    def _seen(self, base: Base, run: Pass, shown: References, place: int, known: dict[str, Tensor]) -> Tensor:
        """[rows, ..., L, D]: content of each row's references."""
        import torch

        if self.look is None:
            return noun_embeddings(base, shown.nouns, known)
        key = ("looked at", self.look) if place == 0 else ("looked at", self.look, place)
        if key not in run.cache:
            with torch.no_grad():
                run.cache[key] = self.look(base, shown).to(base.dtype)
        seen: Tensor = run.cache[key]
        return seen


def grounded(hidden: Tensor, tokens: Tensor, there: Tensor, own: Mapping[str, Tensor]) -> Tensor:
    """[B, N, C]: self-attention over [hidden, tokens] at the positions of hidden.

    hidden: [B, N, C]
    tokens: grounding tokens [B, L, D], mapped to width C first
    there: tokens that are attended to [B, L] bool
    own: the layer's parameters
    """
    import torch
    import torch.nn.functional as F

    both = torch.cat([hidden, F.linear(tokens, own["tokens"]).to(hidden)], 1)
    both = F.layer_norm(both, both.shape[-1:])
    asked = both[:, : hidden.shape[1]]
    pairs = ((asked, "query"), (both, "key"), (both, "value"))
    query, key, value = (split(F.linear(x, own[part]), HEADS) for x, part in pairs)
    absent = F.pad(~there, (hidden.shape[1], 0), value=False)[:, None, None]  # [B, 1, 1, N + L]
    bias = query.new_zeros(absent.shape).masked_fill(absent, float("-inf"))
    out = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    return F.linear(out.transpose(1, 2).flatten(2), own["out"])


def grounding_sites(base: Base) -> list[Site]:
    """The last cross-attention of every transformer block, in the order they run.

    base: the base
    """
    last: dict[str, Site] = {}
    for site in base.sites:
        if site.kind == "cross":
            last[site.name.rpartition(".")[0]] = site
    return list(last.values())


def boxes_of(run: Pass, handle: str, rows: int, *, place: int = 0) -> Tensor:
    """[rows, 4]: the box of a subject in each row of a run, as shares; NaN where it is unknown.

    run: the run
    handle: the subject's handle, whose region is its box in sampling
    rows: number of rows
    place: in training, 0 for the references' own subject, k for the k-th further subject
    """
    import torch

    if run.references is not None:
        shown = (run.references, *run.references.beside)[place]
        return torch.full((rows, 4), torch.nan) if shown.boxes is None else shown.boxes
    region = run.regions.get(handle)
    return torch.full((rows, 4), torch.nan) if region is None else box_around(region).expand(rows, 4)


def acting(run: Pass, offer: str) -> list[Live]:
    """The attached modifiers of a run that act and make an offer, in the order they were attached.

    run: the run
    offer: name of the offer
    """
    return [live for live in run.lives if live.on and offer in live.offers]


def noun_embeddings(base: Base, nouns: Sequence[str], known: dict[str, Tensor]) -> Tensor:
    """[B, 1, D]: the text embedding of each noun; every noun is encoded once.

    base: the base
    nouns: the nouns
    known: embeddings so far, by noun
    """
    import torch

    new = sorted(set(nouns) - known.keys())
    if new:
        with torch.no_grad():
            known.update(zip(new, base.phrase_features(new), strict=True))
    return torch.stack([known[noun] for noun in nouns])[:, None]
