"""Draws docs/shapeset.png: eight pictures of each of the nine classes. Run: .venv/bin/python -m docs.make_shapeset."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from shared.catalog.datasets.shapeset import CLASS_NAMES, SIZE, shapes

PER_CLASS, ENLARGED, GAP, MARGIN = 8, 2, 4, 34


def main() -> None:
    """Take the first pictures of each class from seed 0."""
    images, classes = shapes(1000, 0, 0, "train")
    cell = SIZE * ENLARGED + GAP
    sheet = Image.new("L", (MARGIN + PER_CLASS * cell, GAP + len(CLASS_NAMES) * cell), 255)
    pen = ImageDraw.Draw(sheet)
    for row, name in enumerate(CLASS_NAMES):
        top = GAP + row * cell
        pen.text((10, top + cell // 2 - 8), name, fill=0)
        for column, image in enumerate(images[np.flatnonzero(classes == row)[:PER_CLASS]]):
            enlarged = Image.fromarray(image.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1))
            sheet.paste(enlarged, (MARGIN + column * cell, top))
    sheet.save(Path(__file__).parent / "shapeset.png", optimize=True)


if __name__ == "__main__":
    main()
