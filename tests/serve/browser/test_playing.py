"""The page in a browser: open, slide, paint, compare, save."""

from __future__ import annotations

import io
import itertools
import zipfile

import numpy as np
import pytest
from page_driver import Page, download, drop, expect, pixels, png, settled
from PIL import Image

import promptcodec

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def photo(request):
    return (request.config.rootpath / "examples" / "photo.jpg").read_bytes()


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    difference = one[..., :3].astype(float) - other[..., :3]
    return float(10 * np.log10(255**2 / max(np.mean(difference**2), 1e-9)))


def use_quality(page: Page, quality: int) -> None:
    page.locator("#quality").fill(str(quality))
    settled(page)


def test_it_opens_with_the_sample_coded(visit, photo):
    page = visit()
    shown, coded = pixels(page, "other"), pixels(page)
    assert psnr(shown, np.asarray(Image.open(io.BytesIO(photo)))) > 50
    assert 30 < psnr(coded, shown) < 45
    expected = promptcodec.encode(photo)
    expect(page.locator("#fact-bytes")).to_have_text(f"{len(expected) / 1000:.1f} kB")
    expect(page.locator("#fact-bpp")).to_have_text(f"{8 * len(expected) / (768 * 512):.3f}")
    expect(page.locator("#fact-psnr")).to_have_text(f"{psnr(coded, shown):.2f}")


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_a_picture_takes_the_place_of_the_sample(visit, event):
    page = visit()
    drop(page, "wood.png", png(), event)
    expect(page.locator("#command")).to_contain_text("promptcodec encode wood.png --quality 50")
    settled(page)
    assert pixels(page).shape[:2] == (112, 160)
    expect(page.locator("#strip")).to_be_hidden()


def test_the_newest_of_many_steps_counts_and_the_picture_never_goes(visit, photo):
    page = visit()
    page.evaluate(
        """() => {
            const slider = document.querySelector("#quality");
            const canvas = document.querySelector("#layer-coded canvas");
            window.blank = 0;
            const look = () => {
                const [, , , alpha] = canvas.getContext("2d").getImageData(384, 256, 1, 1).data;
                if (alpha === 0) window.blank += 1;
                window.frame = requestAnimationFrame(look);
            };
            look();
            let value = 10;
            window.timer = setInterval(() => {
                slider.value = value += 3;
                slider.dispatchEvent(new Event("input", { bubbles: true }));
                if (value >= 70) clearInterval(window.timer);
            }, 30);
        }"""
    )
    expect(page.locator("#quality-number")).to_have_value("70")
    settled(page)
    assert page.evaluate("window.blank") == 0
    name, file = download(page)
    assert name == "photo.ptc"
    assert file == promptcodec.encode(photo, quality=70)
    assert promptcodec.decode(file).size == (768, 512)


def test_a_look_changes_the_picture_and_the_number_beside_the_slider_works_too(visit, photo):
    page = visit()
    before = pixels(page)
    page.locator("#look-number").fill("1")
    settled(page)
    assert 20 < psnr(pixels(page), before) < 50
    expect(page.locator("#command")).to_contain_text("--look 1")
    assert download(page)[1] == promptcodec.encode(photo, look=1)


def test_a_rectangle_by_pointer_is_the_region_of_the_command_line(visit, photo):
    page = visit()
    plain = page.locator("#fact-bytes").text_content()
    page.get_by_role("button", name="Rectangle").click()
    at = placed(page)
    drag(page, [at(100.4, 60.2), at(250, 130), at(420.3, 250.1)])
    settled(page)
    expect(page.locator("#command")).to_contain_text("--roi 100,60,320,190")
    assert download(page)[1] == promptcodec.encode(photo, roi="100,60,320,190")
    page.get_by_role("button", name="Undo").click()
    settled(page)
    expect(page.locator("#fact-bytes")).to_have_text(plain)


def test_a_painted_region_gets_the_bits_and_its_mask_can_be_saved(visit, photo):
    page = visit()
    before, shown = pixels(page), pixels(page, "other")
    page.get_by_role("button", name="Paint the region that matters").click()
    page.locator("#brush-size").fill("120")
    at = placed(page)
    drag(page, [at(450, 200), at(560, 200), at(560, 300)])
    settled(page)
    mask = pixels(page, "region")[..., 3] > 0
    assert 0.05 < mask.mean() < 0.25
    assert psnr(pixels(page)[~mask], shown[~mask]) < psnr(before[~mask], shown[~mask])
    name, saved = download(page, "#save-mask")
    assert name == "photo-mask.png"
    assert np.array_equal(
        np.asarray(Image.open(io.BytesIO(saved)).convert("L")) > 127, pixels(page, "region")[..., 3] > 127
    )
    expect(page.locator("#command")).to_contain_text("--roi photo-mask.png")
    strong = page.locator("#fact-bytes").text_content()
    page.locator("#strength").fill("0.3")
    settled(page)
    expect(page.locator("#fact-bytes")).not_to_have_text(strong)
    assert download(page)[1] == promptcodec.encode(photo, roi=Image.open(io.BytesIO(download(page, "#save-mask")[1])))
    page.get_by_role("button", name="Erase").click()
    drag(page, [at(450, 200), at(560, 200), at(560, 300)])
    settled(page)
    assert not pixels(page, "region").any()


def test_other_codecs_take_the_other_side(visit):
    page = visit()
    original = pixels(page, "other")
    for label in ("JPEG", "WebP", "AVIF", "JPEG XL"):
        expect(page.get_by_role("row", name=label, exact=False).filter(has_text=label).first).to_be_visible()
    ours = page.locator("#fact-bytes").text_content()
    page.get_by_role("radio", name="Show JPEG on the other side").check()
    expect(page.locator("#badge-other")).to_contain_text("JPEG")
    assert psnr(pixels(page, "other"), original) < psnr(pixels(page), original)
    size = page.get_by_role("row").filter(has_text="JPEG").first.locator("td").last.text_content()
    assert float(size.split()[0]) <= float(ours.split()[0])
    expect(page.locator(".plot .curve")).to_be_attached()
    expect(page.locator(".plot .now")).to_be_attached()
    expect(page.locator(".plot .peer")).to_have_count(4)
    use_quality(page, 20)  # the peers follow
    expect(page.get_by_role("row").filter(has_text="JPEG").first.locator("td").last).not_to_have_text(size)
    expect(page.locator("#badge-other")).to_contain_text("JPEG")


def test_a_press_on_the_curve_sets_the_quality(visit):
    page = visit()
    expect(page.locator(".plot .curve")).to_be_attached()
    frame = page.locator(".plot svg").bounding_box()
    page.locator(".plot svg").click(position={"x": frame["width"] - 14, "y": frame["height"] / 2})
    expect(page.locator("#quality")).not_to_have_value("50")
    assert int(page.locator("#quality").input_value()) > 80
    settled(page)


def test_the_bits_lie_over_the_picture(visit):
    page = visit()
    page.get_by_role("button", name="Show where the bits are").click()
    expect(page.locator("#bits-legend")).to_be_visible()
    bits = pixels(page, "bits")
    assert bits[..., 3].std() > 5
    page.keyboard.press("b")
    expect(page.locator("#layer-bits")).to_be_hidden()


def test_targets_are_met_or_refused_with_a_sentence(visit):
    page = visit()
    page.refused = True
    page.get_by_role("button", name="Target", exact=True).click()
    page.locator("#target-value").fill("9")
    settled(page)
    expect(page.locator("#target-result")).to_contain_text("Reached with quality")
    assert 8000 < len(download(page)[1]) <= 9000
    page.locator("#target-kind").select_option(label="PSNR, dB")
    settled(page)
    expect(page.locator("#command")).to_contain_text("--target-psnr 32")
    page.locator("#target-value").fill("90")
    expect(page.locator("#stage-note")).to_contain_text("90")
    page.locator("#target-value").fill("33")
    expect(page.locator("#stage-note")).to_be_hidden()
    settled(page)
    expect(page.locator("#command")).to_contain_text("--target-psnr 33")


def test_several_pictures_with_one_setting_in_a_zip(visit):
    page = visit()
    files = [{"name": f"{name}.png", "mimeType": "image/png", "buffer": png(seed=seed)}
             for seed, name in enumerate(("one", "two", "two"))]  # fmt: skip
    page.set_input_files("#files", files)
    thumbs = page.locator("#thumbs li")
    expect(thumbs).to_have_count(3)
    use_quality(page, 30)
    page.get_by_role("button", name="Use these settings for all pictures").click()
    expect(page.locator("#thumbs li.busy")).to_have_count(0)
    thumbs.nth(1).get_by_role("button").first.click()
    expect(page.locator("#quality")).to_have_value("30")
    expect(page.locator("#command")).to_contain_text("two.png")
    with zipfile.ZipFile(io.BytesIO(download(page, "#save-zip")[1])) as archive:
        names = archive.namelist()
        assert len(set(names)) == 3
        assert {"one.ptc", "two.ptc"} <= set(names)
        found = {archive.read(name) for name in names}
    assert found == {promptcodec.encode(file["buffer"], quality=30) for file in files}
    thumbs.nth(1).get_by_role("button", name="Close two.png").click()
    expect(thumbs).to_have_count(2)


def test_a_damaged_file_shows_its_sentence_and_the_others_go_on(visit):
    page = visit()
    page.refused = True
    good = png()
    damaged = promptcodec.encode(good)[:-20]
    page.set_input_files("#files", [
        {"name": "no.jpg", "mimeType": "image/jpeg", "buffer": b"nothing"},
        {"name": "cut.ptc", "mimeType": "", "buffer": damaged},
        {"name": "good.png", "mimeType": "image/png", "buffer": good},
    ])  # fmt: skip
    expect(page.locator("#stage-sentence")).to_contain_text("not a picture")
    page.locator("#thumbs").get_by_role("button", name="cut.ptc").first.click()
    expect(page.locator("#stage-sentence.failed")).to_be_visible()
    page.locator("#thumbs").get_by_role("button", name="good.png").first.click()
    expect(page.locator("#stage-sentence")).to_be_hidden()
    settled(page)
    use_quality(page, 40)


def test_a_ptc_file_opens_with_its_looks(visit, photo):
    page = visit()
    file = promptcodec.encode(photo, quality=20)
    drop(page, "coded.ptc", file)
    expect(page.locator("#command")).to_contain_text("promptcodec decode coded.ptc -o coded.png")
    settled(page)
    before = pixels(page)
    assert psnr(before, np.asarray(promptcodec.decode(file).convert("RGB"))) > 50
    expect(page.locator("#encode-settings")).to_be_hidden()
    page.locator("#look").fill("1")
    expect(page.locator("#command")).to_contain_text("--look 1")
    settled(page)
    assert psnr(pixels(page), np.asarray(promptcodec.decode(file, look=1).convert("RGB"))) > 50
    assert psnr(pixels(page), before) < 45
    assert download(page)[1] == file


def test_a_large_picture_is_saved_at_full_size(visit):
    page = visit()
    drop(page, "large.png", png(2000, 1400))
    expect(page.locator("#full-text")).to_contain_text("2000 × 1400")
    settled(page)
    assert pixels(page).shape[1] < 2000
    name, file = download(page)
    assert name == "large.ptc"
    assert promptcodec.info(file).width == 2000
    expect(page.locator("#full-text")).to_contain_text("Coded in full")


def test_both_halves_zoom_and_move_together(visit):
    page = visit()
    canvases = [page.locator(f"#layer-{name} canvas") for name in ("other", "coded", "region")]
    box = page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 200)
    page.mouse.wheel(0, -900)
    drag(page, [(box["x"] + 300, box["y"] + 200), (box["x"] + 350, box["y"] + 260)], settle=False)
    transforms = {canvas.evaluate("node => node.style.transform") for canvas in canvases}
    assert len(transforms) == 1
    assert all("pixelated" in canvas.get_attribute("class") for canvas in canvases)
    drag(page, [center(page, "#handle .grip"), (box["x"] + 120, box["y"] + 300)], settle=False)
    assert abs(center(page, "#handle .grip")[0] - box["x"] - 120) < 3
    page.keyboard.press("0")
    assert len({canvas.evaluate("node => node.style.transform") for canvas in canvases} | transforms) == 2


def center(page: Page, selector: str) -> tuple[float, float]:
    box = page.locator(selector).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def placed(page: Page):
    """Where a pixel of the picture lies in the window."""
    box = page.locator("#layer-coded canvas").bounding_box()
    scale = box["width"] / page.locator("#layer-coded canvas").evaluate("node => node.width")
    return lambda x, y: (box["x"] + x * scale, box["y"] + y * scale)


def drag(page: Page, points, settle: bool = True) -> None:
    page.mouse.move(*points[0])
    page.mouse.down()
    for here, there in itertools.pairwise(points):
        for part in (1 / 3, 2 / 3, 1):
            page.mouse.move(*(a + (b - a) * part for a, b in zip(here, there, strict=True)))
    page.mouse.up()
