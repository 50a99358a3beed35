"""A small set of motion modules for the pocket base: what its frozen denoiser lacks to paint clips."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from limner.bases.video.motion import moving
from limner.core.streams import stream
from limner.engine.attach import attach
from limner.engine.sample import PaintSettings
from limner.engine.sample import sample as paint_loop
from limner.pocket.world import WHOLE, SceneGraph, clip, draw_many, sample
from limner.pocket.world.vocabulary import ACTIONS, JOINTED

from . import autoencoder as ae
from . import denoiser
from .data import rows
from .language import fitting
from .run import Run, train

NAME = "motion"
FRAMES = 8
BATCH = 4  # clips in an update
NUM_CLIPS = 400
MOVING = replace(
    WHOLE,
    classes=JOINTED,
    actions=("walking", "waving", "jumping"),
    states=("plain",),
    styles=("render",),
    pairs=0.0,
    triples=0.0,
    faces=0.0,
)


def new_adapter() -> Any:
    from diffusers import MotionAdapter

    torch.manual_seed(8)
    return MotionAdapter(
        block_out_channels=(64, 128, 192),
        motion_layers_per_block=1,
        motion_num_attention_heads=4,
        motion_norm_num_groups=16,
        motion_max_seq_length=16,
        use_motion_mid_block=False,
    )


def clips_of(run: Run, split: str, count: int) -> list[list[SceneGraph]]:
    """Clips of one cycle each, of toys of a split that move."""
    assert set(MOVING.actions) <= set(ACTIONS)
    base = run.seed * 100_000_000 + 50_000_000
    return [clip(sample(base + k, world=MOVING, split=split), FRAMES) for k in range(count)]


def motion(run: Run) -> Any:
    """Modules that learn to predict what the denoiser predicts, for eight frames at once; the denoiser stays as it
    is."""
    adapter = new_adapter()
    if run.finished(NAME):
        adapter.load_state_dict(run.weights(NAME))
        return adapter.eval()
    base = denoiser.assembled(run, denoiser.denoiser(run))
    for part in ("denoiser", "text_encoder", "autoencoder"):
        base.module(part).requires_grad_(False)
    clips = clips_of(run, "train", min(NUM_CLIPS, run.pictures))
    latents, states = prepared(run, base, clips)

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        chosen = rows(len(clips), BATCH, step, seed=run.seed, purpose=NAME)
        value = clip_loss(base, adapter, latents[chosen], states[chosen], seed=run.seed, step=step)
        return value, {"loss": value.item()}

    return train(run, NAME, adapter, loss, steps=run.steps(900), lr=1e-3, weight_decay=0.01)


def prepared(run: Run, base: Any, clips: list[list[SceneGraph]]) -> tuple[Tensor, Tensor]:
    """Latents [clips, frames, C, h, w] and the text encoder's hidden states [clips, L, D]."""
    graphs = [graph for one in clips for graph in one]
    processes = 2 if run.device == "cpu" and len(graphs) > 1000 else 0
    drawn = draw_many(graphs, size=run.size, workers=processes, device=run.device)
    pixels = torch.cat([part.pixels.cpu() for part in drawn])
    latents = ae.latents(run, ae.standardised(run), pixels).unflatten(0, (len(clips), FRAMES))
    with torch.no_grad():
        states = torch.cat([base.text_states([fitting(base.towers[0].tokenizer, one[0])], words={}) for one in clips])
    return latents, states


def clip_loss(base: Any, adapter: Any | None, latents: Tensor, states: Tensor, *, seed: int, step: int) -> Tensor:
    """Denoising of clips [B, frames, C, h, w], every clip at one time; without an adapter, of their frames by
    themselves."""
    at = stream(seed, NAME, step)
    noise = torch.randn(latents.shape, generator=at).flatten(0, 1).to(base.device)
    times = torch.randint(base.num_train_times, (len(latents),), generator=at).repeat_interleave(FRAMES).to(base.device)
    clean, text = latents.flatten(0, 1).to(base.device), states.repeat_interleave(FRAMES, 0).to(base.device)
    unet = base.module("denoiser")
    with torch.autocast(base.device.type, torch.bfloat16):
        noised = base.noised(clean, noise, times)
        if adapter is None:
            out = unet(noised, times, text).sample
        else:
            with moving(unet, adapter, FRAMES):
                out = unet(noised, times, text).sample
    return F.mse_loss(out.float(), base.target(clean, noise, times))


def motion_scores(run: Run, *, count: int = 32) -> dict[str, float]:
    """The loss on held-out clips with the modules and without, and how much neighbouring frames differ in clips painted
    with them, in frames painted each by itself, and in renders."""
    adapter = motion(run)
    base: Any = denoiser.assembled(run, denoiser.denoiser(run))
    clips = clips_of(run, "held-out", count)
    latents, states = prepared(run, base, clips)
    with torch.no_grad():
        losses = {
            name: float(
                np.mean(
                    [
                        clip_loss(base, given, latents[k : k + 4], states[k : k + 4], seed=1, step=k)
                        for k in range(0, count, 4)
                    ]
                )
            )
            for name, given in (("loss_with", adapter), ("loss_without", None))
        }
    texts = [fitting(base.towers[0].tokenizer, one[0]) for one in clips[:8]]
    changes = {f"change_{n}": _change(painted_clips(base, a, texts)) for n, a in (("with", adapter), ("without", None))}
    return {name: round(value, 4) for name, value in (losses | changes | {"change_renders": _change(latents)}).items()}


def _change(latents: Tensor) -> float:
    """Mean absolute difference of neighbouring frames."""
    return float((latents[:, 1:] - latents[:, :-1]).abs().mean())


def painted_clips(base: Any, adapter: Any | None, prompts: list[str], *, steps: int = 20) -> Tensor:
    """[clips, frames, C, h, w]: every frame from noise of its own."""
    frame_prompts = [prompt for prompt in prompts for _ in range(FRAMES)]
    frames = moving(base.module("denoiser"), adapter, FRAMES) if adapter is not None else nullcontext()
    with torch.no_grad(), frames, attach(base, ()) as adapted:
        for at in paint_loop(
            adapted, frame_prompts, seeds=range(len(frame_prompts)), settings=PaintSettings(steps=steps)
        ):
            latents = at.latents
    return latents.unflatten(0, (len(prompts), FRAMES))
