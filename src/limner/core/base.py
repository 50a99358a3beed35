"""The seam: what the engine may ask of a generator, and nothing else. Everything that knows a network's names is behind it.

`family.Family` has most of it for pipelines of diffusers; a family's module says the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Generator, Tensor, nn

    from .capabilities import Capabilities, Captioner, PixelEncoder, Segmenter
    from .corpus import Corpus
    from .types import Pass, Site


class TextAttention(Protocol):
    """A self-attention layer of a text encoder, to which keys and values can be added."""

    heads: int
    width: int

    def with_prefix(
        self, key: Tensor, value: Tensor, scale: float, on: Callable[[], bool]
    ) -> AbstractContextManager[None]: ...
    def watched(
        self, keep: Callable[[Tensor], None]
    ) -> AbstractContextManager[None]: ...  # of its maps [rows, heads, L, L], in every run


class Base(Protocol):
    """A generator to personalise. Tensors are on `device`; latents and predictions share one shape [B, C, h, w]."""

    name: str

    # ---- what it is
    @property
    def family(self) -> str: ...
    @property
    def distilled(self) -> str: ...  # what it was distilled for, if it was
    @property
    def guidance(
        self,
    ) -> str: ...  # "classifier_free"; "embedded" (one pass, told the scale if it can be); "norm_preserving"
    @property
    def checkpointing(self) -> bool: ...  # activations are to be computed twice, where nothing acts in attention
    def checkpoint(self, on: bool) -> None: ...
    @property
    def cascaded(self) -> bool: ...  # later stages enlarge what the first one paints
    @property
    def parts(self) -> tuple[str, ...]: ...  # names of its networks
    @property
    def samplers(self) -> tuple[str, ...]: ...

    # ---- what comes with it beside the generator
    capabilities: Capabilities

    @property
    def encoders(self) -> Mapping[str, PixelEncoder]:
        """By role: "face" -> unit embeddings [n, D], "landmarks" -> [n, K, 2] shares of the picture, "object" -> [n, D].
        Each takes pixels [n, 3, H, W] in [0, 1] and lets gradients pass; empty where the base has none."""
        ...

    @property
    def segmenter(self) -> Segmenter | None: ...
    @property
    def captioner(self) -> Captioner | None: ...
    @property
    def multimodal(self) -> str: ...  # folder of a language model that reads pictures; empty where there is none
    @property
    def corpus(self) -> Corpus | None: ...  # pictures of many subjects, for encoders to be trained on

    # ---- where it is
    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def fingerprint(self) -> str: ...  # of its weights: equal fingerprints paint equal pictures
    @property
    def picture_size(self) -> int: ...  # pixels a side
    @property
    def latent_shape(self) -> tuple[int, int, int]: ...
    @property
    def vocabulary(self) -> frozenset[str]: ...  # whole words it knows as one token
    @property
    def rare_words(self) -> tuple[str, ...]: ...  # words that mean little to it, rarest first
    @property
    def max_tokens(self) -> int: ...

    # ---- pictures and words
    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]: ...  # [B,3,H,W] in [0,1] -> mean, std of latents
    def decode(self, latents: Tensor) -> Tensor: ...  # -> [B,3,H,W] in [0,1]
    def picture_features(self, pixels: Tensor) -> Tensor: ...  # -> [B, D] global CLIP embeddings
    def picture_states(
        self, pixels: Tensor, depths: Sequence[float] = ...
    ) -> Tensor: ...  # -> [B, L, D] of places, at these parts of CLIP's depth, one behind the other
    def text_features(
        self, prompts: Sequence[str], *, words: Mapping[str, Tensor]
    ) -> Tensor: ...  # -> [B, D] beside them
    @property
    def states_shape(self) -> tuple[int, int]: ...  # rows and columns of a prompt's states
    def num_tokens(self, prompt: str, *, words: Mapping[str, Tensor]) -> int: ...
    def word_places(self, prompt: str, word: str, *, words: Mapping[str, Tensor]) -> list[int]: ...  # in the states
    def word_vectors(self, text: str) -> Tensor: ...  # [n, D] input vectors of the words in text
    @property
    def word_widths(self) -> list[int]: ...  # of their columns, how many each text tower reads
    def word_table(self) -> Tensor: ...  # [V, D] input vectors of the whole vocabulary
    def text_attention(self) -> Sequence[TextAttention]: ...  # of the text tower, in the order they run
    def text_states(
        self, prompts: Sequence[str], *, words: Mapping[str, Tensor]
    ) -> Tensor: ...  # [B, L, D]; what else a family reads of a prompt is in rows behind (`states.pack`)

    # ---- noise, velocity, flow
    @property
    def num_train_times(self) -> int: ...
    @property
    def prediction_type(self) -> str: ...
    def noised(self, latents: Tensor, noise: Tensor, time: Tensor) -> Tensor: ...
    def target(self, latents: Tensor, noise: Tensor, time: Tensor) -> Tensor: ...
    def x0(self, noised: Tensor, output: Tensor, time: Tensor) -> Tensor: ...
    def noise_of(self, noised: Tensor, output: Tensor, time: Tensor) -> Tensor: ...
    def predict(self, noised: Tensor, time: Tensor, states: Tensor, *, context: Pass) -> Tensor: ...
    def error(
        self, output: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor | None]: ...  # at every place, and where it counts
    def draw_times(self, count: int, generator: Generator) -> Tensor: ...  # [count] to learn at

    # ---- sampling
    def scheduler(
        self, name: str = "", *, steps: int
    ) -> (
        Any
    ): ...  # a fresh one of diffusers' with the base's tables, its steps set; its numbers stay with the processor
    def begin(self, noise: Tensor, scheduler: Any) -> Tensor: ...
    def spread(self, scheduler: Any, step: int) -> float: ...  # of a sampler's latents, by the base's own
    def stepped(
        self, scheduler: Any, output: Tensor, time: Tensor, latents: Tensor, noises: Sequence[Generator]
    ) -> Tensor: ...
    def enlarged(
        self,
        latents: Tensor,
        states: Tensor,
        empty: Tensor,
        *,
        steps: int,
        guidance: float,
        generators: Sequence[Generator],
    ) -> Tensor: ...  # by later stages, in a cascade

    # ---- the network
    sites: tuple[Site, ...]  # of attention

    def module(self, part: str) -> nn.Module: ...  # "denoiser", "autoencoder", "text_encoder", "text_encoder_2", …
    def select(self, what: str) -> dict[str, nn.Parameter]: ...  # named sets: "cross_attention_kv", "everything", …
    def projections(
        self, what: str
    ) -> dict[str, nn.Module]: ...  # linear and convolution layers low-rank changes go on
    def transformer_blocks(
        self,
    ) -> dict[str, tuple[nn.Module, nn.Module, int]]: ...  # cross-attention, feed-forward layer, width
    def attention_widths(self, site: Site) -> tuple[int, int, int]: ...  # heads, of the hidden states, of what is read
    def key_value(self, site: Site) -> tuple[nn.Linear, nn.Linear]: ...  # of a cross-attention site
    def query_out(self, site: Site) -> tuple[nn.Linear, nn.Linear]: ...  # of a self- or cross-attention site
