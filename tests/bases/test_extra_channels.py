"""Conditions in a denoiser's additional input channels, known without opening the base."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from limner.bases.common.extra_channels import read_by_base


def folder(place: Path, *, channels: int, own: int = 4) -> str:
    """A base's folder, as far as its settings tell the conditions."""
    for part, settings in (("unet", {"in_channels": channels}), ("vae", {"latent_channels": own})):
        (place / part).mkdir(parents=True)
        (place / part / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    return str(place)


def test_a_base_reads_what_its_channels_hold(tmp_path: Path) -> None:
    assert read_by_base("pocket") == ()
    known = {4: (), 5: ("depth",), 8: ("source",), 9: ("mask", "source"), 7: None}
    for channels, names in known.items():
        assert read_by_base(folder(tmp_path / str(channels), channels=channels)) == names
    assert read_by_base("somebody/else") is None
    (tmp_path / "flow" / "transformer").mkdir(parents=True)
    assert read_by_base(str(tmp_path / "flow")) == ()


def test_it_is_known_without_torch() -> None:
    code = "import sys, limner.bases.common.extra_channels; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
