"""A sheet of pictures by the denoiser so far, from its averaged weights."""

from __future__ import annotations

from pathlib import Path

import torch

from limner.core.files import atomic_write
from limner.engine.sample import PaintSettings
from limner.pocket.world import WORLDS, caption, sample
from limner.workflows.paint import paint

from .denoiser import assembled, averaged
from .run import Run


def preview(run: Run, *, count: int = 48) -> Path:
    """Paint held-out captions; returns the sheet's path in the run's folder."""
    base = assembled(run, averaged(run))
    captions = [caption(sample(k, world=WORLDS[run.world], split="dev")) for k in range(count)]
    torch.set_grad_enabled(False)
    pictures = paint(base, captions, settings=PaintSettings(batch=count))
    sheet = pictures.grid(8, height=96)
    return atomic_write(run.path("preview.png"), lambda p: sheet.save(p, format="PNG"), overwrite=True)
