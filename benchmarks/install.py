"""Measure the size of an installation and the time of imports: ``python -m benchmarks.install [--python PATH]``.

Sizes are those of the files that each library installed (its RECORD), without compiled bytecode. Imports are timed in
processes of their own, in CPU seconds, and the fastest of three counts.
"""

import argparse
import json
import subprocess
import sys

SIZES = """
import json
from importlib import metadata

sizes = {}
for library in metadata.distributions():
    files = [file for file in library.files or () if file.suffix != ".pyc"]
    paths = [library.locate_file(file) for file in files]
    sizes[library.name] = sum(path.stat().st_size for path in paths if path.is_file())
print(json.dumps(sizes))
"""
IMPORTS = (
    "tidecast",
    "tidecast.flows.cli.main",
    "tidecast.features; tidecast.features.PriceFeatures",
    "tidecast.forecasting; tidecast.forecasting.GRUForecaster",
    "tidecast.flows; tidecast.flows.daily_forecast",
)
TIMED = """
import sys, time
before = time.process_time()
import {statement}
print(time.process_time() - before, len(sys.modules))
"""
SHOWN = 12
"""Libraries in the table; the others are added up."""


def output_of(python: str, script: str) -> str:
    """Run a script in a process of its own, and return what it prints."""
    return subprocess.run([python, "-c", script], capture_output=True, text=True, check=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="interpreter of the environment to measure")
    python = parser.parse_args().python
    sizes = sorted(json.loads(output_of(python, SIZES)).items(), key=lambda pair: -pair[1])
    print(f"{len(sizes)} libraries, {sum(size for _, size in sizes) / 1e6:,.0f} MB")
    for name, size in sizes[:SHOWN]:
        print(f"| {name} | {size / 1e6:,.0f} |")
    print(f"| {len(sizes) - SHOWN} more | {sum(size for _, size in sizes[SHOWN:]) / 1e6:,.0f} |")
    for statement in IMPORTS:
        runs = [output_of(python, TIMED.format(statement=statement)).split() for _ in range(3)]
        print(f"| import {statement} | {min(float(seconds) for seconds, _ in runs):.2f} | {runs[0][1]} |")


if __name__ == "__main__":
    main()
