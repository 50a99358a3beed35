"""Pictures that show several subjects, with masks estimated from the attention to their words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from limner.core.recipe import Gather, Source
from limner.core.types import Batch
from limner.errors import InputError
from limner.parts.encoders.random_field import dense_crf

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.adapted import Adapted
    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import Streams
    from limner.parts.modifiers.watched import watched_word

SIDE = 32
"""Pixels of a side of the pictures that masks are fitted to."""
TIMES = (0.35, 0.5, 0.65)
"""Times at which attention is averaged, as shares of the base's: the layout is decided, and details are not."""


MOST = 256
"""Largest number of positions of a layer whose maps are averaged."""


def mask_of(handle: str) -> str:
    """Name of the condition that holds a subject's estimated mask in the batches of `with_estimated_masks`.

    handle: the subject's handle
    """
    return f"mask of {handle}"


def with_estimated_masks(
    subject: Subject, watched: Sequence[watched_word], *, batch: int = 4, name: str = "photos"
) -> Source:
    """Batches of pictures, each with the words of a random part of the subjects in it, and with their masks.

    When its stage starts, masks are estimated for the whole stage (the E-step of arXiv:2402.11487, `estimated_masks`).
    The loss counts in the union of the masks of the words in a row's prompt, and each word's mask is the condition
    `mask_of(word)`. A picture shows the words that its own caption names; without a caption, all of them.

    subject: the subject with its pictures
    watched: the modifiers that keep the maps of each subject's word
    batch: pictures in an update
    name: name of the source
    """
    handles = [one.word for one in watched]
    shown = [[h for h in handles if h in picture.caption] or handles for picture in subject.pictures]

    def make(adapted: Adapted, at: Streams, earlier: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return {"masks": estimated_masks(adapted, subject, watched, shown, at)}

    def draw(base: Base, gathered: Mapping[str, Tensor]) -> Callable[[int, Streams], Batch]:
        import torch
        import torch.nn.functional as F

        masks = F.interpolate(gathered["masks"], base.latent_shape[1:], mode="area")  # [n, K, h, w]
        with torch.no_grad():
            mean, std = base.encode(subject.tensor(base.picture_size).to(base.device))

        def batches(step: int, at: Streams) -> Batch:
            repeats = -(-batch // len(mean))
            rows = torch.cat([torch.randperm(len(mean), generator=at("order")) for _ in range(repeats)])[:batch]
            named = [_some(shown[row], at(f"words of {k}")) for k, row in enumerate(rows.tolist())]
            chosen = torch.tensor([[handle in words for handle in handles] for words in named])
            own = masks[rows] * chosen[..., None, None]
            noise = torch.randn(batch, *mean.shape[1:], generator=at("latents")).to(mean)
            return Batch(
                (mean[rows] + std[rows] * noise).to(base.dtype),
                tuple(f"a photo of {' and '.join(words)}" for words in named),
                mask=own.sum(1, keepdim=True).clamp(max=1).to(base.device, base.dtype),
                conditions={mask_of(h): own[:, k : k + 1].to(base.device, base.dtype) for k, h in enumerate(handles)},
            )

        return batches

    return Source(name, "subject", lambda base: _not_gathered, gather=Gather(make, draw))


def estimated_masks(
    adapted: Adapted,
    subject: Subject,
    watched: Sequence[watched_word],
    shown: Sequence[Sequence[str]],
    at: Streams,
    *,
    refine: bool = True,
) -> Tensor:
    """[n, K, SIDE, SIDE] of 0 and 1: for each picture the mask of each word (Sec. 3 of arXiv:2402.11487).

    The words' maps of cross-attention, averaged over layers, times and noise, compete for each pixel, as does "none"
    (`_shares`). A dense conditional random field then labels each pixel with one of them. The competition is ours: with
    attention scaled to a maximum of 1 instead, the words of weak attention lose their masks, and so their training.

    adapted: the adapted base, with the words as learned so far
    subject: the subject with its pictures
    watched: the modifiers that keep the maps of each word
    shown: for each picture the words that it shows
    at: random streams of the noise
    refine: whether the random field acts; otherwise each pixel has the label with the largest share
    """
    import torch
    import torch.nn.functional as F

    base = adapted.base
    pixels = subject.tensor(base.picture_size).to(base.device)
    latents = base.encode(pixels)[0].to(base.dtype)
    prompts = [f"a photo of {' and '.join(words)}" for words in shown]
    states = adapted.text_states(prompts)
    totals: list[Tensor] = []
    for number, share in enumerate(TIMES):
        noise = torch.randn(latents.shape, generator=at(f"look {number}")).to(latents)
        time = torch.full((len(latents),), int(share * base.num_train_times), device=base.device)
        noised = base.noised(latents, noise, time)
        expanded = tuple(map(adapted.expand_prompt, prompts))
        run = adapted.run(time=time, latents=noised, prompts=expanded, fused=False, random=at)
        base.predict(noised, time, states, context=run)
        totals.append(torch.stack([_spread_out(run.activations, one) for one in watched], 1))
    shares = _shares(torch.stack(totals).mean(0))  # [n, K + 1, SIDE, SIDE]
    if refine:
        shares = dense_crf(shares, F.interpolate(pixels.float(), (SIDE, SIDE), mode="area"))
    labels = F.one_hot(shares.argmax(1), shares.shape[1]).permute(0, 3, 1, 2)
    named = torch.tensor([[one.word in words for one in watched] for words in shown]).to(labels)
    return (labels[:, :-1] * named[..., None, None]).float().cpu()


def _spread_out(tensors: Mapping[str, Tensor], watched: watched_word) -> Tensor:
    """[n, SIDE, SIDE]: a word's maps, each scaled to [0, 1], averaged over the finest sites."""
    import torch.nn.functional as F

    every = {name: maps for name, maps in tensors.items() if name.startswith(f"{watched.key}, ")}
    few = {name: maps for name, maps in every.items() if maps.shape[1] <= MOST}
    fine = max(maps.shape[1] for maps in few.values())
    scaled = [_scaled(maps.float()) for maps in few.values() if maps.shape[1] == fine]
    mean = sum(scaled[1:], scaled[0]) / len(scaled)  # [n, N]
    side = round(fine**0.5)
    return F.interpolate(mean.unflatten(1, (1, side, side)), (SIDE, SIDE), mode="bilinear")[:, 0]


def _scaled(maps: Tensor) -> Tensor:
    """Maps [n, N] with a minimum of 0 and a maximum of 1."""
    low, high = maps.amin(1, keepdim=True), maps.amax(1, keepdim=True)
    return (maps - low) / (high - low).clamp_min(1e-8)


def _shares(maps: Tensor) -> Tensor:
    """[n, K + 1, SIDE, SIDE]: how likely each word is at each pixel, and last that none of them is.

    Each word's map is scaled to a mean of 1 over the picture, and "none" is 1 everywhere, so that these are the
    responsibilities of a mixture with equal weights: a word with weak attention has a mask too.

    maps: [n, K, SIDE, SIDE]
    """
    import torch

    own = maps - maps.amin((2, 3), keepdim=True)
    own = own / own.mean((2, 3), keepdim=True).clamp_min(1e-8)
    shares = torch.cat([own, torch.ones_like(own[:, :1])], 1)
    return shares / shares.sum(1, keepdim=True)


def _some(words: Sequence[str], generator: Generator) -> list[str]:
    """A random part of the words, in their order: first its size, from 1 to all, then which."""
    import torch

    order: list[int] = torch.randperm(len(words), generator=generator).tolist()
    count = int(torch.randint(1, len(words) + 1, (), generator=generator))
    return [words[k] for k in sorted(order[:count])]


def _not_gathered(step: int, at: Streams) -> Batch:
    raise InputError("masks are estimated at the start of a stage, and there are batches only in its updates")
