"""A language model that reads pictures and text in one sequence, as an encoder: its hidden states, and its answers.

A base may bring a small one of its own (`Capabilities.multimodal`); a LLaVA or BLIP-2 by folder or hub id goes through
the same code.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.errors import FileError, InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from limner.core.base import Base

PICTURE = "<image>"
"""Mark of a picture in a text."""

ASKED = {
    "caption": "Describe this picture in one short sentence.",
    "new picture": "A photo of a {noun}. Describe a new image of the same {noun} in: {prompt}.",
}
"""Question to a model whose config has none of its own (`asked`). The second is MoMA's
(arXiv:2404.05674)."""

TOWER = "vision_tower_from"
"""Key of a config: the folder, relative to it, of the CLIP whose image encoder the weights leave out, as in LLaVA's
first files."""


@dataclass(frozen=True, eq=False)
class Multimodal:
    """A causal language model over [vectors of a picture's patch tokens; tokens of text], frozen.

    model: a model of transformers that reads pictures and text
    tokenizer: its tokenizer
    size: side of its pictures in pixels
    mean: mean of each channel [1, 3, 1, 1]
    std: standard deviation of each channel [1, 3, 1, 1]
    """

    model: Any
    tokenizer: Any
    size: int
    mean: Tensor
    std: Tensor

    @property
    def language(self) -> Any:
        """The causal language model: vectors in, states and logits out."""
        inner = getattr(self.model, "language_model", None)
        return inner if inner is not None and hasattr(inner, "lm_head") else self.model

    @property
    def width(self) -> int:
        """Width of hidden states and of vectors."""
        return int(self.model.config.get_text_config().hidden_size)

    @functools.cached_property
    def places(self) -> int:
        """Number of vectors of a picture."""
        import torch

        return int(self.seen(torch.zeros(1, 3, self.size, self.size)).shape[1])

    @property
    def device(self) -> torch.device:
        device: torch.device = self.model.device
        return device

    def asked(self, what: str, **about: str) -> str:
        """The text of a request about a picture ("caption", "new picture"), up to the beginning of the answer."""
        requests: Mapping[str, str] = getattr(self.model.config, "asked", None) or ASKED
        request = requests[what].format(**about)
        if not self.tokenizer.chat_template:
            return f"{PICTURE} {request}".strip()
        content = [{"type": "image"}, *([{"type": "text", "text": request}] if request else [])]
        turn = [{"role": "user", "content": content}]
        return str(self.tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)).strip()

    def seen(self, pixels: Tensor) -> Tensor:
        """[B, places, width]: the vectors of pictures [B, 3, H, W] in [0, 1]."""
        import torch
        import torch.nn.functional as F

        with torch.no_grad():
            shown = F.interpolate(pixels.to(self.device), (self.size, self.size), mode="bicubic", antialias=True)
            normal = (shown.clamp(0, 1) - self.mean) / self.std
            features = self.model.get_image_features(pixel_values=normal.to(self.model.dtype))
        features = getattr(features, "pooler_output", features)
        return features if hasattr(features, "shape") else torch.stack(list(features))

    def vectors(
        self, texts: Sequence[str], seen: Tensor | Sequence[Tensor] | None, *, ends: bool = False
    ) -> list[Tensor]:
        """[length, width] of each text, with its picture's vectors [places, width] in place of <image>.

        A text that has several pictures, in the order of its marks, has vectors [pictures, places, width]. A text
        without <image> has none of them; `ends` appends the end token.
        """
        table, vectors = self.model.get_input_embeddings(), []
        for row, text in enumerate(texts):
            before, *behind = text.split(PICTURE)
            parts = [table(self._ids(before, first=True))]
            for number, piece in enumerate(behind):
                if seen is None:
                    raise InputError(f"the text {text!r} refers to a picture, and no picture was given")
                picture = seen[row] if seen[row].ndim == 2 else seen[row][number]
                parts += [picture.to(parts[0]), table(self._ids(piece))]
            if ends:
                parts.append(table(self._tensor([self.tokenizer.eos_token_id])))
            vectors.append(_joined(parts))
        return vectors

    def counted(self, texts: Sequence[str]) -> Tensor:
        """[B, L]: the number of each vector's token in its text; all of a picture's vectors count as one token, and
        padding is 0."""
        import torch

        rows = []
        for text in texts:
            before, *behind = text.split(PICTURE)
            wide = [1] * len(self._ids(before, first=True))
            for piece in behind:
                wide += [self.places] + [1] * len(self._ids(piece))
            rows.append(self._tensor([number for number, count in enumerate(wide) for _ in range(count)]))
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)

    def states(self, vectors: Sequence[Tensor], *, of_all_layers: bool = False) -> tuple[Tensor, Tensor]:
        """Last hidden states [B, L, width] of rows of vectors [length, width], and [B, L] bool: positions that are no
        padding.

        `of_all_layers` gives the mean over the states of all layers and the vectors, each normalised. Gradients pass to
        the vectors.
        """
        import torch.nn.functional as F

        padded, mask = _padded(vectors)
        out = self.language(
            inputs_embeds=padded, attention_mask=mask.long(), output_hidden_states=True, use_cache=False
        )
        if not of_all_layers:
            return out.hidden_states[-1], mask
        first, *more = (F.layer_norm(layer, layer.shape[-1:]) for layer in out.hidden_states)
        return sum(more, start=first) / len(out.hidden_states), mask

    @functools.cached_property
    def layers(self) -> dict[str, Any]:
        """The linear layers of the language model, by name, without the one that makes logits."""
        import torch

        decoder, head = self.language.get_decoder(), self.language.get_output_embeddings()
        inside = {name: m for name, m in decoder.named_modules() if isinstance(m, torch.nn.Linear)}
        return {name: layer for name, layer in inside.items() if layer is not head}

    def factors(self, rank: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Low-rank changes of those layers at their start, which change nothing: "language.NAME.down" and ".up"."""
        import torch

        factors = {}
        for name, layer in self.layers.items():
            out, into = layer.weight.shape
            factors[f"language.{name}.down"] = (torch.rand(rank, into, generator=generator) * 2 - 1) / into**0.5
            factors[f"language.{name}.up"] = torch.zeros(out, rank)
        return factors

    @contextmanager
    def changed(self, own: Mapping[str, Tensor]) -> Iterator[None]:
        """Inside the block, the layers with factors in `own` have these low-rank changes."""
        from limner.core.types import Live
        from limner.parts.modifiers.low_rank import beside

        with ExitStack() as stack:
            for name, layer in self.layers.items():
                if f"language.{name}.down" in own:
                    down, up = (own[f"language.{name}.{part}"] for part in ("down", "up"))
                    stack.callback(layer.register_forward_hook(beside(down, up, 1.0, Live())).remove)
            yield

    def logits(self, states: Tensor) -> Tensor:
        """[…, vocabulary]: logits of the next token for hidden states […, width]."""
        logits: Tensor = self.language.get_output_embeddings()(states)
        return logits

    def likelihood(self, texts: Sequence[str], answers: Sequence[str], seen: Tensor | None) -> tuple[Tensor, float]:
        """Mean cross-entropy of the answers' tokens behind texts, end token included, and the share of tokens
        predicted right."""
        import torch
        import torch.nn.functional as F

        whole = [f"{text} {answer}".strip() for text, answer in zip(texts, answers, strict=True)]
        vectors = self.vectors(whole, seen, ends=True)
        states, _ = self.states(vectors)
        ids = [[*self.ids(answer), self.tokenizer.eos_token_id] for answer in answers]
        spans = [(len(row) - len(own) - 1, len(row) - 1) for row, own in zip(vectors, ids, strict=True)]
        logits = self.logits(torch.cat([states[k, start:end] for k, (start, end) in enumerate(spans)])).float()
        wanted = self._tensor([token for own in ids for token in own])
        return F.cross_entropy(logits, wanted), (logits.argmax(1) == wanted).float().mean().item()

    def says(self, vectors: Sequence[Tensor], *, most: int = 40) -> list[str]:
        """The continuation of each row of vectors: the most probable token at each position, until the end token."""
        import torch

        continuations = []
        for one in vectors:  # rows differ in length, and there are few of them
            with torch.no_grad():
                ids = self.language.generate(
                    inputs_embeds=one[None],
                    attention_mask=torch.ones(1, len(one), dtype=torch.long, device=one.device),
                    max_new_tokens=most,
                    do_sample=False,
                    eos_token_id=self.tokenizer.eos_token_id,
                    pad_token_id=self.tokenizer.eos_token_id,
                )
            text = str(self.tokenizer.decode(ids[0], skip_special_tokens=True))
            continuations.append(re.sub(r"\s+(?=[,.])", "", text).strip())
        return continuations

    def captions(self, pixels: Tensor) -> list[str]:
        """A caption of each picture [B, 3, H, W] in [0, 1]."""
        asked = [self.asked("caption")] * len(pixels)
        return self.says(self.vectors(asked, self.seen(pixels)))

    def ids(self, text: str) -> list[int]:
        """Tokens of a text, without begin and end."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
        return ids

    def _ids(self, text: str, *, first: bool = False) -> Tensor:
        begin = self.tokenizer.bos_token_id
        start = [begin] if first and begin is not None else []
        return self._tensor(start + (self.ids(text) if text.strip() else []))

    def _tensor(self, ids: list[int]) -> Tensor:
        import torch

        return torch.tensor(ids, dtype=torch.long, device=self.device)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    import torch

    return torch.cat(list(parts))


def _padded(vectors: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """[B, L, width] with zeros behind shorter rows, and [B, L] bool: positions that are no padding."""
    import torch

    padded = torch.nn.utils.rnn.pad_sequence(list(vectors), batch_first=True)
    lengths = torch.tensor([len(row) for row in vectors], device=padded.device)
    return padded, torch.arange(padded.shape[1], device=padded.device) < lengths[:, None]


@dataclass(frozen=True)
class multimodal_places:
    """[B, 3, H, W] in [0, 1] -> [B, positions, width]: a picture's vectors among a multimodal model's token vectors.

    model: folder or hub id of the model; empty is the base's own
    """

    model: str = ""

    def __call__(self, base: Base, pixels: Tensor) -> Tensor:
        return multimodal(base, self.model).seen(pixels)


def multimodal(base: Base, where: str = "") -> Multimodal:
    """The multimodal model of a folder or hub id, or the base's own. Raises `InputError` where there is neither.

    base: the base
    where: folder or hub id of the model; empty is the base's own
    """
    where = where or base.multimodal
    if not where:
        raise InputError(
            f"this method reads pictures with a multimodal language model, and {base.name} has none of its own: name one by "
            "folder or hub id (--model FOLDER), such as a LLaVA or a BLIP-2"
        )
    return opened(where, str(base.device))


@functools.cache
def opened(where: str, device: str = "cpu") -> Multimodal:
    """A frozen multimodal model. Raises `FileError` for a folder or id that holds none.

    where: folder or hub id of the model
    device: device of its weights, such as "cuda"
    """
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer

    from limner.core.quiet import quiet

    try:
        with quiet():
            config: Any = AutoConfig.from_pretrained(where)
            model: Any = AutoModelForImageTextToText.from_pretrained(
                where, config=config, dtype=_precision(config, device)
            )
            tokenizer: Any = AutoTokenizer.from_pretrained(where)
    except (OSError, ValueError) as error:
        raise FileError(f"{where} cannot be opened as a multimodal model: {str(error).splitlines()[0]}") from error
    if getattr(config, TOWER, ""):
        _with_tower(model, Path(where) / getattr(config, TOWER))
    size, mean, std = _preparation(where, config)
    model = model.to(device).eval().requires_grad_(False)
    about = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (mean, std))
    return Multimodal(model, tokenizer, size, *about)


def _precision(config: Any, device: str) -> Any:
    """Single precision on a CPU and for small models; otherwise as stored."""
    import torch

    return torch.float32 if device == "cpu" or hasattr(config, TOWER) else "auto"


def _with_tower(model: Any, folder: Path) -> None:
    """Give a model the image encoder of a CLIP in another folder."""
    import torch
    from transformers import CLIPVisionModel

    from limner.core.quiet import quiet

    if not folder.is_dir():
        raise FileError(f"there is no folder {folder}: expected the CLIP whose image encoder this model uses")
    with quiet():
        tower = CLIPVisionModel.from_pretrained(folder, dtype=torch.float32)
    model.model.vision_tower.load_state_dict(tower.state_dict())


def _preparation(where: str, config: Any) -> tuple[int, list[float], list[float]]:
    """Side of pictures in pixels, and mean and standard deviation of each channel, as the model reads them."""
    from transformers.utils import cached_file

    path = cached_file(where, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False)
    about = json.loads(Path(path).read_text(encoding="utf-8")) if path else {}
    about = about.get("image_processor", about)
    mean, std = about.get("image_mean", [0.5] * 3), about.get("image_std", [0.5] * 3)
    return int(config.vision_config.image_size), mean, std
