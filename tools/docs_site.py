"""Hooks of `make docs`: the README is the first page, links out of `docs/` become the names of files, and the name of a
file behind the language of a code block becomes its title.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?://|#)([^)\s]+)\)")
_NAMED_BLOCK = re.compile(r"^```(\w+) (\S+)$", re.MULTILINE)
_IN_DOCS = re.compile(r"(\]\()docs/")


def on_files(files: Any, config: Any) -> Any:
    """Add the README, whose links begin with `docs/`, as index.md."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, "index.md", content=first_page((ROOT / "README.md").read_text())))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """The page as the site's Markdown reads it."""
    titled = _NAMED_BLOCK.sub(r'```\1 title="\2"', markdown)
    return without_outside(titled, Path(page.file.src_uri).parent)


def first_page(readme: str) -> str:
    """The README with links as seen from `docs/`."""
    return _LINK.sub(_from_docs, _IN_DOCS.sub(r"\1", readme))


def _from_docs(link: re.Match[str]) -> str:
    text, target = link.groups()
    inside = (ROOT / "docs" / target.partition("#")[0]).exists()
    return link[0] if inside else f"[{text}](../{target})"


def without_outside(markdown: str, folder: Path) -> str:
    """A link that leads out of `docs/` becomes its text and the file's name; `folder` is the page's, within `docs/`."""

    def plain(link: re.Match[str]) -> str:
        text, target = link.groups()
        path = (ROOT / "docs" / folder / target.partition("#")[0]).resolve()
        if path.is_relative_to(ROOT / "docs"):
            return link[0]
        return f"{text} (`{path.relative_to(ROOT)}`)"

    return _LINK.sub(plain, markdown)
