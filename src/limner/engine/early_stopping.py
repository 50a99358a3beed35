"""Early stopping of training by cheap measurements, and the choice among intermediate states.

The measurements are losses on fixed pictures under fixed noise and times, so that they change only with the trained
parameters. They are callables for `learn(watch=…)`; training ends where one returns True.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from limner.core.files import MARK, atomic_write, check_ours, is_ours, write_text
from limner.core.streams import stream
from limner.core.types import Pass
from limner.core.untrusted import parse_json
from limner.core.wording import counted
from limner.errors import InputError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from limner.core.concept import Concept
    from limner.core.subject import Subject

    from .attach import AdaptedBase
    from .train import Progress

Watch: TypeAlias = "Callable[[Progress], object]"
TIMES = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Times at which the loss is measured, as shares of the noise schedule."""
SIGN: dict[str, object] = {MARK: "losses on the way"}
"""First line of the file of measurements, which marks it as limner's."""


@dataclass
class Signals:
    """Measures the loss on the reference images and on held-out pictures every few updates, absolutely and relative to
    the unchanged base's loss.

    `stop` is the criterion that ends training: "variance" (DVAR, arXiv:2302.04841: the variance of the last `patience`
    losses is below 0.15 times that of all), "overfit" (the loss is below `least` times the base's, the indicator of
    arXiv:2507.02687), "gap" (the held-out loss rises by a tenth of the base's loss above its minimum), or empty for
    none. `file` stores the measurements (`looks`), so that a resumed run ends at the same update as an uninterrupted
    one.
    """

    subject: Subject
    held_out: Sequence[Image.Image] = ()
    every: int = 10
    stop: str = ""
    patience: int = 6
    least: float = 0.35
    file: Path | None = None
    looks: list[dict[str, float]] = field(default_factory=list)
    _fixed: Any = None

    def __post_init__(self) -> None:
        if self.stop not in ("", "variance", "overfit", "gap"):
            raise InputError(f"training can stop on 'variance', 'overfit' or 'gap', not on {self.stop!r}")
        if self.stop == "gap" and not self.held_out:
            raise InputError("to stop on the gap, some pictures must be held out from training")

    def __call__(self, progress: Progress) -> bool:
        if progress.done % self.every:
            return False
        if self._fixed is None:
            self._fixed = self._prepare(progress.adapted)
            self.looks = [look for look in self._stored() if look["done"] < progress.done]
        self.looks.append({"done": progress.done, **self._look(progress.adapted)})
        if self.file is not None:
            text = "".join(json.dumps(look) + "\n" for look in (SIGN, *self.looks))
            write_text(check_ours(self.file), text, overwrite=True)
        return self._enough()

    @property
    def last(self) -> dict[str, float]:
        """The latest measurement: the loss, its ratio to the base's, and the gap where pictures are held out."""
        return self.looks[-1] if self.looks else {}

    def _prepare(self, adapted: AdaptedBase) -> dict[str, tuple[Tensor, float]]:
        """Latents of each set of pictures, and the unchanged base's loss on them."""
        import torch

        from limner.core.pixels import to_tensor

        base = adapted.base
        sets = {"loss": self.subject.tensor(base.picture_size)}
        if self.held_out:
            sets["held_out"] = to_tensor(self.held_out, base.picture_size)
        baselines = {}
        with torch.no_grad():
            for name, pixels in sets.items():
                latents = base.encode(pixels)[0].to(base.dtype)
                with adapted.suspended():
                    baselines[name] = latents, fixed_loss(adapted, latents, f"a photo of a {self.subject.noun}", Pass)
        return baselines

    def _look(self, adapted: AdaptedBase) -> dict[str, float]:
        signals: dict[str, float] = {}
        for name, (latents, before) in self._fixed.items():
            value = fixed_loss(adapted, latents, f"a photo of {self.subject.handle}", adapted.run)
            signals |= {name: value, f"{name}_ratio": value / before}
        if "held_out" in signals:
            signals["gap"] = signals["held_out_ratio"] - signals["loss_ratio"]
        return signals

    def _enough(self) -> bool:
        losses = [look["loss"] for look in self.looks]
        match self.stop:
            case "variance" if len(losses) >= 2 * self.patience:
                return statistics.pvariance(losses[-self.patience :]) < 0.15 * statistics.pvariance(losses)
            case "overfit":
                return self.looks[-1]["loss_ratio"] < self.least
            case "gap" if len(self.looks) > 1:
                best = min(look["held_out_ratio"] for look in self.looks)
                return self.looks[-1]["held_out_ratio"] > best + 0.1
        return False

    def _stored(self) -> list[dict[str, float]]:
        if self.file is None or not self.file.exists():
            return []
        text = check_ours(self.file).read_text(encoding="utf-8")
        lines = [parse_json(line, f"a line of {self.file}") for line in text.splitlines() if line]
        return [line for line in lines if MARK not in line]


def fixed_loss(adapted: AdaptedBase, latents: Tensor, prompt: str, run: Callable[..., Pass]) -> float:
    """Mean squared error of the denoiser on `latents` at TIMES, under noise that is always the same."""
    import torch

    base = adapted.base
    total = []
    about: dict[str, Any] = {
        "prompts": (adapted.expand_prompt(prompt),) * len(latents),
        "seeds": tuple(range(len(latents))),
    }
    with torch.no_grad():
        states = adapted.text_states([prompt] * len(latents))
        for k, share in enumerate(TIMES):
            noise = torch.randn(latents.shape, generator=stream(0, "signals", k)).to(latents)
            time = torch.full((len(latents),), int(share * base.num_train_times), device=base.device)
            noised = base.noised(latents, noise, time)
            out = base.predict(noised, time, states, context=run(time=time, latents=noised, **about))
            total.append(float((out.float() - base.target(latents, noise, time).float()).square().mean()))
    return statistics.fmean(total)


@dataclass
class Keeper:
    """Saves intermediate states of training in `folder`, to choose the best one afterwards. `marks` is the number of
    states, equally spaced, with the last update among them."""

    folder: Path
    marks: int = 6

    def __call__(self, progress: Progress) -> None:
        if progress.done in self.steps(progress.total) and progress.done < progress.total:
            from safetensors.torch import save_file

            tensors = {k: v.detach().cpu().contiguous() for k, v in progress.snapshot().tensors.items()}
            about = {MARK: json.dumps({"what": "a state on the way", "done": progress.done})}
            path = check_ours(self._path(progress.done))
            atomic_write(path, lambda p: save_file(tensors, p, metadata=about), overwrite=True)

    def steps(self, total: int) -> list[int]:
        """The numbers of updates after which states are saved; the last is `total`."""
        return sorted({max(1, round(total * (k + 1) / self.marks)) for k in range(self.marks)})

    def best(
        self, concept: Concept, value: Callable[[Concept], float], *, say: Callable[[str], object] = lambda _: None
    ) -> Concept:
        """The state, or the final concept, with the greatest `value`. Its header records the number of updates and the
        values of all."""
        from safetensors.torch import load_file

        total = int(concept.cost["steps"])
        own = set(concept.tensors)
        choices = {total: concept}
        for path in self._there():
            done = int(path.stem.removeprefix("kept-"))
            tensors = {k: v for k, v in load_file(path).items() if k in own}
            if tensors.keys() == own and done < total:
                choices[done] = replace(concept, tensors=tensors, cost={**concept.cost, "steps": done})
        values = {}
        for done, choice in sorted(choices.items()):
            values[done] = value(choice)
            say(f"after {counted(done, 'update')}: {values[done]:.3f}")
        best = max(values, key=lambda done: (values[done], done))
        record = {"kept_after": best, "of": total, "values": {str(k): round(v, 4) for k, v in values.items()}}
        return choices[best].scored(record)

    def clear(self) -> None:
        """Delete the saved states."""
        for path in self._there():
            path.unlink()

    def _there(self) -> list[Path]:
        """The saved states in the folder; files of such names that limner did not write are skipped."""
        return [path for path in sorted(self.folder.glob("kept-*.safetensors")) if is_ours(path)]

    def _path(self, done: int) -> Path:
        return self.folder / f"kept-{done:06}.safetensors"


def together(*watches: Watch) -> Watch:
    """One watch that calls several; training ends where any of them returns True."""

    def watch(progress: Progress) -> bool:
        answers = [each(progress) for each in watches]  # a list, so that every watch sees every update
        return any(each is True for each in answers)

    return watch
