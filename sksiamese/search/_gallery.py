"""Gallery: images kept as embeddings, and found again by their likeness (layer 4)."""

import contextlib
import os
import weakref
from numbers import Integral
from pathlib import Path

import numpy as np

from sksiamese._validation import check_is_fitted
from sksiamese.search._checks import check_ids, check_metadata
from sksiamese.search._embedding import (
    CHUNK,
    check_embeddings,
    count_images,
    embed_images,
)
from sksiamese.search._fingerprint import Fingerprint
from sksiamese.search._header import (
    check_header,
    id_kind_error,
    incomplete_ids_error,
    known_ids_error,
    unknown_ids_error,
)
from sksiamese.search._lookup import LookupMethods
from sksiamese.search._stores import close_store, copy_store, open_store


class Gallery(LookupMethods):
    """Images that are kept as embeddings, and found by their likeness to others.

    A gallery lives in memory, in one file, or in a PostgreSQL database with the
    extension pgvector, and behaves alike in all of them. It keeps embeddings, ids and
    metadata, but no pixels. It remembers which embedder filled it, and refuses the
    queries of another one, whose distances would mean nothing.

    Parameters
    ----------
    embedder : estimator or None
        Fitted, with ``transform``: a :class:`~sksiamese.SiameseEmbedder`,
        :class:`~sksiamese.SiameseClassifier`, a pipeline or any transformer. None takes
        embeddings in place of images.

    store : str or path-like, default="memory"
        ``"memory"``; the path of a file, which need not exist; or a database, such as
        ``"postgresql://user@host/database"``. A password is better kept in the
        environment variable ``PGPASSWORD`` or a password file than here.

    metric : {"euclidean", "cosine"}, default="euclidean"
        Distance: Euclidean, or 1 minus the cosine. Embeddings of unit length, as a
        siamese network makes them, are ranked alike by both.

    index : {"auto", "flat", "hnsw", "ivfpq"}, default="auto"
        How neighbours are searched. ``"flat"`` compares with every item and is exact;
        ``"hnsw"`` walks a graph [1]_ and finds nearly all, much faster, from 1,000
        items; ``"ivfpq"`` looks at compressed codes in a few cells, in a fraction of
        the memory, and keeps the codes only, from 100,000 items, or 10,000 where
        embeddings exceed ``memory_budget``. It learns its codes from the items that are
        there when it first compresses; much different ones that come later are coded
        badly, of which it warns: add in mixed order, or ``rebuild``. ``"auto"`` is
        exact up to 100,000 items, then ``"hnsw"`` if ``memory_budget`` allows and
        ``"ivfpq"`` if not; in a database it is ``"hnsw"``. All but exact search need
        the extra ``search``.

    memory_budget : int or None, default=None
        Bytes that the index may take in memory, from 100,000 items; None is half of
        what is free. Not for databases.

    name : str or None, default=None
        Name of the gallery in a database, where several may live; None is
        ``"gallery"``. For databases only.

    verbose : int, default=0
        1 shows a progress bar.

    Raises
    ------
    ImportError
        If the store or index needs an extra that is not installed.

    ValueError
        If a file is not a gallery or damaged, or was made with another metric.

    ConnectionError
        If a database does not answer, or is lost and does not come back.

    PermissionError
        If a role lacks a right in the database, or that is read-only.

    Notes
    -----
    A gallery in a file is read into memory when it is opened. Changes are written by
    :meth:`save`, :meth:`close`, at the end of a ``with`` block and when the program
    ends, in one step: whatever happens meanwhile, the file holds the old gallery or the
    new one. A program that is killed, as batch systems and containers do at their time
    limit, loses what was not saved: call :meth:`save` after each large ``add``. If
    another process has saved to the file in between, nothing is written and an error
    says so.

    In a database each call is one transaction, and any number of processes may change a
    gallery at once; searches wait for ``rebuild`` and for an ``add`` that is half as
    large as a gallery with an index. Searches with ``where``, for more than 250
    neighbours, and of more than 2,000 dimensions (16,000 are the limit) are exact
    there. All lies in the schema ``sksiamese``. Its first user needs CREATE on the
    database or on that schema, and pgvector 0.8 (an administrator runs
    ``CREATE EXTENSION vector`` once). This role owns the tables; it alone starts
    galleries, builds indexes and rebuilds. Others need, to search::

        GRANT USAGE ON SCHEMA sksiamese TO reader;
        GRANT SELECT ON ALL TABLES IN SCHEMA sksiamese TO reader;

    and INSERT, UPDATE and DELETE on these tables to change items.

    Metadata are compared as JSON: dates as text, see :meth:`add`. In compressed
    galleries (``"ivfpq"``) distances, :meth:`get` and :meth:`evaluate` speak of the
    codes, which stand for the embeddings nearly.

    References
    ----------
    .. [1] Malkov, Yashunin, "Efficient and robust approximate nearest neighbor search
       using Hierarchical Navigable Small World graphs", IEEE TPAMI 2020,
       https://doi.org/10.1109/TPAMI.2018.2889473

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sksiamese import SiameseEmbedder
    >>> from sksiamese.search import Gallery
    >>> X, y = load_digits(return_X_y=True)
    >>> X = X.reshape(-1, 8, 8)
    >>> embedder = SiameseEmbedder(max_epochs=8, random_state=0).fit(X[:600], y[:600])
    >>> gallery = Gallery(embedder)
    >>> ids = gallery.add(X[600:1200], metadata={"label": y[600:1200]})
    >>> distances, found = gallery.search(X[1200:1210], k=3)
    >>> found.shape
    (10, 3)
    >>> bool((gallery.classify(X[1200:]) == y[1200:]).mean() > 0.9)
    True
    >>> gallery
    <Gallery: 600 items of 64 dimensions, euclidean, exact search (FAISS), in memory>
    """

    def __init__(
        self,
        embedder,
        store="memory",
        *,
        metric="euclidean",
        index="auto",
        memory_budget=None,
        name=None,
        verbose=0,
    ):
        if embedder is not None:
            if not hasattr(embedder, "transform"):
                raise TypeError(
                    "embedder must be a fitted estimator with transform, or None for"
                    f" ready embeddings, got {embedder!r}."
                )
            check_is_fitted(embedder)
        if metric not in ("euclidean", "cosine"):
            raise ValueError(f"metric must be 'euclidean' or 'cosine', got {metric!r}.")
        if not isinstance(verbose, Integral) or verbose < 0:
            raise ValueError(f"verbose must be a whole number >= 0, got {verbose!r}.")
        self.embedder, self.metric, self.verbose = embedder, metric, verbose
        self._fingerprint = Fingerprint(embedder)
        self._store, self._place = open_store(store, metric, index, memory_budget, name)
        self._closer = weakref.finalize(self, close_store, self._store, os.getpid())

    # --- contents --------------------------------------------------------------------

    def add(self, X, ids=None, metadata=None):
        """Embed images and keep them: all of them, or none if anything is wrong.

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
            ISO strings.

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
        """
        _, ids = check_ids(ids)
        if ids:
            self._known(ids).remove(ids)
        return self

    def get(self, ids):
        """Look up items.

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
        """
        _, ids = check_ids(ids)
        if not ids:
            raise ValueError("ids is empty: name the items to look up.")
        return self._known(ids).fetch(ids)

    def rebuild(self, X, ids):
        """Embed all images anew, by this gallery's embedder; metadata stay.

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
        """Ids of all items, an array in the order in which they were added."""
        store = self._open()
        return np.empty(0, np.int64) if store.header is None else store.all_ids()

    # --- life ------------------------------------------------------------------------

    def save(self, path=None):
        """Write a gallery to its file, or a copy of any gallery to another one.

        Parameters
        ----------
        path : path-like or None, default=None
            File of a copy, which must not be there yet. None writes to the gallery's
            own file; for a database there is nothing to do, as each call is kept at
            once.

        Returns
        -------
        Gallery
            The gallery.

        Raises
        ------
        ValueError
            If the gallery is in memory and no path is given, or another process has
            saved to its file since it was opened.

        FileExistsError
            If the file of the copy is there already.
        """
        store = self._open()
        if path is None:
            if self._place == "memory":
                raise ValueError("path must be given, as this gallery has no file.")
            store.save()
            return self
        if Path(path).exists():
            raise FileExistsError(
                f"{os.fspath(path)} is there already. Remove it first, or save to"
                " another path."
            )
        copy_store(store, os.fspath(path))
        return self

    def close(self, save=True):
        """Let go of the file or the connection.

        Parameters
        ----------
        save : bool, default=True
            Write what has changed. False drops changes of a gallery in a file that were
            not saved; a database keeps each call at once.

        Raises
        ------
        ValueError
            If another process has saved to the file since it was opened. The gallery
            then stays open: ``save(path)`` to another file, or ``close(save=False)``.
        """
        if self._store is not None:
            close_store(self._store, os.getpid(), save)
            self._closer.detach()
            self._store = None

    def __enter__(self):
        self._open()
        return self

    def __exit__(self, *exception):
        self.close()

    def __reduce__(self):
        raise TypeError("A gallery can not be pickled or copied: save it to a file.")

    def __repr__(self):
        if self._store is None:
            return f"<Gallery: closed, was in {self._place}>"
        header = self._store.header
        if header is None:
            return f"<Gallery: empty, {self.metric}, in {self._place}>"
        return (
            f"<Gallery: {len(self):,} items of {header.dim} dimensions, {self.metric},"
            f" {self._store.index_description}, in {self._place}>"
        )

    # --- parts -----------------------------------------------------------------------

    def _open(self):
        """Give the store, if it is open."""
        if self._store is None:
            raise ValueError("The gallery is closed: open it anew.")
        return self._store

    def _known(self, ids):
        """Give the store, if these ids are in it."""
        store = self._open()
        if store.header is None:
            raise unknown_ids_error(ids)
        unknown = ~store.contains(ids)
        if unknown.any():
            raise unknown_ids_error([ids[i] for i in np.flatnonzero(unknown)])
        return store

    def _embed(self, X, *, show=False):
        """Embed images that the gallery may compare with its own; tell by whom."""
        fingerprint = self._fingerprint()
        check_header(self._open().header, fingerprint=fingerprint)
        embeddings = self._embed_anew(X, show=show)
        check_header(self._open().header, dim=embeddings.shape[1])
        return embeddings, fingerprint

    def _embed_anew(self, X, *, show):
        """Embed images for a gallery that holds no others."""
        unit = self.metric == "cosine"
        if self.embedder is None:
            return check_embeddings(X, unit=unit)
        n = count_images(X)
        with self._progress(n, "embed", show or n > CHUNK) as progress:
            return embed_images(self.embedder, X, unit=unit, progress=progress)

    def _in_metric(self, distances):
        """Turn Euclidean distances into those of the metric."""
        return distances if self.metric == "euclidean" else distances**2 / 2

    @contextlib.contextmanager
    def _progress(self, n, what, show=True):
        """Show a progress bar if verbose; give what is told of each step, or None."""
        if not (show and self.verbose):
            # No silent tqdm: its lock is shared with forked processes, and a killed one
            # that held it would stop all others.
            yield None
            return
        from tqdm.auto import tqdm

        with tqdm(total=n, unit=" images", desc=what) as bar:
            yield bar.update
