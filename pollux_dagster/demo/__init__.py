"""The files of the demonstration, all made for this project: instructions, answers, and a small judge."""

import hashlib
import shutil
import tempfile
from pathlib import Path

LANDING = Path(__file__).parent / "data"


# Its null answers were judged as empty ones; now they are none, and so many of them stop a publication.
_REPLACED = {
    "answers/demo-iva-broken/answers.json": "e729da3dfaccc4fcecccf4d402cb8bf1a23ac8b5409443a78fda90ebb7ed78a2",
}


def unpack(folder: Path) -> Path:
    """Copy the packaged landing folder to `folder`, unless that exists already; returns `folder`.

    A copy, so that files dropped into a demonstration's landing folder never end up in the package. In an existing
    copy, a file of an earlier version that nobody has changed is replaced where it can no longer be published.
    """
    for name, earlier in _REPLACED.items():
        copy = folder / name
        if copy.is_file() and hashlib.sha256(copy.read_bytes()).hexdigest() == earlier:
            draft = shutil.copyfile(LANDING / name, copy.with_name(f".{copy.name}"))
            draft.replace(copy)
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(prefix=".landing-", dir=folder.parent) as scratch:
            copied = Path(scratch) / folder.name
            shutil.copytree(LANDING, copied, copy_function=shutil.copyfile)
            copied.rename(folder)
    return folder
