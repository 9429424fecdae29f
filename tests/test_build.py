"""From parameters to a network: input statistics, sizes, pretrained normalisation."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import models
from torchvision.transforms import v2

from sksiamese import SiameseEmbedder
from sksiamese._build import make_module
from sksiamese.augment import RandomAffine
from sksiamese.losses import ContrastiveLoss

# The smallest of torchvision's models.
NAME = "shufflenet_v2_x0_5"
MEAN, STD = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Save random weights for all of torchvision's model."""
    path = tmp_path_factory.mktemp("weights") / "w.pt"
    torch.save(models.get_model(NAME, weights=None).state_dict(), path)
    return path


def build(X, rows=None, **params):
    """Build the network for an array, all of which is for training by default."""
    rows = np.arange(len(X)) if rows is None else rows
    params = SiameseEmbedder(**params).get_params()
    return make_module(params, X.shape[1:], X, rows)


def standardise(module, X):
    with torch.no_grad():
        return module.eval().preprocess(torch.from_numpy(X)).numpy()


def draw(shape, dtype=np.uint8, white=255):
    """Draw random images that reach from black to white."""
    X = np.random.default_rng(0).random(shape)
    X.flat[:2] = 0, 1
    if np.dtype(dtype).kind == "f":
        return (X * white).astype(dtype)
    return np.rint(X * white).astype(dtype)


@pytest.mark.parametrize(
    ("dtype", "white"),
    [(np.uint8, 200), (np.uint16, 9999), (np.int64, 99), (np.float32, 5), (bool, 1)],
)
@pytest.mark.parametrize(
    ("shape", "n_means"), [((9,), 9), ((6, 5), 1), ((6, 5, 1), 1), ((6, 5, 3), 3)]
)
def test_statistics_are_those_of_the_training_rows(shape, n_means, dtype, white):
    X = draw((12, *shape), dtype, white)
    rows = np.array([7, 0, 3, 4, 10])
    preprocess = build(X, rows)[0].preprocess
    values = X[rows].reshape(-1, n_means).astype(float)
    std = values.std(axis=0)
    np.testing.assert_allclose(preprocess.mean, values.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(
        1 / preprocess.scale, np.where(std > 0, std, 1), rtol=1e-6
    )


def test_rows_held_out_do_not_change_the_network():
    X, rows = draw((12, 6, 5)), np.arange(8)
    changed = np.concatenate([X[:8], 255 - X[8:]])
    states = []
    for array in (X, changed):
        torch.manual_seed(0)
        states.append(build(array, rows)[0].state_dict())
    for key, value in states[0].items():
        torch.testing.assert_close(value, states[1][key], rtol=0, atol=0)


def test_training_rows_come_out_standardised():
    X = draw((50, 6, 5, 2), np.float64, 3e4) + [0, 1e6]
    out = standardise(build(X)[0], X)
    assert out.shape == (50, 2, 6, 5) and out.dtype == np.float32
    np.testing.assert_allclose(out.mean((0, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(out.std((0, 2, 3)), 1, atol=1e-4)


@pytest.mark.parametrize("shape", [(3,), (6, 5, 3)])
def test_constant_channel_or_feature_stays_finite(shape):
    X = draw((8, *shape), np.float64, 1)
    X[..., 1] = 0.1
    out = standardise(build(X)[0], X)
    assert np.isfinite(out).all() and np.abs(out[:, 1]).max() < 1e-6


@pytest.mark.parametrize("shape", [(9,), (28, 28), (17, 30, 3)])
@pytest.mark.parametrize("normalize", [True, False])
def test_network_embeds_raw_arrays(shape, normalize):
    X = draw((4, *shape))
    module, criterion, n_outputs = build(X, embedding_dim=7, normalize=normalize)
    z = module.eval()(torch.from_numpy(X))
    assert z.shape == (4, 7) and n_outputs == 7 and isinstance(criterion, nn.Module)
    assert torch.allclose(z.norm(dim=1), torch.ones(4)) == normalize


def test_loss_is_built_from_its_parameters():
    criterion = build(draw((4, 9)), loss="contrastive", margin=0.7)[1]
    assert isinstance(criterion, ContrastiveLoss) and criterion.margin == 0.7


@pytest.mark.parametrize(
    ("size", "sides"),
    [
        (12, (12, 12)),
        (np.int64(12), (12, 12)),
        ((12, 20), (12, 20)),
        ([20, 12], (20, 12)),
    ],
)
@pytest.mark.parametrize(("shape", "channels"), [((9, 30), 1), ((40, 7, 3), 3)])
def test_image_size_resizes_before_the_backbone(size, sides, shape, channels):
    X = draw((3, *shape))
    module, _, n_outputs = build(X, image_size=size)
    assert standardise(module, X).shape == (3, channels, *sides)
    assert module(torch.from_numpy(X)).shape == (3, n_outputs)


@pytest.mark.parametrize("size", [(12,), (12, 12, 3), (0, 12), (12.0, 12), (-1, 4)])
def test_image_size_of_wrong_form_raises(size):
    with pytest.raises(ValueError, match=r"image_size must be \(height, width\)"):
        build(draw((3, 6, 5)), image_size=size)


@pytest.mark.parametrize("size", [12, (12, 12)])
def test_image_size_for_vectors_names_image_shape(size):
    with pytest.raises(ValueError, match="image_size=.*vectors: set image_shape"):
        build(draw((3, 30)), image_size=size)


@pytest.mark.parametrize(
    "backbone", ["auto", "conv", nn.Sequential(nn.Flatten(), nn.Linear(64, 3))]
)
def test_file_for_other_networks_keeps_the_statistics_of_the_rows(backbone, tmp_path):
    X = draw((5, 8, 8))
    plain = build(X, backbone="conv" if backbone == "auto" else backbone)[0].backbone
    torch.save(plain.state_dict(), tmp_path / "w.pt")
    module, _, _ = build(X, backbone=backbone, weights=tmp_path / "w.pt")
    np.testing.assert_allclose(module.preprocess.mean, [X.mean()], rtol=1e-6)


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 1), (28, 28, 3), (20, 33)])
def test_pretrained_network_takes_grey_and_rgb(shape, weights):
    X = draw((3, *shape))
    module, _, n_outputs = build(X, backbone=NAME, weights=weights)
    assert standardise(module, X).shape == (3, 3, *shape[:2])
    z = module(torch.from_numpy(X))
    assert z.shape == (3, n_outputs) == (3, 64) and z.isfinite().all()


@pytest.mark.parametrize("channels", [2, 4])
def test_pretrained_network_on_other_channels_raises(channels, weights):
    expected = f"X has {channels} channels: use weights=None or a subset"
    with pytest.raises(ValueError, match=expected):
        build(draw((3, 28, 28, channels)), backbone=NAME, weights=weights)


@pytest.mark.parametrize("image_size", [None, 40])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_untrained_torchvision_network_takes_any_channels(channels, image_size):
    X = draw((3, 28, 28, channels))
    module, _, _ = build(X, backbone=NAME, image_size=image_size)
    assert module.eval()(torch.from_numpy(X)).isfinite().all()
    np.testing.assert_allclose(module.preprocess.mean, X.mean((0, 1, 2)), rtol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "white"),
    [
        (np.uint8, 255),
        (np.uint16, 255),
        (np.int16, 255),
        (np.int64, 255),
        (np.float16, 1),
        (np.float32, 1),
        (np.float64, 1),
        (bool, 1),
    ],
)
def test_pretrained_statistics_are_in_the_unit_of_the_images(dtype, white, weights):
    X = draw((3, 28, 28, 3), dtype, white)
    module, _, _ = build(X, backbone=NAME, weights=weights)
    np.testing.assert_allclose(module.preprocess.mean, MEAN * white, rtol=1e-6)
    np.testing.assert_allclose(1 / module.preprocess.scale, STD * white, rtol=1e-6)
    expected = (X.astype(float) / white - MEAN) / STD
    found = standardise(module, X).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (draw((3, 28, 28), np.float32, 255), "from 0 to 255.*float32.*between 0 and 1"),
        (draw((3, 28, 28), np.float64, 2) - 1, "from -1 to 1.*float64"),
        (draw((3, 28, 28), np.int64, 4095), "to 4095.*int64.*0 and 255: pass uint8"),
        (draw((3, 28, 28), np.int16, 255) - 128, "from -128 to 127.*or divide X"),
        (draw((3, 28, 28), np.uint16, 4095), "to 4095.*uint16.*or divide X"),
    ],
    ids=["float", "signed float", "12 bit", "signed", "unsigned 12 bit"],
)
def test_pretrained_network_on_images_of_unknown_unit_raises(X, message, weights):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        build(X, backbone=NAME, weights=weights)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("name", [NAME, "efficientnet_b0"])
def test_pretrained_normalisation_is_that_of_torchvision(mode, name, tmp_path):
    torch.save(models.get_model(name, weights=None).state_dict(), tmp_path / "w.pt")
    X = draw((2, 64, 64, 3) if mode == "RGB" else (2, 64, 64))
    module, _, _ = build(X, backbone=name, weights=tmp_path / "w.pt")
    # No resizing: torchvision would crop, which is not for the network to do.
    transform = models.get_model_weights(name).DEFAULT.transforms
    transform = transform(resize_size=64, crop_size=64)
    images = [Image.fromarray(x).convert("RGB") for x in X]
    expected = torch.stack([transform(image) for image in images])
    np.testing.assert_allclose(standardise(module, X), expected, atol=2e-6)


def test_pretrained_normalisation_is_learned_from_no_rows(weights):
    """It does not depend on the data, so that few images do not shift it."""
    X = draw((6, 28, 28))
    means = [
        build(X, rows, backbone=NAME, weights=weights)[0].preprocess.mean
        for rows in (np.arange(2), np.arange(6))
    ]
    assert torch.equal(*means) and means[0].shape == (3,)


def test_pretrained_network_sees_grey_images_as_rgb(weights):
    grey = draw((3, 28, 28))
    rgb = grey[..., None].repeat(3, 3)
    z = []
    for X in (grey, rgb):
        torch.manual_seed(0)
        module = build(X, backbone=NAME, weights=weights)[0].eval()
        z.append(module(torch.from_numpy(X)))
    torch.testing.assert_close(*z)


@pytest.mark.parametrize(
    ("dtype", "white", "largest"),
    [
        (np.uint8, 255, 1),
        (np.uint16, 65535, 1),
        (np.dtype(">u2"), 65535, 1),
        (np.int16, 700, 700),
        (np.float64, 1, 1),
        (np.float32, 40, 40),
        (bool, 1, 1),
    ],
    ids=str,
)
@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 3)])
def test_callable_sees_unsigned_images_over_their_largest_value(
    shape, dtype, white, largest
):
    seen = []
    X = draw((4, *shape), dtype, white)
    module = build(X, augment=lambda x: seen.append(x) or x)[0].train()
    native = X.astype(X.dtype.newbyteorder("="))
    module(torch.from_numpy(native), torch.zeros(4).long())
    images = X.reshape(4, 6, 5, -1).transpose(0, 3, 1, 2).astype(np.float64)
    np.testing.assert_allclose(seen[0], images * largest / white, rtol=1e-6)
    assert seen[0].dtype == torch.float32


@pytest.mark.parametrize("augment", [RandomAffine(), "strong", "auto"], ids=repr)
def test_affine_sees_standardised_images(augment):
    module = build(draw((4, 6, 5)), augment=augment)[0]
    assert isinstance(module.augmentation, RandomAffine)
    assert module.raw is None


def test_callable_sees_standardised_vectors():
    seen = []
    X = draw((5, 9))
    module = build(X, augment=lambda x: seen.append(x) or x)[0].train()
    module(torch.from_numpy(X))
    torch.testing.assert_close(seen[0], module.preprocess(torch.from_numpy(X)))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_torchvision_transform_is_called_image_by_image(dtype):
    shapes = []

    class Noting(v2.Transform):
        def transform(self, inpt, params):
            shapes.append(tuple(inpt.shape))
            return inpt

    X = draw((4, 6, 5), dtype, 1)
    build(X, augment=Noting())[0].train()(torch.from_numpy(X))
    assert shapes == [(1, 6, 5)] * 4


def test_pretrained_network_gives_callable_rgb_in_image_unit(weights):
    seen = []
    X = draw((3, 28, 28))
    module, _, _ = build(
        X, backbone=NAME, weights=weights, augment=lambda x: seen.append(x) or x
    )
    spoken = module.preprocess(torch.from_numpy(X))
    module.train()(torch.from_numpy(X))
    expected = torch.from_numpy(X)[:, None].expand(-1, 3, -1, -1) / 255
    torch.testing.assert_close(seen[0], expected)
    given = torch.tensor(MEAN), torch.tensor(STD)
    mean, std = (v.float().view(-1, 1, 1) for v in given)
    torch.testing.assert_close(spoken, (expected - mean) / std, atol=1e-5, rtol=0)
