"""The judges of the pocket world: networks trained on its truth, none of which the base was trained with."""

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


@functools.cache
def network(name: str) -> Any:
    """A judge's network with its weights, frozen, on the CPU. Raises `InputError` for one that this edition does not
    ship."""
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
    found: torch.nn.Module = makers[name]()
    found.load_state_dict(tensors)
    return found.requires_grad_(False).eval()


def heads_of(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """The fields that weights of a judge read, with the number of options of each.

    Options are only ever added at the end of a field, so a judge trained before they were reads those it knows.
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
        found = ViTModel.from_pretrained(WEIGHTS / "dino", dtype=torch.float32, add_pooling_layer=False)
    return found.requires_grad_(False).eval()


def read(pixels: Tensor) -> list[dict[str, str]]:
    """What the judge sees on pictures [B, 3, 128, 128] in [0, 1]: field -> option, for every field."""
    out = _batched(network("judge"), pixels)
    best = {field: logits.argmax(1).tolist() for field, logits in out.items()}
    return [{field: FIELDS[field][best[field][row]] for field in best} for row in range(len(pixels))]


def logits(pixels: Tensor) -> dict[str, Tensor]:
    """The judge's logits [B, options] of every field."""
    found: dict[str, Tensor] = _batched(network("judge"), pixels)
    return found


def identities(pixels: Tensor, *, faces: bool = False) -> Tensor:
    """[B, 128] unit vectors: near for one toy, far for two. `faces` asks the network of faces."""
    found: Tensor = _batched(network("faces" if faces else "identity"), pixels)
    return found


def masks(pixels: Tensor) -> Tensor:
    """[B, H, W] in [0, 1]: how surely a toy is there."""
    found: Tensor = _batched(network("segmenter"), pixels)
    return found.sigmoid()[:, 0]


def places(pixels: Tensor, nouns: Sequence[str]) -> Tensor:
    """[B, nouns, 16, 16] in [0, 1]: how surely each place of a picture shows a thing of each class. Raises `InputError`
    for a noun that is no class of the world."""
    strange = [noun for noun in nouns if noun not in CLASSES]
    if strange:
        raise InputError(f"the judge of places knows {', '.join(CLASSES)}, not {strange[0]!r}")
    found: Tensor = _batched(network("places"), pixels)
    return found.softmax(1)[:, [CLASSES.index(noun) for noun in nouns]]


def together(pixels: Tensor) -> Tensor:
    """[B, classes]: how many of the 256 places of each picture show which class; of two toys beside each other,
    both."""
    found: Tensor = _batched(network("places"), pixels)
    return found.softmax(1)[:, : len(CLASSES)].sum((2, 3))


def things(pixels: Tensor) -> list[list[dict[str, str]]]:
    """The things read in each picture [B, 3, 128, 128]: up to three with class, colour and pattern, surest first."""
    import torch

    reader = network("reader")
    with torch.no_grad():
        parts = [reader(part)[0] for part in pixels.split(128)]
    logits = {field: torch.cat([part[field] for part in parts]) for field in parts[0]}
    sure = logits["class"].softmax(-1)[..., : len(CLASSES)].amax(-1)  # [B, slots]
    options = {"class": (*CLASSES, ""), "colour": tuple(COLOURS), "pattern": PATTERNS}
    found = []
    for row in range(len(pixels)):
        said = [
            {field: options[field][int(logits[field][row, k].argmax())] for field in options}
            for k in sure[row].argsort(descending=True).tolist()
        ]
        found.append([thing for thing in said if thing["class"]])
    return found


def landmarks(pixels: Tensor) -> Tensor:
    """[B, landmarks, 2]: x, y in pixels of the first face's landmarks, in the order of world.faces.LANDMARKS."""
    found: Tensor = _batched(network("landmarks"), pixels)
    return found * pixels.shape[-1]


def manners(pixels: Tensor) -> Tensor:
    """[B, 64] unit vectors: near for one individual style, far for two, whatever is shown."""
    found: Tensor = _batched(network("manner"), pixels)
    return found


def appearances(pixels: Tensor) -> Tensor:
    """[B, D] unit vectors of the self-supervised ViT (DINO's role)."""
    import torch

    found = torch.cat([dino()(part * 2 - 1).last_hidden_state[:, 0] for part in pixels.split(128)])
    return torch.nn.functional.normalize(found, dim=-1)


def features(pixels: Tensor) -> Tensor:
    """[B, 160] of the judge, before it answers."""
    found: Tensor = _batched(network("judge").features, pixels)
    return found


def gram(pixels: Tensor) -> Tensor:
    """[B, 1056] Gram matrices of the judge's second block, their upper halves: what a picture's style is read from."""
    import torch

    judge = network("judge").features

    def styles(part: Tensor) -> Tensor:
        maps = judge.blocks[1](judge.blocks[0](judge.stem(part))).flatten(2)
        rows, columns = torch.triu_indices(maps.shape[1], maps.shape[1])
        return (maps @ maps.mT / maps.shape[2])[:, rows, columns]

    found: Tensor = _batched(styles, pixels)
    return found


def picture_features(pixels: Tensor) -> Tensor:
    """[B, 128] of CLIP's image encoder."""
    import torch

    model, _ = clip()
    with torch.no_grad():
        return torch.cat([_features(model.get_image_features(pixel_values=part * 2 - 1)) for part in pixels.split(128)])


def text_features(texts: Sequence[str]) -> Tensor:
    """[B, 128] of CLIP's text encoder."""
    import torch

    model, tokenizer = clip()
    ids = tokenizer(list(texts), padding="max_length", truncation=True, max_length=32, return_tensors="pt").input_ids
    with torch.no_grad():
        return _features(model.get_text_features(input_ids=ids))


def text_similarity(pixels: Tensor, texts: Sequence[str]) -> Tensor:
    """[B] cosine of CLIP's embeddings of each picture and its text."""
    from torch.nn.functional import cosine_similarity

    return cosine_similarity(picture_features(pixels), text_features(texts), dim=-1)


def _features(out: Any) -> Tensor:
    """transformers 5 returns an output object here, earlier ones the tensor itself."""
    found: Tensor = out if hasattr(out, "shape") else out.pooler_output
    return found


def _batched(function: Any, pixels: Tensor) -> Any:
    import torch

    with torch.no_grad():
        parts = [function(part) for part in pixels.split(128)]
    if isinstance(parts[0], Mapping):
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return torch.cat(parts)
