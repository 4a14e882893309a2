"""Workers that are killed, take too long or too much, a queue that is full, clients that go away."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pictures import make_photo
from PIL import Image
from served import PATIENCE, SOURCE, running

import promptcodec
from promptcodec.serve.pool import Pool
from promptcodec.serve.telemetry import Telemetry
from promptcodec.serve.worker import Worker


@pytest.fixture(scope="module")
def large() -> bytes:
    """A picture that takes a while with an effort."""
    file = io.BytesIO()
    Image.fromarray(make_photo(300, 330)).save(file, "JPEG", quality=90)
    return file.getvalue()


def slow(service, data):
    """A request that takes a minute or more."""
    return service.client.post("/encode", params={"effort": 10}, content=data)


def test_a_request_over_time_ends_its_worker_and_the_next_one_is_served(limited, large, jpeg):
    before = set(limited.workers())
    detail = limited.problem(slow(limited, large), 504, "over-time")
    assert "15 seconds" in detail
    assert limited.client.post("/encode", content=jpeg).content == promptcodec.encode(jpeg)
    assert before != set(limited.workers())
    assert limited.metric("promptcodec_workers_ended_total") >= 1


def test_a_killed_worker_costs_its_request_alone(service, large, jpeg):
    with ThreadPoolExecutor() as threads:
        running_one = threads.submit(slow, service, large)
        service.wait(lambda: service.metric("promptcodec_coding_busy") == 1)
        others = [threads.submit(service.client.post, "/encode", content=jpeg) for _ in range(3)]
        expected = promptcodec.encode(jpeg)
        assert all(other.result().content == expected for other in others)
        os.kill(service.busiest_worker(), signal.SIGKILL)
        detail = service.problem(running_one.result(), 500, "worker-ended")
        assert "again" in detail
    assert service.client.post("/encode", content=jpeg).content == expected
    service.wait(lambda: service.client.get("/readyz").json()["workers"] == 2)


def test_a_full_queue_says_when_to_try_again(limited, large, jpeg):
    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(slow, limited, large)
        limited.wait(lambda: limited.metric("promptcodec_coding_busy") == 1)
        waiting = [threads.submit(limited.client.post, "/encode", content=jpeg) for _ in range(2)]
        limited.wait(lambda: limited.metric("promptcodec_coding_queue") == 2)
        refused = limited.client.post("/encode", content=jpeg)
        assert "waiting" in limited.problem(refused, 503, "busy")
        assert int(refused.headers["retry-after"]) >= 1
        first.result()
        statuses = {future.result().status_code for future in waiting}
        assert statuses <= {200, 503}


def test_a_client_that_goes_away_frees_its_place(limited, large, jpeg):
    def leave(path):
        connection = socket.create_connection(("127.0.0.1", limited.port))
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(large)}\r\n\r\n"
        connection.sendall(head.encode() + large)
        return connection

    with leave("/encode?effort=10"):
        limited.wait(lambda: limited.metric("promptcodec_coding_busy") == 1)
        with leave("/encode?effort=9"):
            limited.wait(lambda: limited.metric("promptcodec_coding_queue") == 1)
        limited.wait(lambda: limited.metric("promptcodec_coding_queue") == 0)
        ended = limited.metric("promptcodec_workers_ended_total")
    limited.wait(lambda: limited.metric("promptcodec_coding_busy") == 0)
    assert limited.client.post("/encode", content=jpeg).status_code == 200
    assert limited.metric("promptcodec_workers_ended_total") == ended  # it stopped by itself


def test_too_little_memory_is_a_clear_answer(jpeg):
    file = io.BytesIO()
    Image.new("RGB", (9000, 7000), "teal").save(file, "PNG")
    with running("--workers", "1", "--memory", "900M") as service:
        for ended in (1, 2):
            response = service.client.post("/encode", content=file.getvalue())
            assert response.json()["type"] in ("/problems/too-large", "/problems/worker-ended")
            assert service.client.post("/encode", content=jpeg).content == promptcodec.encode(jpeg)
            assert service.metric("promptcodec_workers_ended_total") == ended


def test_a_job_that_begins_alone_has_the_threads_of_idle_workers():
    settings = Worker("coding", 1, 3, 2**20, 2**30, 2**20, True)
    pool, threads = Pool(settings, 3, 8, 1.0, 1.0, Telemetry()), []
    for waiting, in_hand in ((0, 1), (0, 2), (1, 1)):
        pool._waiting, pool._running = [None] * waiting, dict.fromkeys(range(in_hand))
        threads.append(pool._threads_for_next())
    assert threads == [3, 1, 1]


def test_what_runs_is_finished_before_the_end(jpeg):
    with running("--workers", "1") as service, ThreadPoolExecutor() as threads:
        last = threads.submit(service.client.post, "/encode", params={"effort": 4}, content=jpeg)
        service.wait(lambda: service.metric("promptcodec_coding_busy") == 1)
        service.process.send_signal(signal.SIGTERM)
        assert last.result().content == promptcodec.encode(jpeg, effort=4)
        assert service.process.wait(PATIENCE) == 0


def test_workers_end_with_a_service_that_is_killed():
    with running("--workers", "1") as service:
        workers = service.workers()
        assert workers
        service.process.kill()
        service.wait(lambda: not any(_runs(worker) for worker in workers))
        service.process.returncode = 0


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_a_port_that_is_taken_is_named(service):
    command = [sys.executable, "-m", "promptcodec", "serve", "--no-browser", "-p", str(service.port)]
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert str(service.port) in done.stderr and "-p 0" in done.stderr and "Traceback" not in done.stderr


def test_nothing_is_written_to_the_folder(tmp_path, jpeg):
    with running("--workers", "1", folder=tmp_path) as service:
        service.client.post("/encode", files={"file": jpeg + bytes(3_000_000)})
        service.client.post("/api/pictures", content=jpeg)
        links = [link for link in Path(f"/proc/{service.process.pid}/fd").iterdir() if int(link.name) > 2]
        files = [str(link.readlink()) for link in links]
        assert not [name for name in files if name.startswith("/tmp") or "deleted" in name]
    assert not list(tmp_path.iterdir())
