"""The API's documentation as a page, drawn by the server from its OpenAPI description: no script, nothing from
elsewhere."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Request
from jinja2 import Environment
from starlette.responses import HTMLResponse, Response

router = APIRouter(include_in_schema=False)
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>limner: API</title><link rel="stylesheet" href="/api/docs.css"><link rel="icon" href="/static/icon.svg" type="image/svg+xml"></head><body>
<main><p><a href="/">Back to the studio</a></p><h1>The API of limner {{ version }}</h1>
<p>The same as a file: <a href="/openapi.json">openapi.json</a>. Programs log in by the header
<code>Authorization: Bearer limner_…</code> where the server asks for a login. Every POST takes the header
<code>Idempotency-Key</code>: the same request with the same key is done once. Errors are
<code>{"error": {"message", "type", "param", "code"}}</code>.</p>
<nav><ul>{% for tag in groups %}<li><a href="#{{ tag|replace(' ', '-') }}">{{ tag }}</a></li>{% endfor %}</ul></nav>
{% for tag, routes in groups.items() %}<section id="{{ tag|replace(' ', '-') }}"><h2>{{ tag }}</h2>
{% for route in routes %}<details><summary><b>{{ route.method }}</b> <code>{{ route.path }}</code>
<span>{{ route.summary }}</span></summary>
{% if route.text %}<p>{{ route.text }}</p>{% endif %}
{% if route.fields %}<table><tr><th>field</th><th>in</th><th>type</th><th></th></tr>
{% for field in route.fields %}<tr><td><code>{{ field.name }}</code>{% if field.required %} *{% endif %}</td>
<td>{{ field.where }}</td><td>{{ field.type }}</td><td>{{ field.text }}</td></tr>{% endfor %}</table>{% endif %}
</details>{% endfor %}</section>{% endfor %}</main></body></html>"""
STYLE = """
:root { color-scheme: light dark; } body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 1rem auto;
padding: 0 1rem; } details { border-top: 1px solid #8885; padding: .3rem 0; } summary { cursor: pointer; }
summary span { opacity: .7; } table { border-collapse: collapse; width: 100%; } td, th { text-align: left;
padding: .2rem .6rem .2rem 0; vertical-align: top; overflow-wrap: anywhere; }
code { overflow-wrap: anywhere; } nav a { display: inline-block; padding: .2rem 0; }
"""


@router.get("/api/docs")
def show_docs(request: Request) -> Response:
    """The documentation of every route."""
    description = request.app.openapi()
    page = Environment(autoescape=True).from_string(PAGE)
    version = description["info"]["version"]
    return HTMLResponse(page.render(groups=groups_of(description), version=version))


@router.get("/api/docs.css")
def show_style() -> Response:
    return Response(STYLE, media_type="text/css")


def groups_of(description: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Routes by tag, from an OpenAPI description."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, methods in description["paths"].items():
        for method, about in methods.items():
            fields = [_parameter(each) for each in about.get("parameters", ())] + _body(about, description)
            text = about.get("description", "")
            first, _, rest = text.partition(". ")
            route = {
                "method": method.upper(),
                "path": path,
                "summary": first.rstrip("."),
                "text": rest,
                "fields": fields,
            }
            groups.setdefault(next(iter(about.get("tags", ())), "other"), []).append(route)
    return groups


def _parameter(about: dict[str, Any]) -> dict[str, Any]:
    schema = about.get("schema", {})
    text = about.get("description", "") or _default(schema)
    required = about.get("required", False)
    return {"name": about["name"], "where": about["in"], "type": _type(schema), "text": text, "required": required}


def _body(about: dict[str, Any], description: dict[str, Any]) -> list[dict[str, Any]]:
    """The fields of a route's body, JSON or a form."""
    rows = []
    for kind, content in about.get("requestBody", {}).get("content", {}).items():
        schema = content.get("schema", {})
        schema = description["components"]["schemas"].get(schema.get("$ref", "").rpartition("/")[2], schema)
        where = "form" if kind.startswith("multipart") else "body"
        for name, field in schema.get("properties", {}).items():
            text = field.get("description", "") or _default(field)
            required = name in schema.get("required", ())
            rows.append({"name": name, "where": where, "type": _type(field), "text": text, "required": required})
    return rows


def _default(schema: dict[str, Any]) -> str:
    return f"default: {json.dumps(schema['default'])}" if schema.get("default") not in (None, "") else ""


def _type(schema: dict[str, Any]) -> str:
    """The type of a field in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(_type(each) for each in schema["anyOf"] if each.get("type") != "null"))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if schema.get("format") == "binary":
        return "file"
    return str(schema.get("type", schema.get("const", "any")))
