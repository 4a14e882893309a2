"""Text from outside (file names, metadata, errors that quote them) made fit for terminals and for UTF-8."""

from __future__ import annotations

import base64
import json
import os
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

# Cc: control characters, which steer terminals. Zl, Zp: line separators. Cf: among others the marks that turn the
# direction of writing; the joiners among them belong to the spelling of some languages and of emoji.
_ESCAPED = frozenset({"Cc", "Cs", "Zl", "Zp", "Cf"})
_JOINERS = "\u200c\u200d"
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_SURROGATES = re.compile("[\ud800-\udfff]")


def printable(text: str) -> str:
    """Escape what would steer a terminal, forge a line or not encode: ``\\x1b``, ``\\n``, ``\\u202e``, ``\\xff``.

    Bytes of a file name that are not UTF-8, which Python holds as surrogates, become ``\\xNN``. All else stays as it
    is, backslashes among it: the result is for reading, not for reversal.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_escaped, _decoded(text)))


def json_text(value: Any, **options: Any) -> str:
    """Serialise ``value`` as JSON in ASCII, whose strings are valid Unicode; ``options`` are those of ``json.dumps``.

    A string that is not, such as a file name of other bytes than UTF-8, has these bytes as ``\\xNN``. Where it is the
    value of a key ``NAME`` in an object, ``NAME_base64`` beside it holds the bytes themselves.
    """
    return json.dumps(_unicode(value), **options)


def valid_unicode(text: str) -> str:
    """Make a file name, or text with such names in it, valid Unicode: bytes that are not UTF-8 become ``\\xNN``."""
    return _SURROGATES.sub(lambda match: _escaped(match[0]), _decoded(text))


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a name that is not text in the file system's encoding
        return f"\\x{code - 0xDC00:02x}"
    if unicodedata.category(character) not in _ESCAPED or character in _JOINERS:
        return character
    if code < 0x80:
        return _NAMED.get(character, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _decoded(text: str) -> str:
    """Return ``text`` from its bytes as UTF-8 where that is what they are.

    In the locale C, Python may take them for ASCII.
    """
    if not _SURROGATES.search(text):
        return text
    try:
        return os.fsencode(text).decode("utf-8")
    except UnicodeError:
        return text


def _unicode(value: Any) -> Any:
    if isinstance(value, str):
        return valid_unicode(value)
    if isinstance(value, Mapping):
        keyed: dict[Any, Any] = {}
        for key, part in value.items():
            keyed[_unicode(key)] = _unicode(part)
            if isinstance(part, str) and _SURROGATES.search(_decoded(part)) and (raw := _bytes(part)) is not None:
                keyed[f"{_unicode(key)}_base64"] = base64.b64encode(raw).decode()
        return keyed
    return [_unicode(part) for part in value] if isinstance(value, (list, tuple)) else value


def _bytes(name: str) -> bytes | None:
    try:
        return os.fsencode(name)
    except UnicodeError:  # surrogates of another origin than a file name
        return None
