"""What another program has set in torch and NumPy reaches no file and no picture, and is as it was afterwards."""

import contextlib
import hashlib
import json
import random
import subprocess
import sys
import threading
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import make_photo
from program_settings import SETTINGS
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from with_adapters import WithAdapters

import promptcodec
from promptcodec import api
from promptcodec.codec.search import Target
from promptcodec.errors import FormatError, TargetError
from promptcodec.model.base import CompressionModel
from promptcodec.model.config import Model
from promptcodec.model.inference import defaults
from promptcodec.model.layers.compiled_masks import masks
from promptcodec.model.layers.compiled_windows import _bias as kernel_bias
from promptcodec.model.layers.mixers import WindowAttention
from promptcodec.model.layers.windows import WindowGrid
from promptcodec.model.presets.papers import elic, s2c, with_ngram
from promptcodec.model.presets.registry import song, tic
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.adapter_file import load_adapter, save_adapter
from promptcodec.steer.kinds import BUILT_IN
from promptcodec.store.model_file import save_model
from promptcodec.system.bounded_cache import BoundedCache

CONFORMANCE = Path(__file__).parent / "conformance"
ONE_SHOT = CONFORMANCE / "tiny-contextual-mean.safetensors"
TINY = [CONFORMANCE / f"tiny{context}.safetensors" for context in ("", "-causal", "-space-channel", "-contextual-mean")]
PHOTO = make_photo(70, 100)


def outcome() -> dict[str, str]:
    """Digests of files and pixels: of the shipped model plain, with a region and an effort, and of a one-shot model."""
    one_shot = promptcodec.load(ONE_SHOT)
    files = {
        "plain": promptcodec.encode(PHOTO, 30, verify=True),
        "region": promptcodec.encode(PHOTO, 30, roi="10,10,40,40"),
        "effort": promptcodec.encode(PHOTO, 30, effort=1),
        "one-shot": one_shot.encode(PHOTO, verify=True),
    }
    pixels = {name: np.asarray(promptcodec.decode(data)) for name, data in files.items() if name != "one-shot"}
    pixels |= {
        "look": np.asarray(promptcodec.decode(files["plain"], settings={"look": 0.3})),
        "one-shot": np.asarray(one_shot.decode(files["one-shot"])),
    }
    found = {f"file {name}": data for name, data in files.items()}
    found |= {f"pixels {name}": picture.tobytes() for name, picture in pixels.items()}
    return {name: hashlib.sha256(data).hexdigest() for name, data in found.items()}


@pytest.fixture(scope="module")
def plain() -> dict[str, str]:
    return outcome()


@pytest.fixture
def nothing_loaded(monkeypatch):
    """As in a process that has not loaded anything yet."""
    monkeypatch.setattr(api, "_loading", BoundedCache(1))
    monkeypatch.setattr(api, "_codec", lru_cache(api.MOST_CODECS)(api._load_once))


def random_states() -> list[object]:
    return [torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()]


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_after_loading(name, plain):
    with SETTINGS[name]():
        states = random_states()
        found = outcome()
        assert random_states() == states
    assert found == plain


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_before_loading(name, plain, nothing_loaded):
    with SETTINGS[name]():
        states = random_states()
        found = outcome()
        assert random_states() == states
    assert found == plain
    assert outcome() == plain  # what was loaded under the settings serves without them


BEFORE_IMPORT = """
import sys, json, contextlib
from program_settings import SETTINGS
with contextlib.ExitStack() as stack:
    for name in sys.argv[1:]:
        stack.enter_context(SETTINGS[name]())
    from test_settings import outcome
    print(json.dumps(outcome()))
"""


@pytest.mark.parametrize(
    "names",
    [
        ["default dtype bfloat16", "default device"],
        [name for name in SETTINGS if name not in ("default dtype bfloat16", "default device", "backend precision")],
    ],
    ids=["dtype and device", "the rest at once"],
)
def test_settings_before_the_package_is_imported(names, plain):
    command = [sys.executable, "-W", "ignore", "-c", BEFORE_IMPORT, *names]
    out = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=600, check=False)
    assert out.returncode == 0, out.stderr
    assert json.loads(out.stdout) == plain


class _Recorded(TorchDispatchMode):
    """Operators of the calling thread that gave a tensor of the default dtype."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tensors = out if isinstance(out, (list, tuple)) else [out]
        if any(isinstance(t, torch.Tensor) and t.dtype == torch.get_default_dtype() for t in tensors):
            self.operators.add(str(func))
        return out


@pytest.fixture
def no_default_dtype():
    """No operator on the way gives a tensor of the default dtype, which nothing else here has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # then all of it runs on this thread
    with SETTINGS["default dtype bfloat16"](), _Recorded() as recorded:
        yield
    torch.set_num_threads(threads)
    assert recorded.operators == set()


@pytest.mark.parametrize("path", TINY, ids=lambda path: path.stem)
def test_every_entropy_model_names_its_types(path, monkeypatch, nothing_loaded, no_default_dtype):
    codec = promptcodec.load(path)
    monkeypatch.setattr("promptcodec.codec.picture_encoder.tile_size", lambda *given: (256, 256))
    for given in ({"effort": 1}, {"verify": True}):
        codec.decode(codec.encode(make_photo(70, 300), **given))


def test_searches_name_their_types(monkeypatch, nothing_loaded, no_default_dtype):
    codec = promptcodec.load(TINY[0])
    photo = make_photo(170, 162)
    for target in (Target("psnr", 12.0), Target("ms_ssim", 0.4)):
        with contextlib.suppress(TargetError):
            codec.encode(photo, target=target)
    monkeypatch.setattr("promptcodec.model.effort.ANNEALING_STEPS", {9: 2})
    codec.encode(PHOTO[:64, :64], effort=9)
    steered = WithAdapters(codec, ["step"])
    steered.decode_picture(steered.encode(PHOTO, effort=1))


def test_regions_and_looks_name_their_types(nothing_loaded, no_default_dtype):
    data = promptcodec.encode(PHOTO[:64, :64], roi="10,10,40,40", preview=True, verify=True)
    promptcodec.decode(data, settings={"look": 0.3})
    promptcodec.preview(data)


BASES: dict[str, Model] = {
    "swin": tic(16, 32),
    "ngram": with_ngram(tic(32, 64), "ngram"),
    "s2c": s2c("s2c", "CAA", (1, 2, 2), (16, 16, 16), latent=20, hyper=16, groups=(4, 16), hidden=(8, 8)),
    "elic": elic(8, 12, (4, 8), (8, 8)),
    "song": song(16),
}


@pytest.fixture(params=BASES)
def backbone(request, tmp_path) -> Path:
    save_model(CompressionModel(BASES[request.param]), tmp_path / "model.safetensors", "untrained")
    return tmp_path / "model.safetensors"


def test_every_backbone_names_its_types(backbone, no_default_dtype):
    codec = promptcodec.load(backbone)
    codec.decode(codec.encode(PHOTO))


@pytest.mark.parametrize("kind", sorted(BUILT_IN))
def test_every_kind_of_adapter_is_one_file_and_one_picture(kind, tmp_path):
    """Coded under the settings as without them; what is stored and read back is float32, and draws nothing."""
    from promptcodec.steer.adapter_file import adapter_class

    torch.manual_seed(0)
    network = CompressionModel(song(16) if kind == "quality-map" else tic(16, 32))
    save_model(network, tmp_path / "base.safetensors", "untrained")
    codec = promptcodec.load(tmp_path / "base.safetensors")
    options = {"sft": {"scalars": ("look",)}, "pyramid": None}.get(kind, {})
    if options is None:
        from promptcodec.steer.methods.pyramid import rate_and_region

        adapter = rate_and_region(codec.backend.network.config)
    else:
        adapter = adapter_class(kind)(codec.backend.network.config, **options)
    save_adapter(adapter, codec.backend.network, tmp_path / "adapter.safetensors")
    settings = dict.fromkeys(adapter.takes, 0.3)
    maps = dict.fromkeys(adapter.maps, "0,0,40,40")

    def coded() -> tuple[bytes, bytes]:
        stored = load_adapter(tmp_path / "adapter.safetensors", codec.backend.network)
        assert {p.dtype for p in stored.adapter.parameters()} <= {torch.float32}
        steered = WithAdapters(codec, [stored])
        data = steered.encode(PHOTO, settings=settings, maps=maps)
        return data, steered.decode_picture(data).rgb.tobytes()

    expected, state = coded(), torch.get_rng_state()
    for name in ("default dtype bfloat16", "default device", "autocast", "inference_mode"):
        with SETTINGS[name]():
            assert coded() == expected, name
    assert torch.equal(torch.get_rng_state(), state)


class _Drawn(Adapter, kind="test-drawn"):
    """Of a program's own: its first values are drawn in several ways."""

    def __init__(self, base, name=""):
        super().__init__(base, name)
        self.parts = nn.ParameterList(
            [torch.randn(3), torch.rand(3), torch.full((3,), 0.5), torch.rand_like(torch.ones(3))]
        )
        self.layer, self.norm = nn.Linear(3, 3), nn.BatchNorm1d(3)
        nn.init.trunc_normal_(self.parts[0])


def test_adapters_of_programs_draw_nothing_when_loaded(codec, tmp_path):
    save_adapter(_Drawn(codec.backend.network.config), codec.backend.network, tmp_path / "a.safetensors")
    first = load_adapter(tmp_path / "a.safetensors", codec.backend.network).adapter.state_dict()
    state = torch.get_rng_state()
    with SETTINGS["default dtype bfloat16"]():
        again = load_adapter(tmp_path / "a.safetensors", codec.backend.network).adapter.state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in again.items():
        assert value.dtype == first[name].dtype
        assert torch.equal(value, first[name])


def test_compiled_kernels_are_given_float32():
    """They get addresses, whatever lies there."""
    mixer, grid = WindowAttention(16, 2, 4, 2, relative=False), WindowGrid(10, 10, 4, 2)
    with SETTINGS["default dtype bfloat16"]():
        hidden, _ = masks(mixer, grid, ())
        assert kernel_bias(mixer).dtype == torch.float32
    assert hidden.dtype == torch.float32
    assert set(hidden.unique().tolist()) == {0.0, float(np.float32(-1e30))}


@pytest.mark.parametrize("name", [*SETTINGS])
def test_model_and_adapter_files_are_the_same(name, codec, tmp_path):
    network = promptcodec.load(TINY[0]).backend.network
    adapter = load_adapter(CONFORMANCE / "gain-units.safetensors", network).adapter

    def parts(path) -> tuple[dict, bytes]:
        """Header and tensors: the order of the header's keys is safetensors' own."""
        data = path.read_bytes()
        end = 8 + int.from_bytes(data[:8], "little")
        return json.loads(data[8:end]), data[end:]

    def stored() -> tuple:
        save_model(network, tmp_path / "model", "1")
        save_adapter(adapter, network, tmp_path / "adapter")
        return parts(tmp_path / "model"), parts(tmp_path / "adapter")

    expected = stored()
    with SETTINGS[name]():
        states = random_states()
        assert stored() == expected
        assert random_states() == states


def test_settings_come_back():
    def seen():
        return (
            torch.get_default_dtype(), torch.is_grad_enabled(), torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled("cpu"), torch.get_float32_matmul_precision(), np.geterr(),
            torch.zeros(1).device,
        )  # fmt: skip

    names = ("default dtype float16", "default device", "autocast", "inference_mode", "numpy errors")
    for name in (*names, "product precision"):
        with SETTINGS[name]():
            before = seen()
            promptcodec.encode(PHOTO, 30)
            with pytest.raises(FormatError):
                promptcodec.load().decode(b"nonsense")
            assert seen() == before


def test_precision_is_put_back_by_the_last_and_left_where_it_was_set_anew():
    with SETTINGS["product precision"]():
        inside, go = threading.Event(), threading.Event()

        def hold():
            with defaults.full_products():
                inside.set()
                go.wait(60)

        other = threading.Thread(target=hold)
        other.start()
        inside.wait(60)
        with defaults.full_products():
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "highest"  # the other thread still needs it
        go.set()
        other.join()
        assert torch.get_float32_matmul_precision() == "medium"
        with defaults.full_products():
            torch.set_float32_matmul_precision("high")
        assert torch.get_float32_matmul_precision() == "high"
