"""`limner paint`."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from limner.errors import FileError, InputError, PromptError
from limner.recipe import Recipe
from limner.wording import counted, shortened

from .common import base_of, opened, out, planned, read_concept, say_strange


def paint(given: argparse.Namespace) -> None:
    import limner
    from limner.files import check_folder
    from limner.inpainting import Region
    from limner.interrupts import standing
    from limner.painting import check_scale, painting
    from limner.picture import Numbers
    from limner.subject import read_picture

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
        unnamed = [c.handle for c in concepts if c.has_trigger and c.handle not in asked]
        if unnamed:
            raise PromptError(
                f"the prompt {shortened(prompt)!r} does not name {unnamed[0]}; write {unnamed[0]} where the subject is to be (or "
                "in --negative, where it is what not to paint)"
            )
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
        any_base=given.any_base,
    )
    paths = [
        saver.save(replace(picture, image=region.put_back(picture.image)) if region else picture)
        for picture in pictures
    ]
    out(given, {"pictures": [str(p) for p in paths]}, "\n".join(map(str, paths)))


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
