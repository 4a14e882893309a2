"""Tiles inside one file: no seams, the same rate, every model, crops, previews, and damage to one tile."""

import dataclasses
import io
import itertools

import numpy as np
import pytest
from counting_file import CountingFile
from pictures import make_photo
from PIL import Image
from test_context_files import MATRIX, codec_of, folder  # noqa: F401 (a fixture)

import promptcodec
import promptcodec.pillow  # (teaches Pillow the format)
from promptcodec.bitstream.container import PtcReader, pack, read_preview, unpack
from promptcodec.bitstream.tiling import Grid, Rect
from promptcodec.codec import budget, picture_encoder
from promptcodec.codec.tile_latents import DecodedTiles
from promptcodec.errors import FormatError, UsageError
from promptcodec.model.presets.registry import PRESETS

SMALLEST = 256


@pytest.fixture
def smallest_tiles(monkeypatch):
    """Encoders divide everything into tiles of 256 x 256."""
    monkeypatch.setattr(picture_encoder, "tile_size", lambda *_: (SMALLEST, SMALLEST))


def untiled(codec, picture, quality=None):
    return codec.encode(picture, quality, memory=2**40)


def smooth_sky(height, width):
    """A gradient of a few levels, with sensor noise below one of them."""
    rows, columns = np.mgrid[0:height, 0:width]
    sky = np.stack([100 + columns * 0.05, 140 + rows * 0.06, 205 + (rows + columns) * 0.02], -1)
    return np.clip(np.rint(sky + np.random.default_rng(0).normal(0, 0.7, sky.shape)), 0, 255).astype(np.uint8)


def gradient(height, width, seed):
    """Each channel from one level to another in a direction of its own."""
    rng, (rows, columns) = np.random.default_rng(seed), np.mgrid[0:height, 0:width]
    channels = []
    for _ in range(3):
        angle = rng.uniform(0, 2 * np.pi)
        along = np.cos(angle) * columns + np.sin(angle) * rows
        low, high = sorted(rng.uniform(0, 255, 2))
        channels.append(low + (high - low) * (along - along.min()) / np.ptp(along))
    return np.stack(channels, -1).astype(np.uint8)


def bands(grid, width=8):
    """True within ``width`` pixels of a border between tiles."""
    found = np.zeros((grid.height, grid.width), dtype=bool)
    for row in range(grid.tile_height, grid.height, grid.tile_height):
        found[row - width : row + width] = True
    for column in range(grid.tile_width, grid.width, grid.tile_width):
        found[:, column - width : column + width] = True
    return found


def along_border(codec, picture, quality, monkeypatch):
    """Squared error in the band along the border of two tiles, and bytes: without tiles, with them."""
    plain = untiled(codec, picture, quality)
    with monkeypatch.context() as patched:
        patched.setattr(picture_encoder, "tile_size", lambda *_: (512, 512))
        tiled = codec.encode(picture, quality, preview=False)
    grid = unpack(tiled).header.grid
    assert grid.count == 2
    near = bands(grid)
    errors = [
        np.square(codec.decode_picture(data).rgb[near].astype(float) - picture[near]).mean() for data in (plain, tiled)
    ]
    return errors, (len(plain), len(tiled) - 14 * grid.count)  # a chunk's frame, checksum, the coder's last word, each


@pytest.mark.parametrize(("make", "quality"), [(smooth_sky, 60), (make_photo, 40)])
def test_no_seams_and_the_same_rate(codec, make, quality, monkeypatch):
    (plain, tiled), sizes = along_border(codec, make(512, 800), quality, monkeypatch)
    assert tiled <= 1.02 * plain + 0.01  # a flat picture's error is a hundredth of a level
    assert sizes[1] <= 1.01 * sizes[0]


@pytest.mark.slow
@pytest.mark.parametrize("quality", [20, 70])
def test_no_seams_in_gradients(codec, quality, monkeypatch):
    """Many, since what one gradient is rounded to changes its error by up to a factor of two, anywhere in it."""
    found = [along_border(codec, gradient(512, 800, seed), quality, monkeypatch) for seed in range(24)]
    plain, tiled = np.mean([errors for errors, _ in found], 0)
    assert tiled <= 1.02 * plain
    sizes = np.mean([sizes for _, sizes in found], 0)
    assert sizes[1] <= 1.01 * sizes[0]


@pytest.mark.parametrize("name", MATRIX)
def test_every_model(folder, name, smallest_tiles):  # noqa: F811
    """Tiles of every backbone with every entropy model decode, to what one synthesis of all latents gives, nearly."""
    codec = codec_of(folder, name)
    data = codec.encode(make_photo(100, 500), 60 if codec.backend.network.gain is not None else None)
    reader = PtcReader(io.BytesIO(data))
    grid = reader.header.grid
    assert grid.count == 2
    y, z = DecodedTiles(codec.coder, reader, None).region(grid.whole)
    assert (y.shape[2:], z.shape[2:]) == ((8, 32), (2, 8))
    expected = codec.backend.synthesise(y, z, None, 100, 500)
    assert np.abs(codec.decode_picture(data).rgb.astype(int) - expected).mean() < 0.5


@pytest.mark.parametrize("kind", ["grey", "grey and alpha", "alpha"])
def test_grey_and_alpha(codec, kind, smallest_tiles):
    picture = make_photo(70, 300)
    alpha = make_photo(70, 300, 1)[:, :, :1]
    source = {"grey": picture[:, :, 0], "grey and alpha": np.dstack([picture[:, :, :1], alpha])}.get(
        kind, np.dstack([picture, alpha])
    )
    decoded = codec.decode_picture(codec.encode(source, 60))
    assert decoded.grey == (kind != "alpha")
    if "alpha" in kind:
        assert np.array_equal(decoded.alpha, alpha[:, :, 0])
    cut = codec.decode_picture(codec.encode(source, 60), crop=Rect(250, 40, 20, 30))
    assert np.array_equal(cut.rgb, decoded.rgb[40:70, 250:270])
    assert cut.alpha is None or np.array_equal(cut.alpha, decoded.alpha[40:70, 250:270])


def test_a_crop_reads_its_tiles_and_their_neighbours(codec, smallest_tiles, monkeypatch):
    picture = make_photo(600, 800)
    data = codec.encode(picture, 60, preview=False)
    file = unpack(data)
    decoded, decode_both = [], codec.coder.decode_both
    monkeypatch.setattr(
        codec.coder, "decode_both", lambda coded, *rest: decoded.append(coded.stream) or decode_both(coded, *rest)
    )
    whole = np.asarray(promptcodec.decode(data))
    assert len(decoded) == len(file.tiles) == 12  # each once
    decoded.clear()
    stream = CountingFile(data)
    found = np.asarray(promptcodec.decode(stream, crop=(40, 30, 100, 90)))
    assert np.array_equal(found, whole[30:120, 40:140])
    wanted = [file.tiles[i].stream for i in (0, 1, 4, 5)]
    assert sorted(decoded) == sorted(wanted)
    assert stream.count <= sum(map(len, wanted)) + 4 * 20 + 12 * 6 + 64 + 6 * 4  # frames, hops and the header
    # A crop over two tiles, at the right border.
    decoded.clear()
    assert np.array_equal(np.asarray(promptcodec.decode(data, crop=(780, 250, 20, 40))), whole[250:290, 780:])
    assert len(decoded) == 6


@pytest.mark.parametrize("crop", [(0, 0, 0, 5), (200, 0, 9, 9), (0, 159, 5, 2)])
def test_crops_outside(codec, photo, crop):
    with pytest.raises(UsageError, match="not inside the picture"):
        promptcodec.decode(codec.encode(photo), crop=crop)


def test_crop_of_a_file_without_tiles(codec, photo):
    data = codec.encode(photo)
    whole = np.asarray(promptcodec.decode(data))
    assert np.array_equal(np.asarray(promptcodec.decode(data, crop=(7, 9, 50, 40))), whole[9:49, 7:57])


def test_a_damaged_tile(codec, smallest_tiles):
    """It is refused before anything is shown of the picture; crops that do not need it are fine."""
    data = codec.encode(make_photo(90, 900), 60, preview=False)
    bad = bytearray(data)
    bad[-100] ^= 1
    synthesised = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec.backend.network.g_s, "forward", lambda *_: synthesised.append(1))
        with pytest.raises(FormatError, match="wrong CRC"):
            codec.decode(bytes(bad))
    assert not synthesised
    promptcodec.decode(bytes(bad), crop=(0, 0, 100, 90))
    codec.verify(data)
    file = unpack(data)
    stream = bytearray(file.tiles[3].stream)
    stream[20] ^= 1
    other = pack(
        dataclasses.replace(file, tiles=(*file.tiles[:3], dataclasses.replace(file.tiles[3], stream=bytes(stream))))
    )
    for call in (codec.decode, codec.verify):
        with pytest.raises(FormatError):
            call(other)
    with pytest.raises(FormatError):
        codec.verify(bytes(bad))


def exchanged(data, one, other):
    """The file with two tile chunks in each other's place, every CRC in order."""
    reader = PtcReader(io.BytesIO(data))
    spans = [(begin, reader._span(begin)[1]) for begin in reader._tiles]
    spans[one], spans[other] = spans[other], spans[one]
    return data[: reader._tiles[0]] + b"".join(data[begin:end] for begin, end in spans)


def same_model(request, folder, kind):  # noqa: F811
    return request.getfixturevalue("codec") if kind == "nano" else codec_of(folder, f"tic, {kind}")


@pytest.mark.filterwarnings("ignore:a lossless PNG")
@pytest.mark.parametrize("kind", ["nano", "hyperprior", "space-channel", "causal", "contextual means"])
def test_swapped_tiles_are_noticed(request, folder, kind, smallest_tiles):  # noqa: F811
    """Of equal size, each sound in itself: every kind of entropy model says which stands where."""
    codec = same_model(request, folder, kind)
    data = codec.encode(make_photo(300, 512), 60)
    swapped = exchanged(data, 0, 1)
    assert len(swapped) == len(data)
    assert swapped != data
    for call in (codec.decode, codec.verify, lambda data: codec.decode(data, crop=Rect(0, 0, 9, 9))):
        with pytest.raises(FormatError) as caught:
            call(swapped)
        where = "the tile of row 1, column 2 stands where the tile of row 1, column 1 belongs"
        assert f"tiles have changed places: {where}" in str(caught.value)
        assert "encode the picture again" in str(caught.value)
    codec.verify(data)


@pytest.mark.filterwarnings("ignore:a lossless PNG")
@pytest.mark.parametrize("kind", ["nano", "contextual means"])
@pytest.mark.parametrize("changes", [{"q": 1}, {"grey": True}, {"pixels": b"abcd"}, {"height": 1}, {"width": -1}])
def test_a_changed_header_is_noticed(request, folder, kind, changes, smallest_tiles):  # noqa: F811
    """Its CRC in order and its tiles as they were: the next rate, another height within the same blocks, a flag."""
    codec = same_model(request, folder, kind)
    data = codec.encode(make_photo(70, 300), 60, preview=False)
    file = unpack(data)
    new = {k: v if isinstance(v, (bytes, bool)) else getattr(file.header, k) + v for k, v in changes.items()}
    header = dataclasses.replace(file.header, **new)
    start, own = (pack(dataclasses.replace(file, header=h)) for h in (header, file.header))
    assert own == data
    begins = [PtcReader(io.BytesIO(d))._tiles[0] for d in (start, own)]
    changed = start[: begins[0]] + own[begins[1] :]
    for call in (codec.decode, codec.verify):
        with pytest.raises(FormatError, match=r"do not have the checksum in the file.*its header or adapters|stream"):
            call(changed)


def test_a_preview_of_another_file_is_noticed(codec, smallest_tiles):
    """Of the same size and model, each CRC in order."""
    first, second = (codec.encode(make_photo(70, 300, seed), quality) for seed, quality in ((0, 60), (1, 61)))
    starts = [PtcReader(io.BytesIO(data))._span(5)[1] for data in (first, second)]
    ends = [PtcReader(io.BytesIO(data))._span(start)[1] for data, start in zip((first, second), starts, strict=True)]
    mixed = first[: starts[0]] + second[starts[1] : ends[1]] + first[ends[0] :]
    for call in (codec.verify, promptcodec.preview):
        with pytest.raises(FormatError, match="do not have the checksum"):
            call(mixed)


def test_preview(codec, smallest_tiles, tmp_path):
    picture = make_photo(270, 360)
    data, without = codec.encode(picture, 60), codec.encode(picture, 60, preview=False)
    _, small = read_preview(io.BytesIO(data))
    assert (small.width, small.height) == (256, 192)
    start = len(data) - len(without)  # what the preview takes
    assert start < 0.5 * len(data)
    cut = data[: 64 + start]
    found = promptcodec.preview(cut)
    thumbnail = Image.fromarray(picture)
    thumbnail.thumbnail((256, 256))
    assert found.size == thumbnail.size
    assert (
        np.square(np.asarray(found, float) - np.asarray(thumbnail, float)).mean() < 255**2 / 10**2.1
    )  # 21 dB: it is noise
    with pytest.raises(FormatError):
        promptcodec.decode(cut)
    assert promptcodec.preview(without).size == (256, 192)  # decoded, and made small
    with pytest.raises(FormatError):
        promptcodec.preview(without[:1000])
    path = tmp_path / "a.ptc"
    path.write_bytes(data)
    with Image.open(path) as image:
        image.thumbnail((100, 100))
        assert image.size == (100, 75)
    with Image.open(path) as image:
        image.draft("RGB", (200, 150))
        assert image.size == (256, 192)
        assert np.array_equal(np.asarray(image), np.asarray(found))


def test_progress(codec, smallest_tiles):
    seen = []
    data = codec.encode(make_photo(80, 600), progress=lambda *done: seen.append(done))
    codec.decode(data, progress=lambda *done: seen.append(done))
    assert seen == 2 * [(n, 3) for n in range(1, 4)]


def test_a_target_with_tiles(codec, smallest_tiles):
    from promptcodec.codec.search import Target

    data = codec.encode(make_photo(80, 600), target=Target("size", 9_000))
    assert 8_500 < len(data) <= 9_000


@pytest.mark.parametrize(("width", "height", "tile"), [*itertools.product((256, 257, 1000), (1, 600), (256, 512))])
def test_grid(width, height, tile):
    grid = Grid(width, height, tile, tile)
    count = np.zeros((height, width), dtype=int)
    for index in range(grid.count):
        part = grid.tile(index)
        assert part.left % tile == part.top % tile == 0
        assert index in grid.touching(part)
        count[part.rows, part.columns] += 1
    assert (count == 1).all()
    assert grid.touching(grid.whole) == list(range(grid.count))


@pytest.mark.parametrize("name", ["nano", "tic", "tic-large", "elic"])
@pytest.mark.parametrize("size", [(512, 768), (3000, 4000), (500, 60_000), (60_000, 300), (8700, 11_500)])
def test_tiles_keep_within_the_budget(name, size):
    config, memory = PRESETS[name](), 2**30
    tile = budget.tile_size(*size, config, memory)
    halo = max(budget.analysis_halo(config), budget.synthesis_halo(config))
    region = [min(t + 2 * halo, s) if t else s for t, s in zip(tile, size, strict=True)]
    assert region[0] * region[1] * budget.bytes_a_pixel(config) <= memory
    assert all(t % 256 == 0 for t in tile)
    assert (tile == (0, 0)) == (size[0] * size[1] * budget.bytes_a_pixel(config) <= memory)


def test_halos_keep_windows_in_step():
    assert budget.synthesis_halo(PRESETS["nano"]()) == budget.analysis_halo(PRESETS["nano"]()) == 128
    assert budget.synthesis_halo(PRESETS["tic"]()) == 128
    assert budget.analysis_halo(PRESETS["tic"]()) == 256  # its hyper analysis has windows of 4 x 4 at 1/64


def test_too_little_memory(codec):
    with pytest.warns(UserWarning, match="smallest tiles take"):
        assert budget.tile_size(600, 600, codec.config, 10**6) == (256, 256)


@pytest.mark.parametrize("memory", [0, 1, 10**6])
@pytest.mark.parametrize("size", [(64, 64), (256, 256), (1, 250)])
def test_too_little_memory_for_a_small_picture(codec, size, memory):
    """One tile it is, as it would be with more; what is said is about memory."""
    picture = make_photo(*size)
    if memory >= budget.bytes_a_pixel(codec.config) * size[0] * size[1]:
        data = codec.encode(picture, memory=memory)
    else:
        with pytest.warns(UserWarning, match="MiB of memory are too few for nano"):
            data = codec.encode(picture, memory=memory)
    assert promptcodec.info(data).tiles == 1
