"""The page by keyboard, by touch, in narrow and wide windows, in dark and light, and as axe-core sees it."""

from __future__ import annotations

import pytest
from page_driver import Page, expect, pixels, png, settled

axe_playwright = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs the extra browser")

pytestmark = pytest.mark.slow


def violations(page: Page) -> list[str]:
    found = axe_playwright.Axe().run(page).response["violations"]
    return [f"{rule['id']}: {node['target']} {node['failureSummary']}" for rule in found for node in rule["nodes"]]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 768, 1440, 2560])
def test_every_width_and_theme(visit, width, theme):
    page = visit(width=width, height=max(640, width * 9 // 16), color_scheme=theme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for counter in ("#fact-bytes", "#fact-bpp"):
        expect(page.locator(counter)).to_be_in_viewport(ratio=1)
    page.evaluate("document.querySelector('#settings').scrollIntoView()")
    page.locator("#python").scroll_into_view_if_needed()
    for counter in ("#fact-bytes", "#fact-bpp"):
        expect(page.locator(counter)).to_be_in_viewport(ratio=1)
    page.get_by_role("button", name="Rectangle").click()
    page.get_by_role("button", name="Target", exact=True).click()
    settled(page)
    assert violations(page) == []
    page.locator("#keys").click()
    assert violations(page) == []


def test_failures_and_strips_are_accessible_too(visit):
    page = visit()
    page.refused = True
    page.set_input_files("#files", [
        {"name": "no.jpg", "mimeType": "image/jpeg", "buffer": b"nothing"},
        {"name": "good.png", "mimeType": "image/png", "buffer": png()},
    ])  # fmt: skip
    expect(page.locator("#stage-sentence.failed")).to_be_visible()
    expect(page.locator("#handle")).to_be_hidden()
    expect(page.locator("#thumbs li.busy")).to_have_count(0)
    assert violations(page) == []


def test_the_theme_follows_the_system_until_the_button_says_otherwise(visit):
    page = visit(color_scheme="dark")
    back = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(back)
    page.get_by_role("button", name="Change between dark and light").click()
    light = page.evaluate(back)
    assert light != dark
    page.reload()
    assert page.evaluate(back) == light


def test_all_of_it_by_keyboard(visit):
    """Not one pointer: the skip link, sliders, the border, the brush, the flip, another codec, a download."""
    page = visit()
    reached = tab_through(page)
    wanted = {
        "open", "keys", "theme", "stage", "handle", "zoom-in", "bits", "brush", "download", "quality", "look",
        "effort", "model", "save-png",
    }  # fmt: skip
    assert wanted <= set(reached)
    assert reached.index("stage") < reached.index("download") < reached.index("quality")

    page.keyboard.press("q")
    page.keyboard.press("End")
    expect(page.locator("#quality")).to_have_value("100")
    page.keyboard.press("PageDown")
    settled(page)
    before = page.locator("#fact-bytes").text_content()

    page.locator("#handle").focus()
    page.keyboard.press("Home")
    expect(page.locator("#handle")).to_have_attribute("aria-valuenow", "0")
    page.keyboard.press("Shift+ArrowRight")
    expect(page.locator("#handle")).to_have_attribute("aria-valuenow", "10")
    page.keyboard.press("f")
    expect(page.locator("[data-mode=other]")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("f")
    expect(page.locator("[data-mode=coded]")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("s")

    page.keyboard.press("p")
    expect(page.locator("#stage")).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.down(" ")
    for _ in range(5):
        page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.up(" ")
    settled(page)
    painted = pixels(page, "region")[..., 3] > 0
    assert painted[256, 200]
    assert not painted[100, 200]
    expect(page.locator("#fact-bytes")).not_to_have_text(before)
    page.keyboard.press("u")
    settled(page)
    expect(page.locator("#fact-bytes")).to_have_text(before)
    page.keyboard.press("r")
    for key in (" ", "ArrowRight", "ArrowRight", "ArrowDown", " "):
        page.keyboard.press(key)
    settled(page)
    expect(page.locator("#command")).to_contain_text("--roi 384,256,24,12")
    page.keyboard.press("Escape")
    expect(page.locator("#brush")).to_have_attribute("aria-pressed", "false")

    page.get_by_role("radio", name="Show WebP on the other side").focus()
    page.keyboard.press(" ")
    expect(page.locator("#badge-other")).to_contain_text("WebP")
    with page.expect_download():
        page.keyboard.press("d")


def tab_through(page: Page) -> list[str]:
    """Ids of what gets the focus; each of them shows it."""
    page.evaluate("document.activeElement.blur()")
    reached: list[str] = []
    for _ in range(80):
        page.keyboard.press("Tab")
        name, outline = page.evaluate(
            """() => {
                const node = document.activeElement;
                const seen = (pseudo) => getComputedStyle(node, pseudo);
                const thumb = seen("::-webkit-slider-thumb").outlineStyle;
                const grip = node.firstElementChild && getComputedStyle(node.firstElementChild).outlineStyle;
                const shown = [seen().outlineStyle, node.type === "range" && "thumb", node.id === "handle" && grip];
                if (node === document.body) return ["", true]; // around
                const name = node.id || node.value || node.textContent.trim();
                return [name, shown.some((style) => style && style !== "none")];
            }"""
        )
        if not name or name in reached[:1]:
            break
        assert outline, f"{name} does not show the focus"
        reached.append(name)
    return reached


def test_single_keys_can_be_switched_off(visit):
    page = visit()
    page.locator("#keys").click()
    page.get_by_role("checkbox").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("f")
    expect(page.locator("[data-mode=split]")).to_have_attribute("aria-pressed", "true")


def test_readers_hear_the_result_once_it_rests(visit):
    page = visit()
    expect(page.locator("#live")).to_contain_text("bits per pixel. PSNR")
    page.evaluate(
        """() => {
            window.heard = [];
            const live = document.querySelector("#live");
            new MutationObserver(() => window.heard.push(live.textContent)).observe(live, { childList: true });
        }"""
    )
    for quality in range(20, 60, 4):
        page.locator("#quality").fill(str(quality))
    settled(page)
    last = page.locator("#fact-bytes").text_content()
    expect(page.locator("#live")).to_contain_text(last)
    assert len(page.evaluate("window.heard")) <= 3


def test_two_fingers_zoom_and_one_paints(visit):
    page = visit(width=390, height=844, has_touch=True, is_mobile=True, device_scale_factor=2)
    devtools = page.context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        touches = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    box = page.locator("#stage").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2 - 40
    before = page.locator("#layer-coded canvas").bounding_box()["width"]
    touch("touchStart", (x - 80, y))
    touch("touchStart", (x - 80, y), (x - 20, y))
    for step in range(1, 6):
        touch("touchMove", (x - 80 - 10 * step, y), (x - 20 + 10 * step, y))
    touch("touchEnd")
    assert page.locator("#layer-coded canvas").bounding_box()["width"] > 1.5 * before
    page.locator("#brush").tap()
    touch("touchStart", (x - 60, y))
    for step in range(1, 6):
        touch("touchMove", (x - 60 + 8 * step, y + 4 * step))
    touch("touchEnd")
    settled(page)
    assert pixels(page, "region").any()
