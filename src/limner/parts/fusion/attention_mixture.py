"""A mixture of two attentions in every layer, weighted at each position (MoA, arXiv:2404.11565)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from limner.core.needs import unchanged_states
from limner.core.recipe import Objective
from limner.core.types import Live
from limner.errors import InputError
from limner.parts.encoders.looks import Look, looked_at, looked_at_by_rows
from limner.parts.modifiers.parameters import prefixed, taken, under
from limner.parts.modifiers.states import other_words
from limner.parts.modifiers.watched import READ_AT

from .fused_words import fuse, fusing_start
from .noise_aware import CLOCK, clock
from .words_of_pictures import nouns_read, read_with

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.adapted import Step
    from limner.core.base import Base
    from limner.core.recipe import Need, Source
    from limner.core.subject import Subject
    from limner.core.types import AttentionCall, Kind, Pass

PARTS = ("query", "key", "value")
ROUTED = "share of the personal branch"


@dataclass(frozen=True)
class attention_mixture:
    """In every self- and cross-attention layer, out = R_0 A_prior + R_1 A_personal, with router weights R at each
    position.

    R is the softmax of a linear map of the hidden states (Eq. 3 of arXiv:2404.11565). The prior branch is the unchanged
    layer, reading plain text. The personal branch has the layer's own projections with a low-rank change, and reads a
    prompt in which the hidden state of the noun's last token is merged with the picture, the time and the layer (as in
    `fused_words`), so it differs between layers and times. Runs keep the personal share [rows, N] by site, for
    `router_prior`, and the personal branch's maps of the token, for `localised`. Rows without pictures are the base's.

    subject: the subject; its handle is the token
    look: base and references -> features [B, F]
    rank: rank of the change of the personal branch's projections
    personal: bias of the router towards the personal branch at the start; below 0 towards the prior
    prior_alone: whether sampling uses the prior branch alone
    name: prefix of its tensors' names
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("self", "cross")
    needs: ClassVar[tuple[Need, ...]] = (unchanged_states,)

    subject: Subject
    look: Look
    rank: int = 16
    personal: float = 0.0
    prior_alone: bool = False
    name: str = "mixture"

    @property
    def like(self) -> str:
        return self.subject.noun

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        prefix, word = f"{self.name}.", self.subject.handle
        given = under(prefix, stored)
        features = looked_at(base, self.subject, self.look, given, "features")
        sites = [site.name for site in base.sites if site.kind in self.acts_in]
        own = taken(
            self._start(base, sites, features.shape[-1], generator), given, base, what="the mixture of attention"
        )
        live = Live(prefixed(prefix, {**own, "features": features}), {word: base.word_vectors(self.like)})

        def operation(call: AttentionCall) -> AttentionCall:
            painting = call.run.random is None
            if call.site.name in sites and live.on and not (self.prior_alone and painting):
                self._mix(base, call, sites.index(call.site.name), own, features, scale)
            return call

        if scale:
            live.operations = (operation,)
        yield live

    def _start(self, base: Base, sites: list[str], features: int, generator: Generator) -> dict[str, Tensor]:
        import torch

        wide = base.states_shape[1]
        start = fusing_start(base, features + 2 * CLOCK, generator)
        start["layers"] = torch.randn(len(sites), features + 2 * CLOCK, generator=generator) * 0.1
        for site in (site for site in base.sites if site.name in sites):
            _, hidden, read = base.attention_widths(site)
            inside = base.key_value(site)[0].out_features
            read = hidden if site.kind == "self" else wide if read is None else read
            for part, into in zip(PARTS, (hidden, read, read), strict=True):
                start[f"{site.name}.{part}.down"] = torch.randn(self.rank, into, generator=generator) / into**0.5
                start[f"{site.name}.{part}.up"] = torch.zeros(inside, self.rank)
            start[f"{site.name}.router"] = torch.zeros(2, hidden)
            start[f"{site.name}.bias"] = torch.tensor([-self.personal, self.personal]) / 2
        return start

    def _mix(
        self, base: Base, call: AttentionCall, site: int, own: Mapping[str, Tensor], features: Tensor, scale: float
    ) -> None:
        import torch.nn.functional as F

        from limner.bases.common.attention import attend

        name, on = call.site.name, self._seen(base, call.run, features, len(call.query))[1]
        states = call.hidden if call.site.kind == "self" else self._states(base, call, site, own, features)
        changed = [
            call.heads(F.linear(F.linear(x, own[f"{name}.{part}.down"]), own[f"{name}.{part}.up"]))
            for part, x in zip(PARTS, (call.hidden, states, states), strict=True)
        ]
        key, value = call.keys_values(states)
        personal = replace(call, query=call.query + changed[0], key=key + changed[1], value=value + changed[2])
        personal.beside, personal.beyond, personal.on_output, personal.on_maps, personal.on_result = [], [], [], [], []
        if call.site.kind == "cross" and call.run.random is not None:
            personal.on_maps.append(lambda maps: self._keep(call, maps))
        routed = F.linear(call.hidden, own[f"{name}.router"], own[f"{name}.bias"]).softmax(-1)[..., 1]  # [rows, N]
        call.run.activations[f"{ROUTED}, {name}"] = routed
        share = scale * routed[:, None, :, None] * on.to(routed).view(-1, 1, 1, 1)
        seen = attend(personal)
        call.on_output.append(lambda prior: (1 - share) * prior + share * seen.to(prior))

    def _seen(self, base: Base, run: Pass, features: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        """Features of each row [rows, F], and [rows] bool: rows that have the token and pictures."""
        import torch

        if (id(self), "seen") not in run.cache:
            seen, on = looked_at_by_rows(base, run, self.look, features, rows)
            named = torch.tensor([self.subject.handle in prompt for prompt in run.prompts], device=on.device)
            run.cache[id(self), "seen"] = seen, on & named
        features_and_rows: tuple[Tensor, Tensor] = run.cache[id(self), "seen"]
        return features_and_rows

    def _states(
        self, base: Base, call: AttentionCall, site: int, own: Mapping[str, Tensor], features: Tensor
    ) -> Tensor:
        """[rows, L, D]: hidden states for the personal branch of a layer."""
        import torch

        run, word = call.run, self.subject.handle
        seen, on = self._seen(base, run, features, len(call.query))
        rows = on.nonzero().flatten().tolist()
        if not rows:
            return call.states
        if (id(self), "read") not in run.cache:
            others = [other_words(run, row, but=word) for row in rows]
            prompts, nouns = [run.prompts[row] for row in rows], nouns_read(base, run, rows, self.subject)
            plain = read_with(base, prompts, nouns, [True] * len(rows), word, others, run)
            ends = [
                base.word_places(text, word, words={**more, word: noun})[0] + len(noun) - 1
                for text, noun, more in zip(prompts, nouns, others, strict=True)
            ]
            run.cache[READ_AT, word] = dict(zip(rows, ends, strict=True))
            run.cache[id(self), "read"] = plain, torch.tensor(ends, device=plain.device)
        plain, ends = run.cache[id(self), "read"]
        assert run.time is not None
        about = torch.cat([seen[rows], clock(base, run.time[rows]).to(seen)], -1) + own["layers"][site]
        at = torch.arange(len(rows), device=plain.device)
        merged = fuse(own, plain[at, ends], about.to(plain))
        states = plain.index_put((at, ends), merged.to(plain))
        return call.states.index_copy(0, torch.tensor(rows, device=plain.device), states.to(call.states))

    def _keep(self, call: AttentionCall, maps: Tensor) -> Tensor:
        import torch

        places, mean = call.run.cache.get((READ_AT, self.subject.handle), {}), maps.mean(1)
        row_maps = [mean[k, :, places[k]] if k in places else torch.zeros_like(mean[k, :, 0]) for k in range(len(mean))]
        call.run.activations[f"maps of {self.subject.handle}, {call.site.name}"] = torch.stack(row_maps)
        return maps


def router_prior(source: Source) -> Objective:
    """Mean over layers and positions of ((1 - M) R_personal)^2: the prior branch is used outside of the subject (Eq.
    6).

    Source: arXiv:2404.11565. Raises `InputError` without masks.

    source: batches with masks
    """

    def value(step: Step) -> Tensor:
        import torch
        import torch.nn.functional as F

        prediction, mask = step.prediction, step.batch.mask
        if mask is None or prediction.run is None:
            raise InputError(f"{source.name} gives no masks, which this objective compares the router with")
        terms = []
        for name, share in prediction.run.activations.items():
            if name.startswith(f"{ROUTED}, "):
                own = share[prediction.rows].float()
                inside = F.adaptive_avg_pool2d(mask.float(), round(own.shape[1] ** 0.5)).flatten(1).to(own)
                terms.append(((1 - inside) * own).square().mean())
        return torch.stack(terms).mean()

    return Objective(f"router prior({source.name})", source, value)
