"""Let a program that knows Pillow, and nothing of this package, open and save .ptc files.

python examples/pillow_plugin.py [PICTURE [OUTPUT.ptc]]
"""

import sys
from pathlib import Path

from PIL import Image

import promptcodec.pillow  # noqa: F401  (registers the format)


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("photo.jpg")
    output = Path(sys.argv[2]) if len(sys.argv) > 2 else Path("photo.ptc")

    with Image.open(path) as image:
        image.convert("RGB").save(output, quality=60)

    with Image.open(output) as image:
        print(f"{output}: {image.format}, {image.mode}, {image.width}x{image.height}")  # known before it is decoded
        image.thumbnail((128, 128))
        print(f"thumbnail: {image.width}x{image.height}")


if __name__ == "__main__":
    main()
