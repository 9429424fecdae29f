"""torchvision's models as backbones: classifier, stem and weights by name."""

import os
import re
import urllib.error

import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.models import regnet

from sksiamese.backbones import make_backbone

NAMES = models.list_models(module=models)
# One model of each module of torchvision, such as "resnet" or "vgg".
FAMILIES = {models.get_model_builder(n).__module__: n for n in reversed(NAMES)}.values()
SMALL = ["mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_1"]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def meta(monkeypatch):
    """Build networks without memory for their weights."""
    build = regnet.BlockParams.from_init_params

    def from_init_params(*args, **kwargs):  # computes widths with tensors
        with torch.device("cpu"):
            return build(*args, **kwargs)

    method = staticmethod(from_init_params)
    monkeypatch.setattr(regnet.BlockParams, "from_init_params", method)
    with torch.device("meta"):
        yield


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """Make an empty folder for downloads, and cut the network."""

    def fail(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def build_plain(name):
    """Build torchvision's own model with 1000 classes."""
    if name == "googlenet":  # as downloaded: with its auxiliary classifiers
        return models.GoogLeNet(init_weights=False, transform_input=True).eval()
    return models.get_model(name, weights=None).eval()


def file_name(name):
    return os.path.basename(models.get_model_weights(name).DEFAULT.url)


def published_state(model):
    """State dict as in the published files: old names, no counts of batches."""
    pattern = r"(denselayer\d+\.(?:norm|conv))([12]\.)"
    return {
        re.sub(pattern, r"\1.\2", key): value
        for key, value in model.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }


def assert_body_is_copied(module, state):
    """Check that every layer but the last has the weights of the state dict."""
    own = module.state_dict()
    for key in list(own)[:-2]:
        torch.testing.assert_close(own[key], state[key], rtol=0, atol=0)


def head_inputs(module, x):
    """Compute what the last layer is given."""
    seen = []
    head = [m for m in module.modules() if isinstance(m, nn.Linear)][-1]
    handle = head.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    module(x)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("name", NAMES)
def test_classification_model_has_its_classifier_replaced(name, meta):
    side = 299 if name == "inception_v3" else 224
    module, n_outputs = make_backbone(name, (3, side, side), embedding_dim=16)
    assert n_outputs == 16  # as counted by a forward pass of two images
    widths = {
        getattr(m, "out_features", getattr(m, "out_channels", 0))
        for m in module.modules()
    }
    assert 1000 not in widths


@pytest.mark.parametrize("shape", [(1, 28, 28), (5, 32, 48), (3, 64, 64)])
@pytest.mark.parametrize("name", FAMILIES)
def test_model_on_small_images_embeds_or_names_image_size(name, shape, meta):
    try:
        n_outputs = make_backbone(name, shape)[1]
    except ValueError as error:
        assert re.search(f"backbone='{name}'.*image_size", str(error))
    else:
        assert n_outputs == 64


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("resnet18", (1, 28, 28)),
        ("resnet18", (3, 64, 64)),
        ("resnet18", (5, 28, 40)),
        ("densenet121", (3, 32, 32)),
        ("efficientnet_b0", (5, 32, 32)),
        ("googlenet", (3, 32, 32)),
        *[(name, (c, 32, 32)) for name in SMALL for c in (1, 3, 5)],
    ],
)
def test_real_model_trains_from_end_to_end(name, shape):
    module, _ = make_backbone(name, shape, embedding_dim=6)
    z = module.train()(torch.randn(2, *shape))
    assert z.shape == (2, 6) and z.isfinite().all()
    z.square().sum().backward()
    stem = next(module.parameters())
    assert stem.grad.isfinite().all() and stem.grad.any()


@pytest.mark.parametrize(
    ("shape", "sides"), [((1, 28, 28), (4, 4)), ((3, 63, 200), (8, 25))]
)
def test_stem_for_small_images_keeps_a_feature_map(shape, sides):
    module, _ = make_backbone("resnet18", shape)
    stem = module.conv1
    assert (stem.in_channels, stem.out_channels) == (shape[0], 64)
    assert (stem.kernel_size, stem.stride, stem.padding) == ((3, 3), (1, 1), (1, 1))
    assert isinstance(module.maxpool, nn.Identity)
    seen = []
    module.layer4.register_forward_hook(lambda *args: seen.append(args[2].shape))
    module(torch.zeros(1, *shape))
    assert seen == [(1, 512, *sides)]


@pytest.mark.parametrize(
    ("name", "pool"),
    [
        ("densenet121", "features.pool0"),
        ("googlenet", "maxpool1"),
        ("shufflenet_v2_x0_5", "maxpool"),
        ("mobilenet_v3_small", None),
    ],
)
def test_first_stride_and_pooling_go_for_small_images_only(name, pool, meta):
    for side, small in ((32, True), (64, False)):
        module, _ = make_backbone(name, (3, side, side))
        stem = next(m for m in module.modules() if isinstance(m, nn.Conv2d))
        assert stem.stride == ((1, 1) if small else (2, 2))
        if pool:
            assert isinstance(module.get_submodule(pool), nn.Identity) == small


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_stem_from_64_pixels_is_the_published_one(channels):
    module, _ = make_backbone("resnet18", (channels, 64, 64))
    stem = module.conv1
    assert (stem.kernel_size, stem.stride, stem.padding) == ((7, 7), (2, 2), (3, 3))
    assert stem.in_channels == channels and isinstance(module.maxpool, nn.MaxPool2d)


@pytest.mark.parametrize("name", ["convnext_tiny", "swin_t", "vit_b_16"])
def test_patches_of_transformers_are_not_thinned_for_small_images(name, meta):
    module, _ = make_backbone(name, (1, 32, 32))
    stem = next(m for m in module.modules() if isinstance(m, nn.Conv2d))
    assert stem.in_channels == 1 and stem.stride == stem.kernel_size


@pytest.mark.parametrize("side", [28, 64])
def test_pretrained_stem_keeps_its_kernel(side, tmp_path):
    state = build_plain("resnet18").state_dict()
    torch.save(state, tmp_path / "w.pt")
    module, _ = make_backbone("resnet18", (3, side, side), weights=tmp_path / "w.pt")
    stem = module.conv1
    assert (stem.kernel_size, stem.padding) == ((7, 7), (3, 3))
    assert stem.stride == ((1, 1) if side == 28 else (2, 2))
    assert isinstance(module.maxpool, nn.Identity) == (side == 28)
    assert_body_is_copied(module, state)


@pytest.mark.parametrize("by", ["name", "path"])
@pytest.mark.parametrize("name", ["densenet121", "googlenet", "shufflenet_v2_x0_5"])
def test_published_file_gives_the_published_features(name, by, cache):
    """The message of a failed download offers both ways."""
    plain, path = build_plain(name), cache / file_name(name)
    torch.save(published_state(plain), path)
    weights = "DEFAULT" if by == "name" else path
    module, _ = make_backbone(name, (3, 64, 64), weights=weights)
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(head_inputs(module, x), head_inputs(plain, x))


@pytest.mark.parametrize("name", FAMILIES)
def test_named_weights_without_network_name_file_address_and_folder(name, cache, meta):
    entry = models.get_model_weights(name).DEFAULT
    side = entry.meta["min_size"][0] if name.startswith("vit") else 224
    with pytest.raises(ValueError, match="weights='.*no network") as error:
        make_backbone(name, (3, side, side), weights="DEFAULT")
    for part in (entry.name, entry.url, f"put {file_name(name)} into {cache}"):
        assert part in str(error.value)


@pytest.mark.parametrize("weights", ["DEFAULT", "IMAGENET1K_V1"])
def test_named_weights_are_read_from_the_folder_of_the_message(weights, cache):
    state = build_plain("resnet18").state_dict()
    torch.save(state, cache / file_name("resnet18"))
    module, _ = make_backbone("resnet18", (3, 28, 28), weights=weights)
    assert_body_is_copied(module, state)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_pretrained_model_on_other_than_three_channels_raises(channels):
    expected = f"weights='DEFAULT'.*X has {channels} channels: use weights=None"
    with pytest.raises(ValueError, match=expected):
        make_backbone("resnet18", (channels, 28, 28), weights="DEFAULT")


def test_unknown_weights_list_the_known_ones():
    expected = "weights='IMAGENET' is neither.*'resnet50'.*'IMAGENET1K_V2', 'DEFAULT'"
    with pytest.raises(ValueError, match=expected):
        make_backbone("resnet50", (3, 28, 28), weights="IMAGENET")
