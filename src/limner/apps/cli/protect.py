"""`limner protect`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from limner.core.method import settings
from limner.methods import find_protection, protections
from limner.workflows.requests import ProtectRequest

from .common import choice_of
from .flags import add_base, add_command, add_setting, typed_value
from .rendering import render


def add_to(commands: Any, arguments: Sequence[str]) -> None:
    """The command and its flags."""
    parser = add_command(
        commands, "protect", protect, "write copies of photographs that are hard to learn from; no guarantee"
    )
    parser.add_argument(
        "photos", nargs="+", type=Path, metavar="PHOTOS", help="a folder of photographs, or photographs"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=ProtectRequest.out,
        help=f"folder for the copies, as PNG (default: {ProtectRequest.out})",
    )
    parser.add_argument(
        "--class",
        dest="noun",
        default=ProtectRequest.noun,
        metavar="NOUN",
        help=f"class of what the photographs show (default: {ProtectRequest.noun})",
    )
    parser.add_argument("--resume", action="store_true", help="continue a run that was interrupted")
    parser.add_argument("--overwrite", action="store_true", help="replace earlier copies; photographs never are")
    parser.add_argument(
        "--method",
        choices=list(protections()),
        default=ProtectRequest.method,
        help=f"method of protection (default: {ProtectRequest.method})",
    )
    add_base(parser)
    method = typed_value(arguments, "--method") if arguments[:1] == ["protect"] else ""
    method = method if method in protections() else ProtectRequest.method
    group = parser.add_argument_group(
        f"settings of {method}", f"Other methods have other settings: limner protect --help --method {_other(method)}."
    )
    for setting in settings(find_protection(method)):
        add_setting(group, setting)


def _other(method: str) -> str:
    return next(name for name in protections() if name != method)


def protect(given: argparse.Namespace) -> None:
    render(request_of(given), given)


def request_of(given: argparse.Namespace) -> ProtectRequest:
    """The request that the flags describe."""
    names = [setting.name for setting in settings(find_protection(given.method))]
    return ProtectRequest(
        pictures=tuple(given.photos),
        noun=given.noun,
        method=given.method,
        settings={name: value for name in names if (value := getattr(given, name)) is not None},
        base=choice_of(given),
        seed=given.seed,
        out=given.out,
        overwrite=given.overwrite,
        resume=given.resume,
    )
