"""Many threads and processes at once: the same bytes, latents and pixels as alone."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pictures import make_photo

QUALITIES = (15, 50, 85)
SIZES = ((64, 96), (130, 70), (200, 161))


@pytest.fixture(scope="module")
def pictures():
    return [make_photo(*size, seed) for seed, size in enumerate(SIZES)]


@pytest.fixture(scope="module")
def alone(codec, pictures):
    """Files and pixels of every picture at every quality, one after the other."""
    files = {(i, q): codec.encode(picture, q) for i, picture in enumerate(pictures) for q in QUALITIES}
    return files, {key: np.asarray(codec.decode(data)) for key, data in files.items()}


def test_threads_share_a_codec(codec, pictures, alone):
    files, pixels = alone
    jobs = [(kind, key) for key in files for kind in ("encode", "decode", "verify")] * 2
    np.random.default_rng(0).shuffle(jobs)

    def work(job):
        kind, (i, q) = job[0], tuple(job[1])
        if kind == "encode":
            return codec.encode(pictures[i], q) == files[i, q]
        if kind == "verify":
            return codec.verify(files[i, q]) is None
        return np.array_equal(np.asarray(codec.decode(files[i, q])), pixels[i, q])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, jobs))


COLD = """
import sys, json, hashlib, threading, numpy as np
import promptcodec
paths, gate, found = sys.argv[1:], threading.Barrier(len(sys.argv) - 1), {}
def work(path):
    gate.wait()  # all load the model and fill the caches at once
    data = promptcodec.encode(np.load(path), 50)
    found[path] = [hashlib.sha256(data).hexdigest(), promptcodec.decode(data).size]
threads = [threading.Thread(target=work, args=(path,)) for path in paths]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps(found))
"""


def test_processes_that_begin_with_many_threads(codec, pictures, tmp_path):
    """Two processes at once, each of which loads the model and codes from six threads that start together."""
    import hashlib

    paths, expected = [], {}
    for number in range(6):
        path = str(tmp_path / f"{number}.npy")
        picture = pictures[number % len(pictures)]
        np.save(path, picture)
        paths.append(path)
        size = [picture.shape[1], picture.shape[0]]
        expected[path] = [hashlib.sha256(codec.encode(picture, 50)).hexdigest(), size]
    command = [sys.executable, "-c", COLD, *paths]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in running:
        out, _ = process.communicate(timeout=300)
        assert process.returncode == 0
        assert json.loads(out) == expected


def test_writers_of_one_name(tmp_path):
    """Whoever comes first has the name; nobody sees a file that is two."""
    from promptcodec.system.atomic import atomic_write

    def write(number):
        try:
            with atomic_write(tmp_path / "one") as file:
                file.write(bytes([number]) * 100_000)
        except FileExistsError:
            return 0
        return 1

    with ThreadPoolExecutor(8) as pool:
        written = sum(pool.map(write, range(40)))
    data = (tmp_path / "one").read_bytes()
    assert (written, len(data), len(set(data))) == (1, 100_000, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
