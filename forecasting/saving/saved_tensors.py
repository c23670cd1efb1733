"""Checks of saved tensors against the settings, before anything of their size is allocated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from tidecast.features.error_text import counted
from tidecast.forecasting.network.recurrent import RecurrentNetwork
from tidecast.forecasting.network.training import isolated
from tidecast.forecasting.saving.saved_classes import UnreadableModel


def blank(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return a placeholder of that shape and type, without memory, to compare with.

    Parameters
    ----------
    dtype : torch.dtype, optional
    *shape : int
        One size an axis.
    """
    return torch.empty(shape, dtype=dtype, device="meta")


def check_tensors(expected: Mapping[str, Tensor], learned: Mapping[str, Tensor], optional: Iterable[str] = ()) -> None:
    """Refuse tensors that are missing, or that differ from the expected ones in shape or type.

    Parameters
    ----------
    expected : mapping of str to Tensor
        Placeholders from `blank`.
    learned : mapping of str to Tensor
        Tensors of a saved model.
    optional : iterable of str
        Names that older models lack.

    Raises
    ------
    UnreadableModel
        Naming the first such tensor.
    """
    for name, wanted in expected.items():
        if name not in learned:
            if name in optional:
                continue
            raise UnreadableModel(f"A saved model must have the tensor {name!r}, found none. Save the model again.")
        found = learned[name]
        if found.shape != wanted.shape or found.dtype != wanted.dtype:
            raise UnreadableModel(
                f"The saved tensor {name!r} must be {_type_and_shape(wanted)} by the saved settings, found "
                f"{_type_and_shape(found)}. The files do not belong together; save the model again."
            )


def saved_network(
    make: Callable[[], RecurrentNetwork], num_layers: int, learned: Mapping[str, Tensor]
) -> RecurrentNetwork:
    """Build a network with its saved weights, ready to forecast.

    Parameters
    ----------
    make : callable
        Builds the network of the saved settings.
    num_layers : int
        Of the saved settings; each layer has its own tensors.
    learned : mapping of str to Tensor
        Its weights.

    Raises
    ------
    UnreadableModel
        The weights do not fit the network.
    """
    if num_layers > len(learned):
        raise UnreadableModel(
            f"A network of {counted(num_layers, 'layer')} must have at least one tensor for each, found "
            f"{len(learned)} in all. The files do not belong together; save the model again."
        )
    with torch.device("meta"):
        expected = make().state_dict()
    check_tensors(expected, learned)
    with isolated(0):
        network = make().eval()
    network.load_state_dict(dict(learned))
    return network


def _type_and_shape(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"
