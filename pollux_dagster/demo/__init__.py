"""What the demonstration needs, all made for this project: instructions, answers, and a small judge."""

import shutil
import tempfile
from pathlib import Path

LANDING = Path(__file__).parent / "data"
JUDGE = Path(__file__).parent / "judge"


def unpack(folder: Path) -> Path:
    """Copy the packaged landing folder to `folder`, unless that is there already; returns `folder`.

    What somebody drops into a demonstration must not land in the package.
    """
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(prefix=".landing-", dir=folder.parent) as scratch:
            copied = Path(scratch) / folder.name
            shutil.copytree(LANDING, copied, copy_function=shutil.copyfile)
            copied.rename(folder)
    return folder
