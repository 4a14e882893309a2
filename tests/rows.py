"""Rows of an evaluation that were not measured but follow a known curve."""

from promptcodec.evaluate.data.stored import stored_curves
from promptcodec.evaluate.results import Row


def curve(codec, factor=1.0, decode=0.1, **scores):
    """Five points of one picture, at ``factor`` times the rates of VTM."""
    rows = []
    for index, point in enumerate(stored_curves()["kodak/vtm"].points[1:6]):
        size = round(factor * point.bpp * 768 * 512 / 8)
        values = {name: score(point.psnr) for name, score in scores.items()}
        rows.append(
            Row(
                codec=codec, options={"fingerprint": "f"} if "promptcodec" in codec else {}, version="1",
                picture="a.png", sha256="a", width=768, height=512, setting=index, bytes=size,
                bpp=8 * size / 768 / 512, psnr=point.psnr, ms_ssim=point.ms_ssim, encode_s=1, decode_s=decode,
                scores=values, peak_mib=10 + index,
            )
        )  # fmt: skip
    return rows
