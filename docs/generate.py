"""Write the generated parts of the docs: the table of methods in README, a page per method, the results.

python -m docs.generate          write
python -m docs.generate --check  say whether anything would change
python -m docs.generate --pictures out/bench/bench
                                 a sheet for every method's page from the pictures of a bench; not part of --check
"""

from __future__ import annotations

import inspect
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from limner import load
from limner.apps.cli.methods import method_table
from limner.evaluation.datasets.toys import toys
from limner.evaluation.metrics import card, metrics
from limner.evaluation.report import ordered, table_markdown
from limner.evaluation.results import read_results
from limner.methods import methods
from limner.workflows.bench.run import is_current
from training.pocket.evaluate import AIMS

from .standing import standing

Row = dict[str, Any]

ROOT = Path(__file__).parent.parent
MEASURED = ROOT / "src" / "limner" / "methods" / "measured.json"
SHEETS = ROOT / "docs" / "images" / "methods"
EARLIER = "Measured on an earlier edition of the base and its judges than the one that ships."
SHEET_CASES, SHEET_PROMPTS, SHEET_SIZE = 3, 6, 96
START, END = "<!-- generated: {} -->", "<!-- end -->"


def pages() -> dict[Path, str]:
    """Every generated file and what it should hold."""
    rows = method_table()
    found = {MEASURED: measured_json()}
    rows = [row | {"measured": json.loads(found[MEASURED]).get(row["name"], {})} for row in rows]
    found |= {ROOT / "docs" / "methods" / f"{row['name']}.md": page(row) for row in rows}
    readme = ROOT / "README.md"
    text = within(readme.read_text(encoding="utf-8"), "methods", table(rows))
    found[readme] = within(text, "results", results())
    docs = ROOT / "docs" / "results.md"
    text = within(within(docs.read_text(encoding="utf-8"), "results", results()), "curve", curve())
    text = within(within(text, "strength", strength()), "six", six())
    found[docs] = within(text, "diagnoses", diagnoses())
    bases = ROOT / "docs" / "bases.md"
    found[bases] = within(bases.read_text(encoding="utf-8"), "families", proofs("bases", families()))
    formats = ROOT / "docs" / "formats.md"
    found[formats] = within(formats.read_text(encoding="utf-8"), "formats", proofs("formats"))
    judging = ROOT / "docs" / "judging.md"
    found[judging] = within(judging.read_text(encoding="utf-8"), "metrics", metric_table())
    reliability = ROOT / "docs" / "reliability.md"
    text = within(reliability.read_text(encoding="utf-8"), "kills", kills())
    found[reliability] = within(text, "fuzz", fuzz())
    pocket = ROOT / "docs" / "pocket.md"
    found[pocket] = within(within(pocket.read_text(encoding="utf-8"), "scores", scores()), "captions", captions())
    return found


def families() -> dict[str, str]:
    """Module -> title of every family of bases."""
    from limner.bases.common.loading import FAMILIES

    return {known.module: known.title for known in FAMILIES}


def proofs(name: str, titles: dict[str, str] | None = None) -> str:
    """A table of what tests have shown (results/proofs.json, written by `make proofs`)."""
    told = json.loads((ROOT / "results" / "proofs.json").read_text(encoding="utf-8"))[name]
    order = {"bases": ["paints", "learns", "tuned", "word", "pre-trained", "training-free"], "formats": ["in", "out"]}[
        name
    ]
    rows = [key for key in titles if key in told] if titles else sorted(told)
    head = {"bases": "family", "formats": "file"}[name]
    lines = [f"| {head} | {' | '.join(order)} |", f"|---|{'---|' * len(order)}"]
    for key in rows:
        cells = [told[key].get(column, "-") for column in order]
        lines.append(f"| {titles[key] if titles else key} | {' | '.join(cells)} |")
    return "\n".join(lines)


def fuzz() -> str:
    """How hostile inputs of each kind ended (results/fuzz.json, written by `make fuzz`)."""
    path = ROOT / "results" / "fuzz.json"
    if not path.exists():
        return "Not counted yet: run `make fuzz`."
    found = json.loads(path.read_text(encoding="utf-8"))
    columns = list(found["all"])
    rows = {**found["kinds"], "all": found["all"]}
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(f'{row[c]:,}' for c in columns)} |" for name, row in rows.items()]
    return "\n".join(lines)


def table(rows: list[Row]) -> str:
    lines = ["| method | paper | | framework | for | H | s to teach |", "|---|---|---|---|---|---|---|"]
    lines += [
        f"| [`{r['name']}`](docs/methods/{r['name']}.md) | {r['title']}, {r['year']} | {r['source']} | {r['framework']} | "
        f"{', '.join(r['scope'])} | {figure(r, 'H', '.2f')} | {figure(r, 'seconds', '.0f')} |"
        for r in rows
    ]
    return "\n".join(lines)


def figure(row: Row, key: str, how: str) -> str:
    return format(row["measured"][key], how) if key in row["measured"] else ""


def measured_json() -> str:
    """What `limner methods` tells and `limner learn` chooses by: means over the bench's toys."""
    path = ROOT / "results" / "bench.json"
    found: dict[str, dict[str, float]] = {}
    if path.exists():
        read = read_results(path)
        for name in methods():
            row = read["summary"].get(name)
            if row is None:
                continue
            cost = [unit["cost"] for unit in read["units"] if unit["method"] == name]
            found[name] = {
                key: round(row["numbers"][key]["mean"], 3) for key in ("H", "F", "T") if key in row["numbers"]
            }
            found[name]["toys"] = row["numbers"]["F"]["subjects"]
            found[name] |= {key: round(statistics.mean(c[key] for c in cost), 1) for key in ("seconds", "bytes")}
    return json.dumps(found, indent=1) + "\n"


def page(row: Row) -> str:
    function = methods()[row["name"]]
    module = sys.modules[function.__module__]
    about = (inspect.getdoc(function) or "").partition("Settings:")[0].strip()
    lines = [f"# {row['title']}", "", (module.__doc__ or "").strip(), "", about, ""]
    lines += [
        f"Paper: {row['source']}. Framework: {row['framework']}. For: {', '.join(row['scope'])}."
        + (" Many subjects in one pass: `--together`." if row["together"] else ""),
        "",
    ]
    lines += [f"    limner learn photos/ --class dog --name rex --method {row['name']}", ""]
    lines += ["| setting | default | full-size base | |", "|---|---|---|---|"]
    lines += [
        f"| `--{name.replace('_', '-')}` | {about['default']} | {row['full_size'].get(name, '')} | {about['help']} |"
        for name, about in row["settings"].items()
    ]
    if row["full_size"]:
        lines += [
            "",
            f"Defaults are for the pocket base; on any other those of the third column, from {row['full_size_source']}.",
        ]
    lines += ["", *worth(row), "", standing(row["name"])]
    return "\n".join(lines).rstrip() + "\n"


def worth(row: Row) -> list[str]:
    """What was measured of a method, and what it painted."""
    path, lines = ROOT / "results" / "bench.json", []
    if path.exists() and row["measured"]:
        read = read_results(path)
        found, told = read["summary"][row["name"]]["numbers"], read["summary"][row["name"]]["diagnoses"]
        cells = [f"{found[k]['mean']:.2f} [{found[k]['low']:.2f}, {found[k]['high']:.2f}]" for k in ("H", "F", "T")]
        own = row["measured"]
        lines += [
            f"On {found['F']['subjects']} held-out toys of the pocket base (H: both; F: likeness, 0 the base's own and 1 the references'; "
            "T: the prompt obeyed, 1 as the base does):",
            "",
            "| H | F | T | s to teach | kB | diagnosed |",
            "|---|---|---|---|---|---|",
            f"| {' | '.join(cells)} | {own['seconds']:.0f} | {own['bytes'] / 1024:.0f} | "
            f"{', '.join(f'{n} {label}' for label, n in told.items())} |",
        ]
        if found["F"]["high"] < 0.1:
            lines += ["", "It does not work here: likeness is that of the base that was never taught."]
        elif found["F"]["low"] <= 0:
            lines += [
                "",
                "Whether it beats the base that was never taught is not certain: the interval of F has 0 in it.",
            ]
    if (SHEETS / f"{row['name']}.jpg").exists():
        lines += ["", f"![pictures](../images/methods/{row['name']}.jpg)", ""]
        lines += ["A toy in each row, its first reference to the left; a prompt in each column. Not chosen."]
    return lines


def sheets(folder: Path) -> None:
    """For every method, what a bench painted of its first toys: one row each, its first reference to the left. Methods whose pictures
    are not in the folder keep their sheets."""
    from PIL import Image

    read = read_results(ROOT / "results" / "bench.json")
    plan = read["plan"]
    SHEETS.mkdir(parents=True, exist_ok=True)
    cases = {case.name: case for case in toys().cases}
    for name in methods():
        units = [u for u in read["units"] if u["method"] == name][:SHEET_CASES]
        if not units or not all((folder / f"{unit['key']}.jpg").exists() for unit in units):
            continue
        sheet = Image.new("RGB", ((SHEET_PROMPTS + 1) * SHEET_SIZE + 8, len(units) * SHEET_SIZE), "white")
        for row, unit in enumerate(units):
            painted = Image.open(folder / f"{unit['key']}.jpg")
            rows, gap = plan["prompts"], 2  # as `strip` sets them
            side = (painted.height - (rows - 1) * gap) // rows
            tops = [k * (side + gap) for k in range(SHEET_PROMPTS)]
            shown = [painted.crop((0, top, side, top + side)) for top in tops]
            first = cases[unit["case"]].member.load()[0]
            for column, picture in enumerate([first, *shown]):
                place = (column * SHEET_SIZE + (8 if column else 0), row * SHEET_SIZE)
                sheet.paste(picture.convert("RGB").resize((SHEET_SIZE, SHEET_SIZE), Image.Resampling.LANCZOS), place)
        sheet.save(SHEETS / f"{name}.jpg", quality=85)


def results() -> str:
    """The leaderboard of results/bench.json."""
    path = ROOT / "results" / "bench.json"
    if not path.exists():
        return "Not measured yet: `make bench`."
    found = read_results(path)
    units, cases = found["units"], {u["case"] for u in found["units"]}
    about = (
        f"{len(units)} likenesses of {len(cases)} held-out toys, {found['plan']['prompts']} prompts, "
        f"{len(found['plan']['seeds'])} seed(s); mean and, in brackets, 95 % of bootstrap samples of the toys."
    )
    counts = {name: sum(u["method"] == name for u in units) for name in methods()}
    fewer = [name for name, count in counts.items() if 0 < count < len(cases)]
    absent = [name for name, count in counts.items() if not count]
    about += f" On fewer toys: {', '.join(fewer)}." if fewer else ""
    about += f" Not measured: {', '.join(absent)}." if absent else ""
    about += "" if is_current(found) else f" {EARLIER}"
    return f"{table_markdown(found)}\n{about}"


def diagnoses() -> str:
    """What was diagnosed, by method, and what the usual metrics are worth."""
    path = ROOT / "results" / "bench.json"
    if not path.exists():
        return "Not measured yet: `make bench`."
    found = read_results(path)
    lines = ["| | diagnosed | F above words |", "|---|---|---|"]
    for label, row in ordered(found["summary"]):
        told = ", ".join(f"{v} {k}" for k, v in row["diagnoses"].items())
        lines.append(f"| {label} | {told} | {above_words(row)} |")
    lines += ["", "| metric | rank correlation with F | with T |", "|---|---|---|"]
    for name, row in found["correlations"].items():
        cells = [f"{row[side]:+.2f}" if side in row else "" for side in ("F", "T")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def above_words(row: Row) -> str:
    """How much likeness is above that of the base told the looks in words, with its interval."""
    gap = row["above words"].get("F")
    return "" if gap is None else f"{gap['mean']:+.2f} [{gap['low']:+.2f}, {gap['high']:+.2f}]"


def curve() -> str:
    path = ROOT / "results" / "dreambooth_curve.json"
    if not path.exists():
        return "Not measured yet: `python benchmarks/curve.py`."
    found = json.loads(path.read_text(encoding="utf-8"))
    lines = [
        "| steps | F ↑ | T ↑ | H ↑ | identity ↑ | prompt obeyed ↑ | CLIP-T ↑ | copy ↓ | diagnosis |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {p['steps']} | {p['F']:.2f} | {p['T']:.2f} | {p['H']:.2f} | {p['identity']:.3f} | {p['obeyed']:.3f} | "
        f"{p['clip_t']:.3f} | {p['copy_index']:.2f} | {p['diagnosis']} |"
        for p in found["points"]
    ]
    if found["fingerprint"] != load("pocket", device="cpu").fingerprint:
        lines += ["", EARLIER]
    return "\n".join(lines)


def strength() -> str:
    """What was painted at several strengths of one concept."""
    path = ROOT / "results" / "curve.json"
    if not path.exists():
        return "Not measured yet: `limner bench --curve ip_adapter`."
    found = read_results(path)
    return table_markdown(found) + ("" if is_current(found) else f"\n{EARLIER}")


SIX = {
    "dreambooth": 0.5, "lycoris_locon": 0.4, "lora_dreambooth": 0.4, "custom_diffusion": 0.5, "textual_inversion": 0.2,
}  # fmt: skip
"""What tuning must reach for the base to be worth judging on: the least share of the gap from the base to the ceiling, F."""


def six() -> str:
    """Whether tuning works on this base: five ways of it on six held-out toys."""
    path = ROOT / "results" / "six.json"
    if not path.exists():
        return "Not measured yet."
    found = read_results(path)
    lines = ["| | F ↑ | wanted | F above words | T ↑ | obeyed ↑ |", "|---|---|---|---|---|---|"]
    for label, row in ordered(found["summary"]):
        own = row["numbers"]
        wanted = f"{SIX[label]:.1f} {'met' if own['F']['mean'] >= SIX[label] else 'missed'}" if label in SIX else ""
        told = [f"{own[k]['mean']:.2f} [{own[k]['low']:.2f}, {own[k]['high']:.2f}]" for k in ("F", "T", "obeyed")]
        lines.append(f"| {label} | {told[0]} | {wanted} | {above_words(row)} | {told[1]} | {told[2]} |")
    return "\n".join(lines) + ("" if is_current(found) else f"\n\n{EARLIER}")


def metric_table() -> str:
    """Every metric: what it says, whose features it reads, where it comes from."""
    lines = ["| metric | | reads | better | source |", "|---|---|---|---|---|"]
    for function in metrics().values():
        about = card(function)
        reads = f"{about.encoder}, masked" if about.masked else about.encoder
        lines.append(f"| `{about.id}` | {about.says} | {reads} | {about.better or 'neither'} | {about.source} |")
    return "\n".join(lines)


def scores() -> str:
    path = ROOT / "results" / "pocket.json"
    if not path.exists():
        return "Not measured yet."
    found = json.loads(path.read_text(encoding="utf-8"))
    lines = ["| asked of | | renders | painted | share | aim |", "|---|---|---|---|---|---|"]
    for name, question in found["questions"].items():
        for field, true in question["renders"].items():
            share, aim = question["share"][field], AIMS.get(field)
            wanted = "" if aim is None else f"{aim:.0%} {'met' if share >= aim else 'missed'}"
            lines.append(
                f"| {name} | {field} | {true:.1%} | {question['painted'][field]:.1%} | {share:.0%} | {wanted} |"
            )
    clip, fid, judges, ceiling = found["clip"], found["fid"], found["judges"], found["ceiling"]
    rows: dict[str, tuple[str, str, bool | None]] = {
        "picture size": (f"{found['size']} px", "128 px", found["size"] >= 128),
        "autoencoder, held-out renders": (
            f"{found['autoencoder']['psnr']:.1f} dB",
            "30 dB",
            found["autoencoder"]["psnr"] >= 30,
        ),
        f"CLIP R@1 in {clip['texts']} texts that say everything": (
            f"{clip['r@1_distinct']:.1%}",
            "80%",
            clip["r@1_distinct"] >= 0.8,
        ),
        "CLIP R@1 with texts that leave things out": (
            f"{clip['r@1_loose']:.1%} of {clip['ceiling_loose']:.1%} that the texts allow",
            "80% of it",
            clip["r@1_loose"] >= 0.8 * clip["ceiling_loose"],
        ),
        "identity, one class: same toy nearer than another's (AUC)": (
            f"{judges['identity_auc']:.4f}",
            "0.99",
            judges["identity_auc"] >= 0.99,
        ),
        "identity, first of 64 dogs": (f"{judges['identity_r@1_in_64_dogs']:.1%}", "", None),
        "identity of a toy's own pictures; through the autoencoder": (
            f"{ceiling['identity']:.3f}; {ceiling['identity_through_autoencoder']:.3f}",
            "",
            None,
        ),
        "segmenter, overlap with the truth": (f"{judges['segmenter_iou']:.3f}", "", None),
        f"FID over judge features, {fid['pictures']} pictures; between renders": (
            f"{fid['painted']:.1f}; {fid['renders']:.1f}",
            "3 times the floor",
            fid["painted"] <= 3 * fid["renders"],
        ),
        "CLIP-T painted; renders": (f"{fid['clip_t_painted']:.3f}; {fid['clip_t_renders']:.3f}", "", None),
        "base and judges on disk": (f"{found['megabytes']:.1f} MB", "40 MB", found["megabytes"] <= 40),
        "to load, libraries imported": (f"{found['seconds_to_load']:.1f} s", "2 s", found["seconds_to_load"] <= 2),
        "one picture, 25 steps, two cores": (
            f"{found['seconds_a_picture']:.1f} s",
            "1.5 s",
            found["seconds_a_picture"] <= 1.5,
        ),
    }
    verdict = {None: "", True: " met", False: " missed"}
    lines += ["", "| | | aim |", "|---|---|---|"]
    lines += [f"| {name} | {value} | {aim}{verdict[met]} |" for name, (value, aim, met) in rows.items()]
    lines += [] if found.get("fingerprint") == load("pocket", device="cpu").fingerprint else ["", EARLIER]
    return "\n".join(lines)


def kills() -> str:
    """What `make kills` counted, by command and by what ended it."""
    path = ROOT / "results" / "kills.json"
    if not path.exists():
        return "Not counted yet."
    found = json.loads(path.read_text(encoding="utf-8"))
    columns = list(found["all"])
    lines = [f"| | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    rows = {**found["by command"], **found["by signal"], "**all**": found["all"]}
    lines += [f"| {name} | {' | '.join(str(row[column]) for column in columns)} |" for name, row in rows.items()]
    return "\n".join(lines)


def captions() -> str:
    """What was asked of each picture of the sheet, row by row."""
    path = ROOT / "docs" / "images" / "pocket.txt"
    if not path.exists():
        return "Not painted yet."
    return "\n".join(f"{k + 1}. {line}" for k, line in enumerate(path.read_text(encoding="utf-8").splitlines()))


def within(text: str, name: str, value: str) -> str:
    """The text with what is between the two marks replaced."""
    start = START.format(name)
    before, _, rest = text.partition(start)
    if not rest:
        raise SystemExit(f"there is no {start} to write into")
    return f"{before}{start}\n{value}\n{END}{rest.partition(END)[2]}"


def main() -> None:
    if "--pictures" in sys.argv:
        sheets(Path(sys.argv[sys.argv.index("--pictures") + 1]))
    stale = []
    for path, text in pages().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(str(path.relative_to(ROOT)))
            if "--check" not in sys.argv:
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, encoding="utf-8")
    if stale and "--check" in sys.argv:
        raise SystemExit(f"not up to date: {', '.join(stale)}; run `make docs`")
    print(f"{len(stale)} written" if stale else "up to date")


if __name__ == "__main__":
    main()
