"""A run: one folder with everything it needs to go on, here or on another machine."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from limner.core.files import atomic_write
from limner.core.interrupts import stopping
from limner.engine.muon import Muon
from limner.pocket import SIZE
from limner.pocket.judges import WEIGHTS

CHECKPOINT_SECONDS = 60.0
SAY_SECONDS = 15.0


@dataclass(frozen=True)
class Run:
    """The folder of a run and its settings."""

    folder: Path
    world: str = "whole"
    size: int = SIZE
    pictures: int = 40_000
    seed: int = 0
    device: str = "cpu"
    scale: float = 1.0
    """Multiplies the number of steps of every stage: 1 is the two-core edition."""
    before: Path | None = None
    """A run whose weights every stage begins with, so that a world can grow on what was learned of a smaller one."""
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    """Precision of computation; float32 is faster on a processor that has no matrix unit for bfloat16."""
    target: Path = WEIGHTS
    """Where the export goes: the package itself if not said."""
    samples: int = 6_000_000
    """Training samples that the denoiser sees in all, before `scale`."""
    painted: int = 5_000
    """Pictures that the evaluation's Fréchet distance is over."""
    first: int = 0
    """Number of the first batch of a stage: a second round over the same pictures (`before`) begins where the first
    ended, and sees them in another order and otherwise varied."""

    def mixed(self) -> torch.autocast:
        """Matrix products and convolutions in the run's precision while inside.

        Without its cache: within one long autocast the cached half-precision weights would never be refreshed.
        """
        return torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bfloat16", cache_enabled=False)

    def steps(self, number: int) -> int:
        return max(2, round(number * self.scale))

    def path(self, name: str) -> Path:
        return self.folder / name

    def log(self, stage: str, **values: Any) -> None:
        """One line in the stage's log."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.path(f"{stage}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")

    def weights(self, name: str) -> dict[str, Tensor]:
        """The tensors of a finished stage."""
        return load_file(self.path(f"{name}.safetensors"), device="cpu")

    def begin(self, name: str, network: nn.Module) -> None:
        """Give the network the weights of the run before this one, as far as they go: of a tensor of another size, the
        corner that both have."""
        if self.before is None or not (self.before / f"{name}.safetensors").exists():
            return
        there = network.state_dict()
        given = load_file(self.before / f"{name}.safetensors", device="cpu")
        fit = {k: v for k, v in given.items() if k in there and v.ndim == there[k].ndim}
        for key, value in fit.items():
            corner = tuple(slice(min(a, b)) for a, b in zip(value.shape, there[key].shape, strict=True))
            there[key][corner] = value[corner]
        network.load_state_dict(there)
        print(f"{name} begins with {len(fit)} of {len(there)} tensors of {self.before}", file=sys.stderr, flush=True)

    def finished(self, name: str) -> bool:
        return self.path(f"{name}.safetensors").exists()

    def save(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        whole = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
        path = self.path(f"{name}.safetensors")
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, lambda p: save_file(whole, p), overwrite=True)


def keep(run: Run, names: Iterable[str]) -> None:
    """Take finished networks of the run before this one as they are; those that this run has already stay."""
    for name in names:
        if not run.finished(name):
            assert run.before is not None
            run.save(name, load_file(run.before / f"{name}.safetensors", device="cpu"))


class Stopped(KeyboardInterrupt):
    """The run was asked to stop and has saved where it is."""


class Clock:
    """Says how far a stage is, now and then, with the time left."""

    def __init__(self, name: str, total: int) -> None:
        self.name, self.total = name, total
        self.first, self.began, self.last_report = -1, 0.0, 0.0

    def tick(self, step: int, values: Mapping[str, float]) -> None:
        now = time.monotonic()
        if self.first < 0:  # time before the first step does not count for the pace
            self.first, self.began, self.last_report = step + 1, now, now
            return
        if now - self.last_report >= SAY_SECONDS or step + 1 == self.total:
            self.last_report = now
            left = (now - self.began) / max(step + 1 - self.first, 1) * (self.total - step - 1)
            text = "  ".join(f"{k} {v:.4f}" for k, v in values.items())
            print(
                f"{self.name}  {step + 1}/{self.total}  {text}  {left / 60:.1f} min left", file=sys.stderr, flush=True
            )


def train(
    run: Run,
    name: str,
    network: nn.Module,
    loss: Callable[[int], tuple[Tensor, dict[str, float]]],
    *,
    steps: int,
    lr: float,
    weight_decay: float = 0.02,
    ema: float = 0.999,
    more: nn.Module | None = None,
    betas: tuple[float, float] = (0.9, 0.98),
    plain: bool = False,
) -> nn.Module:
    """Train `network` (and `more`, which is not kept) down `loss(step)`; returns the network with its averaged weights.

    Muon (AdamW where `plain`) with a short warm-up and a cosine decay. Checkpoints by the clock, resumes to the same
    bits, finishes once.
    """
    if run.finished(name):
        network.load_state_dict(run.weights(name))
        return network.eval()
    run.begin(name, network)
    whole = nn.ModuleList([network] + ([more] if more is not None else [])).to(run.device)
    optimizer = Muon(_groups(whole, plain=plain), lr=lr, weight_decay=weight_decay, betas=betas, foreach=True)
    average = {k: v.detach().clone().float() for k, v in network.state_dict().items()}
    first = _resume(run, name, whole, optimizer, average)
    clock, saved = Clock(name, steps), time.monotonic()
    with stopping() as asked:
        for step in range(first, steps):
            for group in optimizer.param_groups:
                group["lr"] = (
                    lr * min(1.0, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
                )
            value, losses = loss(run.first + step)
            optimizer.zero_grad(set_to_none=True)
            value.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            torch.nn.utils.clip_grad_norm_(whole.parameters(), 1.0)
            optimizer.step()
            _average(average, network, min(ema, (step + 1) / (step + 10)))
            clock.tick(step, losses)
            if step % 20 == 0:
                run.log(name, step=step, **losses)
            if asked() or time.monotonic() - saved > CHECKPOINT_SECONDS:
                _save(run, name, whole, optimizer, average, step + 1)
                saved = time.monotonic()
            if asked():
                raise Stopped
    run.save(name, average)
    run.path(f"{name}.state").unlink(missing_ok=True)
    network.load_state_dict(average)
    return network.eval()


def _groups(network: nn.Module, *, plain: bool = False) -> list[dict[str, Any]]:
    """The parameters for Muon, with embeddings apart: their rows are no directions of a space. With `plain`, all are
    apart."""
    kinds = nn.Module if plain else nn.Embedding
    rows = {id(p) for module in network.modules() if isinstance(module, kinds) for p in module.parameters()}
    every = list(network.parameters())
    groups = [{"params": [p for p in every if (id(p) in rows) == apart], "plain": apart} for apart in (False, True)]
    return [group for group in groups if group["params"]]


def _average(average: dict[str, Tensor], network: nn.Module, decay: float) -> None:
    with torch.no_grad():
        for key, value in network.state_dict().items():
            if value.is_floating_point():
                average[key].lerp_(value.float(), 1 - decay)
            else:
                average[key] = value.clone()


def _save(
    run: Run, name: str, whole: nn.Module, optimizer: torch.optim.Optimizer, average: Mapping[str, Tensor], step: int
) -> None:
    moments = {
        f"optimizer.{k}.{kind}": value for k, state in enumerate(_states(optimizer)) for kind, value in state.items()
    }
    tensors = {f"network.{k}": v for k, v in whole.state_dict().items()} | {
        f"average.{k}": v for k, v in average.items()
    }
    everything = {k: v.detach().cpu().contiguous().clone() for k, v in (tensors | moments).items()}
    everything["step"] = torch.tensor(step)
    atomic_write(run.path(f"{name}.state"), lambda p: save_file(everything, p), overwrite=True)


def _states(optimizer: torch.optim.Optimizer) -> list[dict[str, Tensor]]:
    return [optimizer.state[p] for group in optimizer.param_groups for p in group["params"]]


def _resume(run: Run, name: str, whole: nn.Module, optimizer: torch.optim.Optimizer, average: dict[str, Tensor]) -> int:
    path = run.path(f"{name}.state")
    if not path.exists():
        return 0
    saved = load_file(path, device=run.device)
    whole.load_state_dict({k.removeprefix("network."): v for k, v in saved.items() if k.startswith("network.")})
    average.update({k.removeprefix("average."): v for k, v in saved.items() if k.startswith("average.")})
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, parameter in enumerate(parameters):
        prefix = f"optimizer.{index}."
        optimizer.state[parameter] = {
            k.removeprefix(prefix): v.cpu() if k.endswith(".step") else v
            for k, v in saved.items()
            if k.startswith(prefix)
        }
    return int(saved["step"])
