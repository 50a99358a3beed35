"""`limner paint`."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.core.recipe import Recipe
from limner.core.wording import counted, shortened
from limner.errors import FileError, InputError, PromptError

from .common import base_of, opened, out, planned, read_concept, say_strange
from .flags import add_base, add_command, add_trust, at_least

if TYPE_CHECKING:
    from limner.core.concept import Concept

COMPOSE, BACKGROUNDS = ("blend", "attention", "latents"), ("base", "all")
"""As `limner.engine.regions` has them, which this module does not import: that loads torch."""


def add_to(commands: Any) -> None:
    """The command and its flags."""
    parser = add_command(commands, "paint", paint, "paint a prompt, wearing concepts")
    parser.add_argument("prompt", nargs="?", default="", help='such as "<rex> on the beach"')
    parser.add_argument("--prompts", type=Path, metavar="FILE", help="a text file with a prompt on each line")
    parser.add_argument(
        "--with", dest="concepts", nargs="+", type=Path, default=[], metavar="FILE", help="concepts to wear"
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
        help="how strongly concepts are worn: one for all, or one each; 0 is the base",
    )
    parser.add_argument("--steps", type=at_least(1), default=25, help="sampling steps")
    parser.add_argument("--guidance", type=float, default=4.0, help="classifier-free guidance; 1 is none")
    parser.add_argument(
        "--guide-between",
        nargs=2,
        type=float,
        default=(0.0, 1.0),
        metavar=("FROM", "UNTIL"),
        help="shares of the steps between which to guide; the others cost half (default: 0 1, all)",
    )
    parser.add_argument(
        "--subject-from",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of the steps after which concepts are put on; before, the base paints the prompt with the class noun",
    )
    parser.add_argument("--sampler", default="", help="ddim, ddpm, dpm or euler (default: the base's own)")
    parser.add_argument(
        "--negative", default="", help="what not to paint; may name a concept, such as an embedding made for it"
    )
    parser.add_argument(
        "--regions",
        type=Path,
        metavar="FILE",
        help='where subjects are to be, as JSON: {"rex": "left", "bo": [0.5, 0, 1, 1]}',
    )
    parser.add_argument(
        "--region",
        action="append",
        default=[],
        metavar="NAME=WHERE",
        help="where one subject is to be: left, right, top, bottom, middle, a box of shares 0,0,0.5,1, or a mask's file; repeatable",
    )
    parser.add_argument(
        "--compose",
        choices=COMPOSE,
        default="blend",
        help="how regions act: predictions are blended, words alone are kept to them, or latents are composited (default: blend)",
    )
    parser.add_argument(
        "--background",
        choices=BACKGROUNDS,
        default="base",
        help="what paints the picture outside of all regions: the base, or all concepts at once",
    )
    parser.add_argument("--onto", type=Path, metavar="FILE", help="a picture to paint into")
    parser.add_argument(
        "--where",
        type=Path,
        metavar="FILE",
        help="white where that picture may change (default: all of its middle square); the rest and its size stay",
    )
    parser.add_argument("--start", type=float, default=0.3, help="share of the steps left out, to keep that much of it")
    parser.add_argument(
        "--any-base", action="store_true", help="wear it on another base of its family, such as a distilled one"
    )
    add_trust(parser)
    add_base(parser, default=None)


def paint(given: argparse.Namespace) -> None:
    import limner
    from limner.core.files import check_folder
    from limner.core.interrupts import standing
    from limner.core.picture import Numbers
    from limner.core.subject import read_picture
    from limner.engine.inpainting import Region
    from limner.workflows.paint import check_scale, painting

    for scale in given.scale:
        check_scale(scale)
    prompts = _prompts(given)
    total = given.count * len(prompts)
    check_folder(given.out)
    saver = Numbers(given.out, total, overwrite=given.overwrite)
    standing(
        lambda: (
            f"{len(saver.saved)} of {counted(total, 'picture')} are saved in {given.out}; the same command paints all of them"
        )
    )
    concepts = [read_concept(given, path) for path in given.concepts]
    for prompt in prompts:
        asked = f"{prompt}\n{given.negative}"
        unnamed = [handle for c in concepts if c.has_trigger for handle in _unnamed(c, asked)]
        if unnamed:
            raise PromptError(
                f"the prompt {shortened(prompt)!r} does not name {unnamed[0]}; write {unnamed[0]} where the subject is to be (or "
                "in --negative, where it is what not to paint)"
            )
    regions = _regions(given)
    name = base_of(given, concepts[0]) if concepts else given.base or "pocket"
    planned(given, name, Recipe(says=""))
    base = opened(given, name)
    say_strange(base.name, " ".join([*prompts, given.negative]))
    how = limner.PaintSettings(
        given.steps,
        given.guidance,
        given.sampler,
        given.negative,
        guide_between=tuple(given.guide_between),
        subject_from=given.subject_from,
        compose=given.compose,
        background=given.background,
    )
    if given.where and not given.onto:
        raise InputError("--where says which part of a canvas may change; name the canvas with --onto FILE")
    canvas, region = None, None
    if given.onto:
        images: list[Any] = [read_picture(file)[0].image for file in (given.onto, given.where) if file]
        region = Region.around(*images, size=base.picture_size) if given.where else None
        whole, mask = region.cut if region else (images[0], None)
        canvas = limner.Canvas(whole, mask, start=given.start)
    pictures = painting(
        base,
        prompts,
        concepts=concepts,
        count=given.count,
        seed=given.seed,
        scale=given.scale[0] if len(given.scale) == 1 else given.scale,
        settings=how,
        canvas=canvas,
        regions=regions,
        any_base=given.any_base,
    )
    paths = [
        saver.save(replace(picture, image=region.put_back(picture.image)) if region else picture)
        for picture in pictures
    ]
    out(given, {"pictures": [str(p) for p in paths]}, "\n".join(map(str, paths)))


def _unnamed(concept: Concept, prompt: str) -> tuple[str, ...]:
    """The handles of a concept, where the prompt names none of them."""
    return () if any(handle in prompt for handle in concept.handles) else concept.handles


def _regions(given: argparse.Namespace) -> dict[str, Any]:
    """Where subjects are to be: the layout's file, and after it the regions that were typed."""
    from limner.core.regions import read_layout, read_region

    found: dict[str, Any] = read_layout(given.regions) if given.regions else {}
    for text in given.region:
        name, sign, where = text.partition("=")
        if not sign or not name.strip() or not where.strip():
            raise InputError(f"a region is NAME=WHERE such as rex=left or bo=0.5,0,1,1, not {text!r}")
        if any(name.strip().strip("<>") == other.strip("<>") for other in found):
            raise InputError(f"{name.strip()} has two regions; give it one")
        found[name.strip()] = read_region(where.strip(), handle=name.strip(), folder=Path())
    return found


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
