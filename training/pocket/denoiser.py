"""The denoiser of the pocket base, taught by the same loop that teaches likenesses."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from limner.core.interrupts import stopping
from limner.engine.parallel import Spread, spread

from . import autoencoder as ae
from .data import graphs_of, rows
from .language import clip, fitting, save_text, tokenizer
from .run import CHECKPOINT_SECONDS, Clock, Run, Stopped

if TYPE_CHECKING:
    from limner.core.base import Base
    from limner.core.recipe import Source
    from limner.core.types import Batch, Streams
    from limner.engine.train import Checkpoint

NAME = "denoiser"
BATCH = 64  # over all processes
EMA = 0.9995
MILESTONE = 1_000_000  # samples after which the averaged weights are kept apart
MOST_LOGIT = 20.0  # that attention to words may reach: where one token has it all, queries and keys learn nothing
CAP_EVERY = 50  # updates
CAPTIONS = 6  # ways every picture is said
TIMES = -0.4, 1.1  # logit of the share of noise in training: mean and standard deviation
SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "clip_sample": False,
    "steps_offset": 1,
    "set_alpha_to_one": False,
    "timestep_spacing": "trailing",
    "rescale_betas_zero_snr": True,
}


def new_unet() -> Any:
    from diffusers import UNet2DConditionModel

    torch.manual_seed(7)
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=ae.LATENT_CHANNELS,
        out_channels=ae.LATENT_CHANNELS,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(64, 128, 192),
        layers_per_block=1,
        only_cross_attention=(True, False, False),  # self-attention among 256 places took a third of the time
        attention_head_dim=4,
        cross_attention_dim=192,
        norm_num_groups=16,
    )


def denoiser(run: Run) -> Any:
    """The run's UNet with averaged weights, trained now as far as it was not before; by several processes where
    `torchrun` or `accelerate launch` started them, each with its part of every batch."""
    unet = new_unet()
    if run.finished(NAME):
        unet.load_state_dict(run.weights(NAME))
        return unet.eval()
    run.begin(NAME, unet)
    from limner.core.recipe import Recipe, Stage
    from limner.engine.attach import Adapter
    from limner.engine.train import train
    from limner.parts.objectives.denoising import denoising
    from limner.parts.parameters import everything

    together = spread()
    with together.main_first():
        base = assembled(run, unet, learning=True)
        ae.train_latents(run)
    stage = Stage(
        train=(everything(),),
        loss=(denoising(world_latents(run)),),
        steps=run.steps(run.samples // BATCH),
        lr=1e-3,
        weight_decay=0.01,
        warmup=200,
        decay="late",
        optimizer="muon",
    )
    adapter = Adapter(Recipe(says="", stages=(stage,)), handle="<nobody>")
    average, start = _resumed(run, base)
    clock, saved = Clock(NAME, stage.steps), time.monotonic()
    with stopping() as asked, run.mixed(), Listening(unet, together) as heard:
        for progress in train(base, adapter, stages=(stage,), seed=run.seed, start=start, spread=together):
            done = progress.step + 1
            if heard.on:
                largest = heard.cap(MOST_LOGIT)
                if together.main:
                    run.log("attention", step=progress.step, **largest)
            heard.on = done % CAP_EVERY == CAP_EVERY - 1
            _average(average, base, min(EMA, done / (done + 9)))
            if together.main:
                clock.tick(progress.step, {"loss": progress.loss})
                if progress.step % 20 == 0:
                    run.log(NAME, step=progress.step, samples=done * BATCH, loss=progress.loss)
                if done * BATCH % MILESTONE < BATCH:
                    half = {k: v.half() for k, v in average.items()}
                    run.save(f"milestones/{done * BATCH // MILESTONE:03}M", half)
            (stop,) = together.any(asked())
            if together.main and (stop or time.monotonic() - saved > 5 * CHECKPOINT_SECONDS):
                _save(run, progress.snapshot(), average)
                saved = time.monotonic()
            if stop:
                raise Stopped
    if together.main:
        run.save(NAME, average)
        run.path(f"{NAME}.state").unlink(missing_ok=True)
    unet.load_state_dict(average)
    return unet.eval()


class Listening:
    """Watches the queries and keys of every layer that reads words, and bounds their product (QK-Clip, Sec. 2.1 of
    arXiv:2507.20534), over the rows of all processes. Within a `with`; the layers are as they were once it ends."""

    def __init__(self, unet: Any, together: Spread) -> None:
        self.together = together
        self.layers = {name: layer for name, layer in unet.named_modules() if name.endswith("attn2")}
        self.on = False
        self.projections: dict[tuple[str, str], Tensor] = {}
        self.hooks: list[Any] = []

    def __enter__(self) -> Listening:
        for name, layer in self.layers.items():
            for part in ("to_q", "to_k"):
                self.hooks.append(getattr(layer, part).register_forward_hook(self._keep(name, part)))
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()

    def _keep(self, name: str, part: str) -> Callable[..., None]:
        def hook(module: Any, given: Any, out: Tensor) -> None:
            if self.on:
                self.projections[name, part] = out.detach()

        return hook

    @torch.no_grad()
    def cap(self, most: float) -> dict[str, float]:
        """Scale down the queries and keys of every head whose logits of the last pass were above `most`; layer -> its
        largest logit before that. Empty where no pass was heard."""
        largest = {}
        for name, layer in self.layers.items():
            if (name, "to_q") not in self.projections:
                continue
            query, key = (
                self.projections[name, part].float().unflatten(-1, (layer.heads, -1)) for part in ("to_q", "to_k")
            )
            logits = torch.einsum("bqhd,bkhd->hbqk", query, key).abs().flatten(1).amax(1) * layer.scale
            logits = self.together.largest(logits)
            factor = (most / logits.clamp_min(1e-9)).clamp_max(1.0).sqrt()
            for part in ("to_q", "to_k"):
                weight = getattr(layer, part).weight
                weight.mul_(factor.repeat_interleave(len(weight) // layer.heads)[:, None])
            largest[name] = round(logits.max().item(), 2)
        self.projections.clear()
        return largest


def averaged(run: Run) -> Any:
    """The UNet with the averaged weights of the last checkpoint, finished or not."""
    unet = new_unet()
    if run.finished(NAME):
        unet.load_state_dict(run.weights(NAME))
    else:
        saved = load_file(run.path(f"{NAME}.state"))
        unet.load_state_dict({k.removeprefix("average."): v for k, v in saved.items() if k.startswith("average.")})
    return unet.eval()


def assembled(run: Run, unet: Any, *, learning: bool = False) -> Base:
    """The run's networks as a base; one that is `learning` draws times where pictures take shape."""
    from diffusers import DDIMScheduler
    from transformers import CLIPTextModel

    from limner.bases.common.text import clip_tower
    from limner.bases.diffusion.stable_diffusion import StableDiffusion

    clip(run)
    folder = run.path("text_encoder")
    if not (folder / "config.json").exists():
        save_text(run, folder)

    class Learning(StableDiffusion):
        def draw_times(self, count: int, generator: torch.Generator) -> Tensor:
            """Logit-normal (Sec. 3.1 of arXiv:2403.03206), most of them a little before the middle."""
            mean, spread = TIMES
            drawn = torch.sigmoid(mean + spread * torch.randn(count, generator=generator))
            return (drawn * self.num_train_times).long().clamp_max(self.num_train_times - 1)

    return (Learning if learning else StableDiffusion)(
        "pocket",
        denoiser=unet.to(run.device),
        autoencoder=ae.best(run).to(run.device),
        towers=[clip_tower(tokenizer(run), CLIPTextModel.from_pretrained(folder, dtype=torch.float32).to(run.device))],
        scheduler=DDIMScheduler(**SCHEDULE),
    )


def world_latents(run: Run) -> Source:
    """Training pictures as latents, with errors on toys and people counting ON_TOYS times, said in one of their ways;
    one caption in ten is empty, for guidance."""
    from limner.core.recipe import Source
    from limner.core.types import Batch

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        (whole, covered), graphs, tokens = ae.train_latents(run), graphs_of(run, "train"), tokenizer(run)
        counts = (1 + (ae.ON_TOYS - 1) * covered.float()) / ae.ON_TOYS  # scenes are learned long before toys

        def draw(step: int, at: Streams) -> Batch:
            chosen = rows(len(graphs), BATCH, step, seed=run.seed, purpose=NAME)
            ways = torch.randint(CAPTIONS, (BATCH,), generator=at("caption")).tolist()
            empty = (torch.rand(BATCH, generator=at("empty")) < 0.1).tolist()
            texts = [
                "" if silent else fitting(tokens, graphs[k], seed=k * CAPTIONS + way)
                for k, way, silent in zip(chosen.tolist(), ways, empty, strict=True)
            ]
            latents = whole[chosen].float().contiguous()
            return Batch(latents.to(base.device), tuple(texts), mask=counts[chosen].to(base.device))

        return draw

    return Source("world", "corpus", prepare)


def _average(average: dict[str, Tensor], base: Base, decay: float) -> None:
    with torch.no_grad():
        for key, value in base.module("denoiser").state_dict().items():
            average[key].lerp_(value.float(), 1 - decay)


def _resumed(run: Run, base: Base) -> tuple[dict[str, Tensor], Checkpoint | None]:
    from limner.engine.train import Checkpoint

    path = run.path(f"{NAME}.state")
    if not path.exists():
        return {k: v.detach().clone().float() for k, v in base.module("denoiser").state_dict().items()}, None
    saved = load_file(path, device=run.device)
    parts: dict[str, dict[str, Tensor]] = {"average": {}, "tensors": {}, "moments": {}}
    for key, value in saved.items():
        part, _, rest = key.partition(".")
        if part in parts:
            parts[part][rest] = value
    return parts["average"], Checkpoint(0, int(saved["step"]), parts["tensors"], parts["moments"])


def _save(run: Run, point: Checkpoint, average: dict[str, Tensor]) -> None:
    from safetensors.torch import save_file

    from limner.core.files import atomic_write

    named = {"average": average, "tensors": point.tensors, "moments": point.moments}
    whole = {f"{part}.{k}": v.detach().cpu().contiguous() for part, values in named.items() for k, v in values.items()}
    whole["step"] = torch.tensor(point.step)
    atomic_write(run.path(f"{NAME}.state"), lambda p: save_file(whole, p), overwrite=True)
