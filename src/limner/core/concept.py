"""A learned concept: one safetensors file whose header records how it was made."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.errors import FileError

from .artefact import unpacked
from .files import atomic_write, check_ours
from .headers import check_header, subject_handles
from .tensor_files import read_checked
from .untrusted import HASH, content_hash

if TYPE_CHECKING:
    from torch import Tensor

    from .artefact import Artefact
    from .base import Base
    from .recipe import Recipe


FORMAT = 2
"""Version of the file format. Files of format 1, which have no hash of their content, are still read."""


OPENS = ("model",)
"""Settings whose value is the folder or hub id of a network to load."""


RUNS = ("appeal", "judge")
"""Settings whose value may be code to run, as FILE.py:function. Sampling runs none of it."""


@dataclass(frozen=True)
class Concept:
    """A learned subject, to paint with, save and load.

    `tensors` hold every change to the base; the other fields are the header of its file.
    """

    handle: str  # the word for it in prompts: "<rex>"
    method: str  # name of the method, or "file.py:function"
    settings: dict[str, Any]
    base: dict[str, str]  # name, family, fingerprint
    subject: dict[str, Any]  # the subject's card: class noun, kind, names and hashes of the pictures
    seed: int
    tensors: Mapping[str, Tensor] = field(repr=False)
    losses: list[float] = field(default_factory=list, repr=False)
    scores: dict[str, Any] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    weights: dict[str, str] = field(default_factory=dict)  # pre-trained weights it was trained from: name -> hash
    method_sha256: str = ""  # hash of the method's file, where the method is "file.py:function"
    after: str = ""  # hash of the tensors of the concept learned before, from which it started; empty for none
    members: tuple[dict[str, Any], ...] = ()
    """The concepts that a merged concept was made of, each as a table of the fields of `core.headers.MEMBER`. Its field
    `keeps` lists the numbers of the modifiers of that recipe that act beside the merged change."""
    # whether code and networks that its header names may be run and opened; False for a file, unless the user allows it
    trusted: bool = field(default=True, compare=False)
    sha256: str = field(default="", compare=False)  # hash of header and tensors in the file that it was read from

    def check_opens(self, chosen: Mapping[str, Any]) -> None:
        """Raise `FileError` where the settings open a network that only the concept's own file names."""
        opened = [str(chosen[name]) for name in OPENS if chosen.get(name)]
        if opened and not self.trusted:
            raise FileError(
                f"{self.handle} wants to open {opened[0][:200]!r}, a network that its file names; limner opens such a "
                "network only for files that you trust: give --trust (in Python: Concept.load(…, trust=True)) if you "
                "know where the file is from"
            )

    def _check_weights(self, name: str, base: Base) -> None:
        """Raise `FileError` where the pre-trained weights differ from those that the concept was trained from.

        Older concepts record no hash of them and pass. On another base of the family, the weights for that base are
        used, so that their hash differs by right.
        """
        from .weights import mark

        known = self.weights.get(name)
        if known and base.fingerprint == self.base["fingerprint"] and known != (now := mark(name, base)):
            raise FileError(
                f"{self.handle} stands on pre-trained weights of {name} with hash {known}, and those here have {now}: "
                "they were trained or imported again since; restore the old weights, or learn the subject again"
            )

    def scored(self, scores: Mapping[str, Any]) -> Concept:
        """The same concept with these scores in its header."""
        return replace(self, scores={**self.scores, **scores})

    @property
    def header(self) -> dict[str, Any]:
        """Everything but the tensors, as JSON can hold it."""
        header = {k: v for k, v in asdict(replace(self, tensors={})).items() if k not in _NOT_TOLD}
        members, after = header.pop("members"), header.pop("after")
        more = {**({"after": after} if after else {}), **({"members": list(members)} if members else {})}
        return {"format": FORMAT, **header, **more}

    @property
    def handles(self) -> tuple[str, ...]:
        """Its handles: one for each subject that was merged into it, that it learned after another, or beside it."""
        cards = [member["subject"] for member in self.members] or [self.subject]
        return tuple(handle for card in cards for handle in subject_handles(card))

    @property
    def has_trigger(self) -> bool:
        """Whether prompts name it by a word. A file of another tool that was trained without one acts in every prompt
        while it is attached."""
        from .concept import IMPORTED

        return self.method != IMPORTED or bool(self.settings.get("words") or self.settings.get("says"))

    @property
    def artefacts(self) -> tuple[Artefact, ...]:
        """Files that the method made beside the concept: pictures, a scene, vector paths."""
        return unpacked(self.tensors)

    @property
    def num_bytes(self) -> int:
        return sum(t.numel() * t.element_size() for t in self.tensors.values())

    def save(self, path: Path | str, *, overwrite: bool = False) -> Path:
        """Write the file, whole or not at all. Raises `FileError` when it exists (with `overwrite`, when limner did not
        write the existing file), and when it cannot be written, as on a full disk."""
        from safetensors.torch import save_file

        if overwrite:
            check_ours(Path(path))

        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}
        text = json.dumps(self.header)
        metadata = {"limner": text, HASH: content_hash(text, tensors)}
        atomic_write(Path(path), lambda p: save_file(tensors, p, metadata=metadata), overwrite=overwrite)
        return Path(path)

    @classmethod
    def load(cls, path: Path | str, *, trust: bool = False) -> Concept:
        """Read a file that `save` wrote. Raises `FileError` for any other file, and for one that was changed since.

        A file is data: no code or network that it names is run or opened. A method in a file of yours is used if you
        named it before, by `limner.methods.find("FILE.py:function")` or `--method`. With `trust`, the concept's own
        header may name such methods, and networks to open.
        """
        header, tensors, digest = read_checked(Path(path), what="concept")
        if header.get("format") not in (1, FORMAT):
            raise FileError(f"{path} is a concept of format {header.get('format')}; this limner reads format {FORMAT}")
        known = {f.name: f for f in fields(cls) if f.name not in _NOT_TOLD}
        texts: dict[str, Any] = {"method_sha256": "", "after": ""}
        defaults = {"losses": [], "scores": {}, "cost": {}, "versions": {}, "members": [], **texts}
        values = {**defaults, **{name: value for name, value in header.items() if name != "format"}}
        missing, strange = [n for n in known if n not in values], [n for n in values if n not in known]
        if missing:
            raise FileError(f"{path} lacks parts of a concept's header ({', '.join(missing)}); learn it again")
        if strange:
            raise FileError(f"{path} has a field in its header that limner does not write: {strange[0][:100]!r}")
        check_header(values, tensors, path)
        values["members"] = tuple(values["members"])
        return cls(tensors=tensors, trusted=trust, sha256=digest, **values)


_NOT_TOLD = ("tensors", "trusted", "sha256")
"""Fields of a concept that are not in its header."""


def setting_kinds(make: Callable[..., Recipe]) -> dict[str, type]:
    """The type of each setting of a method, by its signature."""
    kinds = {"int": int, "float": float, "str": str, "bool": bool}
    given = list(inspect.signature(make).parameters.values())[1:]
    return {p.name: kinds[getattr(p.annotation, "__name__", p.annotation)] for p in given}


IMPORTED = "imported"
"""The method in the header of a concept that was imported from a file of another tool."""
