"""`limner paint`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from limner.errors import FileError, InputError
from limner.workflows.requests import PaintRequest

from .common import choice_of, concept_choice
from .flags import add_base, add_command, add_trust, at_least
from .rendering import render


def add_to(commands: Any) -> None:
    """The command and its flags."""
    parser = add_command(commands, "paint", paint, "paint prompts, wearing concepts")
    parser.add_argument("prompt", nargs="?", default="", help='such as "<rex> on the beach"')
    parser.add_argument("--prompts", type=Path, metavar="FILE", help="a text file with a prompt on each line")
    parser.add_argument(
        "--with",
        dest="concepts",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="files of the concepts to wear",
    )
    parser.add_argument("-n", "--count", type=at_least(1), default=1, help="pictures to paint of each prompt")
    parser.add_argument("--out", type=Path, default=Path("out/paint"), help="folder for the pictures")
    parser.add_argument("--overwrite", action="store_true", help="number from 000 again, replacing what is there")
    parser.add_argument(
        "--scale",
        nargs="+",
        type=float,
        default=[1.0],
        metavar="SCALE",
        help="strength of the concepts: one number for all, or one each; 0 is the base, 1 as it was taught (default: 1)",
    )
    parser.add_argument("--steps", type=at_least(1), default=25, help="sampling steps (default: 25)")
    parser.add_argument(
        "--guidance",
        type=float,
        default=4.0,
        help="classifier-free guidance: higher follows the prompt more closely; 1 is none (default: 4)",
    )
    parser.add_argument(
        "--guide-between",
        nargs=2,
        type=float,
        default=(0.0, 1.0),
        metavar=("FROM", "UNTIL"),
        help="guide only between these shares of the steps, 0 to 1; steps without guidance cost half (default: 0 1)",
    )
    parser.add_argument(
        "--subject-from",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="put the concepts on after this share of the steps, 0 to 1; before, the class noun is painted (default: 0)",
    )
    parser.add_argument("--sampler", default="", help="ddim, ddpm, dpm or euler (default: the base's own)")
    parser.add_argument(
        "--negative",
        default="",
        help="negative prompt: what not to paint; it may name a concept, such as an embedding made for that",
    )
    parser.add_argument("--onto", type=Path, metavar="FILE", help="a picture to paint into")
    parser.add_argument(
        "--where",
        type=Path,
        metavar="FILE",
        help="mask of that picture's size, white where it may change; the rest and the resolution stay (default: its middle square)",
    )
    parser.add_argument(
        "--start",
        type=float,
        default=0.3,
        help="share of the steps to skip, 0 to 1: a higher one keeps more of that picture (default: 0.3)",
    )
    parser.add_argument(
        "--any-base",
        action="store_true",
        help="wear the concepts on another base of their family, such as a distilled one",
    )
    add_trust(parser)
    add_base(parser, default=None)


def paint(given: argparse.Namespace) -> None:
    render(request_of(given), given)


def request_of(given: argparse.Namespace) -> PaintRequest:
    """What the flags ask for."""
    return PaintRequest(
        prompts=tuple(_prompts(given)),
        concepts=tuple(concept_choice(given, path) for path in given.concepts),
        base=choice_of(given),
        seed=given.seed,
        count=given.count,
        out=given.out,
        overwrite=given.overwrite,
        scale=tuple(given.scale),
        steps=given.steps,
        guidance=given.guidance,
        guide_between=tuple(given.guide_between),
        subject_from=given.subject_from,
        sampler=given.sampler,
        negative=given.negative,
        onto=given.onto,
        where=given.where,
        start=given.start,
        any_base=given.any_base,
    )


def _prompts(given: argparse.Namespace) -> list[str]:
    """The prompt that was typed, or those of a file: a line each; empty lines and those after # are none."""
    if given.prompts is None:
        return [given.prompt]
    if given.prompt:
        raise InputError("say one prompt, or many with --prompts FILE, not both")
    try:
        lines = given.prompts.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise FileError(f"{given.prompts} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise FileError(f"{given.prompts} is not UTF-8 text ({error}); save it as UTF-8") from error
    found = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not found:
        raise InputError(f"{given.prompts} holds no prompt: expected one on each line")
    return found
