"""XMP packets: set upright in place, and as text."""

from __future__ import annotations

import re

_TIFF_NAMESPACE = re.compile(r"xmlns:([\w.-]{1,64})\s{0,8}=\s{0,8}[\"']http://ns\.adobe\.com/tiff/1\.0/[\"']")
_MARKUP = re.compile(r"<[?!]?[A-Za-z_]")


def set_upright(data: bytes) -> tuple[bytes, int | None]:
    """Return an XMP packet whose orientation, if it says one, is 1, and the orientation that it had; None if it has
    none.

    The rest stays as it is, but for zeros behind the end. Raises ValueError for what is no markup in UTF-8, UTF-16 or
    UTF-32, which no reader could parse.
    """
    encoding = _encoding(data)
    if not encoding.startswith(("utf-16", "utf-32")):
        data = data.rstrip(b"\0")
    text = data.decode(encoding)
    if _MARKUP.search(text) is None:
        raise ValueError("the XMP packet is no XML")
    orientations: list[str] = []

    def one(match: re.Match[str]) -> str:
        orientations.append(match[2])
        return match[1] + "1" + match[3]

    for prefix in sorted({"tiff", *_TIFF_NAMESPACE.findall(text)}):
        name = re.escape(prefix) + ":Orientation"
        # Bounded repetitions: no packet makes this slow.
        text = re.sub(rf"(\b{name}\s{{0,8}}=\s{{0,8}}[\"']\s{{0,8}})(\d{{0,3}})(\s{{0,8}}[\"'])", one, text)
        text = re.sub(rf"(<{name}[^<>]{{0,256}}>\s{{0,64}})(\d{{0,3}})(\s{{0,64}}</{name})", one, text)
    return text.encode(encoding), int(orientations[0] or 0) if orientations else None


def as_text(data: bytes) -> str | None:
    """Return the packet as text, to be written as UTF-8; None where its bytes are no Unicode."""
    encoding = _encoding(data)
    return None if encoding == "latin-1" else data.decode(encoding).removeprefix("\ufeff")


def _encoding(data: bytes) -> str:
    """Tell the encoding by the first bytes, as in XML.

    Bytes that are no UTF-8 are taken one by one, and come out as they went in.
    """
    for start, encoding in (
        (b"\xff\xfe\0\0", "utf-32-le"), (b"\0\0\xfe\xff", "utf-32-be"), (b"\xff\xfe", "utf-16-le"),
        (b"\xfe\xff", "utf-16-be"), (b"<\0", "utf-16-le"), (b"\0<", "utf-16-be"),
    ):  # fmt: skip
        if data.startswith(start):
            return encoding
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"
