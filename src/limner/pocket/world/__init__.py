"""The pocket world: toys, scenes and faces, drawn with their truth and said in words. No training, no data, only code.

from limner.pocket.world import CORE, caption, draw, sample

graphs = [sample(seed, world=CORE) for seed in range(8)]
pictures = draw(graphs).pixels
captions = [caption(graph, seed=0) for graph in graphs]
"""

from .drawing import Drawn, draw, draw_many
from .grammar import PROMPTS, Prompt, caption, describe
from .graph import SPLITS, Camera, Face, Individual, Person, SceneGraph, Toy
from .sampling import clip, panorama, portrait, references, sample, showing, turntable, unseen, viewpoint
from .toys import individual
from .vocabulary import CORE, WHOLE, WORLDS, World

__all__ = [
    "CORE", "PROMPTS", "SPLITS", "WHOLE", "WORLDS", "Camera", "Drawn", "Face", "Individual", "Person", "Prompt",
    "SceneGraph", "Toy", "World", "caption", "clip", "describe", "draw", "draw_many", "individual",
    "panorama", "portrait",
    "references", "sample", "showing", "turntable", "unseen", "viewpoint",
]  # fmt: skip
