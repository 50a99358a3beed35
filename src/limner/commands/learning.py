"""`limner learn`, `pretrain` and `demo`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.choosing import choose, seconds
from limner.errors import InputError
from limner.methods import DEFAULT, find
from limner.recipe import settings

from .common import encoders, free_memory, opened, out, planned, say

if TYPE_CHECKING:
    from limner.concept import Concept
    from limner.evaluation.scoring import Scorecard
    from limner.subject import Subject


def learn(given: argparse.Namespace) -> None:
    if given.together:
        _together(given)
        return
    import limner
    from limner.checking import certify
    from limner.choosing import within
    from limner.evaluation.signals import Keeper, Signals, together
    from limner.files import atomic_write
    from limner.learning import checked_settings
    from limner.looking import prepared
    from limner.methods.full_size import FULL_SIZE
    from limner.page import write_page
    from limner.parts.encoders.masks import unseen
    from limner.progress import show

    folder = Path(given.out or ".")
    subject = _subject(given)
    target = folder / f"{subject.name}.safetensors"
    if target.exists() and not given.overwrite:
        raise InputError(f"{target} exists already; choose another --name or --out, or say --overwrite")
    if given.base == "pocket":
        say(
            "note: the base 'pocket' knows toys of its own small world, not photographs; expect a toy's likeness of your"
        )
        say("      subject. For real photographs name a real base: --base FOLDER or --base HUB/ID")
    for note in subject.notes:
        say(f"note: {note}")
    say(f"{len(subject.pictures)} pictures of {subject.name}, a {subject.noun}")
    budget = seconds(given.budget) if given.budget else None
    ending = [within(budget, say)] if budget else []
    if given.method is None:
        given.method, why = choose(base=given.base, goal=given.goal, kind=given.kind, budget=budget)
        say(f"method: {given.method} ({why})")
    subject = prepared(subject, segment=given.segment, caption=given.caption, device=given.device)
    chosen = {
        s.name: getattr(given, s.name) for s in settings(find(given.method)) if getattr(given, s.name) is not None
    }
    told = checked_settings(find(given.method), chosen, base=given.base)
    planned(given, given.base, find(given.method)(subject, **told), batch=int(told.get("batch", 1)))
    base = opened(given, given.base)
    if base.distilled:
        say(
            f"note: {base.name} was distilled for {base.distilled}; what it is taught by ordinary steps undoes that. Teach on the"
        )
        say("      model it was made from, and wear the concept here: limner paint … --base THIS --any-base")
    if base.name != "pocket" and given.method not in FULL_SIZE:
        say(
            f"note: {given.method} has no published settings for a full-size base; the pocket's are used, watch the loss"
        )
    for note in find(given.method)(subject, **checked_settings(find(given.method), chosen, base=base.name)).notes:
        say(f"note: {note}")
    for name in unseen(base, subject):
        say(f"note: nothing like a toy is seen on {name}; a picture without the subject teaches what is around it")
    page = folder / subject.name
    subject, held_out = _held_out(subject, given.hold_out)
    eyes = encoders(given)
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
        say("scoring the states on the way")
        concept = keeper.best(concept, lambda c: _harmonic(judge(c)), say=say)
    card = None
    if judge:
        say("scoring")
        card = judge(concept)
        concept = concept.scored({"with it": card.brief})
        say(str(card.diagnosis))
    prompts = [
        f"a photo of {subject.handle}",
        *(f"{subject.handle} {place}" for place in ("on the beach", "in the snow")),
    ]
    pictures = (
        limner.paint(base, prompts, concepts=[concept], count=given.preview, seed=given.seed) if given.preview else []
    )
    concept.save(target, overwrite=given.overwrite)
    if given.check:
        certificate = certify(base, concept, seed=given.seed)
        for check in certificate.checks:
            say(f"{'ok ' if check.ok else 'BAD'}  {check.what}: {check.found}")
    if keeper:
        keeper.clear()
    if pictures:
        from limner.picture import Pictures

        Pictures(pictures).save(page, overwrite=True)
        sheet = Pictures(pictures).grid(given.preview)
        atomic_write(page / "grid.png", lambda p: sheet.save(p, format="PNG"), overwrite=True)
    write_page(page / "index.html", concept, subject=subject, pictures=pictures, card=card, overwrite=True)
    out(given, {"concept": str(target), "page": str(page / "index.html"), "cost": concept.cost, "scores": concept.scores},
         f"{target}\n{page / 'index.html'}")  # fmt: skip
    if given.check:
        certificate.demand()


def _together(given: argparse.Namespace) -> None:
    """Every folder in a folder is a subject; all are taught in one pass, and each has its own file in the end."""
    from limner.fleet import SLOTS, Job, room, teach_many
    from limner.formats.datasets import recognised
    from limner.progress import Line

    given_in_vain = [
        flag
        for flag in ("resume", "stop", "without", "pool", "segment", "caption", "hold_out", "budget")
        if getattr(given, flag)
    ]
    if given_in_vain or given.keep == "best":
        flag = (given_in_vain or ["keep"])[0].replace("_", "-")
        raise InputError(
            f"--{flag} means nothing with --together, which teaches, saves and does no more; teach that subject alone"
        )
    (root,) = given.photos if len(given.photos) == 1 else (None,)
    folders = sorted(p for p in root.iterdir() if p.is_dir()) if root is not None and root.is_dir() else []
    if not folders:
        raise InputError("with --together, name one folder that holds a folder of pictures for each subject")
    method = given.method or DEFAULT
    chosen = {s.name: getattr(given, s.name) for s in settings(find(method)) if getattr(given, s.name) is not None}
    subjects = [recognised(p).subject(noun=given.noun, name=p.name, kind=given.kind) for p in folders]
    out_folder = Path(given.out or ".")
    targets = {subject.handle: out_folder / f"{subject.name}.safetensors" for subject in subjects}
    there = [path for path in targets.values() if path.exists()]
    if there and not given.overwrite:
        raise InputError(f"{there[0]} exists already; choose another --out, or say --overwrite")
    base = opened(given, given.base)
    jobs = [Job(subject, method, given.seed, chosen) for subject in subjects]
    recipe = find(method)(subjects[0], **chosen)
    slots = given.slots or min(
        SLOTS, room(base, recipe, batch=int(chosen.get("batch", 4)), limit=0.7 * free_memory(given.device))
    )
    say(f"{len(subjects)} subjects, {min(slots, len(subjects))} at a time, by {method}")
    line, written, failed = Line(), [], []
    for progress in teach_many(base, jobs, slots=slots, mixed=given.mixed):
        for done in progress.done:
            if done.concept is None:
                failed.append(str(done.error))
                continue
            path = targets[done.job.subject.handle]
            done.concept.save(path, overwrite=given.overwrite)
            written.append(str(path))
        mean = sum(loss for _, loss in progress.losses) / max(len(progress.losses), 1)
        line.show(
            f"{len(written)} done, {len(progress.losses)} learning, {progress.waiting} waiting; loss {mean:.4f}; {progress.seconds:.0f} s"
        )
    line.end()
    for error in failed:
        say(f"failed: {error}")
    out(given, {"concepts": written, "failed": failed}, "\n".join(written))
    if failed:
        raise InputError(f"{len(failed)} of {len(jobs)} subjects could not be taught; the others were saved")


def _subject(given: argparse.Namespace) -> Subject:
    """The subject of a folder in any tool's layout, or of files."""
    from limner.formats.datasets import recognised
    from limner.subject import Subject

    more = {"kind": given.kind, "without": given.without or (), "pool": given.pool or ()}
    if len(given.photos) == 1 and (given.photos[0].is_dir() or given.photos[0].suffix in (".json", ".toml")):
        found = recognised(given.photos[0])
        say(str(found))
        if found.regular:
            say(
                "note: the pictures of the class beside it are not used; methods that want some paint them with the base"
            )
        return found.subject(noun=given.noun, name=given.name or "", **more)
    if not given.noun:
        raise InputError("say what the pictures show: --class dog, or what it is")
    name = given.name or "my" + "".join(filter(str.isalnum, given.noun))
    return Subject.of(given.photos, noun=given.noun, handle=name, **more)


def _judge(
    base: Any, subject: Subject, held_out: Sequence[Any], eyes: Any, seed: int
) -> Callable[[Concept], Scorecard] | None:
    """The quick scoring at the end of `learn`; None, with a word why, where nothing can judge this base."""
    from limner.evaluation.datasets.toys import asked
    from limner.evaluation.scoring import QUICK, score

    if base.name != "pocket" and eyes is None:
        say("note: not scored, since nothing here can judge this base; name encoders: --clip FOLDER --dino FOLDER")
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

    from limner.evaluation.datasets import split

    if count == 0:
        return subject, []
    images = [p.image for p in subject.pictures if p.image is not None]
    kept, out = split(images, held_out=count)
    if len(out) < count:
        raise InputError(f"{len(images)} pictures cannot spare {count} to be held out; give more, or hold out fewer")
    return replace(subject, pictures=tuple(subject.pictures[k] for k in kept)), [images[k] for k in out]


def pretrain(given: argparse.Namespace) -> None:
    from contextlib import closing, nullcontext

    from limner.corpora import corpus
    from limner.evaluation.signals import together
    from limner.pretraining import Manner, folder_of, prepared, trained
    from limner.progress import show
    from limner.sharing import spread
    from limner.trackers import tracker

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
    from limner.corpora import called
    from limner.evaluation.previews import previews
    from limner.formats.datasets import recognised

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


def demo(given: argparse.Namespace) -> None:
    from limner.demo import demo

    folder = demo(given.out)
    out(given, {"folder": str(folder)}, str(folder))
