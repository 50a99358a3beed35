"""Painting: limner beside diffusers' pipeline on the same work, and a batch of as many concepts as pictures beside one
concept.

python benchmarks/paint.py
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from typing import Any

from common import spread, write

STEPS, GUIDANCE, COUNT = 10, 4.0, 16


def timed(work: Callable[[], Any]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    import torch
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    import limner
    from limner.bases.common.loading import POCKET
    from limner.pocket.subjects import toy
    from limner.workflows.learn_many import Job, learn_many
    from limner.workflows.paint_many import Order, paint_many

    torch.set_num_threads(given.threads)
    base = limner.load("pocket", device="cpu")
    how = limner.PaintSettings(STEPS, GUIDANCE, "ddim", batch=COUNT)
    pipeline = StableDiffusionPipeline.from_pretrained(POCKET, torch_dtype=torch.float32, safety_checker=None)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    subject = toy("dog", 2_000_012)
    about = {"rank": 4, "layers": "attention", "prior_weight": 0.0, "batch": 1, "steps": 2}
    done = learn_many(base, [Job(subject, "lora_dreambooth", k, about) for k in range(COUNT)])
    concepts = [d.concept for d in done if d.concept is not None]
    prompt = f"{subject.handle} on the beach"

    def many() -> None:
        paint_many(base, [Order(prompt, concept, k) for k, concept in enumerate(concepts)], settings=how)

    def one() -> None:
        limner.paint(base, prompt, concepts=concepts[:1], count=COUNT, settings=how)

    def ours() -> None:
        limner.paint(base, "a dog on the beach", count=COUNT, settings=how)

    def theirs() -> None:
        pipeline(
            "a dog on the beach",
            num_images_per_prompt=COUNT,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            height=128,
            width=128,
        )

    with tempfile.TemporaryDirectory() as folder:
        path = concepts[0].save(f"{folder}/rex.safetensors")
        single = limner.PaintSettings(STEPS, GUIDANCE, "ddim")

        def cold() -> None:
            limner.paint(base, prompt, concepts=[limner.Concept.load(path)], settings=single)

        def warm() -> None:
            limner.paint(base, prompt, concepts=concepts[:1], settings=single)

        works = {"ours": ours, "theirs": theirs, "one concept": one, "many concepts": many, "cold": cold, "warm": warm}
        for work in works.values():
            work()
        times: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(given.runs):
            for name, work in works.items():
                times[name].append(timed(work))
    spreads = {name: spread(each) for name, each in times.items()}
    write(
        "paint",
        what=f"{COUNT} pictures of 128 px, {STEPS} DDIM steps, guidance {GUIDANCE}, float32; pocket",
        plain={"ratio": round(spreads["theirs"]["median"] / spreads["ours"]["median"], 2), "target": 1.3, "ours": spreads["ours"], "theirs": spreads["theirs"]},
        mixed={
            "ratio": round(spreads["one concept"]["median"] / spreads["many concepts"]["median"], 2), "target": 0.9,
            "one_concept": spreads["one concept"], "as_many_as_pictures": spreads["many concepts"],
        },
        first={"ratio": round(spreads["cold"]["median"] / spreads["warm"]["median"], 2), "target": 1.2, "cold": spreads["cold"], "warm": spreads["warm"]},
    )  # fmt: skip


if __name__ == "__main__":
    main()
