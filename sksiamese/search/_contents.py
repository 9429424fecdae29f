"""What is in a gallery: items are added, changed, looked up and removed (level 0.7)."""

import numpy as np

from sksiamese.search._checks import check_ids, check_metadata
from sksiamese.search._embedding import count_images
from sksiamese.search._header import (
    id_kind_error,
    incomplete_ids_error,
    known_ids_error,
    unknown_ids_error,
)


class ContentMethods:
    """Items of a gallery.

    Mixed into the gallery, which provides ``_embed``, ``_embed_anew``, ``_open``,
    ``_progress``, ``_fingerprint`` and ``_store``.
    """

    def add(self, X, ids=None, metadata=None):
        """Embed images and keep them: all of them, or none if anything is wrong.

        In memory and in files nothing is written before :meth:`save`; in a database
        they are kept when the call returns.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Images as the embedder takes them, which are embedded piece by piece, so
            that a memory map or file names may stand for any number; embeddings if the
            embedder is None.

        ids : array-like of shape (n,) or None, default=None
            Whole numbers or strings, of one type in all of the gallery. None counts on
            from the largest number ever given, from 0 at first.

        metadata : sequence of dict, dict of columns, DataFrame or None, default=None
            What is known of each image: strings, numbers, bools, dates, None, and
            lists and dicts of them. Missing values of pandas and NaN become None, dates
            ISO strings, those with a time zone in UTC, which sort by time if all are of
            one kind: dates, or datetimes with a zone, or without.

        Returns
        -------
        ndarray of shape (n,)
            Ids of the items.

        Raises
        ------
        ValueError
            If an id is there already or twice, lengths do not fit, embeddings are not
            finite, or another embedder filled the gallery.

        TypeError
            If ids or metadata have a wrong type.

        See Also
        --------
        Gallery.update : Changes items that are there.
        Gallery.search : Finds them.

        Examples
        --------
        >>> from sksiamese.search import Gallery
        >>> gallery = Gallery(None)  # takes embeddings
        >>> gallery.add([[0.0, 1.0], [2.0, 3.0]]).tolist()
        [0, 1]
        >>> metadata = {"label": ["nv", "mel"], "age": [40, 60]}
        >>> gallery.add([[4.0, 5.0], [6.0, 7.0]], metadata=metadata).tolist()
        [2, 3]
        >>> gallery.get([3])[1]
        [{'label': 'mel', 'age': 60}]
        """
        n = count_images(X)
        kind, ids = ("int", None) if ids is None else check_ids(ids, n)
        metadata = check_metadata(metadata, n)
        store = self._open()
        # Before hours of embedding; stores look again, as others may be adding too.
        if ids is not None and store.header is not None:
            if kind != store.header.id_kind:
                raise id_kind_error(store.header, kind)
            known = store.contains(ids)
            if known.any():
                raise known_ids_error([ids[i] for i in np.flatnonzero(known)])
        embeddings, fingerprint = self._embed(X, show=True)
        with self._progress(n, "store") as progress:
            return store.add(embeddings, ids, kind, metadata, fingerprint, progress)

    def update(self, ids, X=None, metadata=None):
        """Replace images or metadata of items: of all of them, or none.

        Ids and their order stay. To change one entry of the metadata, :meth:`get` them,
        change it and hand all of them back.

        Parameters
        ----------
        ids : array-like of shape (n,)
            Items to change.

        X : array-like of shape (n, ...) or None, default=None
            Their new images; None keeps the embeddings.

        metadata : sequence of dict, dict of columns, DataFrame or None, default=None
            Their new metadata, in place of all of the old; None keeps them.

        Returns
        -------
        Gallery
            The gallery.

        Raises
        ------
        KeyError
            If an id is not there.

        ValueError
            As :meth:`add` does; also if there is nothing to change.

        See Also
        --------
        Gallery.rebuild : Replaces the images of all items, by another embedder.

        Examples
        --------
        >>> from sksiamese.search import Gallery
        >>> gallery = Gallery(None)
        >>> ids = gallery.add([[0.0], [1.0]], metadata={"label": ["nv", "?"]})
        >>> _ = gallery.update([1], metadata=[{"label": "mel"}])
        >>> gallery.get(ids)[1]
        [{'label': 'nv'}, {'label': 'mel'}]
        """
        if X is None and metadata is None:
            raise ValueError("update needs X or metadata, or there is nothing to do.")
        _, ids = check_ids(ids, None if X is None else count_images(X))
        if metadata is not None:
            metadata = check_metadata(metadata, len(ids))
        store = self._known(ids)
        if X is None:
            store.update(ids, None, metadata, self._fingerprint())
        else:
            embeddings, fingerprint = self._embed(X, show=True)
            store.update(ids, embeddings, metadata, fingerprint)
        return self

    def remove(self, ids):
        """Remove items: all of them, or none if one is not there.

        Their ids are not given again to items that are added without ids.

        Parameters
        ----------
        ids : array-like of shape (n,)
            Items to remove.

        Returns
        -------
        Gallery
            The gallery.

        Raises
        ------
        KeyError
            If an id is not there.

        See Also
        --------
        Gallery.update : Replaces images or metadata.

        Examples
        --------
        >>> from sksiamese.search import Gallery
        >>> gallery = Gallery(None)
        >>> _ = gallery.add([[0.0], [1.0], [2.0]])
        >>> gallery.remove([1, 2]).ids.tolist()
        [0]
        >>> gallery.add([[3.0]]).tolist()
        [3]
        """
        _, ids = check_ids(ids)
        if ids:
            self._known(ids).remove(ids)
        return self

    def get(self, ids):
        """Look up items.

        It gives embeddings and metadata, not images, which a gallery does not keep.

        Parameters
        ----------
        ids : array-like of shape (n,)
            Items.

        Returns
        -------
        embeddings : float32 ndarray of shape (n, embedding_dim)
            Their embeddings, of unit length if the metric is the cosine; with
            compressed codes, approximations.

        metadata : list of dict
            Their metadata.

        Raises
        ------
        KeyError
            If an id is not there.

        ValueError
            If ``ids`` is empty.

        See Also
        --------
        Gallery.search : Finds items by images and metadata.

        Examples
        --------
        >>> from sksiamese.search import Gallery
        >>> gallery = Gallery(None)
        >>> _ = gallery.add([[0.0, 1.0], [2.0, 3.0]], ["a", "b"], {"age": [40, 60]})
        >>> embeddings, metadata = gallery.get(["b"])
        >>> embeddings.tolist(), metadata
        ([[2.0, 3.0]], [{'age': 60}])
        """
        _, ids = check_ids(ids)
        if not ids:
            raise ValueError("ids is empty: name the items to look up.")
        return self._known(ids).fetch(ids)

    def rebuild(self, X, ids):
        """Embed all images anew, by this gallery's embedder; metadata stay.

        After an embedder was trained again, its embeddings and those in the gallery do
        not go together, and :meth:`add` and :meth:`search` refuse to mix them. A
        compressed index learns its codes anew as well.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Images of all items.

        ids : array-like of shape (n,)
            Their ids, in the order of ``X``.

        Returns
        -------
        Gallery
            The gallery, which is this embedder's from now on.

        Raises
        ------
        KeyError
            If an id is not there.

        ValueError
            If an item is left out, as embeddings of two embedders can not be compared.

        See Also
        --------
        Gallery.update : Replaces single items, by the same embedder.

        Examples
        --------
        >>> import tempfile
        >>> from sklearn.datasets import load_digits
        >>> from sklearn.decomposition import PCA
        >>> from sksiamese.search import Gallery
        >>> X = load_digits().data[:100]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with Gallery(PCA(2).fit(X), f"{folder}/digits.gallery") as gallery:
        ...         ids = gallery.add(X)
        ...     with Gallery(PCA(8).fit(X), f"{folder}/digits.gallery") as gallery:
        ...         gallery.rebuild(X, ids).get([0])[0].shape
        (1, 8)
        """
        _, ids = check_ids(ids, count_images(X))
        store = self._known(ids)
        missing = set(store.all_ids().tolist()) - set(ids)
        if missing:
            raise incomplete_ids_error(sorted(missing))
        fingerprint = self._fingerprint()
        store.rebuild(self._embed_anew(X, show=True), ids, fingerprint)
        return self

    def __len__(self):
        return len(self._open())

    def __contains__(self, id):
        try:
            _, ids = check_ids([id])
        except (TypeError, ValueError):
            return False
        return self._open().header is not None and bool(self._store.contains(ids)[0])

    @property
    def ids(self):
        """Ids of all items, an array in the order in which they were added.

        They are whole numbers or strings, as they were given; the rows that
        :meth:`kneighbors` returns count in this order.

        See Also
        --------
        Gallery.get : Embeddings and metadata of items.

        Examples
        --------
        >>> from sksiamese.search import Gallery
        >>> gallery = Gallery(None)
        >>> _ = gallery.add([[0.0], [1.0]], ids=["b", "a"])
        >>> gallery.ids.tolist()
        ['b', 'a']
        """
        store = self._open()
        return np.empty(0, np.int64) if store.header is None else store.all_ids()

    def _known(self, ids):
        """Give the store, if these ids are in it."""
        store = self._open()
        if store.header is None:
            raise unknown_ids_error(ids)
        unknown = ~store.contains(ids)
        if unknown.any():
            raise unknown_ids_error([ids[i] for i in np.flatnonzero(unknown)])
        return store
