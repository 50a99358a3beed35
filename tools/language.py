"""Hold the language of comments, docstrings, help texts and pages to the rules that a program can check.

python -m tools.language              every folder listed below
python -m tools.language FILE ...     these files, by every rule (to clean a folder before it is listed)

Rules:
    length     a line of a docstring, a comment or a page's prose ends at 120 columns
    opening    no sentence begins with "what", "who", "whose" or "of"
    word       one word per idea: the words of `WORDS` have a better one, named in the message
    name       no variable, argument or function carries a name of `NAMES`
    argument   each argument of a public function that makes a part has a line of its own in the docstring

Folders enter a list when they are clean; nothing is excused by a file of known faults.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent

PARTS = ("src/limner/parts",)
"""Folders of parts whose docstrings explain every argument: rule argument."""

PROSE = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "LOG",
    "docs",
    "examples",
    "benchmarks",
    "training",
    "tools",
    "src/limner/__init__.py",
    "src/limner/errors.py",
    "src/limner/core",
    "src/limner/engine",
    "src/limner/apps",
    "src/limner/pocket",
    "src/limner/evaluation",
    "src/limner/formats",
    "src/limner/bases",
    "src/limner/library",
    "src/limner/data",
    "src/limner/methods",
    "src/limner/workflows",
    *PARTS,
)
"""Files and folders whose prose is clean: rules length, opening and word."""

NAMES_IN = ("docs", "tools", "examples", "benchmarks", "training", "src")
"""Files and folders whose names are clean: rule name."""

GENERATED = ("docs/methods", "docs/api.md")
"""Pages made whole from docstrings: their source is checked in their stead."""

WORDS = {
    r"picture towers?": "image encoder",
    r"text towers?": "text encoder",
    r"text states?": "text-encoder hidden states",
    r"image states?": "image-encoder hidden states",
    r"twins?": "parallel stream",
    r"companions?": "reference stream",
    r"fleets?": "several subjects at once, stacked",
    r"outfits?": "adapter",
    r"(?:wear|wears|wearing|worn|wore)": "attach",
    r"crews?": "stacked trainer",
    r"from nothing": "from scratch",
    r"the truth itself": "ground-truth renders",
    r"obeyed": "prompt accuracy",
    r"told the looks": "description baseline",
    r"drained": "run to its end",
    r"likenesses? (?:kept|taught)": "concept",
}
"""Regular expression -> the word that this repository uses for the idea."""

LITERAL = {
    "src/limner/pocket": ("wear", "outfit", "twin", "companion"),
    "training": ("wear", "outfit"),
    "docs/pocket.md": ("wear", "outfit"),
    "LOG": ("wear",),
    "src/limner/methods/object/infusion.py": ("twin",),  # a setting's name
}
"""Folder -> words with a literal meaning there: toys and people have clothes."""

NAMES = frozenset(["found", "said", "told", "drained", "described", "begun", "kept", "worn", "outfit", "crew", "fleet"])
"""Bare participles and costumes: no name for a value or a function."""

SPACED = {pattern: pattern.replace(" ", r"\s+") for pattern in WORDS}
"""The expressions of `WORDS` with any white space between words."""
ANY_WORD = re.compile("|".join(SPACED.values()), re.IGNORECASE)

OPENINGS = "what|who|whose|of"
LIMIT = 120


@dataclass(frozen=True)
class Fault:
    """One breach of a rule, at a line of a file."""

    path: Path
    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        where = self.path.relative_to(ROOT) if self.path.is_relative_to(ROOT) else self.path
        return f"{where}:{self.line}: {self.rule}: {self.message}"


@dataclass(frozen=True)
class Passage:
    """A piece of prose: its first line in the file, and its text. A blank line inside separates paragraphs."""

    line: int
    text: str
    columns: tuple[int, ...] = ()
    """Width of each of its lines in the file; empty where it cannot be broken, such as a table's cell."""


def main(arguments: list[str] | None = None) -> int:
    """Print every fault; the exit status is 1 where there is one."""
    given = [Path(word).resolve() for word in (sys.argv[1:] if arguments is None else arguments)]
    if given:
        faults = [fault for path in given for fault in faults_of(path, names=True, arguments=True)]
    else:
        faults = list(faults_of_tree())
    for fault in faults:
        print(fault)
    print(f"{len(faults)} faults of language" if faults else "the language is clean")
    return 1 if faults else 0


def faults_of_tree() -> Iterator[Fault]:
    """Every fault in the listed folders."""
    for path in files_in((*PROSE, *NAMES_IN, *PARTS)):
        prose, names, arguments = (is_in(path, listed) for listed in (PROSE, NAMES_IN, PARTS))
        yield from faults_of(path, prose=prose, names=names, arguments=arguments)


def faults_of(path: Path, *, prose: bool = True, names: bool = False, arguments: bool = False) -> Iterator[Fault]:
    """The faults of one file by the rules asked for.

    path: a `.py` or `.md` file
    prose: apply length, opening and word
    names: apply name (Python alone)
    arguments: apply argument (Python alone)
    """
    text = path.read_text(encoding="utf-8")
    passages = list(python_passages(text) if path.suffix == ".py" else page_passages(text))
    if prose:
        for passage in passages:
            yield from long_lines(path, passage)
            yield from openings(path, passage)
            yield from words(path, passage)
    if path.suffix == ".py" and (names or arguments):
        tree = ast.parse(text)
        yield from bad_names(path, tree) if names else ()
        yield from silent_arguments(path, tree) if arguments else ()


def files_in(listed: Iterable[str]) -> list[Path]:
    """The `.py` and `.md` files under the listed names, without generated pages, each once."""
    found_files: dict[Path, None] = {}
    for name in listed:
        start = ROOT / name
        if not start.exists():
            raise SystemExit(f"tools/language.py lists {name}, which is not there")
        paths = [start] if start.is_file() else sorted(start.rglob("*"))
        found_files |= {p: None for p in paths if p.suffix in (".py", ".md") and not is_in(p, GENERATED)}
    return list(found_files)


def is_in(path: Path, listed: Iterable[str]) -> bool:
    """Whether the file is one of the listed files or lies in a listed folder."""
    return any(path == ROOT / name or path.is_relative_to(ROOT / name) for name in listed)


# -- passages --


def python_passages(text: str) -> Iterator[Passage]:
    """Comments, docstrings (of modules, classes, functions and attributes) and help texts of a Python file."""
    yield from comments(text)
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            source = lines[node.lineno - 1 : node.end_lineno]
            yield Passage(node.lineno, without_quotes("\n".join(source)), widths(source))
        if isinstance(node, ast.keyword) and node.arg in ("help", "description", "epilog"):
            value = node.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield Passage(value.lineno, value.value)


def without_quotes(source: str) -> str:
    """A docstring's source with its quotes taken for spaces, so that columns stay."""
    return re.sub(r'^(\s*)[rR]?"""|"""(\s*)$', lambda m: m.group(1) or "", source)


def comments(text: str) -> Iterator[Passage]:
    """Comments, those on neighbouring lines of one column as one passage."""
    lines = text.splitlines()
    block: list[str] = []
    start = column = -1
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT or re.match(r"#\s*(type:|noqa|fmt:|!|ruff)", token.string):
            continue
        if block and token.start != (start + len(block), column):
            yield Passage(start, "\n".join(block), widths(lines[start - 1 : start - 1 + len(block)]))
            block = []
        if not block:
            start, column = token.start
        block.append(token.string.lstrip("#"))
    if block:
        yield Passage(start, "\n".join(block), widths(lines[start - 1 : start - 1 + len(block)]))


def widths(lines: Iterable[str]) -> tuple[int, ...]:
    """The width of each line; 0 for a picture's and for a single word, which cannot be broken."""
    return tuple(0 if re.match(r"!\[|\S+$", line.strip()) else len(line.rstrip()) for line in lines)


def page_passages(text: str) -> Iterator[Passage]:
    """The prose of a Markdown page: paragraphs, list items, headings and table cells, without code and generated
    parts."""
    fenced = generated = False
    paragraph: list[str] = []
    start = 0
    for number, line in enumerate([*text.splitlines(), ""], 1):
        fenced ^= line.lstrip().startswith("```")
        generated = (generated or line.startswith("<!-- generated")) and not line.startswith("<!-- end")
        is_item = re.match(r"\s*([*+-]|\d+\.)\s|#|\||!\[|<", line)
        is_prose = line.strip() and not fenced and not generated and not (line.startswith("    ") and not paragraph)
        if paragraph and (not is_prose or is_item):
            yield Passage(start, "\n".join(paragraph), widths(paragraph))
            paragraph = []
        if is_prose and line.lstrip().startswith("|"):
            for cell in line.strip().strip("|").split("|"):
                yield Passage(number, cell.strip())
        elif is_prose and not line.startswith(("```", "<!--")):
            start = start if paragraph else number
            paragraph.append(line)


# -- rules --


def long_lines(path: Path, passage: Passage) -> Iterator[Fault]:
    """Lines of prose that go on past the last column."""
    for k, width in enumerate(passage.columns):
        if width > LIMIT:
            yield Fault(path, passage.line + k, "length", f"{width} columns; end at {LIMIT}")


def openings(path: Path, passage: Passage) -> Iterator[Fault]:
    """Sentences that begin with a word of `OPENINGS`: at the start of a paragraph or item, or after a full stop."""
    first = re.compile(rf"(?:\A|\n\s*\n)[\s#*>+\-\d.`_|\[]*({OPENINGS})\b(?![-`(=:])", re.IGNORECASE)
    later = re.compile(rf"[.!?:;][)*\"”]*\s+[*_]*({OPENINGS})\b(?![-`(=:])", re.IGNORECASE)
    at_position: dict[int, re.Match[str]] = {}
    for match in [*first.finditer(passage.text), *later.finditer(passage.text)]:
        at_position.setdefault(match.start(1), match)
    for match in at_position.values():
        word, before = match.group(1), passage.text[match.start() : match.start(1)]
        if before[:1] in (":", ";") and word.islower():
            continue  # a clause, not a sentence
        if before[:1] == "." and word.islower():
            continue  # an abbreviation
        line = passage.line + passage.text.count("\n", 0, match.start(1))
        yield Fault(path, line, "opening", f"a sentence begins with {word!r}; begin with its subject")


def words(path: Path, passage: Passage) -> Iterator[Fault]:
    """Words that have a better one; code in backquotes is let through, since names are no prose."""
    prose = re.sub(r"`[^`]*`", lambda m: re.sub(r"\S", " ", m.group()), passage.text)
    if not ANY_WORD.search(prose):  # most passages have none: one search in place of one for each word
        return
    literal = [word for name, known in LITERAL.items() if is_in(path, (name,)) for word in known]
    for pattern, better in WORDS.items():
        if any(word in pattern for word in literal):
            continue
        for match in re.finditer(rf"(?<![\w./-]){SPACED[pattern]}(?![\w/(]|\.\w)", prose, re.IGNORECASE):
            line = passage.line + prose.count("\n", 0, match.start())
            yield Fault(path, line, "word", f"{match.group()!r}: say {better!r}")


def bad_names(path: Path, tree: ast.AST) -> Iterator[Fault]:
    """Variables, arguments and functions with a name of `NAMES`."""
    for node in ast.walk(tree):
        name = None
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            name = node.id
        elif isinstance(node, ast.arg):
            name = node.arg
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            name = node.name
        if name in NAMES:
            yield Fault(path, getattr(node, "lineno", 1), "name", f"{name!r} is no name: say the noun or the verb")


def silent_arguments(path: Path, tree: ast.Module) -> Iterator[Fault]:
    """Arguments of public module-level functions without a line `name: ...` in the docstring."""
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
            continue
        text = ast.get_docstring(node) or ""
        arguments = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        explained = {name for line in re.findall(r"^\s*([\w, ]+):\s", text, re.MULTILINE) for name in line.split(", ")}
        for name in arguments:
            if name not in explained and len(arguments) > 1:
                yield Fault(path, node.lineno, "argument", f"{node.name}: no line explains {name!r}")


if __name__ == "__main__":
    raise SystemExit(main())
