"""Checks that the content of a checkpoint's file is a possible state of this run."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.core.untrusted import finite_number, table, whole_number
from limner.errors import FileError

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.recipe import Stage

    from .attach import AdaptedBase

FORMAT = 2
"""Version of the file format. Files of format 1 have no version of the format or of libraries, and no hash."""
VERSIONS = ("limner", "torch")
"""Libraries whose versions determine the exact result of an update."""
MAX_STAGES, MAX_STEPS = 1_000, 10_000_000
PARTS = ("tensors.", "moments.")
ADAM = ("step", "exp_avg", "exp_avg_sq")
EVOLUTION, BEST, MEAN, STOP, GATHERED = "evolution.", "best.", "mean.", "stop", "gathered."
MOMENTUM, EARLIER = "momentum.", "earlier."
"""Names, or prefixes of names, of the moments that are not an optimiser's: of an evolution strategy, of the best stage,
of exponential moving averages, of the rule that ends a stage, of tensors that sources made at the stage's start, of the
exponential moving averages that objectives predict with, and of tensors that sources made for the stage before."""


def check_run(path: Path, metadata: Mapping[str, Any], header: Mapping[str, Any]) -> None:
    """Check that a checkpoint belongs to the run of this header. Raises `FileError` for another run's; warns where
    other versions of libraries made it, so that the result can differ from that of an uninterrupted run."""
    different = [key for key in header if metadata.get(key) != json.loads(json.dumps(header[key]))]
    if different:
        raise FileError(
            f"{path} is of another run: its {', '.join(different)} differ; resume with the same, or delete it to start "
            "anew"
        )
    strange = [key for key in metadata if key not in (*header, "format", "place", "versions")]
    if strange:
        raise FileError(f"{path} is no checkpoint: its header has {strange[0][:100]!r}; delete it to start anew")
    made, now = table(metadata.get("versions", {}), f"versions of {path}"), versions()
    other = [
        f"{name} {str(made.get(name, 'of an unknown version'))[:50]}, now {now[name]}"
        for name in now
        if made.get(name) != now[name]
    ]
    if other:
        warnings.warn(
            f"the run goes on from a checkpoint that was made under {' and '.join(other)}: it may end in other bits "
            "than a run that was not interrupted",
            stacklevel=4,
        )


def versions() -> dict[str, str]:
    """The installed versions of the libraries in `VERSIONS`."""
    from importlib.metadata import version

    return {name: version(name) for name in VERSIONS}


def check_position(path: Path, value: object, stages: Sequence[Stage] | None) -> tuple[int, int, list[float]]:
    """Stage, next step and losses so far. Raises `FileError` where a run of these stages (of any, for None) cannot have
    reached them."""
    place = table(value, f"the place of {path}")
    lacking = [name for name in ("stage", "step", "losses") if name not in place]
    if lacking:
        raise FileError(f"{path} is no checkpoint of a run: its place lacks {lacking[0]}; delete it to start anew")
    last = len(stages) - 1 if stages is not None else MAX_STAGES
    stage = whole_number(place["stage"], f"the stage of {path}", least=0, most=last)
    most = stages[stage].steps if stages is not None else MAX_STEPS
    step = whole_number(place["step"], f"the step of {path}", least=0, most=most)
    losses = place["losses"]
    if not isinstance(losses, list):
        raise FileError(f"the losses of {path} must be a list, not {type(losses).__name__}")
    known = [finite_number(loss, f"each of the losses of {path}") for loss in losses]
    if stages is None:
        return stage, step, known
    before = [s.steps for s in stages[:stage]]
    least = sum(1 if s.stop else s.steps for s in stages[:stage])  # a stage with a stop may end after one update
    if not least + step <= len(known) <= sum(before) + step:
        raise FileError(
            f"{path} has {len(known)} losses and says that {sum(before) + step} updates were made: it is damaged; "
            "delete it to start anew"
        )
    return stage, step, known


def split_parts(path: Path, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Tensors and moments, by names without prefix. Raises `FileError` for a name with neither prefix."""
    strange = [name for name in tensors if not name.startswith(PARTS)]
    if strange:
        raise FileError(
            f"{path} is no checkpoint: nothing reads its tensor {strange[0][:100]!r}; delete it to start anew"
        )
    first, second = ({n[len(p) :]: t for n, t in tensors.items() if n.startswith(p)} for p in PARTS)
    return first, second


def check_tensors(
    adapted: AdaptedBase, tensors: Mapping[str, Tensor], stages: Sequence[Stage], before: Mapping[str, Tensor]
) -> None:
    """Check that a checkpoint has all tensors of the attached modifiers, and beside them only base parameters that a
    stage so far trains or that the adapter had from the beginning (`before`). Raises `FileError`."""
    own = {name for live in adapted.live.values() for name in live.tensors}
    missing = sorted(own - tensors.keys())
    if missing:
        raise FileError(
            f"the checkpoint lacks {missing[0]} and {len(missing) - 1} more: it is damaged; delete it to start anew"
        )
    extra = tensors.keys() - own - before.keys()
    if extra:
        extra -= {name for stage in stages for selection in stage.train for name in selection(adapted)}
    if extra:
        raise FileError(
            f"the checkpoint has {min(extra)[:100]!r}, which no stage of this run trains: it is damaged; delete it to "
            "start anew"
        )


def check_moments(
    moments: Mapping[str, Tensor], parameters: Mapping[str, Tensor], adapted: Mapping[str, Tensor], *, optimizer: str
) -> None:
    """Check that moments have the shapes and data types of their parameters: fused optimisers write to them without a
    check. `adapted` are all tensors of the adapter; the best stage so far is stored as values of them. Raises
    `FileError`."""
    import torch

    from .muon import is_matrix

    kinds: dict[str, set[str]] = {}
    for name, moment in moments.items():
        kind, _, rest = name.partition(".")
        if name == STOP or name.startswith(EVOLUTION):
            continue
        if kind in ADAM and rest in parameters:
            kinds.setdefault(rest, set()).add(kind)
            like = torch.zeros((), dtype=torch.float32) if kind == "step" else parameters[rest]
        elif kind in (MEAN[:-1], MOMENTUM[:-1]) and rest in parameters:
            like = parameters[rest]
        elif name == BEST:
            like = torch.zeros((), dtype=torch.float64)
        elif kind == BEST[:-1] and rest in adapted:
            like = adapted[rest]
        else:
            raise FileError(
                f"the checkpoint has moments of {name[:100]!r}, which is not trained now: it is damaged; delete it to "
                "start anew"
            )
        if moment.shape != like.shape or moment.dtype != like.dtype:
            raise FileError(
                f"the moments do not fit the parameters: {name} is {tuple(moment.shape)} of {moment.dtype} in the "
                f"checkpoint, expected {tuple(like.shape)} of {like.dtype}; it is damaged: delete it to start anew"
            )
        if kind in ("step", "exp_avg_sq") and bool((moment < 0).any()):
            raise FileError(
                f"the moments do not fit the parameters: {name} is negative; the checkpoint is damaged: delete it to "
                "start anew"
            )
    for name, stored_kinds in kinds.items():
        needed = ADAM[:2] if optimizer == "muon" and is_matrix(parameters[name]) else ADAM
        if not stored_kinds.issuperset(needed):
            raise FileError(
                f"the moments do not fit the parameters: {name} has {' and '.join(sorted(stored_kinds))} alone, expected "
                f"{' and '.join(needed)}; the checkpoint is damaged: delete it to start anew"
            )


def check_search(state: Mapping[str, Tensor], fresh_state: Mapping[str, Tensor]) -> None:
    """Check that the saved state of an evolution strategy has the shapes of this one. Raises `FileError`."""
    fits = state.keys() == fresh_state.keys() and all(
        state[name].shape == fresh_state[name].shape and state[name].dtype == fresh_state[name].dtype for name in state
    )
    if not fits:
        raise FileError(
            "the state of the evolution strategy in the checkpoint is of another size: it is damaged; delete it to "
            "start anew"
        )
