"""The seam: everything that the engine and parts may ask of a generator. All that knows a network's names is behind it.

A generator is a `BaseCore`. One that reads prompts is a `ReadsText` as well, and one that paints by denoising a
`Denoises`; `Base` is all three, which recipes are written for. `bases.common.family` has most of it for pipelines of
diffusers; a family's module adds the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    import torch
    from torch import Generator, Tensor, nn

    from .capabilities import Capabilities, Captioner, PixelEncoder, Segmenter
    from .corpus import Corpus
    from .types import Batch, Condition, Pass, Prediction, Site

Predicts: TypeAlias = Literal["noise", "velocity", "flow", "tokens", "picture"]
"""The prediction that a base learns: the noise of latents, v of arXiv:2202.00512, the flow of arXiv:2209.03003, masked
or next tokens, or the picture itself."""


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


class BaseCore(Protocol):
    """What every generator offers. Tensors are on `device`; latents and predictions share one shape [B, C, h, w]."""

    name: str

    # ------------------------------------------------------------------------------------------------- what it is

    @property
    def family(self) -> str: ...

    # the purpose it was distilled for, such as few steps; empty for a base that was not
    @property
    def distilled(self) -> str: ...

    # activations are computed twice rather than kept, where no operation acts in attention
    @property
    def checkpointing(self) -> bool: ...
    def checkpoint(self, on: bool) -> None: ...

    # names of its networks
    @property
    def parts(self) -> tuple[str, ...]: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...

    # hash of its weights: bases with equal fingerprints paint equal pictures
    @property
    def fingerprint(self) -> str: ...

    # pixels of a side
    @property
    def picture_size(self) -> int: ...

    # channels, height and width
    @property
    def latent_shape(self) -> tuple[int, int, int]: ...

    # ----------------------------------------------------------------------- what comes with it beside the generator

    capabilities: Capabilities

    # by role: "face" -> unit embeddings [n, D], "landmarks" -> [n, K, 2] as shares of the picture, "object" -> [n, D];
    # each takes pixels [n, 3, H, W] in [0, 1] and lets gradients pass
    @property
    def encoders(self) -> Mapping[str, PixelEncoder]: ...
    @property
    def segmenter(self) -> Segmenter | None: ...
    @property
    def captioner(self) -> Captioner | None: ...

    # folder of a language model that reads pictures; empty where there is none
    @property
    def multimodal(self) -> str: ...

    # pictures of many subjects, on which encoders are trained where no other corpus is named
    @property
    def corpus(self) -> Corpus | None: ...

    # --------------------------------------------------------------------------------------------------- pictures

    # pixels [B, 3, H, W] in [0, 1] -> mean and standard deviation of latents
    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]: ...

    # latents -> pixels [B, 3, H, W], clamped to [0, 1]; without `clamp`, gradients pass everywhere
    def decode(self, latents: Tensor, *, clamp: bool = ...) -> Tensor: ...

    # pixels -> global CLIP embeddings [B, D]
    def picture_features(self, pixels: Tensor) -> Tensor: ...

    # pixels -> hidden states [B, L, D] of CLIP's class and patch tokens at these shares of its depth, one depth after
    # the other
    def picture_states(self, pixels: Tensor, depths: Sequence[float] = ...) -> Tensor: ...

    # ---------------------------------------------------------------------------------------------- reconstruction

    @property
    def predicts(self) -> Predicts: ...

    # the general form of denoising: a prediction of the batch's pictures under a condition
    def reconstruct(self, batch: Batch, condition: Condition) -> Prediction: ...

    # prediction and target -> error at every position, and where it counts (None: everywhere)
    def error(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]: ...

    # ------------------------------------------------------------------------------------------------- its networks

    # "denoiser", "autoencoder", "text_encoder", "text_encoder_2", ...
    def module(self, part: str) -> nn.Module: ...

    # named sets of parameters: "cross_attention_kv", "everything", ...
    def select(self, what: str) -> dict[str, nn.Parameter]: ...

    # linear and convolution layers of a named set, which low-rank changes are put on
    def projections(self, what: str) -> dict[str, nn.Module]: ...


class ReadsText(Protocol):
    """A generator that reads prompts. `words` gives vectors [n, D] to words that it has not."""

    # words that its tokenizer has as one token
    @property
    def vocabulary(self) -> frozenset[str]: ...

    # words that mean little to it, rarest first
    @property
    def rare_words(self) -> tuple[str, ...]: ...
    @property
    def max_tokens(self) -> int: ...
    def num_tokens(self, prompt: str, *, words: Mapping[str, Tensor]) -> int: ...

    # positions of a word in the hidden states of a prompt
    def word_places(self, prompt: str, word: str, *, words: Mapping[str, Tensor]) -> list[int]: ...

    # input vectors [n, D] of the tokens in a text
    def word_vectors(self, text: str) -> Tensor: ...

    # how many of the D columns of such a vector each text encoder reads
    @property
    def word_widths(self) -> list[int]: ...

    # input vectors [V, D] of the whole vocabulary
    def word_table(self) -> Tensor: ...

    # self-attention layers of the text encoder, in the order they run
    def text_attention(self) -> Sequence[TextAttention]: ...

    # rows and columns of a prompt's hidden states
    @property
    def states_shape(self) -> tuple[int, int]: ...

    # [B, L, D]; further values that a family reads of a prompt are in rows behind (`states.pack`)
    def text_states(self, prompts: Sequence[str], *, words: Mapping[str, Tensor]) -> Tensor: ...

    # [B, D], comparable with `picture_features`
    def text_features(self, prompts: Sequence[str], *, words: Mapping[str, Tensor]) -> Tensor: ...


class Denoises(Protocol):
    """A generator that paints by denoising latents, or by filling in masked tokens, step by step."""

    # "classifier_free"; "embedded": one pass, which reads the scale if it can; or "norm_preserving"
    @property
    def guidance(self) -> str: ...

    # later stages enlarge the picture of the first
    @property
    def cascaded(self) -> bool: ...

    # whether `predict` adds residuals of control branches
    @property
    def takes_residuals(self) -> bool: ...

    # frames of the longest clip that it paints by itself; 1 for pictures alone
    @property
    def frames(self) -> int: ...

    # names of the conditions that its denoiser reads in channels of its own
    @property
    def conditions(self) -> tuple[str, ...]: ...

    # ------------------------------------------------------------------------------------------------------- noise

    @property
    def num_train_times(self) -> int: ...

    # [count] times to learn at
    def draw_times(self, count: int, generator: Generator) -> Tensor: ...
    def noised(self, latents: Tensor, noise: Tensor, time: Tensor) -> Tensor: ...
    def target(self, latents: Tensor, noise: Tensor, time: Tensor) -> Tensor: ...

    # the clean latents, and the noise, that a prediction implies
    def x0(self, noised: Tensor, output: Tensor, time: Tensor) -> Tensor: ...
    def noise_of(self, noised: Tensor, output: Tensor, time: Tensor) -> Tensor: ...
    def predict(self, noised: Tensor, time: Tensor, states: Tensor, *, context: Pass) -> Tensor: ...

    # ---------------------------------------------------------------------------------------------------- sampling

    @property
    def samplers(self) -> tuple[str, ...]: ...

    # a new scheduler of diffusers with the base's tables and its steps set; its numbers stay on the CPU
    def scheduler(self, name: str = "", *, steps: int) -> Any: ...

    # unit noise -> latents that a sampler starts from
    def begin(self, noise: Tensor, scheduler: Any) -> Tensor: ...

    # scale of a sampler's latents before a step, relative to the base's own at that time
    def spread(self, scheduler: Any, step: int) -> float: ...
    def stepped(
        self, scheduler: Any, output: Tensor, time: Tensor, latents: Tensor, noises: Sequence[Generator]
    ) -> Tensor: ...

    # latents enlarged by the later stages of a cascade
    def enlarged(
        self,
        latents: Tensor,
        states: Tensor,
        empty: Tensor,
        *,
        steps: int,
        guidance: float,
        generators: Sequence[Generator],
    ) -> Tensor: ...

    # --------------------------------------------------------------------------------------------------- attention

    sites: tuple[Site, ...]

    # by name: a block's cross-attention, its feed-forward layer and its width
    def transformer_blocks(self) -> dict[str, tuple[nn.Module, nn.Module, int]]: ...

    # number of heads, width of the hidden states, width of the states that are read
    def attention_widths(self, site: Site) -> tuple[int, int, int]: ...

    # layers of a cross-attention site that make keys and values
    def key_value(self, site: Site) -> tuple[nn.Linear, nn.Linear]: ...

    # layers that normalise over positions, by name
    def normalisations(self) -> Mapping[str, nn.GroupNorm]: ...

    # layers of a self- or cross-attention site that make queries and the output
    def query_out(self, site: Site) -> tuple[nn.Linear, nn.Linear]: ...


class Base(BaseCore, ReadsText, Denoises, Protocol):
    """A generator to personalise: it reads prompts and denoises."""
