"""Small data sets in each layout, and engines for tests."""

import hashlib
import io
import os
import signal
import tarfile
from dataclasses import dataclass
from pathlib import Path

from pictures import make_photo
from PIL import Image

from promptcodec.batch.engine import Alone, Finished, Raised
from promptcodec.batch.process import process_shard
from promptcodec.batch.settings import EncodeSettings
from promptcodec.errors import PromptcodecError

BROKEN = b"no picture"
KILLER = b"kills its worker"


def jpeg(number=0, kind="JPEG"):
    """The bytes of a small picture, another one for each number."""
    file = io.BytesIO()
    Image.fromarray(make_photo(64 + 8 * (number % 5), 72 + 8 * (number // 5))).save(file, kind)
    return file.getvalue()


def write_tar(path, members):
    """A tar file of (name, bytes) and of whole headers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            if data is not None:
                info.size = len(data)
            info.mtime = 1_234_567_890.5
            tar.addfile(info, None if data is None else io.BytesIO(data))
    return path


def samples(count, first=0):
    """Members of a WebDataset shard: pictures with captions and classes."""
    for number in range(first, first + count):
        yield f"d/{number:03}.jpg", jpeg(number)
        yield f"d/{number:03}.txt", f"caption {number}".encode()
        yield f"d/{number:03}.cls", b"7"


def read_tar(path):
    """Content by name, in order."""
    with tarfile.open(path) as tar:
        return {info.name: tar.extractfile(info).read() if info.isfile() else None for info in tar}


def tree(folder):
    """SHA-256 of every output, by name; what belongs to the manifest is left out."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file() and "_promptcodec" not in path.parts
    }


class InlineEngine:
    """Works in this process, a shard at a time; ends after ``most`` shards as if Ctrl-C had come."""

    slots = 1

    def __init__(self, settings=None, most=None):
        self.settings, self.most, self.tried, self._events = settings or EncodeSettings(verify=False), most, [], []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def submit(self, shard):
        if self.most is not None and len(self.tried) >= self.most:
            os.kill(os.getpid(), signal.SIGINT)
        self.tried.append(shard)
        try:
            self._events.append(Finished(shard, process_shard(shard, self.settings, Alone())))
        except PromptcodecError as error:
            self._events.append(Raised(shard, error))

    def events(self, timeout):
        happened, self._events = self._events, []
        return happened

    def stop(self):
        pass


@dataclass(frozen=True)
class KillingSettings(EncodeSettings):
    """Encodes, but for pictures that end their process; ``once``: a folder in which the first death is noted."""

    once: str = ""

    def code(self, data, name):
        if data.startswith(KILLER):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.once:
            try:
                (Path(self.once) / "died").touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().code(data, name)
