"""Losses on the cosine similarities of a batch (layer 1, below ``losses``)."""

import torch
from torch import nn
from torch.nn import functional as F

from sksiamese._loss_parameters import check_loss_parameters
from sksiamese.mining import pair_masks, pair_weights


def full_precision(embeddings):
    """Give embeddings in the precision in which distances are computed.

    Parameters
    ----------
    embeddings : Tensor
        Embeddings, in whatever precision the network ran.

    Returns
    -------
    Tensor
        The same in float64, if that is what they are in, else in float32.
    """
    return embeddings if embeddings.dtype == torch.float64 else embeddings.float()


class MultiSimilarityLoss(nn.Module):
    r"""Multi-similarity loss on cosine similarities :math:`s`.

    .. math:: \operatorname{mean}_a \Bigl[
        \frac{1}{\alpha} \log\Bigl(1 + \sum_p e^{-\alpha (s_{ap} - c)}\Bigr) +
        \frac{1}{\beta} \log\Bigl(1 + \sum_n e^{\beta (s_{an} - c)}\Bigr)\Bigr]

    The sums run over the positives :math:`p` and the negatives :math:`n` of each anchor
    :math:`a` [1]_. Of an anchor's negatives the most similar ones count most, of its
    positives the least similar ones. Estimators make it by
    ``loss="multi_similarity"``.

    Read more in the :ref:`User Guide <guide-losses>`.

    Parameters
    ----------
    alpha : float > 0 or Tensor, default=2.0
        Sharpness for positives.

    beta : float > 0 or Tensor, default=50.0
        Sharpness for negatives.

    base : float or Tensor, default=0.5
        Cosine similarity :math:`c` that parts the two.

    mining : {"all", "semihard", "hard"}, default="all"
        Pairs that enter the sums, see :func:`sksiamese.mining.pair_weights`.

    See Also
    --------
    SupervisedContrastiveLoss : Also on cosine similarities, with one parameter.
    ContrastiveLoss : On distances, with a margin in their unit.

    References
    ----------
    .. [1] Wang, Han, Huang, Dong, Scott, "Multi-Similarity Loss with General Pair
       Weighting for Deep Metric Learning", CVPR 2019,
       https://doi.org/10.1109/CVPR.2019.00516

    Examples
    --------
    >>> import torch
    >>> from sksiamese.losses import MultiSimilarityLoss
    >>> embeddings = torch.eye(2)[[0, 0, 1]]
    >>> MultiSimilarityLoss()(embeddings, torch.tensor([0, 0, 1]))
    tensor(0.1044)
    """

    @check_loss_parameters
    def __init__(self, alpha=2.0, beta=50.0, base=0.5, mining="all"):
        super().__init__()
        self.alpha = alpha
        self.beta = beta
        self.base = base
        self.mining = mining

    def forward(self, embeddings, labels):
        """Compute the loss of a batch.

        An anchor without positives, or without negatives, has a sum of 0 for them. The
        mean is over all anchors of the batch.

        Parameters
        ----------
        embeddings : Tensor of shape (n, embedding_dim)
            Embeddings of a batch; only their directions matter.

        labels : int64 Tensor of shape (n,)
            Classes of the batch.

        Returns
        -------
        Tensor of shape ()
            Loss, >= 0.

        See Also
        --------
        sksiamese.mining.pair_weights : Which pairs enter the sums.

        Examples
        --------
        Only directions count, so the length of embeddings does not matter.

        >>> import torch
        >>> from sksiamese.losses import MultiSimilarityLoss
        >>> loss, labels = MultiSimilarityLoss(), torch.tensor([0, 0, 1])
        >>> embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.5], [0.0, 1.0]])
        >>> torch.allclose(loss(embeddings, labels), loss(3 * embeddings, labels))
        True
        """
        unit = F.normalize(full_precision(embeddings), dim=1)
        similarity = unit @ unit.T - self.base
        positive, negative = pair_weights(1 - similarity.detach(), labels, self.mining)
        pull = _log1p_sum_exp(-self.alpha * similarity, positive > 0) / self.alpha
        push = _log1p_sum_exp(self.beta * similarity, negative > 0) / self.beta
        return (pull + push).mean()


def _log1p_sum_exp(values, mask):
    """``log(1 + sum(exp(values[mask])))`` of each row; 0 for a row without any."""
    values = values.masked_fill(~mask, torch.finfo(values.dtype).min)
    return F.pad(values, (1, 0)).logsumexp(1)


class SupervisedContrastiveLoss(nn.Module):
    r"""Supervised contrastive loss on cosine similarities :math:`s`.

    .. math:: -\operatorname{mean}_a \operatorname{mean}_p
        \log \frac{e^{s_{ap} / \tau}}{\sum_{j \neq a} e^{s_{aj} / \tau}}

    Each positive :math:`p` of an anchor :math:`a` competes with all other images
    :math:`j` of the batch [1]_. Anchors without a positive are left out of the mean.
    Estimators make it by ``loss="supervised_contrastive"``.

    Read more in the :ref:`User Guide <guide-losses>`.

    Parameters
    ----------
    temperature : float > 0 or Tensor, default=0.1
        :math:`\tau`; lower makes near negatives count more.

    See Also
    --------
    MultiSimilarityLoss : Treats positives and negatives apart, and can mine them.
    TripletLoss : On distances, with a margin in their unit.

    References
    ----------
    .. [1] Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020,
       https://doi.org/10.48550/arXiv.2004.11362 (equation 2)

    Examples
    --------
    >>> import torch
    >>> from sksiamese.losses import SupervisedContrastiveLoss
    >>> embeddings = torch.eye(2)[[0, 0, 1]]
    >>> SupervisedContrastiveLoss(temperature=1.0)(embeddings, torch.tensor([0, 0, 1]))
    tensor(0.3133)
    """

    @check_loss_parameters
    def __init__(self, temperature=0.1):
        super().__init__()
        self.temperature = temperature

    def forward(self, embeddings, labels):
        """Compute the loss of a batch.

        If no class has two images in the batch, the loss is 0, with a gradient of 0.

        Parameters
        ----------
        embeddings : Tensor of shape (n, embedding_dim)
            Embeddings of a batch; only their directions matter.

        labels : int64 Tensor of shape (n,)
            Classes of the batch.

        Returns
        -------
        Tensor of shape ()
            Loss, >= 0.

        See Also
        --------
        sksiamese.mining.pair_masks : Positives and negatives of a batch.

        Examples
        --------
        >>> import torch
        >>> from sksiamese.losses import SupervisedContrastiveLoss
        >>> loss = SupervisedContrastiveLoss()
        >>> embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
        >>> near_are_same = loss(embeddings, torch.tensor([0, 0, 1, 1]))
        >>> near_are_different = loss(embeddings, torch.tensor([0, 1, 0, 1]))
        >>> bool(near_are_same < near_are_different)
        True
        """
        unit = F.normalize(full_precision(embeddings), dim=1)
        logits = unit @ unit.T / self.temperature
        lowest = torch.finfo(logits.dtype).min
        own = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        log_norm = logits.masked_fill(own, lowest).logsumexp(1, keepdim=True)
        positives = pair_masks(labels)[0]
        n_positives = positives.sum(1)
        per_anchor = ((log_norm - logits) * positives).sum(1) / n_positives.clamp_min(1)
        return per_anchor.sum() / (n_positives > 0).sum().clamp_min(1)
