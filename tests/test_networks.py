"""The small networks: published layers, depth by image size, and what comes out."""

import pytest
import torch
from torch import nn

from sksiamese.backbones import make_backbone

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
