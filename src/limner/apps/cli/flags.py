"""Flags that several commands share."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from limner.core.method import settings
from limner.errors import InputError
from limner.methods import DEFAULT, find, methods
from limner.workflows.choose_method import choose, seconds

from .common import ROLES
from .parser import Parser

if TYPE_CHECKING:
    from limner.core.method import Setting


def at_least(lowest: int) -> Callable[[str], int]:
    """The type of a flag that takes a whole number, `lowest` or more."""

    def count(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = lowest - 1
        if number < lowest:
            raise argparse.ArgumentTypeError(f"expected a whole number, {lowest} or more, not {text!r}")
        return number

    return count


def name_and_noun(text: str) -> str:
    """The type of a flag that takes FOLDER=NOUN."""
    name, sign, noun = text.partition("=")
    if not (sign and name.strip() and noun.strip()):
        raise argparse.ArgumentTypeError(f"expected FOLDER=NOUN, such as rex=dog, not {text!r}")
    return f"{name.strip()}={noun.strip()}"


def name_noun_and_folder(text: str) -> str:
    """The type of a flag that takes NAME=NOUN, or NAME=NOUN:FOLDER."""
    if not all(part.strip() for part in parts_of_further(text)[: 3 if ":" in text else 2]):
        raise argparse.ArgumentTypeError(
            f"expected NAME=NOUN, or NAME=NOUN:FOLDER, such as hat=hat:photos/hat, not {text!r}"
        )
    return text


def parts_of_further(text: str) -> tuple[str, str, str]:
    """Name, noun and folder of NAME=NOUN:FOLDER; each empty where it is not there."""
    name, _, rest = text.partition("=")
    noun, _, folder = rest.partition(":")
    return name.strip(), noun.strip(), folder.strip()


def gigabytes(text: str) -> float:
    """The type of a flag that takes an amount of memory, in gigabytes."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise argparse.ArgumentTypeError(f"expected gigabytes, such as 8 or 11.5, not {text!r}")
    return number


def device_name(text: str) -> str:
    """The type of a flag that takes a device of torch."""
    if not re.fullmatch(r"cpu|mps|(cuda|xpu)(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"expected cpu or cuda (cuda:1 is the second), not {text!r}")
    return text


ASKED = ("method", "base", "goal", "kind", "budget")
"""Flags that decide the method of `learn`, and with it the settings that are flags too."""


def add_command(commands: Any, name: str, run: Callable[[argparse.Namespace], None], about: str) -> Parser:
    parser: Parser = commands.add_parser(name, help=about, description=about)
    parser.set_defaults(command=run, parser=parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def add_encoders(parser: Parser) -> None:
    for role, example in ROLES.items():
        parser.add_argument(
            f"--{role}", metavar="WHERE", help=f"an encoder to judge with: a folder or hub id, such as {example}"
        )


def add_trust(parser: Parser) -> None:
    """Add the flags without which no method, base or network that a concept's file names is run or opened."""
    group = parser.add_argument_group("names in a concept's file")
    group.add_argument(
        "--method",
        metavar="FILE.py:NAME",
        help="your own method, which trained the concept; only a method file that you name is run",
    )
    group.add_argument(
        "--trust",
        action="store_true",
        help="run the method and open the base and networks that the concept's file names; only for files from people "
        "you trust",
    )


def add_base(parser: Parser, *, default: str | None = "pocket") -> None:
    parser.add_argument(
        "--base", default=default, help="pocket, a folder in diffusers' layout, a .safetensors file, or a hub id"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="seed of all random numbers; the same seed gives the same result (default: 0)",
    )
    add_base_settings(parser)


def add_base_settings(parser: Parser) -> None:
    """Add the flags for how a base is opened."""
    group = parser.add_argument_group("how the base is opened")
    group.add_argument("--device", type=device_name, help="cpu or cuda (default: cuda where there is one)")
    group.add_argument("--dtype", default="float32", help="float32, float16 or bfloat16")
    group.add_argument(
        "--fit",
        metavar="GB",
        type=gigabytes,
        help="memory limit in gigabytes; the other flags of this group are chosen to stay below it",
    )
    group.add_argument(
        "--quantise", default="", help="keep the denoiser's weights in int8 (needs torchao) or nf4 (needs bitsandbytes)"
    )
    group.add_argument(
        "--offload",
        action="store_true",
        help="keep text encoders and autoencoder in main memory while they are not used",
    )
    group.add_argument(
        "--tiling", action="store_true", help="decode pictures one by one and in tiles, which takes less memory"
    )
    group.add_argument(
        "--checkpointing",
        action="store_true",
        help="compute activations again instead of storing them: less memory, more time",
    )
    group.add_argument("--offline", action="store_true", help="never use the network")
    group.add_argument(
        "--base-config", metavar="WHERE", help="folder or hub id with the settings of a base that is a single file"
    )


def add_method(parser: Parser, arguments: Sequence[str], *, positional: bool = False) -> None:
    """Add --method, and a flag for each setting of the method that the arguments ask for."""
    add_base(parser)
    if positional:
        parser.add_argument("method", help="name of the method")
    else:
        parser.add_argument(
            "--method",
            help="a name from `limner methods`, or FILE.py:function (default: chosen by --goal from measured results; "
            "lora_dreambooth with --together)",
        )
    method = _asked(arguments, positional)
    parser.set_defaults(asked=method)
    group = parser.add_argument_group(
        f"settings of {method}", "Other methods have other settings; `limner methods` lists them."
    )
    for setting in settings(find(method)):
        add_setting(group, setting)


def _asked(arguments: Sequence[str], positional: bool) -> str:
    """The method that the arguments ask for. It is needed before parsing, because the flags depend on it."""
    if positional:
        return next((a for a in arguments[1:] if a in methods()), DEFAULT) if arguments[:1] == ["pretrain"] else DEFAULT
    if arguments[:1] != ["learn"]:
        return DEFAULT
    values = {name: typed_value(arguments, f"--{name}") for name in ASKED}
    if values["method"]:
        return values["method"]
    if "--together" in arguments:
        return DEFAULT
    try:
        budget = seconds(values["budget"]) if values["budget"] else None
        return choose(
            base=values["base"] or "pocket",
            goal=values["goal"] or "balanced",
            kind=values["kind"] or "object",
            budget=budget,
        ).method
    except InputError:
        # the command raises the same error when it runs
        return DEFAULT


def typed_value(arguments: Sequence[str], flag: str) -> str:
    """The value of a flag before parsing; empty where the flag is absent."""
    for index, word in enumerate(arguments):
        if word == flag and index + 1 < len(arguments):
            return arguments[index + 1]
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
    return ""


def add_setting(group: Any, setting: Setting) -> None:
    """Add the flag of a setting of a method."""
    name = "--" + setting.name.replace("_", "-")
    about = f"{setting.help} (default: {setting.default})"
    if setting.type is bool:
        group.add_argument(name, action=argparse.BooleanOptionalAction, default=None, help=about)
    else:
        group.add_argument(name, type=setting.type, default=None, metavar=setting.type.__name__.upper(), help=about)


def add_llm(parser: Parser) -> None:
    """Flags for a language model that reads the sentences of conversations."""
    parser.add_argument(
        "--llm",
        default="",
        metavar="URL",
        help="let a language model read the sentences of conversations: an OpenAI-compatible server, such as "
        "http://127.0.0.1:8000/v1 (default: a grammar, without any network)",
    )
    parser.add_argument("--llm-model", default="", metavar="NAME", help="name of the model on that server")


def check_llm(given: argparse.Namespace) -> None:
    """Raise `InputError` for flags of `add_llm` that name no language model."""
    if given.llm_model and not given.llm:
        raise InputError("--llm-model names a model on the server of --llm URL; give that too")
    if given.llm and getattr(given, "offline", False):
        raise InputError(
            "--llm asks a language model over the network, and --offline forbids the network: leave one of them out"
        )
    if given.llm:
        from limner.workflows.converse.language_model import LanguageModel

        LanguageModel(given.llm, given.llm_model)
