"""Kills of commands at random moments: what is lost, what is left behind, and whether what goes on ends at the same
bits.

    python benchmarks/kills.py --count 200 --out results/kills.json      # or: make kills N=200

Each trial runs a command in a child process, sends it SIGKILL, SIGINT or SIGTERM at a random moment of its usual time
(or gives it a disk that is full), then runs the command that its own message names until it ends, and compares with a
run that nothing stopped. Children are forked from one process that has imported everything, so a trial takes seconds.
The file is written after every trial, and a run that was stopped goes on with the trials that it has not.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

SIGNALS = ("SIGKILL", "SIGINT", "SIGTERM")
CAUGHT = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 600.0
"""Seconds after which a child counts as hanging."""


@dataclass(frozen=True)
class Command:
    """A command to kill. `first` is run and killed, `again` goes on from whatever is there; `state` tells what it left
    as values that must be equal, or None where it has not ended."""

    name: str
    first: tuple[str, ...]
    again: tuple[str, ...]
    state: Callable[[Path], Any]
    weight: int = 1  # how often it is killed, beside the others


@dataclass
class Trial:
    """One kill and what came of it."""

    command: str
    how: str
    after: float  # seconds
    code: int = 0  # exit code of the killed process
    ended_before: bool = False  # the command ended before the kill
    equal: bool = False
    lost: str = ""  # something that was there, or was said to be there, is not
    left_behind: list[str] = field(default_factory=list)
    last_line: str = ""


# ------------------------------------------------------------------------------------------------------------- commands


def commands(photos: Path) -> list[Command]:
    """All that are killed. Those that score or bench take a minute each, so they are drawn less often."""
    rex = f"learn {photos} --class dog --name rex"
    low_rank = f"{rex} --method lora_dreambooth --steps 4 --batch 1 --num-class-pictures 2"
    word = f"{rex} --method textual_inversion --steps 4 --batch 1"
    pets = (
        f"learn {photos.parent / 'pets'} --together --class dog --slots 2 --method lora_dreambooth --steps 4 --batch 1"
    )
    bench = "bench --size quick --methods base_alone stylealigned --prompts 2 --results bench.json --folder run"
    corpus = f"--corpus {photos.parent / 'pets'} --class dog"
    pretrain = f"pretrain custom_contrast {corpus} --steps 4 --batch 1 --run run --precision float32"
    quiet, judged = "--no-check --no-score --preview 0", "--no-check --preview 1"
    paint = "paint {dog} -n 2 --steps 2 --out painted"
    rows = [
        ("learn", f"{low_rank} {quiet}", "--resume", _concept, 5),
        ("learn a word", f"{word} {quiet}", "--resume", _concept, 5),
        ("learn and score", f"{low_rank} {judged}", "--resume", _scored, 2),
        ("learn --together", f"{pets} --num-class-pictures 2", "--resume", _concepts, 2),
        ("paint", paint, "--overwrite", _pictures, 2),
        ("bench", bench, "", _bench, 2),
        ("pretrain", pretrain, "", _weights, 2),
    ]
    return [Command(name, _words(text), _words(f"{text} {more}"), *rest) for name, text, more, *rest in rows]


def _words(text: str) -> tuple[str, ...]:
    return tuple({"{dog}": "a dog", "base_alone": "base alone"}.get(word, word) for word in text.split())


def _concept(folder: Path) -> Any:
    path = folder / "rex.safetensors"
    return _tensors(path) if path.exists() else None


def _scored(folder: Path) -> Any:
    """The tensors and scores of the concept, and the previews' pixels."""
    from limner.core.concept import Concept

    path, page = folder / "rex.safetensors", folder / "rex" / "index.html"
    if not path.exists() or not page.exists():
        return None
    return _tensors(path), Concept.load(path).scores, {k: v for k, v in _pixels(folder / "rex").items() if k != "grid"}


def _concepts(folder: Path) -> Any:
    concepts = {path.stem: _tensors(path) for path in folder.glob("*.safetensors")}
    return concepts if len(concepts) == 3 else None


def _pictures(folder: Path) -> Any:
    pictures = _pixels(folder / "painted") if (folder / "painted").exists() else {}
    return pictures if len(pictures) == 2 else None


def _bench(folder: Path) -> Any:
    """The units without what they took."""
    path = folder / "bench.json"
    if not path.exists():
        return None
    results = json.loads(path.read_text())
    return [{k: v for k, v in unit.items() if k != "cost"} for unit in results["units"]]


def _weights(folder: Path) -> Any:
    files = list((folder / "weights").glob("*.safetensors"))
    return _tensors(files[0]) if files else None


def _tensors(path: Path) -> dict[str, bytes]:
    from safetensors.torch import load_file

    return {name: tensor.numpy().tobytes() for name, tensor in load_file(path).items()}


def _pixels(folder: Path) -> dict[str, bytes]:
    from PIL import Image

    return {path.stem: Image.open(path).tobytes() for path in sorted(folder.glob("*.png"))}


# ------------------------------------------------------------------------------------------------------------ one child


class Ran:
    """A command in a forked child, in a folder of its own."""

    def __init__(self, words: Sequence[str], folder: Path, limit: int | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.log = folder, folder.with_name(f"{folder.name}.log")
        self.began = time.monotonic()
        before = signal.pthread_sigmask(
            signal.SIG_BLOCK, CAUGHT
        )  # a child that is killed at once must not go on as its parent
        self.process = os.fork()
        if self.process == 0:
            self._be(words, limit)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _be(self, words: Sequence[str], limit: int | None) -> None:
        """The child: it never comes back from here."""
        code = 70
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, CAUGHT)
            os.chdir(self.folder)
            with self.log.open("w") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            from limner.apps.cli.main import main
            from limner.engine import checkpoint
            from limner.pocket import capabilities

            checkpoint.CHECKPOINT_SECONDS = 0.0
            own = dataclasses.replace(capabilities.CAPABILITIES, weights=self.folder / "weights")
            capabilities.CAPABILITIES = own
            code = main(list(words))
        except BaseException:  # whatever it is, it is told and counted
            import traceback

            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def wait(self, seconds: float = PATIENCE) -> int | None:
        """Its exit code (negative for a signal), or None when it runs on after so many seconds."""
        until = time.monotonic() + seconds
        try:
            while time.monotonic() < until:
                done, status = os.waitpid(self.process, os.WNOHANG)
                if done:
                    self.seconds = time.monotonic() - self.began
                    return os.waitstatus_to_exitcode(status)
                time.sleep(0.005)
        except KeyboardInterrupt:
            self.kill("SIGKILL")
            os.waitpid(self.process, 0)
            raise
        return None

    def kill(self, how: str) -> None:
        os.kill(self.process, getattr(signal, how))

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""


# --------------------------------------------------------------------------------------------------------------- trials


def killed(command: Command, how: str, after: float, folder: Path, whole: Any) -> Trial:
    """Run a command, kill it, go on, compare with `whole`."""
    trial = Trial(command.name, how, round(after, 2))
    ran = Ran(command.first, folder)
    code = ran.wait(after)
    if code is None:
        ran.kill(how)
        code = ran.wait()
    else:
        trial.ended_before = True
    if code is None:
        ran.kill("SIGKILL")
        ran.wait()
        trial.lost = "it did not end within ten minutes of the signal"
        return trial
    trial.code, trial.last_line = code, _last_line(ran.output)
    promised = {path: path.read_bytes() for path in folder.glob("*.safetensors")}
    again = Ran(command.again, folder)
    if again.wait() != 0:
        trial.lost = f"it could not go on: {_last_line(again.output)}"
        return trial
    trial.equal = command.state(folder) == whole
    gone = [path.name for path, data in promised.items() if not path.exists()]
    if gone:
        trial.lost = f"{gone[0]} was there after the kill and is not there now"
    if how == "SIGINT" and code == 1:
        trial.lost = f"Ctrl-C was told as an error: {trial.last_line}"
    if "goes on from there" in trial.last_line and "1/4" in again.output:
        trial.lost = "it was said that it goes on, and it began anew"
    if not trial.equal and not trial.lost:
        trial.lost = "it went on to other bits"
    trial.left_behind = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if _is_rest(p))
    return trial


def full(command: Command, folder: Path, whole: Any, disk: Disk, at: random.Random) -> Trial:
    """Run a command on a disk that is too small, give it room, go on, compare."""
    trial = Trial(command.name, disk.name, 0.0)
    with disk.small(folder, at) as limit:
        ran = Ran(command.first, folder, limit)
        code = ran.wait()
        trial.code, trial.last_line = code if code is not None else -1, _last_line(ran.output)
        trial.ended_before = code == 0
        if "Traceback" in ran.output or code is None:
            trial.lost = f"no clear error: {trial.last_line}"
        disk.room(folder)
        again = Ran(command.again, folder)
        if again.wait() != 0:
            trial.lost = f"it could not go on: {_last_line(again.output)}"
        else:
            trial.equal = command.state(folder) == whole
            trial.left_behind = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if _is_rest(p))
            if not trial.equal:
                trial.lost = trial.lost or "it went on to other bits"
    return trial


class Disk:
    """A file system of a few kilobytes where this process may mount one, else a limit on the size of files."""

    def __init__(self, work: Path) -> None:
        trial = work / "mount"
        trial.mkdir()
        self.mounts = (
            os.geteuid() == 0 and _quiet("mount", "-t", "tmpfs", "-o", "size=64k", "limner-kills", str(trial)) == 0
        )
        if self.mounts:
            _quiet("umount", str(trial))

    @property
    def name(self) -> str:
        return "a full disk" if self.mounts else "a limit on files"

    @contextlib.contextmanager
    def small(self, folder: Path, at: random.Random) -> Iterator[int | None]:
        folder.mkdir(parents=True, exist_ok=True)
        if not self.mounts:
            yield at.choice((2_000, 20_000, 200_000))
            return
        size = at.choice((8, 32, 256, 2048))
        _quiet("mount", "-t", "tmpfs", "-o", f"size={size}k", "limner-kills", str(folder))
        try:
            yield None
        finally:
            _quiet("umount", "-l", str(folder))

    def room(self, folder: Path) -> None:
        if self.mounts:
            _quiet("mount", "-o", "remount,size=1g", str(folder))


def _quiet(*words: str) -> int:
    try:
        return subprocess.run(words, capture_output=True).returncode
    except OSError:
        return 1


def _is_rest(path: Path) -> bool:
    """Whether a file or folder is something that only a killed write leaves."""
    return (
        path.name.endswith(".part")
        or path.name.startswith(".tmp")
        or path.name in ("checkpoint.safetensors", "unfinished")
    )


def _last_line(text: str) -> str:
    lines = [line.rsplit("\r", 1)[-1].strip() for line in text.splitlines()]
    return next((line for line in reversed(lines) if line), "")


def summary(trials: Sequence[Trial]) -> dict[str, Any]:
    """Counts over all trials, and by command and by way of dying."""

    def counts(some: Sequence[Trial]) -> dict[str, int]:
        return {
            "trials": len(some),
            "ended before": sum(t.ended_before for t in some),
            "equal bits": sum(t.equal for t in some),
            "lost": sum(bool(t.lost) for t in some),
            "left behind": sum(bool(t.left_behind) for t in some),
        }

    return {
        "all": counts(trials),
        "by command": {
            name: counts([t for t in trials if t.command == name]) for name in Counter(t.command for t in trials)
        },
        "by signal": {how: counts([t for t in trials if t.how == how]) for how in Counter(t.how for t in trials)},
    }


# ---------------------------------------------------------------------------------------------------------- the harness


def run(
    numbers: Iterable[int], *, seed: int, work: Path, only: Sequence[str] = (), say: Callable[[str], object] = print
) -> Iterator[tuple[int, Trial]]:
    """Trials by their numbers, one in ten on a full disk. Seed and number alone decide a trial, but for the moment of
    the kill, which depends on the speed of the machine."""
    import torch

    from limner.pocket.subjects import toy

    torch.set_num_threads(1)
    os.environ.setdefault("LIMNER_CACHE", str(work / "cache"))
    _warm()
    photos = work / "photos"
    _draw(photos, toy)
    chosen = [c for c in commands(photos) if not only or c.name in only]
    disk, wholes = Disk(work), {}
    for number in numbers:
        at = random.Random(f"{seed} {number}")
        (command,) = at.choices(chosen, [each.weight for each in chosen])
        if command.name not in wholes:
            wholes[command.name] = _undisturbed(command, work / "whole" / command.name.replace(" ", "-"))
            say(f"{command.name}: {wholes[command.name][1]:.1f} s when nothing stops it")
        whole, seconds = wholes[command.name]
        folder = work / f"trial-{number:04}"
        if number % 10 == 9:
            trial = full(command, folder, whole, disk, at)
        else:
            trial = killed(command, at.choice(SIGNALS), at.uniform(0.02, 1.05) * seconds, folder, whole)
        yield number, trial
        shutil.rmtree(folder, ignore_errors=True)


def _undisturbed(command: Command, folder: Path) -> tuple[Any, float]:
    """The files of a command that nothing stops, and its seconds; measured the second time, when caches are warm."""
    for _ in range(2):
        shutil.rmtree(folder, ignore_errors=True)
        ran = Ran(command.first, folder)
        code = ran.wait()
        state = command.state(folder)
        if code != 0 or state is None:
            raise SystemExit(f"{command.name} does not run: {ran.output[-2000:]}")
    return state, ran.seconds


def _verdict(trial: Trial) -> str:
    if trial.lost:
        return f"LOST: {trial.lost}"
    rest = f"; left behind: {', '.join(trial.left_behind)}" if trial.left_behind else ""
    return f"{'done before' if trial.ended_before else 'equal bits'}{rest}  [{trial.last_line[:100]}]"


WORKFLOWS = (
    *(
        "workflows.bench.run",
        "workflows.certify",
        "workflows.learn_many",
        "workflows.learn_request",
        "workflows.learn_together",
    ),
    *("workflows.page", "workflows.paint_request", "workflows.pretrain", "workflows.pretrain_request"),
)


def _warm() -> None:
    """Import in this process whatever its children need."""
    from limner.bases.common.loading import load

    for name in ("apps.cli.main", "engine.stacked.train", "evaluation.score", *WORKFLOWS):
        importlib.import_module(f"limner.{name}")
    load("pocket", device="cpu")


def _draw(photos: Path, toy: Callable[..., Any]) -> None:
    """A folder of one toy's pictures, and beside it `pets`, a folder for each of three."""
    places = {
        photos: 2_000_012,
        **{photos.parent / "pets" / n: s for n, s in (("zork", 2_000_012), ("vimp", 2_000_013), ("quax", 2_000_014))},
    }
    for place, seed in places.items():
        place.mkdir(parents=True)
        for k, picture in enumerate(toy("dog", seed, count=2).pictures):
            picture.image.save(place / f"{k}.png")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="trials")
    parser.add_argument("--seed", type=int, default=0, help="seed of moments and signals")
    parser.add_argument("--out", type=Path, default=Path("results/kills.json"), help="where the figures go")
    parser.add_argument("--only", nargs="+", default=(), help="names of commands")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no trial after so many")
    given = parser.parse_args()
    record = json.loads(given.out.read_text()) if given.out.exists() else {}
    trials = {int(k): Trial(**t) for k, t in record.get("each", {}).items()} if record.get("seed") == given.seed else {}
    until, before = time.monotonic() + 60 * given.minutes, float(record.get("seconds", 0)) if trials else 0.0
    began = time.monotonic()
    for number in CAUGHT:  # also where a shell has them ignored, as in the background
        signal.signal(number, signal.default_int_handler)
    missing = (k for k in range(given.count) if k not in trials and time.monotonic() < until)
    with tempfile.TemporaryDirectory(prefix="limner-kills-") as work, contextlib.suppress(KeyboardInterrupt):
        for number, trial in run(missing, seed=given.seed, work=Path(work), only=given.only, say=_say):
            trials[number] = trial
            _say(
                f"{len(trials)}/{given.count}  {trial.command}, {trial.how} after {trial.after:.1f} s: {_verdict(trial)}"
            )
            save(given.out, trials, seed=given.seed, seconds=before + time.monotonic() - began)
    counts = summary(list(trials.values()))["all"]
    print(json.dumps(counts, indent=1))
    return 1 if counts["lost"] or counts["left behind"] else 0


def save(path: Path, trials: Mapping[int, Trial], *, seed: int, seconds: float) -> None:
    """Write the figures, and every trial, from which a later run of the same seed goes on."""
    from limner.core.files import write_text

    each = {str(k): asdict(trial) for k, trial in sorted(trials.items())}
    record = {"seed": seed, "seconds": round(seconds), **summary(list(trials.values())), "each": each}
    write_text(path, json.dumps(record, indent=1) + "\n", overwrite=True)


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
