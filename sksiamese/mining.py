"""Which pairs or triplets of a batch count towards the loss (layer 1: torch and NumPy).

Every function takes the full ``(n, n)`` distance matrix of one batch and works on
matrices; nothing here grows faster than ``O(n ** 2)`` memory or loops over samples.
"""

import numpy as np
import torch

__all__ = [
    "pair_masks",
    "pair_weights",
    "pairwise_distances",
    "semihard_negatives",
    "weight_classes",
]

MINING = ("all", "semihard", "hard")


def pairwise_distances(embeddings, *, squared=False):
    """Compute Euclidean distances between all embeddings of a batch.

    They come from one matrix product, whatever the length of the embeddings. All
    gradients are finite, those of equal embeddings too, so that a loss may use the
    whole matrix and need not leave out its diagonal.

    Parameters
    ----------
    embeddings : Tensor of shape (n, embedding_dim)
        Embeddings, in the precision in which the distances are wanted.

    squared : bool, default=False
        Return squared distances.

    Returns
    -------
    Tensor of shape (n, n)
        Distances, > 0. Embeddings that coincide come out near zero, not at it: a square
        below ``1e-12`` is raised to that and passes no gradient, where the square root
        would have an infinite one; rounding leaves about ``5e-4`` in float32.

    See Also
    --------
    pair_masks : Which entries are positive and which negative pairs.
    torch.cdist : Distances between two sets of vectors, of any norm.

    Examples
    --------
    >>> import torch
    >>> from sksiamese.mining import pairwise_distances
    >>> pairwise_distances(torch.tensor([[0.0, 0.0], [3.0, 4.0]])).round()
    tensor([[0., 5.],
            [5., 0.]])
    """
    norms = embeddings.square().sum(1)
    squares = norms[:, None] + norms - 2 * embeddings @ embeddings.T  # (n, n)
    squares = squares.clamp_min(1e-12)
    return squares if squared else squares.sqrt()


def pair_masks(labels):
    """Mark the ordered pairs of one class and those of two classes.

    Both members of a pair are its anchor once, so the masks are symmetric and hold each
    pair twice. An image forms no pair with itself.

    Parameters
    ----------
    labels : Tensor of shape (n,)
        Class of each sample.

    Returns
    -------
    positives : bool Tensor of shape (n, n)
        ``positives[i, j]`` is true when ``i != j`` are of one class.

    negatives : bool Tensor of shape (n, n)
        ``negatives[i, j]`` is true when they are of two classes.

    See Also
    --------
    pair_weights : The same as weights, after mining.

    Examples
    --------
    >>> import torch
    >>> from sksiamese.mining import pair_masks
    >>> positives, negatives = pair_masks(torch.tensor([0, 0, 1]))
    >>> positives.nonzero().tolist()
    [[0, 1], [1, 0]]
    >>> negatives.nonzero().tolist()
    [[0, 2], [1, 2], [2, 0], [2, 1]]
    """
    same = labels[:, None] == labels
    # Not fill_diagonal_, which torch.compile of 2.6 cannot do for sizes that change.
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return same & ~itself, ~same


@torch.no_grad()
def semihard_negatives(distances, negatives):
    """Choose a semi-hard negative for each anchor and each possible positive.

    It is the nearest negative that is farther from the anchor than the positive; when
    no negative is that far, the farthest one [1]_.

    Parameters
    ----------
    distances : Tensor of shape (n, n)
        Distances within the batch.

    negatives : bool Tensor of shape (n, n)
        Pairs of two classes.

    Returns
    -------
    int64 Tensor of shape (n, n)
        ``negative_idx[a, p]`` is the negative for anchor ``a`` and positive ``p``,
        judged in float32. Rows of anchors without a negative mean nothing.

    See Also
    --------
    pair_weights : Weights of pairs with these negatives.
    sksiamese.losses.TripletLoss : A loss on the triplets of them.

    References
    ----------
    .. [1] Schroff, Kalenichenko, Philbin, "FaceNet: A Unified Embedding for Face
       Recognition and Clustering", CVPR 2015, https://doi.org/10.1109/CVPR.2015.7298682

    Examples
    --------
    Of the negatives 2 and 3 of anchor 0 the latter is nearer, but nearer than the
    positive 1 as well.

    >>> import torch
    >>> from sksiamese.mining import (
    ...     pair_masks,
    ...     pairwise_distances,
    ...     semihard_negatives,
    ... )
    >>> distances = pairwise_distances(torch.tensor([[0.0], [1.0], [1.5], [0.5]]))
    >>> _, negatives = pair_masks(torch.tensor([0, 0, 1, 1]))
    >>> semihard_negatives(distances, negatives)[0, 1]
    tensor(2)
    """
    # One integer per pair sorts by distance, then negatives before the others, then by
    # column. The bits of a float32 are in order as an integer; those of one below zero,
    # which a similarity's complement may be, are once all but the sign are inverted.
    columns = torch.arange(distances.shape[1], device=distances.device)
    bits = (distances.to(torch.float32) + 0.0).contiguous().view(torch.int32)
    bits = (bits ^ (bits >> 31 & 2**31 - 1)).to(torch.int64)
    keys = _sort_rows((bits << 32) | (~negatives).to(torch.int64) << 31 | columns)
    order = keys & (2**31 - 1)
    is_negative = keys & 2**31 == 0
    place = torch.where(is_negative, columns, len(columns))
    following = place.flip(1).cummin(1).values.flip(1)  # the next negative's place
    last = torch.where(is_negative, columns, 0).amax(1, keepdim=True)
    chosen = order.gather(1, torch.minimum(following, last))
    return torch.empty_like(order).scatter_(1, order, chosen)


def _sort_rows(keys):
    """Sort integers along rows; NumPy takes a tenth of PyTorch's time on the CPU."""
    if keys.device.type == "cpu":
        return torch.from_numpy(np.sort(keys.numpy(), axis=1))
    return keys.sort(dim=1).values


@torch.no_grad()
def pair_weights(distances, labels, mining="all"):
    """Weigh the pairs of a batch so that positives and negatives count alike.

    A loss of your own is then a sum over two matrices, however rare a class is. Pass
    distances without their gradient, as the weights have none.

    Parameters
    ----------
    distances : Tensor of shape (n, n)
        Distances within the batch.

    labels : Tensor of shape (n,)
        Class of each sample.

    mining : {"all", "semihard", "hard"}, default="all"
        ``"all"`` weighs every pair alike. ``"hard"`` takes each anchor's farthest
        positive and nearest negative. ``"semihard"`` takes all positives and, for each
        of them, the negative that :func:`semihard_negatives` chooses.

    Returns
    -------
    positive_weights : Tensor of shape (n, n)
        Weights that add up to 1, or to 0 when the batch has no positive pair.

    negative_weights : Tensor of shape (n, n)
        The same for negative pairs.

    See Also
    --------
    weight_classes : Let some classes count more.
    sksiamese.losses.ContrastiveLoss : A loss made this way.

    Examples
    --------
    The contrastive loss without squares:

    >>> import torch
    >>> from sksiamese.mining import pair_weights, pairwise_distances
    >>> def linear_loss(embeddings, labels):
    ...     distances = pairwise_distances(embeddings)
    ...     positive, negative = pair_weights(distances.detach(), labels, "hard")
    ...     return (positive * distances + negative * (1 - distances).relu()).sum()
    >>> embeddings = torch.tensor([[0.0], [0.25], [1.0]])
    >>> linear_loss(embeddings, torch.tensor([0, 0, 1])).round(decimals=3)
    tensor(0.4170)
    """
    positives, negatives = pair_masks(labels)
    if mining == "all":
        chosen = positives.to(distances.dtype), negatives.to(distances.dtype)
    elif mining == "hard":
        chosen = (
            _one_per_anchor(
                distances.masked_fill(~positives, -1).argmax(1), positives, distances
            ),
            _one_per_anchor(
                distances.masked_fill(~negatives, torch.inf).argmin(1),
                negatives,
                distances,
            ),
        )
    else:
        counts = torch.zeros_like(distances).scatter_add_(
            1, semihard_negatives(distances, negatives), positives.to(distances.dtype)
        )
        chosen = positives.to(distances.dtype), counts * negatives
    return tuple(weight / weight.sum().clamp_min(1) for weight in chosen)


def weight_classes(pairs, weights):
    """Let pairs count by the mean of their members' weights.

    Only the proportions of the weights matter, apart for positive and negative pairs,
    which go on counting alike as a whole.

    Parameters
    ----------
    pairs : tuple of Tensors of shape (n, n)
        Weights of pairs, each adding up to 1 or to 0, as :func:`pair_weights` has them.

    weights : float Tensor of shape (n,)
        Weight of each sample, > 0.

    Returns
    -------
    tuple of Tensors of shape (n, n)
        Weights of pairs that add up to the same again.

    See Also
    --------
    pair_weights : The weights to start from.
    sksiamese.losses.ContrastiveLoss : Takes weights of classes as ``class_weight``.

    Examples
    --------
    >>> import torch
    >>> from sksiamese.mining import pair_weights, weight_classes
    >>> labels = torch.tensor([0, 0, 1, 1])
    >>> pairs = pair_weights(torch.ones(4, 4), labels)
    >>> class_weight = torch.tensor([1.0, 3.0])
    >>> positive, negative = weight_classes(pairs, class_weight[labels])
    >>> (positive[2, 3] / positive[0, 1]).item()
    3.0
    """
    means = (weights[:, None] + weights) / 2
    weighted = [pair * means for pair in pairs]
    tiny = torch.finfo(means.dtype).tiny
    return tuple(part / part.sum().clamp_min(tiny) for part in weighted)


def _one_per_anchor(index, mask, like):
    """Mark ``[i, index[i]]``, unless that is no pair of the mask."""
    return torch.zeros_like(like).scatter_(1, index[:, None], 1.0) * mask
