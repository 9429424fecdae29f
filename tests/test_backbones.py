"""The small networks by name, and modules, classes and functions of the user's."""

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

# Name: (own embedding_dim, kernels of the convolutions, units of the linear layers).
PUBLISHED = {
    "mlp": (64, [], [128, 128, 64]),
    "conv16-32-64": (128, [(16, 3), (32, 3), (64, 3)], [512, 128]),
    "conv16-32-16": (64, [(16, 3), (32, 3), (16, 3)], [64]),
    "conv4-16-tanh": (10, [(4, 5), (16, 5)], [10]),
    "dense128": (128, [], [128]),
}


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


def layers(module, kind):
    return [m for m in module.modules() if isinstance(m, kind)]


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_network_has_published_layers(name):
    dim, kernels, units = PUBLISHED[name]
    module, n_outputs = make_backbone(name, (3, 28, 28))
    found = [(m.out_channels, m.kernel_size) for m in layers(module, nn.Conv2d)]
    assert found == [(width, (side, side)) for width, side in kernels]
    assert [m.out_features for m in layers(module, nn.Linear)] == units
    assert n_outputs == dim


def test_published_networks_have_published_activations_and_pooling():
    def kinds(name, size):
        module = make_backbone(name, (1, size, size))[0]
        return [type(m).__name__ for m in module if not any(m.children())]

    block = ["Conv2d", "ReLU", "MaxPool2d"]
    end = ["Flatten", "Linear"]
    assert kinds("conv16-32-64", 8) == [*block * 3, *end, "ReLU", "Linear"]
    assert kinds("conv16-32-16", 8) == [*[*block, "Dropout"] * 3, *end]
    tanh = ["Conv2d", "Tanh", "AvgPool2d"]
    expected = ["BatchNorm2d", *tanh * 2, "Flatten", "BatchNorm1d", "Linear", "Tanh"]
    assert kinds("conv4-16-tanh", 16) == expected
    assert kinds("dense128", 4) == [*end, "ReLU"]


@pytest.mark.parametrize("embedding_dim", [None, 1, 7])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 17, 33), (2, 41, 19)])
@pytest.mark.parametrize("name", ["conv", *PUBLISHED])
def test_small_network_on_images_returns_embeddings(name, shape, embedding_dim):
    module, n_outputs = make_backbone(name, shape, embedding_dim=embedding_dim)
    own = 64 if name == "conv" else PUBLISHED[name][0]
    assert n_outputs == (embedding_dim or own)
    z = module(torch.randn(3, *shape))
    assert z.shape == (3, n_outputs) and z.dtype == torch.float32
    assert z.isfinite().all()


@pytest.mark.parametrize(
    ("shape", "n_blocks", "last_sides"),
    [
        ((1, 1, 1), 1, (1, 1)),
        ((1, 1, 9), 1, (1, 5)),
        ((3, 2, 2), 1, (1, 1)),
        ((1, 5, 5), 1, (3, 3)),
        ((1, 8, 8), 2, (2, 2)),
        ((1, 28, 28), 3, (4, 4)),
        ((3, 28, 100), 3, (4, 13)),
        ((1, 32, 32), 4, (2, 2)),
        ((3, 33, 65), 4, (3, 5)),
        ((1, 64, 64), 5, (2, 2)),
        ((1, 128, 128), 6, (2, 2)),
        ((1, 256, 256), 6, (4, 4)),
    ],
)
def test_conv_depth_follows_image_size(shape, n_blocks, last_sides):
    module, _ = make_backbone("conv", shape)
    widths = [m.out_channels for m in layers(module, nn.Conv2d)]
    assert widths == [32, 64, 128, 128, 128, 128][:n_blocks]
    linear = layers(module, nn.Linear)[0]
    assert linear.in_features == widths[-1] * last_sides[0] * last_sides[1]
    assert module(torch.randn(2, *shape)).isfinite().all()


@pytest.mark.parametrize("name", ["auto", "mlp", "dense128"])
@pytest.mark.parametrize("n_features", [1, 10])
def test_network_for_vectors_returns_embeddings(name, n_features):
    module, n_outputs = make_backbone(name, (n_features,), embedding_dim=4)
    assert n_outputs == 4
    assert module(torch.randn(3, n_features)).shape == (3, 4)


def test_activation_at_the_end_bounds_the_embedding():
    x = 10 * torch.randn(20, 1, 16, 16)
    assert make_backbone("conv4-16-tanh", (1, 16, 16))[0](x).abs().max() <= 1
    assert make_backbone("dense128", (1, 16, 16))[0](x).min() == 0


@pytest.mark.parametrize(
    ("name", "smallest"),
    [("conv16-32-64", 8), ("conv16-32-16", 8), ("conv4-16-tanh", 16)],
)
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors:UserWarning")
def test_published_network_on_too_small_images_names_image_size(name, smallest):
    assert make_backbone(name, (1, smallest, smallest))
    with pytest.raises(ValueError, match=f"backbone='{name}'.*image_size"):
        make_backbone(name, (1, smallest - 1, 2 * smallest))


def test_auto_takes_conv_for_images_and_mlp_for_vectors():
    assert layers(make_backbone("auto", (1, 8, 8))[0], nn.Conv2d)
    assert not layers(make_backbone("auto", (8,))[0], nn.Conv2d)


def test_list_holds_small_networks_then_torchvision_models():
    names = list_backbones()
    assert set(names[:6]) == {"conv", *PUBLISHED}
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
