"""Errors for a champion whose model is lost. ``tidecast train --anew`` trains its recipe again (`recorded_recipe`)."""

from __future__ import annotations

from tidecast.flows.tracking.store import MlflowStore, TrackingError
from tidecast.flows.training.decisions import Row


class ModelLost(TrackingError):
    """The model of a decided version is missing or damaged."""


def not_in(store: MlflowStore, decided: Row) -> ModelLost:
    """Return the error for a decided version that MLflow does not hold.

    Parameters
    ----------
    store : MlflowStore
    decided : Row
        The row of the decision.
    """
    cause = "has no such version of this panel. If another machine trains this panel, name its MLflow"
    if store.is_new:
        cause = "does not exist yet: another machine or folder trained this panel. Name its MLflow"
    return ModelLost(
        f"Version {decided['version']} must be champion, as decided for {decided['as_of']}, but MLflow at "
        f"{store.where.shown} {cause} in mlflow.yml (server.mlflow_tracking_uri). {way_back(store)}"
    )


def damaged(store: MlflowStore, version: str, why: str) -> ModelLost:
    """Return the error for missing or damaged files of a version.

    Parameters
    ----------
    store : MlflowStore
    version : str
    why : str
        A sentence that says what is missing.
    """
    return ModelLost(f"The model of version {version} must be whole, but {why} {way_back(store)}")


def way_back(store: MlflowStore) -> str:
    """Return the advice on how to get a champion again.

    Parameters
    ----------
    store : MlflowStore
    """
    files = "mlflow.db and mlartifacts" if store.where.is_local else "its files"
    return f"If it is lost, put back a copy of {files}, or train anew (decisions stay): tidecast train --anew"
