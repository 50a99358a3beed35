"""A conversation beside prompting anew: what stays, who stays, what comes back.

    python benchmarks/conversation.py --subject 0        # one held-out toy; run 0 and 1
    python benchmarks/conversation.py --subject 1

On the pocket base, with a subject learned by DreamBooth-LoRA (settings in the file). Each run replaces its subject's
part of results/conversation.json and makes the summary anew from all parts.

* `unnamed`: mean absolute difference of pixels, in percent of their range, outside of the thing that a sentence names,
  and the share of pictures in which the judge reads what was asked for. On painted pictures the named thing is the
  segmenter's mask of the toy before and after, larger by 8 pixels (for a scene: everything but the toy before). Beside
  the conversation, the whole prompt is painted anew from the same seed, and from another.
* `renders`: the same on ground-truth renders of other toys. The named thing is every pixel that differs between two
  renders of one scene, with and without the change.
* `identity`: cosine of the identity network with the references, after each turn of one conversation, and for its
  prompts painted anew.
* `exact`: turns that are recalled, undone and painted again from their states alone with equal bits.
* `preference`: the same cosine on held-out seeds after rounds of "more like ..., less like ..." by a user who likes the
  picture nearest to the references and dislikes the farthest, and by one who does the opposite.
* `asking`: share of sentences that the picture fulfils when the right reading is followed (RIGHT of `asking.py`), and
  when another one is (WRONG).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from common import machine

import limner
from limner.core.pixels import to_images, to_tensor
from limner.pocket import judges
from limner.pocket.subjects import toy
from limner.pocket.world import CORE, draw, individual, references
from limner.workflows.converse import Conversation, Means, State, Thing, begin, picture_of, say
from limner.workflows.converse.painting import hash_of_picture, paint_state, repaint

OUT = Path(__file__).parent.parent / "results" / "conversation.json"
SUBJECTS = (("dog", 2_000_012), ("rabbit", 2_000_031))
STEPS = 12
SEEDS = (3, 4, 5, 6)
ASKED = {
    "give him a red hat": ("accessory", "hat", "yes"),
    "give him sunglasses": ("accessory", "sunglasses", "yes"),
    "make him green": ("thing", "colour", "green"),
    "put him in the snow": ("background", "scene", "snow"),
    "put him in the kitchen": ("background", "scene", "kitchen"),
}
"""Sentence -> the part that it names, and what the judge should read."""
LONG = (
    "rex on the beach", "give him a red hat", "put him in the snow", "make the hat blue", "put him in the kitchen",
    "without the hat", "put him on the beach",
)  # fmt: skip
ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subject", type=int, choices=range(len(SUBJECTS)), default=0)
    parser.add_argument("--concept", type=Path, help="a concept of that subject, so that it is not learned again")
    given = parser.parse_args()
    kind, seed = SUBJECTS[given.subject]
    base, subject = limner.load("pocket", device="cpu"), toy(kind, seed)
    concept = limner.Concept.load(given.concept) if given.concept else limner.learn(base, subject)
    about = {"subject": f"{kind} {seed}", "method": concept.method, "settings": concept.settings, "steps": STEPS}
    images = [picture.image for picture in subject.pictures if picture.image is not None]
    began, parts = time.monotonic(), {}
    for name, measure in MEASURES.items():
        parts[name] = measure(base, concept, images)
        print(name, json.dumps(parts[name]), f"({time.monotonic() - began:.0f} s)", flush=True)
    write(given.subject, {**about, **parts, "seconds": round(time.monotonic() - began, 1)})


def write(number: int, part: Mapping[str, Any]) -> None:
    """Put a subject's part into the file, and the summary of all parts."""
    record = json.loads(OUT.read_text()) if OUT.exists() else {"subjects": {}}
    record["subjects"][str(number)] = part
    record["summary"] = {name: summed([each[name] for each in record["subjects"].values()]) for name in MEASURES}
    record |= {"command": "python benchmarks/conversation.py --subject N", "machine": machine()}
    OUT.write_text(json.dumps(record, indent=1) + "\n")


def summed(values: Sequence[Any]) -> Any:
    """The mean over subjects of every number in nested tables and lists."""
    if isinstance(values[0], Mapping):
        return {name: summed([value[name] for value in values]) for name in values[0]}
    if isinstance(values[0], list):
        return [summed(each) for each in zip(*values, strict=True)]
    if isinstance(values[0], str):
        return values[0] if len(set(values)) == 1 else ", ".join(values)
    return round(statistics.mean(values), 4)


# ----------------------------------------------------------------------------------------------------------- measuring


def pixels(*images: Any) -> torch.Tensor:
    return to_tensor(images, 128)


def toy_mask(image: Any) -> torch.Tensor:
    """[1, 1, H, W] of 0 and 1"""
    return (judges.masks(pixels(image)) > 0.5).float()[:, None]


def error_outside(before: Any, after: Any, named: torch.Tensor) -> float:
    """Mean absolute difference in percent, where `named` [1, 1, H, W] is 0."""
    outside = (1 - named).expand(1, 3, -1, -1)
    difference = (pixels(before) - pixels(after)).abs() * outside
    return float(100 * difference.sum() / outside.sum().clamp_min(1))


def named_area(before: Any, after: Any, part: str) -> torch.Tensor:
    """[1, 1, H, W]: the thing that a sentence names, on painted pictures."""
    if part == "background":
        return 1 - toy_mask(before)
    both = torch.maximum(toy_mask(before), toy_mask(after))
    return torch.nn.functional.max_pool2d(both, 17, 1, 8)


def is_read(image: Any, field: str, option: str) -> float:
    return float(judges.read(pixels(image))[0][field] == option)


def nearness(images: Sequence[Any], wanted: Sequence[Any]) -> list[float]:
    """Cosine of the identity network with the mean of the references."""
    mean = torch.nn.functional.normalize(judges.identities(pixels(*wanted)).mean(0), dim=0)
    cosines: list[float] = (judges.identities(pixels(*images)) @ mean).tolist()
    return cosines


def mean(values: Sequence[float]) -> float:
    return round(statistics.mean(values), 4)


def unnamed(base: Any, concept: Any, images: Sequence[Any]) -> dict[str, Any]:
    rows: dict[str, dict[str, dict[str, list[float]]]] = {}
    for seed in SEEDS:
        means, start = begin(base, [concept], seed=seed, steps=STEPS)
        first = say(means, start, "rex on the beach")
        for words, (part, field, option) in ASKED.items():
            reply = say(means, first.conversation, words)
            state = replace(reply.conversation.state, onto="", part="all")
            ways = {
                "conversation": reply.picture,
                "anew, same seed": paint_state(base, state, means.concepts).image,
                "anew, another seed": paint_state(base, replace(state, seed=seed + 100), means.concepts).image,
            }
            for way, image in ways.items():
                cell = rows.setdefault(part, {}).setdefault(way, {"error": [], "fulfilled": []})
                cell["error"].append(error_outside(first.picture, image, named_area(first.picture, image, part)))
                cell["fulfilled"].append(is_read(image, field, option))
    return {
        part: {way: {name: mean(values) for name, values in cell.items()} for way, cell in ways.items()}
        for part, ways in rows.items()
    }


def renders(base: Any, concept: Any, images: Sequence[Any]) -> dict[str, Any]:
    """Source pictures are renders of toys that nothing has learned; the prompt describes them."""
    kind = concept.subject["noun"]
    errors: dict[str, list[float]] = {"accessory": [], "background": []}
    fulfilled: dict[str, list[float]] = {"accessory": [], "background": []}
    for number in range(6):
        who = individual(kind, 2_000_100 + number, patterns=CORE.patterns)
        graph = replace(references(who, 1, seed=number)[0], scene="beach")
        (first,) = graph.toys
        dressed = replace(first, accessories=("hat",), accessory_colours=("red",))
        changes = {
            "accessory": ("give it a red hat", replace(graph, toys=(dressed,)), ("hat", "yes")),
            "background": ("put it in the snow", replace(graph, scene="snow"), ("scene", "snow")),
        }
        before = to_images(draw([graph]).pixels.float() / 255)[0]
        thing = Thing(
            name=kind, noun=kind, colour=who.colours[0], looks=(who.pattern,) if who.pattern != "plain" else ()
        )
        talk = Conversation().add(State(things=(thing,), scene="on the beach", seed=number, steps=STEPS), words="")
        for part, (words, changed, (field, option)) in changes.items():
            means = Means(base, pictures={"t1": before})
            reply = say(means, talk, words)
            both = draw([graph, changed])
            named = ((both.pixels[:1].int() - both.pixels[1:].int()).abs().amax(1, keepdim=True) > 8).float()
            named = 1 - both.masks[:1, None].float() if part == "background" else named
            errors[part].append(error_outside(before, reply.picture, named))
            fulfilled[part].append(is_read(reply.picture, field, option))
    return {part: {"error": mean(errors[part]), "fulfilled": mean(fulfilled[part])} for part in errors}


def identity(base: Any, concept: Any, images: Sequence[Any]) -> dict[str, Any]:
    ways: dict[str, list[list[float]]] = {"conversation": [], "anew, same seed": [], "anew, another seed": []}
    for seed in SEEDS:
        means, talk = begin(base, [concept], seed=seed, steps=STEPS)
        pictures: dict[str, list[Any]] = {way: [] for way in ways}
        for words in LONG:
            reply = say(means, talk, words)
            talk = reply.conversation
            state = replace(talk.state, onto="", part="all")
            pictures["conversation"].append(reply.picture)
            pictures["anew, same seed"].append(paint_state(base, state, means.concepts).image)
            other = replace(state, seed=seed + 100 + len(talk.turns))
            pictures["anew, another seed"].append(paint_state(base, other, means.concepts).image)
        for way in ways:
            ways[way].append(nearness(pictures[way], images))
    return {way: [mean(values) for values in zip(*rows, strict=True)] for way, rows in ways.items()}


def exact(base: Any, concept: Any, images: Sequence[Any]) -> dict[str, Any]:
    counts = {"recalled": 0, "undone": 0, "painted again": 0, "turns": 0}
    for seed in SEEDS[:2]:
        means, talk = begin(base, [concept], seed=seed, steps=STEPS)
        for words in LONG[:5]:
            talk = say(means, talk, words).conversation
        talk = say(means, talk, "more like the second one").conversation
        counts["turns"] += len(talk.turns)
        for turn in talk.turns:
            back = say(means, talk, f"as in picture {turn.number}")
            counts["recalled"] += hash_of_picture(picture_of(means, back.conversation)) == turn.sha256
            again = repaint(base, talk, turn, means.concepts)
            counts["painted again"] += hash_of_picture(again) == turn.sha256
        at = talk
        for turn in reversed(talk.way):
            counts["undone"] += hash_of_picture(picture_of(means, at)) == turn.sha256 and at.state == turn.state
            at = at.undo() if turn.parent else at
    return counts


def preference(base: Any, concept: Any, images: Sequence[Any]) -> dict[str, Any]:
    measured: dict[str, list[float]] = {"likes the nearest": [], "likes the farthest": []}
    for who, course in measured.items():
        means, talk = begin(base, [concept], seed=1000, steps=STEPS)
        talk = say(means, talk, "rex on the beach").conversation
        course.append(held_out(base, means, talk, images))
        for _ in range(ROUNDS):
            first = len(talk.turns)
            for _ in range(4):
                talk = say(means, talk, "another one").conversation
            near = nearness([picture_of(means, talk, turn) for turn in talk.turns[first:]], images)
            best, worst = first + 1 + near.index(max(near)), first + 1 + near.index(min(near))
            liked, disliked = (best, worst) if who == "likes the nearest" else (worst, best)
            talk = say(means, talk, f"more like picture {liked}, less like picture {disliked}").conversation
            course.append(held_out(base, means, talk, images))
    return measured


def held_out(base: Any, means: Means, talk: Conversation, images: Sequence[Any]) -> float:
    """The mean cosine with the references on eight seeds that no round sees, in two scenes."""
    states = [
        replace(talk.state, seed=9000 + k, scene=scene) for k in range(4) for scene in ("on the beach", "in the snow")
    ]
    return mean(nearness([paint_state(base, state, means.concepts).image for state in states], images))


def asking(base: Any, concept: Any, images: Sequence[Any]) -> dict[str, float]:
    right, wrong = [], []
    for seed in SEEDS:
        means, start = begin(base, [concept], seed=seed, steps=STEPS)
        first = say(means, start, "rex on the beach").conversation
        made = {words: say(means, first, words).picture for words in ASKED}
        for words, (_, field, option) in ASKED.items():
            right.append(is_read(made[words], field, option))
            wrong += [is_read(image, field, option) for other, image in made.items() if other != words]
    return {"right": mean(right), "wrong": mean(wrong)}


MEASURES = {
    "unnamed": unnamed,
    "renders": renders,
    "identity": identity,
    "exact": exact,
    "preference": preference,
    "asking": asking,
}

if __name__ == "__main__":
    main()
