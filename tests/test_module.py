"""The whole network: what trains, what stays frozen, and what comes out."""

import copy

import kornia.augmentation
import pytest
import torch
import torchvision.transforms as v1
from torch import nn
from torchvision.transforms import v2

from sksiamese._module import EmbeddingNet, freeze
from sksiamese._preprocess import Preprocess

X = torch.randint(256, (6, 8, 8, 3), generator=torch.Generator().manual_seed(0)).byte()


class Block(nn.Module):
    """A convolution and a normalisation, with a parameter of the block's own."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))
        self.conv = nn.Conv2d(n_in, n_out, 3, padding=1)
        self.norm = nn.BatchNorm2d(n_out)

    def forward(self, x):
        return torch.relu(self.norm(self.conv(x))) * self.gain


def backbone():
    """Three layers with weights: two convolutions and a linear one."""
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5))
    return nn.Sequential(Block(3, 4), Block(4, 5), pool, nn.Linear(5, 2))


def network(**kwargs):
    return EmbeddingNet(Preprocess([128.0], [64.0]), backbone(), **kwargs)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(module, before):
    return {n for n, v in module.state_dict().items() if not torch.equal(v, before[n])}


def train_some_steps(net):
    net.train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        (net(X) * torch.arange(12).view(6, 2)).sum().backward()
        optimizer.step()


def names(*prefixes):
    """Parameters and running statistics that begin with one of the prefixes."""
    return {name for name in backbone().state_dict() if name.startswith(prefixes)}


# "1.gain" belongs to the block that holds a trained layer, not to that layer.
TRAINED = {
    "all": names("0", "1", "3"),
    "head": names("3"),
    1: names("3"),
    2: names("1.conv", "1.norm", "3"),
    3: names("0.conv", "0.norm", "1", "3"),
}


@pytest.mark.parametrize("trainable", TRAINED)
def test_training_changes_trainable_layers_and_their_statistics_alone(trainable):
    net = network(trainable=trainable)
    before = state(net.backbone)
    train_some_steps(net)
    # The bias in front of a normalisation cancels out.
    cancelled = {"0.conv.bias", "1.conv.bias"}
    found = changed(net.backbone, before)
    assert found - cancelled == TRAINED[trainable] - cancelled


@pytest.mark.parametrize("trainable", TRAINED)
def test_frozen_parameters_need_no_gradient(trainable):
    net = network(trainable=trainable)
    for name, parameter in net.backbone.named_parameters():
        assert parameter.requires_grad == (name in TRAINED[trainable]), name


@pytest.mark.parametrize("trainable", ["head", 1, 2])
def test_frozen_layers_stay_in_evaluation_through_mode_changes(trainable):
    net = network(trainable=trainable)
    for mode in (True, False, True):
        assert net.train(mode) is net
        block, other, pool, linear = net.backbone
        assert not block.norm.training
        assert other.norm.training == (mode and trainable == 2)
        assert pool[2].training == (mode and trainable == 2)
        assert linear.training == mode


@pytest.mark.parametrize("trainable", [4, 99])
def test_more_trainable_layers_than_there_are_names_parameter(trainable):
    with pytest.raises(ValueError, match=f"trainable={trainable}, but .* has 3"):
        freeze(backbone(), trainable)


def test_head_of_backbone_without_layers_names_parameter():
    with pytest.raises(ValueError, match="trainable='head'"):
        freeze(nn.Flatten(), "head")


def test_frozen_backbone_can_be_thawed_by_number():
    module = backbone()
    freeze(module, "head")
    freeze(module, 3)
    for name, parameter in module.named_parameters():
        assert parameter.requires_grad == (name in TRAINED[3])


def test_layers_frozen_by_the_caller_stay_frozen():
    module = backbone()
    module[0].requires_grad_(False)
    freeze(module, "all")
    for name, parameter in module.named_parameters():
        assert parameter.requires_grad != name.startswith("0.")


def test_all_trainable_freezes_nothing():
    module = backbone()
    assert freeze(module, "all") == []
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_copied_network_freezes_its_own_layers():
    net = copy.deepcopy(network(trainable=1))
    assert not net.train().backbone[0].norm.training


def test_embeddings_have_unit_length_where_wanted():
    raw, unit = network(normalize=False).eval(), network().eval()
    unit.load_state_dict(raw.state_dict())
    z = raw(X)
    assert z.shape == (6, 2)
    for long, short in zip(z, unit(X), strict=True):
        length = sum(value**2 for value in long) ** 0.5
        torch.testing.assert_close(short, long / length)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_embeddings_are_float32_whatever_the_backbone_computes_in(dtype):
    cast = nn.Sequential(nn.Flatten(), nn.Linear(192, 2)).to(dtype)
    cast.register_forward_pre_hook(lambda _, args: (args[0].to(dtype),))
    net = EmbeddingNet(Preprocess([128.0], [64.0]), cast)
    assert net(X).dtype == torch.float32


class Spy(nn.Module):
    """A backbone that keeps what it was given."""

    def forward(self, x):
        self.seen = x
        return x.flatten(1)


@pytest.mark.parametrize("training", [False, True])
def test_augmentation_happens_in_training_alone(training):
    spy = Spy()
    net = EmbeddingNet(
        Preprocess([128.0], [64.0]), spy, augmentation=lambda x: x.flip(3) + 1
    )
    net.train(training)(X)
    plain = net.preprocess(X)
    torch.testing.assert_close(spy.seen, plain.flip(3) + 1 if training else plain)


def test_backbone_sees_standardised_images_in_channels_last_memory():
    spy = Spy()
    net = EmbeddingNet(Preprocess([128.0], [64.0]), spy, augmentation=torch.clone)
    for mode in (True, False):
        net.train(mode)(X)
        assert spy.seen.shape == (6, 3, 8, 8)
        assert spy.seen.is_contiguous(memory_format=torch.channels_last)
        expected = (X.permute(0, 3, 1, 2).double() - 128) / 64
        torch.testing.assert_close(spy.seen.double(), expected)


def test_backbone_sees_standardised_rows():
    spy = Spy()
    rows = torch.arange(12.0).view(4, 3)
    EmbeddingNet(Preprocess([1.0, 2, 3], [2.0, 2, 2]), spy)(rows)
    torch.testing.assert_close(spy.seen, (rows - torch.tensor([1.0, 2, 3])) / 2)


def in_image_unit(augmentation, *, per_image=False, **kwargs):
    """Build a network whose augmentation sees values between 0 and 1."""
    spy = Spy()
    return EmbeddingNet(
        Preprocess([100.0, 128.0, 150.0], [50.0, 60.0, 70.0], **kwargs),
        spy,
        augmentation=augmentation,
        raw=Preprocess([0.0], [255.0], **kwargs),
        per_image=per_image,
    ).train(), spy


def test_callable_in_image_unit_sees_values_over_the_largest():
    seen = []
    net, spy = in_image_unit(lambda x: seen.append(x) or x)
    net(X)
    assert seen[0].dtype == torch.float32
    torch.testing.assert_close(seen[0], X.permute(0, 3, 1, 2) / 255)
    assert seen[0].min() >= 0
    assert seen[0].max() <= 1
    torch.testing.assert_close(spy.seen, net.preprocess(X), atol=1e-5, rtol=0)


def test_callable_in_image_unit_is_standardised_afterwards():
    net, spy = in_image_unit(lambda x: 1 - x)
    net(X)
    torch.testing.assert_close(spy.seen, net.preprocess(255 - X), atol=1e-5, rtol=0)


def test_callable_in_image_unit_is_not_clamped():
    net, spy = in_image_unit(lambda x: 3 * x - 1)
    net(X)
    mean, std = net.preprocess.mean, 1 / net.preprocess.scale
    raw = 3 * X.double() - 255
    expected = ((raw - mean) / std).permute(0, 3, 1, 2).float()
    torch.testing.assert_close(spy.seen, expected, atol=1e-4, rtol=0)


def test_callable_in_image_unit_sees_float32_under_bfloat16():
    def multiply(x):
        product = x.flatten(2) @ torch.eye(64) / 3  # bfloat16 under autocast
        assert product.dtype == torch.float32
        return 3 * product.view(x.shape)

    net, spy = in_image_unit(multiply)
    with torch.autocast("cpu", torch.bfloat16):
        net(X)
    torch.testing.assert_close(spy.seen, net.preprocess(X), atol=1e-5, rtol=0)


def test_callable_in_image_unit_sees_resized_rgb():
    seen = []
    grey = X[..., 0]
    net, _ = in_image_unit(
        lambda x: seen.append(x) or x, image_size=(5, 7), to_rgb=True
    )
    net(grey)
    assert seen[0].shape == (6, 3, 5, 7)
    assert torch.equal(seen[0][:, 0], seen[0][:, 2])
    assert 0 <= seen[0].min() < seen[0].max() <= 1


def same_images(n):
    return X[:1].expand(n, -1, -1, -1)


TRANSFORMS = {
    "v1": v1.Compose([v1.RandomHorizontalFlip(), v1.ColorJitter(0.4, 0.4)]),
    "v2": v2.Compose([v2.RandomHorizontalFlip(), v2.ColorJitter(0.4, 0.4)]),
    "kornia": kornia.augmentation.AugmentationSequential(
        kornia.augmentation.RandomHorizontalFlip(),
        kornia.augmentation.ColorJitter(0.4, 0.4),
        data_keys=["input"],
    ),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_of_others_draw_for_each_image(name):
    net, spy = in_image_unit(TRANSFORMS[name], per_image=name != "kornia")
    net(same_images(12))
    for i in range(12):
        for j in range(i):
            assert not torch.allclose(spy.seen[i], spy.seen[j], atol=1e-3)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_of_others_stay_between_black_and_white(name):
    """They clamp to [0, 1]; of standardised images that would be half of the pixels."""
    net, spy = in_image_unit(TRANSFORMS[name], per_image=name != "kornia")
    net(X)
    black, white = (net.preprocess(torch.full_like(X, v)) for v in (0, 255))
    assert (spy.seen >= black - 1e-5).all()
    assert (spy.seen <= white + 1e-5).all()
    at_a_bound = (spy.seen <= black + 1e-5) | (spy.seen >= white - 1e-5)
    assert at_a_bound.float().mean() < 0.25
    assert spy.seen.std(dim=(2, 3)).min() > 0.4


@pytest.mark.parametrize(
    ("augmentation", "message"),
    [
        (lambda x: x[..., 1:], "made a batch of shape .* it must keep it"),
        (lambda x: (255 * x).byte(), "made torch.uint8 out of a torch.float32"),
        (lambda x: x.numpy(), "made float32 out of|made ndarray out of"),
        (lambda x: None, "made NoneType out of"),
    ],
)
@pytest.mark.parametrize("per_image", [False, True])
def test_callable_that_returns_other_things_is_named(augmentation, message, per_image):
    net, _ = in_image_unit(augmentation, per_image=per_image)
    with pytest.raises(ValueError, match=f"augment=<function .*{message}"):
        net(X)


def test_strengths_reach_the_augmentation_by_label():
    seen = []
    net = EmbeddingNet(
        Preprocess([128.0], [64.0]),
        Spy(),
        augmentation=lambda x, strength: seen.append(strength) or x,
    ).train()
    net.strengths = torch.tensor([1.0, 2.5, 4.0])
    net(X, torch.tensor([2, 0, 0, 1, 2, 1]))
    assert seen[0].tolist() == [4, 1, 1, 2.5, 4, 2.5]
