"""Decode one file with several looks, from true to the pixels (0) to pleasing (1), and draw them side by side.

python examples/looks.py [PICTURE [CONTACT_SHEET]]
"""

import sys
from pathlib import Path

from PIL import Image, ImageDraw

import promptcodec

LOOKS = (0.0, 0.5, 1.0)
SIDE = 256  # of the crop that is shown
HEAD = 16


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("photo.jpg")
    output = Path(sys.argv[2]) if len(sys.argv) > 2 else Path("looks.png")
    image = Image.open(path).convert("RGB")
    data = promptcodec.encode(image, 25)  # no look is stored: the decoder chooses

    x, y = max(image.width - SIDE, 0) // 2, max(image.height - SIDE, 0) // 2
    width, height = min(SIDE, image.width), min(SIDE, image.height)
    panels = [("original", image.crop((x, y, x + width, y + height)))]
    for look in LOOKS:
        panels.append((f"look {look:g}", promptcodec.decode(data, look=look, crop=(x, y, width, height))))

    sheet = Image.new("RGB", (len(panels) * width, height + HEAD), "white")
    draw = ImageDraw.Draw(sheet)
    for column, (title, panel) in enumerate(panels):
        sheet.paste(panel.convert("RGB"), (column * width, HEAD))
        draw.text((column * width + 4, 2), title, fill="black")
    sheet.save(output)
    print(f"{output}: {len(panels)} panels of {width}x{height}, from one file of {len(data)} bytes")


if __name__ == "__main__":
    main()
