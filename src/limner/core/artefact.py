"""Files that a method makes beside a concept: protected pictures, a scene, vector paths."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from limner.errors import FileError

from .files import MARK, atomic_write, check_place

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

PREFIX = "artefact."
"""Prefix of the names of tensors that hold an artefact's bytes in a concept's file."""
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True)
class Artefact:
    """A file by name and content. Raises `FileError` for a name of other characters than letters, digits and `._-`."""

    name: str
    content: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise FileError(
                f"an artefact cannot be named {self.name[:100]!r}: expected letters, digits, dots, - and _, such as "
                f"scene.svg"
            )

    @classmethod
    def picture(cls, name: str, image: Image.Image) -> Artefact:
        """A picture as a PNG, with limner's mark."""
        from PIL.PngImagePlugin import PngInfo

        buffer, mark = io.BytesIO(), PngInfo()
        mark.add_text(MARK, json.dumps({"artefact": name}))
        image.save(buffer, "PNG", pnginfo=mark)
        return cls(name, buffer.getvalue())

    @classmethod
    def scene(cls, name: str, tensors: Mapping[str, Tensor]) -> Artefact:
        """Tensors as a safetensors file: the weights of a radiance field, or points and their colours."""
        from safetensors.torch import save

        return cls(name, save({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}))

    @classmethod
    def text(cls, name: str, content: str) -> Artefact:
        """Text in UTF-8: vector paths as SVG, a mesh as OBJ."""
        return cls(name, content.encode())

    def save(self, folder: Path | str, *, overwrite: bool = False) -> Path:
        """Write the file into a folder. Raises `FileError` where a file of that name exists; with `overwrite`, where
        limner did not write that one."""
        place = check_place(Path(folder) / self.name, overwrite=overwrite)
        return atomic_write(place, lambda path: path.write_bytes(self.content), overwrite=overwrite)


def copy_names(names: Sequence[str]) -> list[str]:
    """Names of artefacts that are copies of pictures, as PNG: each picture's own in an artefact's characters, all
    different, also where letters' case does not count.

    names: file names of the pictures
    """
    chosen: list[str] = []
    for name in names:
        stem = re.sub(r"[^A-Za-z0-9_.-]+", "_", name.rpartition(".")[0] or name).lstrip(".")[:80] or "photo"
        numbered = (f"{stem}{number}.png" for number in ("", *(f"-{k}" for k in range(2, len(names) + 2))))
        taken = {other.lower() for other in chosen}
        chosen.append(next(name for name in numbered if name.lower() not in taken))
    return chosen


def packed(artefacts: Sequence[Artefact]) -> dict[str, Tensor]:
    """Artefacts as tensors of bytes, by their names in a concept's file. Raises `FileError` for two of one name."""
    import torch

    tensors: dict[str, Tensor] = {}
    for artefact in artefacts:
        if f"{PREFIX}{artefact.name}" in tensors:
            raise FileError(f"two artefacts are named {artefact.name!r}; name them apart")
        tensors[f"{PREFIX}{artefact.name}"] = torch.frombuffer(bytearray(artefact.content), dtype=torch.uint8)
    return tensors


def unpacked(tensors: Mapping[str, Tensor]) -> tuple[Artefact, ...]:
    """Artefacts among a concept's tensors, in the order of their names."""
    names = sorted(name for name in tensors if name.startswith(PREFIX))
    return tuple(Artefact(name.removeprefix(PREFIX), tensors[name].cpu().numpy().tobytes()) for name in names)
