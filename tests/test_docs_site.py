"""The site of `make docs` has every page, and its pages lead nowhere that it is not."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tools.docs_site import first_page, without_outside

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


class _Loader(yaml.SafeLoader):
    """Knows the tag by which mkdocs.yml names a function, and calls none."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)


def _pages(entries: list[object]) -> list[str]:
    found = []
    for entry in entries:
        for value in entry.values() if isinstance(entry, dict) else [entry]:
            found += _pages(value) if isinstance(value, list) else [str(value)]
    return found


def test_the_navigation_has_every_page_once() -> None:
    site = yaml.load((ROOT / "mkdocs.yml").read_text(), _Loader)
    pages = sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))
    assert sorted(_pages(site["nav"])) == sorted(["index.md", *pages])


def test_the_api_reference_names_modules_that_exist() -> None:
    modules = re.findall(r"^::: (\S+)$", (DOCS / "reference" / "api.md").read_text(), re.MULTILINE)
    assert modules
    for module in modules:
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__init__.py").exists(), module


def test_the_first_page_is_the_readme_with_links_as_seen_from_docs() -> None:
    page = without_outside(first_page((ROOT / "README.md").read_text()), Path())
    for target in re.findall(r"\]\((?!https?://)([^)#\s]+)", page):
        assert (DOCS / target).exists(), target
    assert "CONTRIBUTING.md (`CONTRIBUTING.md`)" in page
    assert "(docs/" not in page


def test_a_link_out_of_the_folder_is_the_name_of_its_file() -> None:
    text = "See [the example](../../examples/README.md#run), [here](people.md) and [there](https://example.org)."
    assert without_outside(text, Path("formats")) == (
        "See the example (`examples/README.md`), [here](people.md) and [there](https://example.org)."
    )


@pytest.mark.slow
def test_the_site_is_built_and_every_link_of_it_leads_to_a_heading() -> None:
    """`--strict` fails for a link without a page or heading, and for a docstring that cannot be read."""
    ran = subprocess.run(["make", "docs"], cwd=ROOT, capture_output=True, text=True, check=False)
    if ran.returncode and "No matching distribution" in ran.stderr:
        pytest.skip("the packages of requirements/docs.lock cannot be installed here")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    site = ROOT / "build" / "site"
    assert {"index.html", "tutorial.html"} <= {path.name for path in site.iterdir()}
    assert {"tables.html", "api.html"} <= {path.name for path in (site / "reference").iterdir()}
    for page in set(site.rglob("*.html")) - {site / "404.html"}:  # whose links begin at the root of a server
        text = page.read_text()
        assert not re.findall(r'<(?:script|img)[^>]* src="https?://', text), page
        for target in re.findall(r'<a [^>]*href="(?!https?://|mailto:|#)([^"#?]+)', text):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
