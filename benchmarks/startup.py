"""Wall time of ``multiprompt --help``."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from common import describe_machine


def seconds_of(code: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *code], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    print(describe_machine())
    for name, code in {
        "multiprompt --help": ["-m", "multiprompt", "--help"],
        "multiprompt ls tasks": ["-m", "multiprompt", "ls", "tasks"],
        "python -c pass": ["-c", "pass"],
    }.items():
        seconds_of(code)  # fills the caches of the file system
        values = [seconds_of(code) for _ in range(7)]
        print(f"  {name:24} {statistics.median(values):.3f} s   ({min(values):.3f} to {max(values):.3f})")


if __name__ == "__main__":
    main()
