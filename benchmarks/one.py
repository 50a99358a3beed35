"""One likeness: a step, the wall time and the memory of limner's DreamBooth-LoRA beside diffusers' own training script.

    python benchmarks/one.py --script path/to/diffusers/examples/dreambooth/train_dreambooth_lora.py

The same base, pictures, rank, layers, batch, precision, updates and threads; runs of the two alternate, and what is stated is the ratio of
medians. No prior preservation, as the script has it by default.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import spread, steady, timed_script, write

OURS = """
import json, resource, sys, time
began = time.monotonic()
import limner
base = limner.load(sys.argv[1], device="cpu")
subject = limner.Subject.of(sys.argv[2], noun="dog", handle="rex")
times = []
about = dict(steps=int(sys.argv[4]), rank=4, layers="attention", lr=1e-4, prior_weight=0.0, batch=1)
concept = limner.learn(base, subject, method="lora_dreambooth", watch=lambda _: times.append(time.monotonic() - began), **about)
concept.save(sys.argv[3])
rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"times": times, "wall": time.monotonic() - began, "megabytes": rss, "losses": concept.losses}))
"""


def ours(base: str, photos: Path, steps: int, threads: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        told = [sys.executable, "-c", OURS, base, str(photos), f"{folder}/rex.safetensors", str(steps)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        done = subprocess.run(told, env=environment, capture_output=True, text=True, check=True)
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return found


def theirs(script: Path, base: str, photos: Path, steps: int, threads: int, size: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        told = ["--pretrained_model_name_or_path", base, "--instance_data_dir", str(photos), "--output_dir", folder]
        told += [
            "--instance_prompt",
            "a photo of sks dog",
            "--resolution",
            str(size),
            "--train_batch_size",
            "1",
            "--rank",
            "4",
        ]
        told += [
            "--learning_rate",
            "1e-4",
            "--max_train_steps",
            str(steps),
            "--checkpointing_steps",
            "100000",
            "--seed",
            "0",
        ]
        told += ["--center_crop"] if "sdxl" in script.name else []
        return timed_script(script, told, threads=threads)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--script", type=Path, required=True)
    parser.add_argument("--base", default="", help="a folder (default: the pocket base)")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--name", default="one")
    given = parser.parse_args()
    from limner.bases.loading import POCKET, load
    from limner.demo import toy

    base = given.base or str(POCKET)
    size = load(base, device="cpu").picture_size
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder)
        for k, picture in enumerate(toy("dog", 2_000_012).pictures):
            assert picture.image is not None
            picture.image.save(photos / f"{k}.png")
        pairs = []
        for _ in range(given.runs):
            pairs.append(
                (
                    ours(base, photos, given.steps, given.threads),
                    theirs(given.script, base, photos, given.steps, given.threads, size),
                )
            )
    steps = [
        [sorted(steady(run["times"]))[len(run["times"]) // 2] for run in side] for side in zip(*pairs, strict=True)
    ]
    walls = [[run["wall"] for run in side] for side in zip(*pairs, strict=True)]
    memory = [[run["megabytes"] for run in side] for side in zip(*pairs, strict=True)]
    write(
        given.name,
        what="DreamBooth-LoRA, rank 4, attention layers, batch 1, float32, against diffusers' script",
        base=Path(base).name if given.base else "pocket",
        steps=given.steps,
        step={
            "ratio": round(spread(steps[1])["median"] / spread(steps[0])["median"], 2),
            "target": 1.5,
            "ours": spread(steps[0]),
            "theirs": spread(steps[1]),
        },
        wall={
            "ratio": round(spread(walls[1])["median"] / spread(walls[0])["median"], 2),
            "target": 3,
            "ours": spread(walls[0]),
            "theirs": spread(walls[1]),
        },
        memory={
            "ratio": round(spread(memory[0])["median"] / spread(memory[1])["median"], 2),
            "target": 0.7,
            "ours": spread(memory[0]),
            "theirs": spread(memory[1]),
        },
    )


if __name__ == "__main__":
    main()
