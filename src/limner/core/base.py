"""The interface of a generator to the engine and the parts. Only code behind it knows the names of a network's layers.

Every generator is a `BaseCore`. One that reads prompts is a `ReadsText` as well, and one that samples by denoising is a
`Denoises`. Recipes are written for `Base`, which is all three. `bases.common.family` implements most of it for
pipelines of diffusers; the module of a family adds the rest.
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

    # inside, `keep` is called with the layer's attention maps [rows, heads, L, L] in every run
    def watched(self, keep: Callable[[Tensor], None]) -> AbstractContextManager[None]: ...


class BaseCore(Protocol):
    """The interface of every generator. Tensors are on `device`; latents and predictions share a shape [B, C, h, w]."""

    name: str

    # --------------------------------------------------------------------------------------------------- identity

    @property
    def family(self) -> str: ...

    # the purpose it was distilled for, such as few steps; empty for a base that was not distilled
    @property
    def distilled(self) -> str: ...

    # whether activations are recomputed in the backward pass rather than stored, where no operation acts in attention
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

    # hash of its weights: bases with equal fingerprints sample equal pictures
    @property
    def fingerprint(self) -> str: ...

    # pixels of a side
    @property
    def picture_size(self) -> int: ...

    # channels, height and width
    @property
    def latent_shape(self) -> tuple[int, int, int]: ...

    # ------------------------------------------------------------------------------- networks beside the generator

    capabilities: Capabilities

    # image encoders by role: "face" -> unit embeddings [n, D], "landmarks" -> [n, K, 2] as shares of the picture,
    # "object" -> [n, D]; each takes pixels [n, 3, H, W] in [0, 1] and passes gradients on to them
    @property
    def encoders(self) -> Mapping[str, PixelEncoder]: ...
    @property
    def segmenter(self) -> Segmenter | None: ...
    @property
    def captioner(self) -> Captioner | None: ...

    # folder of a language model that reads pictures; empty where there is none
    @property
    def multimodal(self) -> str: ...

    # pictures of many subjects, for training encoders where the user names no other corpus
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

    # pixels -> CLIP's patch tokens [B, L, D] without a class token, each at one of CLIP's places [B, L]; without
    # `places` all are at one place, the mean of CLIP's, and their order in the picture changes nothing but their order
    def picture_patches(self, pixels: Tensor, places: Tensor | None = ...) -> Tensor: ...

    # pixels -> class token and patch tokens [B, 1 + L, D] of a self-supervised encoder (DINO)
    def patch_states(self, pixels: Tensor) -> Tensor: ...

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

    # linear and convolution layers of a named set, to which low-rank changes can be added
    def projections(self, what: str) -> dict[str, nn.Module]: ...


class ReadsText(Protocol):
    """A generator that reads prompts. `words` maps words outside its vocabulary to vectors [n, D]."""

    # words that its tokenizer encodes as one token
    @property
    def vocabulary(self) -> frozenset[str]: ...

    # rare tokens: words that carry little meaning for it, rarest first
    @property
    def rare_words(self) -> tuple[str, ...]: ...
    @property
    def max_tokens(self) -> int: ...
    def num_tokens(self, prompt: str, *, words: Mapping[str, Tensor]) -> int: ...

    # positions of a word in the hidden states of a prompt
    def word_places(self, prompt: str, word: str, *, words: Mapping[str, Tensor]) -> list[int]: ...

    # input vectors [n, D] of the tokens in a text
    def word_vectors(self, text: str) -> Tensor: ...

    # number of the D columns of such a vector that each text encoder reads
    @property
    def word_widths(self) -> list[int]: ...

    # input vectors [V, D] of the whole vocabulary
    def word_table(self) -> Tensor: ...

    # self-attention layers of the text encoder, in the order they run
    def text_attention(self) -> Sequence[TextAttention]: ...

    # rows and columns of a prompt's hidden states
    @property
    def states_shape(self) -> tuple[int, int]: ...

    # number of those rows that are positions of the prompt, which attention reads; further rows hold other values
    @property
    def text_positions(self) -> int: ...

    # number of a prompt's positions that hold text, with begin and end tokens
    def num_positions(self, prompt: str, *, words: Mapping[str, Tensor]) -> int: ...

    # [B, L, D]; further values that a family computes from a prompt are in rows after the tokens (`states.pack`)
    def text_states(self, prompts: Sequence[str], *, words: Mapping[str, Tensor]) -> Tensor: ...

    # [B, D], comparable with `picture_features`
    def text_features(self, prompts: Sequence[str], *, words: Mapping[str, Tensor]) -> Tensor: ...

    # [B, D]: one vector a phrase, of a text encoder; it need not be comparable with `picture_features`
    def phrase_features(self, phrases: Sequence[str]) -> Tensor: ...


class Denoises(Protocol):
    """A generator that samples by denoising latents, or by filling in masked tokens, step by step."""

    # "classifier_free"; "embedded" (one pass, which reads the scale where the network can); or "norm_preserving"
    @property
    def guidance(self) -> str: ...

    # whether it is a cascade, whose later stages enlarge the picture of the first
    @property
    def cascaded(self) -> bool: ...

    # whether `predict` adds residuals of control branches
    @property
    def takes_residuals(self) -> bool: ...

    # number of frames of the longest clip that it samples without adapters; 1 for pictures alone
    @property
    def frames(self) -> int: ...

    # names of the conditions that its denoiser reads in additional input channels
    @property
    def conditions(self) -> tuple[str, ...]: ...

    # ------------------------------------------------------------------------------------------------------- noise

    @property
    def num_train_times(self) -> int: ...

    # [count]: random times for a training batch
    def draw_times(self, count: int, generator: Generator) -> Tensor: ...
    def noised(self, latents: Tensor, noise: Tensor, time: Tensor) -> Tensor: ...
    def target(self, latents: Tensor, noise: Tensor, time: Tensor) -> Tensor: ...

    # the clean latents and the noise that follow from a prediction
    def x0(self, noised: Tensor, output: Tensor, time: Tensor) -> Tensor: ...
    def noise_of(self, noised: Tensor, output: Tensor, time: Tensor) -> Tensor: ...
    def predict(self, noised: Tensor, time: Tensor, states: Tensor, *, context: Pass) -> Tensor: ...

    # ---------------------------------------------------------------------------------------------------- sampling

    @property
    def samplers(self) -> tuple[str, ...]: ...

    # a new scheduler of diffusers with the base's noise schedule and this number of steps; its tables stay on the CPU
    def scheduler(self, name: str = "", *, steps: int) -> Any: ...

    # unit noise -> latents that a sampler starts from
    def begin(self, noise: Tensor, scheduler: Any) -> Tensor: ...

    # scale of a sampler's latents before a step, relative to the base's noised latents at that time
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

    # name of each block -> its cross-attention, its feed-forward layer and its width
    def transformer_blocks(self) -> dict[str, tuple[nn.Module, nn.Module, int]]: ...

    # whether cross-attention reads every hidden state of a prompt as it is: no projection, mask or cut stands between
    @property
    def reads_states_unchanged(self) -> bool: ...

    # hidden states of prompts [B, L, D] -> the states [B, M, C] that its attention layers make keys and values of, or
    # that its first layer does, where text and picture attend jointly
    def attended(self, states: Tensor) -> Tensor: ...

    # C
    @property
    def attended_width(self) -> int: ...

    # number of heads, width of the hidden states, width of the states that keys and values are made of
    def attention_widths(self, site: Site) -> tuple[int, int, int]: ...

    # layers of a cross-attention site that make keys and values
    def key_value(self, site: Site) -> tuple[nn.Linear, nn.Linear]: ...

    # layers that normalise over positions, by name; a transformer has none
    def normalisations(self) -> Mapping[str, nn.GroupNorm]: ...

    # layers of a self- or cross-attention site that make queries and the output
    def query_out(self, site: Site) -> tuple[nn.Linear, nn.Linear]: ...


class Base(BaseCore, ReadsText, Denoises, Protocol):
    """A generator that recipes can personalise: it reads prompts and denoises."""
