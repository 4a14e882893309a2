"""Shards over the network: the same pictures as from a file, in bounded memory, through broken connections."""

import dataclasses
import functools
import tarfile
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from PIL import Image

from promptcodec.errors import UsageError
from promptcodec.train.build import build_trainer
from promptcodec.train.data import remote, stream
from promptcodec.train.data.remote import expand, members
from promptcodec.train.data.stream import StreamedStore
from promptcodec.train.recipe import Recipe

CPU = torch.device("cpu")


class Handler(SimpleHTTPRequestHandler):
    """Serves files with ranges, if ``ranges``; cuts the first ``cuts`` answers short."""

    ranges, cuts = True, 0
    log: list[str]

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        type(self).log.append(f"{path.name} {self.headers.get('Range', 'all')}")
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        start = 0
        if self.ranges and (wanted := self.headers.get("Range")):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(data):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if type(self).cuts:
            type(self).cuts -= 1
            self.wfile.write(data[start : start + (len(data) - start) // 2])
            self.close_connection = True
        else:
            self.wfile.write(data[start:])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Four shards of three pictures, 16 pixels more a side each; and something that is none."""
    folder = tmp_path / "shards"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for shard in range(4):
        with tarfile.open(folder / f"s-{shard:02}.tar", "w") as tar:
            for i in range(3):
                path = tmp_path / f"{shard}{i}.png"
                pixels = rng.integers(0, 255, (64 + 16 * shard, 64 + 16 * i, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(path)
                tar.add(path, f"a-folder/with-a-{'very-' * 30}long-name/{path.name}")
                (tmp_path / "label.txt").write_text("no picture")
                tar.add(tmp_path / "label.txt", f"{shard}{i}.txt")
    return folder


@pytest.fixture
def host(shards: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, type[Handler]]]:
    """The shards behind an address."""
    monkeypatch.setattr(remote, "PAUSE", 0.01)
    handler = type("Own", (Handler,), {"log": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(shards)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", handler
    server.shutdown()
    server.server_close()


def _sizes(store: StreamedStore) -> list[tuple[int, ...]]:
    return [tuple(p.shape[:2]) for p in store.pictures]


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("cuts", [0, 2])
def test_the_pictures_of_a_shard(host: tuple[str, type[Handler]], shards: Path, ranges: bool, cuts: int) -> None:
    address, handler = host
    handler.ranges, handler.cuts = ranges, cuts
    said: list[str] = []
    local = list(members(str(shards / "s-01.tar"), 0, said.append))
    over = list(members(f"{address}/s-01.tar", 0, said.append))
    assert [m.data for m in over] == [m.data for m in local]
    assert len(over) == 3 and not said
    assert len(handler.log) == 1 + cuts
    if cuts:
        assert "bytes=" in handler.log[-1]  # goes on where it was, rather than from the beginning
    for member in local:  # a shard can be entered at any of its pictures
        assert next(members(f"{address}/s-01.tar", member.start, said.append)).data == member.data
    assert not list(members(f"{address}/s-01.tar", local[-1].end, said.append))


def test_memory_is_bounded_and_every_picture_comes(host: tuple[str, type[Handler]]) -> None:
    bound = 5 * 80 * 96 * 3
    store = StreamedStore([f"{host[0]}/s-{{00..03}}.tar"], 64, CPU, bound, reuse=10)
    store.fill()
    seen = set()
    for samples in range(0, 400, 10):
        store.move(samples)
        assert sum(p.nbytes for p in store.pictures) <= bound
        seen |= set(_sizes(store))
    assert seen == {(64 + 16 * s, 64 + 16 * i) for s in range(4) for i in range(3)}
    rounds = [[line for line in host[1].log if line.endswith("all")][i : i + 4] for i in (0, 4)]
    assert sorted(rounds[0]) == sorted(rounds[1]) and rounds[0] != rounds[1]  # another order


def test_a_stream_that_fits_is_read_once(host: tuple[str, type[Handler]]) -> None:
    store = StreamedStore([f"{host[0]}/s-00.tar"], 64, CPU, reuse=1)
    store.fill()
    store.move(1000)
    assert len(store.pictures) == 3
    assert len(host[1].log) <= 1 + 1 + 16  # what was read ahead


def test_it_goes_on_where_it_was(host: tuple[str, type[Handler]]) -> None:
    def make() -> StreamedStore:
        return StreamedStore([f"{host[0]}/s-{{00..03}}.tar"], 80, CPU, 4 * 96 * 96 * 3, reuse=10)

    store = make()
    store.fill()
    store.move(170)
    again = make()
    again.restore(store.state(), 170)
    for samples in range(170, 400, 10):
        store.move(samples)
        again.move(samples)
        assert len(store.pictures) == len(again.pictures)
        assert all(torch.equal(a, b) for a, b in zip(store.pictures, again.pictures, strict=True))


def test_a_run_cut_in_two_equals_one_that_was_not(
    host: tuple[str, type[Handler]], recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "START", 3)
    recipe = dataclasses.replace(
        recipe, data=(f"{host[0]}/s-{{00..03}}.tar",), memory=1e-4, reuse=2, samples=40, linear_start=False
    )
    whole = build_trainer(recipe, tmp_path / "whole", say=lambda _: None)
    whole.begin()
    whole.train()
    cut = build_trainer(recipe, tmp_path / "cut", say=lambda _: None)
    cut.begin()
    for _ in range(5):
        cut.train_step()
    cut.save()
    cut = build_trainer(recipe, tmp_path / "cut", say=lambda _: None)
    cut.begin()
    cut.train()
    for name, value in whole.task.model.state_dict().items():
        assert torch.equal(value, cut.task.model.state_dict()[name])


def test_shards_that_fail_are_left_out(host: tuple[str, type[Handler]], shards: Path) -> None:
    (shards / "s-04.tar").write_text("<html>Not here</html>" * 60)
    said: list[str] = []
    store = StreamedStore([f"{host[0]}/s-{{03..05}}.tar"], 64, CPU, say=said.append)
    store.fill()
    assert len(store.pictures) == 3
    assert any("s-05.tar" in text and "404" in text for text in said)
    assert any("s-04.tar" in text for text in said)
    with pytest.raises(UsageError, match="no picture in 2 streamed shards"):
        StreamedStore([f"{host[0]}/s-{{04..05}}.tar"], 64, CPU, say=said.append).fill()
    with pytest.raises(UsageError, match="no picture of at least 500 pixels"):
        StreamedStore([f"{host[0]}/s-00.tar"], 500, CPU, say=said.append).fill()


def test_other_file_systems(shards: Path) -> None:
    with fsspec.open("memory://s/00.tar", "wb") as file:
        file.write((shards / "s-00.tar").read_bytes())
    store = StreamedStore(["memory://s/00.tar"], 64, CPU)
    store.fill()
    assert len(store.pictures) == 3
    with pytest.raises(UsageError, match=r"nosuch://x/y\.tar cannot be opened"):
        StreamedStore(["nosuch://x/y.tar"], 64, CPU).fill()


def test_addresses() -> None:
    assert expand("https://h/a-{08..10}.tar?x={1..2}")[:3] == [f"https://h/a-08.tar?x={i}" for i in (1, 2)] + [
        "https://h/a-09.tar?x=1"
    ]
    with pytest.raises(UsageError, match="counts down"):
        expand("https://h/{3..1}.tar")
    with pytest.raises(UsageError, match=r"expected the address of a \.tar file"):
        StreamedStore(["https://h/pictures.zip"], 64, CPU)


def test_a_sample_is_the_beginning_of_the_stream(shards: Path) -> None:
    """Wherever the stream has got to; pictures that are too small are left out, and no round is begun again."""
    store = StreamedStore([str(shards / "s-{00..03}.tar")], 72, torch.device("cpu"), memory=4 * 3 * 112 * 96, reuse=1)
    store.fill()
    first = store.sample(2)
    store.move(30)
    assert [picture.shape for picture in store.sample(2)] == [picture.shape for picture in first]
    assert all((one == two).all() for one, two in zip(first, store.sample(16), strict=False))
    assert len(store.sample(16)) == 6
