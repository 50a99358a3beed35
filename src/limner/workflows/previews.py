"""Previews during pre-training: pictures and scores of a subject that is not in the corpus."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.bases.common.loading import capabilities_of
from limner.core.files import write_text
from limner.errors import InputError
from limner.evaluation.datasets import fill_prompt
from limner.evaluation.encoders import Encoders, bench_encoders
from limner.evaluation.measuring import Album, measure, segment_of, values

if TYPE_CHECKING:
    from PIL import Image

    from limner.core.base import Base
    from limner.core.recipe import Recipe
    from limner.core.subject import Subject
    from limner.engine.train import Progress

PROMPTS = ("a photo of {}", "{} on the beach", "{} in the snow", "{} in the jungle")
SCORES = ("identity", "dino_i", "clip_i", "clip_t")
STEPS = 20


@dataclass
class Previews:
    """A watcher of training that paints prompts of `subject` after every `every` updates and at the end, with the
    weights learned so far.

    The process with `writes` set writes FOLDER/preview-000100.png and FOLDER/previews.json (updates, loss, scores).
    Painting does not change the run. `shown` is called with each preview, for trackers. For a hybrid method, the
    previews show its pre-trained part alone.
    """

    method: Callable[..., Recipe]
    settings: Mapping[str, Any]
    subject: Subject
    folder: Path
    every: int
    encoders: Encoders | None = None
    writes: bool = True
    shown: Callable[[int, Mapping[str, float], Image.Image], object] = lambda *_: None
    looks: list[dict[str, float]] = field(default_factory=list)
    has_written: bool = False  # whether this run has written a preview

    def __post_init__(self) -> None:
        if self.every < 1:
            raise InputError(f"--preview-every is a number of updates, 1 or more, not {self.every}")
        if self.file.exists():
            self.looks = json.loads(self.file.read_text(encoding="utf-8"))

    @property
    def file(self) -> Path:
        return self.folder / "previews.json"

    def __call__(self, progress: Progress) -> None:
        if progress.done % self.every and not progress.last:
            return
        from limner.core.picture import grid, save_sheet

        images = self.painted(progress)
        if not self.writes:
            return
        scores = self.scored(images, progress.adapted.base)
        # a resumed run repeats some updates, and with them their previews
        before = [look for look in self.looks if look["done"] < progress.done]
        # a run that is not resumed drops the previews of an earlier run
        earlier_looks = before if progress.resumed or self.has_written else []
        self.looks, self.has_written = (
            [*earlier_looks, {"done": progress.done, "loss": round(progress.loss, 5), **scores}],
            True,
        )
        sheet, text = grid(images, len(images)), json.dumps(self.looks, indent=1)
        save_sheet(sheet, self.folder / f"preview-{progress.done:06}.png")
        write_text(self.file, text, overwrite=True)
        self.shown(progress.done, scores, sheet)

    def painted(self, progress: Progress) -> list[Image.Image]:
        """One picture of each prompt, all from one seed, in full precision."""
        import torch

        from limner.core.pixels import to_images
        from limner.engine.attach import Adapter, attach
        from limner.engine.sample import PaintSettings, sample

        adapted, learned = progress.adapted, progress.snapshot().learned
        base, settings = adapted.base, PaintSettings(steps=STEPS, batch=len(PROMPTS))
        recipe = self.method(self.subject, **self.settings)
        prompts = [prompt.format(self.subject.handle) for prompt in PROMPTS]
        full = torch.autocast(base.device.type, enabled=False)
        with torch.no_grad(), full, adapted.suspended():
            stored = _known(recipe, self.subject, learned, base)
            with attach(base, (Adapter(recipe, self.subject.handle, stored),)) as seen:
                for at in sample(seen, prompts, seeds=[0] * len(prompts), settings=settings):
                    latents = at.latents
                return to_images(base.decode(latents))

    def scored(self, images: Sequence[Image.Image], base: Base) -> dict[str, float]:
        """Subject fidelity and prompt alignment by the available encoders; empty without encoders."""
        if self.encoders is None:
            return {}
        canonical = tuple(fill_prompt(prompt, [self.subject.noun]) for prompt in PROMPTS)
        real = tuple(p.image for p in self.subject.pictures if p.image is not None)
        album = Album(self.subject.noun, tuple(images), canonical, training=real)
        return values(measure(album, self.encoders, only=SCORES, segment=segment_of(base)))


def _known(recipe: Recipe, subject: Subject, learned: Mapping[str, Any], base: Any) -> dict[str, Any]:
    """The learned tensors that the recipe pre-trains; the subject's own features are left out."""
    from limner.engine.attach import Adapter, attach

    with attach(base, (Adapter(recipe, subject.handle),)) as adapted:
        names = {name for stage in recipe.pretraining for selection in stage.train for name in selection(adapted)}
    return {name: tensor for name, tensor in learned.items() if name in names}


def previews(
    method: Callable[..., Recipe],
    settings: Mapping[str, Any],
    *,
    base: str,
    folder: Path,
    every: int,
    subject: Subject | None = None,
    encoders: Encoders | None = None,
    writes: bool = True,
) -> Previews:
    """Previews of the given subject, or else of the example of the base's own bench, scored by `encoders` or else by
    that bench's networks. Raises `InputError` where there is neither subject nor bench."""
    bench = capabilities_of(base).bench
    encoders = encoders or bench_encoders(bench) or None
    if subject is None:
        if bench is None:
            raise InputError(
                "previews on this base need a subject: --preview-of FOLDER, a folder named by the subject's class "
                "that holds "
                "its pictures"
            )
        subject = bench.example()
    return Previews(method, settings, subject, folder, every, encoders, writes)
