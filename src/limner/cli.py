"""The command line: its parser. A method's flags are made from its signature; what commands do is in `commands/`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from . import __version__, door
from .aliases import translated
from .choosing import GOALS, choose, seconds
from .commands import exchanging, judging, learning, listing, painting
from .commands.common import ROLES, check_device, say
from .commands.flags import Parser, at_least, device_name, gigabytes
from .commands.saved import defaults_of, preset, read_settings, save_settings
from .errors import InputError
from .interrupts import listening, standing
from .memory import keep_memory
from .methods import DEFAULT, find, methods
from .offline import staying_offline
from .recipe import Setting, settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is one of `limner.door`'s."""
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


# ------------------------------------------------------------------------------------------------------------- the parser


def _parser(arguments: Sequence[str]) -> Parser:
    """The parser of all commands. The settings of a method that is named, and of a settings file, are part of it."""
    file, command = _value(arguments, "--config"), arguments[0] if arguments else ""
    settings_file = read_settings(Path(file), command) if file and command in CONFIGURED else {}
    asked = [*arguments, *(f"--{key}={value}" for key, value in settings_file.items() if key in ASKED)]
    parser, found = _commands(asked)
    for name in CONFIGURED:
        found[name].add_argument(
            "--config", type=Path, metavar="FILE", help="settings in TOML; the words typed go before them"
        )
        found[name].add_argument("--save-config", type=Path, metavar="FILE", help="write these settings as TOML")
        found[name].set_defaults(defaults=defaults_of(found[name]))
    if settings_file:
        preset(found[command], settings_file, Path(file))
    return parser


def _quieten() -> None:
    """In a log, no loading bars of other libraries: they are drawn for a terminal. Read when those libraries are imported."""
    if sys.stderr is None or not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("TQDM_DISABLE", "1")


CONFIGURED = ("learn", "paint", "score", "bench", "pretrain")
"""Commands that read their settings from a file."""
ASKED = ("method", "base", "goal", "kind", "budget")
"""What decides which settings `learn` has."""


def _commands(arguments: Sequence[str]) -> tuple[Parser, dict[str, Parser]]:
    parser = Parser("limner", description="Teach a generative image model one subject from a few pictures.")
    parser.add_argument("--version", action="version", version=f"limner {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    learn = _command(commands, "learn", learning.learn, "teach a subject from its pictures")
    learn.add_argument("photos", nargs="+", type=Path, metavar="PHOTOS", help="a folder or files")
    learn.add_argument("--class", dest="noun", default="", metavar="NOUN", help="what it is: dog, teapot, person")
    learn.add_argument("--name", help="what prompts will call it: rex is written <rex> (default: my and the class)")
    learn.add_argument("--kind", default="object", help="object, pet, face, style, action or relation")
    learn.add_argument("--out", type=Path, help="folder for the concept and its page (default: here)")
    learn.add_argument(
        "--together", action="store_true", help="PHOTOS holds a folder for each subject: teach them all in one pass"
    )
    learn.add_argument(
        "--slots",
        type=at_least(1),
        metavar="N",
        help="with --together: subjects at a time (default: what fits, at most 16)",
    )
    learn.add_argument(
        "--mixed", action="store_true", help="with --together: compute in bfloat16, learn in full precision"
    )
    learn.add_argument("--resume", action="store_true", help="go on with a run that was interrupted")
    learn.add_argument("--overwrite", action="store_true", help="replace a concept of that name")
    learn.add_argument(
        "--preview", type=at_least(0), default=4, metavar="N", help="pictures of each preview prompt; 0 paints none"
    )
    learn.add_argument(
        "--hold-out", type=at_least(0), default=0, metavar="N", help="pictures not to learn from, to judge by"
    )
    learn.add_argument("--without", type=Path, metavar="FOLDER", help="the same without what is to be learned: pairs")
    learn.add_argument("--pool", type=Path, metavar="FOLDER", help="unsorted pictures that may show it too")
    learn.add_argument(
        "--segment", metavar="WHERE", help="who finds the subject: rembg, or a folder or hub id of CLIPSeg or SAM"
    )
    learn.add_argument(
        "--caption",
        metavar="WHERE",
        help="who says what else is there: a folder or hub id of a BLIP, BLIP-2 or LLaVA, or 'pocket', which knows toys",
    )
    learn.add_argument(
        "--goal", choices=GOALS, default="balanced", help="what the method is chosen for, when none is named"
    )
    learn.add_argument("--budget", metavar="TIME", help="end learning when so long has passed: 90s, 3m, 1h")
    learn.add_argument("--score", action=argparse.BooleanOptionalAction, default=True, help="score it at the end")
    learn.add_argument("--check", action=argparse.BooleanOptionalAction, default=True, help="certify it at the end")
    learn.add_argument("--keep", choices=("last", "best"), default="last", help="which state on the way to keep")
    learn.add_argument(
        "--stop", choices=("", "variance", "overfit", "gap"), default="", help="end early on this sign (default: none)"
    )
    learn.add_argument(
        "--sample-every",
        type=at_least(0),
        default=0,
        metavar="N",
        help="paint it every N updates while it learns; 0 does not",
    )
    learn.add_argument(
        "--sample-prompt", nargs="+", default=[], metavar="PROMPT", help="what to paint then (default: a photo of it)"
    )
    _add_encoders(learn)
    _add_method(learn, arguments)
    paint = _command(commands, "paint", painting.paint, "paint a prompt, wearing concepts")
    paint.add_argument("prompt", nargs="?", default="", help='such as "<rex> on the beach"')
    paint.add_argument("--prompts", type=Path, metavar="FILE", help="a text file with a prompt on each line")
    paint.add_argument(
        "--with", dest="concepts", nargs="+", type=Path, default=[], metavar="FILE", help="concepts to wear"
    )
    paint.add_argument("-n", "--count", type=at_least(1), default=1, help="pictures to paint of each prompt")
    paint.add_argument("--out", type=Path, default=Path("out/paint"), help="folder for the pictures")
    paint.add_argument("--overwrite", action="store_true", help="number from 000 again, replacing what is there")
    paint.add_argument(
        "--scale",
        nargs="+",
        type=float,
        default=[1.0],
        metavar="SCALE",
        help="how strongly concepts are worn: one for all, or one each; 0 is the base",
    )
    paint.add_argument("--steps", type=at_least(1), default=25, help="sampling steps")
    paint.add_argument("--guidance", type=float, default=4.0, help="classifier-free guidance; 1 is none")
    paint.add_argument(
        "--guide-between",
        nargs=2,
        type=float,
        default=(0.0, 1.0),
        metavar=("FROM", "UNTIL"),
        help="shares of the steps between which to guide; the others cost half (default: 0 1, all)",
    )
    paint.add_argument(
        "--subject-from",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of the steps after which concepts are put on; before, the base paints the prompt with the class noun",
    )
    paint.add_argument("--sampler", default="", help="ddim, ddpm, dpm or euler (default: the base's own)")
    paint.add_argument(
        "--negative", default="", help="what not to paint; may name a concept, such as an embedding made for it"
    )
    paint.add_argument("--onto", type=Path, metavar="FILE", help="a picture to paint into")
    paint.add_argument(
        "--where",
        type=Path,
        metavar="FILE",
        help="white where that picture may change (default: all of its middle square); the rest and its size stay",
    )
    paint.add_argument("--start", type=float, default=0.3, help="share of the steps left out, to keep that much of it")
    paint.add_argument(
        "--any-base", action="store_true", help="wear it on another base of its family, such as a distilled one"
    )
    _add_trust(paint)
    _add_base(paint, default=None)
    score = _command(commands, "score", judging.score, "say what a likeness is worth, and what to try")
    score.add_argument("concept", type=Path, metavar="FILE", help="what was learned")
    score.add_argument("--photos", type=Path, help="the pictures it was learned from")
    score.add_argument(
        "--held-out", type=Path, help="other pictures of the subject; without, fidelity is overestimated"
    )
    score.add_argument("--prompts", nargs="+", help="with the handle in them (default: the pocket world's ten)")
    score.add_argument("-n", "--count", type=at_least(1), default=2, help="pictures of each prompt")
    score.add_argument("--out", type=Path, help="folder for sheets of the pictures")
    _add_encoders(score)
    _add_trust(score)
    _add_base(score, default=None)
    bench = _command(
        commands, "bench", judging.bench, "methods against each other on held-out subjects; runs what is missing"
    )
    bench.add_argument(
        "--methods", nargs="+", metavar="NAME[:SETTING=VALUE,…]", help="default: all, and two that learn nothing"
    )
    bench.add_argument(
        "--curve",
        nargs="+",
        default=[],
        metavar="NAME",
        help="paint these worn at 0.25 to 1.25 of their strength; alone, they and the two that learn nothing are the bench",
    )
    bench.add_argument(
        "--results", type=Path, help="the run's file (default: results/bench.json; of a curve, results/curve.json)"
    )
    bench.add_argument("--folder", type=Path, help="pictures and single likenesses (default: out/bench/NAME)")
    bench.add_argument(
        "--size", choices=("standard", "quick"), default="standard", help="3 toys x 8 prompts x 1 seed, or 1 x 5 x 1"
    )
    bench.add_argument("--data", default="toys", help="toys, dreambench, custom-10, …")
    bench.add_argument(
        "--where", nargs="*", default=[], metavar="NAME=VALUE", help="the loader's arguments: folder=PATH"
    )
    bench.add_argument("--cases", type=at_least(1), help="subjects")
    bench.add_argument("--prompts", type=at_least(1), help="prompts of each subject")
    bench.add_argument("--seeds", type=at_least(1), help="seeds of painting")
    bench.add_argument("--teaching-seeds", type=at_least(1), default=1, help="seeds of teaching")
    bench.add_argument("--workers", type=at_least(1), default=1, help="processes that share this machine's cores")
    bench.add_argument("--on", default="local", help="local, or ray for a cluster")
    _add_encoders(bench)
    _add_base(bench, default=None)
    made = _command(commands, "report", judging.report, "a bench as one HTML page, CSV and Markdown")
    made.add_argument("results", type=Path, nargs="?", default=Path("results/bench.json"))
    made.add_argument("--out", type=Path, default=Path("out/report.html"))
    made.add_argument("--pictures", type=Path, help="the bench's folder (default: out/bench/NAME)")
    exported = _command(commands, "export", exchanging.export, "write a concept for another tool")
    exported.add_argument("concept", type=Path, metavar="FILE", help="what was learned; or ip_adapter, for its weights")
    exported.add_argument("--to", required=True, help="diffusers, kohya, comfyui, a1111 or peft")
    exported.add_argument("--out", type=Path, help="folder for the files (default: out/export/FORMAT)")
    exported.add_argument(
        "--rank", type=at_least(0), default=0, help="bring whole changes of weights to this rank (loses something)"
    )
    exported.add_argument("--overwrite", action="store_true", help="replace files of that name")
    _add_trust(exported)
    _add_base(exported, default=None)
    imported = _command(commands, "import", exchanging.import_, "read another tool's file")
    imported.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="LoRA, DoRA, LoHa, LoKr, PEFT's folder, embedding, Custom Diffusion, IP-Adapter",
    )
    imported.add_argument(
        "--name", default="", help="what prompts will call it (default: as the file says, or its name)"
    )
    imported.add_argument("--class", dest="noun", default="", metavar="NOUN", help="what it is")
    imported.add_argument("--says", default="", metavar="WORDS", help="the words it was taught with: its trigger")
    imported.add_argument("--partial", action="store_true", help="take what there is of a file that is not read whole")
    imported.add_argument("--out", type=Path, default=Path(), help="folder for the concept (default: here)")
    imported.add_argument("--overwrite", action="store_true", help="replace a concept of that name")
    _add_base(imported)
    check = _command(commands, "check", exchanging.check, "certify a concept in the precision it will be used in")
    check.add_argument("concept", type=Path, metavar="FILE", help="what was learned")
    check.add_argument("--steps", type=at_least(1), default=8, help="sampling steps of its pictures")
    check.add_argument("--any-base", action="store_true", help="on another base of its family")
    _add_trust(check)
    _add_base(check, default=None)
    data = _command(commands, "data", exchanging.data, "say what a folder of pictures is, as learn would read it")
    data.add_argument("folder", type=Path, metavar="FOLDER", help="pictures in any tool's layout")
    data.add_argument("--page", type=Path, metavar="FILE", help="an HTML page with thumbnails")
    published = _command(commands, "publish", exchanging.publish, "write a model card and upload it to the hub")
    published.add_argument("concept", type=Path, metavar="FILE", help="what was learned")
    published.add_argument("--to", required=True, metavar="USER/REPO", help="where on the hub")
    published.add_argument("--formats", nargs="+", default=["diffusers"], help="files for other tools to put beside it")
    published.add_argument(
        "--licence", default="", help="its licence (default: that of the base must be looked up: other)"
    )
    published.add_argument("--pictures", type=Path, metavar="FOLDER", help="gallery (default: a few are painted)")
    published.add_argument("--out", type=Path, help="folder to write it to (default: out/publish/NAME)")
    published.add_argument("--dry-run", action="store_true", help="write the folder and upload nothing")
    published.add_argument("--private", action="store_true", help="a repository of your own")
    _add_trust(published)
    _add_base(published, default=None)
    _command(commands, "methods", listing.methods, "every method, its paper and its framework")
    _command(commands, "bases", listing.bases, "what can be personalised")
    _command(commands, "words", listing.words, "the words and kinds of toys that the pocket base knows")
    doctor = _command(commands, "doctor", listing.doctor, "look at this installation and say what is missing")
    doctor.add_argument(
        "--time", action="store_true", help="and where the time goes here, on the pocket base, and what would help"
    )
    pretrain = _command(
        commands, "pretrain", learning.pretrain, "train the weights a method starts from, once for a base"
    )
    _add_pretraining(pretrain)
    _add_method(pretrain, arguments, positional=True)
    demo = _command(commands, "demo", learning.demo, "teach a toy and paint it")
    demo.add_argument("--out", type=Path, default=Path("out/demo"))
    return parser, dict(commands.choices)


def _command(commands: Any, name: str, run: Callable[[argparse.Namespace], None], about: str) -> Parser:
    parser: Parser = commands.add_parser(name, help=about, description=about)
    parser.set_defaults(command=run, parser=parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _add_encoders(parser: Parser) -> None:
    for role, example in ROLES.items():
        parser.add_argument(f"--{role}", metavar="WHERE", help=f"folder or hub id to judge by, such as {example}")


def _add_pretraining(parser: Parser) -> None:
    """What is learned from, and how it is computed and looked at."""
    parser.add_argument("--run", type=Path, help="folder for checkpoints and previews (default: in the cache)")
    group = parser.add_argument_group("what is learned from")
    group.add_argument(
        "--corpus",
        metavar="WORDS",
        help="toys, a folder, 'shards-{000..009}.tar', a glob, or hf:ID (default: the method's own)",
    )
    group.add_argument(
        "--class", dest="noun", default="", metavar="NOUN", help="what all its pictures show, where it does not say"
    )
    group.add_argument(
        "--exclude", type=Path, metavar="FOLDER", help="pictures of subjects that are judged: none may be in the corpus"
    )
    group.add_argument(
        "--duplicates", choices=("error", "leave-out"), default="error", help="what becomes of subjects that are"
    )
    group = parser.add_argument_group("how it is computed")
    group.add_argument(
        "--accumulate",
        type=at_least(1),
        default=1,
        metavar="N",
        help="compute every batch in N parts: less memory, the same result",
    )
    group.add_argument(
        "--ema",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="ship the running mean, which keeps so much of itself at an update: 0.999",
    )
    group.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16", help="of what is computed")
    group = parser.add_argument_group("how it is looked at")
    group.add_argument(
        "--preview-every",
        type=at_least(0),
        default=0,
        metavar="N",
        help="paint and score a subject every N updates; 0 does not",
    )
    group.add_argument(
        "--preview-of", type=Path, metavar="FOLDER", help="that subject (default: a toy of the development split)"
    )
    group.add_argument("--track", choices=("tensorboard", "wandb"), help="send losses and previews there")
    _add_encoders(parser)


def _add_trust(parser: Parser) -> None:
    """What a concept's file may not say of itself."""
    group = parser.add_argument_group("what a concept's file names")
    group.add_argument(
        "--method",
        metavar="FILE.py:NAME",
        help="your own method that it was taught by: only a file that you name is run",
    )
    group.add_argument(
        "--trust",
        action="store_true",
        help="run and open whatever the file names: a method of your own, a base, a network",
    )


def _add_base(parser: Parser, *, default: str | None = "pocket") -> None:
    parser.add_argument(
        "--base", default=default, help="pocket, a folder in diffusers' layout, a .safetensors file, or a hub id"
    )
    parser.add_argument("--seed", type=int, default=0)
    group = parser.add_argument_group("how the base is opened")
    group.add_argument("--device", type=device_name, help="cpu or cuda (default: cuda where there is one)")
    group.add_argument("--dtype", default="float32", help="float32, float16 or bfloat16")
    group.add_argument(
        "--fit", metavar="GB", type=gigabytes, help="choose the rest so that it fits into so much memory"
    )
    group.add_argument(
        "--quantise", default="", help="the denoiser's weights: int8 (needs torchao) or nf4 (bitsandbytes)"
    )
    group.add_argument(
        "--offload", action="store_true", help="text encoders and autoencoder wait in the computer's memory"
    )
    group.add_argument("--tiling", action="store_true", help="decode pictures one by one and in tiles")
    group.add_argument("--checkpointing", action="store_true", help="compute activations twice rather than keep them")
    group.add_argument("--offline", action="store_true", help="never ask the network")
    group.add_argument("--base-config", metavar="WHERE", help="where the settings of a single file come from")


def _add_method(parser: Parser, arguments: Sequence[str], *, positional: bool = False) -> None:
    """--method, and a flag for each of the settings of the method that is asked for."""
    _add_base(parser)
    if positional:
        parser.add_argument("method", help="its name")
    else:
        parser.add_argument(
            "--method",
            help="a name from `limner methods`, or FILE.py:function (default: by --goal, from what was measured; lora_dreambooth with --together)",
        )
    method = _asked(arguments, positional)
    group = parser.add_argument_group(
        f"settings of {method}", "Another --method has others; `limner methods` lists them."
    )
    for setting in settings(find(method)):
        _flag(group, setting)


def _asked(arguments: Sequence[str], positional: bool) -> str:
    """The method named on the command line, before anything is parsed: its flags depend on it."""
    if positional:
        return next((a for a in arguments[1:] if a in methods()), DEFAULT) if arguments[:1] == ["pretrain"] else DEFAULT
    if arguments[:1] != ["learn"]:
        return DEFAULT
    told = {name: _value(arguments, f"--{name}") for name in ASKED}
    if told["method"]:
        return told["method"]
    if "--together" in arguments:
        return DEFAULT
    try:
        budget = seconds(told["budget"]) if told["budget"] else None
        return choose(
            base=told["base"] or "pocket", goal=told["goal"] or "balanced", kind=told["kind"] or "object", budget=budget
        ).method
    except InputError:
        return DEFAULT  # said when the command runs


def _value(arguments: Sequence[str], flag: str) -> str:
    """What is given for a flag, before anything is parsed; empty when it is not there."""
    for index, word in enumerate(arguments):
        if word == flag and index + 1 < len(arguments):
            return arguments[index + 1]
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
    return ""


def _flag(group: Any, setting: Setting) -> None:
    name = "--" + setting.name.replace("_", "-")
    about = f"{setting.help} (default: {setting.default})"
    if setting.type is bool:
        group.add_argument(name, action=argparse.BooleanOptionalAction, default=None, help=about)
    else:
        group.add_argument(name, type=setting.type, default=None, metavar=setting.type.__name__.upper(), help=about)


if __name__ == "__main__":
    raise SystemExit(main())
