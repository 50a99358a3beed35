"""The work of training by each method that the pocket bench measured, in updates of dreambooth.

The bench's seconds include what comes before the first update, such as painting class images, which one method pays for
and the next one finds in the cache. Here a few updates of each stage are measured by the processor's time, and divided
by that of dreambooth's in the same process.

    OMP_NUM_THREADS=1 python -m benchmarks.update_work        # results/update_work.json, about three minutes on a core
    python -m docs.generate                                   # methods/facts.json, from which estimates are made
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from limner.core.method import settings
from limner.methods import find
from limner.workflows import estimate
from limner.workflows.choose_method import measured
from limner.workflows.form import tuned_by
from limner.workflows.opening import open_base
from limner.workflows.quick_estimate import REFERENCE
from limner.workflows.requests import BaseChoice

RESULTS = Path(__file__).parent.parent / "results" / "update_work.json"
UPDATES = 3
AGAIN = 8
"""Number of methods after which the reference is measured again."""


def seconds_of(base: Any, subject: Any, method: str) -> float:
    """Seconds of the processor for all updates at the default settings."""
    function = find(method)
    usual = {setting.name: setting.default for setting in settings(function)}
    few = {name: UPDATES for name in tuned_by(method) if name.endswith("steps") and usual[name]}
    if "num_class_pictures" in usual:
        few["num_class_pictures"] = 2
    taken = estimate.update_seconds(base, subject, method, few)
    stages = function(subject).tuning
    return sum(statistics.median(taken[k]) * stage.steps for k, stage in enumerate(stages) if k in taken)


def main() -> None:
    # other programs on the machine take no part in the processor's time
    vars(estimate)["time"] = SimpleNamespace(monotonic=time.process_time)
    base = open_base(BaseChoice())
    subject = base.capabilities.bench.example()
    steps = next(each.default for each in settings(find(REFERENCE)) if each.name == "steps")
    rows: dict[str, float] = {}
    one = seconds_of(base, subject, REFERENCE) / steps
    for number, name in enumerate(measured("pocket"), 1):
        if number % AGAIN == 0:
            one = (one + seconds_of(base, subject, REFERENCE) / steps) / 2
        rows[name] = float(steps) if name == REFERENCE else round(seconds_of(base, subject, name) / one, 1)
        print(f"{name}: {rows[name]:g} updates of {REFERENCE}", flush=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
