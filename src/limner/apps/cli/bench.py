"""`limner bench`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from limner.core.method import settings
from limner.errors import InputError, UnknownName
from limner.methods import card, find, methods

from .common import ROLES, encoders_of, out, say
from .flags import add_base, add_command, add_encoders, at_least

OWN_SUITES = ("pairs", "couples", "styles", "meanings", "conditions")
"""Suites with a plan and a results file of their own."""
FULL = {
    "styles": {"cases": 8, "prompts": 12, "seeds": (0, 1, 2, 3)},
    "meanings": {"cases": 7, "prompts": 12, "seeds": (0, 1, 2, 3)},
    "conditions": {"cases": 6, "prompts": 8, "seeds": (0, 1, 2, 3)},
}
"""Suite -> its size `whole`; the size `standard` is the default of its plan."""
QUICK = {
    "pairs": {"pairs": 1, "prompts": 3},
    "couples": {"pairs": 1, "prompts": 3},
    "styles": {"cases": 2, "prompts": 4},
    "meanings": {"cases": 2, "prompts": 4},
    "conditions": {"cases": 1, "prompts": 3},
}


def add_to(commands: Any) -> None:
    """The command and its flags."""
    parser = add_command(
        commands,
        "bench",
        bench,
        "compare methods on held-out subjects; finished runs are kept and only missing ones run",
    )
    parser.add_argument(
        "--methods",
        nargs="+",
        metavar="NAME[:SETTING=VALUE,…]",
        help="methods with their settings (default: all methods, and two baselines that learn nothing)",
    )
    parser.add_argument(
        "--curve",
        nargs="+",
        default=[],
        metavar="NAME",
        help="paint these methods at strengths from 0.25 to 1.25; without --methods, the bench has these and two "
        "baselines that learn nothing",
    )
    parser.add_argument(
        "--add", action="store_true", help="add the rows of --methods to a results file, whose other rows stay"
    )
    parser.add_argument(
        "--results",
        type=Path,
        help="results file (default: results/bench.json; with --curve: results/curve.json; with --suite: "
        "results/SUITE.json)",
    )
    parser.add_argument(
        "--folder", type=Path, help="folder for the pictures and the file of each run (default: out/bench/NAME)"
    )
    parser.add_argument(
        "--size",
        choices=("standard", "quick", "whole"),
        default="standard",
        help="subjects x prompts x seeds: standard is 3 x 8 x 1, quick is 1 x 5 x 1; each suite has its own, and whole is the "
        "published protocol of faces (15 x 40 x 4) and table1 (objects 6 x 25 x 4, faces 15 x 40 x 4)",
    )
    parser.add_argument(
        "--suite",
        choices=("one", "faces", "table1", *OWN_SUITES),
        default="one",
        help="one: a subject a picture; faces: held-out people and their prompts, 4 seeds, by the methods for faces; pairs: two "
        "toys in a picture; couples: two people in a picture; styles: held-out styles, by the methods for styles; meanings: held-out relations and "
        "actions, by the methods for these; conditions: swaps, depth, edges, boxes, viewpoints and garments, by the methods "
        "for conditions; table1: the 23 rows of Table 1 of the survey arXiv:2405.05538, objects and faces (default: one)",
    )
    parser.add_argument(
        "--conditions", nargs="+", metavar="NAME", help="for --suite conditions: swap, depth, edges, box, view, garment"
    )
    parser.add_argument(
        "--ways",
        nargs="+",
        metavar="WAY",
        help="for --suite pairs and couples: together (both concepts attached at once), a value of `limner paint --compose` "
        "(blend, "
        "attention, latents), or a value of `limner merge --by`",
    )
    parser.add_argument(
        "--data",
        default="toys",
        help="data set of subjects to learn: toys, dreambench, custom-10, … (an unknown name lists all)",
    )
    parser.add_argument(
        "--where",
        nargs="*",
        default=[],
        metavar="NAME=VALUE",
        help="arguments of the data set's loader, such as folder=PATH",
    )
    parser.add_argument("--cases", type=at_least(1), help="number of subjects")
    parser.add_argument("--prompts", type=at_least(1), help="number of prompts of each subject")
    parser.add_argument("--seeds", type=at_least(1), help="number of seeds to paint with")
    parser.add_argument("--teaching-seeds", type=at_least(1), default=1, help="number of seeds to train with")
    parser.add_argument("--workers", type=at_least(1), default=1, help="number of processes on this machine")
    parser.add_argument("--on", default="local", help="local, or ray: over a cluster")
    add_encoders(parser)
    parser.add_argument(
        "--faces",
        metavar="WHERE",
        help="networks that find and recognise faces of photographs: a folder of facenet-pytorch's or insightface's models, or "
        "FILE.py:FUNCTION",
    )
    add_base(parser, default=None)


def bench(given: argparse.Namespace) -> None:
    from limner.core.interrupts import standing
    from limner.evaluation.report import table_markdown
    from limner.evaluation.summary import MARKS, POLICIES
    from limner.workflows.bench.plan import SIZES, SUITES, Plan, size_of
    from limner.workflows.bench.run import bench

    for flag, wanted in (("ways", ("pairs", "couples")), ("conditions", ("conditions",))):
        if getattr(given, flag) and given.suite not in wanted:
            suites = " or ".join(f"--suite {name}" for name in wanted)
            raise InputError(f"--{flag} is for {suites}: add --suite {wanted[0]}, or leave out --{flag}")
    if given.suite in OWN_SUITES:
        bench_of_suite(given)
        return
    if given.suite == "table1":
        bench_of_table1(given)
        return
    suite = SUITES.get(given.suite)
    size = size_of(suite.sizes if suite else SIZES, given.size, suite=given.suite)
    if suite and given.data != "toys":
        raise InputError(f"the suite {given.suite} has its own data set, {suite.data}: leave out --data")
    given.data = suite.data if suite else given.data
    scopes = {name: card(find(name)).scope for name in methods()}
    # the cases of data sets are things and people, without the captions that methods of meanings alone need
    usual = [name for name, scope in scopes.items() if (suite.scope in scope if suite else scope != ("semantic",))]
    every = [*POLICIES, *(given.curve or [*usual, *(MARKS if given.data in ("toys", "people") else ())])]
    named = [*(given.methods or every)]
    names = [*named, *(name for name in given.curve if name not in named)]
    usual_file = "curve" if given.curve else given.suite if suite else "bench"
    results = given.results or Path(f"results/{usual_file}.json")
    where = dict(_pair(w) for w in given.where)
    plan = Plan(
        tuple(_with_settings(name) for name in names),
        data=given.data,
        where=tuple(where.items()),
        cases=given.cases or size.cases,
        prompts=given.prompts or size.prompts,
        seeds=tuple(range(given.seeds)) if given.seeds else size.seeds,
        teaching_seeds=tuple(range(given.teaching_seeds)),
        base=given.base or "pocket",
        encoders=encoders_of(given),
        device=given.device or "cpu",
        curves=tuple(given.curve),
    )
    folder = given.folder or Path("out/bench") / results.stem
    standing(lambda: f"every finished run is kept in {folder}; the same command runs the missing ones")
    comparison = bench(plan, results=results, folder=folder, workers=given.workers, on=given.on, add=given.add, say=say)
    columns = {"columns": suite.columns} if suite else {}
    out(given, comparison["summary"], table_markdown(comparison, **columns))


def bench_of_suite(given: argparse.Namespace) -> None:
    """Run a suite of OWN_SUITES."""
    from limner.core.interrupts import standing
    from limner.evaluation.suites import table_markdown
    from limner.workflows.bench.conditions import ConditionPlan, bench_conditions
    from limner.workflows.bench.pairs import CouplePlan, PairPlan, bench_couples, bench_pairs
    from limner.workflows.bench.prompted import MeaningPlan, StylePlan, bench_meanings, bench_styles

    runs: dict[str, tuple[Any, Any]] = {
        "pairs": (PairPlan, bench_pairs),
        "couples": (CouplePlan, bench_couples),
        "styles": (StylePlan, bench_styles),
        "meanings": (MeaningPlan, bench_meanings),
        "conditions": (ConditionPlan, bench_conditions),
    }
    plan, run = runs[given.suite]
    chosen = plan(**_suite_settings(given))
    results = given.results or Path(f"results/{given.suite}.json")
    folder = given.folder or Path("out/bench") / results.stem
    standing(lambda: f"every finished run is kept in {folder}; the same command runs the missing ones")
    comparison = run(chosen, results=results, folder=folder, add=given.add, say=say)
    out(given, comparison["summary"], table_markdown(comparison))


def _suite_settings(given: argparse.Namespace) -> dict[str, Any]:
    """The arguments of a suite's plan that the flags state. Raises `InputError` for a flag that it does not have."""
    single = ("cases",) if given.suite in ("pairs", "couples") else ()
    flags = ("curve", "where", "on", "workers", "faces", *single)
    odd = [flag for flag in flags if getattr(given, flag) not in (None, [], 1, "local")]
    odd += ["teaching-seeds"] if given.teaching_seeds != 1 else _encoders_given(given)
    if odd or given.data != "toys" or given.base not in (None, "pocket"):
        raise InputError(
            f"the suite {given.suite} runs on toys, on the pocket base and its judges, and in one process: leave out "
            f"--{odd[0] if odd else 'data and --base'}"
        )
    sizes: dict[str, dict[str, Any]] = {"standard": {}, "quick": QUICK[given.suite]}
    if given.suite in FULL:
        sizes["whole"] = FULL[given.suite]
    if given.size not in sizes:
        raise InputError(
            f"the suite {given.suite} has the sizes {', '.join(sizes)}, not {given.size!r}; say --prompts, --seeds, --ways"
        )
    named = {
        "methods": tuple(_with_settings(name) for name in given.methods or ()),
        "ways": tuple(given.ways or ()),
        "conditions": tuple(given.conditions or ()),
        "cases": given.cases,
        "prompts": given.prompts,
        "seeds": tuple(range(given.seeds or 0)),
    }
    return {
        **sizes[given.size],
        **{name: value for name, value in named.items() if value},
        "device": given.device or "cpu",
    }


def _encoders_given(given: argparse.Namespace) -> list[str]:
    """The flags that name an encoder."""
    return [role for role in ROLES if getattr(given, role)]


def bench_of_table1(given: argparse.Namespace) -> None:
    """`limner bench --suite table1`."""
    from limner.core.interrupts import standing
    from limner.evaluation.report_table1 import table_markdown
    from limner.workflows.bench.table1 import TablePlan, bench_table1

    if given.curve:
        raise InputError("the suite table1 has every method at strength 1; --curve is not for it")
    if given.add:
        raise InputError("the suite table1 is one table of one protocol; --add is not for it")
    plan = TablePlan(
        tuple(_with_settings(name) for name in given.methods or ()),
        size=given.size,
        data=given.data,
        where=tuple(_pair(w) for w in given.where),
        cases=given.cases or 0,
        prompts=given.prompts or 0,
        seeds=given.seeds or 0,
        teaching_seeds=given.teaching_seeds,
        base=given.base or "pocket",
        encoders=encoders_of(given),
        device=given.device or "cpu",
    )
    results = given.results or Path("results/table1.json")
    folder = given.folder or Path("out/bench") / results.stem
    standing(lambda: f"every likeness that is done is kept in {folder}; the same command runs what is missing")
    whole = bench_table1(plan, results=results, folder=folder, workers=given.workers, on=given.on, say=say)
    shown = {name: whole[name] for name in ("rows", "correlations", "missing")}
    out(given, shown, table_markdown(whole))


def _with_settings(text: str) -> tuple[str, tuple[tuple[str, Any], ...]]:
    """ "dreambooth:steps=50,lr=1e-5" or "FILE.py:function:steps=50" -> the method's name, and its settings in the types
    of its signature."""
    from limner.evaluation.summary import MARKS, POLICIES

    name, _, rest = text.partition(":")
    if name.endswith(".py"):
        # an absolute path, so that workers in another folder find the file
        function, _, rest = rest.partition(":")
        name = f"{Path(name).expanduser().resolve()}:{function}"
    if name in (*POLICIES, *MARKS) or not rest:
        return name, ()
    known = {s.name: s for s in settings(find(name))}
    pairs = []
    for part in rest.split(","):
        key, value = _pair(part)
        if key not in known:
            raise UnknownName(f"setting of {name}", key, known)
        pairs.append((key, _typed(name, key, value, known[key].type)))
    return name, tuple(pairs)


def _typed(name: str, key: str, value: str, kind: type) -> Any:
    """A setting's value in the type of the method's signature. Raises `InputError` for text that is no such value."""
    if kind is bool:
        if value.lower() not in ("true", "false"):
            raise InputError(f"{key} of {name} must be true or false, not {value!r}")
        return value.lower() == "true"
    try:
        return kind(value)
    except ValueError as error:
        wanted = {int: "a whole number", float: "a number"}.get(kind, f"of type {kind.__name__}")
        raise InputError(f"{key} of {name} must be {wanted}, not {value!r}") from error


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign:
        raise InputError(f"expected NAME=VALUE, not {text!r}")
    return key.strip(), value.strip()
