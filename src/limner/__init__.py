"""limner: teach a generative image model one subject from a few pictures, and paint it wherever a prompt asks.

    import limner

    base = limner.load("pocket")
    rex = limner.Subject.of("photos/", noun="dog", handle="rex")
    concept = limner.learn(base, rex)
    limner.paint(base, "<rex> on the beach", concepts=[concept], count=4)

Importing this package loads nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .bases.loading import load
    from .concept import Concept
    from .evaluation.benchmark import bench
    from .evaluation.scoring import score
    from .keeping import Concepts
    from .learning import learn
    from .methods import find
    from .painting import Canvas, PaintSettings, paint, sample
    from .picture import Picture, Pictures
    from .recipe import Painting, Recipe, Stage, method
    from .subject import Subject
    from .teaching import teach
    from .wearing import wear

__version__ = "0.1.0"
__all__ = [
    "Canvas",
    "Concept",
    "Concepts",
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
    "bench",
    "find",
    "learn",
    "learn_many",
    "load",
    "method",
    "paint",
    "paint_many",
    "sample",
    "score",
    "teach",
    "teach_many",
    "wear",
]

_HOME = {
    "Canvas": "painting", "Concept": "concept", "Concepts": "keeping", "PaintSettings": "painting", "Painting": "recipe", "Picture": "picture", "Pictures": "picture",
    "Recipe": "recipe", "Stage": "recipe", "Subject": "subject", "find": "methods", "learn": "learning",
    "load": "bases.loading", "method": "recipe", "paint": "painting", "sample": "painting",
    "bench": "evaluation.benchmark", "score": "evaluation.scoring", "teach": "teaching", "wear": "wearing",
    "Job": "fleet", "Order": "painting_many", "paint_many": "painting_many", "learn_many": "fleet", "teach_many": "fleet",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'limner' has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value
