"""Parts of a layer on several threads."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from promptcodec.model.kernels.workers import each, torch_alone


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_every_part_once(threads):
    done, lock = [], threading.Lock()

    def work(part):
        with lock:
            done.append(part)

    each(17, work)
    assert sorted(done) == list(range(17))


def test_settings_of_torch(threads):
    seen = set()

    def work(part):
        seen.add((torch.is_inference_mode_enabled(), torch.is_grad_enabled(), torch.get_num_threads()))

    with torch.inference_mode():
        each(40, work)
    assert {(mode, grad) for mode, grad, _ in seen} == {(True, False)}
    assert {count for *_, count in seen} == {1}
    assert torch.get_num_threads() == threads
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == threads


def test_errors_reach_the_caller(threads):
    def work(part):
        if part == 3:
            raise ValueError("part 3")

    with pytest.raises(ValueError, match="part 3"):
        each(9, work)
    each(2, lambda part: None)  # and the threads live on


def test_many_callers_at_once(threads):
    sums = [0] * 8

    def call(caller):
        parts = []
        each(20, parts.append)
        sums[caller] = sum(parts)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(call, range(8)))
    assert sums == [190] * 8


def test_torch_alone_needs_no_thread(threads):
    seen = set()
    with torch_alone():
        each(9, lambda part: seen.add(threading.get_ident()))
    assert seen == {threading.get_ident()}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_has_workers_of_its_own():
    code = (
        "import os, torch\nfrom promptcodec.model.kernels.workers import each\ntorch.set_num_threads(2)\n"
        "each(4, lambda part: None)\nchild = os.fork()\n"
        "if child:\n    raise SystemExit(os.waitpid(child, 0)[1])\n"
        "done = []\neach(4, done.append)\nos._exit(len(done) - 4)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
