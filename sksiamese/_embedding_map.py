"""From embeddings to points on a plane, by PCA, t-SNE, UMAP and others (layer 4)."""

import numpy as np
from sklearn.base import clone

from sksiamese._plotting import percent

_METHODS = ("pca", "tsne", "umap")


def map_embeddings(embeddings, method, seed):
    """Bring embeddings down to two dimensions.

    Parameters
    ----------
    embeddings : ndarray of shape (n, embedding_dim)
        Embeddings, at least three.

    method : {"pca", "tsne", "umap"} or transformer
        How; a transformer with ``fit_transform`` is cloned.

    seed : int
        Seed of what has a random state and none set.

    Returns
    -------
    coordinates : ndarray of shape (n, 2)
        Where the embeddings lie on the map.

    axis_labels : list of two str
        Names of the axes.

    Raises
    ------
    ImportError
        If ``method="umap"`` and umap-learn is missing.

    TypeError
        If ``method`` is neither a name nor a transformer.

    ValueError
        If the name is unknown, or the transformer gives other than two dimensions.
    """
    n = len(embeddings)
    if not isinstance(method, str):
        if not hasattr(method, "fit_transform"):
            raise TypeError(
                f"method must be one of {', '.join(_METHODS)} or have fit_transform,"
                f" got {method!r}."
            )
        coordinates = np.asarray(_seed(method, seed).fit_transform(embeddings))
        if coordinates.shape != (n, 2):
            raise ValueError(
                f"method gives an array of shape {coordinates.shape}, not ({n}, 2):"
                " set its number of components to 2."
            )
        name = type(method).__name__
    elif method == "pca":
        from sklearn.decomposition import PCA

        pca = PCA(2, random_state=seed).fit(embeddings)
        shares = map(percent, pca.explained_variance_ratio_)
        labels = [f"PC {k} ({share} of variance)" for k, share in enumerate(shares, 1)]
        return pca.transform(embeddings), labels
    elif method == "tsne":
        from sklearn.manifold import TSNE

        # Each point needs some three times as many others as the perplexity says.
        tsne = TSNE(perplexity=min(30, (n - 1) / 3), random_state=seed)
        coordinates, name = tsne.fit_transform(embeddings), "t-SNE"
    elif method == "umap":
        coordinates, name = _make_umap(n, seed).fit_transform(embeddings), "UMAP"
    else:
        raise ValueError(
            f"method must be one of {', '.join(_METHODS)} or a transformer, got"
            f" {method!r}."
        )
    return coordinates, [f"{name} {k}" for k in (1, 2)]


def _seed(method, seed):
    """Copy a transformer; the copy has a seed wherever it had none."""
    method = clone(method)
    unseeded = [
        name
        for name, value in method.get_params().items()
        if name.split("__")[-1] == "random_state" and value is None
    ]
    return method.set_params(**dict.fromkeys(unseeded, seed))


def _make_umap(n, seed):
    """Build UMAP, if it is installed."""
    try:
        from umap import UMAP
    except ImportError as error:
        raise ImportError(
            'method="umap" needs umap-learn: pip install umap-learn'
        ) from error
    # A seed allows for one thread only, of which it warns unless it is told so; its
    # usual start fails with three points.
    return UMAP(
        n_neighbors=min(15, n - 1),
        init="spectral" if n > 3 else "random",
        random_state=seed,
        n_jobs=1,
    )
