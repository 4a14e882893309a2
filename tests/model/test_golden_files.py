"""The reduced golden vectors themselves: what they hold, and what they refuse."""

import re

import numpy as np
import pytest
import torch
from golden import HERE, Vectors, pairs, sums, thinned
from golden.reduced import read
from golden.seeded import Stream, rounded, steps_between

NAMES = sorted(path.stem for path in HERE.glob("*.npz"))


def test_the_numbers_of_the_full_files(shared):
    """Weights and inputs bit for bit, outputs as far as they are kept."""
    for name in NAMES:
        full, reduced = Vectors(shared / "golden")(name), Vectors(HERE)(name)
        for key, value in reduced.items():
            whole = full.get(key)
            if whole is None:
                source = max((source for source in full if key.startswith(f"{source}.")), key=len)
                whole = thinned(full[source], key.removeprefix(source))
            exact = key.startswith(("param/", "input/"))
            torch.testing.assert_close(value, whole, rtol=0, atol=0 if exact else 1e-12, msg=f"{name}: {key}")
        left_out = {key for key in full if key.startswith("param/")} - reduced.keys()
        assert all(re.search("masked_s2c|layernorm2d|sepconv_change|attention_h4", key) for key in left_out)


def test_other_weights_are_refused(tmp_path):
    with np.load(HERE / "swin_layers.npz") as file:
        arrays = {name: file[name] for name in file.files}
    arrays["steps"][100] += 1
    np.savez(tmp_path / "swin_layers.npz", **arrays)
    with pytest.raises(AssertionError, match=r"drawn for swin_layers\.npz are not those"):
        read(tmp_path / "swin_layers.npz")


@pytest.mark.parametrize("count", [16, 40, 1000])
def test_draws_are_torchs(count):
    torch.manual_seed(5)
    torch.rand(3)
    np.testing.assert_allclose(Stream(5, 2000).normal(3, count), torch.randn(count).numpy(), atol=2e-6)


@pytest.mark.parametrize("kind", ["float16", "float32"])
def test_steps_lead_to_the_neighbours(kind):
    values = np.linspace(-3, 3, 101)
    exact = np.nextafter(values.astype(kind), np.array(4, kind))
    steps = steps_between(values, exact)
    assert set(np.abs(steps)) == {1}
    assert np.array_equal(rounded(values, kind, steps), exact)


def test_samples_and_sums_notice_one_element_and_a_swap():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 40, 50, dtype=torch.float64)
    golden = {"x.sums": sums(x), "x.each7": thinned(x, "each7")}
    one, swapped = x.clone(), x.clone()
    one[1, 2, 3, 4] += 1e-6
    swapped[0, 0, 0, :2] = x[0, 0, 0, :2].flip(0)
    for other in (one, swapped):
        ours, theirs = pairs(other, golden, "x")["x.sums"]
        assert (ours - theirs).abs().max() > 1e-9
