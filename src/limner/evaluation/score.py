"""Score a concept: measure its pictures, and compare them with those of the base alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from limner.errors import InputError

from . import truth
from .diagnose import Range, Signs, diagnose, is_trained
from .measuring import measure, values
from .tradeoff import ceiling, interval, tradeoff

if TYPE_CHECKING:
    from limner.core.picture import Picture
    from limner.pocket.world.grammar import Prompt

    from .diagnose import Diagnosis
    from .encoders import Encoders
    from .measuring import Album, Images, Measured, Segment
    from .tradeoff import TradeOff


QUICK = (
    "identity",
    "dino_i",
    "clip_i",
    "clip_t",
    "copy_index",
    "nearest_reference",
    "background_leak",
    "prompt_sensitivity",
    "quality",
    "diversity",
)
"""Metrics that `learn` computes at its end."""


@dataclass(frozen=True)
class Scorecard:
    """All scores of one concept."""

    measured: Mapping[str, Measured]
    tradeoff: TradeOff | None
    diagnosis: Diagnosis
    truth: Mapping[str, float] = field(default_factory=dict)  # field -> share of pictures that are right, on toys
    cost: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = field(default=(), repr=False)
    base: tuple[Picture, ...] = field(default=(), repr=False)

    @property
    def record(self) -> dict[str, Any]:
        """The scores as JSON values, without pictures."""
        record: dict[str, Any] = {
            "diagnosis": {"label": self.diagnosis.label, "because": list(self.diagnosis.because)},
            "truth": dict(self.truth),
            "cost": dict(self.cost),
            "notes": list(self.notes),
            "metrics": {name: m.record for name, m in self.measured.items()},
        }
        if self.tradeoff is not None:
            t = self.tradeoff
            record["tradeoff"] = {
                "F": t.fidelity, "T": t.alignment, "H": t.harmonic, "J": t.both, "balance": t.balance,
                "dropped": list(t.dropped),
            }  # fmt: skip
        return record

    @property
    def brief(self) -> dict[str, Any]:
        """Values for a concept's header."""
        scores: dict[str, Any] = {name: round(v, 4) for name, v in values(self.measured).items()}
        if self.tradeoff is not None:
            t = self.tradeoff
            scores |= {
                "F": round(t.fidelity, 4),
                "T": round(t.alignment, 4),
                "H": round(t.harmonic, 4),
                "J": round(t.both, 4),
            }
        return scores | {"diagnosis": self.diagnosis.label}

    def __str__(self) -> str:
        lines = [str(self.diagnosis)]
        if self.tradeoff is not None:
            t = self.tradeoff
            lines.append(f"F {t.fidelity:.3f}  T {t.alignment:.3f}  H {t.harmonic:.3f}  J {t.both:.3f}")
        for name, m in self.measured.items():
            lines.append(f"{name:24} {'-' if m.value is None else format(m.value, '.4f')}  {m.gap or m.encoder}")
        return "\n".join(lines)


def judged(
    album: Album,
    encoders: Encoders,
    *,
    truths: Sequence[Prompt] = (),
    known: Mapping[str, str] | None = None,
    only: Sequence[str] = (),
    segment: Segment | None = None,
    cost: Mapping[str, float] | None = None,
) -> Scorecard:
    """Measure an album, anchor fidelity and alignment, and diagnose the concept.

    album: the pictures, and the evidence to score them by
    encoders: encoders by role
    truths: ground truth of each picture's prompt, on toys: alignment is then read by the independent judge; empty for
        alignment by CLIP
    known: field of the judge -> the subject's own attribute: class, colours, pattern
    only: names of the metrics to compute; empty for all
    segment: finds the subject's mask, for masked metrics
    cost: costs of learning, to keep with the scores
    """
    measured = measure(album, encoders, only=only, segment=segment)
    notes = [] if album.held_out else ["no reference was held out from learning: fidelity is overestimated"]
    try:
        trade_off = _anchored(album, encoders, truths)
    except InputError as gap:
        trade_off = None
        notes.append(f"no trade-off: {gap}")
    shares = truth.shares(album.pictures, [{**(known or {}), **truth.asked(p)} for p in truths]) if truths else {}
    if truths:
        shares["obeyed"] = float(truth.obeyed(album.pictures, truths).mean())
    obeyed = None
    if truths and album.base and (plain := float(truth.obeyed(album.base, truths).mean())) > 0:
        obeyed = shares["obeyed"] / plain
    signs = replace(_signs(album, encoders, measured, trade_off, segment), obeyed=obeyed)
    diagnosis = diagnose(signs, has_updates=is_trained(cost or {}))
    return Scorecard(measured, trade_off, diagnosis, shares, cost or {}, tuple(notes))


def fidelity_role(encoders: Encoders, kind: str = "object") -> str:
    """Role of the encoder that fidelity is read by: the given one that distinguishes individuals best. Raises
    `InputError` where none can."""
    for role in ("face",) * (kind == "face") + ("identity", "dinov2", "dino", "clip"):
        if role in encoders:
            return role
    raise InputError("no encoder measures likeness: give one for dino, dinov2 or clip")


def _anchored(album: Album, encoders: Encoders, truths: Sequence[Prompt]) -> TradeOff:
    import torch

    from limner.evaluation.metrics.fidelity import similarity

    if not album.base:
        raise InputError("the base's pictures for the same prompts are missing")
    if not album.references:
        raise InputError("there are no real pictures of the subject")
    see = encoders[fidelity_role(encoders, album.kind)].pictures
    real, training = see(album.references), see(album.training) if album.training else None
    top = (
        ceiling(training, see(album.held_out) if album.held_out else real[:0])
        if training is not None
        else ceiling(real, real[:0])
    )
    groups = torch.tensor(album.groups)
    if truths:
        by_prompt = dict(zip(album.groups, truths, strict=True))
        align = truth.alignment(album.pictures, truths), truth.alignment(album.base, truths)
        copier = truth.copier_alignment(album.training or album.references, [by_prompt[g] for g in sorted(by_prompt)])
    else:
        if "clip" not in encoders:
            raise InputError("no encoder reads prompts: give one for clip")
        from limner.evaluation.metrics.alignment import clip_t

        clip = encoders["clip"]
        texts = clip.texts(album.canonical)
        align = clip_t(clip.pictures(album.pictures), texts), clip_t(clip.pictures(album.base), texts)
        shown = torch.nn.functional.normalize(clip.pictures(album.training or album.references), dim=-1)
        prompts = list(dict.fromkeys(album.canonical))
        copier = (torch.nn.functional.normalize(clip.texts(prompts), dim=-1) @ shown.T).mean(-1)
    return tradeoff(
        fidelity=similarity(see(album.pictures), real),
        base_fidelity=similarity(see(album.base), real),
        ceiling=top,
        alignment=align[0],
        base_alignment=align[1],
        copier_alignment=copier,
        groups=groups,
    )


def _signs(
    album: Album,
    encoders: Encoders,
    measured: Mapping[str, Measured],
    trade_off: TradeOff | None,
    segment: Segment | None,
) -> Signs:
    if trade_off is None:
        unknown = Range(float("nan"), float("-inf"), float("inf"))
        return Signs(unknown, unknown)
    known = values(measured)
    ratio = {}
    if album.base:
        plain = values(
            measure(replace(album, pictures=album.base), encoders, only=("prompt_sensitivity", "diversity", "quality"))
        )
        ratio = {k: known[k] / plain[k] for k in plain if k in known and abs(plain[k]) > 1e-6}
    return Signs(
        _range(trade_off.each_fidelity),
        _range([v for v in trade_off.each_alignment if v == v]),
        copy=known.get("copy_index"),
        leak=known.get("background_leak"),
        sensitivity=ratio.get("prompt_sensitivity"),
        variety=ratio.get("diversity"),
        quality=ratio.get("quality"),
    )


def _range(each: Sequence[float]) -> Range:
    estimate = interval(list(each))
    return Range(estimate.mean, estimate.low, estimate.high)


def images(pictures: Sequence[Picture]) -> Images:
    return tuple(p.image for p in pictures)
