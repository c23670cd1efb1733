"""Sizes of saved tensors, checked against the settings before anything of that size is allocated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from tidecast.forecasting.network.recurrent import RecurrentNetwork
from tidecast.forecasting.network.training import isolated
from tidecast.forecasting.saving.saved_classes import UnreadableModel


def blank(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """A tensor of that shape without memory, to compare with."""
    return torch.empty(shape, dtype=dtype, device="meta")


def check_tensors(expected: Mapping[str, Tensor], learned: Mapping[str, Tensor], optional: Iterable[str] = ()) -> None:
    """Refuse tensors that are missing, or that differ from the expected ones in shape or type.

    Raises
    ------
    UnreadableModel
    """
    for name, wanted in expected.items():
        if name not in learned:
            if name in optional:
                continue
            raise UnreadableModel(f"A saved model must have the tensor {name!r}, found none. Save the model again.")
        found = learned[name]
        if found.shape != wanted.shape or found.dtype != wanted.dtype:
            raise UnreadableModel(
                f"The saved tensor {name!r} must be {_words(wanted)} by the saved settings, found {_words(found)}. The "
                "files do not belong together; save the model again."
            )


def saved_network(
    make: Callable[[], RecurrentNetwork], num_layers: int, learned: Mapping[str, Tensor]
) -> RecurrentNetwork:
    """The network with its saved weights, ready to forecast.

    Parameters
    ----------
    make : callable
        Makes it by the saved settings.
    num_layers : int
        By the saved settings; each layer has tensors of its own.
    learned : mapping
        Its tensors.

    Raises
    ------
    UnreadableModel
        The tensors are not those of such a network.
    """
    if num_layers > len(learned):
        raise UnreadableModel(
            f"A network of {num_layers} layers must have a tensor for each at least, found {len(learned)} in all. The "
            "files do not belong together; save the model again."
        )
    with torch.device("meta"):
        expected = make().state_dict()
    check_tensors(expected, learned)
    with isolated(0):
        network = make().eval()
    network.load_state_dict(dict(learned))
    return network


def _words(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"
