"""What a verifier asks of an embedder, whoever made it (layer 3, step 3)."""

import warnings

import numpy as np
from sklearn import get_config
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_array, has_fit_parameter

from sksiamese._base import BaseSiamese


def _embedder_has(name):
    """Check whether the embedder, fitted or not, has an attribute."""

    def check(verifier):
        getattr(getattr(verifier, "embedder_", verifier.embedder), name)
        return True

    return check


class EmbedderFeatures:
    """What goes into the embedder and comes out of it, by number and name.

    Mixed into the verifier, which provides ``embedder`` and ``embedder_``.
    """

    @property
    def n_features_in_(self):
        """Number of features that the embedder saw.

        scikit-learn's tools read it. It is missing if the embedder has none, and before
        :meth:`fit` or :meth:`calibrate`.

        Returns
        -------
        int
            Number of columns of rows; for images, the length of their first axis.

        See Also
        --------
        feature_names_in_ : Their names.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn.decomposition import PCA
        >>> from sksiamese import SiameseVerifier
        >>> X, y = load_digits(return_X_y=True)
        >>> SiameseVerifier(PCA(16), random_state=0).fit(X, y).n_features_in_
        64
        """
        return self.embedder_.n_features_in_

    @property
    def feature_names_in_(self):
        """Names of the features that the embedder saw.

        They are there if the embedder was trained on a table whose columns have names,
        all of them strings.

        Returns
        -------
        ndarray of shape (`n_features_in_`,)
            Names.

        See Also
        --------
        n_features_in_ : How many there are.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.decomposition import PCA
        >>> from sksiamese import SiameseVerifier
        >>> X, y = load_iris(return_X_y=True, as_frame=True)
        >>> SiameseVerifier(PCA(2), random_state=0).fit(X, y).feature_names_in_[:2]
        array(['sepal length (cm)', 'sepal width (cm)'], dtype=object)
        """
        return self.embedder_.feature_names_in_

    @available_if(_embedder_has("get_feature_names_out"))
    def get_feature_names_out(self, input_features=None):
        """Name the values of the embedding, as the embedder does.

        They head the columns of what :meth:`transform` returns under
        ``set_output(transform="pandas")``. The method is there if the embedder has it.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Names of the features.

        Returns
        -------
        ndarray of str
            Names.

        See Also
        --------
        transform : The values.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn.decomposition import PCA
        >>> from sksiamese import SiameseVerifier
        >>> X, y = load_digits(return_X_y=True)
        >>> SiameseVerifier(PCA(2), random_state=0).fit(X, y).get_feature_names_out()
        array(['pca0', 'pca1'], dtype=object)
        """
        return self.embedder_.get_feature_names_out(input_features)


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
