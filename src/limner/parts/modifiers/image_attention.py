"""Additional attention to a reference image, read through the denoiser itself (ViCo, arXiv:2306.00971)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from limner.core.needs import states_alone
from limner.core.recipe import Objective
from limner.core.types import Live, Prediction
from limner.errors import InputError
from limner.parts.attention.maps import keep_maps, kept_maps

from .parameters import taken
from .states import negatives_of, other_words

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.adapted import Step
    from limner.core.base import Base
    from limner.core.recipe import Need, Source
    from limner.core.subject import Subject
    from limner.core.types import AttentionCall, Kind, Pass, Site

LATENTS = "image_attention.latents"
WORD, END = "attention of the word", "attention of the end"


@dataclass(frozen=True)
class image_attention:
    """Additional attention to a reference beside every second cross-attention layer of the up blocks.

    The authors put a whole transformer block behind the layer, which starts from the base's own weights; here one
    attention stands beside the layer and is silent at first, so that a base of any design can have it.

    Its keys and values are made from the reference's hidden states in that layer, at the positions that attend to the
    token in the reference (Eq. 3 to 5 of arXiv:2306.00971). The reference is a clean picture of the subject, run
    through the same denoiser at the same time: a random one in every update, the first in sampling. Outputs are zero at
    first. It acts in rows whose prompt has the token and in the negative branch of such prompts.

    subject: the subject; its handle is the token
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("cross",)
    needs: ClassVar[tuple[Need, ...]] = (states_alone,)

    subject: Subject

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        import torch

        if LATENTS in stored:
            latents = stored[LATENTS].to(base.device, base.dtype)
        else:
            with torch.no_grad():
                latents = base.encode(self.subject.tensor(base.picture_size))[0]
        chosen = [site for site in base.sites if site.kind == "cross" and site.block == "up"][::2]
        if not chosen:
            raise InputError(
                f"{base.name} ({base.family}) has no cross-attention in up blocks, where this method adds layers"
            )
        live, own = Live({LATENTS: latents}), {}
        for site in chosen:
            _, wide, _ = base.attention_widths(site)
            start = {
                f"image_attention.{site.name}.{part}": torch.zeros(wide, wide)
                if part == "out"
                else torch.randn(wide, wide, generator=generator) / wide**0.5
                for part in ("query", "key", "value", "out")
            }
            parameters = taken(start, stored, base, what="the image attention")
            own[site.name] = list(parameters.values())
            live.tensors |= parameters

        def operation(call: AttentionCall) -> AttentionCall:
            rows = [k for k, prompt in enumerate(call.run.prompts) if self.subject.handle in prompt]
            if call.site.name not in own or not live.on or not rows:
                return call
            if id(self) not in call.run.cache:
                call.run.cache[id(self)] = self._seen(base, call, latents, chosen)
            hidden, mask = call.run.cache[id(self)]
            added = _attended(call, own[call.site.name], hidden[call.site.name], mask[call.site.name])
            on = torch.zeros(len(added), 1, 1).to(added)
            on[[*rows, *negatives_of(call.run, rows)]] = scale
            call.beyond.append(lambda _: on * added)
            return call

        if scale:
            live.operations = (operation,)
        yield live

    def _seen(
        self, base: Base, call: AttentionCall, latents: Tensor, chosen: list[Site]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Hidden states [rows, N, C] of the reference at the chosen sites, and masks [rows, N] of the subject in
        them."""
        import torch

        from limner.core.types import Pass

        run, hidden = call.run, {}
        assert run.time is not None

        def note(inner: AttentionCall) -> AttentionCall:
            if inner.site in chosen:
                hidden[inner.site.name] = inner.hidden.detach()
            return inner

        count = len(call.query)
        which = torch.zeros(count, dtype=torch.long)
        if run.random is not None:
            which = torch.randint(len(latents), (count,), generator=run.random("reference"))
        own = Pass((note, keep_maps()), run.time, prompts=run.prompts, fused=run.fused)
        output = base.predict(latents[which.to(latents.device)], run.time, call.states, context=own)
        maps = kept_maps(Prediction(output, own))
        places = [self._places(base, run, row) for row in range(len(run.prompts))]
        star, end = (torch.stack([maps[k, :, pair[n]] for k, pair in enumerate(places)]) for n in (0, 1))
        run.activations[WORD], run.activations[END] = star, end.detach()
        masks = {name: _resized(otsu(star.detach()), x.shape[1]) for name, x in hidden.items()}
        if run.random is None:  # both branches of guidance use the mask of the prompt with the token
            names_subject = torch.tensor([self.subject.handle in prompt for prompt in run.prompts], device=star.device)
            each = len(names_subject) // len(run.branches)
            source = torch.arange(len(names_subject), device=star.device)
            source = torch.where(
                names_subject,
                source,
                names_subject.float().view(-1, each).argmax(0).repeat(len(run.branches)) * each + source % each,
            )
            masks = {name: mask[source] for name, mask in masks.items()}
        return hidden, masks

    def _places(self, base: Base, run: Pass, row: int) -> tuple[int, int]:
        """Positions of the token and of the end token; for a prompt without the token, of the begin and the end
        token."""
        import torch

        prompt = run.prompts[row]
        words = {**other_words(run, row, but=self.subject.handle), self.subject.handle: torch.zeros(1, 1)}
        places = base.word_places(prompt, self.subject.handle, words=words)
        return (places[0] if places else 0), base.num_tokens(prompt, words=words) + 1


def _attended(call: AttentionCall, own: list[Tensor], seen: Tensor, mask: Tensor) -> Tensor:
    """[B, N, C]"""
    import torch
    import torch.nn.functional as F

    query, key, value, out = own
    q, k, v = (call.heads(x @ w.T) for x, w in ((call.hidden, query), (seen, key), (seen, value)))
    logits = q @ k.mT * q.shape[-1] ** -0.5
    logits = logits.masked_fill(~mask[:, None, None].bool(), float("-inf"))
    attention = (torch.softmax(logits, -1) @ v).transpose(1, 2).flatten(2)
    return F.linear(attention, out)


def otsu(maps: Tensor, bins: int = 64) -> Tensor:
    """[rows, N] of 0 and 1: above the threshold that separates each row's values best (Otsu, 1979).

    The largest value is always above the threshold.

    maps: [rows, N]
    bins: number of thresholds that are compared, plus one
    """
    import torch

    low, high = maps.amin(1, keepdim=True), maps.amax(1, keepdim=True)
    level = (maps - low) / (high - low).clamp_min(1e-12)
    steps = torch.linspace(0, 1, bins + 1, device=maps.device)[1:-1]
    above = (level[..., None] > steps).float()  # [rows, N, steps]
    share = above.mean(1)
    inside = (above * level[..., None]).sum(1) / above.sum(1).clamp_min(1)
    outside = ((1 - above) * level[..., None]).sum(1) / (1 - above).sum(1).clamp_min(1)
    best = (share * (1 - share) * (inside - outside).square()).argmax(1)
    return torch.maximum((level > steps[best][:, None]).float(), (level >= 1).float())


def _resized(mask: Tensor, places: int) -> Tensor:
    """[rows, n] -> [rows, places]: a position is 1 where any of the positions that it covers is."""
    import torch.nn.functional as F

    side, wanted = round(mask.shape[1] ** 0.5), round(places**0.5)
    return F.adaptive_max_pool2d(mask.unflatten(1, (side, side)), wanted).flatten(1)


def attention_consistency(source: Source) -> Objective:
    """Squared difference of the token's and the end token's attention in the reference (Eq. 6 of arXiv:2306.00971).

    Each map is scaled to a maximum of 1; the end token's is the target.

    source: batches that the stage learns from
    """

    def value(step: Step) -> Tensor:
        run, rows = step.prediction.run, step.prediction.rows
        assert run is not None
        star, end = (run.activations[name][rows].float() for name in (WORD, END))
        star, end = (x / x.amax(1, keepdim=True).clamp_min(1e-8) for x in (star, end))
        return (star - end).square().mean()

    return Objective(f"attention consistency({source.name})", source, value)
