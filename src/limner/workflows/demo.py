"""The demo: a toy that no network was trained on, learned from four pictures and painted for eight prompts."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from limner.core.files import check_folder, check_ours
from limner.core.wording import counted, with_article
from limner.errors import FileError
from limner.pocket.subjects import toy

if TYPE_CHECKING:
    from limner.core.picture import Pictures
    from limner.core.subject import Subject
    from limner.evaluation.measuring import Album
    from limner.evaluation.score import Scorecard

TOY = ("car", 2_000_016)  # class and seed of a held-out individual
NAME = "zippy"
COUNT = 4
SHOWN = ("identity", "dino_i", "clip_t")
LABELS = {"dino_i": "DINO-I", "clip_t": "CLIP-T", "obeyed": "prompt accuracy"}
"""Names of scores as the pages write them."""


def demo(folder: Path | str = "out/demo", *, overwrite: bool = True, seed: int = 0) -> Path:
    """Learn, paint and score; return the folder with the concept, the pictures, a grid and a page."""
    import limner
    from limner.core.picture import save_sheet, sheets
    from limner.evaluation.encoders import pocket_encoders
    from limner.evaluation.measuring import pocket_masks
    from limner.evaluation.score import QUICK, judged
    from limner.pocket.world import PROMPTS

    from .page import write_page
    from .progress import show

    folder = Path(folder)
    if folder.exists() and not overwrite:
        raise FileError(f"{folder} exists already; choose another folder")
    check_folder(folder)
    for name in (f"{NAME}.safetensors", "grid.png", "index.html"):
        check_ours(folder / name)
    base, subject, began = limner.load("pocket"), toy(*TOY, name=NAME), time.monotonic()
    _say(
        f"learning {subject.name}, {with_article(subject.noun)} that no network was trained on, from "
        f"{counted(len(subject.pictures), 'picture')}"
    )
    concept = limner.learn(base, subject, seed=seed, watch=show())
    taught = time.monotonic()
    concept.save(folder / f"{NAME}.safetensors", overwrite=True)
    asked, plainly = ([p.text.format(who) for p in PROMPTS] for who in (subject.handle, f"a {subject.noun}"))
    _say(f"painting {len(asked)} prompts, {COUNT} seeds each, with the concept and without it")
    pictures = limner.paint(base, asked, concepts=[concept], count=COUNT, seed=seed)
    plain = limner.paint(base, plainly, count=COUNT, seed=seed)
    album = _album(subject, pictures, plain, plainly)
    truths = [prompt for prompt in PROMPTS for _ in range(COUNT)]
    cards = {
        name: judged(each, pocket_encoders(), truths=truths, only=QUICK, segment=pocket_masks)
        for name, each in (("with it", album), ("base alone", replace(album, pictures=album.base)))
    }
    scores = {name: _numbers(card) for name, card in cards.items()}
    concept = concept.scored(scores | {"diagnosis": cards["with it"].diagnosis.label})
    concept.save(folder / f"{NAME}.safetensors", overwrite=True)
    pictures.save(folder / "pictures", overwrite=True)
    shown = [p.image for p in subject.pictures if p.image is not None]
    rows = [shown, *([p.image for p in pictures[k : k + COUNT]] for k in range(0, len(pictures), COUNT))]
    save_sheet(sheets(rows, height=128), folder / "grid.png")
    write_page(
        folder / "index.html",
        concept,
        subject=subject,
        pictures=pictures,
        scores=scores,
        card=cards["with it"],
        overwrite=True,
    )
    _report(folder, scores, cards["with it"], taught - began, time.monotonic() - taught)
    return folder


def _album(subject: Subject, pictures: Pictures, plain: Pictures, prompts: Sequence[str]) -> Album:
    """The demo's pictures, beside held-out pictures of the toy."""
    from limner.evaluation.measuring import Album
    from limner.evaluation.score import images

    others = toy(*TOY, name=NAME, at=1)
    return Album(
        subject.noun,
        images(pictures),
        tuple(text for text in prompts for _ in range(COUNT)),
        base=images(plain),
        training=tuple(p.image for p in subject.pictures if p.image is not None),
        held_out=tuple(p.image for p in others.pictures if p.image is not None),
    )


def _numbers(card: Scorecard) -> dict[str, float]:
    """The scores that the demo shows."""
    scores = {name: round(m.value, 4) for name, m in card.measured.items() if m.value is not None and name in SHOWN}
    return scores | {"obeyed": round(card.truth["obeyed"], 4)}


def _report(
    folder: Path, scores: dict[str, dict[str, float]], card: Scorecard, teaching: float, painting: float
) -> None:
    _say(f"learned in {teaching:.0f} s, painted and scored in {painting:.0f} s")
    for name in scores["with it"]:
        _say(
            f"  {LABELS.get(name, name):15}  with it {scores['with it'][name]:.3f}   base alone {scores['base alone'][name]:.3f}"
        )
    _say(f"  {card.diagnosis} ({', '.join(card.diagnosis.because)})")
    _say(f"the page is {folder / 'index.html'}, the pictures on one sheet {folder / 'grid.png'}")
    _say("try next:")
    _say(f'  limner paint "<{NAME}> in the snow wearing a crown" --with {folder / NAME}.safetensors -n 4')
    _say("  limner learn my_photos/ --class dog --name fido --base path/to/stable-diffusion")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
