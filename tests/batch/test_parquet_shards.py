"""Parquet files: the column of pictures coded, all others as they were."""

import pytest
from data_sets import BROKEN, InlineEngine, jpeg, tree

from promptcodec import batch
from promptcodec.batch.settings import EncodeSettings
from promptcodec.errors import UsageError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def encode(source, target, **options):
    return batch.encode(source, target, engine=InlineEngine(), verify=False, **options)


def write(path, columns, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, **options)


def test_structs_of_bytes_and_path_as_hugging_face_has_them(tmp_path):
    images = [
        {"bytes": jpeg(0), "path": "a.jpg"}, {"bytes": None, "path": "b.jpg"}, None, {"bytes": BROKEN, "path": "c.jpg"},
        {"bytes": jpeg(1), "path": None},
    ]  # fmt: skip
    columns = {"id": [1, 2, 3, 4, 5], "image": images, "caption": ["v", "w", "x", None, "z"]}
    write(tmp_path / "in" / "p.parquet", columns, row_group_size=2, compression="zstd")
    summary = encode(tmp_path / "in", tmp_path / "out")
    assert summary.progress.pictures == 2
    rows = {failure.index: failure.message for failure in summary.failures}
    assert list(rows) == [1, 2, 3]
    assert rows[1] == "the row has no picture, only a path"
    assert rows[2] == "the row has no picture"
    assert "not a picture" in rows[3]
    file = pq.ParquetFile(tmp_path / "out" / "p.parquet")
    before = pq.ParquetFile(tmp_path / "in" / "p.parquet")
    assert file.schema_arrow == before.schema_arrow
    assert file.num_row_groups == before.num_row_groups == 3
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    table = file.read()
    assert [table[name] for name in ("id", "caption")] == [before.read()[name] for name in ("id", "caption")]
    cells = table["image"].to_pylist()
    coding = EncodeSettings(verify=False)
    assert cells == [
        {"bytes": coding.code(jpeg(0), "").data, "path": "a.ptc"}, None, None, None,
        {"bytes": coding.code(jpeg(1), "").data, "path": None},
    ]  # fmt: skip


def test_plain_columns_by_name_or_because_they_are_the_only_one(tmp_path):
    write(tmp_path / "one" / "p.parquet", {"jpg": [jpeg()], "text": ["x"]})
    assert encode(tmp_path / "one", tmp_path / "out").complete
    write(tmp_path / "two" / "p.parquet", {"jpg": [jpeg()], "mask": [b"x"]})
    with pytest.raises(UsageError, match=r"say with --column which one holds the pictures; it has jpg \(binary\)"):
        encode(tmp_path / "two", tmp_path / "out2")
    assert encode(tmp_path / "two", tmp_path / "out3", column="jpg").complete
    assert pq.read_table(tmp_path / "out3" / "p.parquet")["mask"].to_pylist() == [b"x"]
    with pytest.raises(UsageError, match="no column 'png' of pictures"):
        encode(tmp_path / "two", tmp_path / "out4", column="png")


def test_a_damaged_file_fails_as_a_whole(tmp_path):
    write(tmp_path / "in" / "a.parquet", {"image": [jpeg(), jpeg(1)]})
    write(tmp_path / "in" / "b.parquet", {"image": [jpeg()]})
    data = (tmp_path / "in" / "a.parquet").read_bytes()
    (tmp_path / "in" / "a.parquet").write_bytes(data[:-10])
    (failure,) = encode(tmp_path / "in", tmp_path / "out").failures
    assert "cannot be read as a Parquet file" in failure.message
    assert list(tree(tmp_path / "out")) == ["b.parquet"]
