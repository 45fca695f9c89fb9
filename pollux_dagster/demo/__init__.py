"""The files of the demonstration, all made for this project: instructions, answers, and a small judge."""

import shutil
import tempfile
from pathlib import Path

LANDING = Path(__file__).parent / "data"


def unpack(folder: Path) -> Path:
    """Copy the packaged landing folder to `folder`, unless that exists already; returns `folder`.

    A copy, so that files dropped into a demonstration's landing folder never end up in the package.
    """
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(prefix=".landing-", dir=folder.parent) as scratch:
            copied = Path(scratch) / folder.name
            shutil.copytree(LANDING, copied, copy_function=shutil.copyfile)
            copied.rename(folder)
    return folder
