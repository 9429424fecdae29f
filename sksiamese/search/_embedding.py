"""Images to embeddings that a store may take (level 0.6)."""

import numpy as np

from sksiamese._validation import take_rows

CHUNK = 4096  # images embedded at a time
# Squares of distances between longer vectors overflow in float32; of shorter ones,
# they vanish.
_LONGEST, _SHORTEST = 1e18, 1e-12


def count_images(X):
    """Count images.

    Parameters
    ----------
    X : array-like of shape (n, ...)
        Images, file names or embeddings.

    Returns
    -------
    int
        Their number.

    Raises
    ------
    TypeError
        If that is not known, as of a generator.
    """
    if hasattr(X, "shape"):
        return X.shape[0] if X.shape else 0
    if not hasattr(X, "__len__"):
        raise TypeError(
            "X must be an array, a memory map or a list of images or file names, got"
            f" {type(X).__name__}, whose number of images is not known."
        )
    return len(X)


def embed_images(embedder, X, *, unit, progress):
    """Embed images piece by piece, so that a memory map need not fit into memory.

    Parameters
    ----------
    embedder : estimator
        Fitted, with ``transform``.

    X : array-like of shape (n, ...)
        Images as the embedder takes them.

    unit : bool
        Scale to unit length.

    progress : callable or None
        Told how many images were embedded.

    Returns
    -------
    float32 ndarray of shape (n, embedding_dim)
        Embeddings.

    Raises
    ------
    ValueError
        If it gives no embedding, or more than one, of an image, or :func:`\
check_embeddings` does.
    """
    n, parts = count_images(X), []
    for start in range(0, max(n, 1), CHUNK):
        stop = min(start + CHUNK, n)
        part = X if n <= CHUNK else take_rows(X, slice(start, stop))
        embeddings = check_embeddings(embedder.transform(part), unit=unit, start=start)
        if len(embeddings) != stop - start:
            raise ValueError(
                f"embedder gives {len(embeddings)} embeddings of {stop - start} images;"
                " each image needs one."
            )
        parts.append(embeddings)
        if progress is not None:
            progress(stop - start)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def check_embeddings(embeddings, *, unit, start=0):
    """Check embeddings, and bring them into the form of the stores.

    Parameters
    ----------
    embeddings : array-like of shape (n, embedding_dim)
        Real numbers.

    unit : bool
        Scale to unit length.

    start : int, default=0
        Number of the first row, for errors.

    Returns
    -------
    float32 ndarray of shape (n, embedding_dim)
        Embeddings, finite and contiguous.

    Raises
    ------
    ValueError
        If they have another shape or type, are empty, not finite, so long that squares
        of distances overflow, all so short that these vanish, or of length 0 where a
        direction is needed.
    """
    embeddings = np.asarray(embeddings)
    if embeddings.ndim != 2 or embeddings.dtype.kind not in "fiu":
        raise ValueError(
            "X must give embeddings, numbers of shape (n, embedding_dim), got"
            f" {embeddings.dtype} of shape {embeddings.shape}."
        )
    if 0 in embeddings.shape:
        raise ValueError(f"X is empty: embeddings of shape {embeddings.shape}.")
    if embeddings.dtype != np.float32:
        with np.errstate(over="ignore"):
            embeddings = embeddings.astype(np.float32)
    embeddings = np.ascontiguousarray(embeddings)
    # Enough nearly always, and quick: single searches take some 30 microseconds.
    square = np.vdot(embeddings, embeddings)
    if not _SHORTEST**2 < square < _LONGEST**2:
        _check_values(embeddings, unit, start)
    return _unit(embeddings, start) if unit else embeddings


def _check_values(embeddings, unit, start):
    """Refuse embeddings whose distances float32 can not tell."""
    finite = np.isfinite(embeddings)
    if not finite.all():
        row = start + int(np.flatnonzero(~finite.all(axis=1))[0])
        raise ValueError(
            f"X gives embeddings that are NaN or infinite, the first in row {row}."
        )
    lengths = np.linalg.norm(embeddings.astype(np.float64), axis=1)
    row, length = start + int(lengths.argmax()), lengths.max()
    if not unit and (length >= _LONGEST or 0 < length <= _SHORTEST):
        raise ValueError(
            f"X gives embeddings that are too {'long' if length > 1 else 'short'} for"
            f" distances in float32: row {row} has length {length:g}. Scale them to"
            f" between {_SHORTEST:g} and {_LONGEST:g}."
        )


def _unit(embeddings, start):
    """Scale embeddings to unit length."""
    length = np.linalg.norm(embeddings.astype(np.float64), axis=1, keepdims=True)
    if not length.all():
        row = start + int(np.flatnonzero(length == 0)[0])
        raise ValueError(
            f"metric='cosine' needs a direction, but X gives an embedding of length 0"
            f" in row {row}. Use metric='euclidean'."
        )
    return (embeddings / length).astype(np.float32)
