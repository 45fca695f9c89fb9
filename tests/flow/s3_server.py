"""An S3 server on this machine: moto, in an environment of its own that is made once, since nothing else needs it."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pollux_dagster.judge.server.engine import free_port

FOLDER = Path(__file__).parents[2] / ".venv-s3"
MOTO = "moto[s3,server]==5.2.5"


@contextmanager
def serve(folder: Path) -> Iterator[tuple[str, Mapping[str, str]]]:
    """A bucket's address, and the variables with which it is reached; the server's log is in `folder`."""
    _install()
    folder.mkdir(parents=True)
    port = free_port()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [str(FOLDER / "bin" / "moto_server"), "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log
        )
        try:
            endpoint = f"http://127.0.0.1:{port}"
            while not _answers(f"{endpoint}/bucket"):
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.2)
            yield (
                "s3://bucket/judging",
                {
                    "AWS_ENDPOINT": endpoint,
                    "AWS_ALLOW_HTTP": "true",
                    "AWS_ACCESS_KEY_ID": "key",
                    "AWS_SECRET_ACCESS_KEY": "secret",
                    "AWS_REGION": "us-east-1",
                },
            )
        finally:
            process.kill()
            process.wait()


def _install() -> None:
    if (FOLDER / "installed").exists():
        return
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(FOLDER)], check=True)
    pip = [str(FOLDER / "bin" / "python"), "-m", "pip", "install", "-qqq", "--disable-pip-version-check"]
    subprocess.run([*pip, MOTO], check=True)
    (FOLDER / "installed").touch()


def _answers(bucket: str) -> bool:
    try:
        with urllib.request.urlopen(urllib.request.Request(bucket, method="PUT"), timeout=5):
            return True
    except OSError:
        return False
