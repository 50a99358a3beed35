"""`limner paint`."""

from __future__ import annotations

import argparse

from limner.errors import InputError, PromptError
from limner.recipe import Recipe

from .common import base_of, opened, out, planned


def paint(given: argparse.Namespace) -> None:
    import limner
    from limner.concept import Concept
    from limner.files import check_folder
    from limner.interrupts import standing
    from limner.painting import check_scale, painting
    from limner.picture import Numbers
    from limner.subject import read_picture

    for scale in given.scale:
        check_scale(scale)
    check_folder(given.out)
    saver = Numbers(given.out, given.count, overwrite=given.overwrite)
    standing(
        lambda: (
            f"{len(saver.saved)} of {given.count} pictures are saved in {given.out}; the same command paints all of them"
        )
    )
    concepts = [Concept.load(path) for path in given.concepts]
    unnamed = [c.handle for c in concepts if c.handle not in given.prompt]
    if unnamed:
        raise PromptError(
            f"the prompt {given.prompt!r} does not name {unnamed[0]}; write {unnamed[0]} where the subject is to be"
        )
    name = base_of(given, concepts[0]) if concepts else given.base or "pocket"
    planned(given, name, Recipe(says=""))
    base = opened(given, name)
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
    canvas = None
    if given.onto:
        images = [read_picture(file)[0].image for file in (given.onto, given.where) if file]
        canvas = limner.Canvas(images[0], images[1] if given.where else None, start=given.start)  # type: ignore[arg-type]
    pictures = painting(
        base,
        given.prompt,
        concepts=concepts,
        count=given.count,
        seed=given.seed,
        scale=given.scale[0] if len(given.scale) == 1 else given.scale,
        settings=how,
        canvas=canvas,
        any_base=given.any_base,
    )
    paths = [saver.save(picture) for picture in pictures]
    out(given, {"pictures": [str(p) for p in paths]}, "\n".join(map(str, paths)))
