"""folder:PATH: images by class folder, and weights of a local file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.utils.data import DataLoader

from probe.data.files import folder as folder_data
from probe.data.files.folder import ImageFiles, read_image
from probe.data.images import IMAGENET, PixelScaling, take_bytes
from probe.data.protocol import DataOptions, LoadedData
from probe.data.registry import load_data
from probe.errors import DataError, RecipeError
from probe.loading.dataset import as_tensors
from probe.loading.validation import hold_out
from probe.models.registry import build_model
from probe.recipe.load import parse_recipe
from probe.tasks.source import NamedSource, recipe_source

COLORS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}


def write_class(folder: Path, count: int, color: tuple[int, int, int], *, suffix: str = ".png") -> None:
    """Images of one color and as many different sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.new("RGB", (8 + number, 16 - number), color).save(folder / f"{number}{suffix}")


def write_classes(root: Path, count: int = 5) -> Path:
    for name, color in COLORS.items():
        write_class(root / name, count, color)
    return root


def load(root: Path, *, size: int = 8, **options: Any) -> LoadedData:
    return load_data(f"folder:{root}", data_dir=Path("unused"), image_size=size, options=DataOptions(**options))


def said(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        load(root)
    return str(caught.value).replace(str(root), "ROOT")


def tensors(part: Any) -> tuple[torch.Tensor, torch.Tensor]:
    assert isinstance(part, tuple)
    return part


def test_images_of_mixed_sizes_are_resized_and_split_by_class(tmp_path: Path) -> None:
    data = load(write_classes(tmp_path), test_fraction=0.4)
    images, classes = tensors(data.train)
    assert images.shape == (9, 3, 8, 8)
    assert images.dtype == torch.uint8
    assert (data.class_names, data.num_outputs, data.input_shape) == (("blue", "green", "red"), 3, (3, 8, 8))
    for image, number in zip(images, classes, strict=True):
        assert tuple(image[:, 4, 4].tolist()) == list(COLORS.values())[int(number)]
    assert torch.bincount(classes).tolist() == [3, 3, 3]
    assert torch.bincount(tensors(data.test)[1]).tolist() == [2, 2, 2]
    assert data.val is None


def test_parts_that_the_folder_names_itself(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", 4)
    write_classes(tmp_path / "test", 2)
    data = load(tmp_path)
    assert len(tensors(data.train)[0]) == 12
    assert len(tensors(data.test)[0]) == 6
    write_class(tmp_path / "val" / "blue", 3, COLORS["blue"])
    write_class(tmp_path / "val" / "red", 1, COLORS["red"])
    data = load(tmp_path, size=9)
    assert tensors(data.val)[1].tolist() == [0, 0, 0, 2]
    assert len(tensors(data.train)[0]) == 12
    write_class(tmp_path / "test" / "pink", 3, (255, 128, 128))
    assert said(tmp_path).startswith("ROOT/test/pink is a class that the training split does not have.")


def test_a_training_folder_alone_is_divided(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", 5)
    assert len(tensors(load(tmp_path).test)[0]) == 3


def test_the_middle_is_kept_gray_and_transparent_images_become_colored_and_turned_ones_upright(tmp_path: Path) -> None:
    wide = np.zeros((10, 30), dtype=np.uint8)
    wide[:, 10:20] = 200
    Image.fromarray(wide).save(tmp_path / "wide.png")
    assert torch.equal(read_image(tmp_path / "wide.png", 10), torch.full((3, 10, 10), 200, dtype=torch.uint8))
    Image.new("RGBA", (9, 9), (10, 20, 30, 255)).save(tmp_path / "clear.png")
    assert read_image(tmp_path / "clear.png", 4)[:, 0, 0].tolist() == [10, 20, 30]
    halves = Image.new("L", (16, 16), 0)
    halves.paste(255, (0, 0, 16, 8))
    tags = Image.Exif()
    tags[0x0112] = 3  # orientation: upside down
    halves.save(tmp_path / "turned.png", exif=tags)
    assert read_image(tmp_path / "turned.png", 16)[0, :, 0].tolist() == [0] * 8 + [255] * 8


def test_large_jpegs_are_decoded_at_a_fraction_of_their_size_and_look_the_same(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 255, 512).astype(np.uint8), (512, 1))
    Image.fromarray(ramp).save(tmp_path / "ramp.jpg", quality=95)
    image = read_image(tmp_path / "ramp.jpg", 16)[0].float()
    expected = torch.from_numpy(ramp.astype(np.float32)).reshape(16, 32, 16, 32).mean(dim=(1, 3))
    assert float((image - expected).abs().max()) < 4


def test_images_that_do_not_fit_are_decoded_by_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = load(write_classes(tmp_path), test_fraction=0.2)
    monkeypatch.setattr(folder_data, "MAX_RESIZED_BYTES", 12 * 3 * 8 * 8 - 1)
    data = load(tmp_path, test_fraction=0.20001)
    assert isinstance(data.train, ImageFiles)
    images, classes = next(iter(DataLoader(data.train, batch_size=12)))
    assert torch.equal(images, tensors(whole.train)[0])
    assert torch.equal(classes, tensors(whole.train)[1])
    assert isinstance(data.test, tuple), "three images fit"
    task = NamedSource(model="cnn", data=f"folder:{tmp_path}", image_size=8).build({})
    assert as_tensors(task.train, task) is None
    split = hold_out(task, fraction=0.25, seed=0)
    assert sorted(int(split.val[index][1]) for index in range(3)) == [0, 1, 2], "stratified"


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    assert said(tmp_path / "nowhere").startswith("There is no folder ROOT.")
    assert said(tmp_path).startswith("ROOT has no folders, but at least two classes")
    write_class(tmp_path / "red", 2, COLORS["red"])
    Image.new("L", (4, 4)).save(tmp_path / "loose.png")
    assert said(tmp_path).startswith("ROOT has one folder (red) and 1 image, but at least two classes")
    (tmp_path / "blue").mkdir()
    (tmp_path / "blue" / "notes.txt").write_text("none yet")
    assert said(tmp_path).startswith("ROOT/blue has no images.")
    write_class(tmp_path / "blue", 4, COLORS["blue"])
    assert said(tmp_path).startswith("ROOT/red has only 2 images")
    file = tmp_path / "file.txt"
    file.write_text("")
    assert said(file) == "ROOT is a file, not a folder of images."


def test_broken_files_are_named(tmp_path: Path) -> None:
    train = write_classes(tmp_path / "train")
    write_classes(tmp_path / "test")
    whole = (train / "red" / "4.png").read_bytes()
    (train / "red" / "4.png").write_bytes(whole[:40])
    assert said(tmp_path).startswith("ROOT/train/red/4.png is broken or not an image: ")
    (train / "blue" / "1.png").write_text("<html>404 Not Found</html>")
    (train / "green" / "2.png").write_bytes(b"")
    told = said(tmp_path).splitlines()
    assert told[0] == "3 files are not images:"
    assert told[1] == "  ROOT/train/blue/1.png is broken or not an image: cannot identify image file."
    (train / "green" / "3.png").write_bytes(b"P6")
    assert said(tmp_path).splitlines()[4] == "  and 1 more"


def test_bytes_are_scaled_by_the_model_whose_weights_keep_their_names(tmp_path: Path) -> None:
    task = NamedSource(model="resnet18", data=f"folder:{write_classes(tmp_path)}", image_size=32).build({})
    model = task.model().eval()
    plain = build_model("resnet18", num_outputs=3, input_shape=(3, 32, 32), params={}).eval()
    plain.load_state_dict(model.state_dict())
    images = task.test[0]
    mean, deviation = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (IMAGENET.mean, IMAGENET.deviation))
    torch.testing.assert_close(model(images), plain((images.float() / 255 - mean) / deviation))


def test_pixel_statistics_are_those_of_the_images() -> None:
    images = torch.randint(256, (7, 2, 5, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    scaling = PixelScaling.of(images)
    plain = images.double() / 255
    assert scaling.mean == pytest.approx(plain.mean(dim=(0, 2, 3)).tolist())
    assert scaling.deviation == pytest.approx(plain.transpose(0, 1).flatten(1).std(dim=1, correction=0).tolist())
    model = take_bytes(torch.nn.Flatten(), scaling)
    scaled = model(images).reshape(7, 2, 25)
    assert float(scaled.mean()) == pytest.approx(0, abs=1e-5)
    assert PixelScaling.of(torch.zeros(1, 3, 2, 2, dtype=torch.uint8)).deviation == (1e-6,) * 3


class TestWeights:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        return write_classes(tmp_path / "images")

    def source(self, root: Path, weights: Path, **given: Any) -> NamedSource:
        given = {"model": "resnet18", "image_size": 32, **given}
        return NamedSource(data=f"folder:{root}", weights=weights, **given)

    @pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
    def test_a_head_of_another_size_is_fresh_and_all_else_is_the_files(
        self, root: Path, tmp_path: Path, suffix: str
    ) -> None:
        given = build_model("resnet18", num_outputs=10, input_shape=(3, 32, 32), params={}).state_dict()
        path = tmp_path / f"weights{suffix}"
        if suffix == ".pth":
            torch.save({"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in given.items()}}, path)
        else:
            save_file(given, path)
        own = self.source(root, path).build({}).model().state_dict()
        assert own["fc.weight"].shape == (3, 512)
        assert all(torch.equal(own[name], given[name]) for name in given if not name.startswith("fc."))

    def test_a_head_of_the_same_size_is_the_files(self, root: Path, tmp_path: Path) -> None:
        given = build_model("cnn", num_outputs=3, input_shape=(3, 32, 32), params={}).state_dict()
        torch.save(given, tmp_path / "own.pt")
        own = self.source(root, tmp_path / "own.pt", model="cnn").build({}).model().state_dict()
        assert all(torch.equal(own[name], given[name]) for name in given)

    def test_gray_images_and_auxiliary_classifiers(self, tmp_path: Path) -> None:
        given = build_model("googlenet", num_outputs=10, input_shape=(3, 32, 32), params={}).state_dict()
        torch.save({**given, "aux1.fc1.weight": torch.zeros(2, 2)}, tmp_path / "googlenet.pth")
        source = NamedSource(model="googlenet", data="digits", image_size=32, weights=tmp_path / "googlenet.pth")
        own = source.build({}).model().state_dict()
        assert all(torch.equal(own[f"model.{name}"], given[name]) for name in given)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ({"conv1.weight": torch.zeros(1)}, "has the weights of another model (missing: bn1.weight, bn1.bias, "),
            ([1, 2], "has no state_dict, but a list"),
            ({}, "has no state_dict, but a dict"),
            ({"lr": 0.1}, "has no state_dict, but a dict"),
            (np.zeros(3), "has more than weights: "),
        ],
    )
    def test_files_that_are_no_weights(self, root: Path, tmp_path: Path, content: Any, message: str) -> None:
        path = tmp_path / "bad.pth"
        torch.save(content, path)
        with pytest.raises(DataError) as caught:
            self.source(root, path).build({})
        assert f"{path} {message}" in str(caught.value)

    def test_weights_of_other_shapes_or_names(self, root: Path, tmp_path: Path) -> None:
        path = tmp_path / "weights.pth"
        given = build_model("resnet18", num_outputs=3, input_shape=(3, 32, 32), params={}).state_dict()
        torch.save({**given, "conv1.weight": torch.zeros(64, 1, 7, 7)}, path)
        with pytest.raises(DataError, match=r"has conv1.weight of shape \(64, 1, 7, 7\), but the model needs \(64, 3"):
            self.source(root, path).build({})
        torch.save({**given, "extra": torch.zeros(1)}, path)
        with pytest.raises(DataError, match=r"another model \(unexpected: extra\)"):
            self.source(root, path).build({})

    def test_a_file_that_is_missing_or_garbage(self, root: Path, tmp_path: Path) -> None:
        path = tmp_path / "weights.pth"
        with pytest.raises(
            DataError, match=r"weights.pth cannot be read: No such file or directory.\nPaths are relative"
        ):
            self.source(root, path).build({})
        path.write_text("garbage")
        with pytest.raises(DataError, match=r"weights.pth (is not a weights file|has more than weights): "):
            self.source(root, path).build({})

    def test_a_recipe_names_them(self) -> None:
        content = {
            "schema": 1,
            "name": "made",
            "task": {
                "model": "resnet18",
                "data": "folder:images",
                "weights": "resnet18.pth",
                "objective": {"metric": "accuracy", "mode": "max"},
            },
            "space": {},
            "budget": {"trials": 1},
        }
        source = recipe_source(parse_recipe(content, where="made"))
        assert isinstance(source, NamedSource)
        assert source.weights == Path("resnet18.pth").absolute()
        content["task"] = {"target": "a:b", "weights": "w.pth", "objective": {"metric": "loss", "mode": "min"}}
        with pytest.raises(RecipeError, match="cannot be combined with weights"):
            parse_recipe(content, where="made")
