"""Pictures of one size that are analysed together: the same files, in the same order, within bounds."""

import io

import numpy as np
import pytest
from data_sets import BROKEN, InlineEngine, jpeg, read_tar, tree, write_tar
from pictures import make_photo
from PIL import Image

from promptcodec.batch import lookahead, runtime, work
from promptcodec.batch.settings import EncodeSettings
from promptcodec.codec.batched_analysis import MOST_FAILED_TRIALS, BatchedAnalysis
from promptcodec.codec.codec import Codec
from promptcodec.model.arrays import Analysis
from promptcodec.model.effort import Effort


def picture(shift, height=96, width=128):
    file = io.BytesIO()
    Image.fromarray(np.roll(make_photo(height, width), shift, axis=1)).save(file, "JPEG", quality=95)
    return file.getvalue()


def encode(source, target, batch_size, **options):
    settings = EncodeSettings(verify=False, batch_size=batch_size, **options)
    return work.run([source], target, settings, running=work.Running(InlineEngine(settings)))


@pytest.fixture
def members():
    """A shard whose pictures are of three sizes, with much between them, some of it broken."""
    turned = Image.open(io.BytesIO(picture(3)))
    exif = turned.getexif()
    exif[0x0112] = 6
    rotated = io.BytesIO()
    turned.save(rotated, "JPEG", exif=exif)
    return [
        ("0.jpg", picture(0)), ("0.txt", b"caption"), ("1.jpg", picture(1)), ("bad.jpg", BROKEN), ("odd.jpg", jpeg(2)),
        ("film.bin", bytes(2**17)), ("2.jpg", picture(2)), ("turned.jpg", rotated.getvalue()),
        ("cut.jpg", picture(9)[:900]), ("2.jpg", picture(8)), *((f"more{n}.jpg", picture(10 + n)) for n in range(8)),
        ("tall.jpg", picture(4, 128, 96)), ("tall2.jpg", picture(5, 128, 96)),
    ]  # fmt: skip


@pytest.mark.parametrize("equal", [True, False])
def test_outputs_are_those_of_one_at_a_time(members, tmp_path, monkeypatch, equal):
    """``equal``: the networks give the same bits for several pictures as for one, or others, which must not count."""
    passes = []

    def analyse_batch(self, pictures):
        passes.append(len(pictures))
        latents = [self.analyse(rgb, 0.0, None, Effort(0), lambda: None) for rgb in pictures]
        return latents if equal else [Analysis(each.y + np.float32(1), each.z) for each in latents]

    worker = runtime.codec(None, "cpu", "float32")
    monkeypatch.setattr(type(worker.backend), "analyse_batch", analyse_batch)
    monkeypatch.setattr(worker, "_together", BatchedAnalysis(worker.backend))  # with nothing known of any size
    monkeypatch.setattr(lookahead, "ROUNDS", 2)
    write_tar(tmp_path / "in" / "t.tar", members)
    for name, data in members:
        (tmp_path / "in" / name).write_bytes(data)
    summaries = [encode(tmp_path / "in", tmp_path / f"{size}", size) for size in (1, 4)]
    assert tree(tmp_path / "1") == tree(tmp_path / "4") != {}
    assert list(read_tar(tmp_path / "4" / "t.tar")) == list(read_tar(tmp_path / "1" / "t.tar"))
    assert summaries[0].failures == summaries[1].failures
    assert summaries[0].warnings == summaries[1].warnings
    assert summaries[0].progress == summaries[1].progress
    assert 4 in passes


def test_what_these_networks_give_together_changes_no_file(tmp_path):
    for number in range(9):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{number}.jpg").write_bytes(picture(number, 64, 72))
    for size in (1, 8):
        encode(tmp_path / "in", tmp_path / f"{size}", size)
    assert tree(tmp_path / "1") == tree(tmp_path / "8") != {}


def test_sizes_that_differ_are_tried_a_few_times_at_most():
    class Backend:
        trials = 0

        def analyse(self, rgb, *_):
            return Analysis(rgb[None].astype(np.float32), np.zeros(1, np.float32))

        def analyse_batch(self, pictures):
            self.trials += 1
            raise RuntimeError("CUDA out of memory")

    backend = Backend()
    together = BatchedAnalysis(backend)
    for side in range(10, 20):
        pictures = [np.full((side, side, 3), value, np.uint8) for value in range(3)]
        latents = together(pictures, 8)
        assert [each.y.max() for each in latents] == [0, 1, 2]
    assert backend.trials == MOST_FAILED_TRIALS


@pytest.mark.filterwarnings("ignore:.*are too few")
def test_a_pass_takes_no_more_than_the_memory_is_for(codec, monkeypatch):
    asked = []

    def analysed(pictures, most):
        asked.append(most)
        return [codec.analyse(rgb) for rgb in pictures]

    monkeypatch.setattr(codec, "_together", analysed)
    pictures = [codec.read(picture(number)) for number in range(2)]
    for memory in (2**30, 2**26, 2**20):
        assert len(Codec.analysed_batch(codec, pictures, memory)) == 2
    assert asked[0] == pytest.approx(16 * asked[1], rel=0.2)
    assert len(asked) == 2  # at 1 MiB there is no room for two


def test_little_is_looked_ahead():
    taken = []
    items = (taken.append(number) or number for number in range(10**6))
    for limit in ("MOST_ITEMS", "MOST_BYTES"):
        first = len(taken)
        data = (lambda item: None) if limit == "MOST_ITEMS" else (lambda item: bytes(2**24))
        next(lookahead.look_ahead(items, 8, data, lambda pictures: [None] * len(pictures)))
        assert len(taken) - first <= (1024 if limit == "MOST_ITEMS" else 8)
