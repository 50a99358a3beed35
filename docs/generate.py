"""Write the generated parts of the docs: the leaderboards, a page for each method, the commands, the API, the picture
of the rooms.

python -m docs.generate          write
python -m docs.generate --check  fail where a file would change, or a table says that a proof FAILED
python -m docs.generate --pictures out/bench
                                 a sheet for every method's page from the pictures of all benches; not part of --check
"""

from __future__ import annotations

import hashlib
import inspect
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from docs import couples, reference, rooms, suites
from docs.standing import standing
from limner import load
from limner.evaluation.datasets.toys import toys
from limner.evaluation.metrics import card, metrics
from limner.evaluation.report import ordered, table_markdown
from limner.evaluation.report_table1 import protocol_markdown
from limner.evaluation.report_table1 import table_markdown as table1_markdown
from limner.evaluation.results import read_results
from limner.evaluation.summary import BASE, TITLES, WORDS
from limner.evaluation.table1 import read_table1
from limner.methods import methods
from limner.workflows.bench.run import is_current
from limner.workflows.form import FACTS, PAINTING, compute_facts, methods_table
from training.pocket.evaluate import AIMS

Row = dict[str, Any]

ROOT = Path(__file__).parent.parent
MEASURED = ROOT / "src" / "limner" / "methods" / "measured.json"
SHEETS = ROOT / "docs" / "images" / "methods"
EARLIER = "Measured on an earlier edition of the base and its judges than the one that ships."
BEST = 8
"""Methods in README's leaderboard."""
SHEET_CASES, SHEET_PROMPTS, SHEET_SIZE = 3, 6, 96
START, END = "<!-- generated: {} -->", "<!-- end -->"


def pages() -> dict[Path, str]:
    """Every generated file and its right content."""
    files = {MEASURED: measured_json(), FACTS: facts_json()}
    rows_measured, facts = json.loads(files[MEASURED]), json.loads(files[FACTS])
    rows = [
        row
        | {
            "measured": rows_measured.get(row["name"], {}),
            **{k: facts[row["name"]][k] for k in ("framework", "together")},
        }
        for row in methods_table()
    ]
    files |= {ROOT / "docs" / "methods" / f"{row['name']}.md": page(row) for row in rows}
    files[ROOT / "docs" / "methods" / "index.md"] = index(rows)
    files[rooms.PICTURE] = rooms.picture()
    files[ROOT / "docs" / "api.md"] = reference.api()
    commands = ROOT / "docs" / "commands.md"
    files[commands] = within(commands.read_text(encoding="utf-8"), "commands", reference.commands())
    readme = ROOT / "README.md"
    files[readme] = within(readme.read_text(encoding="utf-8"), "best", results(best=BEST))
    docs = ROOT / "docs" / "results.md"
    text = within(within(docs.read_text(encoding="utf-8"), "results", results()), "curve", curve())
    text = within(within(text, "strength", strength()), "six", six())
    for name in ("styles", "meanings", "conditions", "pairs"):
        text = within(text, name, suites.table(name))
    text = within(text, "faces", suites.faces_table())
    files[docs] = within(text, "diagnoses", diagnoses())
    bases = ROOT / "docs" / "bases.md"
    files[bases] = within(bases.read_text(encoding="utf-8"), "families", proofs("bases", families()))
    formats = ROOT / "docs" / "formats.md"
    files[formats] = within(formats.read_text(encoding="utf-8"), "formats", proofs("formats"))
    judging = ROOT / "docs" / "judging.md"
    files[judging] = within(judging.read_text(encoding="utf-8"), "metrics", metric_table())
    reliability = ROOT / "docs" / "reliability.md"
    text = within(reliability.read_text(encoding="utf-8"), "kills", kills())
    files[reliability] = within(text, "fuzz", fuzz())
    survey = ROOT / "docs" / "table1.md"
    files[survey] = within(survey.read_text(encoding="utf-8"), "table1", table1())
    both = ROOT / "docs" / "couples.md"
    files[both] = within(both.read_text(encoding="utf-8"), "couples", couples.page())
    pocket = ROOT / "docs" / "pocket.md"
    files[pocket] = within(within(pocket.read_text(encoding="utf-8"), "scores", scores()), "captions", captions())
    return files


def families() -> dict[str, str]:
    """Module -> title of every family of bases."""
    from limner.bases.common.loading import FAMILIES

    return {known.module: known.title for known in FAMILIES}


def proofs(name: str, titles: dict[str, str] | None = None) -> str:
    """A table of test results (results/proofs.json, written by `make proofs`)."""
    path = ROOT / "results" / "proofs.json"
    proved = json.loads(path.read_text(encoding="utf-8"))[name]
    order = {"bases": ["paints", "learns", "tuned", "word", "pre-trained", "training-free"], "formats": ["in", "out"]}[
        name
    ]
    rows = [key for key in titles if key in proved] if titles else sorted(proved)
    head = {"bases": "family", "formats": "file"}[name]
    lines = [f"| {head} | {' | '.join(order)} |", f"|---|{'---|' * len(order)}"]
    for key in rows:
        cells = [proved[key].get(column, "-") for column in order]
        lines.append(f"| {titles[key] if titles else key} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", source(path)])


def fuzz() -> str:
    """How hostile inputs of each kind ended (results/fuzz.json, written by `make fuzz`)."""
    path = ROOT / "results" / "fuzz.json"
    if not path.exists():
        return "Not counted yet: run `make fuzz`."
    record = json.loads(path.read_text(encoding="utf-8"))
    columns = list(record["all"])
    rows = {**record["kinds"], "all": record["all"]}
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(f'{row[c]:,}' for c in columns)} |" for name, row in rows.items()]
    return "\n".join(lines)


def index(rows: list[Row]) -> str:
    """The page that lists every method."""
    head = (
        f"# {len(rows)} methods\n\n"
        "`limner methods` prints this list; `limner learn photos/ --class dog --name rex --method NAME` uses one. *Framework* follows from the\n"
        "sources of a method's stages: the subject's pictures (test-time fine-tuning), a corpus (pre-trained adaptation), both (hybrid), or\n"
        "no stage at all (training-free). H (0 to 1) and seconds are means over held-out toys of the pocket base ([results](../results.md),\n"
        "[definitions](../judging.md)). [Add a method](../../CONTRIBUTING.md).\n"
    )
    return f"{head}\n{table(rows)}\n"


def table(rows: list[Row]) -> str:
    """Every method: paper, framework, scope, score and cost."""
    lines = ["| method | paper | | framework | scope | H | s to learn |", "|---|---|---|---|---|---|---|"]
    lines += [
        f"| [`{r['name']}`]({r['name']}.md) | {r['title']}, {r['year']} | {r['source']} | {r['framework']} | "
        f"{', '.join(r['scope'])} | {figure(r, 'H', '.2f')} | {figure(r, 'seconds', '.0f')} |"
        for r in rows
    ]
    return "\n".join(lines)


def figure(row: Row, key: str, how: str) -> str:
    return format(row["measured"][key], how) if key in row["measured"] else ""


def measured_json() -> str:
    """Means over the bench's toys, which `limner methods` prints and `limner learn` chooses by."""
    path = ROOT / "results" / "bench.json"
    means: dict[str, dict[str, float]] = {}
    if path.exists():
        read = read_results(path)
        for name in methods():
            row = read["summary"].get(name)
            if row is None:
                continue
            cost = [unit["cost"] for unit in read["units"] if unit["method"] == name]
            means[name] = {
                key: round(row["numbers"][key]["mean"], 3) for key in ("H", "F", "T") if key in row["numbers"]
            }
            means[name]["toys"] = row["numbers"]["F"]["subjects"]
            means[name] |= {key: round(statistics.mean(c[key] for c in cost), 1) for key in ("seconds", "bytes")}
    return json.dumps(means, indent=1) + "\n"


def facts_json() -> str:
    """The facts about methods that programs read without torch: those of `compute_facts`; peak memory
    (benchmarks/memory.py) and the work of training (benchmarks/update_work.py), where they were measured; and the
    seconds of a picture of the base alone."""
    more = {"memory": ROOT / "results" / "memory.json", "work": ROOT / "results" / "update_work.json"}
    figures = {key: json.loads(path.read_text(encoding="utf-8")) for key, path in more.items() if path.exists()}
    rows = {
        name: compute_facts(name) | {key: values[name] for key, values in figures.items() if name in values}
        for name in methods()
    }
    units = read_results(ROOT / "results" / "bench.json")["units"]
    seconds = [unit["cost"]["seconds_per_picture"] for unit in units if unit["method"] == BASE]
    return json.dumps(rows | {PAINTING: {"seconds": round(statistics.mean(seconds), 3)}}, indent=1) + "\n"


def page(row: Row) -> str:
    """The page of one method: source, command, settings, scores and pictures."""
    function = methods()[row["name"]]
    module = sys.modules[function.__module__]
    about = (inspect.getdoc(function) or "").partition("Settings:")[0].strip()
    lines = [f"# {row['title']}", "", (module.__doc__ or "").strip(), "", about, ""]
    lines += [
        f"Paper: {row['source'] or 'none'}. Framework: {row['framework']}. Scope: {', '.join(row['scope'])}."
        + (" Several subjects in one pass: `--together`." if row["together"] else ""),
        "",
    ]
    lines += [f"    limner learn photos/ --class dog --name rex --method {row['name']}", ""]
    lines += ["| setting | default | full-size base | |", "|---|---|---|---|"]
    lines += [
        f"| `--{name.replace('_', '-')}` | {about['default']} | {row['full_size'].get(name, 'the same')} | {about['help']} |"
        for name, about in row["settings"].items()
    ]
    lines += [
        "",
        "The pocket base takes the defaults, any other base the third column.",
        f"Source of the third column: {row['full_size_source']}.",
    ]
    lines += ["", *worth(row)]
    return "\n".join([*lines, "", *suites.of_method(row["name"]), standing(row["name"])]).rstrip() + "\n"


def worth(row: Row) -> list[str]:
    """Scores of a method, and its sheet of pictures."""
    path, lines = ROOT / "results" / "bench.json", []
    if path.exists() and row["measured"]:
        read = read_results(path)
        numbers, counts = read["summary"][row["name"]]["numbers"], read["summary"][row["name"]]["diagnoses"]
        cells = [
            f"{numbers[k]['mean']:.2f} [{numbers[k]['low']:.2f}, {numbers[k]['high']:.2f}]" for k in ("H", "F", "T")
        ]
        own = row["measured"]
        lines += [
            f"On {numbers['F']['subjects']} held-out toys of the pocket base (F: fidelity, 0 as the base and 1 as the reference images; "
            "T: alignment with the prompt, 1 as the base; H: their harmonic mean; 95 % bootstrap interval over toys):",
            "",
            "| H | F | T | s to learn | kB | diagnoses |",
            "|---|---|---|---|---|---|",
            f"| {' | '.join(cells)} | {own['seconds']:.0f} | {own['bytes'] / 1024:.0f} | "
            f"{', '.join(f'{n} {label}' for label, n in counts.items())} |",
        ]
        if numbers["F"]["high"] < 0.1:
            lines += ["", "It does not work here: fidelity is that of the base alone."]
        elif numbers["F"]["low"] <= 0:
            lines += [
                "",
                "Whether it beats the base alone is not certain: the interval of F holds 0.",
            ]
    if (SHEETS / f"{row['name']}.webp").exists():
        lines += ["", f"![pictures](../images/methods/{row['name']}.webp)", ""]
        lines += ["A toy in each row, its first reference image on the left; a prompt in each column. Not selected."]
    return lines


def sheets(folder: Path) -> None:
    """A sheet for every method from the pictures of a bench: a row for each of its first toys, the first reference
    image on the left. Methods whose pictures are not in the folder keep their sheets.

    folder: the pictures of a bench, such as out/bench/bench
    """
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
        sheet.save(SHEETS / f"{name}.webp", quality=suites.QUALITY, method=6)


def named(text: str) -> str:
    """A table of a report with the names of baselines in the words of these pages."""
    for name, plain in TITLES.items():
        text = text.replace(f"| {name} |", f"| {plain} |")
    return text


def source(path: Path) -> str:
    """Which file a table was made from: name and the first digits of its hash."""
    return f"`{path.relative_to(ROOT)}`, SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}."


def results(*, best: int = 0) -> str:
    """The leaderboard of results/bench.json.

    best: number of methods to show, the best first, with the baselines below; 0 shows all
    """
    path = ROOT / "results" / "bench.json"
    if not path.exists():
        return "Not measured yet: `make bench`."
    record = read_results(path)
    if best:
        shown = [label for label, row in ordered(record["summary"]) if row["method"] not in TITLES][:best]
        summary = {label: row for label, row in record["summary"].items() if label in (*shown, BASE, WORDS)}
        return named(table_markdown({**record, "summary": summary}, columns=("H", "F", "T"))).rstrip()
    units, cases = record["units"], {u["case"] for u in record["units"]}
    about = (
        f"{len(units)} concepts of {len(cases)} held-out toys, {record['plan']['prompts']} prompts, "
        f"{len(record['plan']['seeds'])} seed(s); mean and, in brackets, 95 % of bootstrap samples of the toys. {source(path)}"
    )
    scopes = {row["name"]: row["scope"] for row in methods_table()}
    counts = {name: sum(u["method"] == name for u in units) for name in methods()}
    fewer = [name for name, count in counts.items() if 0 < count < len(cases)]
    absent = [name for name, count in counts.items() if not count and scopes[name][0] == "object"]
    about += f" On fewer toys: {', '.join(fewer)}." if fewer else ""
    about += f" Not measured: {', '.join(absent)}." if absent else ""
    about += "" if is_current(record) else f" {EARLIER}"
    return f"{named(table_markdown(record))}\n{about}"


def diagnoses() -> str:
    """Diagnoses by method, and the rank correlation of the usual metrics with F and T."""
    path = ROOT / "results" / "bench.json"
    if not path.exists():
        return "Not measured yet: `make bench`."
    record = read_results(path)
    lines = ["| | diagnoses | F above the description baseline |", "|---|---|---|"]
    for label, row in ordered(record["summary"]):
        counts = ", ".join(f"{v} {k}" for k, v in row["diagnoses"].items())
        lines.append(f"| {TITLES.get(label, label)} | {counts} | {above_words(row)} |")
    lines += ["", "| metric | rank correlation with F | with T |", "|---|---|---|"]
    for name, row in record["correlations"].items():
        cells = [f"{row[side]:+.2f}" if side in row else "" for side in ("F", "T")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def above_words(row: Row) -> str:
    """F above that of the description baseline, with its interval."""
    gap = row["above words"].get("F")
    return "" if gap is None else f"{gap['mean']:+.2f} [{gap['low']:+.2f}, {gap['high']:+.2f}]"


def curve() -> str:
    """Scores of one method by its number of updates."""
    path = ROOT / "results" / "dreambooth_curve.json"
    if not path.exists():
        return "Not measured yet: `python benchmarks/curve.py`."
    record = json.loads(path.read_text(encoding="utf-8"))
    lines = [
        "| updates | F ↑ | T ↑ | H ↑ | identity ↑ | prompt accuracy ↑ | CLIP-T ↑ | copy index ↓ | diagnosis |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {p['steps']} | {p['F']:.2f} | {p['T']:.2f} | {p['H']:.2f} | {p['identity']:.3f} | {p['obeyed']:.3f} | "
        f"{p['clip_t']:.3f} | {p['copy_index']:.2f} | {p['diagnosis']} |"
        for p in record["points"]
    ]
    if record["fingerprint"] != load("pocket", device="cpu").fingerprint:
        lines += ["", EARLIER]
    return "\n".join(lines)


def strength() -> str:
    """Scores of one concept at several strengths."""
    path = ROOT / "results" / "curve.json"
    if not path.exists():
        return "Not measured yet: `limner bench --curve ip_adapter`."
    record = read_results(path)
    return named(table_markdown(record)) + ("" if is_current(record) else f"\n{EARLIER}")


SIX = {
    "dreambooth": 0.5, "lycoris_locon": 0.4, "lora_dreambooth": 0.4, "custom_diffusion": 0.5, "textual_inversion": 0.2,
}  # fmt: skip
"""The least F (share of the gap between base and ceiling) by which the base counts as fit to judge tuning on."""


def six() -> str:
    """Whether tuning works on this base: five ways of tuning on six held-out toys."""
    path = ROOT / "results" / "six.json"
    if not path.exists():
        return "Not measured yet."
    record = read_results(path)
    lines = [
        "| | F ↑ | wanted | F above the description baseline | T ↑ | prompt accuracy ↑ |",
        "|---|---|---|---|---|---|",
    ]
    for label, row in ordered(record["summary"]):
        own = row["numbers"]
        wanted = f"{SIX[label]:.1f} {'met' if own['F']['mean'] >= SIX[label] else 'missed'}" if label in SIX else ""
        cells = [f"{own[k]['mean']:.2f} [{own[k]['low']:.2f}, {own[k]['high']:.2f}]" for k in ("F", "T", "obeyed")]
        name = TITLES.get(label, label)
        lines.append(f"| {name} | {cells[0]} | {wanted} | {above_words(row)} | {cells[1]} | {cells[2]} |")
    return "\n".join(lines) + ("" if is_current(record) else f"\n\n{EARLIER}")


def metric_table() -> str:
    """Every metric: its meaning, the encoder it reads and its source."""
    lines = ["| metric | | reads | better | source |", "|---|---|---|---|---|"]
    for function in metrics().values():
        about = card(function)
        reads = f"{about.encoder}, masked" if about.masked else about.encoder
        lines.append(f"| `{about.id}` | {about.says} | {reads} | {about.better or 'neither'} | {about.source} |")
    return "\n".join(lines)


def scores() -> str:
    """Scores of the pocket base and its judges, with their aims."""
    path = ROOT / "results" / "pocket.json"
    if not path.exists():
        return "Not measured yet."
    record = json.loads(path.read_text(encoding="utf-8"))
    lines = ["| captions | attribute | renders | painted | share | aim |", "|---|---|---|---|---|---|"]
    for name, question in record["questions"].items():
        for field, true in question["renders"].items():
            share, aim = question["share"][field], AIMS.get(field)
            wanted = "" if aim is None else f"{aim:.0%} {'met' if share >= aim else 'missed'}"
            lines.append(
                f"| {name} | {field} | {true:.1%} | {question['painted'][field]:.1%} | {share:.0%} | {wanted} |"
            )
    clip, fid, judges, ceiling = record["clip"], record["fid"], record["judges"], record["ceiling"]
    rows: dict[str, tuple[str, str, bool | None]] = {
        "picture size": (f"{record['size']} px", "128 px", record["size"] >= 128),
        "autoencoder, held-out renders": (
            f"{record['autoencoder']['psnr']:.1f} dB",
            "30 dB",
            record["autoencoder"]["psnr"] >= 30,
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
        "style, one family: same individual nearer than another (AUC); lowest of a family": (
            f"{judges['style_auc']:.4f}; {judges['style_auc_lowest']:.4f}",
            "0.98",
            judges["style_auc"] >= 0.98,
        ),
        "estimated inverse depth, mean error; that of the mean map": (
            f"{judges['depth_error']:.3f}; {judges['depth_error_of_the_mean']:.3f}",
            "",
            None,
        ),
        f"FID over judge features, {fid['pictures']} pictures; between renders": (
            f"{fid['painted']:.1f}; {fid['renders']:.1f}",
            "3 times the floor",
            fid["painted"] <= 3 * fid["renders"],
        ),
        "CLIP-T painted; renders": (f"{fid['clip_t_painted']:.3f}; {fid['clip_t_renders']:.3f}", "", None),
        "base and judges on disk": (f"{record['megabytes']:.1f} MB", "64 MB", record["megabytes"] <= 64),
        "to load, libraries imported": (f"{record['seconds_to_load']:.1f} s", "2 s", record["seconds_to_load"] <= 2),
        "one picture, 25 steps, two cores": (
            f"{record['seconds_a_picture']:.1f} s",
            "1.5 s",
            record["seconds_a_picture"] <= 1.5,
        ),
    }
    verdict = {None: "", True: " met", False: " missed"}
    lines += ["", "| | | aim |", "|---|---|---|"]
    lines += [f"| {name} | {value} | {aim}{verdict[met]} |" for name, (value, aim, met) in rows.items()]
    lines += [] if record.get("fingerprint") == load("pocket", device="cpu").fingerprint else ["", EARLIER]
    return "\n".join(lines)


def kills() -> str:
    """The counts of `make kills`, by command and by signal."""
    path = ROOT / "results" / "kills.json"
    if not path.exists():
        return "Not counted yet."
    record = json.loads(path.read_text(encoding="utf-8"))
    columns = list(record["all"])
    lines = [f"| | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    rows = {**record["by command"], **record["by signal"], "**all**": record["all"]}
    lines += [f"| {name} | {' | '.join(str(row[column]) for column in columns)} |" for name, row in rows.items()]
    return "\n".join(lines)


def table1() -> str:
    """The suite table1 beside the published numbers (results/table1.json); those and their protocols alone where it was
    not run."""
    path = ROOT / "results" / "table1.json"
    if not path.exists():
        return f"Not measured yet: `limner bench --suite table1`, then `make docs`.\n\n{protocol_markdown()}"
    record = read_table1(path)
    older = not all(is_current(part) for part in record["parts"].values())
    return "\n\n".join([table1_markdown(record).rstrip(), source(path), *([EARLIER] if older else [])])


def captions() -> str:
    """The caption of each picture of the sheet, row by row."""
    path = ROOT / "docs" / "images" / "pocket.txt"
    if not path.exists():
        return "Not painted yet."
    return "\n".join(f"{k + 1}. {line}" for k, line in enumerate(path.read_text(encoding="utf-8").splitlines()))


def within(text: str, name: str, value: str) -> str:
    """The text with the part between the two marks replaced."""
    start = START.format(name)
    before, _, rest = text.partition(start)
    if not rest:
        raise SystemExit(f"there is no {start} to write into")
    return f"{before}{start}\n{value}\n{END}{rest.partition(END)[2]}"


def main() -> None:
    """Write, or with `--check` compare, every generated file."""
    if "--pictures" in sys.argv:
        folder = Path(sys.argv[sys.argv.index("--pictures") + 1])
        sheets(folder / "bench")
        for name, _ in suites.measured():
            suites.sheets(name, folder / name)
        if (suites.RESULTS / "faces.json").exists():
            suites.face_sheets(folder / "faces")
        if couples.RESULTS.exists():
            couples.sheets(folder / "couples")
    stale, written = [], pages()
    for path, text in written.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(str(path.relative_to(ROOT)))
            if "--check" not in sys.argv:
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, encoding="utf-8")
    if stale and "--check" in sys.argv:
        raise SystemExit(f"not up to date: {', '.join(stale)}; run `make docs`")
    failed = [str(path.relative_to(ROOT)) for path, text in written.items() if "| FAILED |" in text]
    if failed:
        raise SystemExit(f"a proof FAILED in {', '.join(failed)}; mend it and run `make proofs`")
    print(f"{len(stale)} written" if stale else "up to date")


if __name__ == "__main__":
    main()
