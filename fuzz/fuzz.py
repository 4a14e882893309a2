"""One fuzzing process: libFuzzer, by atheris, on one target.

    python fuzz/fuzz.py container -runs=500000 CORPUS_FOLDER...

Options are libFuzzer's. Of the mutations of files, half get correct CRCs, so that they reach what lies behind.
"""

import sys

import atheris

with atheris.instrument_imports(include=["promptcodec"]):
    from chunks import repaired
    from targets import TARGETS

WHOLE_FILES = ("container", "decoder")


def mutated(data: bytes, largest: int, seed: int) -> bytes:
    """libFuzzer's mutation, with repaired CRCs for every other seed."""
    changed = atheris.Mutate(data, len(data))
    return repaired(changed)[:largest] if seed % 2 else changed


def main() -> None:
    name = sys.argv.pop(1)
    if name in TARGETS:
        target = TARGETS[name]
    else:
        with atheris.instrument_imports(include=["promptcodec"]):
            from whole_decoder import TARGETS as WITH_MODEL
        target = WITH_MODEL[name]
    atheris.Setup(sys.argv, target, **({"custom_mutator": mutated} if name in WHOLE_FILES else {}))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
