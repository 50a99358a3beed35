"""`limner chat`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from limner.core.escaping import terminal_text
from limner.core.files import atomic_write
from limner.core.untrusted import read_json, read_text
from limner.errors import FileError, InputError
from limner.workflows.events import Message, Note, TurnDone
from limner.workflows.requests import BaseChoice, ConceptChoice, ConverseRequest

from .common import choice_of, say
from .flags import add_base, add_command, add_llm, add_trust, at_least, check_llm

FILE = "conversation.json"
HELP = """Say what to show, and then what to change; the rest stays:
  rex on the beach · give him a red hat · put him in the snow · make the hat blue · without the hat · as a watercolour
  another one · rex at 0.8 · rex on the left · no trees
through the turns:  undo · redo · back to the first one · the hat as in the second one
what you like:      more like this · less like the third · yes, that is rex
turns lists the pictures so far, help shows this, quit ends."""


def add_to(commands: Any) -> None:
    """The command and its flags."""
    parser = add_command(commands, "chat", chat, "refine a picture by talking: what was not named stays as it is")
    parser.add_argument(
        "--with", dest="concepts", nargs="+", type=Path, default=[], metavar="FILE", help="files of the concepts to use"
    )
    parser.add_argument(
        "--script",
        type=Path,
        metavar="FILE",
        help="read sentences from a text file, one on each line, instead of asking",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out/chat"),
        help="folder for the pictures; a conversation that is already there continues",
    )
    parser.add_argument("--new", action="store_true", help="begin a new conversation in a folder that has one")
    parser.add_argument(
        "--photos",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="folder of a subject's reference images, to refuse copies of them among the pictures that you keep; may be "
        "given several times",
    )
    parser.add_argument("--steps", type=at_least(1), default=25, help="sampling steps (default: 25)")
    parser.add_argument("--guidance", type=float, default=4.0, help="classifier-free guidance (default: 4)")
    parser.add_argument(
        "--preference-steps",
        type=at_least(1),
        default=8,
        help="updates of a concept for `more like this` (default: 8)",
    )
    add_llm(parser)
    add_trust(parser)
    add_base(parser, default=None)


@dataclass
class _Chat:
    """The conversation between two sentences, and the files in its folder."""

    given: argparse.Namespace
    choice: BaseChoice
    conversation: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, str] = field(default_factory=dict)  # id of a turn -> file in the folder
    concepts: list[str] = field(default_factory=list)  # files in the folder
    bases: dict[BaseChoice, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        folder: Path = self.given.out
        return folder / FILE

    def read(self) -> None:
        """Go on with the conversation of the folder, if there is one."""
        if self.given.new or not self.path.exists():
            return
        saved = read_json(self.path)
        kinds = {"conversation": dict, "pictures": dict, "concepts": list}
        if not isinstance(saved, dict) or any(not isinstance(saved.get(k), kind) for k, kind in kinds.items()):
            raise FileError(f"{self.path} is no conversation of limner; give --new, or another folder with --out")
        self.conversation, self.pictures, self.concepts = (saved[name] for name in kinds)
        for name in (*self.pictures.values(), *self.concepts):
            if not isinstance(name, str) or Path(name).name != name:
                raise FileError(f"{self.path} names {str(name)[:80]!r}, which is no file of its folder")

    def write(self) -> None:
        saved = {"conversation": self.conversation, "pictures": self.pictures, "concepts": self.concepts}
        atomic_write(
            self.path, lambda path: path.write_text(json.dumps(saved) + "\n", encoding="utf-8"), overwrite=True
        )

    def request(self, words: str) -> ConverseRequest:
        given, folder = self.given, self.given.out
        files = [*given.concepts, *(folder / name for name in self.concepts)]
        return ConverseRequest(
            words=words,
            conversation=self.conversation,
            concepts=tuple(ConceptChoice(path=p, method=given.method or "", trust=given.trust) for p in files),
            base=self.choice,
            pictures={turn: folder / name for turn, name in self.pictures.items() if (folder / name).is_file()},
            photos=_photos(given.photos),
            seed=given.seed,
            steps=given.steps,
            guidance=given.guidance,
            preference_steps=given.preference_steps,
            out=folder,
            llm=given.llm,
            llm_model=given.llm_model,
        )

    def open_base(self, choice: BaseChoice) -> Any:
        """The base, opened at the first sentence."""
        from limner.workflows.opening import open_base

        if choice not in self.bases:
            self.bases[choice] = open_base(choice)
        return self.bases[choice]

    def answer(self, words: str) -> TurnDone:
        from limner.workflows.run import run

        done: TurnDone | None = None
        for event in run(self.request(words), open_base=self.open_base):
            match event:
                case Message(text):
                    say(text)
                case Note(text):
                    say(f"note: {text}")
                case TurnDone():
                    done = event
        assert done is not None
        self.conversation = dict(done.conversation)
        if done.picture:
            self.pictures[done.turn] = done.picture.name
        self.concepts += [path.name for path in done.concepts]
        self.write()
        return done


def chat(given: argparse.Namespace) -> None:
    from limner.workflows.converse_request import language_model

    check_llm(given)
    talk = _Chat(given, choice_of(given))
    talk.read()
    language_model(talk.request(""))  # raises for a URL that cannot be used, before the first sentence
    records = []
    for words in _sentences(given):
        if words.lower() in ("quit", "exit", "bye"):
            break
        if words.lower() in ("help", "?"):
            _show(given, HELP)
        elif words.lower() in ("turns", "history"):
            _show(given, _turns(talk.conversation))
        else:
            done = talk.answer(words)
            records.append(
                {"words": words, **{k: v for k, v in done.record.items() if k not in ("conversation", "event")}}
            )
            _show(given, _lines(done, talk.conversation))
    if given.json:
        print(json.dumps({"turns": records, "conversation": str(talk.path)}, indent=2))


def _sentences(given: argparse.Namespace) -> Iterator[str]:
    """Sentences of the script, of a pipe, or as the user types them."""
    if given.script is not None:
        for line in read_text(given.script).splitlines():
            if line.strip() and not line.lstrip().startswith("#"):
                _show(given, f"> {line.strip()}")
                yield line.strip()
        return
    asks = sys.stdin.isatty()
    if asks:
        say("say what to show; help lists examples, quit ends")
    while True:
        try:
            line = input("> " if asks else "").strip()
        except EOFError:
            return
        if line:
            yield line


def _lines(done: TurnDone, conversation: dict[str, Any]) -> str:
    """The answer, behind the number of the turn."""
    numbers = {turn["id"]: turn["number"] for turn in conversation["turns"]}
    number = f"[{numbers[done.turn]}] " if done.turn else ""
    lines = [f"{number}{done.answer}"]
    lines += [f"    {k}. {text}" for k, text in enumerate(done.choices, 1)]
    files = (*([done.picture] if done.picture else []), *done.concepts, *done.references)
    return "\n".join([*lines, *(f"    {path}" for path in files)])


def _turns(conversation: dict[str, Any]) -> str:
    """The turns as lines: number, the turn before, words."""
    if not conversation:
        return "no picture yet"
    numbers = {turn["id"]: turn["number"] for turn in conversation["turns"]}
    lines = []
    for turn in conversation["turns"]:
        here = "*" if turn["id"] == conversation["current"] else " "
        after = f" (after {numbers[turn['parent']]})" if turn["parent"] else ""
        lines.append(f"{here} {turn['number']}{after}: {turn['words']}")
    return "\n".join(lines) or "no picture yet"


def _photos(given: list[str]) -> dict[str, Path]:
    """NAME=FOLDER words as a mapping."""
    photos = {}
    for word in given:
        name, sign, folder = word.partition("=")
        if not (name.strip() and sign and folder.strip()):
            raise InputError(f"--photos takes NAME=FOLDER, such as rex=photos/, not {word!r}")
        photos[name.strip()] = Path(folder.strip())
    return photos


def _show(given: argparse.Namespace, text: str) -> None:
    if not given.json:
        print("\n".join(terminal_text(line) for line in text.splitlines()), flush=True)
