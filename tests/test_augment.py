"""Augmentation against exact turns, mirror images and maps of coordinates."""

import math

import kornia.augmentation
import pytest
import torch
import torchvision.transforms as v1
from torchvision.transforms import v2

from sksiamese.augment import (
    AUGMENTATIONS,
    RandomAffine,
    _sampling_grid,
    comes_from_torchvision,
    make_augmentation,
)

OFF = {"rotation": 0, "scale": 0, "shift": 0, "shear": 0, "brightness": 0}


def only(**strengths):
    return RandomAffine(**{**OFF, **strengths})


def noise(*shape, seed=0):
    return torch.empty(shape).uniform_(generator=torch.Generator().manual_seed(seed))


def coordinates(height, width, n=1):
    """Images whose two channels hold each pixel's x and y, from the centre."""
    y = torch.arange(height) - (height - 1) / 2
    x = torch.arange(width) - (width - 1) / 2
    image = torch.stack([x.expand(height, width), y[:, None].expand(height, width)])
    return image.expand(n, 2, height, width).clone()


def disc(height, width, radius):
    x, y = coordinates(height, width)[0]
    return (radius - (x**2 + y**2).sqrt() + 0.5).clamp(0, 1)[None, None]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def at_full_strength(monkeypatch):
    """Every draw is the largest, and every image that may be is mirrored."""
    monkeypatch.setattr(torch, "rand", lambda shape, **kw: torch.ones(shape, **kw))
    monkeypatch.setattr(
        torch, "randint", lambda high, shape, **kw: torch.zeros(shape, **kw).long()
    )


@pytest.mark.parametrize("shape", [(4, 1, 8, 8), (3, 3, 5, 9), (1, 2, 1, 6)])
def test_augment_without_strength_is_identity(shape):
    images = noise(*shape)
    torch.testing.assert_close(only()(images), images)


def test_augment_by_default_changes_each_image_differently():
    images = noise(1, 3, 16, 16).expand(6, 3, 16, 16)
    changed = RandomAffine()(images)
    for i in range(6):
        assert not torch.allclose(changed[i], images[i], atol=1e-3)
        for j in range(i):
            assert not torch.allclose(changed[i], changed[j], atol=1e-3)


def test_augment_draws_anew_and_equal_seeds_draw_alike():
    images = noise(4, 1, 12, 12)
    augment = RandomAffine()
    first = augment(images)
    assert not torch.allclose(first, augment(images))
    torch.manual_seed(0)
    torch.testing.assert_close(augment(images), first)


def test_augment_leaves_its_input_as_it_was():
    images = noise(4, 1, 12, 12)
    before = images.clone()
    RandomAffine(horizontal_flip=True, vertical_flip=True)(images)
    assert torch.equal(images, before)


@pytest.mark.usefixtures("at_full_strength")
@pytest.mark.parametrize("n_turns", [1, 2, 3])
def test_rotation_by_right_angles_is_exact(n_turns):
    images = noise(3, 2, 8, 8)
    turned = only(rotation=90 * n_turns)(images)
    torch.testing.assert_close(turned, torch.rot90(images, n_turns, (2, 3)))


@pytest.mark.usefixtures("at_full_strength")
@pytest.mark.parametrize(("height", "width"), [(12, 30), (30, 12), (13, 31)])
def test_rotation_of_oblong_image_is_no_shear(height, width):
    """A block in the middle that is wide becomes one that is as high."""
    x, y = coordinates(height, width)[0].abs()
    image = ((x < 4) & (y < 2)).float()[None, None]
    rows, columns = (only(rotation=90)(image)[0, 0] > 0.5).nonzero().T
    tall, wide = image[0, 0].nonzero().T
    assert len(rows) == len(tall)
    assert rows.max() - rows.min() == wide.max() - wide.min()
    assert columns.max() - columns.min() == tall.max() - tall.min()


@pytest.mark.parametrize("flips", [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize(("height", "width"), [(24, 24), (24, 40)])
def test_rotation_and_flips_leave_a_disc_as_it_is(height, width, flips):
    image = disc(height, width, 7)
    augment = only(rotation=180, horizontal_flip=flips[0], vertical_flip=flips[1])
    for turned in augment(image.expand(32, 1, height, width)):
        assert (turned - image[0]).abs().max() < 0.35  # at the blurred rim
        assert turned.sum().item() == pytest.approx(image.sum().item(), rel=0.02)


@pytest.mark.usefixtures("at_full_strength")
@pytest.mark.parametrize("degrees", [0, 30, 45, 90, 135])
def test_flip_of_turned_image_is_a_mirror_image(degrees):
    """The map keeps lengths and angles and changes the orientation."""
    image = coordinates(21, 31)
    moved = only(rotation=degrees, horizontal_flip=True)(image)[0].double()
    across = moved[:, 10, 16] - moved[:, 10, 15]
    down = moved[:, 11, 15] - moved[:, 10, 15]
    jacobian = torch.stack([across, down], dim=1)
    unit = torch.eye(2, dtype=torch.float64)
    torch.testing.assert_close(jacobian @ jacobian.T, unit, atol=1e-4, rtol=0)
    assert torch.linalg.det(jacobian).item() == pytest.approx(-1, abs=1e-4)


@pytest.mark.parametrize(
    ("flip", "dims"), [("horizontal_flip", (3,)), ("vertical_flip", (2,))]
)
def test_flip_mirrors_about_half_of_the_images(flip, dims):
    images = noise(60, 2, 6, 9)
    mirrored = 0
    for before, after in zip(images, only(**{flip: True})(images), strict=True):
        expected = before.flip([d - 1 for d in dims])
        if torch.allclose(after, expected, atol=1e-5):
            mirrored += 1
        else:
            torch.testing.assert_close(after, before)
    assert 15 < mirrored < 45


@pytest.mark.usefixtures("at_full_strength")
def test_flips_are_off_by_default():
    x = RandomAffine(rotation=10)(coordinates(32, 32))[0]
    assert (x[0, 16, 17:] > x[0, 16, 16:-1])[:8].all()
    assert (x[1, 17:, 16] > x[1, 16:-1, 16])[:8].all()


@pytest.mark.usefixtures("at_full_strength")
@pytest.mark.parametrize(("height", "width"), [(15, 15), (10, 24), (24, 11)])
@pytest.mark.parametrize(
    "strengths",
    [
        {"scale": 0.3},
        {"shift": 0.1},
        {"shear": 0.4},
        {"rotation": 33},
        {"rotation": 70, "scale": 0.2, "shift": 0.05, "shear": 0.1},
    ],
    ids=str,
)
def test_augment_maps_coordinates_as_the_loop(strengths, height, width):
    """Interpolation between coordinates is exact; outside, the border repeats."""
    moved = only(**strengths)(coordinates(height, width))[0]
    angle = math.radians(strengths.get("rotation", 0))
    size = 1 + strengths.get("scale", 0)
    shift, shear = strengths.get("shift", 0), strengths.get("shear", 0)
    edge_x, edge_y = (width - 1) / 2, (height - 1) / 2
    for i in range(height):
        for j in range(width):
            x, y = j - edge_x, i - edge_y
            from_x = size * (math.cos(angle) * x - math.sin(angle) * y)
            from_x += shear * y + shift * width
            from_y = size * (math.sin(angle) * x + math.cos(angle) * y)
            from_y += shift * height
            expected = [
                max(-edge_x, min(edge_x, from_x)),
                max(-edge_y, min(edge_y, from_y)),
            ]
            assert moved[:, i, j].tolist() == pytest.approx(expected, abs=1e-3)


def test_augment_stays_within_its_bounds():
    image = coordinates(41, 41, n=200)
    moved = only(shift=0.1)(image)[:, :, 20, 20] / 41
    assert moved.abs().max() <= 0.1
    assert moved.min() < -0.08
    assert moved.max() > 0.08


def test_brightness_changes_contrast_and_light_of_each_image():
    images = noise(50, 3, 4, 4)
    contrast, light = [], []
    for before, after in zip(images, only(brightness=0.2)(images), strict=True):
        slope = (after.max() - after.min()) / (before.max() - before.min())
        torch.testing.assert_close(
            after, before * slope + (after - before * slope)[0, 0, 0]
        )
        contrast.append(slope.item() - 1)
        light.append((after - before * slope).mean().item())
    for values in (contrast, light):
        assert max(map(abs, values)) <= 0.2 + 1e-5
        assert min(values) < -0.1
        assert max(values) > 0.1


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (1, 1, 5, 12)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_augment_keeps_shape_and_type(dtype, shape, flip):
    images = noise(*shape).to(dtype)
    changed = RandomAffine(horizontal_flip=flip, vertical_flip=flip)(images)
    assert changed.shape == shape
    assert changed.dtype == dtype


def ranges(augment):
    names = ("rotation", "scale", "shift", "shear", "brightness")
    return [getattr(augment, name) for name in names]


def flips(augment):
    return augment.horizontal_flip, augment.vertical_flip


def test_make_augmentation_auto_is_medium_for_images_alone():
    auto = make_augmentation("auto", is_image=True)
    assert type(auto) is RandomAffine
    assert ranges(auto) == ranges(RandomAffine())
    assert make_augmentation("auto", is_image=False) is None


@pytest.mark.parametrize(("name", "factor"), [("light", 0.5), ("strong", 2)])
def test_make_augmentation_light_and_strong_are_half_and_twice_medium(name, factor):
    named = make_augmentation(name, is_image=True)
    assert ranges(named) == pytest.approx([factor * r for r in ranges(RandomAffine())])
    assert flips(named) == (False, False)


def test_make_augmentation_isotropic_alone_mirrors_and_turns_all_round():
    named = make_augmentation("isotropic", is_image=True)
    assert flips(named) == (True, True)
    assert ranges(named) == [180, *ranges(RandomAffine())[1:]]
    others = set(AUGMENTATIONS) - {"isotropic"}
    assert all(
        flips(make_augmentation(name, is_image=True)) == (False, False)
        for name in others
    )


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_make_augmentation_named_for_vectors_is_refused(name):
    with pytest.raises(ValueError, match=f"augment='{name}' is for images.*use None"):
        make_augmentation(name, is_image=False)


class OwnTransform(v2.Transform):
    """A caller's own, in torchvision's manner."""

    def transform(self, inpt, params):
        return inpt


@pytest.mark.parametrize(
    ("augment", "expected"),
    [
        (v1.Compose([v1.RandomHorizontalFlip()]), True),
        (v1.RandomRotation(3), True),
        (v2.Compose([v2.RandomHorizontalFlip(), v2.ColorJitter(0.3)]), True),
        (OwnTransform(), True),
        (torch.nn.Sequential(v1.RandomRotation(3)), True),
        (kornia.augmentation.RandomHorizontalFlip(), False),
        (torch.clone, False),
        (torch.nn.Dropout(), False),
        (RandomAffine(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_torchvision_transforms_are_told_from_others(augment, expected):
    assert comes_from_torchvision(augment) == expected


@pytest.mark.parametrize("is_image", [False, True])
def test_make_augmentation_passes_none_and_callables(is_image):
    assert make_augmentation(None, is_image=is_image) is None
    assert make_augmentation(torch.flip, is_image=is_image) is torch.flip


@pytest.mark.parametrize("size", [(9, 9), (7, 12)])
def test_sampling_grid_is_that_of_pytorch(size):
    torch.manual_seed(0)
    maps = torch.randn(5, 2, 3)
    expected = torch.nn.functional.affine_grid(maps, (5, 1, *size), align_corners=False)
    torch.testing.assert_close(_sampling_grid(maps, *size), expected)


@pytest.mark.parametrize(
    "augment",
    [
        v1.Compose([v1.RandomRotation(3), v1.Normalize([0.5], [0.2])]),
        v2.Compose([v2.RandomApply([v2.Normalize([0.5], [0.2])])]),
        torch.nn.Sequential(kornia.augmentation.Normalize([0.5], [0.2])),
    ],
    ids=["v1", "v2", "kornia"],
)
def test_make_augmentation_that_normalises_is_refused(augment):
    """The images are standardised afterwards, which would be twice."""
    with pytest.raises(ValueError, match="(?s)augment=.*Normalize.*leave it out"):
        make_augmentation(augment, is_image=True)
    make_augmentation(augment, is_image=False)  # that is of vectors, not ours to judge


@pytest.mark.parametrize("flip", [False, True])
def test_strength_of_one_changes_nothing(flip):
    images = noise(5, 2, 9, 12)
    augment = RandomAffine(horizontal_flip=flip, vertical_flip=flip)
    expected = augment(images)
    torch.manual_seed(0)
    assert torch.equal(augment(images, torch.ones(5)), expected)


def test_strength_multiplies_the_ranges_of_each_image():
    """What an image gets is what an affine with ranges as much larger would draw."""
    images, strength = noise(4, 1, 10, 13), [1.0, 1.5, 2.0, 4.0]
    found = RandomAffine()(images, torch.tensor(strength))
    for i, factor in enumerate(strength):
        torch.manual_seed(0)
        larger = RandomAffine(*(factor * r for r in ranges(RandomAffine())))
        torch.testing.assert_close(found[i], larger(images)[i], atol=1e-5, rtol=0)


def test_strength_leaves_sizes_and_contrasts_positive():
    """However strong: half of an image stays in view, and none becomes its negative."""
    image, strength = coordinates(41, 41, n=300), torch.full((300,), 50.0)
    moved = only(scale=0.1)(image, strength)[:, 0, 20]
    slope = moved[:, 21] - moved[:, 20]  # from pixel to pixel
    assert slope.min() >= 0.5 - 1e-4
    assert slope.min() < 0.55
    lit = only(brightness=0.1)(noise(300, 1, 4, 4), strength).flatten(1)
    images = noise(300, 1, 4, 4).flatten(1)
    contrast = (lit[:, 1] - lit[:, 0]) / (images[:, 1] - images[:, 0])
    assert contrast.min() >= 0.5 - 1e-3
    assert only(shift=0.1)(image, strength)[:, :, 20, 20].abs().max() <= 20.5 + 1e-3


@pytest.mark.usefixtures("at_full_strength")
def test_strength_does_not_narrow_a_range_that_was_given():
    """A scale of 0.7 is the caller's own; at full strength the image is 1.7 wide."""
    for strength in (None, torch.full((1,), 3.0)):
        moved = only(scale=0.7)(coordinates(41, 41), strength)[0, 0, 20]
        assert (moved[21] - moved[20]).item() == pytest.approx(1.7, abs=1e-4)
