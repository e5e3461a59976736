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
SHAPES = ("cross", "disc", "ring", "triangle")
IMAGES_OF_A_SHAPE = 100
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
    """Gray images of mixed sizes, 20 to 36 pixels a side, of each kind of shape: turned, moved and noisy."""
    random = np.random.default_rng(SEED)
    return {name: [_shape(name, random) for _ in range(IMAGES_OF_A_SHAPE)] for name in SHAPES}


def _shape(name: str, random: np.random.Generator) -> np.ndarray:
    """(height, width) of bytes: something light on dark ground."""
    from PIL import Image, ImageDraw

    height, width = random.integers(20, 37, 2)
    radius = random.uniform(0.36, 0.48) * min(height, width)
    middle = np.array([width, height]) / 2 + random.uniform(-1, 1, 2)
    angle = random.uniform(0, 2 * np.pi)
    dark, light = int(random.integers(0, 64)), int(random.integers(144, 256))
    image = Image.new("L", (int(width), int(height)), dark)
    draw = ImageDraw.Draw(image)
    around = [*(middle - radius), *(middle + radius)]
    thick = max(3, round(radius / 2.5))
    if name == "cross":
        for turn in (0.0, np.pi / 2):
            arm = radius * np.array([np.cos(angle + turn), np.sin(angle + turn)])
            draw.line([*(middle - arm), *(middle + arm)], fill=light, width=thick)
    elif name == "triangle":
        corners = angle + 2 * np.pi * np.arange(3) / 3
        points = middle + radius * np.stack([np.cos(corners), np.sin(corners)], axis=1)
        draw.polygon([tuple(point) for point in points.tolist()], fill=light)
    else:
        draw.ellipse(around, fill=light if name == "disc" else None, outline=light, width=thick)
    noisy = np.asarray(image) + random.normal(0, 8, (height, width))
    return (np.clip(noisy, 0, 255) // GRAYS * GRAYS).astype(np.uint8)


def write_images(folder: Path, images: dict[str, list[np.ndarray]]) -> None:
    from PIL import Image

    for name, drawn in images.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number, pixels in enumerate(drawn):
            Image.fromarray(pixels).save(folder / name / f"{name}-{number:03}.png", optimize=True)


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
