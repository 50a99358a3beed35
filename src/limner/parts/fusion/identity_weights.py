"""Very small weight changes for each person, predicted from a picture by a network (HyperDreamBooth,
arXiv:2307.06949)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from limner.core.recipe import Objective
from limner.core.streams import stream
from limner.core.types import Live
from limner.errors import InputError
from limner.parts.encoders.clip import clip_last
from limner.parts.encoders.looks import all_of, looked_at, looked_at_by_rows
from limner.parts.modifiers.parameters import prefixed, taken, under

from .multimodal_states import block, new_block

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.adapted import Step
    from limner.core.base import Base
    from limner.core.recipe import Source
    from limner.core.subject import Subject
    from limner.core.types import AttentionCall, Kind, Pass
    from limner.parts.encoders.looks import Look

PARTS = ("query", "key", "value")


@dataclass(frozen=True)
class identity_weights:
    """W' = W + A_aux A B B_aux for queries, keys and values of every attention layer, with factors of each row's own.

    A is [a, rank] and B [rank, b] (the lightweight DreamBooth, Eq. 3 of arXiv:2307.06949). A_aux [out, a] has
    orthonormal columns and B_aux [b, in] orthonormal rows; both are random, frozen, the same for every person, and not
    stored.

    While a bank of factors is trained, each row uses those of its own person, by number. Otherwise a hypernetwork
    predicts them from the row's pictures: queries, one for each matrix, attend to patch tokens several times, each time
    knowing the prediction before (Sec. 4.2). Rows without references are the base's.

    subject: the subject whose pictures are used in sampling
    people: number of people in the bank
    a: columns of A_aux, at most as many as a layer has outputs
    b: rows of B_aux, at most as many as a layer has inputs
    rank: rank of A and B
    rounds: number of predictions, each refining the one before
    width: width of the hypernetwork
    name: prefix of its tensors' names
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("self", "cross")

    subject: Subject
    people: int = 64
    a: int = 16
    b: int = 12
    rank: int = 1
    rounds: int = 4
    width: int = 64
    name: str = "identity"

    @property
    def look(self) -> Look:
        """[B, R * L, D]: patch tokens of all pictures."""
        return all_of(clip_last)

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        prefix, sites = f"{self.name}.", self.sites(base)
        given = under(prefix, stored)
        features = looked_at(base, self.subject, self.look, given, "features")
        own = taken(
            self._start(len(sites), features.shape[-1], generator), given, base, what="the weights of identities"
        )
        aux = {site: self.auxiliary(base, site) for site in sites}
        live = Live(prefixed(prefix, {**own, "features": features}))

        def operation(call: AttentionCall) -> AttentionCall:
            if call.site.name not in aux or not live.on:
                return call
            if id(self) not in call.run.cache:
                call.run.cache[id(self)] = scale * self._factors(base, call.run, len(call.query), features, own)
            factors = call.run.cache[id(self)][:, sites.index(call.site.name)]  # [rows, 3, numbers]
            more = [
                call.heads(self.path(x, factors[:, k], *aux[call.site.name][k]))
                for k, x in enumerate((call.hidden, call.states, call.states))
            ]
            call.query, call.key, call.value = call.query + more[0], call.key + more[1], call.value + more[2]
            return call

        if scale:
            live.operations = (operation,)
        yield live

    def sites(self, base: Base) -> list[str]:
        """Names of the attention layers that change."""
        return [site.name for site in base.sites if site.kind in self.acts_in]

    @property
    def numbers(self) -> int:
        """Number of entries of both factors of a matrix."""
        return self.rank * (self.a + self.b)

    def auxiliary(self, base: Base, name: str) -> list[tuple[Tensor, Tensor]]:
        """A_aux [out, a] and B_aux [b, in] for queries, keys and values of a site."""
        site = next(site for site in base.sites if site.name == name)
        _, hidden, states = base.attention_widths(site)
        out = base.key_value(site)[0].out_features
        return [
            (
                orthonormal(out, self.a).to(base.device, base.dtype),
                orthonormal(wide, self.b).T.to(base.device, base.dtype),
            )
            for wide in (hidden, states, states)
        ]

    def path(self, x: Tensor, factors: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """[rows, N, in] -> [rows, N, out]: each row multiplied by its own factors [rows, numbers]."""
        import torch
        import torch.nn.functional as F

        first, second = factors.to(x).split([self.rank * self.a, self.rank * self.b], -1)
        low = torch.bmm(F.linear(x, right), second.unflatten(-1, (self.rank, self.b)).mT)
        return F.linear(torch.bmm(low, first.unflatten(-1, (self.a, self.rank)).mT), left)

    def _start(self, sites: int, features: int, generator: Generator) -> dict[str, Tensor]:
        import torch

        matrices, width = sites * len(PARTS), self.width
        bank = torch.randn(self.people, matrices, self.numbers, generator=generator) * 0.3
        bank[..., : self.rank * self.a] = 0  # no change at the start
        start = {"bank": bank, "hyper.queries": torch.randn(matrices, width, generator=generator)}
        start["hyper.see"] = torch.randn(width, features, generator=generator) / features**0.5
        start["hyper.known"] = torch.randn(width, self.numbers, generator=generator) / self.numbers**0.5
        start["hyper.out"] = torch.randn(self.numbers, width, generator=generator) * 0.03 / width**0.5
        return start | prefixed("hyper.", new_block("layer", width, generator))

    def _factors(self, base: Base, run: Pass, rows: int, features: Tensor, own: Mapping[str, Tensor]) -> Tensor:
        """[rows, sites, 3, numbers]; zeros in rows without references."""
        seen, on = looked_at_by_rows(base, run, self.look, features, rows)
        if own["bank"].requires_grad and run.references is not None:
            factors = own["bank"][self.whose(run.references.identity)]
        elif run.references is None:
            factors = self.predicted(own, seen[:1]).expand(rows, -1, -1)
        else:
            factors = self.predicted(own, seen)
        return (factors * on.to(factors).view(-1, 1, 1)).unflatten(1, (-1, len(PARTS)))

    def whose(self, identity: Tensor | None) -> Tensor:
        """Rows of the bank, by person. Raises `InputError` where it has none for a person."""
        if identity is None or int(identity.max()) >= self.people:
            raise InputError(
                f"there are weights of {self.people} people: expected a corpus that identifies at most as many people"
            )
        return identity

    def predicted(self, own: Mapping[str, Tensor], seen: Tensor) -> Tensor:
        """Patch tokens [B, L, D] -> factors [B, matrices, numbers]"""
        import torch.nn.functional as F

        memory = F.linear(F.layer_norm(seen, seen.shape[-1:]), own["hyper.see"])
        mask = memory.new_ones(memory.shape[:2]).bool()
        factors = memory.new_zeros(len(memory), len(own["hyper.queries"]), self.numbers)
        for _ in range(self.rounds):
            asked = own["hyper.queries"] + F.linear(factors, own["hyper.known"])
            factors = factors + F.linear(block(under("hyper.", own), "layer", asked, memory, mask), own["hyper.out"])
        return factors


def weight_regression(source: Source, weights: identity_weights) -> Objective:
    """Mean squared difference of predicted factors and those of the bank, in rows with references (Eq. 4 of
    arXiv:2307.06949).

    source: pairs of the people in the bank
    weights: the modifier, with its bank frozen
    """

    def value(step: Step) -> Tensor:
        shown = step.batch.references
        assert shown is not None
        own = under(f"{weights.name}.", step.adapted.live[weights].tensors)
        seen = weights.look(step.adapted.base, shown).to(own["bank"])
        wanted = own["bank"].detach()[weights.whose(shown.identity).to(own["bank"].device)]
        mean: Tensor = (weights.predicted(own, seen).float() - wanted.float()).square().mean()
        return mean

    return Objective(f"weight regression({source.name})", source, value, any_target=True, across=True)


def orthonormal(long: int, short: int) -> Tensor:
    """[long, short] with orthonormal columns, random and always the same. Raises `InputError` where short exceeds long.

    long: number of rows
    short: number of columns, at most `long`
    """
    import torch

    if short > long:
        raise InputError(f"a layer of {long} numbers has no {short} orthonormal directions: take fewer")
    directions: Tensor = torch.linalg.qr(torch.randn(long, short, generator=stream(0, "orthonormal", long, short))).Q
    return directions
