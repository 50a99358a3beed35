"""Method, time and memory of learning before it begins, from results that are on disk. Nothing heavy is imported here.

Seconds are those of the base's own bench, scaled by the settings, and by this machine's speed where it was measured
(`limner.workflows.estimate` measures it once and stores it in the cache).
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from limner.core.cache import cache_folder
from limner.core.files import write_text
from limner.core.method import settings
from limner.library.settings import checked_settings
from limner.methods import find

from .choose_method import Choice, choose, measured
from .form import memory_of_method, picture_seconds, tuned_by, work_of_method

REFERENCE = "dreambooth"
"""The method by whose updates a machine's speed is measured. It was measured on the bench, and its updates are nothing
but passes of the denoiser, forwards and back, and the optimiser."""

PICTURES_AFTER = 28.0
"""Pictures that are painted after training, in those of the default number of steps: 12 for scores, 12 previews, and
for the checks 11 of 8 steps."""
SAMPLE = 0.8
"""A sample during training, of 20 steps, in the same pictures."""
FORM = 2
"""Number of the form of a stored speed; files of an earlier form are not read."""


@dataclass(frozen=True)
class Estimate:
    """The method that a goal leads to, and the cost of learning by it.

    `seconds` are those of training and of painting class images before it; `between` are the ends of the range. Opening
    the base comes before. `rest_seconds` are those of the samples during training, and of the scores, previews and
    checks after it. All are None where unknown; `basis` says why, and otherwise where the numbers are from.
    """

    method: str
    why: str
    seconds: float | None
    memory_bytes: int | None
    basis: str
    between: tuple[float, float] | None = None
    rest_seconds: float | None = None

    @property
    def whole_seconds(self) -> float | None:
        """Seconds from the first update's preparation to the last check; None where unknown."""
        return None if self.seconds is None else self.seconds + (self.rest_seconds or 0.0)


@dataclass(frozen=True)
class Speed:
    """This machine's speed on a base. The times are seconds."""

    updates: tuple[float, ...]  # one by one, by REFERENCE at its default settings
    pictures: tuple[float, ...]  # for each class image, at the default number of sampling steps
    device: str


def quick_estimate(
    goal: str,
    kind: str = "object",
    base: str = "pocket",
    *,
    method: str = "",
    given: Mapping[str, Any] | None = None,
    budget: float | None = None,
    photographs: bool = False,
    device: str | None = None,
    sample_every: int = 0,
    pace: float | None = None,
) -> Estimate:
    """Estimate learning without loading torch, quickly enough for every move of a slider.

    goal: fast, balanced or best
    kind: kind of the subject
    base: name of the base
    method: a method that the user has chosen; empty: the one for the goal
    given: settings that differ from the defaults
    budget: seconds after which training ends
    photographs: whether the pictures are photographs
    device: the device that the base is opened on, as the user names it
    sample_every: updates between samples of one prompt; 0: none
    pace: how many times longer trainings lasted here than where the bench was measured; None: this machine's speed,
        where it was measured

    Raises `UnknownName` for an unknown goal, method or setting, and `InputError` where no method fits the budget.
    """
    about: dict[str, Any] = {"base": base, "goal": goal, "kind": kind, "budget": budget, "photographs": photographs}
    choice = Choice(method, "it was chosen by name") if method else choose(**about)
    chosen = checked_settings(find(choice.method), given or {}, base=base)
    memory = memory_of_method(choice.method, base)
    row = measured(base).get(choice.method)
    if row is None:
        basis = f"{choice.method} was not measured on {base}; its time is known once it has made a few updates"
        return Estimate(choice.method, choice.why, None, memory, basis)
    whole = training_seconds(choice.method, base)
    training = whole * work(choice.method, chosen)
    painting = picture_seconds() * class_images(chosen)
    speed = stored_speed(base, device) if pace is None else None
    (slow, fast), (slow_picture, fast_picture) = factors(speed, base) if speed else ((pace or 1.0,) * 2,) * 2
    # class images of an earlier run may be in the cache
    least, most = training * fast, training * slow + painting * slow_picture
    images = painting * (slow_picture * fast_picture) ** 0.5
    middle = training * (slow * fast) ** 0.5 + images
    limit = float("inf") if budget is None else budget
    ends = (round(min(least, limit), 1), round(min(most, limit), 1))
    basis = f"{whole:.0f} s of training where it was measured"
    if pace is not None:
        basis += f", times {pace:.2g} as the last trainings here took"
    else:
        basis += ", scaled by this machine's speed" if speed else "; this machine's speed was not measured yet"
    if painting:
        basis += f"; {images:.0f} s of class images before it, unless an earlier training of this class painted them"
    samples = (updates(choice.method, chosen) - 1) // sample_every if sample_every else 0
    rest = (PICTURES_AFTER + SAMPLE * max(samples, 0)) * picture_seconds() * (slow_picture * fast_picture) ** 0.5
    return Estimate(choice.method, choice.why, round(min(middle, limit), 1), memory, basis, ends, round(rest, 1))


def training_seconds(method: str, base: str) -> float:
    """Seconds of the updates of a method at its defaults, where its bench was measured.

    The bench's own seconds also hold the class images, where no earlier training had painted them. The work in updates
    of REFERENCE does not, but counts all updates of a method that may end early. So the smaller one is taken.
    """
    row, updates = measured(base)[method], work_of_method(method, base)
    return float(min(row["seconds"], updates * reference_seconds(base)) if updates else row["seconds"])


def reference_seconds(base: str) -> float:
    """Seconds of an update of REFERENCE, where the bench was measured."""
    usual = {setting.name: setting.default for setting in settings(find(REFERENCE))}
    return float(measured(base)[REFERENCE]["seconds"] / usual["steps"])


def work(method: str, chosen: Mapping[str, Any]) -> float:
    """The work of training by these settings as a multiple of that by the defaults: updates times pictures in each."""
    usual = {setting.name: setting.default for setting in settings(find(method))}
    counts = [name for name in tuned_by(method) if name.endswith("steps")]
    before = sum(usual[name] for name in counts)
    share = sum(chosen[name] for name in counts) / before if before else 1.0
    return share * (chosen["batch"] / usual["batch"] if usual.get("batch") else 1.0)


def updates(method: str, chosen: Mapping[str, Any]) -> int:
    """Number of updates of training by these settings."""
    return sum(int(chosen[name]) for name in tuned_by(method) if name.endswith("steps"))


def class_images(chosen: Mapping[str, Any]) -> int:
    """Number of class images that the base paints before training by these settings."""
    return int(chosen.get("num_class_pictures", 0)) if chosen.get("prior_weight", 1.0) else 0


def factors(speed: Speed, base: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """How many times longer than where the bench was measured an update takes here, and a picture: the most and the
    least of those measured."""
    update, picture = reference_seconds(base), picture_seconds()
    return (
        (max(speed.updates) / update, min(speed.updates) / update),
        (max(speed.pictures) / picture, min(speed.pictures) / picture),
    )


def stored_speed(base: str, device: str | None = None) -> Speed | None:
    """This machine's speed on a base, where it was measured before; else None."""
    try:
        record = json.loads(_speed_file(base, device).read_text(encoding="utf-8"))
        return Speed(tuple(record["updates"]), tuple(record["pictures"]), str(record["device"]))
    except (OSError, ValueError, KeyError, TypeError):  # it was not measured, or the file is damaged
        return None


def store_speed(speed: Speed, base: str, device: str | None = None) -> None:
    """Write this machine's speed on a base into the cache."""
    path = _speed_file(base, device)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(asdict(speed)), overwrite=True)


def _speed_file(base: str, device: str | None) -> Path:
    """The file of the speed; another number of cores, or other results of the bench, have another file."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    key = (FORM, base, device, platform.node(), cores, measured(base).get(REFERENCE))
    return cache_folder() / f"speed-{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.json"
