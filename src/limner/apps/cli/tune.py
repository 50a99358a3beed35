"""`limner tune`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from limner.errors import InputError
from limner.methods import card, find, methods

from .common import encoders_of, named_values, out, say
from .flags import add_base, add_command, add_encoders, at_least


def add_to(commands: Any) -> None:
    """The command and its flags."""
    parser = add_command(
        commands, "tune", tune, "choose the settings of methods on subjects that no table is measured on"
    )
    parser.add_argument("methods", nargs="*", metavar="METHOD", help="default: all methods that train on each object")
    parser.add_argument(
        "--settings",
        nargs="+",
        default=[],
        metavar="NAME",
        help="settings to search (default: those of lr, steps and prior_weight that a method has)",
    )
    parser.add_argument(
        "--write", action="store_true", help="make what is chosen the defaults in the methods' own files"
    )
    parser.add_argument("--cases", type=at_least(1), default=2, help="number of subjects (default: 2)")
    parser.add_argument("--prompts", type=at_least(1), default=8, help="number of prompts of each subject (default: 8)")
    parser.add_argument("--seeds", type=at_least(1), default=1, help="number of seeds to paint with (default: 1)")
    parser.add_argument("--workers", type=at_least(1), default=1, help="number of processes on this machine")
    parser.add_argument("--on", default="local", help="local, or ray: over a cluster")
    parser.add_argument("--data", default="toys", help="data set of subjects (default: toys)")
    parser.add_argument(
        "--where",
        nargs="*",
        default=[],
        metavar="NAME=VALUE",
        help="arguments of the data set's loader; split is dev where there is one",
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("results/tuned.json"),
        help="file of all choices (default: results/tuned.json)",
    )
    parser.add_argument(
        "--folder", type=Path, default=Path("out/bench/tuned"), help="folder of the runs (default: out/bench/tuned)"
    )
    add_encoders(parser)
    add_base(parser)


def tune(given: argparse.Namespace) -> None:
    from limner.core.interrupts import standing
    from limner.workflows.bench.plan import Plan
    from limner.workflows.bench.tune import table_markdown, tune, write_defaults

    if given.write and given.base != "pocket":
        raise InputError(
            "--write changes the defaults for the pocket base: a full-size base has the authors' settings; leave out --write"
        )
    names = given.methods or [name for name in methods() if _trains_on_an_object(name)]
    plan = Plan(
        tuple((name, ()) for name in names),
        data=given.data,
        where=tuple(named_values("--where", given.where, "split=dev").items()),
        cases=given.cases,
        prompts=given.prompts,
        seeds=tuple(range(given.seeds)),
        base=given.base,
        encoders=encoders_of(given),
        device=given.device or "cpu",
    )
    standing(lambda: f"every finished run is kept in {given.folder}; the same command goes on")
    about = {"results": given.results, "folder": given.folder, "names": given.settings}
    searches = tune(names, plan, **about, workers=given.workers, on=given.on, say=say)
    chosen = {name: dict(search.best) for name, search in searches.items() if search.best}
    if given.write:
        for name, values in chosen.items():
            say(f"{name}: {write_defaults(name, values)}")
    out(given, chosen, table_markdown(searches.values()))


def _trains_on_an_object(name: str) -> bool:
    from limner.core.subject import Subject

    function = find(name)
    return "object" in card(function).scope and bool(function(Subject("<rex>", "toy")).tuning)
