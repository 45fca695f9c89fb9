"""A tiny OpenAI-compatible server process whose faults are set by its command line and by files.

It stands in for an engine where a test is about processes, signals and locks: a real process that speaks real
HTTP and has a child of its own, and starts in a tenth of a second. Standard library only.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--model", required=True)
parser.add_argument("--exit-at-start", type=int)
parser.add_argument("--say", default="")
parser.add_argument("--ready-after", type=float, default=0.0)
parser.add_argument("--token-takes", type=float, default=0.0)
parser.add_argument("--exit-after", type=float)
parser.add_argument("--hang-file", type=Path, help="while it exists, /metrics shows requests and no progress")
parser.add_argument("--sick-file", type=Path, help="while it exists, /health answers 503")
parser.add_argument("--starts-file", type=Path, help="gets a line per start")
parser.add_argument("--max-starts", type=int, help="exit at once after this many starts")
parser.add_argument("--refuse-with", help="STATUS BODY with which every completion is refused")
parser.add_argument("--completions-only", action="store_true", help="no /health, no /v1/models")
parser.add_argument("--ignore-sigterm", action="store_true")
options = parser.parse_args()

if options.starts_file:
    with options.starts_file.open("a") as starts:
        starts.write(f"{os.getpid()}\n")
    if options.max_starts and len(options.starts_file.read_text().split()) > options.max_starts:
        sys.stdout.write("ValueError: no more starts for you\n")
        sys.exit(7)
if options.say:
    sys.stdout.write(options.say + "\n")
    sys.stdout.flush()
if options.exit_at_start is not None:
    sys.exit(options.exit_at_start)
if options.ignore_sigterm:
    import signal

    signal.signal(signal.SIGTERM, signal.SIG_IGN)

child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
began = time.monotonic()
key = os.environ["POLLUX_SERVER_API_KEY"]
tokens = 0


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if options.completions_only:
            self.answer(404, "404 page not found")
        elif self.path == "/health":
            ready = time.monotonic() - began >= options.ready_after
            sick = options.sick_file and options.sick_file.exists()
            self.answer(200 if ready and not sick else 503, "")
        elif self.path == "/metrics":
            hangs = options.hang_file and options.hang_file.exists()
            lines = [
                "# TYPE vllm:num_requests_running gauge",
                f'vllm:num_requests_running{{engine="0"}} {3 if hangs else 0}',
                "# TYPE vllm:generation_tokens counter",
                f'vllm:generation_tokens_total{{engine="0"}} {tokens}',
            ]
            self.answer(200, "\n".join(lines) + "\n", "text/plain; version=0.0.4")
        elif self.path == "/v1/models" and self.allowed():
            self.reply({"data": [{"id": options.model, "max_model_len": 2048}]})
        else:
            self.answer(404, "")

    def do_POST(self) -> None:
        global tokens
        self.rfile.read(int(self.headers["Content-Length"]))
        if options.refuse_with:
            status, _, said = options.refuse_with.partition(" ")
            self.answer(int(status), said.replace("{key}", key), "application/json")
        elif self.path == "/v1/chat/completions" and self.allowed():
            time.sleep(options.token_takes)
            tokens += 1
            self.reply({"choices": [{"message": {"content": "1"}, "finish_reason": "length"}]})

    def allowed(self) -> bool:
        allowed = self.headers["Authorization"] == f"Bearer {key}"
        if not allowed:
            self.answer(401, "")
        return allowed

    def reply(self, body: object) -> None:
        self.answer(200, json.dumps(body), "application/json")

    def answer(self, status: int, text: str, kind: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


if options.exit_after is not None:
    threading.Timer(options.exit_after, os._exit, [0]).start()
ThreadingHTTPServer(("127.0.0.1", options.port), Handler).serve_forever()
