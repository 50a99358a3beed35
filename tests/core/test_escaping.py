"""Text that leaves for another language stays text there."""

from __future__ import annotations

import ast
import html
import html.parser
import json
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from PIL import Image

from limner.core.escaping import html as make_html
from limner.core.escaping import (
    html_page,
    html_table,
    join_html,
    markdown_code,
    markdown_text,
    python_literal,
    shell_word,
    terminal_text,
    yaml_value,
)
from limner.core.picture import Picture, Pictures, html_image
from limner.core.subject import Reference, Subject

ROOT = Path(__file__).parent.parent.parent
FILES = [*sorted((ROOT / "src" / "limner").rglob("*.py")), ROOT / "docs" / "generate.py"]
EVIL = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "a | b | c",
    "`rm -rf`",
    "```\nimport os",
    "[click](https://example.com) www.example.com me@example.com",
    "# title\n---\nlicense: mit",
    "$(reboot) %PATH% !! \\",
    'x")\nimport os  # "',
    "\x1b[31mred\x1b[0m \x85 \u2028 \u202e",
    "_it_ *bold* ~~gone~~ {x}",
    "plain",
)
TAGS = (
    "a|b|p|i|u|h[1-6]|li|ul|ol|td|th|tr|table|div|span|img|pre|code|html|head|body|meta|title|style|script|link|small|br|hr|figure|"
    "figcaption|details|summary|svg|path|line|text|circle|g|polyline|rect|form|input|button|label|section|video|audio"
)
TAG = re.compile(rf"</?(?:{TAGS})(?:[\s/>]|$)")


class Reader(html.parser.HTMLParser):
    """The tags, attributes and text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def read(text: str) -> Reader:
    found = Reader()
    found.feed(text)
    found.close()
    return found


# ---------------------------------------------------------------------------------------------------------- the helpers


@pytest.mark.parametrize("evil", EVIL)
def test_html_holds_a_value_as_text_and_within_an_attribute(evil: str) -> None:
    found = read(make_html('<p title="{}">{}</p>', evil, evil))
    assert found.tags == ["p"]
    assert found.attributes == [("title", evil)]
    assert found.text == evil
    assert read(html_table((evil,), [(evil,)])).text == evil * 2
    assert read(html_page(evil, "p { color: red }", [make_html("<p>{}</p>", evil)])).tags == ["html", "meta", "meta", "title", "style", "p"]  # fmt: skip
    assert read(join_html([evil, make_html("<b>{}</b>", 1)])).tags == ["b"]


@pytest.mark.parametrize("evil", EVIL)
def test_markdown_text_makes_neither_tag_link_cell_nor_line(evil: str) -> None:
    text = markdown_text(evil)
    assert "\n" not in text
    assert "<" not in text
    assert not re.search(r"(?<!\\)(?:\\\\)*[|`\[\]]", text)
    assert "://" not in text
    assert not re.search(r"www\.|@", text)
    plain = re.sub(r"\\([\\`*{}\[\]#|~!_])", r"\1", text)
    assert html.unescape(plain) == " ".join(evil.split())


@pytest.mark.parametrize("evil", EVIL)
def test_markdown_code_ends_where_it_should(evil: str) -> None:
    text = markdown_code(evil)
    fence = re.match("`+", text)
    assert fence
    inner = text[len(fence[0]) : -len(fence[0])]
    assert fence[0] not in re.findall("`+", inner)
    assert inner.strip() == " ".join(evil.split())


@pytest.mark.parametrize("evil", [*EVIL, "tom's", '"', "", "a\ud800b"])
def test_yaml_python_and_a_shell_read_the_value_back(evil: str) -> None:
    assert "\n" not in yaml_value(evil)
    if "\ud800" not in evil:
        assert yaml.safe_load(f"key: {yaml_value(evil)}\n") == {"key": evil}
        assert subprocess.run(["sh", "-c", f"printf %s {shell_word(evil)}"], capture_output=True, check=True).stdout.decode() == evil  # fmt: skip
    assert "\n" not in python_literal(evil)
    assert ast.literal_eval(python_literal(evil)) == evil


def test_a_prompt_is_quoted_as_windows_reads_it_too() -> None:
    assert shell_word("<rex> on the beach") == '"<rex> on the beach"'
    assert shell_word("rex.safetensors") == "rex.safetensors"


def test_a_terminal_gets_no_control_characters() -> None:
    assert terminal_text("\x1b[31mred\tx\ny\r\u202e") == "\\x1b[31mred\tx\ny\\r\\u202e"


# -------------------------------------------------------------------------------------------------- where they are used


def test_captions_in_a_notebook_are_text() -> None:
    image = Image.new("RGB", (8, 8))
    pictures = Pictures([Picture(image, '<rex> & "<script>x</script>', 0, (), "pocket", {})])
    found = read(pictures._repr_html_())
    assert found.tags == ["figure", "img", "figcaption"]
    assert found.text == '<rex> & "<script>x</script>'
    subject = Subject("<rex>", "<b>dog", (Reference("1.png", "0", image),))
    assert read(subject._repr_html_()).tags == ["div", "b", "br", "img"]
    shown = read(html_image(image, title='"><script>')).attributes
    assert ("title", '"><script>') in shown
    assert ("alt", '"><script>') in shown


def test_a_page_shows_names_of_files_and_headers_as_text(tmp_path: Path) -> None:
    from limner.core.concept import Concept
    from limner.workflows.page import write_page

    evil = '"><script>alert(1)</script>'
    image = Image.new("RGB", (8, 8))
    concept = Concept(
        "<rex>",
        evil,
        {evil: evil},
        {"name": evil, "family": "x", "fingerprint": evil},
        {},
        0,
        {},
        versions={evil: evil},
    )
    subject = Subject("<rex>", evil, (Reference(f"{evil}.png", "0", image),))
    pictures = [Picture(image, evil, 0, (), "pocket", {evil: evil})]
    text = write_page(tmp_path / "a.html", concept, subject=subject, pictures=pictures).read_text(encoding="utf-8")
    found = read(text)
    assert "script" not in found.tags
    assert found.text.count(evil) == 11
    assert ("title", f"{evil}.png") in found.attributes


@pytest.fixture
def results() -> dict[str, Any]:
    number = {"mean": 0.5, "low": 0.4, "high": 0.6, "subjects": 1}
    evil = "a | <script>x</script> [b](c)"
    row = {
        "method": "dreambooth",
        "numbers": dict.fromkeys("HFT", number),
        "cost": {"seconds": 1.0, "bytes": 1000.0},
        "above words": {"F": number, "H": number},
        "diagnoses": {},
    }
    return {
        "summary": {evil: row},
        "set": {"name": evil},
        "plan": {"prompts": 1, "seeds": [0], "base": evil},
        "units": [{"label": evil, "case": evil, "metrics": {"clip_i": {"gap": evil}}}],
        "seconds": 60.0,
        "versions": {evil: evil},
        "correlations": {evil: {"F": 0.5}},
    }


def test_a_bench_report_shows_labels_as_text(results: dict[str, Any]) -> None:
    from limner.evaluation.report import page, table_markdown

    assert "script" not in read(page(results)).tags
    row = table_markdown(results).splitlines()[2]
    assert row.startswith(r"| a \| &lt;script&gt;x&lt;/script&gt; \[b\](c) |")
    assert len(re.findall(r"(?<!\\)\|", row)) == 10


@pytest.mark.parametrize("evil", EVIL)
def test_a_model_card_holds_a_header_as_text(evil: str) -> None:
    from limner.core.concept import Concept
    from limner.workflows.publish import model_card

    concept = Concept(
        f"<{evil}>", evil, {}, {"name": evil, "family": "x", "fingerprint": ""}, {"noun": evil, "pictures": []}, 0,
        {"low_rank.x.down": None}, scores={evil: evil},  # type: ignore[dict-item]  # its values are not looked at
    )  # fmt: skip
    base: Any = SimpleNamespace(family="stable_diffusion")
    card = model_card(
        concept, base, trigger=evil, gallery=[("images/0.png", evil)], files=[Path("rex.safetensors")], licence=evil
    )
    _, front, rest = card.split("---\n", 2)
    about = yaml.safe_load(front)
    assert about["license"] == evil
    assert about["instance_prompt"] == evil
    assert about["widget"] == [{"text": evil, "output": {"url": "images/0.png"}}]
    fences = re.findall(r"(?m)^```(\w*)$", rest)
    assert fences == ["python", "", "sh", ""]
    python = rest.split("```python\n")[1].split("\n```\n")[0]
    tree = ast.parse(python)
    assert [type(node).__name__ for node in tree.body] == ["ImportFrom", "Assign", "Expr", "Expr"]
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert {evil, f"{evil} on the beach"} <= texts
    prose = rest.split("```python\n")[0]
    assert set(re.findall(r"<[^>`]*>", re.sub(r"(`+)[^`].*?(?<!`)\1(?!`)", "", prose))) <= {"<Gallery />"}
    assert prose.count("\n#") == 4


# ----------------------------------------------------------------------------------------------- held over all the code


def html_in_f_strings(tree: ast.Module) -> list[int]:
    """Lines of f-strings that write a tag."""
    strings = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    return [
        node.lineno
        for node in strings
        if any(isinstance(part, ast.Constant) and TAG.search(str(part.value)) for part in node.values)
    ]


def templates_that_are_made(tree: ast.Module) -> list[int]:
    """Lines that call `html` with a template which is not written in the code."""
    literal = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    calls = [
        n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == "html"
    ]
    return [
        call.lineno
        for call in calls
        if not (isinstance(call.args[0], ast.Constant) or getattr(call.args[0], "id", "") in literal)
    ]


def test_the_checks_of_the_code_see_what_they_look_for() -> None:
    assert html_in_f_strings(ast.parse("f'<b>{x}</b>'")) == [1]
    assert html_in_f_strings(ast.parse("f'<{x}> and <rex>, 1<{x}'")) == []
    assert templates_that_are_made(ast.parse("html(x)")) == [1]
    assert templates_that_are_made(ast.parse("y = '<b>{}</b>'\nhtml(y, 1)")) == []


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_html_is_made_by_html_alone(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not html_in_f_strings(tree), "write HTML with limner.core.escaping.html, which escapes its values"
    assert not templates_that_are_made(tree), "a template of HTML is written in the code"
    if path.name != "escaping.py":
        marked = [
            n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "Markup" and n.args
        ]
        assert not [n.lineno for n in marked], "only limner.core.escaping says of text that it is HTML"
        names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom) for a in n.names}
        assert not names & {"shlex", "markupsafe"}, "text is escaped by limner.core.escaping"


def texts_without_an_encoding(tree: ast.Module) -> list[int]:
    """Lines that read or write text in whatever encoding the system has."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        owner = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""
        words = {word.arg for word in node.keywords}
        if ast.unparse(node).startswith("functools.partial(Path.write_text"):
            name, owner = "write_text", "Path"
        if name in ("read_text", "write_text") and owner and "encoding" not in words:
            found.append(node.lineno)
        if (
            name == "open"
            and owner not in ("Image", "tarfile", "webbrowser", "os", "zipfile", "_OPENER")
            and "encoding" not in words
        ):
            modes = [a.value for a in (*node.args, *(w.value for w in node.keywords)) if isinstance(a, ast.Constant)]
            if not any(isinstance(mode, str) and "b" in mode and len(mode) < 4 for mode in modes):
                found.append(node.lineno)
    return found


def test_the_check_of_encodings_sees_what_it_looks_for() -> None:
    for bad in (
        "p.read_text()",
        "p.write_text(x)",
        "open(p)",
        "p.open('a')",
        "functools.partial(Path.write_text, data=1)",
    ):
        assert texts_without_an_encoding(ast.parse(bad)) == [1], bad
    for good in ("p.read_text(encoding='utf-8')", "open(p, 'rb')", "Image.open(p)", "p.open('w', encoding='utf-8')"):
        assert texts_without_an_encoding(ast.parse(good)) == [], good


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_text_is_read_and_written_as_utf_8(path: Path) -> None:
    assert not texts_without_an_encoding(ast.parse(path.read_text(encoding="utf-8"))), "say encoding='utf-8'"


def test_json_stays_json() -> None:
    assert json.loads(yaml_value({"a": [1, "b"]})) == {"a": [1, "b"]}
