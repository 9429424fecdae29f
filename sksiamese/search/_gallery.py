"""Gallery: images kept as embeddings, and found again by their likeness (layer 4)."""

import contextlib
import os
import weakref
from numbers import Integral
from pathlib import Path

from sksiamese._validation import check_is_fitted
from sksiamese.search._contents import ContentMethods
from sksiamese.search._embedding import (
    CHUNK,
    check_embeddings,
    count_images,
    embed_images,
)
from sksiamese.search._fingerprint import Fingerprint
from sksiamese.search._header import check_header
from sksiamese.search._lookup import LookupMethods
from sksiamese.search._stores import close_store, copy_store, open_store


class Gallery(ContentMethods, LookupMethods):
    """Images that are kept as embeddings, and found by their likeness to others.

    A gallery lives in memory, in one file, or in a PostgreSQL database with the
    extension pgvector, and behaves alike in all of them. It keeps embeddings, ids and
    metadata, but no pixels. It remembers which embedder filled it, and refuses the
    queries of another one, whose distances would mean nothing.

    Read more in the :ref:`User Guide <guide-search>`.

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

    See Also
    --------
    sksiamese.SiameseEmbedder : Learns the embedding.
    sksiamese.display.NeighborsDisplay : Draws what a search finds.
    sklearn.neighbors.NearestNeighbors : Neighbours in arrays, which keeps no ids.

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

    Metadata are compared as JSON: dates as text, see :meth:`add`. They sort by time if
    all are of one kind: dates, times of day, or datetimes with a zone or all without.
    Among datetimes a date stands for its first moment, so a whole day is
    ``{"$gte": "2024-05-03", "$lt": "2024-05-04"}``.

    In compressed galleries (``"ivfpq"``) distances, :meth:`get` and :meth:`evaluate`
    speak of the codes, which stand for the embeddings nearly.

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
    >>> gallery  # (FAISS) with the extra search, else (NumPy)
    <Gallery: 600 items of 64 dimensions, euclidean, exact search ..., in memory>
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

    # --- life ------------------------------------------------------------------------

    def save(self, path=None):
        """Write a gallery to its file, or a copy of any gallery to another one.

        The file is replaced in one step, so it always holds a whole gallery. A copy of
        a gallery in a database is a way to take it along; pixels are in neither.

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

        See Also
        --------
        Gallery.close : Saves, and lets go of the file.

        Examples
        --------
        >>> import tempfile
        >>> from sksiamese.search import Gallery
        >>> folder = tempfile.TemporaryDirectory()
        >>> gallery = Gallery(None)
        >>> _ = gallery.add([[0.0], [1.0]], ids=["a", "b"])
        >>> _ = gallery.save(f"{folder.name}/copy.gallery")
        >>> len(Gallery(None, f"{folder.name}/copy.gallery"))
        2
        >>> folder.cleanup()
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

        A ``with`` block does so at its end, also where it fails. A closed gallery
        answers nothing more; closing it again does nothing.

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

        See Also
        --------
        Gallery.save : Writes changes and goes on.

        Examples
        --------
        >>> from sksiamese.search import Gallery
        >>> with Gallery(None) as gallery:
        ...     _ = gallery.add([[0.0], [1.0]])
        >>> gallery
        <Gallery: closed, was in memory>
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
