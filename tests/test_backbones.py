"""Backbones by name, and modules, classes and functions of the user's."""

import copy
import functools
import re

import pytest
import torch
from torch import nn
from torchvision import models

from sksiamese.backbones import (
    conv,
    list_backbones,
    make_backbone,
    pretrained_statistics,
    uses_pretrained_weights,
)

SMALL = ["mlp", "conv", "conv16-32-64", "conv16-32-16", "conv4-16-tanh", "dense128"]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


class Net(nn.Module):
    """A module of the user's, built for one input shape."""

    def __init__(self, input_shape, embedding_dim=5):
        super().__init__()
        self.linear = nn.Linear(input_shape[-1], embedding_dim)

    def forward(self, x):
        return self.linear(x)


class Apply(nn.Module):
    """Wrap a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def test_auto_takes_conv_for_images_and_mlp_for_vectors():
    def convolves(shape):
        module, _ = make_backbone("auto", shape)
        return any(isinstance(layer, nn.Conv2d) for layer in module.modules())

    assert convolves((1, 8, 8))
    assert not convolves((8,))


def test_list_holds_small_networks_then_torchvision_models():
    names = list_backbones()
    assert names[:6] == SMALL
    assert names[6:] == models.list_models(module=models)


@pytest.mark.parametrize(
    ("name", "close"),
    [("resnet81", "'resnet18'"), ("cnov", "'conv'"), ("aut", "'auto'")],
)
def test_unknown_name_lists_close_matches(name, close):
    with pytest.raises(ValueError, match=f"backbone='{name}' is unknown.*{close}"):
        make_backbone(name, (3, 28, 28))


def test_unknown_name_without_close_match_points_to_list():
    with pytest.raises(ValueError, match=r"backbone='zzzz'.*list_backbones\(\)"):
        make_backbone("zzzz", (3, 28, 28))


@pytest.mark.parametrize("name", ["conv", "conv16-32-16", "conv4-16-tanh", "vgg11"])
def test_image_network_on_vectors_names_image_shape(name):
    with pytest.raises(ValueError, match=f"backbone='{name}'.*image_shape"):
        make_backbone(name, (784,))


@pytest.mark.parametrize("backbone", ["mlp", Net, nn.Linear(8, 5)])
def test_backbone_is_returned_in_evaluation_mode(backbone):
    assert not make_backbone(backbone, (8,), embedding_dim=5)[0].training


def test_module_is_copied_and_never_changed():
    own = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.BatchNorm1d(5))
    before = copy.deepcopy(own.state_dict())
    module, n_outputs = make_backbone(own, (1, 3, 4))
    assert n_outputs == 5 and module is not own and own.training
    nn.init.constant_(module[1].weight, 9.0)
    module.train()(torch.randn(4, 1, 3, 4))
    for key, value in own.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)


def test_lazy_module_is_initialised_in_the_copy_only():
    own = nn.Sequential(nn.LazyConv2d(2, 3), nn.Flatten(), nn.LazyLinear(3))
    module, n_outputs = make_backbone(own, (1, 5, 4))
    assert n_outputs == 3 and module[2].in_features == 12
    assert own[2].has_uninitialized_params()


def test_lazy_module_loads_weights(tmp_path):
    own = nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
    trained = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    torch.save(trained.state_dict(), tmp_path / "w.pt")
    module, _ = make_backbone(own, (1, 2, 2), weights=tmp_path / "w.pt")
    torch.testing.assert_close(module[1].weight, trained[1].weight)


@pytest.mark.parametrize(
    "backbone",
    [
        Net,
        lambda input_shape: Net(input_shape),
        lambda: nn.Linear(6, 5),
        lambda input_shape, embedding_dim: Net(input_shape, embedding_dim or 5),
        functools.partial(Net, embedding_dim=5),
    ],
    ids=["class", "shape", "nothing", "both", "partial"],
)
def test_class_or_callable_gets_the_arguments_it_names(backbone):
    assert make_backbone(backbone, (6,), embedding_dim=5)[1] == 5


@pytest.mark.parametrize(
    ("backbone", "own"),
    [(Net, 5), (functools.partial(Net, embedding_dim=9), 9), (conv, 64)],
    ids=["class", "partial", "conv"],
)
def test_callable_without_embedding_dim_keeps_its_own(backbone, own):
    """None means the backbone's own length, not that it is called with None."""
    assert make_backbone(backbone, (1, 8, 8) if backbone is conv else (6,))[1] == own


def test_callable_that_returns_no_module_raises():
    with pytest.raises(ValueError, match="returned a list, not a torch.nn.Module"):
        make_backbone(lambda: [1], (6,))


@pytest.mark.parametrize(
    ("function", "given"),
    [
        (lambda x: x.mean((1, 2, 3)), r"\(2,\)"),
        (lambda x: x, r"\(2, 1, 4, 4\)"),
        (lambda x: (x, x), "tuple"),
        (lambda x: None, "NoneType"),
        (lambda x: x.reshape(4, -1), r"\(4, 8\)"),
    ],
    ids=["1d", "4d", "tuple", "none", "rows"],
)
def test_output_of_wrong_shape_raises(function, given):
    expected = rf"backbone=.*shape \(n, embedding_dim\).*{given}"
    with pytest.raises(ValueError, match=re.compile(expected, re.DOTALL)):
        make_backbone(Apply(function), (1, 4, 4))


@pytest.mark.parametrize("backbone", [nn.Linear(6, 5), lambda: nn.Linear(6, 5)])
def test_embedding_dim_that_module_does_not_have_raises(backbone):
    assert make_backbone(backbone, (6,), embedding_dim=5)[1] == 5
    with pytest.raises(ValueError, match=r"returns 5 .* set embedding_dim=5 or None"):
        make_backbone(backbone, (6,), embedding_dim=7)


@pytest.mark.parametrize("backbone", [nn.Linear(7, 5), nn.Conv2d(3, 2, 3)])
def test_module_for_another_input_raises_and_quotes_it(backbone):
    with pytest.raises(ValueError, match=r"inputs of shape \(1, 6, 6\).*It said: "):
        make_backbone(backbone, (1, 6, 6))


@pytest.mark.parametrize(
    ("backbone", "weights", "expected"),
    [
        ("resnet18", "DEFAULT", True),
        ("resnet18", "file.pt", True),
        ("resnet18", None, False),
        ("conv", "file.pt", False),
        ("auto", "file.pt", False),
        (Net, "file.pt", False),
    ],
)
def test_only_torchvision_weights_bring_statistics(backbone, weights, expected):
    assert uses_pretrained_weights(backbone, weights) == expected


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("resnet18", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ("efficientnet_v2_l", [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]),
    ],
)
@pytest.mark.parametrize("weights", ["DEFAULT", "IMAGENET1K_V1", "file"])
def test_pretrained_statistics_are_those_of_the_weights(
    name, mean, std, weights, tmp_path
):
    weights = tmp_path if weights == "file" else weights
    assert pretrained_statistics(name, weights) == (mean, std)
