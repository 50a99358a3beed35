"""What was learned: one safetensors file with its whole story in the header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import FileError, WrongBase
from .files import atomic_write
from .subject import Subject
from .wearing import Outfit

if TYPE_CHECKING:
    from torch import Tensor

    from .bases.protocol import Base
    from .keeping import Concepts
    from .recipe import Recipe

FORMAT = 1


@dataclass(frozen=True)
class Concept:
    """A taught subject. Wear it while painting, save it, load it.

    `tensors` hold everything that makes the difference to the base; the rest is the header.
    """

    handle: str  # as prompts write it: "<rex>"
    method: str  # its name, or "file.py:function"
    settings: dict[str, Any]
    base: dict[str, str]  # name, family, fingerprint
    subject: dict[str, Any]  # the subject's card: class noun, kind, names and hashes of the pictures
    seed: int
    tensors: Mapping[str, Tensor] = field(repr=False)
    losses: list[float] = field(default_factory=list, repr=False)
    scores: dict[str, Any] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    weights: dict[str, str] = field(default_factory=dict)  # pre-trained weights it stands on: name -> hash

    def recipe(self) -> Recipe:
        """What it wears, made anew from its method and settings."""
        from .formats.recipes import IMPORTED, imported
        from .methods import find

        make = imported if self.method == IMPORTED else find(self.method)
        try:
            return make(Subject.from_card(self.subject), **self.settings)
        except (TypeError, KeyError) as error:
            raise FileError(
                f"{self.handle} was taught by another version of {self.method}: its settings do not fit ({error}); teach it again"
            ) from error

    def outfit(self, base: Base, *, scale: float = 1.0, any_base: bool = False, hot: Concepts | None = None) -> Outfit:
        """The recipe and tensors to wear on `base`; weights that its method starts from are those of `hot`, if they are there. Raises
        `WrongBase` for any other base than it was taught on; with `any_base`, only for one of another family: a distilled base
        may wear what its parent was taught."""
        if base.fingerprint != self.base["fingerprint"] and not (any_base and base.family == self.base["family"]):
            raise WrongBase(
                f"{self.handle} was taught on {self.base['name']} (fingerprint {self.base['fingerprint']}), "
                f"this is {base.name} (fingerprint {base.fingerprint}): load that base, or teach the subject again on this one"
                + (
                    "; if this one was made from that one, --any-base wears it here"
                    if base.family == self.base["family"]
                    else ""
                )
            )
        from .weights import shipped

        recipe = self.recipe()
        start = (hot.shipped if hot else shipped)(recipe.weights, base) if recipe.weights else {}
        if recipe.weights:
            self._check_weights(recipe.weights, base)
        stored = {**start, **self.tensors} if start else self.tensors
        plain, tuned = frozenset(start.keys() - self.tensors.keys()), frozenset(start.keys() & self.tensors.keys())
        return Outfit(recipe, self.handle, stored, scale, self.seed, self.subject["noun"], plain, tuned)

    def _check_weights(self, name: str, base: Base) -> None:
        """Raises `FileError` where the pre-trained weights are others than those it was taught on. A concept of before they were
        recorded says nothing of them, and one for another base of the family stands on that base's own."""
        from .weights import mark

        known = self.weights.get(name)
        if known and base.fingerprint == self.base["fingerprint"] and known != (now := mark(name, base)):
            raise FileError(
                f"{self.handle} stands on pre-trained weights of {name} with hash {known}, and those here have {now}: they were trained "
                "or imported anew since; put the old ones back, or teach the subject again"
            )

    def scored(self, scores: Mapping[str, Any]) -> Concept:
        """The same concept with these scores in its header."""
        return replace(self, scores={**self.scores, **scores})

    @property
    def header(self) -> dict[str, Any]:
        """Everything but the tensors, as JSON can hold it."""
        told = {k: v for k, v in asdict(replace(self, tensors={})).items() if k != "tensors"}
        return {"format": FORMAT, **told}

    @property
    def num_bytes(self) -> int:
        return sum(t.numel() * t.element_size() for t in self.tensors.values())

    def save(self, path: Path | str, *, overwrite: bool = False) -> Path:
        """Write the file, whole or not at all. Raises `FileError` when it exists, or the disk is full."""
        from safetensors.torch import save_file

        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}
        text = json.dumps(self.header)
        atomic_write(Path(path), lambda p: save_file(tensors, p, metadata={"limner": text}), overwrite=overwrite)
        return Path(path)

    @classmethod
    def load(cls, path: Path | str) -> Concept:
        """Read a file that `save` wrote. Raises `FileError` for anything else; never runs a pickle."""
        header, tensors = read_safetensors(Path(path), what="concept")
        if header.get("format") != FORMAT:
            raise FileError(f"{path} is a concept of format {header.get('format')}; this limner reads format {FORMAT}")
        del header["format"]
        try:
            return cls(tensors=tensors, **header)
        except TypeError as error:
            raise FileError(f"{path} lacks parts of a concept's header ({error}); teach it again") from error


def read_safetensors(path: Path, *, what: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The limner header and tensors of a file. Raises `FileError` that says what the file is instead."""
    from .formats.reading import read_tensors

    metadata, tensors = read_tensors(path, what=what)
    if "limner" not in metadata:
        raise FileError(
            f"{path} is a safetensors file, but limner did not write it as a {what}: it has no limner header. A file of another "
            "tool is read with `limner import`"
        )
    try:
        header = json.loads(metadata["limner"])
    except json.JSONDecodeError as error:
        raise FileError(f"the header of {path} is damaged ({error})") from error
    if not isinstance(header, dict):
        raise FileError(f"the header of {path} is damaged: it is no table")
    return header, tensors
