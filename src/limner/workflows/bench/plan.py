"""What a bench is to do: methods x settings x subjects x seeds."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.errors import InputError
from limner.evaluation.results import FORMAT
from limner.evaluation.summary import MARKS, POLICIES

if TYPE_CHECKING:
    from limner.core.recipe import Recipe
    from limner.evaluation.datasets import DataSet


SCALES = (0.25, 0.5, 0.75, 1.0, 1.25)
"""How strongly likenesses of a curve are worn."""


@dataclass(frozen=True)
class Plan:
    """Everything that decides the numbers of a run."""

    methods: tuple[tuple[str, tuple[tuple[str, Any], ...]], ...]  # name, settings that are not the default
    data: str = "toys"
    where: tuple[tuple[str, str], ...] = ()  # the loader's arguments
    cases: int = 6
    prompts: int = 10
    seeds: tuple[int, ...] = (0, 1)  # of painting
    teaching_seeds: tuple[int, ...] = (0,)
    base: str = "pocket"
    encoders: tuple[tuple[str, str], ...] = ()  # role, folder or hub id; none: the pocket's
    device: str = "cpu"
    curves: tuple[str, ...] = ()  # methods whose likenesses are painted at several strengths
    scales: tuple[float, ...] = SCALES  # which
    kinds: tuple[str, ...] = ()  # of subjects, where a set has several; none named: all

    def __post_init__(self) -> None:
        from limner.methods import find

        if not self.methods:
            raise InputError("no method is named: a bench needs at least one")
        for name, _ in self.methods:
            if name not in (*POLICIES, *MARKS):
                find(name)
        if not self.seeds or not self.teaching_seeds:
            raise InputError("a bench needs at least one seed to paint with and one to teach with")
        for name in self.curves:
            if name not in [method for method, _ in self.methods] or name in (*POLICIES, *MARKS):
                raise InputError(
                    f"--curve names methods of the bench, and {name!r} is none of them: add it with --methods"
                )

    @property
    def faces(self) -> str:
        """Where the networks of faces of photographs are; empty for the base's own."""
        return dict(self.encoders).get("face", "")

    @property
    def units(self) -> list[Unit]:
        """All of them, methods outermost; policies that learn nothing have one seed of teaching."""
        names = [case.name for case in self.chosen().cases]
        return [
            Unit(method, given, case, seed, scale)
            for method, given in self.methods
            for case in names
            for seed in (self.teaching_seeds if method not in (*POLICIES, *MARKS) else self.teaching_seeds[:1])
            for scale in (sorted({*self.scales, 1.0}) if method in self.curves else (1.0,))
        ]

    def chosen(self) -> DataSet:
        """The set's first cases that have one subject and can be split into references to learn from and to hold
        out."""
        from limner.errors import UnknownName
        from limner.evaluation.datasets import loaders

        known = loaders()
        if self.data not in known:
            raise UnknownName("data set", self.data, known)
        load = known[self.data]
        found = load(**_arguments(self.data, load, dict(self.where)), **self._drawn(load))
        single = (c for c in found.cases if len(c.members) == 1)
        cases = tuple(c for c in single if not self.kinds or c.member.kind in self.kinds)[: self.cases]
        if not cases:
            raise InputError(f"{found.name} has no subject with pictures; absent: {', '.join(found.absent) or 'none'}")
        cut = (replace(c, prompts=c.prompts[: self.prompts], truth=c.truth[: self.prompts]) for c in cases)
        return replace(found, cases=tuple(cut))

    def _drawn(self, load: Callable[..., DataSet]) -> dict[str, int]:
        """Of a set whose subjects are drawn one by one: how many are needed, so that no more are drawn, and how many
        prompts where these are more than it has of itself."""
        known, needed = inspect.signature(load).parameters, dict[str, int]()
        if "count" in known and "count" not in dict(self.where):
            needed["count"] = min(self.cases, known["count"].default)
        usual = known["prompts"].default if "prompts" in known else None
        if isinstance(usual, int) and "prompts" not in dict(self.where) and self.prompts > usual:
            needed["prompts"] = self.prompts
        return needed


def _arguments(name: str, load: Callable[..., DataSet], where: dict[str, str]) -> dict[str, str]:
    """The arguments of a data set's loader. Raises `InputError` that names the one that is missing or that it does not
    have."""
    known = inspect.signature(load).parameters
    wanted = [f"{k}=PATH" for k, p in known.items() if p.default is p.empty]
    expected = f"say --where {' '.join(wanted)}" if wanted else "it needs no --where"
    for key in where:
        if key not in known:
            raise InputError(f"the data set {name} has no argument {key!r}: {expected}")
    missing = [key for key, p in known.items() if p.default is p.empty and key not in where]
    if missing:
        raise InputError(f"the data set {name} is not part of limner and needs its {' and '.join(missing)}: {expected}")
    return where


def method_of(name: str) -> Callable[..., Recipe] | None:
    """The method of a unit, of limner or of a file; None for what learns nothing."""
    from limner.methods import find

    return None if name in (*POLICIES, *MARKS) else find(name)


@dataclass(frozen=True)
class Unit:
    """One likeness to teach and judge, worn at a strength."""

    method: str
    settings: tuple[tuple[str, Any], ...]
    case: str
    seed: int
    scale: float = 1.0

    @property
    def lesson(self) -> Unit:
        """What is taught: units that differ in strength alone are taught once."""
        return replace(self, scale=1.0)

    @property
    def label(self) -> str:
        """The method, with the settings that were changed."""
        told = ", ".join(f"{k}={v}" for k, v in self.settings)
        method = Path(self.method).name if ".py:" in self.method else self.method
        name = f"{method} ({told})" if told else method
        return name if self.scale == 1 else f"{name} at {self.scale:g}"

    def key(self, about: str, *more: str) -> str:
        """The name of its file: a hash of itself and of what else decides its numbers."""
        told = [*([] if self.scale == 1 else [self.scale]), *filter(None, more)]
        text = json.dumps([FORMAT, about, self.method, self.settings, self.case, self.seed, *told], default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:20]


@dataclass(frozen=True)
class Standard:
    """A named size of bench."""

    cases: int
    prompts: int
    seeds: tuple[int, ...] = field(default=(0, 1))


SIZES = {"standard": Standard(3, 8, (0,)), "quick": Standard(1, 5, (0,))}


@dataclass(frozen=True)
class Suite:
    """A named bench: a data set, the methods that are for it, and its sizes."""

    data: str
    scope: str  # of the methods that are benched where none are named
    sizes: dict[str, Standard]
    columns: tuple[str, ...]  # numbers of the table that is printed


FACES = ("H", "F", "T", "obeyed", "face_identity", "copy_index", "landmark_freedom")
SUITES = {
    "faces": Suite(
        "people",
        "face",
        {
            "standard": Standard(3, 8, (0, 1, 2, 3)),
            "quick": Standard(1, 4, (0, 1)),
            "whole": Standard(15, 40, (0, 1, 2, 3)),
        },
        FACES,
    )
}
"""Held-out people, prompts of all kinds by turns, four seeds."""

TABLE1 = {
    "object": Suite(
        "toys",
        "object",
        {"standard": Standard(2, 5, (0, 1)), "quick": Standard(1, 2, (0,)), "whole": Standard(6, 25, (0, 1, 2, 3))},
        ("clip_t", "clip_i", "F", "T", "H", "copy_index"),
    ),
    "face": Suite(
        "people",
        "face",
        {"standard": Standard(2, 8, (0, 1)), "quick": Standard(1, 4, (0,)), "whole": Standard(15, 40, (0, 1, 2, 3))},
        ("clip_t", "face_identity", "F", "T", "H", "copy_index"),
    ),
}
"""The two parts of the suite table1. Whole, it is the survey's protocol: 25 prompts an object class, 40 a face, four
pictures of each."""


def size_of(sizes: Mapping[str, Standard], name: str, *, suite: str) -> Standard:
    """A named size. Raises `InputError` where the suite has no such size."""
    if name not in sizes:
        raise InputError(
            f"the suite {suite} has the sizes {', '.join(sizes)}, not {name!r}; say --cases, --prompts, --seeds"
        )
    return sizes[name]
