"""What a gallery answers: neighbours, classes, and how good they are (layer 4)."""

from numbers import Integral

import numpy as np
from sklearn.neighbors import NearestNeighbors

from sksiamese._encoding import encode_together
from sksiamese._retrieval_metrics import (
    cumulative_match,
    mean_average_precision_at_r,
    r_precision,
)
from sksiamese.search._embedding import count_images
from sksiamese.search._header import too_few_error
from sksiamese.search._where import parse_where

_ROUNDING = 1e-5  # of float32 distances


class LookupMethods:
    """Questions to a gallery.

    Mixed into the gallery, which provides ``_embed``, ``_open`` and ``_fingerprint``.
    """

    def search(self, X, k=5, where=None, *, return_metadata=False):
        """Find the items most like some images.

        Exactly ``k`` items come back for each image, or an error says how many match.
        An image that is in the gallery itself is found like any other item: ask for one
        more, or leave it out by ``where``.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Images as the embedder takes them; embeddings if it is None.

        k : int, default=5
            Items to find for each image, from 1 to the number that match.

        where : dict or None, default=None
            Only items whose metadata match all entries: a value,
            ``{"label": "nv"}``; a list of which one must match,
            ``{"label": ["nv", "mel"]}``; or operators, ``{"age": {"$gte": 50}}``, out
            of ``$eq``, ``$ne``, ``$in``, ``$nin``, ``$lt``, ``$lte``, ``$gt`` and
            ``$gte``. None stands for null and for a missing key, so ``$ne`` and
            ``$nin`` let items without the key through:
            ``{"patient": {"$nin": [7, None]}}`` asks for another patient that is known.
            Ranges match numbers or strings, whichever was given; true is not 1.

        return_metadata : bool, default=False
            Return the metadata as well.

        Returns
        -------
        distances : float32 ndarray of shape (n, k)
            Distances, nearest first; Euclidean, or 1 minus the cosine.

        ids : ndarray of shape (n, k)
            Ids of the items.

        metadata : list of lists of dict
            Metadata of the items, if ``return_metadata=True``.

        Raises
        ------
        ValueError
            If fewer than ``k`` items match, embeddings are not finite, or another
            embedder filled the gallery.

        See Also
        --------
        Gallery.kneighbors : Neighbours as rows, as scikit-learn has them.
        Gallery.classify : A vote of what was found.
        sksiamese.display.NeighborsDisplay : A picture of what was found.

        Examples
        --------
        >>> from sksiamese.search import Gallery
        >>> gallery = Gallery(None)
        >>> _ = gallery.add([[0.0], [1.0], [5.0]], metadata={"age": [40, 60, 70]})
        >>> distances, ids = gallery.search([[4.0]], k=2)
        >>> ids.tolist(), distances.tolist()
        ([[2, 1]], [[1.0, 3.0]])
        >>> gallery.search([[4.0]], k=1, where={"age": {"$lt": 50}})[1].tolist()
        [[0]]
        """
        k, conditions = _check_k("k", k), parse_where(where)
        store = self._with_items(k)
        found = store.search(*self._asked(X, k, conditions), return_metadata)
        distances = self._in_metric(found[0])
        return (distances, *found[1:]) if return_metadata else (distances, found[1])

    def kneighbors(self, X=None, n_neighbors=5, return_distance=True):
        """Find nearest neighbours by row, with the signature of scikit-learn.

        For code that expects a fitted ``NearestNeighbors`` or indexes arrays of its own
        by row. :meth:`search` gives ids, which stay when items are removed.

        Parameters
        ----------
        X : array-like of shape (n, ...) or None, default=None
            Images. None asks for the neighbours of each item among the others.

        n_neighbors : int, default=5
            Neighbours of each image.

        return_distance : bool, default=True
            Return distances as well.

        Returns
        -------
        distances : float32 ndarray of shape (n, n_neighbors)
            Distances, nearest first, if ``return_distance=True``.

        rows : int64 ndarray of shape (n, n_neighbors)
            Places in :attr:`ids`, the order in which items were added.

        Raises
        ------
        ValueError
            As :meth:`search` does.

        RuntimeError
            If another process changed the gallery meanwhile.

        See Also
        --------
        Gallery.search : Neighbours as ids, with filters.
        sklearn.neighbors.NearestNeighbors.kneighbors : What it is modelled on.

        Examples
        --------
        >>> from sksiamese.search import Gallery
        >>> gallery = Gallery(None)
        >>> _ = gallery.add([[0.0], [1.0], [5.0]], ids=["a", "b", "c"])
        >>> gallery.kneighbors(n_neighbors=1, return_distance=False).ravel().tolist()
        [1, 0, 1]
        """
        k = _check_k("n_neighbors", n_neighbors)
        store = self._with_items(k)
        if X is None:
            ids, embeddings, _ = store.labelled("")
            if k >= len(ids):
                raise ValueError(
                    f"{k} neighbours were asked for, but each item has"
                    f" {len(ids) - 1:,} others."
                )
            found = store.search(embeddings, k + 1, [], self._fingerprint(), False)
            distances, rows = _without_self(found[0], _places(ids, found[1]))
        else:
            found = store.search(*self._asked(X, k, []), False)
            distances, rows = found[0], _places(store.all_ids(), found[1])
        return (self._in_metric(distances), rows) if return_distance else rows

    def classify(self, X, n_neighbors=5, *, label="label", where=None):
        """Predict labels by a vote of the nearest items.

        Each item votes with the inverse of its distance, as in scikit-learn's
        ``KNeighborsClassifier(weights="distance")``; items at distance 0, if there are
        any, decide alone.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Images.

        n_neighbors : int, default=5
            Items that vote on each image.

        label : str, default="label"
            Key of the metadata that holds the label: a string, number or bool.

        where : dict or None, default=None
            Items that may vote, as in :meth:`search`.

        Returns
        -------
        ndarray of shape (n,)
            Labels. Of equal votes the smallest label wins.

        Raises
        ------
        ValueError
            If an item that would vote has no label, and as :meth:`search` does.

        TypeError
            If some labels are numbers and others strings.

        See Also
        --------
        Gallery.evaluate : How well the neighbours tell the class.
        sksiamese.SiameseClassifier : Predicts classes, with probabilities.

        Examples
        --------
        >>> from sksiamese.search import Gallery
        >>> gallery = Gallery(None)
        >>> _ = gallery.add([[0.0], [1.0], [5.0]], metadata={"label": ["a", "a", "b"]})
        >>> gallery.classify([[4.5]], n_neighbors=3)
        array(['b'], dtype='<U1')
        """
        distances, ids, metadata = self.search(
            X, n_neighbors, where, return_metadata=True
        )
        values = [item.get(label) for items in metadata for item in items]
        return _vote(_check_labels(values, ids.ravel(), label), distances)

    def evaluate(self, X, y, *, k=(1, 5, 10), label="label"):
        """Measure how well images that are not in the gallery find their class.

        Recall at 1 is the accuracy of :meth:`classify` with one neighbour. R-precision
        and mean average precision look at as many neighbours as the class has items,
        so they are low where a class lies in several places, which a vote does not
        mind. All items are compared with all images, however the gallery searches.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Images of known class, none of which is in the gallery.

        y : array-like of shape (n,)
            Their labels.

        k : int or tuple of int, default=(1, 5, 10)
            Numbers of neighbours for the recall.

        label : str, default="label"
            Key of the metadata that holds the label of an item.

        Returns
        -------
        dict of float
            ``"recall_at_<k>"`` for each ``k``, ``"r_precision"`` and
            ``"mean_average_precision_at_r"``, of the exact ranking of the gallery, see
            :mod:`sksiamese.metrics`; and ``"index_recall"``, the share of the
            ``max(k)`` nearest items that :meth:`search` finds, 1 if it is exact.

        Raises
        ------
        ValueError
            If an item has no label, and as :meth:`search` does.

        TypeError
            If some labels are numbers and others strings.

        See Also
        --------
        sksiamese.metrics.recall_at_k : The same of arrays.
        sksiamese.metrics.mean_average_precision_at_r : The same of arrays.

        Examples
        --------
        >>> from sksiamese.search import Gallery
        >>> gallery = Gallery(None)
        >>> _ = gallery.add([[0.0], [1.0], [5.0]], metadata={"label": ["a", "a", "b"]})
        >>> scores = gallery.evaluate([[0.25], [2.0]], ["a", "b"], k=(1, 3))
        >>> scores["recall_at_1"], scores["recall_at_3"]
        (0.5, 1.0)
        """
        ks = [_check_k("k", one) for one in np.atleast_1d(np.asarray(k)).tolist()]
        if not ks:
            raise ValueError("k is empty: name at least one number of neighbours.")
        store = self._with_items(max(ks))
        ids, embeddings, values = store.labelled(label)
        labels = _check_labels(values, ids, label), f"label={label!r}", None
        y, labels = encode_together((y, "y", count_images(X)), labels)
        asked = self._asked(X, max(ks), [])
        found, probes = store.search(*asked, False)[0], asked[0]
        judged = {"gallery": embeddings, "gallery_labels": labels}
        match = cumulative_match(probes, y, k=max(ks), **judged)
        return {
            **{f"recall_at_{one}": float(match[one - 1]) for one in ks},
            "r_precision": r_precision(probes, y, **judged),
            "mean_average_precision_at_r": mean_average_precision_at_r(
                probes, y, **judged
            ),
            "index_recall": _index_recall(found, probes, embeddings),
        }

    def _with_items(self, k):
        """Give the store, if it holds as many items as are asked for."""
        store = self._open()
        if k > len(store):
            raise too_few_error(k, len(store), [])
        return store

    def _asked(self, X, k, conditions):
        """Give the first arguments of a store's search."""
        embeddings, fingerprint = self._embed(X)
        return embeddings, k, conditions, fingerprint


def _check_k(name, k):
    """Check a number of neighbours."""
    if not isinstance(k, Integral) or isinstance(k, bool) or k < 1:
        raise ValueError(f"{name} must be a whole number from 1 on, got {k!r}.")
    return int(k)


def _places(ids, found):
    """Places of found ids among all of them."""
    order = np.argsort(ids, kind="stable")
    place = np.searchsorted(ids, found, sorter=order)
    rows = order[np.minimum(place, len(ids) - 1)]
    if not np.array_equal(ids[rows], found):
        raise RuntimeError("Another process changed the gallery meanwhile; ask again.")
    return rows


def _without_self(distances, rows):
    """Leave each item out of its own neighbours; the last one if it is not there."""
    own = rows == np.arange(len(rows))[:, None]
    own[~own.any(axis=1), -1] = True
    shape = len(rows), rows.shape[1] - 1
    return distances[~own].reshape(shape), rows[~own].reshape(shape)


def _check_labels(values, ids, label):
    """Check labels that come from metadata."""
    if None in values:
        missing = ids.tolist()[values.index(None)]
        raise ValueError(
            f"label={label!r}: item {missing!r} has no such metadata. Leave such items"
            " out, or add it by update."
        )
    kinds = {str if isinstance(v, str) else type(v) for v in values}
    if not (kinds <= {str} or kinds <= {int, float} or kinds <= {bool}):
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise TypeError(
            f"label={label!r} must be all strings, all numbers or all bools, got"
            f" {names}."
        )
    return np.asarray(values)


def _vote(labels, distances):
    """Weigh the labels of each row's neighbours by their distance."""
    classes, codes = np.unique(labels, return_inverse=True)
    touching = distances == 0
    with np.errstate(divide="ignore"):
        weights = 1 / distances.astype(np.float64)
    decided = touching.any(axis=1)
    weights[decided] = touching[decided]
    rows = np.repeat(np.arange(len(distances)), distances.shape[1])
    cells = rows * len(classes) + codes.ravel()
    votes = np.bincount(cells, weights.ravel(), len(distances) * len(classes))
    return classes[votes.reshape(len(distances), -1).argmax(axis=1)]


def _index_recall(found, probes, embeddings):
    """Share of the nearest items found, told by distance, so that ties do not count."""
    k = found.shape[1]
    exact = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(embeddings)
    farthest = exact.kneighbors(probes)[0][:, -1:]
    scale = np.linalg.norm(probes, axis=1, keepdims=True)
    return float((found <= farthest + _ROUNDING * (farthest + scale)).mean())
