"""Prompts for every task and split, each with the truth to judge its answers by.

from .prompts import TASKS, answer, prompts

for prompt in prompts("actions", "held-out"):
    graph = answer(prompt, ["handstand"], seed=0)  # a picture that answers the prompt right

A task's subject is a toy (objects, pets, pairs, conditions, video, 3D), a person (faces), an individual style (styles),
or a word that no training caption has (relations, actions, states). The prompts of the "dev" split are for choosing
settings, those of "held-out" for results; they share no combination.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from .grammar import MOVED, PLACES, STYLED, TIMED, UNCOLOURED, VIEWED, WORN, describe, doing, with_article
from .graph import SPLITS, Individual, SceneGraph, Toy
from .sampling import sample, showing
from .toys import individual
from .vocabulary import (  # fmt: skip
    ACCESSORIES,
    CAMERA_MOVES,
    CLASSES,
    COLOURS,
    DAYTIMES,
    HELD_OUT,
    JOINTED,
    SCENES,
    VIEWS,
    shown,
)

Split = Literal["dev", "held-out"]
COUNT = 20
"""Prompts of a task and split."""
CONDITIONS = ("depth", "edges", "mask", "boxes", "normals")


@dataclass(frozen=True)
class TaskPrompt:
    """Something to ask of a taught subject, and the truth to judge the answer by."""

    task: str
    text: str  # with {} for the subject; {0} and {1} where there are two
    truth: Mapping[str, str]  # field of limner.pocket.labels -> the option that the answer shows
    fixed: Mapping[str, Any] = field(default_factory=dict)  # further fields of the graph that answers it
    others: tuple[Individual, ...] = ()  # toys that stand beside the subject
    condition: str | None = None  # one of CONDITIONS, taken from another picture of the same prompt


def prompts(task: str, split: Split = "held-out") -> tuple[TaskPrompt, ...]:
    """The COUNT prompts of a task. Raises `KeyError` for a task that TASKS does not have."""
    return _table(split)[task]


def answer(prompt: TaskPrompt, subjects: Sequence[Any], *, seed: int) -> SceneGraph:
    """A picture that answers the prompt right for these subjects.

    `subjects` are individuals; for styles pairs of a family and a seed, and for relations, actions and states the word
    itself.
    """
    fixed, first = dict(prompt.fixed), subjects[0]
    match prompt.task:
        case "pairs":
            return sample(seed, toys=tuple(Toy(who) for who in subjects), **fixed)
        case "relations":
            return sample(seed, toys=tuple(Toy(who) for who in prompt.others), relation=first, **fixed)
        case "styles":
            family, style_seed = first
            return showing(prompt.others[0], seed=seed, style=family, style_seed=style_seed, **fixed)
        case "actions" | "states":
            return showing(prompt.others[0], seed=seed, **{prompt.task[:-1]: first}, **fixed)
        case _:
            return showing(first, seed=seed, **fixed)


@functools.cache
def _table(split: Split) -> dict[str, tuple[TaskPrompt, ...]]:
    """All tasks of a split. One stream of chance for each task: adding a task changes no other's prompts."""
    prompts_by_task = {}
    for task, make in TASKS.items():
        rng = np.random.default_rng((sum(task.encode()), sum(split.encode())))
        made: list[TaskPrompt] = []
        while len(made) < COUNT:
            prompt = make(rng, len(made), split)
            if all(prompt.text != before.text for before in made):
                made.append(prompt)
        prompts_by_task[task] = tuple(made)
    return prompts_by_task


# -------------------------------------------------------------------------------------------------------- prompts


def _one(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def _scene(rng: np.random.Generator, split: Split) -> str:
    """Every second scene is for the dev split, the others for held-out prompts, so that no combination is in both."""
    return _one(rng, SCENES[split == "held-out" :: 2])


def _someone(rng: np.random.Generator, split: Split, kinds: Sequence[str] = CLASSES) -> Individual:
    """A bystander of the split's last hundred individuals, which are no task's subjects."""
    return individual(_one(rng, kinds), SPLITS[split].stop - 1 - int(rng.integers(100)))


def _draw_accessories(rng: np.random.Generator, count: int) -> tuple[tuple[str, str], ...]:
    names = [name for name in ACCESSORIES if name != "balloon"]
    chosen = rng.choice(len(names), count, replace=False)
    return tuple((names[k], _one(rng, list(COLOURS))) for k in sorted(chosen))


def _wearing(accessories: Sequence[tuple[str, str]]) -> str:
    things = [WORN[name] if name in UNCOLOURED else f"{colour} {WORN[name]}" for name, colour in accessories]
    phrases = [thing if thing == "sunglasses" else with_article(thing) for thing in things]
    return f"wearing {' and '.join(phrases)}" if phrases else ""


def _objects(rng: np.random.Generator, k: int, split: Split, *, actions: Sequence[str] = ()) -> TaskPrompt:
    """A place, and by turns something worn, a time of day, a view, a style."""
    scene, kind = _scene(rng, split), k % 4
    accessories = _draw_accessories(rng, 1 + k % 2) if kind != 3 else ()
    daytime = _one(rng, DAYTIMES[1:]) if kind == 1 and scene != "night sky" else "noon"
    view = _one(rng, VIEWS[1:4]) if kind == 2 else "front"
    style = _one(rng, shown("styles")[1:]) if kind == 3 else "render"
    truth = {
        "scene": scene,
        "daytime": daytime,
        "view": view,
        "style": style,
        **{name: "yes" for name, _ in accessories},
    }
    fixed: dict[str, Any] = {
        "scene": scene,
        "daytime": daytime,
        "view": view,
        "style": style,
        "accessories": accessories,
    }
    acts = ""
    if actions:
        truth["action"] = fixed["action"] = _one(rng, actions)
        acts = doing(fixed["action"])
    seen = f", {VIEWED[view][0]}" if view != "front" else ""
    start = f"{STYLED[style]} " if style in STYLED else ""
    text = f"{start}{{}} {acts} {_wearing(accessories)} {PLACES[scene][0]} {TIMED.get(daytime, '')}"
    return TaskPrompt("pets" if actions else "objects", " ".join(text.split()) + seen, truth, fixed)


def _pets(rng: np.random.Generator, k: int, split: Split) -> TaskPrompt:
    return _objects(rng, k, split, actions=shown("actions")[1:])


def _pairs(rng: np.random.Generator, k: int, split: Split) -> TaskPrompt:
    scene, relation = _scene(rng, split), shown("relations")[k % len(shown("relations"))]
    fixed = {"scene": scene, "relation": relation, "view": "front", "style": "render", "daytime": "noon"}
    return TaskPrompt(
        "pairs", f"{{0}} {relation} {{1}} {PLACES[scene][0]}", {"scene": scene, "relation": relation}, fixed
    )


def _relations(rng: np.random.Generator, k: int, split: Split) -> TaskPrompt:
    scene, others = _scene(rng, split), (_someone(rng, split), _someone(rng, split))
    first, second = (with_article(describe(who)) for who in others)
    fixed = {"scene": scene, "view": "front", "style": "render", "daytime": "noon"}
    truth = {"scene": scene, "class": others[0].kind, f"a {others[1].kind}": "yes"}
    return TaskPrompt("relations", f"{first} {{}} {second} {PLACES[scene][0]}", truth, fixed, others)


def _of_bystander(
    task: str, kinds: Sequence[str], order: str
) -> Callable[[np.random.Generator, int, Split], TaskPrompt]:
    """Prompts about a toy that the task's subject (a style, an action, a state) is shown on; `order` says where it
    stands."""

    def make(rng: np.random.Generator, k: int, split: Split) -> TaskPrompt:
        scene, who = _scene(rng, split), _someone(rng, split, kinds)
        truth = {"scene": scene, "class": who.kind, "colour": who.colours[0]}
        text = order.format(looks=describe(who), what=with_article(describe(who)), place=PLACES[scene][0])
        return TaskPrompt(task, text, truth, {"scene": scene}, (who,))

    return make


def _conditions(rng: np.random.Generator, k: int, split: Split) -> TaskPrompt:
    asked = _objects(rng, k % 3, split)
    return TaskPrompt("conditions", asked.text, asked.truth, asked.fixed, condition=CONDITIONS[k % len(CONDITIONS)])


def _video(rng: np.random.Generator, k: int, split: Split) -> TaskPrompt:
    """By turns a motion, and a move of the camera."""
    scene = _scene(rng, split)
    if k % 2:
        move = _one(rng, CAMERA_MOVES[1:])
        return TaskPrompt(
            "video", f"{{}} {PLACES[scene][0]}, {MOVED[move]}", {"scene": scene}, {"scene": scene, "camera_move": move}
        )
    motion = _one(rng, shown("motions")[1:])
    return TaskPrompt(
        "video", f"{{}} {motion} {PLACES[scene][0]}", {"scene": scene}, {"scene": scene, "motion": motion}
    )


def _three_d(rng: np.random.Generator, k: int, split: Split) -> TaskPrompt:
    """The eight sides in turn."""
    scene, view = _scene(rng, split), [v for v in VIEWS if v not in ("side", "top")][k % 8]
    truth = {"scene": scene, "azimuth": view}
    return TaskPrompt("3D", f"{{}} {PLACES[scene][0]}, {VIEWED[view][0]}", truth, {"scene": scene, "view": view})


TASKS: dict[str, Callable[[np.random.Generator, int, Split], TaskPrompt]] = {
    "objects": _objects,
    "pets": _pets,
    "styles": _of_bystander("styles", CLASSES, "{what} {place} in the style of {{}}"),
    "pairs": _pairs,
    "relations": _relations,
    "actions": _of_bystander("actions", JOINTED, "{what} {{}} {place}"),
    "states": _of_bystander("states", CLASSES, "a {{}} {looks} {place}"),
    "conditions": _conditions,
    "video": _video,
    "3D": _three_d,
}

SUBJECTS: dict[str, tuple[str, ...]] = {
    "relations": HELD_OUT["relations"],
    "actions": HELD_OUT["actions"],
    "states": HELD_OUT["states"],
    "styles": HELD_OUT["styles"],
}
"""Words that name the subjects of tasks whose subject is no individual; of styles, families beside every family's
held-out seeds."""
