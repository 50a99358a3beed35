"""The certificate: checks that a concept must pass before anybody relies on it."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from limner.core.concept import Concept
from limner.core.pixels import to_images
from limner.core.untrusted import content_hash
from limner.core.wording import counted
from limner.engine.attach import attach
from limner.engine.sample import PaintSettings, sample
from limner.errors import CheckError
from limner.library.opening import adapter_of, recipe_of

if TYPE_CHECKING:
    from PIL import Image

    from limner.core.base import Base

SHOWN = 1.0
"""Least mean difference of pixels, of 255, at which the concept counts as visible in a picture."""
LEFT = 1.25
"""Largest change of pictures of other things, as a multiple of the change between two seeds."""
OTHERS = ("a house in the snow", "a red car at night")


@dataclass(frozen=True)
class Check:
    """The outcome of one check."""

    what: str
    ok: bool
    finding: str
    advice: str = ""  # remedy where the check fails


@dataclass(frozen=True)
class Certificate:
    """All checks of a concept, in the precision that the base was opened in."""

    checks: tuple[Check, ...]
    dtype: str

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)

    def __str__(self) -> str:
        lines = [f"{'ok ' if c.ok else 'BAD'}  {c.what:34} {c.finding}" for c in self.checks]
        return "\n".join([*lines, f"in {self.dtype}"])

    @property
    def failure(self) -> str:
        """The failed checks with their remedies, in one line; empty where none failed."""
        bad = [f"{check.what}: {check.finding}. {check.advice}".strip() for check in self.checks if not check.ok]
        if not bad:
            return ""
        return (
            f"the concept is saved and can be used, but fails {len(bad)} of {counted(len(self.checks), 'check')}. "
            + " ".join(bad)
        )

    def demand(self) -> None:
        """Raise `CheckError` that names the failed checks."""
        if self.failure:
            raise CheckError(self.failure)


def certify(base: Base, concept: Concept, *, steps: int = 8, seed: int = 0, any_base: bool = False) -> Certificate:
    """Check a concept on a base: tensors and pictures are finite numbers, pictures of prompts that name it change,
    pictures of other prompts stay near the base's, and after saving and loading it paints the same.

    "Near" is at most `LEFT` times the mean difference between two of the base's pictures of one prompt. These prompts
    name other things than the concept's class, because training always shifts the class as well (`limner score`
    measures that drift). Methods that act on every picture (encoders, training-free ones) are exempt from this check.
    """
    import torch

    bad = [n for n, t in concept.tensors.items() if t.is_floating_point() and not bool(torch.isfinite(t.float()).all())]
    checks = [
        Check(
            "its tensors are finite numbers",
            not bad,
            f"{len(concept.tensors)} tensors" + (f", not {bad[0]}" if bad else ""),
            "Train it again with a tenth of the learning rate, or in float32 (--dtype float32).",
        )
    ]
    checks += [_as_written(concept)] if concept.sha256 else []
    if not all(check.ok for check in checks):
        return Certificate(tuple(checks), _dtype(base))
    says = f"a photo of {concept.handle}"
    others = list(OTHERS)
    how = PaintSettings(steps=steps)
    with_it, finite = _painted(base, concept, [says, *others], seed, how, any_base)
    without, _ = _painted(base, concept, [says, *others], seed, how, any_base, scale=0.0)
    again, _ = _painted(base, concept, [says, *others], seed + 1, how, any_base, scale=0.0)
    less = "Use it at a lower scale (limner paint … --scale 0.7), or train it with a lower learning rate."
    checks.append(Check("its pictures are finite numbers", finite, f"{len(with_it)} pictures of {steps} steps", less))
    shown = _difference(with_it[0], without[0])
    more = "Train it for more steps (--steps), or with a higher learning rate (--lr)."
    seen = f"by {shown:.1f} of 255 (at least {SHOWN:g})"
    checks.append(Check("prompts that name it change", shown >= SHOWN, seen, more))
    moved, usual = _mean(with_it[1:], without[1:]), _mean(without[1:], again[1:])
    framework = recipe_of(concept).framework
    if framework in ("test-time fine-tuning", "hybrid"):
        limit = LEFT * usual
        checks.append(
            Check(
                "prompts of other things stay",
                moved <= limit,
                f"changed by {moved:.1f} of 255 (at most {limit:.1f})",
                "Paint other things without it; to change them less, train fewer steps (now "
                f"{concept.cost.get('steps', 0):g}, "
                "--steps), use it at a lower scale (limner paint … --scale 0.7), or learn a word alone (--method "
                "textual_inversion).",
            )
        )
    else:
        checks.append(
            Check(
                "prompts of other things",
                True,
                f"change by {moved:.1f} of 255: this method ({framework}) may act on all",
            )
        )
    with tempfile.TemporaryDirectory() as folder:
        loaded = Concept.load(concept.save(Path(folder) / "concept.safetensors"), trust=concept.trusted)
    same = (
        _painted(base, loaded, [says], seed, how, any_base)[0][0].tobytes()
        == _painted(base, concept, [says], seed, how, any_base)[0][0].tobytes()
    )
    checks.append(Check("saved and loaded, it paints the same", same, "to the bit" if same else "another picture"))
    return Certificate(tuple(checks), _dtype(base))


def _as_written(concept: Concept) -> Check:
    """Check that header and tensors still match the hash in the file."""
    now = content_hash(json.dumps(concept.header), concept.tensors)
    same = now == concept.sha256
    return Check(
        "it is as it was written", same, f"SHA-256 {now[:16]}" + ("" if same else f", not {concept.sha256[:16]}")
    )


def _painted(
    base: Base,
    concept: Concept,
    prompts: list[str],
    seed: int,
    how: PaintSettings,
    any_base: bool,
    *,
    scale: float = 1.0,
) -> tuple[list[Image.Image], bool]:
    """A picture of each prompt, and whether all of the latents were finite."""
    import torch

    adapter = adapter_of(concept, base, scale=scale, any_base=any_base)
    with torch.no_grad(), attach(base, (adapter,)) as adapted:
        last = list(sample(adapted, prompts, seeds=[seed] * len(prompts), settings=how))[-1].latents
        pixels = base.decode(last)
    finite = bool(torch.isfinite(last).all() and torch.isfinite(pixels).all())
    return to_images(torch.nan_to_num(pixels)), finite


def _difference(first: Image.Image, second: Image.Image) -> float:
    """The mean absolute difference of two pictures, of 255."""
    import numpy as np

    return float(np.abs(np.asarray(first, dtype=float) - np.asarray(second, dtype=float)).mean())


def _mean(first: list[Image.Image], second: list[Image.Image]) -> float:
    return sum(_difference(a, b) for a, b in zip(first, second, strict=True)) / len(first)


def _dtype(base: Base) -> str:
    return str(base.dtype).removeprefix("torch.")
