"""MS-SSIM against pytorch-msssim, and against the paper written out."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from promptcodec.errors import UsageError
from promptcodec.quality.decibel import decibel_of_similarity
from promptcodec.quality.ms_ssim import ms_ssim, ms_ssim_of_pixels


def pair(shared, quality=30):
    """A picture of Kodak, and what JPEG makes of it."""
    original = Image.open(shared / "data/kodak/kodim07.png")
    file = io.BytesIO()
    original.save(file, "JPEG", quality=quality)
    return np.asarray(original), np.asarray(Image.open(file))


@pytest.mark.parametrize("size", [(176, 192), (177, 203)])
def test_ms_ssim_is_the_usual_one(size):
    library = pytest.importorskip("pytorch_msssim")
    torch.manual_seed(0)
    x = torch.nn.functional.interpolate(torch.rand(2, 3, 20, 20), size, mode="bicubic").clamp(0, 1)
    y = (x + 0.05 * torch.randn(x.shape)).clamp(0, 1)
    expected = library.ms_ssim(x, y, data_range=1.0, size_average=False)
    torch.testing.assert_close(ms_ssim(x, y), expected, atol=1e-5, rtol=0)
    assert ms_ssim(x, x).min() > 0.99999
    ours, theirs = (y.clone().requires_grad_() for _ in range(2))
    ms_ssim(x, ours).sum().backward()
    library.ms_ssim(x, theirs, data_range=1.0, size_average=False).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-7, rtol=1e-3)
    with pytest.raises(UsageError, match="more than 160 pixels"):
        ms_ssim(x[..., :160], y[..., :160])


def test_ms_ssim_falls_with_distortion_and_needs_size():
    from pictures import make_photo

    photo = make_photo(200, 200)
    rng = np.random.default_rng(0)
    noisy = [np.clip(photo + rng.normal(0, s, photo.shape), 0, 255).astype(np.uint8) for s in (2, 10, 40)]
    values = [ms_ssim_of_pixels(photo, n) for n in noisy]
    assert values == sorted(values, reverse=True)
    assert ms_ssim_of_pixels(photo, photo) == pytest.approx(1)
    assert ms_ssim_of_pixels(photo[:100], photo[:100]) is None
    assert decibel_of_similarity(0.99) == pytest.approx(20)


def test_ms_ssim_agrees_with_a_second_implementation(shared):
    """Written out here from the paper: Gaussian of 11 taps and sigma 1.5, five scales, means of 2x2."""
    from torch.nn import functional as F

    reference, decoded = pair(shared)
    taps = torch.exp(-((torch.arange(11.0, dtype=torch.float64) - 5) ** 2) / (2 * 1.5**2))
    taps = taps / taps.sum()

    def blur(x):
        x = F.conv2d(x, taps.view(1, 1, 11, 1).expand(3, 1, 11, 1), groups=3)
        return F.conv2d(x, taps.view(1, 1, 1, 11).expand(3, 1, 1, 11), groups=3)

    x, y = (torch.from_numpy(p.copy()).permute(2, 0, 1)[None].double() for p in (reference, decoded))
    value = torch.ones(3, dtype=torch.float64)
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        mx, my = blur(x), blur(y)
        vx, vy, c = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
        structure = (2 * c + (0.03 * 255) ** 2) / (vx + vy + (0.03 * 255) ** 2)
        if scale == 4:
            structure = structure * (2 * mx * my + (0.01 * 255) ** 2) / (mx * mx + my * my + (0.01 * 255) ** 2)
        value *= structure.mean((0, 2, 3)) ** weight
        x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    assert ms_ssim_of_pixels(reference, decoded) == pytest.approx(float(value.mean()), abs=1e-4)


@pytest.mark.parametrize("quality", [5, 50, 95])
def test_pixels_score_as_in_the_usual_package(shared, quality):
    library = pytest.importorskip("pytorch_msssim")
    reference, decoded = pair(shared, quality)
    x, y = (torch.from_numpy(p.copy()).permute(2, 0, 1)[None].double() for p in (reference, decoded))
    expected = decibel_of_similarity(float(library.ms_ssim(x, y, data_range=255)))
    assert decibel_of_similarity(ms_ssim_of_pixels(reference, decoded)) == pytest.approx(expected, abs=1e-3)
