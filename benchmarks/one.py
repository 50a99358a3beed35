"""One likeness: a step, the wall time and the memory of limner's DreamBooth-LoRA beside diffusers' own training script.

    python benchmarks/one.py --script path/to/diffusers/examples/dreambooth/train_dreambooth_lora.py
    python benchmarks/one.py --script path/to/diffusers/examples/textual_inversion/textual_inversion.py --name one_word

The same base, pictures, rank, layers, batch, precision, updates and threads; runs of the two alternate, and what is
stated is the ratio of medians. No prior preservation, as the script has it by default. For Textual Inversion,
recognised by the script's name: one vector that begins as the class noun; one more run of each, not timed, keeps the
word at a quarter, a half and the end of its updates, and `loss` is what each word leaves on the same fixed draws of
noise and time (the two draw their own while they learn).
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

from limner.library.opening import adapter_of

OURS = """
import json, resource, sys, time
began = time.monotonic()
import dataclasses, limner
base = limner.load(sys.argv[1], device="cpu")
subject = limner.Subject.of(sys.argv[2], noun="dog", handle="rex")
times, cpu, snapshots, every, about = [], [], {}, int(sys.argv[5]), json.loads(sys.argv[4])
def watch(progress):
    times.append(time.monotonic() - began)
    cpu.append(time.process_time())
    if every and progress.done % every == 0:
        snapshots[progress.done] = progress.snapshot().tensors
concept = limner.learn(base, subject, watch=watch, **about)
concept.save(sys.argv[3] + "/rex.safetensors")
wall = {"wall": time.monotonic() - began, "cpu_wall": time.process_time()}
for done, tensors in snapshots.items():
    dataclasses.replace(concept, tensors=tensors).save(sys.argv[3] + f"/{done}.safetensors")
rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"times": times, "cpu": cpu, **wall, "megabytes": rss, "losses": concept.losses}))
"""


LORA = {"method": "lora_dreambooth", "rank": 4, "layers": "attention", "lr": 1e-4, "prior_weight": 0.0, "batch": 1}
WORD = {"method": "textual_inversion", "vectors": 1, "lr": 5e-3, "batch": 4}


def ours(
    base: str, photos: Path, folder: str, about: dict[str, Any], *, threads: int, every: int = 0
) -> dict[str, Any]:
    """A run of limner's with these settings; its concepts, of every so many updates too, lie in the folder."""
    arguments = [sys.executable, "-c", OURS, base, str(photos), folder, json.dumps(about), str(every)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True)
    measurements: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return measurements


def theirs(
    script: Path,
    base: str,
    photos: Path,
    folder: str,
    about: dict[str, Any],
    *,
    threads: int,
    size: int,
    every: int = 0,
) -> dict[str, Any]:
    """The same work by diffusers' script."""
    options: dict[str, Any] = {
        "pretrained_model_name_or_path": base,
        "output_dir": folder,
        "resolution": size,
        "seed": 0,
    }
    options |= {"train_batch_size": about["batch"], "learning_rate": about["lr"], "max_train_steps": about["steps"]}
    if about["method"] == "textual_inversion":
        options |= {"train_data_dir": photos, "placeholder_token": "<rex>", "initializer_token": "dog"}
        options |= {"num_vectors": about["vectors"], "save_steps": every or 100_000, "checkpointing_steps": 100_000}
    else:
        options |= {
            "instance_data_dir": photos,
            "instance_prompt": f"a photo of {about.get('word', 'sks')} dog",
            "rank": about["rank"],
        }
        options |= {"checkpointing_steps": every or 100_000}
    flags = ["--center_crop"] if "sdxl" in script.name else []
    return timed_script(script, [*(f"--{k}={v}" for k, v in options.items()), *flags], threads=threads)


def losses(base: str, photos: Path, files: dict[int, Path | None]) -> dict[int, float]:
    """Denoising loss with each word (None: the class noun), over the same 64 draws of noise and time."""
    import torch

    import limner
    from limner.engine.attach import attach
    from limner.formats.importing import import_file

    ready, loss_of = limner.load(base, device="cpu"), {}
    subject = limner.Subject.of(str(photos), noun="dog", handle="rex")
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        mean, _ = ready.encode(subject.tensor(ready.picture_size))
        latents = mean.repeat(64 // len(mean), 1, 1, 1)
        noise, time = torch.randn(latents.shape, generator=random), ready.draw_times(64, random)
        for done, file in files.items():
            concept = (
                import_file(file, ready, name="rex", noun="dog").concept if file and "embeds" in file.name else None
            )
            concept = concept or (limner.Concept.load(file) if file else None)
            with attach(ready, (adapter_of(concept, ready),) if concept else ()) as adapted:
                prompts = ["a photo of " + ("<rex>" if concept else "dog")] * 64
                out = ready.predict(
                    ready.noised(latents, noise, time), time, adapted.text_states(prompts), context=adapted.run()
                )
            loss_of[done] = round(float((out - ready.target(latents, noise, time)).square().mean()), 4)
    return loss_of


def curves(script: Path, base: str, photos: Path, about: dict[str, Any], threads: int, size: int) -> dict[str, Any]:
    """The loss the words of both leave on the way."""
    every, steps = about["steps"] // 4, about["steps"]
    with tempfile.TemporaryDirectory() as mine, tempfile.TemporaryDirectory() as other:
        ours(base, photos, mine, about, threads=threads, every=every)
        theirs(script, base, photos, other, about, threads=threads, size=size, every=every)
        milestones = (every, steps // 2, steps)
        return {
            "the class noun": losses(base, photos, {0: None})[0],
            "ours": losses(base, photos, {k: Path(mine, f"{k}.safetensors") for k in milestones}),
            "theirs": losses(
                base, photos, {k: Path(other, f"learned_embeds-steps-{k}.safetensors") for k in milestones}
            ),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--script", type=Path, required=True)
    parser.add_argument("--base", default="", help="a folder (default: the pocket base)")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=0, help="pictures in an update (default: 1, of a word 4)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--name", default="one")
    given = parser.parse_args()
    from limner.bases.common.loading import POCKET, load
    from limner.pocket.subjects import toy

    base = given.base or str(POCKET)
    size = load(base, device="cpu").picture_size
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder)
        for k, picture in enumerate(toy("dog", 2_000_012).pictures):
            assert picture.image is not None
            picture.image.save(photos / f"{k}.png")
        about = {**(WORD if "textual_inversion" in given.script.name else LORA), "steps": given.steps}
        about |= {"batch": given.batch} if given.batch else {}
        pairs = []
        for _ in range(given.runs):
            with tempfile.TemporaryDirectory() as mine, tempfile.TemporaryDirectory() as other:
                first = ours(base, photos, mine, about, threads=given.threads)
                pairs.append(
                    (first, theirs(given.script, base, photos, other, about, threads=given.threads, size=size))
                )
        words = about["method"] == "textual_inversion"
        more = {"loss": curves(given.script, base, photos, about, given.threads, size)} if words else {}
    steps = [
        [sorted(steady(run["times"]))[len(run["times"]) // 2] for run in side] for side in zip(*pairs, strict=True)
    ]
    walls = [[run["wall"] for run in side] for side in zip(*pairs, strict=True)]
    memory = [[run["megabytes"] for run in side] for side in zip(*pairs, strict=True)]
    write(
        given.name,
        what=f"{about['method']} in float32 against diffusers' {given.script.name}",
        settings=about,
        base=Path(base).name if given.base else "pocket",
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
        **more,
    )


if __name__ == "__main__":
    main()
