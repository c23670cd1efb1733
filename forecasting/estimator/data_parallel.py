"""One fit by several processes: each computes a share of every batch, and they add up what they found.

torchrun starts the processes, on one machine or on several. They talk by torch.distributed: gloo between CPUs, NCCL
between GPUs.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Of the environment, by which torchrun tells a process its number, and where it finds the others."""


@dataclass(frozen=True)
class Processes:
    """The processes that share the work of a fit.

    Attributes
    ----------
    rank : int
        Number of this process, from 0.
    size : int
        Number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process has the number 0: the one that saves the model and writes logs."""
        return self.rank == 0

    def share(self, n: int) -> slice:
        """Which of `n` things belong to this process; none for some if there are fewer things than processes.

        Parameters
        ----------
        n : int

        Examples
        --------
        >>> [Processes(rank, size=2).share(5) for rank in (0, 1)]
        [slice(0, 2, None), slice(2, 5, None)]
        """
        return slice(self.rank * n // self.size, (self.rank + 1) * n // self.size)

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes, to the same bits in each.

        Parameters
        ----------
        values : Tensor
            Of the same shape in each process.
        """
        if self.size == 1:
            return values
        total = values.detach().clone() if _has_own_gpu() else values.detach().to("cpu", copy=True)
        with self._heard():
            dist.all_reduce(total)
        return total.to(values.device)

    def any(self, flag: bool) -> bool:
        """Return whether a flag is set in some process.

        Parameters
        ----------
        flag : bool
        """
        return bool(self.sum(torch.tensor(float(flag))) > 0)

    def from_first(self, data: bytes) -> bytes:
        """Return the data of the first process.

        Parameters
        ----------
        data : bytes
            Ignored in the other processes.
        """
        if self.size == 1:
            return data
        length = int(self.sum(torch.tensor(len(data) if self.is_first else 0)))
        sent = bytearray(data) if self.is_first else bytearray(length)
        if length:
            with self._heard():
                dist.broadcast(torch.frombuffer(sent, dtype=torch.uint8), 0)
        return bytes(sent)

    def copy_from_first(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors by those of the first process.

        Parameters
        ----------
        tensors : iterable of Tensor
            Of the same shapes in each process.
        """
        if self.size == 1:
            return
        for tensor in tensors:
            sent = tensor.detach().clone() if _has_own_gpu() else tensor.detach().to("cpu", copy=True)
            with self._heard():
                dist.broadcast(sent, 0)
            tensor.copy_(sent)

    @contextmanager
    def _heard(self) -> Iterator[None]:
        """Say in one line that another process is gone."""
        try:
            yield
        except RuntimeError as error:
            raise RuntimeError(
                f"All {self.size} processes of a fit must reach its end; process {self.rank} lost another one: "
                f"{_in_short(error)}. The cause is the first error that one of them printed. Start them again; with "
                "Training(checkpoint=…) the fit resumes."
            ) from error


ALONE = Processes()
"""This process, and no other."""

_in_force: ContextVar[Processes] = ContextVar("processes", default=ALONE)


def processes_in_force() -> Processes:
    """Return the processes that share a fit here: this one alone outside of `data_parallel`."""
    return _in_force.get()


@contextmanager
def data_parallel(timeout: float = 600.0) -> Iterator[Processes]:
    """Let the processes that torchrun started share the work of the fits of the body.

    Each process runs the same script, and gives `fit` the same panel. It computes a share of every batch; gradients
    are summed, so that the weights equal those of one process up to rounding, and are the same in all processes. Not
    divided is what comes before and after training: each process checks the panel, computes features, and calibrates
    the quantiles by itself.

    Without torchrun this process works alone, and nothing changes.

    Parameters
    ----------
    timeout : float, default=600.0
        Seconds that a process waits for the others, at the beginning and at each step.

    Yields
    ------
    Processes
        Its `is_first` says which process should save the model.

    Raises
    ------
    ValueError
        The environment is not that of torchrun, or does not let it start processes again as it was told to.
    RuntimeError
        Another process did not come, or ended.

    Examples
    --------
    A script that ``torchrun --nproc-per-node 2 fit.py`` runs:

    >>> import numpy as np, polars as pl
    >>> from tidecast.forecasting import GRUForecaster
    >>> times = pl.date_range(pl.date(2020, 1, 1), pl.date(2020, 12, 31), eager=True)
    >>> steps = 0.01 * np.random.default_rng(0).normal(size=len(times))
    >>> prices = pl.DataFrame({"series_id": "a", "time": times, "close": np.exp(steps.cumsum())})
    >>> with data_parallel() as processes:
    ...     model = GRUForecaster(horizon=2, lookback=16, max_epochs=1).fit(prices)
    >>> processes.is_first
    True
    """
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"timeout must be a number of seconds, got {timeout!r}.")
    if not 0 < timeout < math.inf:
        raise ValueError(f"timeout must be above 0 seconds and finite, got {timeout!r}.")
    joins = not (dist.is_available() and dist.is_initialized())
    processes = _from_environment() if joins else Processes(dist.get_rank(), dist.get_world_size())
    joins = joins and processes.size > 1
    if joins:
        _join(processes, timeout)
    before = _in_force.set(processes)
    try:
        yield processes
        if joins:
            processes.any(False)  # so that none leaves while another still reads what it sent
    finally:
        _in_force.reset(before)
        if joins:
            dist.destroy_process_group()


def _from_environment() -> Processes:
    """The processes that torchrun started; this one alone without torchrun."""
    found = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    if not {"RANK", "WORLD_SIZE"} & set(found):
        return ALONE
    advice = "Start the script with: torchrun --nproc-per-node 2 fit.py, or unset these variables."
    if missing := [name for name in VARIABLES if name not in found]:
        raise ValueError(
            f"The environment must have {', '.join(VARIABLES)} for a fit of several processes; {', '.join(missing)} "
            f"not found. {advice}"
        )
    rank, size = found["RANK"], found["WORLD_SIZE"]
    if not (rank.isdecimal() and size.isdecimal() and int(rank) < int(size)):
        raise ValueError(
            f"RANK must be a number from 0 to WORLD_SIZE − 1, found RANK={rank} and WORLD_SIZE={size}. {advice}"
        )
    return Processes(int(rank), int(size))


def _join(processes: Processes, timeout: float) -> None:
    """Meet the other processes."""
    if not (dist.is_available() and dist.is_gloo_available()):
        raise RuntimeError(
            "A fit of several processes needs a torch with gloo; this one has none. Install torch from PyPI, or start "
            "one process."
        )
    if _has_own_gpu():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    backend, limit = "cpu:gloo,cuda:nccl" if _has_own_gpu() else "gloo", timedelta(seconds=timeout)
    prefix = f"tidecast-{_life()}"
    try:
        store, _, _ = next(dist.rendezvous("env://", processes.rank, processes.size, timeout=limit))
        store.set_timeout(limit)
        own = dist.PrefixStore(prefix, store)
        dist.init_process_group(backend, timeout=limit, store=own, rank=processes.rank, world_size=processes.size)
    except (RuntimeError, ValueError) as error:
        place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise RuntimeError(
            f"WORLD_SIZE = {processes.size} processes must meet at {place} within {timeout:g} s; process "
            f"{processes.rank} did not meet all: {_in_short(error)}. Start all of them, and open the ports between "
            "their machines; GLOO_SOCKET_IFNAME names the network interface where there are several."
        ) from error


def _life() -> str:
    """How often torchrun has started the processes: its store still holds the addresses of those that ended.

    It counts on each machine for itself (pytorch issue 135712), so several need a new store with each start.
    """
    shares, machines = os.environ.get("TORCHELASTIC_USE_AGENT_STORE"), os.environ.get("GROUP_WORLD_SIZE", "1")
    if machines == "1":
        return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    if shares == "True" and os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0":
        raise ValueError(
            f"With --max-restarts on {machines} machines, torchrun must make a new store for each start, but it shares "
            "one. Set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 on each machine, and use --rdzv-backend c10d."
        )
    return "0"


def _has_own_gpu() -> bool:
    """Whether each process of this machine has a GPU of its own, as NCCL needs; else sums pass through the CPU."""
    if not torch.cuda.is_available() or "LOCAL_RANK" not in os.environ:
        return False
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) <= torch.cuda.device_count() and dist.is_nccl_available()


def _in_short(error: Exception) -> str:
    """The first sentence of an error of torch, without the places in its source."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return re.sub(r"\[[^]]*\.cc:\d+\] ", "", line).partition(". ")[0].rstrip(".")
