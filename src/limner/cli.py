"""The command line. A method's flags are made from its signature."""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__
from .aliases import translated
from .choosing import GOALS, choose, measured, seconds
from .errors import InputError, LimnerError, PromptError, UnknownName
from .methods import DEFAULT, card, find, methods
from .recipe import Setting, settings

if TYPE_CHECKING:
    from .concept import Concept
    from .evaluation.scoring import Scorecard
    from .subject import Subject


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0, 1 for an error that was explained, 130 when interrupted."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        arguments = translated(arguments, _say)
        given = _parser(arguments).parse_args(arguments)
        command: Callable[[argparse.Namespace], object] = given.command
        command(given)
    except LimnerError as error:
        print(f"limner: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nlimner: interrupted; nothing is lost. `limner learn … --resume` goes on from here", file=sys.stderr)
        return 130
    return 0


# ---------------------------------------------------------------------------------------------------------- the commands


def _learn(given: argparse.Namespace) -> None:
    import limner

    from .bases.loading import load
    from .choosing import within
    from .evaluation.signals import Keeper, Signals, together
    from .files import atomic_write
    from .learning import checked_settings
    from .looking import prepared
    from .methods.full_size import FULL_SIZE
    from .page import write_page
    from .progress import show
    from .subject import Subject

    folder = Path(given.out or ".")
    given.name = given.name or "my" + "".join(filter(str.isalnum, given.noun))
    subject = Subject.of(
        given.photos,
        noun=given.noun,
        handle=given.name,
        kind=given.kind,
        without=given.without or (),
        pool=given.pool or (),
    )
    target = folder / f"{subject.name}.safetensors"
    if target.exists() and not given.overwrite:
        raise InputError(f"{target} exists already; choose another --name or --out, or say --overwrite")
    if given.base == "pocket":
        _say(
            "note: the base 'pocket' knows toys of its own small world, not photographs; expect a toy's likeness of your"
        )
        _say("      subject. For real photographs name a real base: --base FOLDER or --base HUB/ID")
    for note in subject.notes:
        _say(f"note: {note}")
    _say(f"{len(subject.pictures)} pictures of {subject.name}, a {subject.noun}")
    budget = seconds(given.budget) if given.budget else None
    ending = [within(budget, _say)] if budget else []
    if given.method is None:
        given.method, why = choose(base=given.base, goal=given.goal, kind=given.kind, budget=budget)
        _say(f"method: {given.method} ({why})")
    base = load(given.base, device=given.device, dtype=given.dtype)
    subject = prepared(subject, segment=given.segment, caption=given.caption, device=given.device)
    chosen = {
        s.name: getattr(given, s.name) for s in settings(find(given.method)) if getattr(given, s.name) is not None
    }
    if base.name != "pocket" and given.method not in FULL_SIZE:
        _say(
            f"note: {given.method} has no published settings for a full-size base; the pocket's are used, watch the loss"
        )
    for note in find(given.method)(subject, **checked_settings(find(given.method), chosen, base=base.name)).notes:
        _say(f"note: {note}")
    page = folder / subject.name
    subject, held_out = _held_out(subject, given.hold_out)
    eyes = _encoders(given)
    judge = _judge(base, subject, held_out, eyes, given.seed) if given.score else None
    keeper = Keeper(page) if given.keep == "best" else None
    if keeper and judge is None:
        raise InputError(
            "to keep the best state it must be scored: leave out --no-score, and on a real base name --clip and --dino"
        )
    signals = Signals(subject, held_out, stop=given.stop, file=page / "signals.jsonl") if given.stop else None
    watches = [w for w in (show(), keeper, signals, *ending) if w is not None]
    concept = limner.learn(
        base,
        subject,
        method=given.method,
        seed=given.seed,
        checkpoints=page,
        resume=given.resume,
        watch=together(*watches),
        **chosen,
    )
    if keeper and judge:
        _say("scoring the states on the way")
        concept = keeper.best(concept, lambda c: _harmonic(judge(c)), say=_say)
    card = None
    if judge:
        _say("scoring")
        card = judge(concept)
        concept = concept.scored({"with it": card.brief})
        _say(str(card.diagnosis))
    prompts = [
        f"a photo of {subject.handle}",
        *(f"{subject.handle} {place}" for place in ("on the beach", "in the snow")),
    ]
    pictures = (
        limner.paint(base, prompts, concepts=[concept], count=given.preview, seed=given.seed) if given.preview else []
    )
    concept.save(target, overwrite=given.overwrite)
    if keeper:
        keeper.clear()
    if pictures:
        from .picture import Pictures

        Pictures(pictures).save(page, overwrite=True)
        sheet = Pictures(pictures).grid(given.preview)
        atomic_write(page / "grid.png", lambda p: sheet.save(p, format="PNG"), overwrite=True)
    write_page(page / "index.html", concept, subject=subject, pictures=pictures, card=card, overwrite=True)
    _out(given, {"concept": str(target), "page": str(page / "index.html"), "cost": concept.cost, "scores": concept.scores},
         f"{target}\n{page / 'index.html'}")  # fmt: skip


def _judge(
    base: Any, subject: Subject, held_out: Sequence[Any], eyes: Any, seed: int
) -> Callable[[Concept], Scorecard] | None:
    """The quick scoring at the end of `learn`; None, with a word why, where nothing can judge this base."""
    from .evaluation.datasets.toys import asked
    from .evaluation.scoring import QUICK, score

    if base.name != "pocket" and eyes is None:
        _say("note: not scored, since nothing here can judge this base; name encoders: --clip FOLDER --dino FOLDER")
        return None
    real = [p.image for p in subject.pictures if p.image is not None]
    prompts = (
        asked()[:6]
        if base.name == "pocket"
        else [f"{subject.handle} {place}" for place in ("on the beach", "in the snow", "in the jungle", "in a city")]
    )

    plain: list[Any] = []  # the base's own pictures, painted once

    def judge(concept: Concept) -> Scorecard:
        card = score(
            base,
            concept,
            training=real,
            held_out=held_out,
            prompts=prompts,
            seeds=(seed,),
            encoders=eyes,
            only=QUICK,
            plain=plain,
        )
        plain[:] = card.base
        return card

    return judge


def _harmonic(card: Scorecard) -> float:
    return card.tradeoff.harmonic if card.tradeoff is not None else -1.0


def _held_out(subject: Subject, count: int) -> tuple[Subject, list[Any]]:
    """The subject without its last `count` pictures (doubles of one photograph stay together), and those."""
    from dataclasses import replace

    from .evaluation.datasets import split

    if count == 0:
        return subject, []
    images = [p.image for p in subject.pictures if p.image is not None]
    kept, out = split(images, held_out=count)
    if len(out) < count:
        raise InputError(f"{len(images)} pictures cannot spare {count} to be held out; give more, or hold out fewer")
    return replace(subject, pictures=tuple(subject.pictures[k] for k in kept)), [images[k] for k in out]


def _encoders(given: argparse.Namespace) -> dict[str, Any] | None:
    """Those named on the command line by role, or None."""
    from .evaluation.encoders import encoder

    named = {role: getattr(given, role) for role in ROLES if getattr(given, role)}
    return {role: encoder(where, device=given.device or "cpu") for role, where in named.items()} or None


def _score(given: argparse.Namespace) -> None:
    import limner

    from .concept import Concept
    from .evaluation.scoring import score
    from .files import atomic_write
    from .picture import Pictures

    concept = Concept.load(given.concept)
    base = limner.load(given.base or concept.base["name"], device=given.device, dtype=given.dtype)
    learned, held_out = (_images(folder) for folder in (given.photos, given.held_out))
    card = score(
        base,
        concept,
        training=learned,
        held_out=held_out,
        prompts=given.prompts or (),
        seeds=tuple(range(given.seed, given.seed + given.count)),
        encoders=_encoders(given),
    )
    if given.out:
        sheets = (("with it", card.pictures), ("base alone", card.base))
        for name, pictures in sheets:
            sheet = Pictures(pictures).grid(given.count)
            path = given.out / f"{name.replace(' ', '-')}.png"
            atomic_write(path, functools.partial(sheet.save, format="PNG"), overwrite=True)
    _out(given, card.record, str(card))


def _images(folder: Path | None) -> list[Any]:
    from .subject import Subject

    if folder is None:
        return []
    read = Subject.of(folder, noun="thing", handle="rex")
    return [p.image for p in read.pictures]


def _bench(given: argparse.Namespace) -> None:
    from .evaluation.benchmark import bench
    from .evaluation.plan import SIZES, Plan
    from .evaluation.report import table_markdown
    from .evaluation.summary import MARKS, POLICIES

    size = SIZES[given.size]
    names = given.methods or [*POLICIES, *methods(), *(MARKS if given.data == "toys" else ())]
    where = dict(_pair(w) for w in given.where)
    encoders = tuple((role, getattr(given, role)) for role in ROLES if getattr(given, role))
    plan = Plan(
        tuple(_with_settings(name) for name in names),
        data=given.data,
        where=tuple(where.items()),
        cases=given.cases or size.cases,
        prompts=given.prompts or size.prompts,
        seeds=tuple(range(given.seeds)) if given.seeds else size.seeds,
        teaching_seeds=tuple(range(given.teaching_seeds)),
        base=given.base or "pocket",
        encoders=encoders,
        device=given.device or "cpu",
    )
    folder = given.folder or Path("out/bench") / given.results.stem
    found = bench(plan, results=given.results, folder=folder, workers=given.workers, on=given.on, say=_say)
    _out(given, found["summary"], table_markdown(found))


def _with_settings(text: str) -> tuple[str, tuple[tuple[str, Any], ...]]:
    """ "dreambooth:steps=50,lr=1e-5" -> its name and settings, typed as the method's signature says."""
    from .evaluation.summary import MARKS, POLICIES

    name, _, rest = text.partition(":")
    if name in (*POLICIES, *MARKS) or not rest:
        return name, ()
    known = {s.name: s for s in settings(find(name))}
    found = []
    for part in rest.split(","):
        key, value = _pair(part)
        if key not in known:
            raise UnknownName(f"setting of {name}", key, known)
        kind = known[key].type
        found.append((key, value.lower() == "true" if kind is bool else kind(value)))
    return name, tuple(found)


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign:
        raise InputError(f"expected NAME=VALUE, not {text!r}")
    return key.strip(), value.strip()


def _report(given: argparse.Namespace) -> None:
    from .evaluation.report import report

    folder = given.pictures or Path("out/bench") / given.results.stem
    path = report(given.results, given.out, pictures=folder)
    _out(given, {"page": str(path)}, str(path))


def _paint(given: argparse.Namespace) -> None:
    import limner

    from .concept import Concept
    from .subject import read_picture

    concepts = [Concept.load(path) for path in given.concepts]
    unnamed = [c.handle for c in concepts if c.handle not in given.prompt]
    if unnamed:
        raise PromptError(
            f"the prompt {given.prompt!r} does not name {unnamed[0]}; write {unnamed[0]} where the subject is to be"
        )
    name = given.base or (concepts[0].base["name"] if concepts else "pocket")
    base = limner.load(name, device=given.device, dtype=given.dtype)
    how = limner.PaintSettings(given.steps, given.guidance, given.sampler, given.negative)
    if given.where and not given.onto:
        raise InputError("--where says which part of a canvas may change; name the canvas with --onto FILE")
    canvas = None
    if given.onto:
        images = [read_picture(file)[0].image for file in (given.onto, given.where) if file]
        canvas = limner.Canvas(images[0], images[1] if given.where else None, start=given.start)  # type: ignore[arg-type]
    pictures = limner.paint(
        base,
        given.prompt,
        concepts=concepts,
        count=given.count,
        seed=given.seed,
        scale=given.scale,
        settings=how,
        canvas=canvas,
    )
    paths = pictures.save(given.out, overwrite=given.overwrite)
    _out(given, {"pictures": [str(p) for p in paths]}, "\n".join(map(str, paths)))


def _methods(given: argparse.Namespace) -> None:
    rows = method_table()
    head = f"{'':24} {'H':>5} {'seconds':>7}  {'framework':24} {'for':24} paper"
    lines = [
        f"{r['name']:24} {_short(r['measured'], 'H', '.2f'):>5} {_short(r['measured'], 'seconds', '.0f'):>7}  {r['framework']:24} "
        f"{', '.join(r['scope']):24} {r['title']}, {r['year']}, {r['arxiv'] or r['source']}"
        for r in rows
    ]
    _out(given, rows, "\n".join([head, *lines]))


def _short(row: dict[str, float], key: str, how: str) -> str:
    return format(row[key], how) if key in row else "-"


def _bases(given: argparse.Namespace) -> None:
    from .bases.loading import known_bases

    rows = known_bases()
    lines = [f"{r['name']:18} {r['family']:18} {r['picture_size']:4} px  {r['about']}" for r in rows]
    _out(given, rows, "\n".join(lines))


def _doctor(given: argparse.Namespace) -> None:
    from .doctor import examine

    checks = examine()
    lines = [f"{'ok ' if c['ok'] else 'BAD'}  {c['what']:14} {c['found']}" for c in checks]
    _out(given, checks, "\n".join(lines))
    if not all(c["ok"] for c in checks):
        raise InputError("something is not as it should be; see the lines marked BAD")


def _pretrain(given: argparse.Namespace) -> None:
    from .pretraining import pretrain
    from .progress import show

    chosen = {
        s.name: getattr(given, s.name) for s in settings(find(given.method)) if getattr(given, s.name) is not None
    }
    path = pretrain(
        given.method, base=given.base, seed=given.seed, run=given.run, watch=show(), device=given.device, **chosen
    )
    _out(given, {"weights": str(path)}, str(path))


def _demo(given: argparse.Namespace) -> None:
    from .demo import demo

    folder = demo(given.out)
    _out(given, {"folder": str(folder)}, str(folder))


def method_table() -> list[dict[str, Any]]:
    """Name, title, paper, year, scope, framework, settings and what was measured of every method."""
    from .methods.full_size import FULL_SIZE
    from .subject import Subject

    rows = []
    for name, function in methods().items():
        about = card(function)
        recipe = function(Subject("<rex>", "dog"))
        rows.append({
            "name": name, "title": about.title, "arxiv": about.arxiv, "source": about.source, "year": about.year, "scope": list(about.scope),
            "framework": recipe.framework, "measured": measured().get(name, {}),
            "full_size": dict(theirs.settings) if (theirs := FULL_SIZE.get(name)) else {},
            "full_size_source": theirs.source if theirs else "",
            "settings": {s.name: {"default": s.default, "help": s.help} for s in settings(function)},
        })  # fmt: skip
    return rows


# ------------------------------------------------------------------------------------------------------------- the parser


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "limner", description="Teach a generative image model one subject from a few pictures."
    )
    parser.add_argument("--version", action="version", version=f"limner {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    learn = _command(commands, "learn", _learn, "teach a subject from its pictures")
    learn.add_argument("photos", nargs="+", type=Path, metavar="PHOTOS", help="a folder or files")
    learn.add_argument("--class", dest="noun", required=True, metavar="NOUN", help="what it is: dog, teapot, person")
    learn.add_argument("--name", help="what prompts will call it: rex is written <rex> (default: my and the class)")
    learn.add_argument("--kind", default="object", help="object, pet, face, style, action or relation")
    learn.add_argument("--out", type=Path, help="folder for the concept and its page (default: here)")
    learn.add_argument("--resume", action="store_true", help="go on with a run that was interrupted")
    learn.add_argument("--overwrite", action="store_true", help="replace a concept of that name")
    learn.add_argument(
        "--preview", type=int, default=4, metavar="N", help="pictures of each preview prompt; 0 paints none"
    )
    learn.add_argument("--hold-out", type=int, default=0, metavar="N", help="pictures not to learn from, to judge by")
    learn.add_argument("--without", type=Path, metavar="FOLDER", help="the same without what is to be learned: pairs")
    learn.add_argument("--pool", type=Path, metavar="FOLDER", help="unsorted pictures that may show it too")
    learn.add_argument(
        "--segment", metavar="WHERE", help="who finds the subject: rembg, or a folder or hub id of CLIPSeg or SAM"
    )
    learn.add_argument("--caption", metavar="WHERE", help="who says what else is there: a folder or hub id of BLIP")
    learn.add_argument(
        "--goal", choices=GOALS, default="balanced", help="what the method is chosen for, when none is named"
    )
    learn.add_argument("--budget", metavar="TIME", help="end learning when so long has passed: 90s, 3m, 1h")
    learn.add_argument("--score", action=argparse.BooleanOptionalAction, default=True, help="score it at the end")
    learn.add_argument("--keep", choices=("last", "best"), default="last", help="which state on the way to keep")
    learn.add_argument(
        "--stop", choices=("", "variance", "overfit", "gap"), default="", help="end early on this sign (default: none)"
    )
    _add_encoders(learn)
    _add_method(learn, arguments)
    paint = _command(commands, "paint", _paint, "paint a prompt, wearing concepts")
    paint.add_argument("prompt", help='such as "<rex> on the beach"')
    paint.add_argument(
        "--with", dest="concepts", nargs="+", type=Path, default=[], metavar="FILE", help="concepts to wear"
    )
    paint.add_argument("-n", "--count", type=int, default=1, help="pictures to paint")
    paint.add_argument("--out", type=Path, default=Path("out/paint"), help="folder for the pictures")
    paint.add_argument("--overwrite", action="store_true", help="number from 000 again, replacing what is there")
    paint.add_argument("--scale", type=float, default=1.0, help="how strongly concepts are worn; 0 is the base")
    paint.add_argument("--steps", type=int, default=25, help="sampling steps")
    paint.add_argument("--guidance", type=float, default=4.0, help="classifier-free guidance; 1 is none")
    paint.add_argument("--sampler", default="ddim", help="ddim, ddpm or dpm")
    paint.add_argument("--negative", default="", help="what not to paint")
    paint.add_argument("--onto", type=Path, metavar="FILE", help="a picture to paint into")
    paint.add_argument(
        "--where", type=Path, metavar="FILE", help="white where that picture may change (default: all of it)"
    )
    paint.add_argument("--start", type=float, default=0.3, help="share of the steps left out, to keep that much of it")
    _add_base(paint, default=None)
    score = _command(commands, "score", _score, "say what a likeness is worth, and what to try")
    score.add_argument("concept", type=Path, metavar="FILE", help="what was learned")
    score.add_argument("--photos", type=Path, help="the pictures it was learned from")
    score.add_argument(
        "--held-out", type=Path, help="other pictures of the subject; without, fidelity is overestimated"
    )
    score.add_argument("--prompts", nargs="+", help="with the handle in them (default: the pocket world's ten)")
    score.add_argument("-n", "--count", type=int, default=2, help="pictures of each prompt")
    score.add_argument("--out", type=Path, help="folder for sheets of the pictures")
    _add_encoders(score)
    _add_base(score, default=None)
    bench = _command(commands, "bench", _bench, "methods against each other on held-out subjects; runs what is missing")
    bench.add_argument(
        "--methods", nargs="+", metavar="NAME[:SETTING=VALUE,…]", help="default: all, and two that learn nothing"
    )
    bench.add_argument("--results", type=Path, default=Path("results/bench.json"), help="the run's file")
    bench.add_argument("--folder", type=Path, help="pictures and single likenesses (default: out/bench/NAME)")
    bench.add_argument(
        "--size", choices=("standard", "quick"), default="standard", help="3 toys x 8 prompts x 1 seed, or 1 x 5 x 1"
    )
    bench.add_argument("--data", default="toys", help="toys, dreambench, custom-10, …")
    bench.add_argument(
        "--where", nargs="*", default=[], metavar="NAME=VALUE", help="the loader's arguments: folder=PATH"
    )
    bench.add_argument("--cases", type=int, help="subjects")
    bench.add_argument("--prompts", type=int, help="prompts of each subject")
    bench.add_argument("--seeds", type=int, help="seeds of painting")
    bench.add_argument("--teaching-seeds", type=int, default=1, help="seeds of teaching")
    bench.add_argument("--workers", type=int, default=1, help="processes that share this machine's cores")
    bench.add_argument("--on", default="local", help="local, or ray for a cluster")
    _add_encoders(bench)
    _add_base(bench, default=None)
    made = _command(commands, "report", _report, "a bench as one HTML page, CSV and Markdown")
    made.add_argument("results", type=Path, nargs="?", default=Path("results/bench.json"))
    made.add_argument("--out", type=Path, default=Path("out/report.html"))
    made.add_argument("--pictures", type=Path, help="the bench's folder (default: out/bench/NAME)")
    _command(commands, "methods", _methods, "every method, its paper and its framework")
    _command(commands, "bases", _bases, "what can be personalised")
    _command(commands, "doctor", _doctor, "look at this installation and say what is missing")
    pretrain = _command(commands, "pretrain", _pretrain, "train the weights a method starts from, once for a base")
    pretrain.add_argument("--run", type=Path, help="folder for checkpoints (default: in the cache)")
    _add_method(pretrain, arguments, positional=True)
    demo = _command(commands, "demo", _demo, "teach a toy and paint it")
    demo.add_argument("--out", type=Path, default=Path("out/demo"))
    return parser


def _command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], None], about: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=about, description=about)
    parser.set_defaults(command=run)
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


ROLES = {
    "clip": "openai/clip-vit-base-patch32",
    "dino": "facebook/dino-vits16",
    "dinov2": "facebook/dinov2-base",
    "pickscore": "yuvalkirstain/PickScore_v1",
    "hps": "a CLIP with HPS weights",
}
"""Encoders that can be named on the command line, and an example of each."""


def _add_encoders(parser: argparse.ArgumentParser) -> None:
    for role, example in ROLES.items():
        parser.add_argument(f"--{role}", metavar="WHERE", help=f"folder or hub id to judge by, such as {example}")


def _add_base(parser: argparse.ArgumentParser, *, default: str | None = "pocket") -> None:
    parser.add_argument("--base", default=default, help="pocket, a folder in diffusers' layout, or a hub id")
    parser.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")
    parser.add_argument("--dtype", default="float32", help="float32, float16 or bfloat16")
    parser.add_argument("--seed", type=int, default=0)


def _add_method(parser: argparse.ArgumentParser, arguments: Sequence[str], *, positional: bool = False) -> None:
    """--method, and a flag for each of the settings of the method that is asked for."""
    _add_base(parser)
    if positional:
        parser.add_argument("method", help="its name")
    else:
        parser.add_argument(
            "--method",
            help="a name from `limner methods`, or FILE.py:function (default: by --goal, from what was measured)",
        )
    group = parser.add_argument_group("settings of the method")
    for setting in settings(find(_asked(arguments, positional))):
        _flag(group, setting)


def _asked(arguments: Sequence[str], positional: bool) -> str:
    """The method named on the command line, before anything is parsed: its flags depend on it."""
    if positional:
        return next((a for a in arguments[1:] if a in methods()), DEFAULT) if arguments[:1] == ["pretrain"] else DEFAULT
    if arguments[:1] != ["learn"]:
        return DEFAULT
    told = {name: _value(arguments, f"--{name}") for name in ("method", "base", "goal", "kind", "budget")}
    if told["method"]:
        return told["method"]
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


def _out(given: argparse.Namespace, value: Any, text: str) -> None:
    print(json.dumps(value, indent=2) if given.json else text)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
