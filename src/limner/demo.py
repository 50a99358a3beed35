"""The demo: a toy that no network ever saw, learned from four pictures and painted in eight places."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import FileError
from .files import atomic_write

if TYPE_CHECKING:
    from .picture import Pictures
    from .subject import Subject

TOY = ("car", 2_000_016)  # class and seed of a held-out individual
NAME = "zippy"
NUM_REFERENCES = 4
COUNT = 4


def toy(kind: str, seed: int, *, name: str = "rex", count: int = NUM_REFERENCES, at: int = 0) -> Subject:
    """A toy of the pocket world as a subject, with rendered pictures for photographs."""
    from .pocket.world import CORE, draw, individual, references
    from .subject import Subject

    who = individual(kind, seed, patterns=CORE.patterns)
    pixels = draw(references(who, count, seed=at)).pixels
    return Subject.of(pixels, noun=kind, handle=name)


def demo(folder: Path | str = "out/demo", *, overwrite: bool = True, seed: int = 0) -> Path:
    """Teach, paint and score; returns the folder with the concept, the pictures, a grid and a page."""
    import limner

    from .evaluation.simple import scores
    from .page import write_page
    from .picture import sheets
    from .pocket.world import PROMPTS
    from .progress import show

    folder = Path(folder)
    if folder.exists() and not overwrite:
        raise FileError(f"{folder} exists already; choose another folder")
    base, subject, began = limner.load("pocket"), toy(*TOY, name=NAME), time.monotonic()
    _say(f"teaching {subject.name}, a {subject.noun} that no network ever saw, from {len(subject.pictures)} pictures")
    concept = limner.learn(base, subject, seed=seed, watch=show())
    taught = time.monotonic()
    texts = [prompt.text for prompt in PROMPTS]
    asked = [text.format(subject.handle) for text in texts]
    _say(f"painting {len(asked)} prompts, {COUNT} seeds each, with it and without it")
    pictures = limner.paint(base, asked, concepts=[concept], count=COUNT, seed=seed)
    plain = limner.paint(base, [t.format(f"a {subject.noun}") for t in texts], count=COUNT, seed=seed)
    found = {
        "with it": scores(pictures, subject=subject, prompts=PROMPTS),
        "base alone": scores(_renamed(plain, asked), subject=subject, prompts=PROMPTS),
    }
    concept = concept.scored(found)
    concept.save(folder / f"{NAME}.safetensors", overwrite=True)
    pictures.save(folder / "pictures", overwrite=True)
    shown = [p.image for p in subject.pictures if p.image is not None]
    rows = [shown, *([p.image for p in pictures[k : k + COUNT]] for k in range(0, len(pictures), COUNT))]
    atomic_write(folder / "grid.png", lambda p: sheets(rows, height=128).save(p, format="PNG"), overwrite=True)
    write_page(folder / "index.html", concept, subject=subject, pictures=pictures, scores=found, overwrite=True)
    _report(folder, found, taught - began, time.monotonic() - taught)
    return folder


def _renamed(pictures: Pictures, prompts: list[str]) -> Pictures:
    """The same pictures under the prompts that name the subject, so that they are judged by the same truth."""
    from dataclasses import replace

    from .picture import Pictures as Many

    said = [prompt for prompt in prompts for _ in range(COUNT)]
    return Many(replace(p, prompt=text) for p, text in zip(pictures, said, strict=True))


def _report(folder: Path, found: dict[str, dict[str, float]], teaching: float, painting: float) -> None:
    _say(f"taught in {teaching:.0f} s, painted and judged in {painting:.0f} s")
    for name in found["with it"]:
        _say(f"  {name:10}  with it {found['with it'][name]:.3f}   base alone {found['base alone'][name]:.3f}")
    _say(f"the page is {folder / 'index.html'}, the pictures on one sheet {folder / 'grid.png'}")
    _say("try next:")
    _say(f'  limner paint "<{NAME}> in the snow wearing a crown" --with {folder / NAME}.safetensors -n 4')
    _say("  limner learn my_photos/ --class dog --name fido --base path/to/stable-diffusion")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
