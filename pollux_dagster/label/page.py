"""The page, made of its template, the report's style and its own, and a script; it loads nothing else."""

from __future__ import annotations

import base64
import hashlib
import tomllib
from functools import cache
from importlib import resources

import jinja2
import orjson
from markupsafe import Markup


@cache
def page() -> tuple[bytes, str]:
    """The HTML and its Content-Security-Policy. No text from outside is in it: the script asks for those as JSON."""
    texts = tomllib.loads(_file("label.texts.toml"))
    said = orjson.dumps(texts.pop("script")).decode().replace("<", "\\u003c")
    style = _file("page.css", "pollux_dagster.page") + _file("label.css")
    script = _file("label.js")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    html = environment.from_string(_file("label.html.j2")).render(
        texts=texts, style=Markup(style), script=Markup(script), said=Markup(said)
    )
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return html.encode(), policy


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _file(name: str, package: str = "pollux_dagster.label") -> str:
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")
