"""The picture of the report in the README: `python -m tools.report_picture REPORT [FILE]`.

REPORT is the report.html of `make demo` with the judge in bfloat16, as on a processor with AVX-512: its numbers are the
README's. FILE is docs/report.png by default. Needs Debian's Chromium.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from tests.page.chromium import browser

WIDTH = 1100
COLOURS = 64


def take(report: Path, target: Path) -> None:
    """A PNG from the report's head to the end of its leaderboard, in few colours."""
    with TemporaryDirectory() as scratch, browser(Path(scratch, "profile")) as tab:
        whole = Path(scratch, "page.png")
        tab.open(report, width=WIDTH, language="en-GB")
        bottom = tab.run("document.querySelector('table').getBoundingClientRect().bottom + scrollY")
        tab.picture(whole)
        picture = io.BytesIO()
        with Image.open(whole) as page:
            head = page.convert("RGB").crop((0, 0, page.width, round(bottom) + 4))
            head.quantize(COLOURS).save(picture, "PNG", optimize=True)
    target.write_bytes(picture.getvalue())


if __name__ == "__main__":
    take(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "docs/report.png"))
