"""Code that all families share: text encoders, the autoencoder, the image encoder and the named layers of a pipeline's
networks."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny, UNet2DConditionModel
from torch import Generator, Tensor, nn

from limner.core.base import Denoises
from limner.core.capabilities import NONE, Capabilities, Captioner, PixelEncoder, Segmenter
from limner.core.corpus import Corpus
from limner.core.quiet import quiet
from limner.core.types import Batch, Condition, Pass, Prediction, Site
from limner.errors import InputError, UnknownName

from .control import with_channels
from .extra_channels import extra_conditions
from .layout import laid_out
from .patches import PatchEncoder, open_patch_encoder
from .text import TextAttention, Tower


class Family:
    """A pipeline behind the `Base` protocol. A subclass says how its latents, times and text-encoder hidden states are
    made, and which arguments its denoiser takes; this class does the rest."""

    family: ClassVar[str]
    guidance: str = "classifier_free"
    """Kind of guidance in the family's own pipeline."""
    idle: tuple[str, ...] = ()
    """Prefixes of denoiser layers whose output nothing reads."""
    cascaded: bool = False
    """Whether later stages enlarge the picture of the first stage."""
    takes_residuals: bool = False
    """Whether `predict` accepts the residuals of control branches."""
    reads_states_unchanged: bool = True
    """Whether cross-attention reads every hidden state of a prompt as it is; False where a projection, a mask or a cut
    stands between it and the text encoder."""
    frames: int = 1
    """Number of frames of the longest clip that the base samples; 1 for pictures."""
    capabilities: Capabilities = NONE
    """Networks that come with the base beside its generator."""
    sites: tuple[Site, ...]

    def __init__(
        self,
        name: str,
        *,
        denoiser: Any,
        autoencoder: Any,
        towers: Sequence[Tower],
        scheduler: Any,
        image_encoder: Path | None = None,
    ) -> None:
        self.name = name
        # Folder of a CLIP whose image encoder a recipe's encoders may use.
        self.image_encoder = image_encoder
        # Folder of a self-supervised vision transformer that a recipe's encoders may use.
        self.patch_encoder: Path | None = None
        self.denoiser, self.autoencoder, self.towers = denoiser, autoencoder, tuple(towers)
        self.scheduler_config = dict(scheduler.config)
        # Purpose of its distillation; empty for a base that was not distilled.
        self.distilled = ""
        # Gradient checkpointing, where no operation acts in attention.
        self.checkpointing = False
        # Part -> its files, for parts that were rounded or quantised on loading.
        self.files: dict[str, list[Path]] = {}
        # Part -> size of its files, where that is known.
        self.stored_bytes: dict[str, int] = {}
        # Device on which text encoders and autoencoder wait while they are idle.
        self.rests_on: torch.device | None = None
        for network in self._parts.values():
            network.requires_grad_(False).eval()

    # ------------------------------------------------------------------------------------------------------ description

    @property
    def encoders(self) -> Mapping[str, PixelEncoder]:
        """Image encoders by role (see `core.capabilities`); empty where none come with the base."""
        return self.capabilities.encoders

    @property
    def segmenter(self) -> Segmenter | None:
        return self.capabilities.segmenter

    @property
    def captioner(self) -> Captioner | None:
        return self.capabilities.captioner

    @property
    def multimodal(self) -> str:
        """Folder of a multimodal language model; empty where none comes with the base."""
        return self.capabilities.multimodal

    @property
    def corpus(self) -> Corpus | None:
        return self.capabilities.corpus

    @property
    def device(self) -> torch.device:
        return self._first.device

    @property
    def dtype(self) -> torch.dtype:
        return self._first.dtype

    @property
    def _first(self) -> nn.Parameter:
        """The denoiser's first weight in its own precision. diffusers' `device` and `dtype` give the same answer, but
        walk the whole network each time, and every layer asks."""
        whole = tuple(getattr(self.denoiser, "_keep_in_fp32_modules", None) or ())
        own = ((name, p) for name, p in self.denoiser.named_parameters() if p.is_floating_point())
        weight = next((p for name, p in own if not any(part in name for part in whole)), None)
        return next(self.denoiser.parameters()) if weight is None else weight

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of the names, shapes and evenly spaced values of all weights, the same in half and single precision.
        Later stages of a cascade, which are never trained, are left out."""
        digest = hashlib.sha256()
        for part, network in self._parts.items():
            if part == "second_stage":
                continue
            for name, tensor in self._as_stored(part, network):
                values = tensor.flatten()[:: max(1, tensor.numel() // 64)].to(torch.float16).cpu().numpy().tobytes()
                digest.update(f"{part}.{name}{tuple(tensor.shape)}".encode() + values)
        return digest.hexdigest()[:16]

    def _as_stored(self, part: str, network: nn.Module) -> Iterator[tuple[str, Tensor]]:
        """A network's weights as its files hold them; the files are read again where the network was rounded or
        quantised on loading."""
        if part not in self.files:
            yield from network.state_dict().items()
            return
        from safetensors import safe_open

        def bare(name: str) -> str:
            """The name without the prefixes in which a language model's files differ from memory."""
            return name.replace("language_model.", "").removeprefix("model.")

        where: dict[str, tuple[Path, str]] = {}
        for path in self.files[part]:
            with safe_open(path, framework="pt") as file:
                where |= {bare(key): (path, key) for key in file.keys()}  # noqa: SIM118 - not a mapping
        state = network.state_dict()
        by_place = {tensor.data_ptr(): bare(name) for name, tensor in state.items() if bare(name) in where}
        for name, tensor in state.items():
            # Tied weights are stored once, under the name of one of them.
            stored_name = bare(name) if bare(name) in where else by_place.get(tensor.data_ptr(), "")
            if stored_name:
                path, key = where[stored_name]
                with safe_open(path, framework="pt") as file:
                    yield name, file.get_tensor(key)

    @property
    def picture_size(self) -> int:
        return self.latent_shape[1] * self._factor

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        size, channels = int(self.denoiser.config.sample_size), int(self.denoiser.config.in_channels)
        config = getattr(self.autoencoder, "config", None)  # a base that paints in pixel space has no autoencoder
        own = int(getattr(config, "latent_channels", None) or channels)
        return (own if self._extra(channels, own) else channels), size, size

    @property
    def conditions(self) -> tuple[str, ...]:
        """Conditions that the denoiser reads in additional input channels, in their order: "mask" and "source" in a
        base for in-painting, "source" in one for editing, "depth" in one guided by depth."""
        return self._extra(int(self.denoiser.config.get("in_channels", 0)), self.latent_shape[0])

    def _extra(self, channels: int, own: int) -> tuple[str, ...]:
        """The conditions that fill `channels` input channels beside `own` latent channels. Raises `InputError` for a
        UNet with another number of them."""
        if not isinstance(self.denoiser, UNet2DConditionModel):
            return ()
        names = extra_conditions(channels - own, own)
        if names is None:
            raise InputError(
                f"the denoiser of {self.name} reads {channels} channels, of which {own} are latents; beside these, "
                f"limner supports 1 (depth), {own} (source) or {own + 1} (mask and source)"
            )
        return names

    def _filled(self, noised: Tensor, run: Pass) -> Tensor:
        """[B, C, h, w] -> the denoiser's input: the latents, followed by the conditions that it reads in additional
        channels."""
        extra = self._extra(int(self.denoiser.config.in_channels), noised.shape[1])
        return (
            torch.cat([noised, *(self._channels_of(name, extra, noised, run) for name in extra)], 1)
            if extra
            else noised
        )

    def _channels_of(self, name: str, extra: tuple[str, ...], noised: Tensor, run: Pass) -> Tensor:
        """A condition at the latents' size. A condition that is not given is blank: a mask of ones and a grey picture
        for in-painting, zeros otherwise."""
        given, size = run.conditions.get(name), noised.shape[2:]
        if given is not None and name == "source":
            return run.sampling.once("source", given, lambda: self._encoded_source(given, extra, run)).to(noised)
        if given is not None and name == "mask":
            return F.interpolate(with_channels(given, 1), size, mode="nearest").to(noised)
        if given is not None:
            return _between_ones(F.interpolate(with_channels(given, 1), size, mode="bicubic")).to(noised)
        if name == "mask":
            return torch.ones_like(noised[:, :1])
        if "mask" in extra:
            return self._grey.to(noised).expand(len(noised), -1, *size)
        return torch.zeros_like(noised if name == "source" else noised[:, :1])

    def _encoded_source(self, source: Tensor, extra: tuple[str, ...], run: Pass) -> Tensor:
        """[B, C, h, w]: latents of the source picture, grey inside the mask (as in StableDiffusionInpaintPipeline); for
        a base without a mask, unscaled latents of the whole picture (as in StableDiffusionInstructPix2PixPipeline)."""
        shown = with_channels(source, 3)
        if "mask" in extra:
            where = (
                (run.conditions["mask"] >= 0.5).to(shown) if "mask" in run.conditions else torch.ones_like(shown[:, :1])
            )
            return self.encode(shown * (1 - where) + 0.5 * where)[0]
        scale, shift = self._scaling
        return self.encode(shown)[0] / scale + shift

    @functools.cached_property
    def _grey(self) -> Tensor:
        """[1, C, 1, 1]: the mean latent of a grey picture."""
        size = self.picture_size
        with torch.no_grad():
            return self.encode(torch.full((1, 3, size, size), 0.5))[0].mean((2, 3), keepdim=True)

    @functools.cached_property
    def vocabulary(self) -> frozenset[str]:
        return self.towers[0].vocabulary()

    @functools.cached_property
    def rare_words(self) -> tuple[str, ...]:
        """Rare tokens: those that the tokenizer's settings name, else those of DreamBooth's customary ones that are a
        single token; all customary ones where none is."""
        named = self.towers[0].tokenizer.init_kwargs.get("rare_words", ())
        customary = ("sks", "ktn", "olis", "pll", "ohwx")
        return tuple(named) or tuple(word for word in customary if word in self.vocabulary) or customary

    @property
    def max_tokens(self) -> int:
        return min(tower.room for tower in self.towers)

    @property
    def _factor(self) -> int:
        if isinstance(self.autoencoder, AutoencoderTiny):
            return 2 ** (len(self.autoencoder.config.encoder_block_out_channels) - 1)
        return 2 ** (len(self.autoencoder.config.block_out_channels) - 1)

    @contextmanager
    def at_work(self, *networks: nn.Module) -> Iterator[None]:
        """Move these networks to the base's device for the block, and afterwards back to `rests_on`, except for
        networks that are being trained."""
        if self.rests_on is None:
            yield
            return
        for network in networks:
            network.to(self.device)
        try:
            yield
        finally:
            for network in networks:
                if not (torch.is_grad_enabled() and any(p.requires_grad for p in network.parameters())):
                    network.to(self.rests_on)

    def rest(self, device: torch.device) -> None:
        """Let the text encoders and the autoencoder wait on this device while they are idle."""
        self.rests_on = device
        for part, network in self._parts.items():
            if part != "denoiser":
                network.to(device)

    def checkpoint(self, on: bool) -> None:
        """Switch gradient checkpointing, which computes activations twice instead of keeping them, on or off."""
        getattr(self.denoiser, f"{'en' if on else 'dis'}able_gradient_checkpointing")()

    def tile(self) -> None:
        """Let the autoencoder decode pictures one by one and in tiles, which takes less memory."""
        for name in ("enable_slicing", "enable_tiling"):
            if hasattr(self.autoencoder, name):
                getattr(self.autoencoder, name)()

    # ------------------------------------------------------------------------------------------------------ pictures

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, H, W] in [0, 1] -> mean and standard deviation of the scaled latents, each [B, C, h, w].

        Both are contiguous, as they are when read from a concept's file: the order in memory decides which kernels run,
        and so the last bits of a picture.
        """
        with self.at_work(self.autoencoder):
            encoded = self.autoencoder.encode((2 * pixels - 1).to(self.device, self.autoencoder.dtype))
        if isinstance(self.autoencoder, AutoencoderTiny):
            latents = encoded.latents.contiguous()
            return latents, torch.zeros_like(latents)
        scale, shift = self._scaling
        posterior = encoded.latent_dist
        mean, deviation = (posterior.mean - shift) * scale, posterior.std * scale
        return mean.to(self.dtype).contiguous(), deviation.to(self.dtype).contiguous()

    def decode(self, latents: Tensor, *, clamp: bool = True) -> Tensor:
        """[B, C, h, w] -> [B, 3, H, W] in [0, 1].

        latents: [B, C, h, w]
        clamp: cut pixels to [0, 1]; False lets gradients pass everywhere, since those of a value that is cut are zero
        """
        scale, shift = self._scaling
        with self.at_work(self.autoencoder):
            coded = (latents / scale + shift).to(self.autoencoder.dtype)
            with laid_out(self.autoencoder, coded) as x:
                pixels = self.autoencoder.decode(x).sample
        return in_range(pixels / 2 + 0.5, clamp=clamp)

    @property
    def _scaling(self) -> tuple[float, float]:
        config = self.autoencoder.config
        tiny = isinstance(self.autoencoder, AutoencoderTiny)
        return 1.0 if tiny else float(config.scaling_factor), float(getattr(config, "shift_factor", None) or 0.0)

    def picture_features(self, pixels: Tensor) -> Tensor:
        """[B, 3, H, W] in [0, 1] -> global CLIP embeddings [B, D]. Raises `InputError` for a base without an image
        encoder."""
        embeds: Tensor = self._looked_at(pixels).image_embeds
        return embeds

    def picture_states(self, pixels: Tensor, depths: Sequence[float] = (1 / 3, 2 / 3, 1)) -> Tensor:
        """Hidden states of CLIP's class token and patch tokens at several depths, concatenated: [B, L, D].

        pixels: [B, 3, H, W] in [0, 1]
        depths: fractions of the number of layers, rounded down to a layer; 0 is the input of the first layer
        """
        states = self._looked_at(pixels, output_hidden_states=True).hidden_states
        return torch.cat([states[int((len(states) - 1) * depth + 1e-6)] for depth in depths], 1)

    def picture_patches(self, pixels: Tensor, places: Tensor | None = None) -> Tensor:
        """Hidden states of CLIP's patch tokens, in a run without the class token: [B, L, D].

        pixels: [B, 3, H, W] in [0, 1]
        places: [B, L], the place whose position embedding each patch gets; None gives every patch the mean of all
            position embeddings
        """
        inputs, tower = self._fitted(pixels), self._picture_tower[0].vision_model
        patches = tower.embeddings.patch_embedding(inputs).flatten(2).mT
        table = tower.embeddings.position_embedding.weight[1:]
        at = table.mean(0) if places is None else table[places.to(table.device)]
        states: Tensor = tower.encoder(inputs_embeds=tower.pre_layrnorm(patches + at)).last_hidden_state
        return states

    def patch_states(self, pixels: Tensor) -> Tensor:
        """[B, 3, H, W] in [0, 1] -> class token and patch tokens of a self-supervised encoder [B, 1 + L, D]. Raises
        `InputError` for a base without one."""
        return self._patches(pixels).to(self.dtype)

    @functools.cached_property
    def _patches(self) -> PatchEncoder:
        return open_patch_encoder(self.patch_encoder, base=self.name, device=self.device, dtype=self.dtype)

    def _looked_at(self, pixels: Tensor, **more: Any) -> Any:
        return self._picture_tower[0](self._fitted(pixels), **more)

    def _fitted(self, pixels: Tensor) -> Tensor:
        """Pixels [B, 3, H, W] in [0, 1] as CLIP reads them."""
        _, size, mean, std = self._picture_tower
        inputs = F.interpolate(pixels.to(self.device, self.dtype), (size, size), mode="bicubic", antialias=True)
        return ((inputs.clamp(0, 1) - mean) / std).to(self.dtype)

    @functools.cached_property
    def _picture_tower(self) -> tuple[Any, int, Tensor, Tensor]:
        from transformers import CLIPVisionModelWithProjection

        if self.image_encoder is None or not self.image_encoder.is_dir():
            raise InputError(
                f"{self.name} has no image encoder, which this method needs: put a CLIP (with its "
                "preprocessor_config.json) into the base's folder as image_encoder/"
            )
        with quiet():
            tower = CLIPVisionModelWithProjection.from_pretrained(self.image_encoder, dtype=self.dtype)
        about = json.loads((self.image_encoder / "preprocessor_config.json").read_text(encoding="utf-8"))
        mean, std = (torch.tensor(about[k], device=self.device).view(1, 3, 1, 1) for k in ("image_mean", "image_std"))
        return tower.to(self.device).requires_grad_(False).eval(), int(tower.config.image_size), mean, std

    # --------------------------------------------------------------------------------------------------------- words

    @property
    def states_shape(self) -> tuple[int, int]:
        """Shape (rows, columns) of a prompt's hidden states."""
        return self.towers[0].length, self.towers[0].width

    @property
    def text_positions(self) -> int:
        """Number of rows of a prompt's hidden states that are positions of the prompt. Rows after them, where a family
        has some, hold a global vector or a mask (`states.pack`)."""
        return self.states_shape[0]

    def attended(self, states: Tensor) -> Tensor:
        """Hidden states of prompts [B, L, D] -> the states [B, M, C] that attention layers make keys and values of;
        here those of the prompt's positions, unchanged."""
        return states[:, : self.text_positions]

    @property
    def attended_width(self) -> int:
        """Width C of the states that attention layers make keys and values of a prompt from."""
        return self.key_value(next(site for site in self.sites if site.kind in ("cross", "joint")))[0].in_features

    def _read(
        self, tower: Tower, prompts: Sequence[str], words: Mapping[str, Tensor], **more: Any
    ) -> tuple[Any, Tensor]:
        """A text encoder's output and the mask of positions that hold text [B, L]. A learned word's vectors concatenate
        those for each text encoder."""
        start = sum(other.width for other in self.towers[: self.towers.index(tower)])
        own = {word: vectors[:, start : start + tower.width] for word, vectors in words.items()}
        with self.at_work(tower.model):
            return tower.read(prompts, own, **more)

    def num_tokens(self, prompt: str, *, words: Mapping[str, Tensor]) -> int:
        return max(len(tower.ids(prompt, words)[0]) for tower in self.towers)

    def num_positions(self, prompt: str, *, words: Mapping[str, Tensor]) -> int:
        """Number of a prompt's positions that hold text, with begin and end tokens."""
        tower = self.towers[0]
        return tower.begins + len(tower.ids(prompt, words)[0]) + tower.ends

    def word_places(self, prompt: str, word: str, *, words: Mapping[str, Tensor]) -> list[int]:
        """Positions in a prompt's hidden states at which a learned word starts; a begin token is at 0."""
        tower = self.towers[0]
        return [tower.begins + place for place, placed_word in tower.ids(prompt, words)[1] if placed_word == word]

    def word_vectors(self, text: str) -> Tensor:
        """[n, D]: input vectors of the tokens of `text`, those for all text encoders side by side. Where one text
        encoder has fewer tokens than another, its last vector is repeated."""
        ids = [tower.vectors_of(text) for tower in self.towers]
        count = max(map(len, ids))
        parts = []
        for tower, own in zip(self.towers, ids, strict=True):
            filled = torch.tensor([*own, *own[-1:] * (count - len(own))], dtype=torch.long, device=tower.table.device)
            parts.append(tower.table[filled])
        return torch.cat(parts, 1).detach().clone().to(self.device)

    @property
    def word_widths(self) -> list[int]:
        """Number of columns of a learned word's vectors that each text encoder reads."""
        return [tower.width for tower in self.towers]

    def word_table(self) -> Tensor:
        """[V, D]: input vectors of the whole vocabulary. Raises `InputError` where text encoders have different
        vocabularies."""
        sizes = {len(tower.table) for tower in self.towers}
        if len(sizes) > 1:
            raise InputError(
                f"{self.name} reads a prompt with {len(self.towers)} vocabularies "
                f"({', '.join(map(str, sorted(sizes)))} tokens), so this method, which searches one vocabulary, cannot "
                "be used with it"
            )
        return torch.cat([tower.table for tower in self.towers], 1)

    def text_attention(self) -> list[TextAttention]:
        """Self-attention layers of the CLIP text encoder. Raises `InputError` for a base whose only text encoder is not
        a CLIP."""
        tower: Any = self.towers[0].model
        layers = [m for n, m in tower.named_modules() if n.endswith(".self_attn")]
        if len(self.towers) > 1 or not layers or not hasattr(layers[0], "num_heads"):
            raise InputError(
                f"this method adds keys to the CLIP text encoder of a base; {self.name} ({self.family}) does not read "
                "prompts through a single CLIP"
            )
        return [TextAttention(layer) for layer in layers]

    def text_features(self, prompts: Sequence[str], *, words: Mapping[str, Tensor]) -> Tensor:
        """[B, D]: global CLIP embeddings of texts, in the same space as those of pictures."""
        raise InputError(
            f"this method compares texts with pictures through the CLIP of the base's text encoder; {self.name} "
            f"({self.family}) does not read prompts through a single CLIP"
        )

    def phrase_features(self, phrases: Sequence[str]) -> Tensor:
        """[B, D]: one vector a phrase, here its global CLIP embedding."""
        return self.text_features(phrases, words={})

    # ------------------------------------------------------------------------------------------------------ sampling

    def begin(self, noise: Tensor, scheduler: Any) -> Tensor:
        """Unit noise [B, C, h, w] -> the latents at which a sampler starts."""
        return noise * float(getattr(scheduler, "init_noise_sigma", 1.0))

    def spread(self, scheduler: Any, step: int) -> float:
        """Ratio of a sampler's latents before step `step` to the base's own noised latents at that time."""
        return 1.0

    def stepped(
        self, scheduler: Any, output: Tensor, time: Tensor, latents: Tensor, noises: Sequence[Generator]
    ) -> Tensor:
        """The latents after one more step of the sampler; each row draws noise from its own generator."""
        more = {"generator": list(noises)} if type(scheduler).__name__ == "DDPMScheduler" else {}
        next_latents: Tensor = scheduler.step(output, time, latents, **more).prev_sample
        return next_latents

    def enlarged(
        self,
        latents: Tensor,
        states: Tensor,
        empty: Tensor,
        *,
        steps: int,
        guidance: float,
        generators: Sequence[Generator],
    ) -> Tensor:
        """The latents after the later stages of a cascade; unchanged in a family without such stages."""
        return latents

    def error(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """The squared error of a prediction at each position [B, C, h, w], and the mask of positions that count (None
        for all)."""
        return (output.float() - target.float()) ** 2, None

    # ------------------------------------------------------------------------------------------------ reconstruction

    def reconstruct(self: Denoises, batch: Batch, condition: Condition) -> Prediction:
        """The denoiser's prediction (noise, velocity, flow or tokens) for the batch's latents, with the noise and time
        of the condition."""
        noised = self.noised(batch.latents, condition.noise, condition.time)
        output = self.predict(noised, condition.time, condition.states, context=condition.run)
        return Prediction(output, condition.run)

    # --------------------------------------------------------------------------------------------------- the network

    @property
    def _parts(self) -> dict[str, nn.Module]:
        towers = {tower.name: tower.model for tower in sorted(self.towers, key=lambda tower: tower.name)}
        return {"denoiser": self.denoiser, "autoencoder": self.autoencoder, **towers}

    def module(self, part: str) -> nn.Module:
        parts = self._parts
        if part not in parts:
            raise UnknownName("part of the base", part, parts)
        return parts[part]

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self._parts)

    def select(self, what: str) -> dict[str, nn.Parameter]:
        """Named sets of parameters, as "denoiser.<name>" or "text_encoder.<name>". Never empty."""
        if what not in SELECTIONS:
            raise UnknownName("selection", what, SELECTIONS)
        if what == "text_encoder":
            clips = [
                part for part in self.parts if part.startswith(what) and "CLIP" in type(self.module(part)).__name__
            ]
            return {f"{p}.{n}": w for p in clips or [what] for n, w in self.module(p).named_parameters()}
        starts = self._starts(what)
        parameters = {f"denoiser.{n}": p for n, p in self.denoiser.named_parameters() if n.startswith(starts)}
        if not parameters:
            raise InputError(f"selection {what!r} matches no parameter of {self.name}: this base has no such layers")
        return parameters

    def _starts(self, what: str) -> tuple[str, ...]:
        """Prefixes of the names of a set of parameters. In joint attention, the projections of the text stand for
        cross-attention and those of the picture for self-attention."""
        if what == "everything":
            return ("",)
        rows = [(site, layers) for site in self.sites for layers in [SELECTIONS[what].get(site.kind, ())]]
        return tuple(f"{site.name}.{layer}" for site, layers in rows for layer in layers) or ("\0",)

    def projections(self, what: str) -> dict[str, nn.Module]:
        """Layers of the denoiser for low-rank changes, by name.

        what: "attention", its parts "self_attention", "cross_attention" and "cross_attention_kv"; "everything", which
            adds convolutions, except grouped ones, since these have no rank to lower; and of a UNet the parts of
            "everything" "decoder", the layers after the middle, and "input", the one layer that reads the latents

        Layers whose output nothing reads are left out.
        """
        known = {"everything": (nn.Linear, nn.Conv2d), **dict.fromkeys(ATTENTION, (nn.Linear,))}
        known |= dict.fromkeys(PARTS_OF_UNET, known["everything"])
        if what not in known:
            raise UnknownName("set of layers", what, known)
        layers = {n: m for n, m in self.denoiser.named_modules() if isinstance(m, known[what])}
        layers = {n: m for n, m in layers.items() if getattr(m, "groups", 1) == 1 and not n.startswith(self.idle)}
        if what in ATTENTION:
            layers = {n: m for n, m in layers.items() if n.endswith(_ATTENTION_LAYERS)}
        if what in ("self_attention", "cross_attention"):
            within = tuple(f"{site.name}." for site in self.sites if what.startswith(site.kind))
            layers = {n: m for n, m in layers.items() if n.startswith(within)}
        if what == "cross_attention_kv":
            layers = {n: m for n, m in layers.items() if f"{n}.".startswith(self._starts(what))}
        if what in PARTS_OF_UNET:
            unet = isinstance(self.denoiser, UNet2DConditionModel)
            layers = {n: m for n, m in layers.items() if unet and n.startswith(PARTS_OF_UNET[what])}
        if not layers:
            lacks = "UNet" if what in PARTS_OF_UNET else "such attention"
            raise InputError(f"{what} matches no layer of {self.name} ({self.family}): this base has no {lacks}")
        return {f"denoiser.{name}": layer for name, layer in layers.items()}

    def transformer_blocks(self) -> dict[str, tuple[nn.Module, nn.Module, int]]:
        """Transformer blocks by name, in the order of the modules: the cross-attention layer, the feed-forward layer
        and the width of each."""
        from diffusers.models.attention import BasicTransformerBlock

        blocks: Any = {n: m for n, m in self.denoiser.named_modules() if isinstance(m, BasicTransformerBlock)}
        layers = {
            f"denoiser.{n}": (block.attn2, block.ff, block.dim)
            for n, block in blocks.items()
            if block.attn2 is not None
        }
        if not layers:
            raise InputError(
                f"{self.name} ({self.family}) has no blocks with cross-attention and feed-forward layers of their own"
            )
        return layers

    def attention_widths(self, site: Site) -> tuple[int, int, int]:
        layer: Any = self.denoiser.get_submodule(site.name)
        return int(layer.heads), layer.to_q.in_features, self.key_value(site)[0].in_features

    def key_value(self, site: Site) -> tuple[nn.Linear, nn.Linear]:
        """Layers that make a site's keys and values; those for the text where text and picture have separate layers."""
        layer: Any = self.denoiser.get_submodule(site.name)
        if site.kind == "joint":
            return layer.add_k_proj, layer.add_v_proj
        return layer.to_k, layer.to_v

    def normalisations(self) -> dict[str, nn.GroupNorm]:
        """Layers of the denoiser that normalise over positions, by name. A transformer has none."""
        return {f"denoiser.{n}": m for n, m in self.denoiser.named_modules() if isinstance(m, nn.GroupNorm)}

    def query_out(self, site: Site) -> tuple[nn.Linear, nn.Linear]:
        """Layers that make a site's queries from the picture, and its output from the attended values."""
        layer: Any = self.denoiser.get_submodule(site.name)
        return layer.to_q, layer.to_out[0]


def in_range(pixels: Tensor, *, clamp: bool) -> Tensor:
    """Pixels of any shape, cut to [0, 1] with `clamp`."""
    return pixels.clamp(0, 1) if clamp else pixels


def _between_ones(depth: Tensor) -> Tensor:
    """[B, 1, h, w]: each depth map stretched to [-1, 1] (as in StableDiffusionDepth2ImgPipeline)."""
    low, high = depth.amin((1, 2, 3), keepdim=True), depth.amax((1, 2, 3), keepdim=True)
    return 2 * (depth - low) / (high - low).clamp_min(1e-6) - 1


ATTENTION = ("attention", "self_attention", "cross_attention", "cross_attention_kv")
PARTS_OF_UNET = {"decoder": ("up_blocks.", "conv_out"), "input": ("conv_in",)}
_ATTENTION_LAYERS = (
    *(".to_q", ".to_k", ".to_v", ".to_out.0", ".add_q_proj", ".add_k_proj", ".add_v_proj", ".to_add_out"),
    *(".to_qkv_mlp_proj", ".attn.to_out"),
)
# Name of a set of parameters -> (kind of attention site -> prefixes of its layers).
SELECTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "everything": {},
    "cross_attention_kv": {"cross": ("to_k.", "to_v."), "joint": ("add_k_proj.", "add_v_proj.")},
    "cross_attention": {
        "cross": ("",),
        "joint": ("add_q_proj.", "add_k_proj.", "add_v_proj.", "to_add_out.", "norm_added"),
    },
    "self_attention": {"self": ("",), "joint": ("to_q.", "to_k.", "to_v.", "to_out.", "norm_q", "norm_k")},
    "attention": {"self": ("",), "cross": ("",), "joint": ("",), "merged": ("",)},
    "text_encoder": {},
}
