"""``promptcodec doctor``: what is installed, how fast this machine is, and what would help."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from typing import TYPE_CHECKING

import promptcodec
from promptcodec.batch import runtime
from promptcodec.cli import options
from promptcodec.cli.streams import say, say_record
from promptcodec.system.extras import EXTRAS

if TYPE_CHECKING:
    from promptcodec.evaluate.cost.machine import MachineSpeed

PACKAGES = ("torch", "numpy", "pillow", "safetensors", "constriction")


def command(threads: options.Threads = 0, as_json: options.Json = False) -> None:
    """Say what is installed, how fast this machine is, and what would make it faster or add. Takes a few seconds."""
    installed = _versions()
    missing = {extra.name: extra.missing() for extra in EXTRAS}
    if not as_json:
        _say_installed(installed, missing)
    runtime.prepare(threads)
    import torch

    from promptcodec.evaluate.cost.machine import devices, measure_machine

    speed, chips = measure_machine(), devices()
    hints = advice(missing, speed, chips, torch.version.cuda is not None)
    if as_json:
        extras = [
            {"name": extra.name, "installed": not missing[extra.name], "missing": missing[extra.name],
             "gives": extra.gives} for extra in EXTRAS
        ]  # fmt: skip
        facts = {"versions": installed, "extras": extras, "devices": chips, "speed": asdict(speed), "advice": hints}
        say_record("doctor", "machine", facts)
        return
    _say_speed(speed, chips)
    say()
    say("What would help" if hints else "Nothing would help: all is installed.")
    for hint in hints:
        say(f"  {hint}")


def advice(
    missing: Mapping[str, list[str]], speed: MachineSpeed, devices: Mapping[str, str], cuda_build: bool
) -> list[str]:
    """Advise what the user could install or set to get more, most useful first.

    ``missing``: distributions that lack, by extra. ``devices``: as ``machine.devices`` gives them. ``cuda_build``:
    whether PyTorch was built for CUDA.
    """
    from promptcodec.model.inference.precision import PAYS

    hints = []
    if speed.coder == "python":
        hints.append("pip install constriction: an entropy coder many times as fast, with the same bits")
    for extra in EXTRAS:
        if missing[extra.name]:
            hints.append(f"pip install 'promptcodec[{extra.name}]': {extra.gives}")
    if not missing["fast"] and not speed.compiled_attention:
        hints.append("llvmlite is installed but cannot compile for this processor; another version of it may")
    if speed.bfloat16_speedup >= PAYS:
        hints.append(f"--precision auto: bfloat16 is {speed.bfloat16_speedup:g} times as fast as float32 here")
    hints += [f"--device {name}: the networks on {title}" for name, title in devices.items()]
    if cuda_build and not devices:
        hints.append("pip install torch --index-url https://download.pytorch.org/whl/cpu: gigabytes less, as there is "
                     "no GPU here")  # fmt: skip
    if speed.cores > 1:
        hints.append(f"-j {speed.cores}: that many files at once, where there are many (encode, decode, verify)")
    return hints


def _versions() -> dict[str, str | None]:
    """Return the versions by package, None for what is not installed."""
    versions: dict[str, str | None] = {"promptcodec": promptcodec.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version_of(name)
        except PackageNotFoundError:
            versions[name] = None
    return versions


def _say_installed(versions: Mapping[str, str | None], missing: Mapping[str, list[str]]) -> None:
    say("Installed")
    for name, number in versions.items():
        say(f"  {name:13} {number or 'not installed'}")
    say()
    say("Extras")
    for extra in EXTRAS:
        lacks = missing[extra.name]
        state = "installed" if not lacks else f"without {', '.join(lacks)}"
        say(f"  {extra.name:13} {state}: {extra.gives}")


def _say_speed(speed: MachineSpeed, devices: Mapping[str, str]) -> None:
    say()
    say(f"Speed, {speed.threads} threads on {speed.cores} cores")
    compiled = "compiled for this processor" if speed.compiled_attention else "by PyTorch"
    rows = {
        "convolution": f"{speed.peak_gflops:g} GFLOP/s at its peak (float32)",
        "bfloat16": f"{speed.bfloat16_speedup:g} times the speed of float32",
        "attention": compiled,
        "entropy coder": f"{speed.coder}: {speed.coder_encode_msym_per_s:g} million symbols a second, decoding "
                         f"{speed.coder_decode_msym_per_s:g}",
        "a picture": f"{speed.width}x{speed.height}: encode {speed.encode_s:.3f} s, decode {speed.decode_s:.3f} s",
        "devices": ", ".join(["cpu", *(f"{name} ({title})" for name, title in devices.items())]),
    }  # fmt: skip
    for name, text in rows.items():
        say(f"  {name:13} {text}")
