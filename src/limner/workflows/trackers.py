"""Losses and previews of a run for TensorBoard or Weights & Biases. Both are optional."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from limner.errors import MissingExtra, UnknownName

if TYPE_CHECKING:
    from PIL import Image

    from limner.engine.train import Progress


class Tracker(Protocol):
    """A watcher of training that also takes scores and pictures of previews."""

    def __call__(self, progress: Progress) -> None: ...
    def shown(self, done: int, scores: Mapping[str, float], sheet: Image.Image) -> None: ...
    def close(self) -> None: ...


def tracker(name: str, *, folder: Path, about: Mapping[str, Any]) -> Tracker:
    """The tracker "tensorboard", which writes into the folder, or "wandb". `about` describes the run. Raises
    `MissingExtra` without the library."""
    known: dict[str, Callable[[Path, Mapping[str, Any]], Tracker]] = {"tensorboard": TensorBoard, "wandb": WandB}
    if name not in known:
        raise UnknownName("tracker", name, known)
    return known[name](folder, about)


class TensorBoard:
    """A tracker that writes events into FOLDER/tensorboard."""

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        made: Any = _library("torch.utils.tensorboard", "tensorboard")
        self.writer = made.SummaryWriter(str(folder / "tensorboard"))
        self.writer.add_text("run", "\n\n".join(f"{key}: {value}" for key, value in about.items()))

    def __call__(self, progress: Progress) -> None:
        for name, value in _numbers(progress).items():
            self.writer.add_scalar(name, value, progress.done)

    def shown(self, done: int, scores: Mapping[str, float], sheet: Image.Image) -> None:
        import numpy as np

        self.writer.add_image("preview", np.asarray(sheet.convert("RGB")), done, dataformats="HWC")
        for name, value in scores.items():
            self.writer.add_scalar(f"preview/{name}", value, done)

    def close(self) -> None:
        self.writer.close()


class WandB:
    """A tracker that sends a run of the project "limner" to the server that the library is set up for."""

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        self.library: Any = _library("wandb", "wandb")
        folder.mkdir(parents=True, exist_ok=True)
        self.run = self.library.init(project="limner", dir=str(folder), config=dict(about))

    def __call__(self, progress: Progress) -> None:
        self.run.log(_numbers(progress), step=progress.done)

    def shown(self, done: int, scores: Mapping[str, float], sheet: Image.Image) -> None:
        named_scores = {f"preview/{name}": value for name, value in scores.items()}
        self.run.log({"preview": self.library.Image(sheet), **named_scores}, step=done)

    def close(self) -> None:
        self.run.finish()


def _numbers(progress: Progress) -> dict[str, float]:
    each = {f"loss/{name}": value for name, value in progress.losses.items()}
    return {"loss": progress.loss, **each, "seconds left": progress.eta}


def _library(module: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtra(f"{extra} is not installed: `pip install limner[{extra}]`") from error
