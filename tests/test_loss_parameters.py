"""Constructors of losses check their own parameters; values: ``test_parameters.py``."""

import inspect

import pytest
import torch
from sklearn.utils._param_validation import InvalidParameterError

from sksiamese._loss_parameters import check_loss_parameters
from sksiamese.losses import ContrastiveLoss, LogisticLoss, SupervisedContrastiveLoss
from sksiamese.mining import MINING


def test_other_parameters_of_a_function_are_not_checked():
    @check_loss_parameters
    def build(margin, other):
        return margin, other

    assert build(0.5, other="anything") == (0.5, "anything")
    with pytest.raises(InvalidParameterError, match="'margin' parameter of .*build"):
        build(0, other="anything")


@pytest.mark.parametrize("mining", MINING)
def test_every_kind_of_mining_is_taken(mining):
    assert ContrastiveLoss(mining=mining).mining == mining


def test_settings_that_are_learned_are_taken():
    temperature = torch.nn.Parameter(torch.tensor(0.1))
    loss = SupervisedContrastiveLoss(temperature)
    embeddings = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    loss(embeddings, torch.arange(8) % 2).backward()
    assert temperature.grad.abs() > 0
    assert ContrastiveLoss(margin=torch.tensor(0.3)).margin == torch.tensor(0.3)


def test_checked_constructors_keep_signature_and_class_weights():
    assert list(inspect.signature(LogisticLoss).parameters)[0] == "embedding_dim"
    weights = torch.ones(3)
    assert ContrastiveLoss(class_weight=weights).class_weight is weights
