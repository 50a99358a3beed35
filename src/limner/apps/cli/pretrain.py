"""`limner pretrain`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.core.method import settings
from limner.errors import InputError
from limner.methods import find

from .common import encoders, opened, out, say
from .flags import add_command, add_encoders, add_method, at_least

if TYPE_CHECKING:
    from .flags import Parser


def add_to(commands: Any, arguments: Sequence[str]) -> None:
    """The command and its flags."""
    parser = add_command(commands, "pretrain", pretrain, "train the weights a method starts from, once for a base")
    add_pretraining(parser)
    add_method(parser, arguments, positional=True)


def pretrain(given: argparse.Namespace) -> None:
    from contextlib import closing, nullcontext

    from limner.core.interrupts import standing
    from limner.data.corpora import corpus
    from limner.engine.checkpoint import CHECKPOINT
    from limner.engine.early_stopping import together
    from limner.engine.parallel import spread
    from limner.workflows.pretrain import Manner, folder_of, prepared, trained
    from limner.workflows.progress import show
    from limner.workflows.trackers import tracker

    chosen = {
        s.name: getattr(given, s.name) for s in settings(find(given.method)) if getattr(given, s.name) is not None
    }
    over = spread(given.accumulate)
    tell = say if over.main else (lambda _: None)
    if given.corpus is None and (given.exclude or given.noun):
        raise InputError("--exclude and --class are about a corpus: name one with --corpus")
    found = None
    if given.corpus is not None:
        with over.main_first():
            found = corpus(given.corpus, noun=given.noun, held_out=given.exclude, duplicates=given.duplicates)
    given.device = given.device or over.device
    ready = prepared(
        given.method,
        base=opened(given, given.base),
        corpus=found,
        seed=given.seed,
        manner=Manner(given.accumulate, given.ema, given.precision),
        spread=over,
        given=chosen,
    )
    tell(f"corpus {ready.seen}")
    folder = folder_of(ready, given.run)
    standing(
        lambda: (
            f"what was trained is kept in {folder / CHECKPOINT}; the same command goes on from there"
            if (folder / CHECKPOINT).exists()
            else "nothing is kept of this run; the same command begins anew"
        )
    )
    following = tracker(given.track, folder=folder, about=ready.header) if given.track and over.main else None
    with closing(following) if following else nullcontext():
        watches: list[Any] = [show(), *([following] if following else [])] if over.main else []
        if given.preview_every:
            watches.append(_previews(given, ready, folder, following))
        path = trained(ready, run=given.run, watch=together(*watches))
    if over.main:
        out(given, {"weights": str(path), "corpus": dict(ready.seen.record)}, str(path))


def _previews(given: argparse.Namespace, ready: Any, folder: Path, following: Any) -> Any:
    """Previews of a development toy, or of the subject whose folder is named."""
    from limner.data.corpora import called
    from limner.data.layouts import recognised
    from limner.workflows.previews import previews

    subject = None
    if given.preview_of:
        shown = recognised(given.preview_of)
        subject = shown.subject(noun=shown.noun or called(given.preview_of.resolve().name))
    found = previews(
        find(given.method),
        ready.settings,
        base=ready.base.name,
        folder=folder,
        every=given.preview_every,
        subject=subject,
        encoders=encoders(given),
        writes=ready.spread.main,
    )
    if following:
        found.shown = following.shown
    return found


def add_pretraining(parser: Parser) -> None:
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
    add_encoders(parser)
