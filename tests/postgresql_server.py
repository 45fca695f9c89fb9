"""A PostgreSQL server of a test's own: a private cluster on a loopback port."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

BINARIES = next((path.parent for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))[-1:]), None)
if BINARIES is None and (found := shutil.which("initdb")):
    BINARIES = Path(found).resolve().parent


def serve(folder: Path) -> Iterator[str]:
    """Serve from `folder` until the iterator is closed; the URL of a database, in the form of the documentation."""
    user = "nobody" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
    if user:
        shutil.chown(folder, user)
    (folder / "password").write_text("secret")
    (folder / "password").chmod(0o644)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def run(program: str, *arguments: str) -> None:
        command = [str((BINARIES or Path()) / program), *arguments]
        environment = {**os.environ, "PGPASSWORD": "secret", "HOME": str(folder)}
        subprocess.run(command, check=True, user=user, cwd=folder, env=environment, stdout=subprocess.DEVNULL)

    data = str(folder / "data")
    run("initdb", "-D", data, "-U", "dagster", "-A", "scram-sha-256", "--pwfile", str(folder / "password"), "-N")
    run("pg_ctl", "start", "-w", "-D", data, "-l", str(folder / "log"), "-o", f"-h 127.0.0.1 -p {port} -k {folder} -F")
    try:
        run("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "dagster", "runs")
        yield f"postgresql+psycopg2://dagster:secret@127.0.0.1:{port}/runs"
    finally:
        run("pg_ctl", "stop", "-w", "-D", data, "-m", "immediate")
