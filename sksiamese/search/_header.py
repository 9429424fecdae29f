"""What must fit a gallery, and the errors that all stores raise (level 0)."""

from itertools import islice
from typing import NamedTuple


class Header(NamedTuple):
    """What is known of a gallery that holds, or has held, items.

    Parameters
    ----------
    dim : int
        Length of the embeddings.

    metric : {"euclidean", "cosine"}
        Distance.

    fingerprint : str
        Tells the embedder that filled it.

    id_kind : {"int", "str"}
        Type of the ids.
    """

    dim: int
    metric: str
    fingerprint: str
    id_kind: str


def check_header(header, *, dim=None, metric=None, fingerprint=None):
    """Check that something fits a gallery that is there already.

    Parameters
    ----------
    header : Header or None
        Of the gallery; None accepts anything.

    dim : int or None, default=None
        Length of the embeddings, if it must fit.

    metric : str or None, default=None
        Distance, if it must fit.

    fingerprint : str or None, default=None
        Of the embedder, if it must fit.

    Raises
    ------
    ValueError
        If one does not fit.
    """
    if header is None:
        return
    if metric is not None and metric != header.metric:
        raise ValueError(
            f"metric={metric!r} does not fit: this gallery was made with"
            f" metric={header.metric!r}. Pass that, or start a new gallery."
        )
    if fingerprint is not None and fingerprint != header.fingerprint:
        raise ValueError(
            "This gallery was filled by another embedder, or by this one before it was"
            " trained further, and their embeddings can not be compared (fingerprint"
            f" {fingerprint} here, {header.fingerprint} there). Open it with the"
            " embedder that filled it, or embed all its images anew by"
            " rebuild(X, ids)."
        )
    if dim is not None and dim != header.dim:
        raise ValueError(
            f"X gives embeddings of length {dim}, but those of the gallery have length"
            f" {header.dim}."
        )


def id_kind_error(header, kind):
    """Make the error for ids of the wrong type.

    Parameters
    ----------
    header : Header
        Of the gallery.

    kind : {"int", "str"}
        Type of the ids given.

    Returns
    -------
    TypeError
        To be raised.
    """
    names = {"int": "whole numbers", "str": "strings"}
    return TypeError(
        f"ids are {names[kind]}, but the ids of this gallery are"
        f" {names[header.id_kind]}."
    )


def known_ids_error(ids):
    """Make the error for ids that are there already.

    Parameters
    ----------
    ids : sequence
        The ids.

    Returns
    -------
    ValueError
        To be raised.
    """
    return ValueError(
        f"ids are in the gallery already: {some(ids)}. Nothing was added. Change such"
        " items by update, or remove them first."
    )


def unknown_ids_error(ids):
    """Make the error for ids that are not there.

    Parameters
    ----------
    ids : sequence
        The ids.

    Returns
    -------
    KeyError
        To be raised.
    """
    return KeyError(f"ids are not in the gallery: {some(ids)}. Nothing was changed.")


def incomplete_ids_error(missing):
    """Make the error for a rebuild that leaves items out.

    Parameters
    ----------
    missing : sequence
        Ids of the gallery that were not given.

    Returns
    -------
    ValueError
        To be raised.
    """
    return ValueError(
        "rebuild needs the images of all items, as embeddings of two embedders can not"
        f" be compared; ids lacks {some(missing)}. Nothing was changed. Remove those"
        " items first if they are not needed."
    )


def too_few_error(k, n, conditions):
    """Make the error for more neighbours than there are items.

    Parameters
    ----------
    k : int
        Neighbours asked for.

    n : int
        Items of the gallery, or those that match.

    conditions : list of Condition
        Of the filter.

    Returns
    -------
    ValueError
        To be raised.
    """
    if n == 0 and not conditions:
        return ValueError("The gallery is empty: call add before searching it.")
    if n == 0:
        return ValueError("No item of the gallery matches where=...")
    items = "1 item" if n == 1 else f"{n:,} items"
    match = " that match where=..." if conditions else ""
    return ValueError(
        f"{k} neighbours were asked for, but the gallery has {items}{match}; ask for at"
        f" most {n:,}."
    )


def some(ids):
    """Show the first few of many ids.

    Parameters
    ----------
    ids : sequence
        The ids.

    Returns
    -------
    str
        Three of them, and how many more there are.
    """
    shown = ", ".join(repr(i) for i in islice(ids, 3))
    return shown + (f" and {len(ids) - 3:,} more" if len(ids) > 3 else "")
