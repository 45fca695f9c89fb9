"""Coverage-guided fuzzing of every reader with atheris, each target in a process of its own and for a bounded time.

`python -m tests.fuzz.fuzz` runs all targets; name some to run those. Inputs that reach new code are kept under
`.fuzz/<target>/corpus` and start the next run. A finding is written beside it, with the command that replays it.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / ".fuzz"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", help="names of modules in fuzz_targets; all of them when left out")
    parser.add_argument("--seconds", type=int, default=60, help="time for each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--replay", type=Path, help="run the one target on this file and nothing else; needs no atheris"
    )
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.replay:
        from tests.fuzz.fuzz_targets import TARGETS

        TARGETS[options.targets[0]].check(options.replay.read_bytes())
        print(f"{options.targets[0]}: nothing wrong with {options.replay}")
        return 0
    if options.here:
        return _fuzz(options.targets[0], options.seconds, options.seed)
    failed = [name for name in options.targets or _names() if not _run(name, options.seconds, options.seed)]
    print(f"findings in: {', '.join(failed)}" if failed else "no findings")
    return bool(failed)


def _names() -> list[str]:
    return sorted(path.stem for path in (Path(__file__).parent / "fuzz_targets").glob("[a-z]*.py"))


def _run(name: str, seconds: int, seed: int) -> bool:
    print(f"--- {name}: {seconds} s, seed {seed}", flush=True)
    command = [sys.executable, "-m", "tests.fuzz.fuzz", name, "--here", "--seconds", str(seconds), "--seed", str(seed)]
    # libFuzzer looks at the clock between inputs; the margin is for one that hangs.
    try:
        return subprocess.run(command, check=False, cwd=ROOT, timeout=seconds + 120).returncode == 0
    except subprocess.TimeoutExpired:
        print(f"{name}: an input hangs; rerun with --seed {seed} and look at the last lines above")
        return False


def _fuzz(name: str, seconds: int, seed: int) -> int:
    import atheris

    with atheris.instrument_imports(include=["pollux_dagster"]):
        from tests.fuzz.fuzz_targets import TARGETS
    target = TARGETS[name]
    folder = WORK / name
    corpus, seeds = folder / "corpus", folder / "seeds"
    for made in (corpus, seeds):
        made.mkdir(parents=True, exist_ok=True)
    for number, body in enumerate(target.seeds):
        (seeds / str(number)).write_bytes(body)

    def one(data: bytes) -> None:
        try:
            target.check(data)
        except BaseException:
            found = folder / f"finding-{hashlib.sha256(data).hexdigest()[:12]}"
            found.write_bytes(data)
            traceback.print_exc()
            print(f"replay: python -m tests.fuzz.fuzz {name} --replay {found.relative_to(ROOT)}", flush=True)
            raise

    atheris.Setup(
        [
            name,
            f"-max_total_time={seconds}",
            f"-seed={seed}",
            "-timeout=10",
            "-rss_limit_mb=2048",
            "-max_len=4096",
            "-print_final_stats=1",
            "-verbosity=0",
            f"-artifact_prefix={folder}/libfuzzer-",
            str(corpus),
            str(seeds),
        ],
        one,
    )
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
