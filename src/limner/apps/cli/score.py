"""`limner score`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .common import base_of, encoders, opened, out, read_concept
from .flags import add_base, add_command, add_encoders, add_trust, at_least


def add_to(commands: Any) -> None:
    """The command and its flags."""
    parser = add_command(commands, "score", score, "say what a likeness is worth, and what to try")
    parser.add_argument("concept", type=Path, metavar="FILE", help="what was learned")
    parser.add_argument("--photos", type=Path, help="the pictures it was learned from")
    parser.add_argument(
        "--held-out", type=Path, help="other pictures of the subject; without, fidelity is overestimated"
    )
    parser.add_argument("--prompts", nargs="+", help="with the handle in them (default: the pocket world's ten)")
    parser.add_argument("-n", "--count", type=at_least(1), default=2, help="pictures of each prompt")
    parser.add_argument("--out", type=Path, help="folder for sheets of the pictures")
    add_encoders(parser)
    add_trust(parser)
    add_base(parser, default=None)


def score(given: argparse.Namespace) -> None:

    from limner.core.files import check_folder, check_ours
    from limner.core.picture import Pictures, save_sheet
    from limner.workflows.score import score

    sheets = [given.out / name for name in ("with-it.png", "base-alone.png")] if given.out else []
    for path in sheets:
        check_folder(path.parent)
        check_ours(path)
    concept = read_concept(given, given.concept)
    base = opened(given, base_of(given, concept))
    learned, held_out = (_images(folder) for folder in (given.photos, given.held_out))
    card = score(
        base,
        concept,
        training=learned,
        held_out=held_out,
        prompts=given.prompts or (),
        seeds=tuple(range(given.seed, given.seed + given.count)),
        encoders=encoders(given),
    )
    for path, pictures in zip(sheets, (card.pictures, card.base), strict=False):
        save_sheet(Pictures(pictures).grid(given.count), path)
    out(given, card.record, str(card))


def _images(folder: Path | None) -> list[Any]:
    """The pictures of a file or folder, in any layout that `learn` reads."""
    from limner.core.subject import Subject
    from limner.data.layouts import recognised

    if folder is None:
        return []
    if folder.is_dir() or folder.suffix in (".json", ".toml"):
        return [reference.image for reference in recognised(folder).references]
    return [picture.image for picture in Subject.of(folder, noun="thing", handle="rex").pictures]
