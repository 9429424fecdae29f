"""Losses on the embeddings and labels of a batch (layer 1: torch only).

Each loss is a module called as ``loss(embeddings, labels)``, the convention of
pytorch-metric-learning, so that losses of that package and of the user's own fit in the
same place. All pairs of the batch are formed from the embeddings; positives and
negatives are averaged apart, so that many negatives do not drown few positives. A batch
without positives, or without negatives, contributes zero for them, with a gradient,
never NaN.
"""

import copy

import torch
from torch import nn
from torch.nn import functional as F

from sksiamese._loss_parameters import check_loss_parameters
from sksiamese._similarity_losses import (
    MultiSimilarityLoss,
    SupervisedContrastiveLoss,
    full_precision,
)
from sksiamese.mining import (
    pair_masks,
    pair_weights,
    pairwise_distances,
    semihard_negatives,
    weight_classes,
)

__all__ = [
    "ContrastiveLoss",
    "LogisticLoss",
    "MultiSimilarityLoss",
    "SupervisedContrastiveLoss",
    "TripletLoss",
]


class ContrastiveLoss(nn.Module):
    r"""Contrastive loss: pull pairs of one class together, push others apart.

    .. math:: \operatorname{mean}_{\text{positives}} d^2 \min(1, d / m)^\gamma
        + \operatorname{mean}_{\text{negatives}}
        \max(0, m - d)^2 \max(0, 1 - d / m)^\gamma

    With :math:`\gamma = 0` this is equation 4 of [1]_ with the common factor 1/2 left
    out and the two kinds of pairs averaged apart. Estimators make it by
    ``loss="contrastive"``, and with ``gamma=2`` by ``loss="focal_contrastive"``.

    Read more in the :ref:`User Guide <guide-losses>`.

    Parameters
    ----------
    margin : float > 0 or Tensor, default=1.0
        Distance :math:`m` beyond which a negative pair costs nothing, in the unit of
        the embedding distance.

    mining : {"all", "semihard", "hard"}, default="all"
        Pairs that count, see :func:`sksiamese.mining.pair_weights`.

    gamma : float, default=0.0
        Focusing exponent :math:`\gamma`, >= 0, as in the focal loss [2]_: the larger,
        the less do pairs count that the network already gets right. The factor is 1 for
        a positive at the margin or beyond and for a negative at distance 0.

    class_weight : float Tensor of shape (n_classes,) or None, default=None
        Weight of each class, > 0, indexed by label. A pair counts by the mean of its
        members' weights, within the weighted means over positives and negatives; only
        the proportions of the weights matter. None weighs all classes alike.

    See Also
    --------
    TripletLoss : Compares distances with each other rather than with a margin.
    LogisticLoss : Learns a probability of "same", and needs no margin.
    sksiamese.mining.pair_weights : Which pairs of a batch count.

    References
    ----------
    .. [1] Hadsell, Chopra, LeCun, "Dimensionality Reduction by Learning an Invariant
       Mapping", CVPR 2006, https://doi.org/10.1109/CVPR.2006.100
    .. [2] Lin, Goyal, Girshick, He, Dollar, "Focal Loss for Dense Object Detection",
       ICCV 2017, https://doi.org/10.1109/ICCV.2017.324

    Examples
    --------
    >>> import torch
    >>> from sksiamese.losses import ContrastiveLoss
    >>> embeddings = torch.tensor([[0.0], [0.5], [0.75]])
    >>> ContrastiveLoss(margin=1.0)(embeddings, torch.tensor([0, 0, 1]))
    tensor(0.5625)
    """

    @check_loss_parameters
    def __init__(self, margin=1.0, mining="all", gamma=0.0, class_weight=None):
        super().__init__()
        self.margin = margin
        self.mining = mining
        self.gamma = gamma
        # Given with the data, not learned.
        self.register_buffer("class_weight", class_weight, persistent=False)

    def forward(self, embeddings, labels):
        """Compute the loss of a batch.

        Each image passes through the network once, and all pairs are formed here.
        Distances are computed in float32 at least. Without positive pairs, or without
        negative ones, these add nothing, and the gradient stays finite.

        Parameters
        ----------
        embeddings : Tensor of shape (n, embedding_dim)
            Embeddings of a batch.

        labels : int64 Tensor of shape (n,)
            Classes of the batch.

        Returns
        -------
        Tensor of shape ()
            Loss, >= 0.

        See Also
        --------
        sksiamese.mining.pairwise_distances : The distances of the pairs.

        Examples
        --------
        A negative pair beyond the margin costs nothing.

        >>> import torch
        >>> from sksiamese.losses import ContrastiveLoss
        >>> loss, labels = ContrastiveLoss(margin=1.0), torch.tensor([0, 1])
        >>> loss(torch.tensor([[0.0], [0.75]]), labels)
        tensor(0.0625)
        >>> loss(torch.tensor([[0.0], [1.5]]), labels)
        tensor(0.)
        """
        squares = pairwise_distances(full_precision(embeddings), squared=True)
        distances = squares.sqrt()
        positive, negative = pair_weights(distances.detach(), labels, self.mining)
        if self.class_weight is not None:
            weights = self.class_weight[labels].to(squares)
            positive, negative = weight_classes((positive, negative), weights)
        gap = F.relu(self.margin - distances)
        pull, push = squares, gap.square()
        if self.gamma:
            pull = pull * (distances / self.margin).clamp_max(1).pow(self.gamma)
            # One power: that of a zero to less than 1 has an infinite gradient.
            push = gap.pow(2 + self.gamma) / self.margin**self.gamma
        return (positive * pull + negative * push).sum()


class LogisticLoss(nn.Module):
    r"""Binary cross-entropy of a learned head that tells "same" from "different".

    The head is :math:`p(\text{same}) = \sigma(b - \sum_k w_k |a_k - b_k|)`, or
    :math:`\sigma(b - w \lVert a - b \rVert)` on the distance; its weights are trained
    together with the network. Estimators make it by ``loss="logistic"`` and
    ``loss="logistic_distance"``, and offer the fitted head as ``pair_proba``.

    Read more in the :ref:`User Guide <guide-losses>`.

    Parameters
    ----------
    embedding_dim : int
        Length of the embeddings.

    on : {"difference", "distance"}, default="difference"
        What the head sees: the absolute differences of the embeddings [1]_, or their
        Euclidean distance.

    mining : {"all", "semihard", "hard"}, default="all"
        Pairs that count, see :func:`sksiamese.mining.pair_weights`.

    Attributes
    ----------
    weight : Parameter of shape (embedding_dim,) or (1,)
        How much each difference speaks against "same".

    bias : Parameter of shape ()
        Log-odds of "same" at distance zero.

    See Also
    --------
    ContrastiveLoss : Trains the distances themselves, up to a margin.
    sksiamese.SiameseVerifier : Decides on pairs at a threshold that keeps a promise.

    Notes
    -----
    The weighted sums of all pairs come from two city-block distance matrices, those of
    the positive and of the negative weights: O(n ** 2) memory, not
    O(n ** 2 * embedding_dim). Positives and negatives count alike, so the
    probabilities refer to pairs that are as often of one class as of two.

    References
    ----------
    .. [1] Koch, Zemel, Salakhutdinov, "Siamese Neural Networks for One-shot Image
       Recognition", ICML Deep Learning Workshop 2015.

    Examples
    --------
    >>> import torch
    >>> from sksiamese.losses import LogisticLoss
    >>> loss = LogisticLoss(embedding_dim=2)
    >>> a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    >>> bool(loss.pair_logit(a, a) > loss.pair_logit(a, b))
    True
    """

    @check_loss_parameters
    def __init__(self, embedding_dim, on="difference", mining="all"):
        super().__init__()
        self.on = on
        self.mining = mining
        # The start puts random unit vectors, sqrt(2) apart, near log-odds of -2.
        size = embedding_dim if on == "difference" else 1
        self.weight = nn.Parameter(torch.full((size,), 4.0 / size**0.5))
        self.bias = nn.Parameter(torch.tensor(2.5))

    def forward(self, embeddings, labels):
        """Compute the loss of a batch.

        The head's own weights get a gradient too: train ``loss.parameters()`` together
        with the network's, as estimators do. Without positive pairs, or without
        negative ones, these add nothing.

        Parameters
        ----------
        embeddings : Tensor of shape (n, embedding_dim)
            Embeddings of a batch.

        labels : int64 Tensor of shape (n,)
            Classes of the batch.

        Returns
        -------
        Tensor of shape ()
            Mean cross-entropy of the positives plus that of the negatives, >= 0.

        See Also
        --------
        LogisticLoss.pair_logit : What the trained head says of pairs.

        Examples
        --------
        >>> import torch
        >>> from sksiamese.losses import LogisticLoss
        >>> loss = LogisticLoss(embedding_dim=1)
        >>> embeddings = torch.tensor([[0.0], [0.1], [2.0], [2.1]])
        >>> near_are_same = loss(embeddings, torch.tensor([0, 0, 1, 1]))
        >>> near_are_different = loss(embeddings, torch.tensor([0, 1, 0, 1]))
        >>> bool(near_are_same < near_are_different)
        True
        """
        embeddings = full_precision(embeddings)
        if self.on == "difference":
            opposing = embeddings * F.relu(self.weight)
            favouring = embeddings * F.relu(-self.weight)
            evidence = torch.cdist(opposing, opposing, p=1.0) - torch.cdist(
                favouring, favouring, p=1.0
            )
        else:
            evidence = self.weight * pairwise_distances(embeddings)
        logits = self.bias - evidence  # (n, n)
        # Mining ranks pairs as the head does: least similar is farthest.
        ranks = (logits.max() - logits).detach()
        positive, negative = pair_weights(ranks, labels, self.mining)
        return (positive * F.softplus(-logits) + negative * F.softplus(logits)).sum()

    def pair_logit(self, a, b):
        """Compute the log-odds that two embeddings are of one class.

        Their sigmoid is the probability of "same" among pairs that are as often of one
        class as of two, so log-odds of 0 mean even odds there.

        Parameters
        ----------
        a, b : Tensors of shape (n_pairs, embedding_dim)
            Embeddings of the two members of each pair.

        Returns
        -------
        Tensor of shape (n_pairs,)
            Log-odds of "same"; larger is more alike.

        See Also
        --------
        sksiamese.SiameseEmbedder.pair_proba : The probability, from images.

        Examples
        --------
        >>> import torch
        >>> from sksiamese.losses import LogisticLoss
        >>> loss = LogisticLoss(embedding_dim=2)  # not trained yet
        >>> a, b = torch.zeros(2, 2), torch.tensor([[0.0, 0.0], [1.0, 1.0]])
        >>> loss.pair_logit(a, b).sigmoid().detach().numpy().round(2).tolist()
        [0.92..., 0.0...]
        """
        difference = (a - b).abs()
        if self.on == "distance":
            difference = difference.square().sum(1, keepdim=True).sqrt()
        return self.bias - difference @ self.weight


class TripletLoss(nn.Module):
    r"""Triplet loss: a positive is to be nearer to the anchor than a negative.

    .. math:: \operatorname{mean}_{(a, p, n)} \max(0, d(a, p) - d(a, n) + m)

    Only differences of distances count, so classes may be of different spread.
    Estimators make it by ``loss="triplet"``.

    Read more in the :ref:`User Guide <guide-losses>`.

    Parameters
    ----------
    margin : float > 0 or Tensor, default=1.0
        How much nearer, :math:`m`, in the unit of the embedding distance.

    mining : {"all", "semihard", "hard"}, default="all"
        ``"all"`` is the mean over all triplets that cost something [1]_; ``"hard"``
        takes each anchor's farthest positive and nearest negative [1]_; ``"semihard"``
        takes, for each anchor and positive, the negative that
        :func:`sksiamese.mining.semihard_negatives` chooses.

    See Also
    --------
    ContrastiveLoss : One margin for all negative pairs.
    SupervisedContrastiveLoss : Compares each positive with the whole batch.
    sksiamese.mining.semihard_negatives : How ``mining="semihard"`` chooses.

    Notes
    -----
    ``"all"`` sorts the negatives of each anchor and adds them up cumulatively, so that
    the sum over O(n ** 3) triplets needs O(n ** 2) memory.

    References
    ----------
    .. [1] Hermans, Beyer, Leibe, "In Defense of the Triplet Loss for Person
       Re-Identification", 2017, https://doi.org/10.48550/arXiv.1703.07737

    Examples
    --------
    >>> import torch
    >>> from sksiamese.losses import TripletLoss
    >>> embeddings = torch.tensor([[0.0], [0.5], [0.75]])
    >>> TripletLoss(margin=0.5)(embeddings, torch.tensor([0, 0, 1]))
    tensor(0.5000)
    """

    @check_loss_parameters
    def __init__(self, margin=1.0, mining="all"):
        super().__init__()
        self.margin = margin
        self.mining = mining

    def forward(self, embeddings, labels):
        """Compute the loss of a batch.

        An anchor takes part if it has a positive and a negative. If none has, as in a
        batch of one class, the loss is 0, with a gradient of 0.

        Parameters
        ----------
        embeddings : Tensor of shape (n, embedding_dim)
            Embeddings of a batch.

        labels : int64 Tensor of shape (n,)
            Classes of the batch.

        Returns
        -------
        Tensor of shape ()
            Loss, >= 0.

        See Also
        --------
        sksiamese.mining.semihard_negatives : The negatives of ``mining="semihard"``.

        Examples
        --------
        The loss is 0 once all negatives are farther than the positives by the margin.

        >>> import torch
        >>> from sksiamese.losses import TripletLoss
        >>> embeddings = torch.tensor([[0.0], [0.1], [2.0]])
        >>> labels = torch.tensor([0, 0, 1])
        >>> TripletLoss(margin=1.0)(embeddings, labels)
        tensor(0.)
        >>> TripletLoss(margin=2.0)(embeddings, labels)
        tensor(0.1500)
        """
        distances = pairwise_distances(full_precision(embeddings))
        positives, negatives = pair_masks(labels)
        positives = positives & negatives.any(1, keepdim=True)
        if self.mining == "all":
            return self._all_triplets(distances, positives, negatives)
        if self.mining == "hard":
            # Masked entries stay finite, so that 0 * inf never enters a gradient.
            far = distances.max().detach() + 1
            gap = (distances * positives).amax(1) - (
                distances.masked_fill(~negatives, 0) + far * ~negatives
            ).amin(1)
            valid = positives.any(1)
        else:
            chosen = semihard_negatives(distances, negatives)
            gap, valid = distances - distances.gather(1, chosen), positives
        return (F.relu(gap + self.margin) * valid).sum() / valid.sum().clamp_min(1)

    def _all_triplets(self, distances, positives, negatives):
        """Mean over the triplets that cost something."""
        ranked, order = distances.detach().masked_fill(~negatives, torch.inf).sort(1)
        reach = distances + self.margin
        n_active = torch.searchsorted(ranked, reach.detach())  # negatives within reach
        ordered = (distances * negatives).gather(1, order)
        sums = F.pad(ordered.cumsum(1), (1, 0)).gather(1, n_active)
        total = ((n_active * reach - sums) * positives).sum()
        return total / (n_active * positives).sum().clamp_min(1)


_NAMED = {
    "contrastive": lambda dim, **both: ContrastiveLoss(**both),
    "focal_contrastive": lambda dim, **both: ContrastiveLoss(gamma=2.0, **both),
    "logistic": lambda dim, margin, mining: LogisticLoss(dim, mining=mining),
    "logistic_distance": lambda dim, margin, mining: LogisticLoss(
        dim, on="distance", mining=mining
    ),
    "triplet": lambda dim, **both: TripletLoss(**both),
    "multi_similarity": lambda dim, margin, mining: MultiSimilarityLoss(mining=mining),
    "supervised_contrastive": lambda dim, **both: SupervisedContrastiveLoss(),
}
LOSSES = tuple(_NAMED)


def make_loss(loss, *, embedding_dim, margin=1.0, mining="auto"):
    """Build the loss module that an estimator's parameters describe.

    Parameters
    ----------
    loss : str or Module
        One of ``LOSSES``, or a module called as ``loss(embeddings, labels)``, which is
        copied.

    embedding_dim : int
        Length of the embeddings.

    margin : float, default=1.0
        Margin of the contrastive losses and ``"triplet"``; the others have none.

    mining : {"auto", "all", "semihard", "hard"}, default="auto"
        Pairs or triplets that count. ``"auto"`` is ``"semihard"`` where there is a
        margin and ``"all"`` otherwise.

    Returns
    -------
    Module
        A module of its own, whose parameters may be trained.

    Raises
    ------
    ValueError
        If ``mining`` is asked of a loss that has none.
    """
    weighs_itself = isinstance(loss, nn.Module) or loss == "supervised_contrastive"
    if mining not in ("auto", "all") and weighs_itself:
        raise ValueError(
            f"mining={mining!r} does not apply to loss={loss!r}, which weighs the pairs"
            " itself: leave mining='auto', or choose a loss among"
            f" {', '.join(name for name in LOSSES if name != loss)}."
        )
    if isinstance(loss, nn.Module):
        return copy.deepcopy(loss)
    if mining == "auto":
        # The mean over all negatives of two well separated classes is nearly zero, so
        # the few pairs that still cost something would hardly count.
        has_margin = loss in ("contrastive", "focal_contrastive", "triplet")
        mining = "semihard" if has_margin else "all"
    return _NAMED[loss](embedding_dim, margin=margin, mining=mining)
