"""`score`: paint a likeness and say what it is worth, beside the base that never learned it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from limner.errors import InputError, PromptError
from limner.wording import shortened

from . import truth
from .datasets import said
from .diagnosis import Diagnosis, Range, Signs, diagnose
from .encoders import Encoders, pocket_encoders
from .measuring import Album, Images, Measured, Segment, measure, pocket_masks, values
from .tradeoff import TradeOff, ceiling, interval, tradeoff

if TYPE_CHECKING:
    from PIL import Image

    from limner.bases.protocol import Base
    from limner.concept import Concept
    from limner.painting import PaintSettings
    from limner.picture import Picture
    from limner.pocket.world.grammar import Prompt

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
"""What `learn` looks at when it has finished."""

ELSEWHERE = (
    "a photo of a car on the beach",
    "a photo of a teapot in the kitchen",
    "a photo of a boat",
    "a photo of a robot in the city",
)
"""Prompts without the subject, by which drift is measured."""


@dataclass(frozen=True)
class Scorecard:
    """All that is known of one likeness."""

    measured: Mapping[str, Measured]
    tradeoff: TradeOff | None
    diagnosis: Diagnosis
    truth: Mapping[str, float] = field(default_factory=dict)  # share read right by field, on toys
    cost: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = field(default=(), repr=False)
    base: tuple[Picture, ...] = field(default=(), repr=False)

    @property
    def record(self) -> dict[str, Any]:
        """As JSON holds it; pictures are left out."""
        found: dict[str, Any] = {
            "diagnosis": {"label": self.diagnosis.label, "because": list(self.diagnosis.because)},
            "truth": dict(self.truth),
            "cost": dict(self.cost),
            "notes": list(self.notes),
            "metrics": {name: m.record for name, m in self.measured.items()},
        }
        if self.tradeoff is not None:
            t = self.tradeoff
            found["tradeoff"] = {
                "F": t.fidelity, "T": t.alignment, "H": t.harmonic, "J": t.both, "balance": t.balance,
                "dropped": list(t.dropped),
            }  # fmt: skip
        return found

    @property
    def brief(self) -> dict[str, Any]:
        """What fits into a concept's header."""
        found: dict[str, Any] = {name: round(v, 4) for name, v in values(self.measured).items()}
        if self.tradeoff is not None:
            t = self.tradeoff
            found |= {
                "F": round(t.fidelity, 4),
                "T": round(t.alignment, 4),
                "H": round(t.harmonic, 4),
                "J": round(t.both, 4),
            }
        return found | {"diagnosis": self.diagnosis.label}

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
    """Measure an album, anchor it, and say what is wrong.

    `truths` [N] are the prompts' truths of toys: with them alignment is what the independent judge reads, without, CLIP's.
    `known` is what is true of the subject itself, by field: class, colours, pattern.
    """
    measured = measure(album, encoders, only=only, segment=segment)
    notes = [] if album.held_out else ["no reference was held out from learning: fidelity is overestimated"]
    try:
        found = _anchored(album, encoders, truths)
    except InputError as gap:
        found = None
        notes.append(f"no trade-off: {gap}")
    shares = truth.shares(album.pictures, [{**(known or {}), **truth.asked(p)} for p in truths]) if truths else {}
    if truths:
        shares["obeyed"] = float(truth.obeyed(album.pictures, truths).mean())
    obeyed = None
    if truths and album.base and (plain := float(truth.obeyed(album.base, truths).mean())) > 0:
        obeyed = shares["obeyed"] / plain
    diagnosis = diagnose(replace(_signs(album, encoders, measured, found, segment), obeyed=obeyed))
    return Scorecard(measured, found, diagnosis, shares, cost or {}, tuple(notes))


def fidelity_role(encoders: Encoders) -> str:
    """The encoder that decides on fidelity: the best there is at telling individuals apart. Raises `InputError` for none."""
    for role in ("identity", "dinov2", "dino", "clip"):
        if role in encoders:
            return role
    raise InputError("no encoder can see likeness: give one for dino, dinov2 or clip")


def _anchored(album: Album, encoders: Encoders, truths: Sequence[Prompt]) -> TradeOff:
    import torch

    from .metrics.fidelity import similarity

    if not album.base:
        raise InputError("the base's pictures for the same prompts are not there")
    if not album.references:
        raise InputError("there are no real pictures of the subject")
    see = encoders[fidelity_role(encoders)].pictures
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
        from .metrics.alignment import clip_t

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
    album: Album, encoders: Encoders, measured: Mapping[str, Measured], found: TradeOff | None, segment: Segment | None
) -> Signs:
    if found is None:
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
        _range(found.each_fidelity),
        _range([v for v in found.each_alignment if v == v]),
        copy=known.get("copy_index"),
        leak=known.get("background_leak"),
        sensitivity=ratio.get("prompt_sensitivity"),
        variety=ratio.get("diversity"),
        quality=ratio.get("quality"),
    )


def _range(each: Sequence[float]) -> Range:
    found = interval(list(each))
    return Range(found.mean, found.low, found.high)


def score(
    base: Base,
    concept: Concept,
    *,
    training: Sequence[Image.Image] = (),
    held_out: Sequence[Image.Image] = (),
    prompts: Sequence[str | Prompt] = (),
    seeds: Sequence[int] = (0, 1),
    encoders: Encoders | None = None,
    segment: Segment | None = None,
    gallery: Sequence[Image.Image] = (),
    looks: str = "",
    only: Sequence[str] = (),
    settings: PaintSettings | None = None,
    plain: Sequence[Picture] = (),
) -> Scorecard:
    """Paint `concept` and `base` for the same prompts and seeds, and judge both.

    `prompts` hold the handle ("<rex> on the beach"), or are the pocket world's with their truth; without any, ten of
    its own are asked of the pocket base. `training` are the pictures that were learned from, `held_out` others of the
    same subject; `plain` are the base's pictures where an earlier scorecard has them. On another base than pocket `encoders` must be given. Raises `InputError` for a prompt without the
    handle or no encoders.
    """
    from limner.pocket.world.grammar import Prompt

    pocket = base.name == "pocket"
    if encoders is None:
        if not pocket:
            raise InputError(
                f"the encoders that ship know toys, not pictures of {base.name}: give encoders (--clip, --dino)"
            )
        encoders, segment = pocket_encoders(), segment or pocket_masks
    if not prompts and pocket:
        from .datasets.toys import asked as standard

        prompts = standard()
    if not prompts:
        raise InputError("there are no prompts: give some with the handle in them")
    noun = concept.subject["noun"]
    truths = [p for p in prompts if isinstance(p, Prompt)]
    texts = [p.text.format(concept.handle) if isinstance(p, Prompt) else p for p in prompts]
    for text in texts:
        if concept.handle not in text:
            raise PromptError(f"the prompt {shortened(text)!r} does not name the subject; write {concept.handle} in it")
    canonical = [said(t.replace(concept.handle, "{}"), [noun]) for t in texts]
    began = time.monotonic()
    mine = painted(base, texts, seeds, concept=concept, settings=settings)
    seconds = (time.monotonic() - began) / len(mine)
    plain = plain or painted(base, canonical, seeds, settings=settings)
    moved: dict[str, Images] = {}
    if not only or {"drift", "style_drift"} & set(only):
        where = ELSEWHERE if pocket else tuple(said(t.replace(concept.handle, "{}"), ["person"]) for t in texts[:4])
        moved = {
            "before": images(painted(base, where, seeds[:1], settings=settings)),
            "after": images(painted(base, where, seeds[:1], concept=concept, settings=settings)),
        }
    count = len(seeds)
    album = Album(
        noun,
        images(mine),
        tuple(c for c in canonical for _ in range(count)),
        base=images(plain),
        training=tuple(training),
        held_out=tuple(held_out),
        gallery=tuple(gallery),
        described=tuple(said(t.replace(concept.handle, "{}"), [looks]) for t in texts for _ in range(count))
        if looks
        else (),
        **moved,
    )
    asked = [p for p in truths for _ in range(count)] if len(truths) == len(texts) else []
    cost = {**concept.cost, "seconds_per_picture": round(seconds, 3)}
    card = judged(album, encoders, truths=asked, only=only, segment=segment, cost=cost)
    return replace(card, pictures=tuple(mine), base=tuple(plain))


def painted(
    base: Base,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    concept: Concept | None = None,
    scale: float = 1.0,
    settings: PaintSettings | None = None,
) -> list[Picture]:
    """One picture of every prompt and seed, prompt by prompt."""
    from limner.painting import PaintSettings, paint

    found: dict[tuple[int, int], Picture] = {}
    for seed in seeds:
        worn = [concept] if concept is not None else []
        how = settings or PaintSettings()
        row = paint(base, list(prompts), concepts=worn, scale=scale, seed=seed, settings=how)
        found |= {(k, seed): picture for k, picture in enumerate(row)}
    return [found[k, seed] for k in range(len(prompts)) for seed in seeds]


def images(pictures: Sequence[Picture]) -> Images:
    return tuple(p.image for p in pictures)
