"""`limner swap`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.errors import InputError
from limner.workflows.requests import SwapRequest

from .common import choice_of, concept_choice
from .flags import add_base, add_command, add_trust, at_least
from .rendering import render

if TYPE_CHECKING:
    from .parser import Parser


def add_to(commands: Any) -> None:
    """The command and its flags."""
    parser = add_command(
        commands, "swap", swap, "put a concept's subject into a photo, in the place of something there"
    )
    parser.add_argument("photo", type=Path, help="the photo; a square one, or one with --where")
    parser.add_argument("--with", dest="concept", type=Path, required=True, metavar="FILE", help="file of the concept")
    parser.add_argument(
        "--where",
        type=Path,
        metavar="FILE",
        help="mask of the photo's size, white where it may change; the rest stays bit for bit (default: a mask beside the "
        "photo, else the method finds the part)",
    )
    parser.add_argument("--prompt", default="", help='such as "<rex> on the beach" (default: "a photo of <rex>")')
    parser.add_argument(
        "--source-noun", default="", metavar="NOUN", help="the thing that is replaced (default: the subject's class)"
    )
    parser.add_argument(
        "--source-prompt",
        default="",
        metavar="PROMPT",
        help='description of the photo with that noun, such as "a cat on the beach" (default: the prompt with the noun in the '
        "handle's place)",
    )
    parser.add_argument(
        "--how",
        default="",
        metavar="METHOD",
        help="photoswap or swapanything, for a concept of a method that samples plainly (default: the concept's own way, "
        "else photoswap)",
    )
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="settings of that method for this picture, such as self_output=0.5",
    )
    add_painting(parser, out="out/swap", steps=50, guidance=7.5)
    parser.add_argument("--negative", default="", help="negative prompt: what not to paint")
    parser.add_argument(
        "--any-base", action="store_true", help="use the concept on another base of its family, such as a distilled one"
    )
    add_trust(parser)
    add_base(parser, default=None)


def add_painting(parser: Parser, *, out: str, steps: int, guidance: float) -> None:
    """Add the flags of sampling that commands with a photo share."""
    parser.add_argument("-n", "--count", type=at_least(1), default=1, help="number of pictures (default: 1)")
    parser.add_argument("--out", type=Path, default=Path(out), help="folder for the pictures")
    parser.add_argument(
        "--overwrite", action="store_true", help="number pictures from 000 again, replacing earlier ones"
    )
    parser.add_argument("--steps", type=at_least(1), default=steps, help=f"sampling steps (default: {steps})")
    parser.add_argument(
        "--guidance",
        type=float,
        default=guidance,
        help=f"classifier-free guidance: higher follows the prompt more closely; 1 is none (default: {guidance:g})",
    )


def swap(given: argparse.Namespace) -> None:
    render(request_of(given), given)


def request_of(given: argparse.Namespace) -> SwapRequest:
    """The request that the flags describe."""
    return SwapRequest(
        photo=given.photo,
        concept=concept_choice(given, given.concept),
        base=choice_of(given),
        where=given.where,
        prompt=given.prompt,
        source_noun=given.source_noun,
        source_prompt=given.source_prompt,
        how=given.how,
        settings=_settings(given.set),
        seed=given.seed,
        count=given.count,
        out=given.out,
        overwrite=given.overwrite,
        steps=given.steps,
        guidance=given.guidance,
        negative=given.negative,
        any_base=given.any_base,
    )


def _settings(words: list[str]) -> dict[str, Any]:
    """NAME=VALUE words as settings; numbers, true and false are read as such. Raises `InputError` for another form."""
    settings: dict[str, Any] = {}
    for word in words:
        name, _, text = (part.strip() for part in word.partition("="))
        if not name or not text:
            raise InputError(f"--set takes NAME=VALUE, such as self_output=0.5, not {word!r}")
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = text
        settings[name] = value if isinstance(value, (int, float, bool)) else text
    return settings
