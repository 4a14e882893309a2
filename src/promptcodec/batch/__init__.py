"""Jobs over data sets that outgrow one command: shards, exactly once, on any storage, by any engine.

>>> import promptcodec.batch
>>> summary = promptcodec.batch.encode("s3://bucket/photos", "s3://bucket/coded", quality=60)
>>> summary.failures

A job is planned into shards (``planning``), which an engine (``engine``, ``local_engine``) has its workers take one at
a time (``process``); a shard is done when its record is in the manifest of the destination (``manifest``). Importing
this loads neither torch nor weights.
"""

from promptcodec.system.submodules import submodule_getter

TYPE_CHECKING = False  # as type checkers know it
if TYPE_CHECKING:
    from promptcodec.batch.job import Summary
    from promptcodec.batch.process import process_shard
    from promptcodec.batch.shards import Shard
    from promptcodec.batch.work import decode, encode, evaluate, failures, retry
else:
    _HOMES = {"Summary": "job", "process_shard": "process", "Shard": "shards"}
    _submodule = submodule_getter(__name__)

    def __getattr__(name):
        from importlib import import_module

        if name in __all__:
            return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'work')}"), name)
        return _submodule(name)


__all__ = ["Shard", "Summary", "decode", "encode", "evaluate", "failures", "process_shard", "retry"]
