"""Protected photographs on the pocket base: results/protection.json.

    python benchmarks/protection.py --toys 4

For each held-out toy and method: how far the copies are from the photographs, the base's denoising error on both, and
the likeness that DreamBooth-LoRA learns from the copies, as they are and after a blur and JPEG. A run does what is
missing from the file, until `--minutes` are over.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common import machine
from PIL import Image, ImageFilter

import limner
from limner.core.files import write_text
from limner.core.pixels import to_tensor
from limner.core.subject import Subject
from limner.core.types import Pass
from limner.engine.attach import attach
from limner.engine.early_stopping import fixed_loss
from limner.evaluation.datasets.toys import toys
from limner.evaluation.encoders import pocket_encoders
from limner.evaluation.measuring import Album
from limner.evaluation.score import images, judged
from limner.workflows.protect import difference, image_of, protect
from limner.workflows.score import painted

RESULTS = Path("results/protection.json")
PHOTOGRAPHS = "photographs"
METHODS: Mapping[str, dict[str, Any]] = {
    PHOTOGRAPHS: {},
    "photoguard": {"method": "photoguard"},
    "mist, fused": {"method": "mist"},
    "anti_dreambooth": {"method": "anti_dreambooth"},
    "mist, semantic": {"method": "mist", "mode": "semantic"},
    "mist, textural": {"method": "mist", "mode": "textural"},
    "mist, fused, epsilon 16": {"method": "mist", "epsilon": 16.0},
}
CLEANED = (PHOTOGRAPHS, "mist, fused", "anti_dreambooth")
"""Methods whose copies are also learned from after a blur and after JPEG."""
SEEDS = (0,)


def jpeg(image: Image.Image) -> Image.Image:
    """As JPEG of quality 75."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=75)
    return Image.open(buffer).convert("RGB")


CLEANINGS: Mapping[str, Callable[[Image.Image], Image.Image]] = {
    "as is": lambda image: image,
    "blur": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
    "jpeg": jpeg,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--toys", type=int, default=4, help="number of held-out toys")
    parser.add_argument("--minutes", type=float, default=1e9, help="time after which no cell is begun")
    given = parser.parse_args()
    base, began = limner.load("pocket", device="cpu"), time.monotonic()
    record = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if record.get("fingerprint") != base.fingerprint:
        record = {"fingerprint": base.fingerprint, "command": f"python benchmarks/protection.py --toys {given.toys}"}
        record |= {"machine": machine(), "copies": {}, "learned": {}}
    cases = toys(count=given.toys).cases
    cells = [(case, name, "as is") for case in cases for name in METHODS]
    cells += [(case, name, cleaning) for cleaning in CLEANINGS for case in cases for name in CLEANED]
    for case, name, cleaning in cells:
        row, cell = f"{case.member.name} / {name}", f"{case.member.name} / {name} / {cleaning}"
        known = row in record["copies"] and cell in record["learned"]
        if known or time.monotonic() - began > 60 * given.minutes:
            continue
        copies = protected(base, case, METHODS[name])
        record["copies"].setdefault(row, compared(base, case, copies))
        if cell not in record["learned"]:
            record["learned"][cell] = learned(base, case, [CLEANINGS[cleaning](each) for each in copies])
        print(cell, record["copies"][row], record["learned"][cell], flush=True)
        write_text(RESULTS, json.dumps(record, indent=1) + "\n", overwrite=True)


def protected(base: Any, case: Any, settings: Mapping[str, Any]) -> list[Image.Image]:
    """The toy's photographs after protection, or as they are without a method."""
    if not settings:
        return list(case.member.images)
    return [image_of(copy) for copy in protect(base, case.member.subject("<rex>"), **settings)]


def compared(base: Any, case: Any, copies: Sequence[Image.Image]) -> dict[str, float]:
    """Largest change, mean PSNR, and the base's denoising error on photographs, copies and cleaned copies."""
    pairs = [difference(photo, copy) for photo, copy in zip(case.member.images, copies, strict=True)]
    errors = {"photographs": denoising_error(base, case.member.images, case.member.noun)}
    errors |= {
        name: denoising_error(base, [clean(each) for each in copies], case.member.noun)
        for name, clean in CLEANINGS.items()
    }
    psnr = [pair.psnr for pair in pairs if pair.psnr is not None]
    near = {"psnr": round(statistics.fmean(psnr), 2)} if psnr else {}
    return {"largest": max(pair.largest for pair in pairs), **near, **errors}


def denoising_error(base: Any, pictures: Sequence[Image.Image], noun: str) -> float:
    import torch

    with torch.no_grad(), attach(base, []) as adapted:
        latents = base.encode(to_tensor(pictures, base.picture_size))[0]
        return round(fixed_loss(adapted, latents, f"a photo of a {noun}", Pass), 4)


def learned(base: Any, case: Any, pictures: Sequence[Image.Image]) -> dict[str, float]:
    """The scores of a likeness that DreamBooth-LoRA learns from these pictures, against unchanged held-out ones."""
    subject = Subject.of(list(pictures), noun=case.member.noun, handle="rex")
    concept = limner.learn(base, subject, method="lora_dreambooth")
    canonical = tuple(case.canonical(p) for p in case.prompts)
    album = Album(
        case.member.noun,
        images(painted(base, [p.format("<rex>") for p in case.prompts], SEEDS, concept=concept)),
        canonical,
        base=images(painted(base, canonical, SEEDS)),
        training=case.member.images,
        held_out=case.member.held_out,
    )
    card = judged(album, pocket_encoders(), truths=case.truth, only=("identity", "clip_t", "quality"))
    assert card.tradeoff is not None
    scores = {"F": card.tradeoff.fidelity, "T": card.tradeoff.alignment}
    scores |= {name: measured.value for name, measured in card.measured.items() if measured.value is not None}
    return {name: round(value, 4) for name, value in scores.items()}


if __name__ == "__main__":
    main()
