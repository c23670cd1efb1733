"""One fit by several processes of torchrun, against the same fit by one: seconds, CPU seconds, and the weights.

    python -m benchmarks.data_parallel [--processes 1 2] [--hosts]

Prices are random walks. Seconds are those of the training alone, from the untrained network's evaluation to the last
epoch's; CPU seconds are of the whole processes, which load libraries, compute features and calibrate besides. With
--hosts, two more processes run in two network namespaces as two hosts, which needs Linux, root and `ip`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from benchmarks.cluster import CABLE, HERE, THERE, market, second_host
from tidecast.forecasting import GRUForecaster, Training, data_parallel
from tidecast.forecasting.network.progress import Epoch

PORT = 29511


def one(folder: Path, given: argparse.Namespace) -> None:
    """The work of each process: fit, and note what it took."""
    ended: list[float] = []

    def note(epoch: Epoch) -> None:
        ended.append(time.perf_counter())

    training = Training(patience=given.epochs, windows_per_epoch=given.windows, on_epoch=note)
    model = GRUForecaster(hidden_size=given.hidden, max_epochs=given.epochs, batch_size=given.batch, training=training)
    panel = market(given.series, given.rows)
    with data_parallel(timeout=120) as processes:
        model.fit(panel)
    model.save(folder / f"model-{processes.rank}")
    found = {"seconds": ended[-1] - ended[0], "cpu": time.process_time(), "size": processes.size}
    (folder / f"found-{processes.rank}.json").write_text(json.dumps(found))


def run(what: str, commands: list[list[str]], folder: Path, arguments: list[str]) -> None:
    """Run the processes of one fit, and print a line of the table."""
    work = ["-m", "benchmarks.data_parallel", "--one", str(folder / what), *arguments]
    (folder / what).mkdir()
    environ = {**os.environ, "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}
    started = [subprocess.Popen([*command, *work], env=environ, stderr=subprocess.PIPE) for command in commands]
    for process in started:
        _, errors = process.communicate()
        if process.returncode:
            raise SystemExit(errors.decode())
    found = [json.loads(path.read_text()) for path in sorted((folder / what).glob("found-*.json"))]
    weights = [load_file(path / "weights.safetensors") for path in sorted((folder / what).glob("model-*"))]
    alone = load_file(next(folder.glob("1/model-0")) / "weights.safetensors")
    same = all(np.array_equal(each[key], weights[0][key]) for each in weights for key in alone)
    network = [key for key in alone if key.startswith("network.")]
    apart = max(float(np.abs(weights[0][key] - alone[key]).max()) for key in network)
    seconds, cpu = max(each["seconds"] for each in found), sum(each["cpu"] for each in found)
    print(f"| {what} | {seconds:.1f} | {cpu:.1f} | {'yes' if same else 'NO'} | {apart:.1e} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, nargs="*", default=[2])
    parser.add_argument("--hosts", action="store_true", help="also two processes on two hosts")
    sizes = {"series": 100, "rows": 1500, "hidden": 64, "epochs": 4, "batch": 64, "windows": 4096}
    for name, size in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=size)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        one(given.one, given)
        return
    arguments = [word for name in sizes for word in (f"--{name}", str(getattr(given, name)))]
    torchrun = [sys.executable, "-m", "torch.distributed.run"]
    print("| processes | s of training | CPU s | same bits in all | largest difference of a weight |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        run("1", [[sys.executable]], Path(folder), arguments)
        for size in given.processes:
            command = [*torchrun, "--standalone", "--nproc-per-node", str(size)]
            run(f"{size}", [command], Path(folder), arguments)
        if given.hosts:
            at = ["--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d"]
            meet = [*torchrun, *at, "--rdzv-endpoint", f"{HERE}:{PORT}", "--rdzv-conf"]
            with second_host() as there:
                first, second = (["env", f"GLOO_SOCKET_IFNAME={cable}"] for cable in CABLE)
                commands = [
                    [*first, *meet, "is_host=1", "--local-addr", HERE],
                    [*there, *second, *meet, "is_host=0", "--local-addr", THERE],
                ]
                run("2, on two hosts", commands, Path(folder), arguments)


if __name__ == "__main__":
    main()
