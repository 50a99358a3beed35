"""`limner export`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .common import base_of, opened, out, read_concept, say
from .flags import add_base, add_command, add_trust, at_least


def add_to(commands: Any) -> None:
    """The command and its flags."""
    parser = add_command(commands, "export", export, "write a concept for another tool")
    parser.add_argument("concept", type=Path, metavar="FILE", help="what was learned; or ip_adapter, for its weights")
    parser.add_argument("--to", required=True, help="diffusers, kohya, comfyui, a1111 or peft")
    parser.add_argument("--out", type=Path, help="folder for the files (default: out/export/FORMAT)")
    parser.add_argument(
        "--rank", type=at_least(0), default=0, help="bring whole changes of weights to this rank (loses something)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files of that name")
    add_trust(parser)
    add_base(parser, default=None)


def export(given: argparse.Namespace) -> None:
    from limner.core.files import check_folder
    from limner.core.interrupts import standing
    from limner.core.weights import shipped
    from limner.formats import export as write
    from limner.formats.exporting import export_adapter

    given.out = given.out or Path("out/export") / given.to
    check_folder(given.out)
    standing(lambda: "no file is half written; the same command with --overwrite writes all of them")
    if str(given.concept) == "ip_adapter":
        base = opened(given, given.base or "pocket")
        path = given.out / f"ip-adapter-{base.name.replace('/', '-')}.safetensors"
        path = export_adapter(base, shipped("ip_adapter", base), path, overwrite=given.overwrite)
        out(given, {"files": [str(path)]}, str(path))
        return
    concept = read_concept(given, given.concept)
    base = opened(given, base_of(given, concept))
    done = write(concept, base, given.out, to=given.to, rank=given.rank, overwrite=given.overwrite)
    for note in done.notes:
        say(f"note: {note}")
    out(given, {"files": [str(p) for p in done.files], "notes": done.notes}, "\n".join(map(str, done.files)))
