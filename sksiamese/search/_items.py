"""All that a gallery holds in memory, and the file of that (level 0.35)."""

import json
import os
import uuid
from typing import NamedTuple

import numpy as np

from sksiamese._archive import ArchiveReader, ArchiveWriter, locked
from sksiamese.search._columns import Columns
from sksiamese.search._exact import largest_norm
from sksiamese.search._header import Header, check_header
from sksiamese.search._ids import IdTable
from sksiamese.search._index import VectorIndex

_BLOCK = 65_536  # embeddings that are copied at a time
# What parts raise that this package would not have written.
_BROKEN = (
    *(TypeError, KeyError, IndexError, AttributeError),
    *(OverflowError, RecursionError, json.JSONDecodeError),
)


class Items(NamedTuple):
    """Embeddings, ids and metadata, row by row.

    Parameters
    ----------
    header : Header or None
        What all items share; None while there is none.

    index : VectorIndex
        Embeddings; of no dimension while there is no item.

    ids : IdTable
        Ids.

    metadata : Columns
        Metadata.
    """

    header: Header | None
    index: VectorIndex
    ids: IdTable
    metadata: Columns

    @classmethod
    def none(cls, index, memory_budget, next_id=0):
        """Make no items, to begin with or when all were removed.

        Parameters
        ----------
        index : {"auto", "flat", "hnsw", "ivfpq"}
            How neighbours are searched.

        memory_budget : int or None
            Bytes that the index may take.

        next_id : int, default=0
            Where ids count on from.

        Returns
        -------
        Items
            None.
        """
        empty = VectorIndex(0, index, memory_budget)
        return cls(None, empty, IdTable("int", next_id), Columns())

    @property
    def whole(self):
        """Whether each item has an embedding, an id and metadata."""
        return len(self.index) == len(self.ids) == len(self.metadata)

    def save(self, archive):
        """Write the items.

        Parameters
        ----------
        archive : ArchiveWriter
            Where to.
        """
        archive.text("header", json.dumps(self.header))
        self.index.save(archive)
        self.ids.save(archive)
        self.metadata.save(archive)

    @classmethod
    def load(cls, archive, metric, index, memory_budget):
        """Read items, and check all that a file can have wrong.

        Parameters
        ----------
        archive : ArchiveReader
            Where from.

        metric : {"euclidean", "cosine"}
            What the items must have been made for.

        index : {"auto", "flat", "hnsw", "ivfpq"}
            How neighbours are searched.

        memory_budget : int or None
            Bytes that the index may take.

        Returns
        -------
        Items
            As they were saved.

        Raises
        ------
        ValueError
            If they were made for another metric, or parts do not fit or hold what no
            gallery would.
        """
        header = _read_header(archive)
        check_header(header, metric=metric)
        dim = 0 if header is None else header.dim
        items = cls(
            header,
            VectorIndex.load(archive, dim, index, memory_budget),
            IdTable.load(archive),
            Columns.load(archive),
        )
        if not items.whole or (header is None) != (len(items.ids) == 0):
            raise archive.broken("parts do not fit")
        if header is not None and header.id_kind != items.ids.kind:
            raise archive.broken("the ids are of another type than it says")
        if not _finite(items.index):
            raise archive.broken("an embedding is not finite")
        return items


class ItemFile:
    """A file of items, which another process may write meanwhile.

    Parameters
    ----------
    path : path-like
        File, which need not be there.

    Attributes
    ----------
    path : str
        The same, absolute.

    Raises
    ------
    FileNotFoundError
        If its folder is not there.

    IsADirectoryError
        If it is a folder.
    """

    def __init__(self, path):
        self.path = os.path.abspath(path)
        folder = os.path.dirname(self.path)
        if not os.path.isdir(folder):
            raise FileNotFoundError(
                f"The folder {folder!r} of the gallery is not there: create it first."
            )
        if os.path.isdir(self.path):
            raise IsADirectoryError(f"{self.path!r} is a folder, not a file.")
        # What it may hold without another process having written it.
        self._generations = {None}

    def read(self, metric, index, memory_budget):
        """Read the items.

        Parameters
        ----------
        metric, index, memory_budget : object
            As for :meth:`Items.load`.

        Returns
        -------
        Items
            All; none if the file is not there.

        Raises
        ------
        ValueError
            If the file is not a gallery, damaged, or made with another metric.
        """
        if not os.path.exists(self.path):
            return Items.none(index, memory_budget)
        with ArchiveReader(self.path, "gallery") as archive:
            self._generations = {archive.text("generation")}
            try:
                return Items.load(archive, metric, index, memory_budget)
            except _BROKEN as error:
                why = f"{type(error).__name__}, {error}"
                raise archive.broken(why) from error

    def write(self, items, *, anew=False):
        """Write items in one step.

        Parameters
        ----------
        items : Items
            All.

        anew : bool, default=False
            The file must not be there.

        Raises
        ------
        ValueError
            If another process has written it since this one has read it.

        FileExistsError
            If it is there and must not be.

        RuntimeError
            If an interrupted change has left parts that do not fit, which must not
            replace a file that is whole.
        """
        if not items.whole:
            raise RuntimeError(
                f"The gallery has {len(items.index)} embeddings, {len(items.ids)} ids"
                f" and {len(items.metadata)} metadata; {self.path} was not written."
            )
        generation = uuid.uuid4().hex
        with locked(self.path):
            if anew and os.path.exists(self.path):
                raise FileExistsError(f"{self.path} is there already.")
            self._check_generation()
            # Known before it is written: Ctrl+C may come right after.
            self._generations = {*self._generations, generation}
            with ArchiveWriter(self.path, "gallery") as archive:
                archive.text("generation", generation)
                items.save(archive)
        self._generations = {generation}

    def _check_generation(self):
        """Check that the file is the one that was read."""
        try:
            with ArchiveReader(self.path, "gallery") as archive:
                found = archive.text("generation")
        except FileNotFoundError:
            return
        if found not in self._generations:
            raise ValueError(
                f"Another process has saved to {self.path} since this gallery was"
                " opened; nothing was written. Open it again and repeat your changes,"
                " or keep these by save(path) to another file."
            )


def _finite(index):
    """Whether all embeddings are; of codes it is not asked, as they are learnt ones."""
    if index.kind == "ivfpq":
        return True
    blocks = np.array_split(np.arange(len(index)), len(index) // _BLOCK + 1)
    return all(np.isfinite(largest_norm(index.vectors(rows))) for rows in blocks)


def _read_header(archive):
    """Read and check the header."""
    parts = json.loads(archive.text("header"))
    if parts is None:
        return None
    header = Header(*parts)
    right = (
        type(header.dim) is int
        and header.dim > 0
        and header.metric in ("euclidean", "cosine")
        and isinstance(header.fingerprint, str)
        and header.id_kind in ("int", "str")
    )
    if not right:
        raise archive.broken(f"its header is {parts}")
    return header
