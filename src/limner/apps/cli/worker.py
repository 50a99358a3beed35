"""`limner worker`: run jobs of a studio's queue in a process of its own."""

from __future__ import annotations

import argparse
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.errors import InputError, MissingExtra, UnknownName

from .common import named_values, say
from .flags import add_command, add_llm, check_llm

if TYPE_CHECKING:
    from limner.apps.jobs.conditions import Networks
    from limner.apps.jobs.retention import Keep
    from limner.workflows.requests import BaseChoice


def add_to(commands: Any) -> None:
    """The command and its flags."""
    parser = add_command(commands, "worker", work, "run jobs of a studio's queue, beside or in place of its own worker")
    add_places(parser)
    parser.add_argument(
        "--name", default="", help="name of the worker, unique among all (default: machine and process)"
    )
    parser.add_argument("--kinds", nargs="+", default=[], metavar="KIND", help="kinds of jobs to run (default: all)")
    parser.add_argument("--base", default="pocket", help="base for jobs that name none (default: pocket)")
    parser.add_argument("--other-bases", nargs="+", default=[], metavar="BASE", help="further bases that jobs may name")
    parser.add_argument("--device", help="cpu, cuda or cuda:N (default: cuda where there is one)")
    parser.add_argument("--dtype", default="float32", help="float32, bfloat16 or float16 (default: float32)")
    add_keep(parser)
    add_llm(parser)
    add_networks(parser)
    parser.add_argument("--ray", metavar="URL", help="run workers on this Ray cluster: ray://HOST:10001, auto or local")
    parser.add_argument("--workers", type=int, default=1, help="with --ray: number of workers (default: 1)")
    parser.add_argument("--gpus", type=float, default=0.0, help="with --ray: GPUs of each worker (default: 0)")


def add_places(parser: Any) -> None:
    """Flags for the places of a studio, which are those of `limner studio`."""
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="the studio's folder; training resumes from it after a crash (default: ~/.local/share/limner)",
    )
    parser.add_argument(
        "--database", default="", metavar="URL", help="sqlite:///FILE or postgresql://USER@HOST/NAME (default: in DIR)"
    )
    parser.add_argument(
        "--files", default="", metavar="URL", help="file store: a folder, or s3://BUCKET/FOLDER (default: in DIR)"
    )


def add_keep(parser: Any) -> None:
    """Flags for the time that rows are kept, which are those of `limner studio`."""
    parser.add_argument(
        "--keep-jobs",
        type=int,
        default=180,
        metavar="DAYS",
        help="days for which a job is kept that made nothing that is still there; 0: without an end (default: 180)",
    )
    parser.add_argument(
        "--keep-audit",
        type=int,
        default=730,
        metavar="DAYS",
        help="days for which a row of the audit is kept; 0: without an end (default: 730)",
    )


def keep_of(given: argparse.Namespace) -> Keep:
    """For how long rows are kept."""
    from limner.apps.jobs.retention import Keep

    return Keep(job_days=given.keep_jobs, audit_days=given.keep_audit)


def add_networks(parser: Any) -> None:
    """Flags for the networks of conditions, which a server offers to everybody."""
    parser.add_argument(
        "--control",
        nargs="+",
        default=[],
        metavar="NAME=FOLDER",
        help="folders of ControlNets and T2I-Adapters in diffusers' layout, by the condition that each reads",
    )
    parser.add_argument(
        "--estimator",
        nargs="+",
        default=[],
        metavar="NAME=FOLDER",
        help="folders of transformers' networks that compute conditions from a picture: depth (Depth Anything, DPT), "
        "segmentation (SegFormer, Mask2Former; the subject's mask), pose (ViTPose; the skeleton of one person)",
    )


def networks_of(given: argparse.Namespace) -> Networks:
    """The networks that the flags name. Raises `InputError` for a folder that is not there."""
    from limner.apps.jobs.conditions import Networks

    named = {flag: named_values(f"--{flag}", getattr(given, flag), "depth=FOLDER") for flag in ("control", "estimator")}
    for flag, folders in named.items():
        for name, folder in folders.items():
            folders[name] = str(Path(folder).expanduser().absolute())
            if not Path(folders[name]).is_dir():
                raise InputError(f"--{flag}: there is no folder {folder}; expected that of a network")
    return Networks(named["control"], named["estimator"])


def places_of(given: argparse.Namespace) -> tuple[Path, str, str]:
    """The studio's folder, the URL of its database and that of its file store."""
    standard = Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share") / "limner"
    data = (given.data or standard).expanduser().absolute()
    return data, given.database or f"sqlite:///{data / 'studio.db'}", given.files or str(data / "files")


def work(given: argparse.Namespace) -> None:
    """Run jobs until SIGTERM or Ctrl-C; the current job then writes its checkpoint and goes back to the queue."""
    with needs_studio():
        from limner.apps.jobs.database import open_database
        from limner.apps.jobs.files import open_files
        from limner.apps.jobs.queue import KINDS
        from limner.apps.jobs.worker import Worker
    for kind in given.kinds:
        if kind not in KINDS:
            raise UnknownName("kind of job", kind, KINDS)
    check_llm(given)
    about: dict[str, Any] = {"base_choices": _bases(given), "kinds": given.kinds or None, "keep": keep_of(given)}
    about |= {"networks": networks_of(given), "llm": given.llm, "llm_model": given.llm_model}
    data, place, store = places_of(given)
    about["data"] = data / "work"
    if given.ray:
        if given.name:
            raise InputError("--name is for one worker; the workers of --ray name themselves")
        _on_ray(given, place, store, about)
        return
    with until_terminated() as until:
        if given.workers != 1 or given.gpus:
            raise InputError("--workers and --gpus are for --ray; start `limner worker` once for each worker")
        database = open_database(place)
        worker = Worker(database, open_files(store), name=given.name, **about)
        say(f"{worker.name} waits for jobs in {database.engine.url.render_as_string()}")
        worker.run(until)
        say(f"{worker.name} ended after {worker.num_done} jobs")


def _on_ray(given: argparse.Namespace, database: str, files: str, about: dict[str, Any]) -> None:
    from limner.apps.jobs.ray_workers import start_ray_workers

    resources = {"num_gpus": given.gpus} if given.gpus else None
    workers = start_ray_workers(
        database, files, count=given.workers, address=given.ray, resources=resources, about=about
    )
    # Ray puts a handler of its own in place of the one for SIGTERM, so this one comes after it
    with until_terminated() as until:
        say(f"{given.workers} workers wait for jobs on Ray at {given.ray}")
        workers.run(until)


def _bases(given: argparse.Namespace) -> tuple[BaseChoice, ...]:
    from limner.workflows.requests import BaseChoice

    names = dict.fromkeys([given.base, *given.other_bases])
    return tuple(BaseChoice(name=name, device=given.device, dtype=given.dtype) for name in names)


@contextmanager
def until_terminated() -> Iterator[threading.Event]:
    """While inside, SIGTERM and Ctrl-C set the event; a second Ctrl-C interrupts at once."""
    until = threading.Event()

    def end(*_: object) -> None:
        if until.is_set():
            raise KeyboardInterrupt
        until.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield until
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def needs_studio() -> Iterator[None]:
    """Imports inside fail with the install line where the studio's libraries are missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("limner"):
            raise
        raise MissingExtra(
            f"the studio and its workers need {error.name}: pip install 'limner[studio]' (and limner[postgres] for "
            "PostgreSQL)"
        ) from error
