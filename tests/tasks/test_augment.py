"""Augmentation: what it changes, how far, and where its randomness comes from."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from probe.errors import TaskError
from probe.tasks.augment import ImageAugmentation, augmentation
from probe.tasks.options import AUGMENTATIONS


def made_images(number: int = 40, channels: int = 1, height: int = 8, width: int = 8) -> Tensor:
    return torch.rand(number, channels, height, width, generator=torch.Generator().manual_seed(1))


def augmented(name: str, images: Tensor, *, seed: int = 0, strength: float = 1.0) -> Tensor:
    torch.manual_seed(seed)
    targets = torch.arange(len(images))
    changed, same = ImageAugmentation(name=name, strength=strength)((images, targets))
    assert same is targets
    assert isinstance(changed, Tensor)
    return changed


@pytest.mark.parametrize("name", [*AUGMENTATIONS, "flip+shift+cutout"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 12, 20)])
def test_shape_and_type_stay_and_most_images_change_each_in_its_own_way(name: str, shape: tuple[int, int, int]) -> None:
    images = made_images(40, *shape)
    changed = augmented(name, images)
    assert (changed.shape, changed.dtype) == (images.shape, images.dtype)
    assert (changed != images).flatten(1).any(dim=1).sum() >= 12
    same_image = images[:1].expand(40, -1, -1, -1)
    assert len(torch.unique(augmented(name, same_image).flatten(1), dim=0)) > 1
    assert changed.min() >= images.min() - 1e-6
    assert changed.max() <= images.max() + 1e-6


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_all_randomness_is_that_of_pytorchs_generator(name: str) -> None:
    images = made_images()
    torch.testing.assert_close(augmented(name, images), augmented(name, images), rtol=0, atol=0)
    assert not torch.equal(augmented(name, images), augmented(name, images, seed=1))


def test_a_shift_moves_by_whole_pixels_and_repeats_the_border() -> None:
    images = torch.arange(16.0).view(1, 1, 1, 16).expand(200, 1, 16, 16)
    changed = augmented("shift", images)
    steps = {int(image[0, 8, 8]) - 8 for image in changed}
    assert steps == {-2, -1, 0, 1, 2}  # an eighth of 16
    for image in changed:
        step = int(image[0, 8, 8]) - 8
        assert image[0, 0].tolist() == [float(min(max(column + step, 0), 15)) for column in range(16)]


def test_a_flip_mirrors_about_half_of_the_images_and_twice_is_none() -> None:
    images = made_images(200)
    changed = augmented("flip", images)
    mirrored = torch.tensor([torch.equal(a, b.flip(2)) for a, b in zip(changed, images, strict=True)])
    same = torch.tensor([torch.equal(a, b) for a, b in zip(changed, images, strict=True)])
    assert bool((mirrored ^ same).all())
    assert 60 < int(mirrored.sum()) < 140
    torch.testing.assert_close(augmented("flip", changed), images, rtol=0, atol=0)


def test_cutout_blanks_a_square_with_the_images_mean() -> None:
    images = made_images(100)
    changed = augmented("cutout", images)
    for image, before in zip(changed, images, strict=True):
        cut = (image != before)[0]
        rows, columns = cut.any(dim=1), cut.any(dim=0)
        assert torch.equal(cut, rows[:, None] & columns[None, :])
        assert 2 <= int(rows.sum()) <= 4  # half a side, less where it reaches over the border
        torch.testing.assert_close(image[0][cut], before.mean().expand(int(cut.sum())))


def test_a_rotation_keeps_the_centre_and_turns_no_further_than_it_may() -> None:
    images = torch.zeros(100, 1, 33, 65)
    images[:, :, 16, 32] = 5.0  # the centre
    images[:, :, 16, 52] = 1.0  # twenty pixels right of it, in an image that is not square
    changed = augmented("rotate", images)
    torch.testing.assert_close(changed[:, 0, 16, 32], torch.full((100,), 5.0), atol=0.01, rtol=0)
    places = torch.nonzero(torch.where(changed < 3, changed, 0.0) > 0.2).float()
    off = places[:, 2:] - torch.tensor([16.0, 32.0])
    far = off[off.norm(dim=1) > 5]
    assert len(far) >= 100
    assert far.norm(dim=1).sub(20).abs().max() < 1.5  # a turn keeps distances
    angles = torch.rad2deg(torch.atan2(far[:, 0], far[:, 1]))
    assert angles.abs().max() < 15 + 4
    assert angles.max() > 8
    assert angles.min() < -8


def test_strength_says_how_far() -> None:
    images = torch.arange(32.0).view(1, 1, 1, 32).expand(300, 1, 32, 32)
    for strength, most in ((0.5, 2), (1.0, 4), (2.0, 8)):
        changed = augmented("shift", images, strength=strength)
        assert int((changed[:, 0, 16, 16] - 16).abs().max()) == most


def test_bytes_stay_bytes() -> None:
    images = (made_images(channels=3) * 255).to(torch.uint8)
    for name in AUGMENTATIONS:
        assert augmented(name, images).dtype == torch.uint8


def test_names() -> None:
    assert augmentation(None) is None
    assert augmentation("none") is None
    assert augmentation("shift+flip") == ImageAugmentation(name="shift+flip")
    with pytest.raises(TaskError, match="Unknown augmentation 'shfit'") as found:
        augmentation("shfit")
    assert "Did you mean shift?" in str(found.value.hint)
    with pytest.raises(TaskError, match="names shift twice"):
        augmentation("shift+shift")
    with pytest.raises(TaskError, match="above 0 and at most 4, not 9"):
        ImageAugmentation(name="shift", strength=9)


def test_batches_that_are_no_images_are_refused() -> None:
    with pytest.raises(TaskError, match=r"'flip' needs batches of images .* not \(5, 3\)"):
        ImageAugmentation(name="flip")((torch.rand(5, 3), torch.arange(5)))
