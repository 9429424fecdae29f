"""What a verifier asks of an embedder, whoever made it (layer 3, last step)."""

import warnings

import numpy as np
from sklearn import get_config
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.validation import check_array, has_fit_parameter

from sksiamese._base import BaseSiamese


def embed(embedder, X):
    """Embed images, and check that numbers come out.

    Parameters
    ----------
    embedder : estimator
        Fitted, with ``transform``.

    X : array-like of shape (n, ...)
        Images.

    Returns
    -------
    ndarray of shape (n, embedding_dim)
        Embeddings, finite.
    """
    return check_array(embedder.transform(X), input_name="embeddings", dtype="numeric")


def embedding_distance(embedder, first, second):
    """Measure the distance of embeddings, by the embedder's learned head if it has one.

    Parameters
    ----------
    embedder : estimator
        Fitted. Of a pipeline the last step counts.

    first, second : ndarray of shape (n, embedding_dim)
        Embeddings.

    Returns
    -------
    float64 ndarray of shape (n,)
        Euclidean distances, or 1 minus the head's probability of "same".
    """
    while isinstance(embedder, Pipeline | FrozenEstimator):
        embedder = (
            embedder[-1] if isinstance(embedder, Pipeline) else embedder.estimator
        )
    if isinstance(embedder, BaseSiamese) and hasattr(embedder, "pair_proba"):
        return 1 - embedder.net_.pair_proba(first, second).astype(np.float64)
    return np.linalg.norm(first.astype(np.float64) - second, axis=1)


def pass_groups(embedder, groups):
    """Find the arguments of ``fit`` by which an embedder learns of groups.

    Parameters
    ----------
    embedder : estimator
        Unfitted. Pipelines hand groups on to the last step, or by metadata routing. If
        one of this library's embedders is hidden in something that does not, a warning
        says so.

    groups : ndarray of shape (n,) or None
        Groups of the training images.

    Returns
    -------
    dict
        Keyword arguments.
    """
    if groups is None:
        return {}
    if has_fit_parameter(embedder, "groups"):
        return {"groups": groups}
    if get_config()["enable_metadata_routing"]:
        if get_routing_for_object(embedder).consumes("fit", {"groups"}):
            return {"groups": groups}
    elif isinstance(embedder, Pipeline) and has_fit_parameter(embedder[-1], "groups"):
        return {f"{embedder.steps[-1][0]}__groups": groups}
    parts = embedder.get_params(deep=True).values()
    if any(isinstance(part, BaseSiamese) for part in parts):
        warnings.warn(
            f"{type(embedder).__name__} does not hand groups on, so the embedder in it"
            " validates on images of the groups that train it; the verifier's own"
            " held-out groups are not concerned. Enable metadata routing and request"
            " groups for the fit of the embedder.",
            UserWarning,
            stacklevel=4,
        )
    return {}
