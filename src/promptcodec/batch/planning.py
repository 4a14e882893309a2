"""From sources to shards: what there is to do, before any of it is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from promptcodec.batch.addresses import is_address, local_path, normalised
from promptcodec.batch.members import chosen_by, unsafe_name
from promptcodec.batch.records import Failure
from promptcodec.batch.shards import CHUNK, MANIFEST_FOLDER, FileMember, Kind, Shard, output_name
from promptcodec.batch.sources import StoredFile, list_remote
from promptcodec.errors import UsageError
from promptcodec.system.folders import search_folder
from promptcodec.train.data.remote import expand

_ROUNDS = 8  # shards that each worker has at least, where there are enough files
_KINDS: dict[str, Kind] = {".tar": "tar", ".tar.gz": "tar", ".tgz": "tar", ".parquet": "parquet"}
_COMPRESSED = (".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tar.lz4")  # which nothing here opens


@dataclass
class Plan:
    """``shards`` in the order of their names; ``problems``: places that could not be searched; ``others``: files that
    were passed over, by extension."""

    shards: list[Shard] = field(default_factory=list)
    problems: list[Failure] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)


def plan_shards(
    sources: Sequence[str],
    destination: str,
    verb: str,
    suffix: str,
    extensions: Sequence[str] = (),
    column: str = "",
    workers: int = 1,
) -> Plan:
    """Return the shards of all ``sources``: folders and addresses, searched as a whole, and files.

    ``verb``: encode, decode or eval; ``suffix``: of what a picture becomes. Tar and Parquet files are a shard each,
    all other files together some of up to 64. What lies below ``destination`` is passed over. Raises UsageError where
    nothing is found or two outputs would have one name, SourceError where an address cannot be listed.
    """
    plan, target = Plan(), normalised(destination)
    chosen = chosen_by(verb, extensions)
    suffixes = chosen.extensions | set(_KINDS)
    outputs: dict[str, str] = {}
    for source in [one for each in sources for one in expand(each)]:
        address = normalised(source)
        if address == target:
            raise UsageError(f"{source} is the destination too: give another one")
        files: list[FileMember] = []
        for file in _files(source, address, suffixes, target, plan):
            kind = _KINDS.get(_suffix(file.name), "files")
            if kind == "files":
                output = output_name(file.name, suffix)
            else:
                output = _archive_name(file.name) + (suffix if verb == "eval" else "")
            if problem := unsafe_name(output):
                plan.problems.append(Failure(file.address, problem))
                continue
            other = outputs.setdefault(output, file.address)
            if other != file.address:
                raise UsageError(
                    f"{other} and {file.address} would both be written to {output}; rename one, or give them different "
                    "destinations"
                )
            if kind == "files":
                files.append(FileMember(file.address, output))
            else:
                shard = Shard(kind, file.address, output, target, size=max(file.size, 0))
                plan.shards.append(replace(shard, extensions=tuple(extensions), column=column))
        most = max(1, min(CHUNK, -(-len(files) // (_ROUNDS * workers))))
        for first in range(0, len(files), most):
            members = tuple(files[first : first + most])
            shard = Shard("files", address, "", target, members, extensions=tuple(extensions), column=column)
            plan.shards.append(shard)
    if not plan.shards and not plan.problems:
        raise UsageError(f"no pictures, tar or Parquet files found in {', '.join(sources)}")
    return plan


def _files(source: str, address: str, suffixes: frozenset[str], target: str, plan: Plan) -> Iterator[StoredFile]:
    """The files of one source with the wanted extensions; others are counted."""
    if is_address(address):
        name = PurePosixPath(urlsplit(address).path)
        if _suffix(name.name) in suffixes and not any(sign in address for sign in "*?"):
            yield StoredFile(address, name.name, -1)
            return
        listed: Iterable[StoredFile] = list_remote(address)
    else:
        listed = _local_files(source, local_path(address), suffixes, target, plan)
    for file in listed:
        suffix = _suffix(file.name)
        if f"{file.address}/".startswith(f"{target}/") or MANIFEST_FOLDER in file.name.split("/"):
            continue
        if suffix in suffixes:
            yield file
        else:
            plan.others[suffix] += 1


def _local_files(source: str, path: Path, suffixes: frozenset[str], target: str, plan: Plan) -> Iterator[StoredFile]:
    if path.is_dir():
        for file, problem in search_folder(path, suffixes, True, plan.others, frozenset({MANIFEST_FOLDER, target})):
            if problem:
                plan.problems.append(Failure(str(file), problem))
            else:
                yield StoredFile(str(file), file.relative_to(path).as_posix(), -1)
    elif path.is_file():
        if _suffix(path.name) in _COMPRESSED:
            raise UsageError(f"{source}: of compressed tar files only .tar.gz and .tgz are read; unpack it, or gzip it")
        if _suffix(path.name) not in suffixes:
            raise UsageError(
                f"{source} is no folder, nor a picture, .tar, .tar.gz or .parquet file that this verb takes"
            )
        yield StoredFile(str(path), path.name, path.stat().st_size)
    else:
        raise UsageError(f"there is no file or folder {source}")


def _suffix(name: str) -> str:
    """Return the extension of a file in small letters; of a compressed tar file, both."""
    path = PurePosixPath(name.lower())
    return "".join(path.suffixes[-2:]) if path.suffixes[-2:-1] == [".tar"] else path.suffix


def _archive_name(name: str) -> str:
    """Return what the output of a tar or Parquet file is called: it is never compressed as a whole."""
    suffix = _suffix(name)
    return f"{name[: -len(suffix)]}.tar" if suffix in (".tar.gz", ".tgz") else name
