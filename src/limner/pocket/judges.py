"""The judges of the pocket world: networks trained on its ground truth, and never used to train the base."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.core.quiet import quiet
from limner.errors import InputError
from limner.pocket.world.vocabulary import CLASSES, COLOURS, PATTERNS

from .labels import FIELDS

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = Path(__file__).parent / "weights"
AROUND_FACE, AROUND_THING = 2.0, 1.5
"""Sides of the square in which a face's landmarks or a thing's looks are read, in sizes of the face or the thing."""


@functools.cache
def network(name: str) -> Any:
    """A judge's frozen network on the CPU. Raises `InputError` for a network that this edition does not ship."""
    import torch
    from safetensors.torch import load_file

    from limner.pocket.world.faces import LANDMARKS

    from .networks import Identity, Judge, Landmarks, Manner, Places, Reader, Segmenter

    if not (WEIGHTS / f"{name}.safetensors").exists():
        raise InputError(f"this edition ships no judge named {name!r}; `make pocket` trains one")
    tensors = {k: v.float() for k, v in load_file(WEIGHTS / f"{name}.safetensors").items()}
    makers: dict[str, Any] = {
        "judge": lambda: Judge(heads_of(tensors)),
        "identity": Identity,
        "faces": Identity,
        "segmenter": Segmenter,
        "places": lambda: Places(len(CLASSES) + 1),
        "reader": lambda: Reader(heads_of(tensors), len(tensors["slots"])),
        "landmarks": lambda: Landmarks(len(LANDMARKS)),
        "manner": Manner,
    }
    judge: torch.nn.Module = makers[name]()
    judge.load_state_dict(tensors)
    return judge.requires_grad_(False).eval()


def heads_of(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Field -> number of options, for the fields that a judge's weights read.

    New options are only added at the end of a field, so an older judge reads the first ones.
    """
    bias, start = ".bias", "heads."
    return {k[len(start) : -len(bias)]: len(v) for k, v in tensors.items() if k.startswith(start) and k.endswith(bias)}


@functools.cache
def clip() -> tuple[Any, Any]:
    """The pocket `CLIPModel` and the tokenizer."""
    import torch
    from transformers import CLIPModel, CLIPTokenizer

    with quiet():
        model = CLIPModel.from_pretrained(WEIGHTS / "clip", dtype=torch.float32).requires_grad_(False).eval()
        return model, CLIPTokenizer.from_pretrained(WEIGHTS / "base" / "tokenizer")


@functools.cache
def dino() -> Any:
    """The self-supervised `ViTModel`."""
    import torch
    from transformers import ViTModel

    with quiet():
        model = ViTModel.from_pretrained(WEIGHTS / "dino", dtype=torch.float32, add_pooling_layer=False)
    return model.requires_grad_(False).eval()


def read(pixels: Tensor) -> list[dict[str, str]]:
    """Field -> option that the judge reads, for each picture [B, 3, 128, 128] in [0, 1]."""
    out = _batched(network("judge"), pixels)
    best = {field: logits.argmax(1).tolist() for field, logits in out.items()}
    return [{field: FIELDS[field][best[field][row]] for field in best} for row in range(len(pixels))]


def logits(pixels: Tensor) -> dict[str, Tensor]:
    """The judge's logits [B, options] of every field."""
    logits_by_field: dict[str, Tensor] = _batched(network("judge"), pixels)
    return logits_by_field


def identities(pixels: Tensor, *, faces: bool = False) -> Tensor:
    """[B, 128] unit vectors: near for the same individual, far for two.

    pixels: [B, 3, H, W] in [0, 1]
    faces: use the network of faces; False uses that of toys
    """
    vectors: Tensor = _batched(network("faces" if faces else "identity"), pixels)
    return vectors


def masks(pixels: Tensor) -> Tensor:
    """[B, H, W] in [0, 1]: probability that a pixel belongs to a toy or a person."""
    mask_logits: Tensor = _batched(network("segmenter"), pixels)
    return mask_logits.sigmoid()[:, 0]


def places(pixels: Tensor, nouns: Sequence[str]) -> Tensor:
    """[B, nouns, 16, 16] in [0, 1]: probability of each class at each position of a picture. Raises `InputError` for a
    noun that is no class of the world."""
    strange = [noun for noun in nouns if noun not in CLASSES]
    if strange:
        raise InputError(f"the judge of places knows {', '.join(CLASSES)}, not {strange[0]!r}")
    class_logits: Tensor = _batched(network("places"), pixels)
    return class_logits.softmax(1)[:, [CLASSES.index(noun) for noun in nouns]]


def together(pixels: Tensor) -> Tensor:
    """[B, classes]: expected number of the 256 positions of each picture that show each class; two toys in one picture
    both count."""
    class_logits: Tensor = _batched(network("places"), pixels)
    return class_logits.softmax(1)[:, : len(CLASSES)].sum((2, 3))


def things(pixels: Tensor) -> list[list[dict[str, str]]]:
    """The things that the reader finds in each picture [B, 3, 128, 128]: up to three with class, colour and pattern,
    the most probable first. Each is found in the whole picture and read in a square around it."""
    logits, boxes = _batched(network("reader"), pixels)
    full = logits["class"].argmax(-1) < len(CLASSES)  # [B, slots]
    sure = logits["class"].softmax(-1)[..., : len(CLASSES)].sum(-1)
    rows, slots = full.nonzero(as_tuple=True)
    read = _things_in_squares(pixels[rows], boxes[rows, slots]) if len(rows) else []
    by_picture: list[list[tuple[float, dict[str, str]]]] = [[] for _ in range(len(pixels))]
    for row, slot, thing in zip(rows.tolist(), slots.tolist(), read, strict=True):
        by_picture[row].append((float(sure[row, slot]), thing))
    return [[thing for _, thing in sorted(each, key=lambda one: -one[0])] for each in by_picture]


def _things_in_squares(pixels: Tensor, boxes: Tensor) -> list[dict[str, str]]:
    """Field -> option of one thing in each picture, given its box [B, 4]: middle x, y, width and height."""
    side = (AROUND_THING * boxes[:, 2:].amax(1)).clamp(0.1, 1.0)
    logits, again = _batched(network("reader"), squares(pixels, boxes[:, :2], side))
    there = logits["class"].softmax(-1)[..., : len(CLASSES)].sum(-1)
    slot = ((again[..., :2] - 0.5).norm(dim=-1) - there).argmin(1)  # the probable one nearest to the middle
    options = {"class": CLASSES, "colour": tuple(COLOURS), "pattern": PATTERNS}
    best = {
        field: logits[field][range(len(slot)), slot, : len(names)].argmax(-1).tolist()  # "nothing" is left out
        for field, names in options.items()
    }
    return [{field: names[best[field][row]] for field, names in options.items()} for row in range(len(pixels))]


def landmarks(pixels: Tensor) -> Tensor:
    """[B, landmarks, 2]: x, y in pixels of the first face's landmarks, in the order of world.faces.LANDMARKS. They are
    read twice: on the whole picture, then on a square around the face, where it is larger."""
    rough: Tensor = _batched(network("landmarks"), pixels)
    low, high = rough.amin(1), rough.amax(1)
    middle, side = (low + high) / 2, AROUND_FACE * (high - low).amax(-1)
    near: Tensor = _batched(network("landmarks"), squares(pixels, middle, side))
    return (middle[:, None] + (near - 0.5) * side[:, None, None]) * pixels.shape[-1]


def squares(pixels: Tensor, middle: Tensor, side: Tensor) -> Tensor:
    """Pictures [B, C, S, S] -> [B, C, S, S]: a square of each, enlarged. Beyond the picture, a square repeats its
    edge.

    middle, side: centre [B, 2] (x, y) and side [B] of the squares, as fractions of the picture; a negative side mirrors
    the square from left to right
    """
    import torch
    import torch.nn.functional as F

    count, nothing = len(pixels), torch.zeros_like(side)
    rows = [side, nothing, 2 * middle[:, 0] - 1, nothing, side.abs(), 2 * middle[:, 1] - 1]
    grid = F.affine_grid(torch.stack(rows, 1).view(count, 2, 3), list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)


def manners(pixels: Tensor) -> Tensor:
    """[B, 64] unit vectors: near for the same individual style, far for two, independent of the content."""
    vectors: Tensor = _batched(network("manner"), pixels)
    return vectors


def appearances(pixels: Tensor) -> Tensor:
    """[B, D] unit vectors of the self-supervised ViT (DINO's role)."""
    import torch

    class_tokens = torch.cat([dino()(part * 2 - 1).last_hidden_state[:, 0] for part in pixels.split(128)])
    return torch.nn.functional.normalize(class_tokens, dim=-1)


def features(pixels: Tensor) -> Tensor:
    """[B, 160]: features of the judge before its heads."""
    vectors: Tensor = _batched(network("judge").features, pixels)
    return vectors


def gram(pixels: Tensor) -> Tensor:
    """[B, 1056]: upper halves of the Gram matrices of the judge's second block, which describe a picture's style."""
    import torch

    judge = network("judge").features

    def styles(part: Tensor) -> Tensor:
        maps = judge.blocks[1](judge.blocks[0](judge.stem(part))).flatten(2)
        rows, columns = torch.triu_indices(maps.shape[1], maps.shape[1])
        return (maps @ maps.mT / maps.shape[2])[:, rows, columns]

    matrices: Tensor = _batched(styles, pixels)
    return matrices


def picture_features(pixels: Tensor) -> Tensor:
    """[B, 128]: embeddings of CLIP's image encoder."""
    import torch

    model, _ = clip()
    with torch.no_grad():
        return torch.cat([_features(model.get_image_features(pixel_values=part * 2 - 1)) for part in pixels.split(128)])


def text_features(texts: Sequence[str]) -> Tensor:
    """[B, 128]: embeddings of CLIP's text encoder."""
    import torch

    model, tokenizer = clip()
    ids = tokenizer(list(texts), padding="max_length", truncation=True, max_length=32, return_tensors="pt").input_ids
    with torch.no_grad():
        return _features(model.get_text_features(input_ids=ids))


def text_similarity(pixels: Tensor, texts: Sequence[str]) -> Tensor:
    """[B]: cosine of CLIP's embeddings of each picture and its text."""
    from torch.nn.functional import cosine_similarity

    return cosine_similarity(picture_features(pixels), text_features(texts), dim=-1)


def _features(out: Any) -> Tensor:
    """The tensor of features: transformers 5 wraps it in an output object, earlier versions return it."""
    tensor: Tensor = out if hasattr(out, "shape") else out.pooler_output
    return tensor


def _batched(function: Any, pixels: Tensor) -> Any:
    import torch

    with torch.no_grad():
        return _joined([function(part) for part in pixels.split(128)])


def _joined(parts: list[Any]) -> Any:
    """Outputs of parts of a batch, as one: tensors, or mappings and tuples of them."""
    import torch

    if isinstance(parts[0], Mapping):
        return {name: _joined([part[name] for part in parts]) for name in parts[0]}
    if isinstance(parts[0], tuple):
        return tuple(_joined(list(each)) for each in zip(*parts, strict=True))
    return torch.cat(parts)
