"""The made data of the recipes, made again: `python recipes/data/make_data.py`.

power-load.csv is no measurement: it is drawn to look like a town's power load, so that its best possible forecast is known
to be better than the naive one. shapes/ holds drawn images. diabetes.csv is real and comes with scikit-learn
(Efron, Hastie, Johnstone & Tibshirani 2004, Least Angle Regression).
"""

from __future__ import annotations

import csv
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
LOAD_HOURS = 24 * 7 * 10
SEED = 0
IMAGES_OF_A_SHAPE = 50
GRAYS = 16
"""Steps between shades: fewer shades make smaller files."""


def power_load(num_hours: int = LOAD_HOURS, *, seed: int = SEED) -> list[tuple[str, str, str]]:
    """(time, temperature in degrees Celsius, load in megawatts) hour by hour: a trend, a daily and a weekly season, colder
    hours with more load, and noise that remembers 80 % of the hour before it."""
    random = np.random.default_rng(seed)
    hour = np.arange(num_hours)
    weather = _remembering(random.normal(0, 0.5, num_hours), 0.97)
    temperature = 8 + hour / 300 - 5 * np.cos(2 * np.pi * (hour - 3) / 24) + weather
    day = np.sin(2 * np.pi * (hour - 7) / 24) + 0.5 * np.sin(4 * np.pi * (hour - 6) / 24)
    weekend = (hour // 24 % 7) >= 5
    load = (
        60
        + hour / 200
        + np.where(weekend, 5, 9) * day
        - np.where(weekend, 6, 0)
        + 0.6 * np.maximum(0, 15 - temperature)
    )
    load += _remembering(random.normal(0, 0.7, num_hours), 0.8)
    times = [datetime(2024, 3, 4) + timedelta(hours=int(step)) for step in hour]
    return [
        (time.isoformat(sep=" ", timespec="minutes"), f"{degrees:.1f}", f"{megawatts:.2f}")
        for time, degrees, megawatts in zip(times, temperature, load, strict=True)
    ]


def _remembering(shocks: np.ndarray, share: float) -> np.ndarray:
    """A first-order autoregressive process."""
    values = np.zeros(len(shocks))
    for step, shock in enumerate(shocks):
        values[step] = shock + (share * values[step - 1] if step else 0.0)
    return values


def diabetes() -> tuple[list[str], list[list[str]]]:
    """Names of columns, and one patient a row: ten measurements and how far the disease had got a year later."""
    from sklearn import datasets

    data = datasets.load_diabetes(scaled=False)
    names = [*data.feature_names, "progression"]
    return names, [
        [f"{value:g}" for value in (*row, target)] for row, target in zip(data.data, data.target, strict=True)
    ]


def shapes() -> dict[str, list[np.ndarray]]:
    """Gray images of mixed sizes, 24 to 48 pixels a side, of each kind of shape: turned, moved and noisy."""
    random = np.random.default_rng(SEED)
    corners = {"circle": 40, "square": 4, "star": 10, "triangle": 3}
    return {name: [_shape(count, random) for _ in range(IMAGES_OF_A_SHAPE)] for name, count in corners.items()}


def _shape(num_corners: int, random: np.random.Generator) -> np.ndarray:
    """(height, width) of bytes: a light polygon on dark ground. A star's corners lie in and out in turn."""
    from PIL import Image, ImageDraw

    height, width = random.integers(24, 49, 2)
    radius = random.uniform(0.25, 0.45) * min(height, width)
    middle = np.array([width, height]) / 2 + random.uniform(-3, 3, 2)
    angles = random.uniform(0, 2 * np.pi) + 2 * np.pi * np.arange(num_corners) / num_corners
    radii = np.where(np.arange(num_corners) % 2, 0.4 if num_corners == 10 else 1.0, 1.0) * radius
    points = middle + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    image = Image.new("L", (int(width), int(height)), int(random.integers(0, 64)))
    ImageDraw.Draw(image).polygon([tuple(point) for point in points.tolist()], fill=int(random.integers(128, 256)))
    noisy = np.asarray(image) + random.normal(0, 12, (height, width))
    return (np.clip(noisy, 0, 255) // GRAYS * GRAYS).astype(np.uint8)


def write_images(folder: Path, images: dict[str, list[np.ndarray]]) -> None:
    from PIL import Image

    for name, drawn in images.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number, pixels in enumerate(drawn):
            Image.fromarray(pixels).save(folder / name / f"{name}-{number:02}.png", optimize=True)


def write_csv(path: Path, names: list[str], rows: list[list[str]] | list[tuple[str, str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(rows)


def main() -> None:
    write_csv(HERE / "power-load.csv", ["time", "temperature", "load"], power_load())
    write_csv(HERE / "diabetes.csv", *diabetes())
    write_images(HERE / "shapes", shapes())


if __name__ == "__main__":
    main()
