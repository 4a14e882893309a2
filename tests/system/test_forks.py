"""Forked processes, which have none of torch's threads: they code, with one thread, and say so; none waits for ever."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from promptcodec.errors import ForkError
from promptcodec.system.bounded_cache import BoundedCache
from promptcodec.system.forks import explained

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

FORKED = """
import json, multiprocessing, os, sys, warnings, zlib
import numpy as np, torch
from pictures import make_photo
torch.set_num_threads(2)
photo, kind = make_photo(200, 260), sys.argv[1]
if kind != "late":
    import promptcodec

def code(number):
    import promptcodec
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = promptcodec.encode(photo, 40, effort=1, roi="10,10,40,40")
        pixels = promptcodec.decode(data).tobytes()
        promptcodec.encode(photo, 40)
    return data.hex(), zlib.crc32(pixels), torch.get_num_threads(), [str(w.message) for w in caught]

expected = None
if kind == "coded":  # torch's threads have been started, by us
    expected = code(0)
    assert expected[2] == 2 and not expected[3], expected[2:]
elif kind == "torch":  # and by the program
    torch.randn(1000, 1000) @ torch.randn(1000, 1000)
elif kind == "late":  # by a program that has not loaded us yet
    torch.randn(1000, 1000) @ torch.randn(1000, 1000)
elif kind == "one":
    expected = code(0)
    torch.set_num_threads(1)
with multiprocessing.get_context("fork").Pool(2) as pool:
    found = pool.map(code, range(2))
expected = expected or code(0)
for one in found:
    assert one[:2] == expected[:2]
print(json.dumps([one[2:] for one in found]))
"""


@pytest.mark.parametrize("kind", ["coded", "torch", "late", "one"])
def test_a_forked_pool_codes_the_same(kind):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", FORKED, kind]
    out = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert out.returncode == 0, out.stderr
    for threads, warned in json.loads(out.stdout):
        assert threads == 1
        if kind == "one":  # nothing was lost, and nothing is said
            assert warned == []
    if kind != "one":
        said = [text for _, warned in json.loads(out.stdout) for text in warned]
        assert said
        assert all("spawn" in text and "one thread" in text for text in said)


def test_refusals_of_torch_say_what_to_do(monkeypatch):
    error = RuntimeError("Cannot re-initialize CUDA in forked subprocess")
    assert explained(error) is error
    monkeypatch.setattr("promptcodec.system.forks.inherited_torch", True)
    assert isinstance(explained(error), ForkError)
    assert "spawn" in str(explained(error))
    other = RuntimeError("out of memory")
    assert explained(other) is other


def test_a_fork_does_not_wait_for_what_another_thread_was_loading():
    cache: BoundedCache[int, int] = BoundedCache(2)
    inside, go = threading.Event(), threading.Event()

    def slowly() -> int:
        inside.set()
        go.wait(60)
        return 1

    thread = threading.Thread(target=cache.get, args=(1, slowly))
    thread.start()
    inside.wait(60)
    child = os.fork()
    if child == 0:
        os._exit(cache.get(2, lambda: 42))
    status, deadline = (0, 0), time.monotonic() + 60
    while status[0] == 0 and time.monotonic() < deadline:
        status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.02)
    go.set()
    thread.join()
    if status[0] == 0:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status[1]) == 42
    assert status[0] == child


def test_a_cache_keeps_what_was_used_last_and_makes_it_once():
    cache: BoundedCache[int, object] = BoundedCache(2)
    made = []

    def make(key):
        return lambda: made.append(key) or key

    for key in (1, 2, 1, 3, 1, 2):
        assert cache.get(key, make(key)) == key
    assert made == [1, 2, 3, 2]
    assert len(cache) == 2
    cache.get(2, make(2), lambda value: False)
    assert made[-2:] == [2, 2]
    gate, counted = threading.Barrier(6), []

    def at_once():
        gate.wait()
        cache.get(9, lambda: (time.sleep(0.05), counted.append(1)))

    threads = [threading.Thread(target=at_once) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted == [1]
