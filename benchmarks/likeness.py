"""Seconds from the command until a likeness is there: limner's ways beside diffusers' DreamBooth-LoRA script.

    python benchmarks/likeness.py --script path/to/diffusers/examples/dreambooth/train_dreambooth_lora.py

Runs what results/likeness.json lacks. One held-out toy, six prompts, two seeds. Each run keeps what it has learned at
its milestones and when (from the command, imports included: seconds, and seconds of the processor, which on one thread
are what a machine of its own would take); every state is then scored by the same judges, the script's after `limner
import`. `reached` is the first milestone's processor seconds with 90 % of the run's own last H, `reached_best` those
with 90 % of the best last H of all.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from common import RESULTS, write
from one import ours, theirs

from limner.bases.common.loading import POCKET
from limner.core.concept import Concept
from limner.formats.importing import import_file
from limner.workflows.score import score

EIGHTHS = (1, 2, 4, 8)
SEEDS = (0, 1)
SAME = {"method": "lora_dreambooth", "rank": 16, "lr": 2e-3, "batch": 4, "steps": 160}
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "limner --goal fast": ("ours", {"method": "ip_adapter"}),
    "limner (chosen by --goal balanced)": ("ours", {"method": "lycoris_locon", "steps": 200}),
    "limner, DreamBooth-LoRA on attention": ("ours", {**SAME, "layers": "attention", "prior_weight": 0.0}),
    "diffusers, as above": ("theirs", {**SAME, "word": "zib"}),
    "diffusers, as above, with the word of its page": ("theirs", {**SAME, "word": "sks"}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--script", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    from limner.bases.common.loading import load
    from limner.evaluation.datasets.toys import toys

    base, case = load("pocket", device="cpu"), toys(count=1, prompts=6).cases[0]
    plain: list[Any] = []
    file = RESULTS / "likeness.json"
    runs: dict[str, dict[str, Any]] = json.loads(file.read_text())["runs"] if file.exists() else {}
    with tempfile.TemporaryDirectory() as pictures:
        for k, image in enumerate(case.member.images):
            image.save(Path(pictures) / f"{k}.png")
        for name in [name for name in RUNS if name not in runs]:
            side, about = RUNS[name]
            with tempfile.TemporaryDirectory() as folder:
                states = taught(side, about, Path(pictures), Path(folder), given.script, given.threads, base)
                runs[name] = {"settings": about, "points": [scored(base, case, plain, *state) for state in states]}
            written(runs, f"{case.member.name}, {len(case.prompts)} prompts, seeds {SEEDS}; one run each")


def written(runs: dict[str, dict[str, Any]], what: str) -> None:
    """The runs so far, each with when it reached 90 % of its own last H and of the best."""
    best = max(run["points"][-1]["H"] for run in runs.values())
    for run in runs.values():
        run |= {"reached": reached(run["points"], run["points"][-1]["H"]), "reached_best": reached(run["points"], best)}
    write("likeness", what=what, runs=runs)


def taught(
    side: str, about: dict[str, Any], pictures: Path, folder: Path, script: Path, threads: int, base: Any
) -> list[tuple[int, float, float, Concept]]:
    """Updates, seconds since the command, of the processor too, and the likeness then, at every milestone."""
    every = about.get("steps", 8) // 8
    if side == "ours":
        run = ours("pocket", pictures, str(folder), about, threads=threads, every=every)
        last = Concept.load(folder / "rex.safetensors")
        files = {k: folder / f"{k}.safetensors" for k in range(every, len(run["times"]), every)}
        states = {k: Concept.load(files[k]) for k in files}
    else:
        size = base.picture_size
        run = theirs(script, str(POCKET), pictures, str(folder), about, threads=threads, size=size, every=every)
        name = "pytorch_lora_weights.safetensors"
        word = about["word"]
        last = imported(folder / name, base, word)
        states = {
            k: imported(folder / f"checkpoint-{k}" / name, base, word) for k in range(every, about["steps"], every)
        }
    wanted = {every * k for k in EIGHTHS[:-1]}
    points = [(k, run["times"][k - 1], run["cpu"][k - 1], concept) for k, concept in states.items() if k in wanted]
    return [*points, (len(run["times"]), run["wall"], run["cpu_wall"], last)]


def imported(file: Path, base: Any, word: str) -> Concept:
    concept = import_file(file, base, name="rex", noun="dog", says=f"{word} dog").concept
    assert concept is not None
    return concept


def scored(
    base: Any, case: Any, plain: list[Any], updates: int, seconds: float, cpu: float, concept: Concept
) -> dict[str, float]:
    """H, F and T of a state; `plain` keeps the base's own pictures from the first state on."""
    card = score(
        base, concept, training=case.member.images, held_out=case.member.held_out, prompts=case.truth, seeds=SEEDS,
        only=("identity",), plain=plain,
    )  # fmt: skip
    plain[:] = card.base
    assert card.tradeoff is not None
    t = card.tradeoff
    of = {"H": round(t.harmonic, 3), "F": round(t.fidelity, 3), "T": round(t.alignment, 3)}
    return {"updates": updates, "seconds": round(seconds, 1), "cpu": round(cpu, 1), **of}


def reached(points: list[dict[str, float]], final: float) -> float | None:
    """Seconds of the processor until a run had 90 % of this H, or None."""
    return next((point["cpu"] for point in points if point["H"] >= 0.9 * final > 0), None)


if __name__ == "__main__":
    main()
