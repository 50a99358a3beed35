"""Several subjects stacked in one pass: subjects an hour for 1 to 64 at once, beside limner one by one and diffusers'
script one by one.

    python benchmarks/fleet.py --script path/to/diffusers/examples/dreambooth/train_dreambooth_lora.py

DreamBooth-LoRA, rank 4, attention layers, batch 1, 512 updates each: the median update of each number of subjects is
measured over `--updates`, and the hour is reckoned from it and from what beginning and ending cost. The machine's
ceiling, a matrix product of the size of the network's widest, is measured in the same run.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from common import spread, steady, timed_script, write

TOTAL = 512
LORA: dict[str, Any] = {"rank": 4, "layers": "attention", "lr": 1e-4, "prior_weight": 0.0, "batch": 1}


def time_stacked(base: Any, subjects: list[Any], count: int, updates: int, *, mixed: bool = False) -> dict[str, Any]:
    from limner.workflows.learn_many import Job, train_stacked

    began = time.monotonic()
    jobs = [Job(subjects[k % len(subjects)], "lora_dreambooth", k, LORA | {"steps": updates}) for k in range(count)]
    times = [time.monotonic()]
    for _ in train_stacked(base, jobs, slots=count, mixed=mixed):
        times.append(time.monotonic())
    begin = times[1] - began - (times[2] - times[1])
    step = spread(steady(times, skip=2))
    hour = 3600 * count / (max(begin, 0) + TOTAL * step["median"])
    return {
        "subjects": count,
        "computed_in": "bfloat16" if mixed else "float32",
        "step": step,
        "begin": round(max(begin, 0), 2),
        "samples_a_second": round(count / step["median"], 1),
        "subjects_an_hour": round(hour, 1),
    }


def solo(base: Any, subject: Any, updates: int) -> dict[str, Any]:
    import limner

    times: list[float] = []
    began = time.monotonic()
    limner.learn(
        base, subject, method="lora_dreambooth", watch=lambda _: times.append(time.monotonic()), **LORA, steps=updates
    )
    step = spread(steady(times))
    begin = times[0] - began - step["median"]
    return {
        "step": step,
        "begin": round(begin, 2),
        "subjects_an_hour": round(3600 / (begin + TOTAL * step["median"]), 1),
    }


def ceiling(base: Any, rows: int) -> float:
    """Products of matrices, in GFLOP/s, of the shape of the network's widest layer for so many rows."""
    import torch

    layers = [m for m in base.module("denoiser").modules() if isinstance(m, torch.nn.Linear)]
    widest = max(layers, key=lambda m: m.weight.numel())
    x, w = torch.randn(rows * 64, widest.in_features), torch.randn(widest.in_features, widest.out_features)
    times = []
    for _ in range(9):
        began = time.monotonic()
        for _ in range(5):
            x @ w
        times.append((time.monotonic() - began) / 5)
    return 2 * x.numel() * widest.out_features / sorted(times)[4] / 1e9


def operations(base: Any) -> float:
    """GFLOP of one row's update: forward, and backward to what it reads (twice the forward where weights are
    frozen)."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from limner.core.types import Pass

    latents, time_ = torch.randn(1, *base.latent_shape), torch.tensor([500])
    with torch.no_grad(), FlopCounterMode(display=False) as counted:
        base.predict(latents, time_, base.text_states(["a dog"], words={}), context=Pass(fused=False))
    return 2 * counted.get_total_flops() / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--script", type=Path, help="script of diffusers to compare with")
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--updates", type=int, default=14)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    import torch

    import limner
    from limner.bases.common.loading import POCKET
    from limner.pocket.subjects import toy

    torch.set_num_threads(given.threads)
    base = limner.load("pocket", device="cpu")
    subjects = [toy("dog", 2_000_012 + k, name=f"rex{k}") for k in range(4)]
    for k, subject in enumerate(subjects):
        object.__setattr__(subject, "handle", f"<rex-{k}>")
    alone = [solo(base, subjects[0], given.updates + 10)]
    curve = [time_stacked(base, subjects, count, given.updates) for count in given.counts]
    mixed = [
        time_stacked(base, subjects, count, given.updates, mixed=True) for count in given.counts if count in (16, 32)
    ]
    alone.append(solo(base, subjects[0], given.updates + 10))
    ours = max(one["subjects_an_hour"] for one in alone)
    about: dict[str, Any] = {}
    if given.script:
        with tempfile.TemporaryDirectory() as folder:
            photos = Path(folder) / "photos"
            photos.mkdir()
            for k, picture in enumerate(subjects[0].pictures):
                assert picture.image is not None
                picture.image.save(photos / f"{k}.png")
            arguments = [
                "--pretrained_model_name_or_path",
                str(POCKET),
                "--instance_data_dir",
                str(photos),
                "--output_dir",
                f"{folder}/out",
            ]
            arguments += [
                "--instance_prompt",
                "a photo of sks dog",
                "--resolution",
                str(base.picture_size),
                "--train_batch_size",
                "1",
                "--rank",
                "4",
            ]
            arguments += [
                "--learning_rate",
                "1e-4",
                "--max_train_steps",
                "60",
                "--checkpointing_steps",
                "100000",
                "--seed",
                "0",
            ]
            run = timed_script(given.script, arguments, threads=given.threads)
        step = spread(steady(run["times"]))
        begin = run["wall"] - 60 * step["median"]
        about["theirs"] = {
            "step": step,
            "begin": round(begin, 1),
            "subjects_an_hour": round(3600 / (begin + TOTAL * step["median"]), 1),
        }
        at = {row["subjects"]: row["subjects_an_hour"] for row in curve}
        about["ratio"] = round(at.get(16, max(at.values())) / about["theirs"]["subjects_an_hour"], 2)
        about["ratio_mixed"] = (
            round(max(r["subjects_an_hour"] for r in mixed) / about["theirs"]["subjects_an_hour"], 2) if mixed else None
        )
        about["target"] = 5
    best = max(curve, key=lambda row: row["samples_a_second"])
    share = best["samples_a_second"] * operations(base) / ceiling(base, best["subjects"])
    write(
        "fleet",
        what=f"DreamBooth-LoRA, rank 4, attention layers, batch 1, float32, {TOTAL} updates",
        **about,
        one_by_one={"subjects_an_hour": ours, "ratio": round(max(r["subjects_an_hour"] for r in curve) / ours, 2)},
        curve=curve,
        mixed=mixed,
        roofline={
            "share_of_matrix_ceiling": round(share, 2),
            "at": best["subjects"],
            "gflop_a_sample": round(operations(base), 2),
        },
    )


if __name__ == "__main__":
    main()
