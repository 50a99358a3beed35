"""Samples during training: pictures of the subject after every N updates of `learn`, and whenever a person asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from limner.core.picture import Picture
    from limner.engine.train import Progress

STEPS = 20
FOLDER = "samples"


@dataclass
class Samples:
    """A watcher of training that paints the prompts after every `every` updates with the weights learned so far; 0
    paints when `paint` is called and never else.

    All pictures come from one seed. The sheet is FOLDER/000100.png, named by the number of updates, and the picture of
    the first prompt FOLDER/000100-0.png. Sampling does not change the run. The last update has no sample, because
    previews follow it. `shown` is called with the number of updates, the pictures and their files.
    """

    prompts: Sequence[str]
    every: int
    folder: Path
    seed: int = 0
    shown: Callable[[int, Sequence[Picture], Sequence[Path]], object] = lambda *_: None
    written: list[Path] = field(default_factory=list)

    def __call__(self, progress: Progress) -> None:
        if self.every and not progress.last and progress.done % self.every == 0:
            self.paint(progress)

    def paint(self, progress: Progress) -> None:
        """Paint the prompts and write the pictures and their sheet."""
        from limner.core.picture import grid, save_sheet

        pictures = self._painted(progress)
        images, stem = [picture.image for picture in pictures], f"{progress.done:06}"
        path = self.folder / f"{stem}.png"
        save_sheet(grid(images, len(images), height=images[0].height), path)
        self.written.append(path)
        files = [p.save(self.folder / f"{stem}-{k}.png", overwrite=True) for k, p in enumerate(pictures)]
        self.shown(progress.done, pictures, files)

    def _painted(self, progress: Progress) -> list[Picture]:
        import torch

        from limner.core.picture import Picture
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
            images = to_images(adapted.base.decode(latents))
        about = ((now.handle,), adapted.base.name, settings.metadata)
        return [Picture(image, prompt, self.seed, *about) for image, prompt in zip(images, self.prompts, strict=True)]
