"""The entry point of the command line, and the parser with all commands."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

from limner import __version__
from limner.apps import door
from limner.core.interrupts import listening, standing
from limner.core.memory import keep_memory
from limner.core.offline import staying_offline

from . import (
    bases,
    bench,
    chat,
    check,
    data,
    demo,
    doctor,
    export,
    import_file,
    learn,
    merge,
    methods,
    paint,
    pretrain,
    protect,
    publish,
    report,
    score,
    studio,
    swap,
    try_on,
    tune,
    users,
    words,
    worker,
)
from .aliases import translated
from .common import check_device, say
from .flags import ASKED, typed_value
from .parser import Parser
from .saved import defaults_of, preset, read_settings, save_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return an exit code of `limner.apps.door`."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    return door.run(lambda: _command_of(words), words=words)


def _command_of(words: Sequence[str]) -> None:
    arguments = translated(words, say)
    parser = _parser(arguments)
    given = parser.parse_args(arguments)
    if getattr(given, "save_config", None):
        save_settings(given.save_config, given, command=arguments[0], defaults=given.defaults)
    command: Callable[[argparse.Namespace], object] = given.command
    keep_memory()
    _quieten()
    standing()
    with listening(), staying_offline() if getattr(given, "offline", False) else nullcontext():
        check_device(getattr(given, "device", None))
        command(given)


# ----------------------------------------------------------------------------------------------------------- the parser


def _parser(arguments: Sequence[str]) -> Parser:
    """The parser of all commands. It has the flags of the method named by the arguments or by a settings file."""
    file, command = typed_value(arguments, "--config"), arguments[0] if arguments else ""
    settings_file = read_settings(Path(file), command) if file and command in CONFIGURED else {}
    asked = [*arguments, *(f"--{key}={value}" for key, value in settings_file.items() if key in ASKED)]
    parser, parsers = _commands(asked)
    for name in CONFIGURED:
        parsers[name].add_argument(
            "--config",
            type=Path,
            metavar="FILE",
            help="read settings from this TOML file; flags on the command line take precedence",
        )
        parsers[name].add_argument(
            "--save-config", type=Path, metavar="FILE", help="write the settings of this command to a TOML file"
        )
        parsers[name].set_defaults(defaults=defaults_of(parsers[name]))
    if settings_file:
        preset(parsers[command], settings_file, Path(file))
    return parser


def _quieten() -> None:
    """Switch off other libraries' progress bars unless the output is a terminal. The libraries read these variables
    when they are imported."""
    if sys.stderr is None or not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("TQDM_DISABLE", "1")


CONFIGURED = ("learn", "paint", "score", "bench", "pretrain")
"""Commands that read their settings from a file."""


def _commands(arguments: Sequence[str]) -> tuple[Parser, dict[str, Parser]]:
    parser = Parser("limner", description="Teach a generative image model one subject from a few pictures.")
    parser.add_argument("--version", action="version", version=f"limner {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    learn.add_to(commands, arguments)
    paint.add_to(commands)
    chat.add_to(commands)
    swap.add_to(commands)
    try_on.add_to(commands)
    protect.add_to(commands, arguments)
    score.add_to(commands)
    bench.add_to(commands)
    tune.add_to(commands)
    report.add_to(commands)
    merge.add_to(commands)
    export.add_to(commands)
    import_file.add_to(commands)
    check.add_to(commands)
    data.add_to(commands)
    publish.add_to(commands)
    methods.add_to(commands)
    bases.add_to(commands)
    words.add_to(commands)
    doctor.add_to(commands)
    pretrain.add_to(commands, arguments)
    demo.add_to(commands)
    studio.add_to(commands)
    worker.add_to(commands)
    users.add_to(commands)
    return parser, dict(commands.choices)
