"""Training from .ptc files: whole pictures, crops that read their tiles alone, previews, shards, worker processes."""

import io
import tarfile

import numpy as np
import pytest
import torch
from pictures import make_photo
from PIL import Image
from torch.utils.data import DataLoader

import promptcodec
from promptcodec.array_reader import ArrayReader
from promptcodec.bitstream.container import PtcReader
from promptcodec.codec import picture_encoder
from promptcodec.errors import FormatError, UnfitError, UsageError
from promptcodec.torch_data import PtcDataset, PtcDecoder


class CountedFile(io.BytesIO):
    """Remembers which bytes were read, and how many of them at once."""

    def __init__(self, data):
        super().__init__(data)
        self.reads = []

    def read(self, size=-1):
        begin = self.tell()
        data = super().read(size)
        self.reads.append((begin, begin + len(data)))
        return data

    def touched(self):
        return set().union(*(range(*part) for part in self.reads))


def nowhere(count):
    """No random numbers are to be drawn."""
    raise AssertionError(f"drew below {count}")


@pytest.fixture(scope="module")
def tiled(codec):
    """A file of 3 x 4 tiles, and its picture as it decodes."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(picture_encoder, "tile_size", lambda *_: (256, 256))
        data = codec.encode(make_photo(700, 1000), 60)
    assert PtcReader(io.BytesIO(data)).header.grid.count == 12
    return data, codec.decode_picture(data).rgb


@pytest.fixture(scope="module")
def coded(codec, tmp_path_factory):
    """A folder of small files in two folders, and what they decode to, in the order of their names."""
    folder = tmp_path_factory.mktemp("coded")
    pictures = []
    for number, name in enumerate(["a.ptc", "b/c.ptc", "b/d.ptc", "e.ptc"]):
        (folder / name).parent.mkdir(exist_ok=True)
        data = codec.encode(make_photo(96, 128, seed=number), 50)
        (folder / name).write_bytes(data)
        pictures.append(codec.decode_picture(data).rgb)
    (folder / "e.txt").write_text("a caption")
    (folder / ".f.ptc.part.ptc").write_bytes(b"half")
    return folder, pictures


def make_shard(path, folder):
    with tarfile.open(path, "w") as tar:
        for number, file in enumerate(sorted(folder.rglob("[a-e].ptc"))):
            for name, data in ((f"{number:03}.ptc", file.read_bytes()), (f"{number:03}.txt", b"caption")):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return path


def test_a_crop_reads_only_its_tiles(tiled):
    data, whole = tiled
    file, crop = CountedFile(data), (10, 20, 60, 50)  # in the first tile, with a halo that reaches into three more
    pixels = ArrayReader(crop=crop).read(file, nowhere)
    np.testing.assert_array_equal(pixels, whole[20:70, 10:70])
    reader = PtcReader(io.BytesIO(data))
    spans = [(start, reader._span(start)[1]) for start in reader._tiles]
    touched = file.touched()
    read = [index for index, (start, end) in enumerate(spans) if not touched.isdisjoint(range(start + 6, end))]
    assert read == [0, 1, 4, 5]
    tiles = sum(end - start for start, end in spans)
    assert sum(end - begin for begin, end in file.reads) < len(data) - tiles / 2


def test_random_crops_lie_inside_and_differ(tiled):
    data, whole = tiled
    places = iter([30, 40, 0, 0])
    pixels = ArrayReader(crop_size=(64, 96)).read(data, lambda count: next(places))
    np.testing.assert_array_equal(pixels, whole[40:104, 30:126])
    pixels = ArrayReader(crop_size=64, place="centre").read(data, nowhere)
    np.testing.assert_array_equal(pixels, whole[318:382, 468:532])
    ranges = []
    ArrayReader(crop_size=64).read(data, lambda count: ranges.append(count) or count - 1)
    assert ranges == [1000 - 64 + 1, 700 - 64 + 1]


def test_previews_are_read_from_the_start_or_made(tiled, coded):
    data, _ = tiled
    reader = PtcReader(io.BytesIO(data))
    file = CountedFile(data)
    assert ArrayReader(preview=True).read(file, nowhere).shape == (179, 256, 3)
    assert max(file.touched()) < reader._tiles[0]
    assert ArrayReader(preview=True).read(coded[0] / "a.ptc", nowhere).shape == (96, 128, 3)


def test_alpha_and_padding(codec, coded):
    rgba = np.dstack([make_photo(64, 80), np.arange(64 * 80, dtype=np.uint8).reshape(64, 80)])
    data = codec.encode(Image.fromarray(rgba))
    assert ArrayReader().read(data, nowhere).shape == (64, 80, 3)
    np.testing.assert_array_equal(ArrayReader(alpha=True).read(data, nowhere)[:, :, 3], rgba[:, :, 3])
    assert (ArrayReader(alpha=True).read(coded[0] / "a.ptc", nowhere)[:, :, 3] == 255).all()
    padded = ArrayReader(crop_size=(100, 70), pad_if_needed=True, place="centre").read(data, nowhere)
    assert padded.shape == (100, 70, 3)
    assert padded[:64].any(axis=2).mean() > 0.9 and not padded[64:].any()
    with pytest.raises(UnfitError, match="80 x 64 pixels is smaller than the crop of 70 x 100"):
        ArrayReader(crop_size=(100, 70)).read(data, nowhere)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"crop": (0, 0, 8, 8), "preview": True}, "crop and preview are given"),
        ({"crop_size": 0}, "expected a positive side"),
        ({"crop_size": 8, "place": "left"}, 'expected "random" or "centre"'),
        ({"preview": True, "look": 1.0}, "neither alpha nor settings"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings, words):
    with pytest.raises(UsageError, match=words):
        ArrayReader(**settings)


def test_a_dataset_has_every_file_of_its_sources_in_order(coded, tmp_path):
    folder, pictures = coded
    dataset = PtcDataset(folder)
    assert [str(file) for file in dataset.files] == [str(folder / n) for n in ("a.ptc", "b/c.ptc", "b/d.ptc", "e.ptc")]
    for tensor, picture in zip(dataset, pictures, strict=True):
        assert tensor.dtype == torch.uint8 and tensor.is_contiguous()
        np.testing.assert_array_equal(tensor.permute(1, 2, 0), picture)
    shard = make_shard(tmp_path / "shard.tar", folder)
    mixed = PtcDataset([shard, folder / "a.ptc"], transform=lambda tensor: tensor.float() / 255)
    assert len(mixed) == 5
    for index, number in enumerate([0, 1, 2, 3, 0]):
        np.testing.assert_array_equal((mixed[index] * 255).round().byte().permute(1, 2, 0), pictures[number])


def test_broken_sources_are_named(coded, tmp_path):
    folder, _ = coded
    with pytest.raises(UsageError, match="nowhere does not exist"):
        PtcDataset(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"has no \.ptc file"):
        PtcDataset(tmp_path)
    whole = make_shard(tmp_path / "shard.tar", folder).read_bytes()
    end = max(index for index, byte in enumerate(whole) if byte) // 512 * 512 + 512
    for length in (end - 1, end, 700):
        (tmp_path / "cut.tar").write_bytes(whole[:length])
        with pytest.raises(FormatError, match=r"cut\.tar .*write it again"):
            PtcDataset(tmp_path / "cut.tar")
    (tmp_path / "bad.ptc").write_bytes((folder / "a.ptc").read_bytes()[:-3])
    with pytest.raises(FormatError, match=r"bad\.ptc: the file ends inside"):
        PtcDataset(tmp_path / "bad.ptc")[0]


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_decode_on_one_thread_each_and_draw_crops_of_their_own(coded, start):
    folder, pictures = coded
    promptcodec.load()  # so that forks inherit a loaded model
    dataset = PtcDataset(folder, crop_size=32, transform=with_threads)
    loader = DataLoader(
        dataset, batch_size=2, num_workers=2, multiprocessing_context=start, generator=torch.Generator().manual_seed(3)
    )
    rounds = [[(crop, int(threads)) for crops, counts in loader for crop, threads in zip(crops, counts, strict=True)]
              for _ in range(2)]  # fmt: skip
    assert {threads for each in rounds for _, threads in each} == {1}
    for picture, (first, _), (second, _) in zip(pictures, *rounds, strict=True):
        assert contains(picture, first) and contains(picture, second)
    assert any(not torch.equal(first, second) for (first, _), (second, _) in zip(*rounds, strict=True))


def with_threads(tensor):
    return tensor, torch.get_num_threads()


def contains(picture, crop):
    """Whether a crop (3, h, w) is a part of a picture (H, W, 3)."""
    crop = crop.permute(1, 2, 0).numpy()
    windows = np.lib.stride_tricks.sliding_window_view(picture, crop.shape)
    return any((row == crop).all(axis=(-1, -2, -3)).any() for row in windows)


def test_webdataset_shards_decode(coded, tmp_path):
    wds = pytest.importorskip("webdataset")
    folder, pictures = coded
    shard = make_shard(tmp_path / "shard.tar", folder)
    samples = list(
        wds.WebDataset(str(shard), shardshuffle=False).decode(PtcDecoder(crop=(8, 4, 32, 16))).to_tuple("ptc", "txt")
    )
    assert len(samples) == 4
    for (tensor, caption), picture in zip(samples, pictures, strict=True):
        assert caption == "caption"
        np.testing.assert_array_equal(tensor.permute(1, 2, 0), picture[4:20, 8:40])


def test_the_decoder_leaves_other_members_alone(coded):
    decoder = PtcDecoder()
    assert decoder(".txt", b"caption") is None
    assert decoder(".small.PTC", (coded[0] / "a.ptc").read_bytes()).shape == (3, 96, 128)
