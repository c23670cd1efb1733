"""A champion whose model is lost, and the way back: a training (``tidecast train --anew``), see `recorded_recipe`."""

from __future__ import annotations

from tidecast.flows.tracking.store import MlflowStore, TrackingError
from tidecast.flows.training.decisions import Row


class ModelLost(TrackingError):
    """A version was decided on, and its model is not there or is damaged."""


def not_in(store: MlflowStore, decided: Row) -> ModelLost:
    """Return the error that MLflow holds no such version as was decided on."""
    return ModelLost(
        f"Version {decided['version']} must be champion, as decided for {decided['as_of']}, but MLflow at "
        f"{store.where.shown} has no such version of this panel. If another machine trains this panel, name its MLflow "
        f"in mlflow.yml (server.mlflow_tracking_uri). {way_back(store)}"
    )


def damaged(store: MlflowStore, version: str, why: str) -> ModelLost:
    """Return the error that the files of a version are missing or damaged."""
    return ModelLost(f"The model of version {version} must be whole, but {why} {way_back(store)}")


def way_back(store: MlflowStore) -> str:
    """Say how the panel gets a champion again."""
    files = "mlflow.db and mlartifacts" if store.where.is_local else "its files"
    return f"If it is lost, put back a copy of {files}, or train anew (decisions stay): tidecast train --anew"
