"""`limner pretrain`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.workflows.requests import PretrainRequest

from .common import choice_of, roles_of, settings_of
from .flags import add_command, add_encoders, add_method, at_least
from .rendering import render

if TYPE_CHECKING:
    from .parser import Parser


def add_to(commands: Any, arguments: Sequence[str]) -> None:
    """The command and its flags."""
    parser = add_command(commands, "pretrain", pretrain, "train the weights that a method starts from, once for a base")
    add_pretraining(parser)
    add_method(parser, arguments, positional=True)


def pretrain(given: argparse.Namespace) -> None:
    request = PretrainRequest(
        method=given.method,
        settings=settings_of(given),
        base=choice_of(given),
        seed=given.seed,
        run=given.run,
        corpus=given.corpus,
        noun=given.noun,
        exclude=given.exclude,
        duplicates=given.duplicates,
        accumulate=given.accumulate,
        ema=given.ema,
        precision=given.precision,
        preview_every=given.preview_every,
        preview_of=given.preview_of,
        track=given.track,
        encoders=roles_of(given),
    )
    render(request, given)


def add_pretraining(parser: Parser) -> None:
    """Add the flags for the corpus, the computation and the progress of a pre-training."""
    parser.add_argument("--run", type=Path, help="folder for checkpoints and previews (default: in the cache)")
    group = parser.add_argument_group("the corpus")
    group.add_argument(
        "--corpus",
        metavar="WORDS",
        help="toys, a folder, 'shards-{000..009}.tar', a glob, or hf:ID (default: the method's own)",
    )
    group.add_argument(
        "--class",
        dest="noun",
        default="",
        metavar="NOUN",
        help="class of all pictures, for a corpus that does not name it",
    )
    group.add_argument(
        "--exclude",
        type=Path,
        metavar="FOLDER",
        help="pictures of evaluation subjects, which the corpus must not contain",
    )
    group.add_argument(
        "--duplicates",
        choices=("error", "leave-out"),
        default="error",
        help="handling of corpus subjects that --exclude contains: stop with an error, or leave them out",
    )
    group = parser.add_argument_group("the computation")
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
        metavar="DECAY",
        help="save the exponential moving average of the weights with this decay, such as 0.999; 0 saves the "
        "weights themselves",
    )
    group.add_argument(
        "--precision",
        choices=("auto", "bfloat16", "float32"),
        default="auto",
        help="precision of the computation; auto is bfloat16 where the device computes in it, else float32; weights "
        "stay in the base's own precision",
    )
    group = parser.add_argument_group("progress")
    group.add_argument(
        "--preview-every",
        type=at_least(0),
        default=0,
        metavar="N",
        help="paint and score a subject every N updates; 0 never does",
    )
    group.add_argument(
        "--preview-of",
        type=Path,
        metavar="FOLDER",
        help="folder of the subject to paint (default: a toy of the development split)",
    )
    group.add_argument("--track", choices=("tensorboard", "wandb"), help="send losses and previews to this tracker")
    add_encoders(parser)
