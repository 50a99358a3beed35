"""`limner import`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .common import opened, out, say
from .flags import add_base, add_command


def add_to(commands: Any) -> None:
    """The command and its flags."""
    parser = add_command(commands, "import", import_, "read a concept from another tool's file")
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="a LoRA, DoRA, LoHa, LoKr, embedding, Custom Diffusion or IP-Adapter file, or a folder of PEFT or InstantID",
    )
    parser.add_argument(
        "--name",
        default="",
        help="name of the subject in prompts (default: the name in the file, else the file's own name)",
    )
    parser.add_argument(
        "--class", dest="noun", default="", metavar="NOUN", help="class of the subject: dog, teapot, person"
    )
    parser.add_argument("--says", default="", metavar="WORDS", help="trigger words that the file was trained with")
    parser.add_argument(
        "--partial", action="store_true", help="import the tensors that limner understands, and list the others"
    )
    parser.add_argument("--out", type=Path, default=Path(), help="folder for the concept (default: here)")
    parser.add_argument("--overwrite", action="store_true", help="replace a concept of that name")
    add_base(parser)


def import_(given: argparse.Namespace) -> None:
    from dataclasses import asdict

    from limner.core.files import check_folder
    from limner.formats import import_file

    check_folder(given.out)
    base = opened(given, given.base)
    contents = import_file(
        given.file,
        base,
        name=given.name,
        noun=given.noun,
        says=given.says,
        partial=given.partial,
        overwrite=given.overwrite,
    )
    say(str(contents.report))
    if contents.concept is None:
        out(given, {"what": contents.what, "weights": str(contents.weights)}, str(contents.weights))
        return
    path = given.out / f"{contents.concept.handle.strip('<>')}.safetensors"
    if path.resolve() == given.file.resolve():
        path = path.with_name(f"{path.stem}-limner.safetensors")
    contents.concept.save(path, overwrite=given.overwrite)
    out(given, {"what": contents.what, "concept": str(path), "report": asdict(contents.report)}, str(path))
