"""limner: train a generative image model on one subject from a few pictures, and paint it as prompts describe.

    import limner

    base = limner.load("pocket")
    rex = limner.Subject.of("photos/", noun="dog", handle="rex")
    concept = limner.learn(base, rex)
    limner.paint(base, "<rex> on the beach", concepts=[concept], count=4)

Importing this package loads no large library: torch and others are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from limner.bases.common.faces import open_faces
    from limner.bases.common.loading import load
    from limner.core.concept import Concept
    from limner.core.consent import Consent
    from limner.core.method import method
    from limner.core.picture import Clip, Picture, Pictures
    from limner.core.recipe import Painting, Recipe, Stage
    from limner.core.subject import Subject
    from limner.engine.attach import attach
    from limner.engine.sample import Canvas, PaintSettings, sample
    from limner.engine.train import train
    from limner.library.concepts import Concepts
    from limner.workflows.bench.run import bench
    from limner.workflows.learn import learn
    from limner.workflows.merge import merge
    from limner.workflows.paint import paint
    from limner.workflows.score import score

    from .methods import find

__version__ = "0.1.0"
__all__ = [
    "Canvas",
    "Clip",
    "Concept",
    "Concepts",
    "Consent",
    "Job",
    "Order",
    "PaintSettings",
    "Painting",
    "Picture",
    "Pictures",
    "Recipe",
    "Stage",
    "Subject",
    "__version__",
    "attach",
    "bench",
    "find",
    "learn",
    "learn_many",
    "load",
    "merge",
    "method",
    "open_faces",
    "paint",
    "paint_many",
    "sample",
    "score",
    "train",
    "train_stacked",
]

_HOME = {
    "Canvas": "engine.sample",
    "Clip": "core.picture",
    "Concept": "core.concept",
    "Concepts": "library.concepts",
    "Consent": "core.consent",
    "Job": "workflows.learn_many",
    "Order": "workflows.paint_many",
    "PaintSettings": "engine.sample",
    "Painting": "core.recipe",
    "Picture": "core.picture",
    "Pictures": "core.picture",
    "Recipe": "core.recipe",
    "Stage": "core.recipe",
    "Subject": "core.subject",
    "attach": "engine.attach",
    "bench": "workflows.bench.run",
    "find": "methods",
    "learn": "workflows.learn",
    "learn_many": "workflows.learn_many",
    "load": "bases.common.loading",
    "merge": "workflows.merge",
    "method": "core.method",
    "open_faces": "bases.common.faces",
    "paint": "workflows.paint",
    "paint_many": "workflows.paint_many",
    "sample": "engine.sample",
    "score": "workflows.score",
    "train": "engine.train",
    "train_stacked": "workflows.learn_many",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'limner' has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value
