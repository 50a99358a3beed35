"""`limner paint`."""

from __future__ import annotations

import argparse

from limner.errors import InputError, PromptError
from limner.recipe import Recipe

from .common import base_name, opened, out, planned, read_concept


def paint(given: argparse.Namespace) -> None:
    import limner
    from limner.subject import read_picture

    concepts = [read_concept(given, path) for path in given.concepts]
    asked = f"{given.prompt}\n{given.negative}"
    unnamed = [c.handle for c in concepts if c.has_trigger and c.handle not in asked]
    if unnamed:
        raise PromptError(
            f"the prompt {given.prompt!r} does not name {unnamed[0]}; write {unnamed[0]} where the subject is to be (or in "
            "--negative, where it is what not to paint)"
        )
    name = base_name(given, concepts[0]) if concepts else given.base or "pocket"
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
    pictures = limner.paint(
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
    paths = pictures.save(given.out, overwrite=given.overwrite)
    out(given, {"pictures": [str(p) for p in paths]}, "\n".join(map(str, paths)))
