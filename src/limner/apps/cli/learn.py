"""`limner learn`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.workflows.choose_method import GOALS, seconds
from limner.workflows.requests import FurtherSubject, LearnRequest

from .common import choice_of, roles_of, settings_of
from .faces import add_faces, ask_consent, render_learning
from .flags import (
    add_command,
    add_encoders,
    add_method,
    at_least,
    name_and_noun,
    name_noun_and_folder,
    parts_of_further,
)

if TYPE_CHECKING:
    from .parser import Parser


def add_to(commands: Any, arguments: Sequence[str]) -> None:
    """The command and its flags."""
    parser = add_command(commands, "learn", learn, "learn a subject from its pictures")
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTOS", help="a folder of pictures, or pictures")
    parser.add_argument(
        "--class",
        dest="noun",
        default="",
        metavar="NOUN",
        help="class of the subject: dog, teapot, person; of a style its words, 'watercolour style' (or write it into "
        "PHOTOS/class.txt)",
    )
    parser.add_argument(
        "--name", help="name of the subject in prompts: rex is written <rex> (default: my and the class)"
    )
    parser.add_argument(
        "--kind",
        default="object",
        help="kind of the subject: object, pet, face, style, action or relation (default: object)",
    )
    parser.add_argument("--out", type=Path, help="folder for the concept and its page (default: here)")
    parser.add_argument(
        "--after",
        type=Path,
        metavar="FILE",
        help="learn the subject after those of this concept, by its method; the new concept answers to all handles",
    )
    parser.add_argument(
        "--beside",
        nargs="+",
        type=name_noun_and_folder,
        default=[],
        metavar="NAME=NOUN[:FOLDER]",
        help="further subjects of the same concept, such as a component: hat=hat:photos/hat, or hat=hat where PHOTOS show "
        "it (only some methods, such as magictailor)",
    )
    parser.add_argument("--resume", action="store_true", help="continue a run that was interrupted")
    parser.add_argument("--overwrite", action="store_true", help="replace a concept of that name")
    parser.add_argument(
        "--goal", choices=GOALS, default="balanced", help="goal by which a method is chosen where --method names none"
    )
    parser.add_argument("--budget", metavar="TIME", help="end training after this time: 90s, 3m, 1h")
    _add_pictures(parser)
    _add_together(parser)
    _add_end(parser)
    add_faces(parser)
    add_method(parser, arguments)


def _add_pictures(parser: Parser) -> None:
    """Add the flags for the pictures."""
    group = parser.add_argument_group("the pictures")
    group.add_argument(
        "--hold-out",
        type=at_least(0),
        default=0,
        metavar="N",
        help="number of pictures to leave out of training, for scoring",
    )
    group.add_argument(
        "--without",
        type=Path,
        metavar="FOLDER",
        help="the same scenes without the concept to learn, for methods that learn from pairs",
    )
    group.add_argument("--pool", type=Path, metavar="FOLDER", help="unsorted pictures that may show the subject too")
    group.add_argument(
        "--auxiliary",
        type=Path,
        metavar="FOLDER",
        help="pictures of other things, learned under the class alone, that guide how these look in a style (only some "
        "methods, such as styleboost)",
    )
    group.add_argument(
        "--segment", metavar="WHERE", help="make masks with rembg, or with a CLIPSeg or SAM (a folder or hub id)"
    )
    group.add_argument(
        "--caption",
        metavar="WHERE",
        help="make captions with a BLIP, BLIP-2 or LLaVA (a folder or hub id), or with 'pocket', which knows toys",
    )


def _add_together(parser: Parser) -> None:
    """Add the flags for many subjects."""
    group = parser.add_argument_group("many subjects")
    group.add_argument(
        "--together", action="store_true", help="PHOTOS holds a folder for each subject: learn them all in one pass"
    )
    group.add_argument(
        "--classes",
        nargs="+",
        type=name_and_noun,
        default=[],
        metavar="FOLDER=NOUN",
        help="with --together: the class of each folder, as in rex=dog tom=cat (or in the folder's class.txt; "
        "--class: for all others)",
    )
    group.add_argument(
        "--slots",
        type=at_least(1),
        metavar="N",
        help="with --together: number of subjects at a time (default: as many as fit into memory, at most 16)",
    )
    group.add_argument(
        "--mixed", action="store_true", help="with --together: compute in bfloat16, update weights in full precision"
    )


def _add_end(parser: Parser) -> None:
    """Add the flags for states during training, and for scores, previews and checks at the end."""
    group = parser.add_argument_group("during training, and at the end")
    group.add_argument(
        "--keep",
        choices=("last", "best"),
        default="last",
        help="save the last state, or the best-scoring of six states during training (default: last)",
    )
    group.add_argument(
        "--stop",
        choices=("", "variance", "overfit", "gap"),
        default="",
        help="end early when the loss no longer varies (variance), when the model overfits the subject (overfit), or "
        "when the loss on held-out pictures rises (gap)",
    )
    group.add_argument(
        "--sample-every",
        type=at_least(0),
        default=0,
        metavar="N",
        help="paint the subject every N updates during training; 0 never does",
    )
    group.add_argument(
        "--sample-prompt",
        nargs="+",
        default=[],
        metavar="PROMPT",
        help="prompts to paint with --sample-every (default: a photo of the subject)",
    )
    group.add_argument(
        "--states",
        type=at_least(0),
        default=0,
        metavar="N",
        help="number of states of training to save as concepts, equally spaced, to compare and choose from; 0 saves none",
    )
    group.add_argument(
        "--preview",
        type=at_least(0),
        default=4,
        metavar="N",
        help="number of pictures of each preview prompt; 0 paints none",
    )
    group.add_argument(
        "--score", action=argparse.BooleanOptionalAction, default=True, help="score the concept at the end"
    )
    group.add_argument(
        "--check",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="check the concept at the end, as `limner check` does",
    )
    add_encoders(parser)


def learn(given: argparse.Namespace) -> None:
    ask_consent(given)
    render_learning(request_of(given), given)


def request_of(given: argparse.Namespace) -> LearnRequest:
    """The request that the flags describe."""
    return LearnRequest(
        pictures=tuple(given.photos),
        noun=given.noun,
        nouns={name: noun for name, _, noun in (each.partition("=") for each in given.classes)},
        name=given.name or "",
        kind=given.kind,
        method=given.method or "",
        settings=settings_of(given),
        base=choice_of(given),
        seed=given.seed,
        out=given.out or Path(),
        overwrite=given.overwrite,
        resume=given.resume,
        goal=given.goal,
        budget=seconds(given.budget) if given.budget else None,
        hold_out=given.hold_out,
        without=given.without,
        pool=given.pool,
        auxiliary=given.auxiliary,
        after=given.after,
        beside=tuple(map(_further_subject, given.beside)),
        segment=given.segment,
        caption=given.caption,
        keep=given.keep,
        stop=given.stop,
        sample_every=given.sample_every,
        sample_prompts=tuple(given.sample_prompt),
        states=given.states,
        preview=given.preview,
        score=given.score,
        check=given.check,
        encoders=roles_of(given),
        together=given.together,
        slots=given.slots,
        mixed=given.mixed,
        which=given.which,
        may=given.yes_i_may,
        person=given.person or "",
        guardian=given.guardian or "",
    )


def _further_subject(text: str) -> FurtherSubject:
    name, noun, folder = parts_of_further(text)
    return FurtherSubject(name=name, noun=noun, pictures=Path(folder) if folder else None)
