"""Opens a file in Debian's Chromium without a window and talks to it by the DevTools protocol."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

PATIENCE_S = 120
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")


class Tab:
    """One tab. `complaints` and `requested` are of the file that is open."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._sent = 0
        self._seen: list[dict[str, Any]] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._sent += 1
        self._connection.send(json.dumps({"id": self._sent, "method": method, "params": parameters}))
        while True:
            told = json.loads(self._connection.recv(timeout=PATIENCE_S))
            if told.get("id") == self._sent:
                assert "error" not in told, told
                return dict(told["result"])
            self._seen.append(told)

    def run(self, script: str) -> Any:
        """The value of an expression, awaited."""
        told = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def open(self, file: Path, *, width: int, language: str, dark: bool = False) -> None:
        """Show the file and wait until its answers can be browsed."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self.call("Emulation.setUserAgentOverride", userAgent="test", acceptLanguage=language)
        self._seen.clear()
        self.call("Page.navigate", url=file.absolute().as_uri())
        self.until("document.documentElement && 'ready' in document.documentElement.dataset")

    def until(self, condition: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not self.run(condition):
            assert time.monotonic() < end, f"never true: {condition}"
            time.sleep(0.05)

    def picture(self, file: Path) -> None:
        """A PNG of the whole page."""
        width, height = self.run("[document.documentElement.clientWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        taken = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        file.write_bytes(base64.b64decode(taken["data"]))

    @property
    def complaints(self) -> list[dict[str, Any]]:
        """Errors, refusals of the browser, dialogs, and whatever the page wrote to its console."""
        kinds = {
            "Runtime.exceptionThrown",
            "Runtime.consoleAPICalled",
            "Log.entryAdded",
            "Page.javascriptDialogOpening",
        }
        return [told for told in self._seen if told["method"] in kinds]

    @property
    def requested(self) -> set[str]:
        """The addresses that the page asked for."""
        sent = (told for told in self._seen if told["method"] == "Network.requestWillBeSent")
        return {str(told["params"]["request"]["url"]) for told in sent}


@contextmanager
def browser(profile: Path) -> Iterator[Tab]:
    """A fresh browser with one tab; the test is skipped where there is no Chromium."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("needs Debian's chromium: apt-get install chromium")
    command = [chromium, *FLAGS, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        told = profile / "DevToolsActivePort"
        end = time.monotonic() + PATIENCE_S
        while not (told.exists() and len(told.read_text().splitlines()) == 2):
            assert time.monotonic() < end, "the browser does not say its port"
            time.sleep(0.1)
        port = told.read_text().splitlines()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=PATIENCE_S) as listed:
            address = next(tab["webSocketDebuggerUrl"] for tab in json.load(listed) if tab["type"] == "page")
        with connect(address, max_size=None) as connection:
            yield Tab(connection)
    finally:
        process.terminate()
        process.wait(30)
