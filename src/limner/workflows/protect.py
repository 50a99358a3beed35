"""`protect`: changed copies of photographs in memory, which are hard to learn from or to edit. (`protect_request` goes
from files to files.)"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from limner.engine.attach import Adapter
from limner.engine.checkpoint import Run, finish, run_updates
from limner.errors import PictureError
from limner.library.settings import checked_settings
from limner.methods import find_protection

from .learn import artefacts_of
from .requests import ProtectRequest

if TYPE_CHECKING:
    from PIL import Image

    from limner.core.artefact import Artefact
    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.engine.train import Progress


def protect(
    base: Base, subject: Subject, *, method: str = ProtectRequest.method, seed: int = 0, **given: Any
) -> tuple[Artefact, ...]:
    """Change the photographs of `subject` by a method of protection and return the copies as PNG files, in their order.

    `given` are the method's settings. Afterwards the base is in its former state. The copies hinder those who learn
    from them or edit them with a model like `base`; they guarantee nothing (docs/protection.md).

    Raises `UnknownName` for an unknown method or setting, `InputError` for an invalid one, and `PictureError` without
    photographs.
    """
    return finish(protect_updates(base, prepared_protection(base, subject, method, given, seed)))


def prepared_protection(base: Base, subject: Subject, method: str, given: Mapping[str, Any], seed: int) -> Run:
    """Check everything that `protect_updates` needs. Raises as `protect`."""
    function = find_protection(method)
    chosen = checked_settings(function, given, base=base.name)
    if not subject.pictures:
        raise PictureError("there are no photographs to protect: expected one or more")
    recipe = function(subject, **chosen)
    about = {"name": base.name, "family": base.family, "fingerprint": base.fingerprint}
    header = {"method": method, "settings": chosen, "seed": seed, "base": about, "subject": subject.card()}
    return Run(subject, recipe, Adapter(recipe, subject.handle, seed=seed), method, header)


def protect_updates(
    base: Base,
    run: Run,
    *,
    checkpoints: Path | None = None,
    resume: bool = False,
    pause: Callable[[], bool] = lambda: False,
) -> Generator[Progress, None, tuple[Artefact, ...]]:
    """Run a prepared protection, yielding every update; the generator returns the copies. Checkpoints and `pause` are
    those of `engine.checkpoint.run_updates`."""
    tensors, _ = yield from run_updates(
        *(base, run.adapter, run.recipe.tuning, int(run.header["seed"])),
        header=run.header,
        checkpoints=checkpoints,
        resume=resume,
        pause=pause,
    )
    return tuple(artefacts_of(base, run, tensors))


def image_of(copy: Artefact) -> Image.Image:
    """A protected copy as a picture."""
    from PIL import Image

    return Image.open(io.BytesIO(copy.content))


class Difference(NamedTuple):
    """How far a copy is from its photograph."""

    largest: int  # largest change of a colour channel, from 0 to 255
    psnr: float | None  # peak signal-to-noise ratio in dB; None for an equal copy


def difference(photo: Image.Image, copy: Image.Image) -> Difference:
    """How far a copy is from its photograph, of the same size."""
    import numpy as np

    change = np.abs(np.array(photo, dtype=np.int16) - np.array(copy, dtype=np.int16))
    error = float((change.astype(np.float64) ** 2).mean())
    return Difference(int(change.max()), 10 * math.log10(255**2 / error) if error else None)
