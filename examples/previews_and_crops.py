"""Look into a large picture's file without decoding all of it: what it is, a preview, and a crop.

python examples/previews_and_crops.py [PICTURE [OUTPUT_FOLDER]]
"""

import sys
from pathlib import Path

import promptcodec


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("photo.jpg")
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else Path("previews-output")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "picture.ptc"
    file.write_bytes(promptcodec.encode(path, 50, preview=True))

    info = promptcodec.info(file)  # reads the headers alone, loads no model
    print(f"{info.width}x{info.height}, {info.bytes} bytes, {info.tiles} tiles, preview {info.preview}")

    small = promptcodec.preview(file)  # reads the first part of the file; the rest may still be under way
    small.save(folder / "preview.png")
    print(f"preview: {small.width}x{small.height}")

    crop = (info.width // 4, info.height // 4, info.width // 2, info.height // 2)  # x, y, width, height
    part = promptcodec.decode(file, crop=crop)  # of many tiles only those that it touches, and their neighbours
    part.save(folder / "crop.png")
    print(f"crop: {part.width}x{part.height} at {crop[0]}, {crop[1]}")


if __name__ == "__main__":
    main()
