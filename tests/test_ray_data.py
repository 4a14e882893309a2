"""Ray Data: functions for batches, which need no Ray to run, and the readers on a small cluster (slow)."""

import io
import tarfile

import numpy as np
import pytest
from pictures import make_photo
from PIL import Image

pytest.importorskip("ray", reason="needs promptcodec[ray]")
pytest.importorskip("ray.data", reason="needs promptcodec[ray]")

from promptcodec.errors import FormatError, UsageError
from promptcodec.ray_data import Decode, Encode, read_ptc, read_ptc_shards


def test_batches_are_encoded_and_decoded(codec):
    pictures = np.stack([make_photo(64, 80, seed=n) for n in range(3)])
    batch = Encode(quality=40, keep_image=True)({"image": pictures, "label": np.arange(3)})
    assert list(batch) == ["image", "label", "ptc"]
    assert [codec.encode(picture, 40) for picture in pictures] == list(batch["ptc"])
    decoded = Decode(crop=(8, 0, 32, 16))({"ptc": batch["ptc"], "label": batch["label"]})
    assert list(decoded) == ["label", "image"] and decoded["image"].shape == (3, 16, 32, 3)
    for file, picture in zip(batch["ptc"], decoded["image"], strict=True):
        np.testing.assert_array_equal(picture, codec.decode_picture(file).rgb[:16, 8:40])


def test_pictures_of_several_sizes_and_as_bytes(codec):
    files = []
    for size in ((64, 80), (80, 64)):
        Image.fromarray(make_photo(*size)).save(file := io.BytesIO(), "PNG")
        files.append(file.getvalue())
    batch = Encode("png")({"png": np.array(files, dtype=object)})
    assert list(batch["ptc"]) == [codec.encode(file) for file in files]
    assert [picture.shape for picture in Decode()(batch)["image"]] == [(64, 80, 3), (80, 64, 3)]


def test_random_crops_are_a_function_of_seed_and_file(codec):
    batch = {"ptc": np.array([codec.encode(make_photo(64, 80, seed=n)) for n in range(4)], dtype=object)}
    first, again, other = (Decode(crop_size=16, seed=seed)(batch)["image"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_failures_raise_or_stand_in_a_column(codec):
    good = codec.encode(make_photo(64, 80))
    batch = {"ptc": np.array([good, good[:-1], None], dtype=object)}
    with pytest.raises(FormatError, match="ends inside a chunk"):
        Decode()(batch)
    decoded = Decode(errors="record")(batch)
    assert decoded["image"][0].shape == (64, 80, 3) and decoded["image"][1] is None
    assert decoded["error"][0] == ""
    assert "ends inside a chunk" in decoded["error"][1] and "is empty here" in decoded["error"][2]
    with pytest.raises(UsageError, match="no column 'image', but 'ptc'"):
        Encode()(batch)
    with pytest.raises(UsageError, match='expected "raise" or "record"'):
        Encode(errors="ignore")


@pytest.mark.slow
def test_a_pipeline_on_a_cluster_gives_what_the_codec_gives(codec, local_ray, tmp_path):
    """One cluster for files, shards, and both functions: it takes seconds to start."""
    import ray.data

    files = {name: codec.encode(make_photo(64, 80, seed=n)) for n, name in enumerate(["a", "b", "c"])}
    (tmp_path / "coded").mkdir()
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        for name, data in files.items():
            (tmp_path / "coded" / f"{name}.ptc").write_bytes(data)
            for member, content in ((f"{name}.ptc", data), (f"{name}.txt", name.encode())):
                info = tarfile.TarInfo(member)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    crops = {name: codec.decode_picture(data).rgb[4:20, 8:40] for name, data in files.items()}

    rows = read_ptc(str(tmp_path / "coded"), crop=(8, 4, 32, 16)).take_all()
    assert len(rows) == 3
    for row in rows:
        np.testing.assert_array_equal(row["image"], crops[row["path"].rpartition("/")[2].removesuffix(".ptc")])
    rows = read_ptc_shards(str(tmp_path / "shard.tar"), crop=(8, 4, 32, 16)).take_all()
    assert sorted(row["__key__"] for row in rows) == ["a", "b", "c"]
    for row in rows:
        assert row["txt"] == row["__key__"].encode() and "ptc" not in row
        np.testing.assert_array_equal(row["image"], crops[row["__key__"]])

    pictures = [{"image": make_photo(64, 80, seed=n), "name": name} for n, name in enumerate(files)]
    rows = ray.data.from_items(pictures).map_batches(Encode).take_all()
    assert {row["name"]: row["ptc"] for row in rows} == files
