"""Samples during training: pictures of the subject after every N updates of `learn`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

    from limner.engine.train import Progress

STEPS = 20
FOLDER = "samples"


@dataclass
class Samples:
    """A watcher of training that paints the prompts after every `every` updates with the weights learned so far.

    All pictures come from one seed; the sheet is FOLDER/000100.png, named by the number of updates. Sampling does not
    change the run. The last update has no sample, because previews follow it.
    """

    prompts: Sequence[str]
    every: int
    folder: Path
    seed: int = 0
    written: list[Path] = field(default_factory=list)

    def __call__(self, progress: Progress) -> None:
        if progress.last or progress.done % self.every:
            return
        from limner.core.picture import grid, save_sheet

        images = self._painted(progress)
        path = self.folder / f"{progress.done:06}.png"
        save_sheet(grid(images, len(images), height=images[0].height), path)
        self.written.append(path)

    def _painted(self, progress: Progress) -> list[Image.Image]:
        import torch

        from limner.core.pixels import to_images
        from limner.engine.attach import Adapter, attach
        from limner.engine.sample import PaintSettings, sample

        adapted, learned = progress.adapted, progress.snapshot().learned
        (adapter,) = adapted.adapters
        now = Adapter(adapter.recipe, adapter.handle, {**adapter.stored, **learned}, 1.0, adapter.seed, adapter.noun)
        settings = PaintSettings(steps=STEPS, batch=len(self.prompts))
        full = torch.autocast(adapted.base.device.type, enabled=False)
        with torch.no_grad(), full, adapted.suspended(), attach(adapted.base, (now,)) as seen:
            for at in sample(seen, list(self.prompts), seeds=[self.seed] * len(self.prompts), settings=settings):
                latents = at.latents
            return to_images(adapted.base.decode(latents))
