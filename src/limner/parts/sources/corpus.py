"""Many subjects at once, each with references and targets: what encoders are trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from limner.recipe import Batch, Source

if TYPE_CHECKING:
    from torch import Tensor

    from limner.bases.protocol import Base
    from limner.recipe import Streams


def toy_pairs(
    *, batch: int = 32, individuals: int = 0, drop_image: float = 0.05, drop_text: float = 0.05, drop_both: float = 0.05
) -> Source:
    """Pairs of pictures of one toy of the pocket world's training split: one to see, one to paint.

    The caption of the target names the toy by its class alone, so what it looks like can only come from the reference.
    Chances of leaving conditions out are IP-Adapter's (Sec. 4.1 of arXiv:2308.06721).
    """

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        import torch

        from limner.pocket.world import caption

        count = individuals or INDIVIDUALS
        graphs = [graph for k in range(count) for graph in _views(k)]
        pixels, latents = _drawn(base, graphs)

        def draw(step: int, at: Streams) -> Batch:
            who = torch.randint(count, (batch,), generator=at("who")) * NUM_VIEWS
            views = torch.stack([torch.randperm(NUM_VIEWS, generator=at("views"))[:2] for _ in range(batch)])
            target, seen = who + views[:, 0], who + views[:, 1]
            chance = torch.rand(batch, generator=at("drop"))
            silent = ((chance >= drop_image) & (chance < drop_image + drop_text + drop_both)).tolist()
            dropped = (chance < drop_image) | (
                (chance >= drop_image + drop_text) & (chance < drop_image + drop_text + drop_both)
            )
            said = [
                ""
                if quiet
                else caption(graphs[k], seed=step * batch + n, name=_named(graphs[k].toys[0].individual.kind))
                for n, (k, quiet) in enumerate(zip(target.tolist(), silent, strict=True))
            ]
            references = pixels[seen].to(base.device, torch.float32) / 255
            return Batch(
                latents[target].to(base.device, base.dtype), tuple(said), references=references, dropped=dropped
            )

        return draw

    return Source("toy pairs", "corpus", prepare)


INDIVIDUALS, NUM_VIEWS = 1000, 4


def _named(kind: str) -> str:
    return f"a {kind}"


def _views(k: int) -> list[Any]:
    """Pictures of one training toy, each in another place; the first as a user's photographs would be."""
    from limner.pocket.world import CORE, individual, sample
    from limner.pocket.world.graph import Toy

    who = individual(CORE.classes[k % len(CORE.classes)], k, patterns=CORE.patterns)
    return [sample(k * NUM_VIEWS + n, toys=(Toy(who),)) for n in range(NUM_VIEWS)]


def _drawn(base: Base, graphs: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """uint8 pixels and latents of all graphs, kept in the cache."""
    import torch

    from limner.cache import cached_tensors
    from limner.pocket.world import draw_many

    def make() -> dict[str, Tensor]:
        pixels = torch.cat([d.pixels for d in draw_many(graphs, size=base.picture_size, chunk=64)])
        with torch.no_grad():
            latents = torch.cat([base.encode(part.float() / 255)[0].float().cpu() for part in pixels.split(64)])
        return {"pixels": pixels, "latents": latents}

    found = cached_tensors(("toy pairs", base.fingerprint, str(base.dtype), len(graphs)), make)
    return found["pixels"], found["latents"]
