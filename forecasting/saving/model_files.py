"""The two files of a saved model, ``model.json`` and ``weights.safetensors``: written whole, checked when read."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
from safetensors.torch import load, save
from torch import Tensor

from tidecast.forecasting.saving.saved_classes import UnreadableModel

DESCRIPTION, WEIGHTS = "model.json", "weights.safetensors"
DIGEST = "digest"


def digest_of(description: dict[str, Any], weights: bytes) -> str:
    """Return the SHA-256, in hex, of the description (without its digest, keys sorted) and of the weights' file.

    Parameters
    ----------
    description : dict
        As JSON holds it.
    weights : bytes
        Content of the file.
    """
    content = {key: value for key, value in description.items() if key != DIGEST}
    text = json.dumps(content, sort_keys=True, allow_nan=True).encode()
    return hashlib.sha256(hashlib.sha256(text).digest() + hashlib.sha256(weights).digest()).hexdigest()


def write_files(path: str | os.PathLike[str], description: dict[str, Any], learned: dict[str, Tensor]) -> None:
    """Write both files; each is replaced as a whole.

    Parameters
    ----------
    path : path-like
        The folder; created if missing.
    description : dict
        As JSON holds it.
    learned : dict of str to Tensor
    """
    folder = Path(path)
    weights = save({name: value.contiguous() for name, value in learned.items()})
    content = json.loads(json.dumps(description, allow_nan=True))
    text = json.dumps(content | {DIGEST: digest_of(content, weights)}, indent=1, allow_nan=True) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in ((WEIGHTS, weights), (DESCRIPTION, text.encode())):
        draft = folder / f".{name}.draft"
        draft.write_bytes(content)
        draft.replace(folder / name)


def read_files(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read both files, and check their digest if there is one.

    Parameters
    ----------
    path : path-like
        The folder.

    Returns
    -------
    description : dict
    learned : dict of str to Tensor

    Raises
    ------
    FileNotFoundError
        A file is missing.
    UnreadableModel
        A file is damaged, or the digest differs.
    """
    folder = Path(path)
    for name in (DESCRIPTION, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} must hold {DESCRIPTION} and {WEIGHTS}; found no {name} there.")
    with restoring(path):
        weights = (folder / WEIGHTS).read_bytes()
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        if not isinstance(description, dict):
            raise UnreadableModel(f"{folder / DESCRIPTION} must hold a JSON object, found another value.")
        expected = description.get(DIGEST)
        if expected is not None and expected != digest_of(description, weights):
            raise UnreadableModel(
                f"{folder} must be as it was saved, but its digest differs: {DESCRIPTION} or {WEIGHTS} was altered or "
                "damaged. Save the model again, or restore the folder from a backup."
            )
        learned = load(weights)
    return description, learned


@contextmanager
def restoring(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn any exception of the body into `UnreadableModel`: only the folder's content can be the cause.

    Parameters
    ----------
    path : str or path-like
        The folder, shown in messages.

    Raises
    ------
    UnreadableModel
        The body raised.
    """
    try:
        yield
    except UnreadableModel:
        raise
    except (Exception, pl.exceptions.PanicException) as error:
        why = " ".join(str(error).split())[:300]
        raise UnreadableModel(
            f"{path} must hold a whole model, but its files are damaged or do not fit together "
            f"({type(error).__name__}: {why}). Save the model again, or restore the folder from a backup."
        ) from error
