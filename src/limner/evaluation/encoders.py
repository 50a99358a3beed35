"""Networks that look at pictures for the metrics: the pocket's own, or any local folder or hub id.

Preprocessing is by PIL alone, so that numbers do not depend on which image libraries are installed. Features are
computed once for each picture and kept by its content.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from limner.core.pixels import to_tensor
from limner.errors import InputError

from .features import cached_features

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from limner.core.capabilities import Bench, Judge


BATCH = 64
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


@dataclass(frozen=True)
class Encoder:
    """Pictures, and texts where it reads them, to features.

    `see` takes PIL pictures and gives [N, D]; `read` takes texts and gives [N, D].
    """

    name: str
    weights: str  # hash of the weights
    preprocessing: str
    see: Callable[[Sequence[Image.Image]], Tensor] = field(repr=False, compare=False)
    read: Callable[[Sequence[str]], Tensor] | None = field(default=None, repr=False, compare=False)

    def pictures(self, images: Sequence[Image.Image]) -> Tensor:
        """[N, D], each picture's from the cache where it was seen before."""
        import torch

        def in_batches(missing: Sequence[Image.Image]) -> Tensor:
            return torch.cat([self.see(missing[k : k + BATCH]).float().cpu() for k in range(0, len(missing), BATCH)])

        return cached_features((self.name, self.weights, self.preprocessing), images, in_batches)

    def texts(self, texts: Sequence[str]) -> Tensor:
        """[N, D]. Raises `InputError` when the encoder reads no texts."""
        if self.read is None:
            raise InputError(
                f"{self.name} reads no texts; prompt alignment needs an encoder of pictures and texts, such as a CLIP"
            )
        return self.read(texts).float().cpu()

    @property
    def about(self) -> dict[str, str]:
        """The encoder's entry in a record."""
        return {"encoder": self.name, "weights": self.weights, "preprocessing": self.preprocessing}


Encoders: TypeAlias = Mapping[str, Encoder]
"""By role: clip, dino, dinov2, identity, face, judge, logits, gram, quality, and any that a user adds."""


def pocket_encoders() -> dict[str, Encoder]:
    """The networks that ship: roles clip, dino, identity, face, judge, logits, gram and quality."""
    from limner.pocket.capabilities import BENCH

    return bench_encoders(BENCH)


def bench_encoders(bench: Bench | None) -> dict[str, Encoder]:
    """The judges of a base's own bench, by role; empty where it has no bench."""
    if bench is None:
        return {}
    return {
        role: Encoder(
            f"{bench.name}/{role}",
            file_hash(judge.weights),
            f"RGB, fitted to {judge.size} px by Lanczos, [0, 1]",
            functools.partial(_seen, judge),
            judge.read,
        )
        for role, judge in bench.judges.items()
    }


def _seen(judge: Judge, images: Sequence[Image.Image]) -> Tensor:
    return judge.see(to_tensor(images, judge.size))


def encoder(where: str | Path, *, device: str = "cpu") -> Encoder:
    """A CLIP, ViT or DINOv2 from a local folder or hub id, found by its `config.json`.

    CLIP gives its projected embeddings, the others the class token. Raises `InputError` for any other kind of model.
    """
    import torch
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    from limner.core.quiet import quiet

    try:
        with quiet():
            config = AutoConfig.from_pretrained(where)
    except (OSError, ValueError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"{where} is no model folder or hub id that can be read: {lines[0]}") from error
    kind = config.model_type
    if kind not in ("clip", "siglip", "vit", "dinov2", "dinov2_with_registers"):
        raise InputError(f"{where} is a {kind!r} model; expected a CLIP, SigLIP, ViT (DINO) or DINOv2")
    with quiet():
        extra = {"add_pooling_layer": False} if kind == "vit" else {}
        model = AutoModel.from_pretrained(where, dtype=torch.float32, **extra).eval().to(device).requires_grad_(False)
    both = kind in ("clip", "siglip")
    size = (config.vision_config if both else config).image_size
    resize = size if both else 224 * 256 // 224
    crop = size if both else 224
    mean, std = CLIP if kind == "clip" else ((0.5,) * 3, (0.5,) * 3) if kind == "siglip" else IMAGENET

    def see(images: Sequence[Image.Image]) -> Tensor:
        pixels = torch.stack([prepared(i, resize, crop, mean, std) for i in images]).to(device)
        with torch.no_grad():
            if both:
                return _tensor(model.get_image_features(pixel_values=pixels))
            out: Tensor = model(pixel_values=pixels, interpolate_pos_encoding=True).last_hidden_state[:, 0]
            return out

    read = None
    if both:
        with quiet():
            tokens = AutoTokenizer.from_pretrained(where)
        longest = config.text_config.max_position_embeddings

        def read(texts: Sequence[str]) -> Tensor:
            ids = tokens(
                list(texts), padding="max_length", truncation=True, max_length=longest, return_tensors="pt"
            ).to(device)
            with torch.no_grad():
                return _tensor(model.get_text_features(**{k: v for k, v in ids.items() if k != "token_type_ids"}))

    how = f"RGB, PIL bicubic to {resize} px, middle {crop} px, mean {mean[0]:.3f}, deviation {std[0]:.3f}"
    return Encoder(str(where), state_hash(model), how, see, read)


def largest_face(
    detect: Callable[[Image.Image], Sequence[Sequence[float]]],
    embed: Callable[[Sequence[Image.Image]], Tensor],
    *,
    name: str,
    weights: str,
) -> Encoder:
    """An encoder for the role "face" from a detector of boxes (left, top, right, bottom) and an embedder of crops.

    The largest face of a picture counts (Persona's and FastComposer's protocol); a picture without one gives a row of
    zeros.
    """
    import torch
    from PIL import Image as Pictures

    @functools.cache
    def width() -> int:
        return int(embed([Pictures.new("RGB", (64, 64))]).shape[1])

    def see(images: Sequence[Image.Image]) -> Tensor:
        boxes = [max(detect(i), key=lambda b: (b[2] - b[0]) * (b[3] - b[1]), default=None) for i in images]
        whole = [(round(b[0]), round(b[1]), round(b[2]), round(b[3])) if b is not None else None for b in boxes]
        crops = [i.crop(b) for i, b in zip(images, whole, strict=True) if b is not None]
        rows = iter(embed(crops)) if crops else iter(())
        seen = [next(rows) if b is not None else None for b in boxes]
        return torch.stack([torch.zeros(width()) if r is None else r for r in seen])

    return Encoder(name, weights, "the largest face", see)


def face_encoder(where: str | Path, *, device: str = "cpu") -> Encoder:
    """The encoder of the role "face" from networks of faces (see `limner.bases.common.faces.open_faces`).

    The largest face of each picture counts, at the picture's own size; a picture without one gives a row of zeros.

    where: a folder of facenet-pytorch's or insightface's models, or FILE.py:FUNCTION
    """
    import numpy as np
    import torch

    from limner.bases.common.faces import open_faces

    networks = open_faces(where, device=device)

    def see(images: Sequence[Image.Image]) -> Tensor:
        rows = []
        for image in images:
            pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None].float() / 255
            with torch.no_grad():
                rows.append(networks.embed(pixels.to(device))[0])
        return torch.stack(rows)

    return Encoder(networks.name, _hash_of_files(where), "RGB, [0, 1], the largest face", see)


def _hash_of_files(where: str | Path) -> str:
    """Hash of a folder's files, or of the file before the colon."""
    path = Path(str(where).partition(".py:")[0] + ".py" if ".py:" in str(where) else where).expanduser()
    files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path] if path.is_file() else []
    return hashlib.sha256("".join(file_hash(file) for file in files).encode()).hexdigest()[:16]


def prepared(image: Image.Image, resize: int, crop: int, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """One picture as published code prepares it: the short side to `resize`, the middle square, normalised. [3, crop,
    crop]

    The long side is cut to a whole pixel rather than rounded, as transformers' PIL processor does, to the bit.
    """
    import numpy as np
    import torch
    from PIL import Image

    rgb = image.convert("RGB")
    wide, tall = rgb.size
    new = (resize, int(tall * resize / wide)) if wide <= tall else (int(wide * resize / tall), resize)
    small = rgb.resize(new, Image.Resampling.BICUBIC)
    left, top = (small.width - crop) // 2, (small.height - crop) // 2
    array = np.asarray(small.crop((left, top, left + crop, top + crop)), dtype=np.float32) / np.float32(255)
    normal = (array - np.array(mean, dtype=np.float32)) / np.array(std, dtype=np.float32)
    return torch.from_numpy(normal).permute(2, 0, 1).contiguous()


def file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def state_hash(model: Any) -> str:
    """Hash of every weight of a network, by name."""
    import torch

    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(json.dumps([name, list(value.shape)]).encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _tensor(out: Any) -> Tensor:
    """transformers 5 returns an output object where earlier ones returned the features."""
    features: Tensor = out if hasattr(out, "shape") else out.pooler_output
    return features
