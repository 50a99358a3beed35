"""`python -m tests.fuzz N`: about N inputs in all, counted; the counters go to results/fuzz.json."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

from .counting import AIMS, Count, count
from .kinds import KINDS, Place

RESULTS = Path(__file__).parent.parent.parent / "results" / "fuzz.json"


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.fuzz", description="Hostile input by the thousand, counted.")
    parser.add_argument("inputs", type=int, nargs="?", default=2200, help="inputs in all, evenly over the kinds")
    parser.add_argument("--seed", type=int, default=0, help="another seed makes other inputs")
    parser.add_argument("--only", nargs="+", default=list(KINDS), help="kinds, by their names")
    parser.add_argument("--again", metavar="LABEL", help="run one case again, as the report names it, and let it raise")
    parser.add_argument(
        "--out", type=Path, help="where the counters go (default: results/fuzz.json, where all kinds are run)"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LIMNER_CACHE"] = f"{folder}/cache"
        place = Place(Path(folder) / "place")
        if given.again:
            import random

            name = given.again.rsplit(" ", 2)[0]
            print(KINDS[name](place)(random.Random(given.again)))
            return 0
        found = {name: counted(name, place, -(-given.inputs // len(given.only)), given.seed) for name in given.only}
    total = {counter: sum(c.record[counter] for c in found.values()) for counter in next(iter(found.values())).record}
    print(f"{'all':34} " + ", ".join(f"{n} {what}" for what, n in total.items()))
    out = given.out or (RESULTS if len(given.only) == len(KINDS) else None)
    if out:
        record = {"seed": given.seed, "all": total, "kinds": {name: c.record for name, c in found.items()}}
        out.write_text(json.dumps(record, indent=1) + "\n")
    return int(any(total[aim] for aim in AIMS))


def counted(name: str, place: Place, inputs: int, seed: int) -> Count:
    """The cases of one kind, with a line of what came of them."""
    case, began = KINDS[name](place), time.monotonic()
    found = count(name, case, inputs, seed=seed)
    seconds = time.monotonic() - began
    print(
        f"{name:34} " + ", ".join(f"{n} {what}" for what, n in found.record.items()) + f"; {seconds:.0f} s", flush=True
    )
    for example in found.examples:
        print(f"    {example}", flush=True)
    return found


if __name__ == "__main__":
    raise SystemExit(main())
