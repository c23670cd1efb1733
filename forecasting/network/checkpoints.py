"""A training's state on disk after every epoch, so that a killed fit can resume; no pickle."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load, save
from torch import Tensor

logger = logging.getLogger(__name__)

STATE = "state"  # name of all that is no tensor, where it travels among tensors
BLOCK = 1 << 20  # rows whose digest is computed at a time

Saved = tuple[dict[str, Tensor], dict[str, Any]]  # tensors by name, and everything else as JSON holds it


def fingerprint(settings: Any, *arrays: np.ndarray | Tensor) -> str:
    """Digest of everything that determines a training.

    Parameters
    ----------
    settings : JSON value
    *arrays : ndarray or Tensor
        Its data.

    Returns
    -------
    str
        SHA-256, in hex.
    """
    digest = hashlib.sha256(json.dumps([settings, torch.__version__], sort_keys=True).encode())
    for array in arrays:
        values = np.asarray(array)
        digest.update(f"{values.dtype}{values.shape}".encode())
        for begin in range(0, len(values) if values.ndim else 1, BLOCK):
            block = values[begin : begin + BLOCK] if values.ndim else values
            digest.update(np.ascontiguousarray(block).data)
    return digest.hexdigest()


def packed(saved: Saved | None) -> bytes:
    """Return a training's state as bytes, to be sent to another process; no pickle.

    Parameters
    ----------
    saved : Saved or None
    """
    if saved is None:
        return b""
    tensors, state = saved
    text = torch.frombuffer(bytearray(json.dumps(state).encode()), dtype=torch.uint8)
    return save(tensors | {STATE: text})


def unpacked(sent: bytes) -> Saved | None:
    """Return what `packed` was given.

    Parameters
    ----------
    sent : bytes
    """
    if not sent:
        return None
    tensors = load(sent)
    return tensors, json.loads(bytes(tensors.pop(STATE).tolist()))


class Checkpoint:
    """One file in a folder, named by the training's fingerprint, so other settings or data never find it.

    Parameters
    ----------
    folder : str
        Created if missing. Several trainings may share it, even at the same time.
    of : str
        The `fingerprint` of the training.
    """

    def __init__(self, folder: str, of: str) -> None:
        self.path = Path(folder) / f"training-{of[:16]}.safetensors"

    def read(self) -> Saved | None:
        """Return what `write` wrote last, or None; warn if only other trainings left checkpoints."""
        if self.path.is_file():
            with safe_open(self.path, framework="pt") as file:
                state = json.loads(file.metadata()["state"])
                return {name: file.get_tensor(name) for name in file.keys()}, state  # noqa: SIM118 (no dictionary)
        others = sorted(path.name for path in self.path.parent.glob("training-*.safetensors"))
        if others:
            logger.warning(
                "Training starts from scratch: a checkpoint must have the same settings, data and versions, and %s "
                "holds only those of other trainings: %s. Delete those that no fit will resume.",
                self.path.parent, ", ".join(others[:3]) + (" …" if len(others) > 3 else ""),
            )  # fmt: skip
        return None

    def write(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Replace the file in one step: after a kill at any moment it holds this state or the one before.

        Parameters
        ----------
        tensors : dict
            By name, on any device.
        state : dict
            Everything else; must have a JSON form.
        """
        own = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(f".{os.getpid()}")
        with open(draft, "wb") as file:
            file.write(save(own, metadata={"state": json.dumps(state)}))
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, self.path)

    def remove(self) -> None:
        """Delete the file, and the folder if it is then empty."""
        self.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # others' checkpoints
            self.path.parent.rmdir()
