"""Computing an update at once or in parts, in one process or in several, with the same result.

Each process draws the whole batch of an update, as a function of seed and step, and each part takes its rows. A loss
that is a mean over rows is then the mean of the parts' losses, and so is its gradient.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from limner.errors import InputError

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.types import Batch, Streams

    from .attach import AdaptedBase

Terms: TypeAlias = "Sequence[tuple[str, Tensor]]"
"""The terms of an update's loss: pairs of a name and a weighted scalar."""


@dataclass(frozen=True)
class Share:
    """One of `count` equal parts of every batch, of consecutive rows."""

    index: int = 0
    count: int = 1

    def rows(self, batch: int) -> list[int]:
        """The rows of this part, for a number of rows or clips. Raises `InputError` where it has no equal parts."""
        each, rest = divmod(batch, self.count)
        if rest or not each:
            raise InputError(
                f"a batch of {batch} cannot be split into {self.count} equal parts (processes times --accumulate); "
                f"choose a --batch that is a multiple of {self.count}"
            )
        return list(range(self.index * each, (self.index + 1) * each))

    def rows_of(self, batch: Batch) -> list[int]:
        """The rows of this part in a batch. Clips stay whole."""
        clips = self.rows(len(batch.latents) // batch.frames)
        return [clip * batch.frames + frame for clip in clips for frame in range(batch.frames)]

    def of(self, batch: Batch) -> Batch:
        return batch if self.count == 1 else batch.of(self.rows_of(batch))

    def streams(self, at: Streams) -> Streams:
        """The random streams that objectives may draw from. A part of a batch gets a function that raises `InputError`:
        its values would differ from those of the whole batch."""

        def refused(purpose: str) -> Generator:
            raise InputError(
                f"this method draws {purpose} within an update, which {self.count} parts of a batch would draw "
                "otherwise than the whole: train it in one process and without --accumulate"
            )

        return at if self.count == 1 else refused


WHOLE = Share()


@dataclass(frozen=True)
class Spread:
    """Training in one process, which computes every batch in `accumulate` parts, one after another."""

    accumulate: int = 1

    def __post_init__(self) -> None:
        if self.accumulate < 1:
            raise InputError(f"a batch is computed in one part or more, not in {self.accumulate}")

    @property
    def rank(self) -> int:
        return 0

    @property
    def processes(self) -> int:
        return 1

    @property
    def main(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    @property
    def parts(self) -> int:
        return self.processes * self.accumulate

    @property
    def shares(self) -> list[Share]:
        """The parts of every batch that this process computes."""
        return [Share(self.rank * self.accumulate + k, self.parts) for k in range(self.accumulate)]

    @property
    def device(self) -> str | None:
        """The device for this process; None where the user's choice stands."""
        return None

    def lay_out(self, adapted: AdaptedBase) -> None:
        """Distribute the base's weights over the processes before training starts. Here it does nothing."""

    def around(self, parameters: Mapping[str, Tensor]) -> Callable[[Callable[[], Terms]], Terms]:
        """A function that computes the terms of a part such that gradients of these parameters are averaged over all
        processes."""
        return lambda make: make()

    def unsent(self, computing: Any) -> AbstractContextManager[Any]:
        """While inside, gradients are not exchanged between processes, since further parts follow."""
        return nullcontext()

    def mean(self, losses: Mapping[str, float]) -> dict[str, float]:
        """The mean of each loss over all processes."""
        return dict(losses)

    def any(self, *flags: bool) -> list[bool]:
        """For each argument, whether it is true in any process."""
        return list(flags)

    def largest(self, values: Tensor) -> Tensor:
        """The largest of each value over all processes."""
        return values

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """The main process runs this block first, so that the other processes find its results in the cache."""
        yield


ALONE = Spread()


@dataclass(frozen=True)
class Spreading(Spread):
    """Training in the processes that accelerate (or torchrun) has launched, each with its part of every batch.

    Trained parameters are in every process, and their gradients are averaged (DDP, arXiv:2006.15704). With accelerate's
    FSDP, the base's own weights, which are frozen, are sharded over the processes (arXiv:2304.11277) until these end.
    """

    @cached_property
    def accelerator(self) -> Any:
        from accelerate import Accelerator

        return Accelerator(cpu=_on_cpu())

    @property
    def rank(self) -> int:
        return int(self.accelerator.process_index)

    @property
    def processes(self) -> int:
        return int(self.accelerator.num_processes)

    @property
    def device(self) -> str | None:
        return str(self.accelerator.device)

    @property
    def sharded(self) -> bool:
        return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"

    def lay_out(self, adapted: AdaptedBase) -> None:
        from torch.distributed.fsdp import FSDPModule

        if not self.sharded or isinstance(adapted.base.module("denoiser"), FSDPModule):
            return
        from accelerate.utils import FullyShardedDataParallelPlugin
        from accelerate.utils.fsdp_utils import fsdp2_prepare_model

        if adapted.originals:
            raise InputError(
                f"this method trains the base's own {next(iter(adapted.originals))}, which FSDP would shard: launch it "
                "without FSDP"
            )
        state = self.accelerator.state
        plugin = getattr(state, "fsdp_plugin", None) or FullyShardedDataParallelPlugin()  # accelerate sets none on CPUs
        if plugin.fsdp_version != 2:
            raise InputError("only version 2 of FSDP is supported: accelerate launch --use_fsdp --fsdp_version 2")
        plugin.cpu_ram_efficient_loading = False  # every process has loaded the base
        state.fsdp_plugin = plugin
        fsdp2_prepare_model(self.accelerator, adapted.base.module("denoiser"))
        base: Any = adapted.base
        predict = base.predict
        base.predict = lambda *given, context: predict(*given, context=Veiled(context))

    def around(self, parameters: Mapping[str, Tensor]) -> Callable[[Callable[[], Terms]], Terms]:
        from torch.nn.parallel import DistributedDataParallel

        module: Any = DistributedDataParallel(_holding(parameters), find_unused_parameters=True)
        return module  # type: ignore[no-any-return]

    def unsent(self, computing: Any) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = computing.no_sync()
        return context

    def mean(self, losses: Mapping[str, float]) -> dict[str, float]:
        import torch

        here = torch.tensor(list(losses.values()), dtype=torch.float64, device=self.accelerator.device)
        return dict(zip(losses, self.accelerator.reduce(here, "mean").tolist(), strict=True))

    def any(self, *flags: bool) -> list[bool]:
        return [value > 0 for value in self.mean({str(k): float(v) for k, v in enumerate(flags)}).values()]

    def largest(self, values: Tensor) -> Tensor:
        import torch.distributed as dist

        values = values.clone()
        dist.all_reduce(values, dist.ReduceOp.MAX)
        return values

    @contextmanager
    def main_first(self) -> Iterator[None]:
        with self.accelerator.main_process_first():
            yield


class Veiled:
    """A wrapper that hides a `Pass` from FSDP, which replaces dataclasses among a layer's arguments by copies: all
    layers of a run must share one `Pass`."""

    __slots__ = ("_run",)

    def __init__(self, run: Any) -> None:
        object.__setattr__(self, "_run", run)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._run, name, value)


def spread(accumulate: int = 1) -> Spread:
    """The way in which this process computes updates: together with others where `accelerate launch` or torchrun
    started it."""
    return Spreading(accumulate) if int(os.environ.get("WORLD_SIZE", "1")) > 1 else Spread(accumulate)


def _on_cpu() -> bool:
    import torch

    return not torch.cuda.is_available()


def _holding(parameters: Mapping[str, Tensor]) -> Any:
    """A module with these parameters, whose forward pass calls the function that it is given."""
    import torch

    class Computing(torch.nn.Module):
        def forward(self, make: Callable[[], Terms]) -> Terms:
            return make()

    module = Computing()
    for k, value in enumerate(parameters.values()):
        module.register_parameter(f"parameter_{k}", value)  # type: ignore[arg-type]  # trained tensors are parameters
    return module
