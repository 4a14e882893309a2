"""COCO as papers on regions of interest use it: squares of 512 pixels, and masks of all objects in them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from promptcodec.errors import ImageError, UsageError

SIDE = 512
ANNOTATIONS = ("instances.json", "annotations/instances_val2017.json")


class Annotated(NamedTuple):
    """The ``shapes`` of a picture's objects, in its pixels."""

    width: int
    height: int
    shapes: list[Any]


def read_instances(
    text: bytes, where: str, pack: Callable[[dict[str, Any]], dict[str, Any]] | None = None
) -> dict[str, Annotated]:
    """Return all pictures of annotations in COCO's format by their file names; ``where`` names the source in errors.

    ``pack`` is given every JSON object as it is read, and returns what is kept of it: all annotations at once take much
    memory. Raises UsageError for what is no such file.
    """
    try:
        content = json.loads(text, object_hook=pack)
        objects: dict[int, list[Any]] = defaultdict(list)
        for entry in content["annotations"]:
            objects[entry["image_id"]].append(entry["segmentation"])
        by_name = {str(i["file_name"]): Annotated(i["width"], i["height"], objects[i["id"]]) for i in content["images"]}
        if sizes := [one[:2] for one in by_name.values() if not min(one[:2]) > 0]:
            raise ValueError(f"a picture of size {sizes[0]}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{where} holds no instances in COCO's format: {error!r}") from error
    return by_name


def prepare(folder: Path, out: Path, side: int = SIDE) -> tuple[Path, Path]:
    """Write the pictures with objects as PNG squares, and their masks (255 in any object); return both folders.

    As in Kao et al. (2023) and paper 003: the shorter side is scaled to ``side``, then the top left square is taken;
    the region of interest is the union of the instances. ``folder`` holds the pictures (or val2017/ does) and one of
    ANNOTATIONS. Raises UsageError where something of this is missing, ImageError for unreadable pictures.
    """
    annotations = next((folder / name for name in ANNOTATIONS if (folder / name).is_file()), None)
    if annotations is None:
        raise UsageError(f"{folder} is no folder of COCO: it has neither {' nor '.join(ANNOTATIONS)}")
    try:
        text = annotations.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {annotations}: {error}") from error
    pictures, masks = out / "pictures", out / "masks"
    for part in (pictures, masks):
        part.mkdir(parents=True, exist_ok=True)
    for name, (width, height, shapes) in read_instances(text, str(annotations)).items():
        if not shapes:
            continue
        path = next((p for p in (folder / name, folder / "val2017" / name) if p.is_file()), None)
        if path is None:
            raise UsageError(f"{annotations} lists {name}, which is not in {folder}")
        picture = _picture(path, (width, height))
        mask = Image.fromarray(instance_mask(shapes, width, height))
        stem = Path(name).stem
        _square(picture, side, Image.Resampling.BICUBIC).save(pictures / f"{stem}.png", compress_level=1)
        _square(mask, side, Image.Resampling.NEAREST).save(masks / f"{stem}.png")
    return pictures, masks


def instance_mask(shapes: list[Any], width: int, height: int) -> NDArray[np.uint8]:
    """Return uint8 (height, width), 255 in any of the shapes: lists of polygons, or COCO's uncompressed run lengths.

    Raises UsageError for others.
    """
    canvas = Image.new("L", (width, height))
    draw = ImageDraw.Draw(canvas)
    runs = np.zeros((height, width), np.uint8)
    for shape in shapes:
        if isinstance(shape, list):
            for polygon in shape:
                draw.polygon(polygon, fill=255, outline=255)
        elif isinstance(shape, dict) and isinstance(shape.get("counts"), list) and shape.get("size") == [height, width]:
            values = np.arange(len(shape["counts"])) % 2 * 255  # by columns, and the first run is of background
            runs |= np.repeat(values, shape["counts"]).astype(np.uint8).reshape(width, height).T
        else:
            raise UsageError(
                f"expected polygons or uncompressed run lengths of {height}x{width}, found {str(shape)[:60]}"
            )
    runs |= np.asarray(canvas)
    return runs


def _picture(path: Path, size: tuple[int, int]) -> Image.Image:
    try:
        with Image.open(path) as image:
            picture = image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(f"cannot read the picture {path}: {error}") from error
    if picture.size != size:
        raise UsageError(f"{path} is {picture.size}, its annotations are for {size}")
    return picture


def _square(image: Image.Image, side: int, resampling: Image.Resampling) -> Image.Image:
    scale = side / min(image.size)
    size = tuple(max(side, round(scale * length)) for length in image.size)
    return image.resize((size[0], size[1]), resampling).crop((0, 0, side, side))
