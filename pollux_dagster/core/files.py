"""Atomic and durable file writes, readable by their owner only."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def write_private(path: Path, content: str | bytes) -> None:
    """Write or replace a file (mode 0600), text as UTF-8; a reader sees either the old content or the new."""
    data = content.encode() if isinstance(content, str) else content
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(data)
        put_in_place(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def put_in_place(draft: Path, target: Path) -> None:
    """Rename a finished draft over `target` on the same file system, flushing file and folder to disk."""
    draft.chmod(0o600)
    sync_to_disk(draft)
    draft.replace(target)
    sync_to_disk(target.parent)


def sync_to_disk(path: Path) -> None:
    """Flush a file's content, or a folder's list of names, to disk, so that it survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
