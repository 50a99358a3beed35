"""`limner learn`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.core.method import settings
from limner.core.wording import counted, first_of, shortened, with_article
from limner.errors import InputError
from limner.library.apart import notes_of
from limner.methods import DEFAULT, find
from limner.workflows.choose_method import GOALS, are_photographs, choose, seconds

from .common import encoders, free_memory, opened, out, planned, say, say_heic, say_strange
from .flags import add_command, add_encoders, add_method, at_least

if TYPE_CHECKING:
    from limner.core.concept import Concept
    from limner.core.subject import Subject
    from limner.engine.train import Progress
    from limner.evaluation.score import Scorecard
    from limner.workflows.samples import Samples


def add_to(commands: Any, arguments: Sequence[str]) -> None:
    """The command and its flags."""
    parser = add_command(commands, "learn", learn, "teach a subject from its pictures")
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTOS", help="a folder or files")
    parser.add_argument("--class", dest="noun", default="", metavar="NOUN", help="what it is: dog, teapot, person")
    parser.add_argument("--name", help="what prompts will call it: rex is written <rex> (default: my and the class)")
    parser.add_argument("--kind", default="object", help="object, pet, face, style, action or relation")
    parser.add_argument("--out", type=Path, help="folder for the concept and its page (default: here)")
    parser.add_argument(
        "--together", action="store_true", help="PHOTOS holds a folder for each subject: teach them all in one pass"
    )
    parser.add_argument(
        "--slots",
        type=at_least(1),
        metavar="N",
        help="with --together: subjects at a time (default: what fits, at most 16)",
    )
    parser.add_argument(
        "--mixed", action="store_true", help="with --together: compute in bfloat16, learn in full precision"
    )
    parser.add_argument("--resume", action="store_true", help="go on with a run that was interrupted")
    parser.add_argument("--overwrite", action="store_true", help="replace a concept of that name")
    parser.add_argument(
        "--preview", type=at_least(0), default=4, metavar="N", help="pictures of each preview prompt; 0 paints none"
    )
    parser.add_argument(
        "--hold-out", type=at_least(0), default=0, metavar="N", help="pictures not to learn from, to judge by"
    )
    parser.add_argument("--without", type=Path, metavar="FOLDER", help="the same without what is to be learned: pairs")
    parser.add_argument("--pool", type=Path, metavar="FOLDER", help="unsorted pictures that may show it too")
    parser.add_argument(
        "--segment", metavar="WHERE", help="who finds the subject: rembg, or a folder or hub id of CLIPSeg or SAM"
    )
    parser.add_argument(
        "--caption",
        metavar="WHERE",
        help="who says what else is there: a folder or hub id of a BLIP, BLIP-2 or LLaVA, or 'pocket', which knows toys",
    )
    parser.add_argument(
        "--goal", choices=GOALS, default="balanced", help="what the method is chosen for, when none is named"
    )
    parser.add_argument("--budget", metavar="TIME", help="end learning when so long has passed: 90s, 3m, 1h")
    parser.add_argument("--score", action=argparse.BooleanOptionalAction, default=True, help="score it at the end")
    parser.add_argument("--check", action=argparse.BooleanOptionalAction, default=True, help="certify it at the end")
    parser.add_argument("--keep", choices=("last", "best"), default="last", help="which state on the way to keep")
    parser.add_argument(
        "--stop", choices=("", "variance", "overfit", "gap"), default="", help="end early on this sign (default: none)"
    )
    parser.add_argument(
        "--sample-every",
        type=at_least(0),
        default=0,
        metavar="N",
        help="paint it every N updates while it learns; 0 does not",
    )
    parser.add_argument(
        "--sample-prompt", nargs="+", default=[], metavar="PROMPT", help="what to paint then (default: a photo of it)"
    )
    add_encoders(parser)
    add_method(parser, arguments)


def learn(given: argparse.Namespace) -> None:
    if not given.together and (given.slots is not None or given.mixed):
        flag = "--slots" if given.slots is not None else "--mixed"
        raise InputError(f"{flag} is about many subjects in one pass: say --together, or leave it out")
    if given.together:
        _together(given)
        return
    import limner
    from limner.bases.common.loading import SUGGESTED
    from limner.core.files import check_folder
    from limner.core.interrupts import standing
    from limner.core.picture import Pictures, save_sheet
    from limner.core.subject import small_notes
    from limner.data.prepare import prepared
    from limner.engine.checkpoint import CHECKPOINT
    from limner.engine.early_stopping import Keeper, Signals, together
    from limner.library.settings import checked_settings
    from limner.methods.full_size import FULL_SIZE
    from limner.parts.encoders.masks import unseen
    from limner.workflows.certify import certify
    from limner.workflows.choose_method import within
    from limner.workflows.page import write_page
    from limner.workflows.progress import show

    from .keeping import PAGE, SHEET, check_preview, check_target, page_folder, what_is_kept

    check_preview(given.preview)
    folder = Path(given.out or ".")
    say_heic(given.photos)
    subject, places = _subject(given)
    target = folder / f"{subject.name}.safetensors"
    check_target(target, overwrite=given.overwrite, resume=given.resume)
    prompts = [
        f"a photo of {subject.handle}",
        *(f"{subject.handle} {place}" for place in ("on the beach", "in the snow")),
    ]
    page = page_folder(folder, subject.name, pictures=places, count=given.preview * len(prompts), resume=given.resume)
    if page != folder / subject.name:
        say(f"note: {folder / subject.name} holds files of yours, so the page goes into {page}")
    check_folder(page)
    standing(what_is_kept(target, page, resume=given.resume))
    if given.base == "pocket":
        say(
            "note: the base 'pocket' knows toys of its own small world, not photographs; expect a toy's likeness of your"
        )
        say(
            f"      subject. For real photographs name a real base: --base {SUGGESTED} (about 4 GB, fetched once), or a"
        )
        say("      folder or file that you have; `limner bases` lists the families")
    for note in first_of(subject.notes):
        say(f"note: {note}")
    say_strange(given.base, subject.noun)
    say(f"{counted(len(subject.pictures), 'picture')} of {subject.name}, {with_article(subject.noun)}")
    budget = seconds(given.budget) if given.budget else None
    ending = [within(budget, say)] if budget else []
    subject = prepared(subject, segment=given.segment, caption=given.caption, device=given.device)
    chosen = _method_and_settings(given, subject, budget)
    told = checked_settings(find(given.method), chosen, base=given.base)
    recipe = find(given.method)(subject, **told)
    planned(given, given.base, recipe, batch=int(told.get("batch", 1)))
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
    for note in (
        *notes_of(base, [subject], given.method, told, folder),
        *small_notes(subject.pictures, base.picture_size),
    ):
        say(f"note: {note}")
    for name in unseen(base, subject):
        say(f"note: nothing like a toy is seen on {name}; a picture without the subject teaches what is around it")
    subject, held_out = _held_out(subject, given.hold_out)
    eyes = encoders(given)
    judge = _judge(base, subject, held_out, eyes, given.seed) if given.score else None
    keeper = Keeper(page) if given.keep == "best" else None
    if keeper and judge is None:
        raise InputError(
            "to keep the best state it must be scored: leave out --no-score, and on a real base name --clip and --dino"
        )
    if keeper and not given.resume:
        keeper.clear()  # states of another run
    signals = Signals(subject, held_out, stop=given.stop, file=page / "signals.jsonl") if given.stop else None
    samples = _samples(given, subject, page)
    masks = _mask_watch(subject, given.method, last=len(recipe.tuning) - 1)
    watches = [w for w in (show(), masks, keeper, signals, samples, *ending) if w is not None]
    concept = _taught_already(given, base, subject, chosen, target, page)
    if given.resume and concept is None and not (page / CHECKPOINT).exists():
        say(f"note: there is no checkpoint in {page}, so teaching begins anew")
    if concept is None:  # else, and from then on, it is on disk; what follows is added to it
        concept = limner.learn(
            base,
            subject,
            method=given.method,
            seed=given.seed,
            checkpoints=page,
            resume=given.resume,
            watch=together(*watches),
            to=target,
            overwrite=given.overwrite,
            **chosen,
        )
    if not recipe.tuning:
        _say_unused_masks([subject], given.method)
    if keeper and judge and "kept_after" not in concept.scores:
        say("scoring the states on the way")
        concept = keeper.best(concept, lambda c: _harmonic(judge(c)), say=say)
        concept.save(target, overwrite=True)
    card = None
    if judge:
        say("scoring")
        card = judge(concept)
        concept = concept.scored({"with it": card.brief})
        concept.save(target, overwrite=True)
        say(str(card.diagnosis))
    if keeper:
        keeper.clear()
    painted = (
        limner.paint(base, prompts, concepts=[concept], count=given.preview, seed=given.seed) if given.preview else []
    )
    pictures = Pictures(painted)
    if pictures:
        pictures.save(page, overwrite=True)
        save_sheet(pictures.grid(given.preview), page / SHEET)
    write_page(page / PAGE, concept, subject=subject, pictures=pictures, card=card, overwrite=True)
    if given.check:
        certificate = certify(base, concept, seed=given.seed)
        for check in certificate.checks:
            say(f"{'ok ' if check.ok else 'BAD'}  {check.what}: {check.found}")
    out(given, {"concept": str(target), "page": str(page / PAGE), "cost": concept.cost, "scores": concept.scores},
         f"{target}\n{page / PAGE}")  # fmt: skip
    if given.check and not certificate.ok:
        say(f"note: {target} is saved, and can be used all the same")
        certificate.demand()


def _samples(given: argparse.Namespace, subject: Subject, page: Path) -> Samples | None:
    """What paints on the way, if anything is to be painted. Raises `InputError` for a prompt that does not name the subject."""
    from limner.workflows.paint import check_prompts
    from limner.workflows.samples import FOLDER, Samples

    if given.sample_prompt and not given.sample_every:
        raise InputError("--sample-prompt says what to paint on the way; say how often: --sample-every N")
    if not given.sample_every:
        return None
    prompts = given.sample_prompt or [f"a photo of {subject.handle}"]
    check_prompts(prompts, handles=[subject.handle])
    unnamed = [prompt for prompt in prompts if subject.handle not in prompt]
    if unnamed:
        raise InputError(f"the prompt {shortened(unnamed[0])!r} of --sample-prompt does not name {subject.handle}")
    return Samples(prompts, given.sample_every, page / FOLDER, given.seed)


def _method_and_settings(given: argparse.Namespace, subject: Subject, budget: float | None) -> dict[str, Any]:
    """The settings that were given, after the method is chosen where none is named. Flags are those of the method for toys: where one
    is given that the method for photographs does not have, the former stays, and what to expect of it is said."""
    if given.method is not None:
        return _given_of(given, given.method)
    about: dict[str, Any] = {"base": given.base, "goal": given.goal, "kind": given.kind, "budget": budget}
    usual = choose(**about)
    chosen = _given_of(given, usual.method)
    best = choose(**about, photographs=given.base == "pocket" and are_photographs(subject))
    strange = sorted(chosen.keys() - {setting.name for setting in settings(find(best.method))})
    given.method, why = usual if strange else best
    say(f"method: {given.method} ({why})")
    if strange:
        flag = strange[0].replace("_", "-")
        say(
            f"note: these pictures are photographs, of which {given.method} will paint noise or any of the class on pocket; {best.method} "
            f"paints a toy like the subject, and has no --{flag}"
        )
    return chosen


def _given_of(given: argparse.Namespace, method: str) -> dict[str, Any]:
    """The settings of a method that were given as flags."""
    return {s.name: value for s in settings(find(method)) if (value := getattr(given, s.name)) is not None}


def _taught_already(
    given: argparse.Namespace, base: Any, subject: Subject, chosen: Mapping[str, Any], target: Path, page: Path
) -> Concept | None:
    """When a run is resumed: its concept, if teaching had ended and only what comes after it is missing. Raises `InputError` where
    the concept that is there is another run's."""
    from limner.core.concept import Concept
    from limner.engine.checkpoint import CHECKPOINT
    from limner.workflows.learn import discard, is_of, prepared_run

    if not given.resume or not target.exists() or (given.overwrite and (page / CHECKPOINT).exists()):
        return None
    concept = Concept.load(target)
    if not is_of(concept, prepared_run(base, subject, given.method, chosen, given.seed)):
        if given.overwrite:
            return None
        raise InputError(
            f"{target} is of another run (other pictures, method, settings, seed or base); choose another --name or --out, or say "
            "--overwrite"
        )
    say(f"{target} is taught already; going on with what comes after")
    discard(page)
    return concept


def _together(given: argparse.Namespace) -> None:
    """Every folder in a folder is a subject; all are taught in one pass, and each has its own file in the end. Those that are there
    already are left out; with --resume, those that were begun go on."""
    from limner.core.files import check_folder
    from limner.core.interrupts import standing
    from limner.data.layouts import recognised
    from limner.engine.stacked.train import SLOTS, room

    from .keeping import check_target
    from .together import Together

    given_in_vain = [
        flag
        for flag in ("stop", "without", "pool", "segment", "caption", "hold_out", "budget", "sample_every")
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
    found = [recognised(p) for p in folders]
    subjects = [
        f.subject(noun=given.noun, name=f.token if f.concepts else p.name, kind=given.kind)
        for p, f in zip(folders, found, strict=True)
    ]
    for subject in subjects:
        for note in subject.notes:
            say(f"note: {subject.name}: {note}")
    out_folder = check_folder(Path(given.out or "."))
    for subject in subjects:
        check_target(out_folder / f"{subject.name}.safetensors", overwrite=given.overwrite, resume=True)
    base = opened(given, given.base)
    for note in notes_of(base, subjects, method, chosen, out_folder):
        say(f"note: {note}")
    one_pass = Together(base, out_folder, method, given.seed, chosen, overwrite=given.overwrite, resume=given.resume)
    standing(lambda: one_pass.standing)
    jobs = one_pass.jobs(subjects)
    if one_pass.there:
        say(f"{len(one_pass.there)} of {len(subjects)} subjects are taught already")
    if jobs:
        recipe = find(method)(subjects[0], **chosen)
        slots = given.slots or min(
            SLOTS, room(base, recipe, batch=int(chosen.get("batch", 4)), limit=0.7 * free_memory(given.device))
        )
        say(f"{counted(len(jobs), 'subject')}, {min(slots, len(jobs))} at a time, by {method}")
        one_pass.run(jobs, slots=slots, mixed=given.mixed)
    for error in one_pass.failed:
        say(f"failed: {error}")
    _say_unused_masks(subjects, method)
    written = [str(path) for path in (*one_pass.there, *one_pass.written)]
    out(given, {"concepts": written, "failed": one_pass.failed}, "\n".join(written))
    if one_pass.failed:
        raise InputError(f"{len(one_pass.failed)} of {len(jobs)} subjects could not be taught; the others were saved")


def _subject(given: argparse.Namespace) -> tuple[Subject, list[Path]]:
    """The subject of a folder in any tool's layout, or of files; and where the user's pictures are."""
    from dataclasses import replace

    from limner.core.subject import Subject
    from limner.data.layouts import recognised

    more = {"kind": given.kind, "without": given.without or (), "pool": given.pool or ()}
    places = [path for path in (*given.photos, given.without, given.pool) if path is not None]
    if len(given.photos) == 1 and (given.photos[0].is_dir() or given.photos[0].suffix in (".json", ".toml")):
        found = recognised(given.photos[0])
        say(str(found))
        if found.regular:
            say(
                "note: the pictures of the class beside it are not used; methods that want some paint them with the base"
            )
        places += [path for item in found.items for path in (item.path, item.mask) if path is not None]
        subject = found.subject(noun=given.noun, name=given.name or "", **more)
        subject = replace(subject, notes=tuple(note for note in subject.notes if note not in found.notes))
        return subject, [*places, *found.regular]
    if not given.noun:
        raise InputError("say what the pictures show: --class dog, or what it is")
    name = given.name or "my" + "".join(filter(str.isalnum, given.noun))
    return Subject.of(given.photos, noun=given.noun, handle=name, **more), places


def _mask_watch(subject: Subject, method: str, *, last: int) -> Callable[[Progress], bool]:
    """Says at the first update of the last stage whether the masks that were brought are used."""

    def watch(progress: Progress) -> bool:
        if progress.stage == last and not said:
            said.append(True)
            _say_unused_masks([subject], method)
        return False

    said: list[bool] = []
    return watch


def _say_unused_masks(subjects: Sequence[Subject], method: str) -> None:
    """One line where masks were brought and the method did not look at them."""
    idle = [s.name for s in subjects if "masks" not in s.uses and all(p.mask is not None for p in s.pictures)]
    if idle:
        say(f"note: the masks of {', '.join(idle)} were not used: {method} learns from whole pictures")


def _judge(
    base: Any, subject: Subject, held_out: Sequence[Any], eyes: Any, seed: int
) -> Callable[[Concept], Scorecard] | None:
    """The quick scoring at the end of `learn`; None, with a word why, where nothing can judge this base."""
    from limner.evaluation.datasets.toys import asked
    from limner.evaluation.score import QUICK
    from limner.workflows.score import score

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

    from limner.data.duplicates import split

    if count == 0:
        return subject, []
    images = [p.image for p in subject.pictures if p.image is not None]
    kept, out = split(images, held_out=count)
    if len(out) < count:
        raise InputError(
            f"{counted(len(images), 'picture')} cannot spare {count} to be held out; give more, or hold out fewer"
        )
    return replace(subject, pictures=tuple(subject.pictures[k] for k in kept)), [images[k] for k in out]
