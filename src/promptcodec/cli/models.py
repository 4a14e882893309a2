"""``promptcodec models``: the models inside the package."""

from __future__ import annotations

import json

from promptcodec.cli.options import Json
from promptcodec.zoo.shipped import DEFAULT, shipped_models


def command(as_json: Json = False) -> None:
    """List the shipped models."""
    for name, metadata in shipped_models().items():
        fingerprint = metadata["fingerprint"]
        if as_json:
            print(json.dumps({"name": name, "version": metadata["version"], "fingerprint": fingerprint}))
        else:
            print(f"{name} {metadata['version']}  {fingerprint}{'  (default)' if name == DEFAULT else ''}")
