"""`limner paint`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.errors import FileError, InputError
from limner.workflows.requests import PaintRequest

from .common import choice_of, concept_choice, named_values
from .flags import add_base, add_command, add_trust, at_least
from .rendering import render

if TYPE_CHECKING:
    from .parser import Parser

COMPOSE, BACKGROUNDS = ("blend", "attention", "latents", "method"), ("base", "all")
"""The names of `limner.engine.regions`, repeated here because importing that module loads torch."""


def add_to(commands: Any) -> None:
    """The command and its flags."""
    parser = add_command(commands, "paint", paint, "paint pictures of prompts, with concepts attached to the base")
    parser.add_argument("prompt", nargs="?", default="", help='such as "<rex> on the beach"')
    parser.add_argument("--prompts", type=Path, metavar="FILE", help="a text file with a prompt on each line")
    parser.add_argument(
        "--with",
        dest="concepts",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="files of the concepts to use",
    )
    parser.add_argument("-n", "--count", type=at_least(1), default=1, help="number of pictures of each prompt")
    parser.add_argument("--out", type=Path, default=Path("out/paint"), help="folder for the pictures")
    parser.add_argument(
        "--overwrite", action="store_true", help="number pictures from 000 again, replacing earlier ones"
    )
    parser.add_argument(
        "--scale",
        nargs="+",
        type=float,
        default=[1.0],
        metavar="SCALE",
        help="strength of the concepts: one number for all, or one each; 0 is the base alone, 1 full strength "
        "(default: 1)",
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
        help="attach the concepts after this share of the steps, 0 to 1; before it, the class noun is painted "
        "(default: 0)",
    )
    parser.add_argument("--sampler", default="", help="ddim, ddpm, dpm or euler (default: the base's own)")
    parser.add_argument(
        "--negative",
        default="",
        help="negative prompt: what not to paint; it may name a concept, such as an embedding made for that",
    )
    _add_regions(parser)
    parser.add_argument("--onto", type=Path, metavar="FILE", help="a picture to paint into")
    parser.add_argument(
        "--where",
        type=Path,
        metavar="FILE",
        help="with --onto: mask of that picture's size, white where it may change; the rest stays as it is (default: "
        "its middle square)",
    )
    parser.add_argument(
        "--start",
        type=float,
        default=0.3,
        help="with --onto: share of the steps to skip, 0 to 1; a higher one keeps more of that picture (default: 0.3)",
    )
    parser.add_argument(
        "--any-base",
        action="store_true",
        help="use the concepts on another base of their family, such as a distilled one",
    )
    _add_conditions(parser)
    add_trust(parser)
    add_base(parser, default=None)


def _add_regions(parser: Parser) -> None:
    """Add the flags for regions of several subjects."""
    group = parser.add_argument_group("several subjects")
    group.add_argument(
        "--regions",
        type=Path,
        metavar="FILE",
        help='regions of subjects, as JSON: {"rex": "left", "bo": [0.5, 0, 1, 1]}',
    )
    group.add_argument(
        "--region",
        action="append",
        default=[],
        metavar="NAME=WHERE",
        help="region of one subject, or of a plain word of the prompt: left, right, top, bottom, middle, a box as shares of the picture (left, top, "
        "right, "
        "bottom: 0,0,0.5,1), or a mask's file; may be given several times",
    )
    group.add_argument(
        "--view",
        action="append",
        default=[],
        metavar="NAME=DEGREES",
        help="turn the camera around a subject, away from its first picture: degrees of azimuth; azimuth, elevation "
        "and a factor of the distance (45,10,1.2); or a side, 'from the left', with front, left, back and right; for methods that read a viewpoint; may be given several times",
    )
    group.add_argument(
        "--compose",
        choices=COMPOSE,
        default="blend",
        help="how regions act: blend the concepts' predictions, limit each subject's attention to its region, "
        "composite latents, or leave regions to the concepts' own methods (default: blend)",
    )
    group.add_argument(
        "--background",
        choices=BACKGROUNDS,
        default="base",
        help="the model that paints outside of all regions: the base, or the base with all concepts (default: base)",
    )


def _add_conditions(parser: Parser) -> None:
    """Add the flags for conditions and clips."""
    group = parser.add_argument_group("conditions and clips")
    group.add_argument(
        "--condition",
        nargs="+",
        default=[],
        metavar="NAME=FILE",
        help="picture for a control branch or the base to read, such as depth=depth.png; with --like, NAME alone",
    )
    group.add_argument(
        "--like",
        type=Path,
        metavar="FILE",
        help="picture to compute conditions from that --condition names without a file",
    )
    group.add_argument(
        "--control",
        nargs="+",
        default=[],
        metavar="NAME=FOLDER",
        help="folders of ControlNets and T2I-Adapters in diffusers' layout, by the condition that each reads",
    )
    group.add_argument(
        "--estimator",
        nargs="+",
        default=[],
        metavar="NAME=FOLDER",
        help="folders or hub ids of transformers' networks that compute conditions from --like: depth (Depth Anything, DPT), "
        "segmentation (SegFormer, Mask2Former; the subject's mask), pose (ViTPose; the skeleton of one person), layout "
        "(DETR, YOLOS; a box for each concept)",
    )
    group.add_argument("--frames", type=at_least(1), default=1, help="frames of a clip; 1 paints pictures (default: 1)")
    group.add_argument(
        "--motion", default="", metavar="FOLDER", help="folder of motion modules (a MotionAdapter of diffusers)"
    )


def paint(given: argparse.Namespace) -> None:
    render(request_of(given), given)


def request_of(given: argparse.Namespace) -> PaintRequest:
    """The request that the flags describe."""
    files = [word for word in given.condition if "=" in word]
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
        layout=given.regions,
        regions=named_values("--region", given.region, "rex=left or bo=0.5,0,1,1"),
        views=named_values("--view", given.view, "rex=90 or bo=45,10"),
        compose=given.compose,
        background=given.background,
        conditions={name: Path(file) for name, file in named_values("--condition", files, "depth=depth.png").items()},
        like=given.like,
        computed=tuple(word for word in given.condition if "=" not in word),
        estimators=named_values("--estimator", given.estimator, "depth=FOLDER"),
        controls=named_values("--control", given.control, "depth=FOLDER"),
        frames=given.frames,
        motion=given.motion,
    )


def _prompts(given: argparse.Namespace) -> list[str]:
    """The prompt of the command line, or those of a file, one on each line; empty lines and lines that begin with # are
    skipped."""
    if given.prompts is None:
        return [given.prompt]
    if given.prompt:
        raise InputError("give one prompt, or many with --prompts FILE, not both")
    try:
        lines = given.prompts.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise FileError(f"{given.prompts} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise FileError(f"{given.prompts} is not UTF-8 text ({error}); save it as UTF-8") from error
    prompts = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not prompts:
        raise InputError(f"{given.prompts} holds no prompt: expected one on each line")
    return prompts
