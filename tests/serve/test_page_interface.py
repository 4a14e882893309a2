"""What the page asks of the service: pictures by token, views, and what is shown beside them."""

from __future__ import annotations

import io
import os
import signal
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pictures import make_photo, nearly_equal
from PIL import Image

import promptcodec
from promptcodec.evaluate.equal_bytes import QUICK_PEERS
from promptcodec.quality.measures import measures


@pytest.fixture
def picture(service, jpeg):
    """The photo, uploaded."""
    response = service.client.post("/api/pictures", content=jpeg, headers={"x-name": "my%20ph%C3%B6to.jpg"})
    assert response.status_code == 200, response.text
    facts = response.json()
    yield facts
    service.client.delete(f"/api/pictures/{facts['token']}")


def pixels(data):
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def view(service, token, **wanted):
    response = service.client.post(f"/api/pictures/{token}/views", json=wanted)
    assert response.status_code == 200, response.text
    return response.json()


def file_of(service, facts):
    return service.client.get(f"/api/views/{facts['view']}/file").content


def test_an_upload_is_described_and_shown(service, picture, jpeg):
    assert picture["name"] == "my phöto.jpg" and picture["kind"] == "picture"
    assert (picture["width"], picture["height"]) == (picture["view_width"], picture["view_height"]) == (208, 160)
    assert picture["bytes"] == len(jpeg) and picture["controls"] == {"look": True, "roi": True}
    shown = service.client.get(f"/api/pictures/{picture['token']}/original")
    assert np.array_equal(pixels(shown.content), pixels(jpeg))


def test_views_are_the_files_of_the_python_function(service, picture, jpeg):
    token = picture["token"]
    for sequence, options in enumerate([{"quality": 20}, {"quality": 90, "look": 0.5}, {"effort": 1, "strip": True}]):
        facts = view(service, token, sequence=sequence, **options)
        data = promptcodec.encode(jpeg, **options)
        assert file_of(service, facts) == data
        assert facts["bytes"] == len(data)
        assert facts["analysed"] == (sequence == 0)
        shown = service.client.get(f"/api/views/{facts['view']}/picture").content
        assert nearly_equal(pixels(shown), np.asarray(promptcodec.decode(data)))


@pytest.mark.parametrize("kind, value", [("size", 4000), ("bpp", 1.0), ("psnr", 30), ("ssimulacra2", 50)])
def test_targets(service, picture, jpeg, kind, value):
    facts = view(service, picture["token"], target={"kind": kind, "value": value})
    assert file_of(service, facts) == promptcodec.encode(jpeg, **{f"target_{kind}": value})


def test_a_region_moves_the_bits_and_can_be_taken_back(service, picture, jpeg):
    token, mask = picture["token"], np.zeros((160, 208), np.uint8)
    mask[40:100, 60:120] = 255
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG")
    response = service.client.put(f"/api/pictures/{token}/region", params={"strength": 0.5}, content=file.getvalue())
    assert response.json()["region"] is True
    held = service.client.get(f"/api/pictures/{token}/region").content
    with Image.open(io.BytesIO(held)) as image:
        assert image.mode == "L" and image.getextrema() == (0, 128)
    facts = view(service, token, quality=40)
    assert file_of(service, facts) == promptcodec.encode(jpeg, 40, roi=Image.open(io.BytesIO(held)))
    assert service.client.delete(f"/api/pictures/{token}/region").status_code == 204
    facts = view(service, token, quality=40)
    assert file_of(service, facts) == promptcodec.encode(jpeg, 40)
    service.problem(service.client.get(f"/api/pictures/{token}/region"), 404, "not-found")


def test_measures_bits_peers_and_curve(service, picture, jpeg):
    token, facts = picture["token"], view(service, picture["token"], quality=50)
    path = f"/api/views/{facts['view']}"
    shown = pixels(service.client.get(f"{path}/picture").content)
    expected = measures(pixels(jpeg), shown)
    found = service.client.get(f"{path}/metrics").json()
    assert found == pytest.approx(
        {"psnr": expected.psnr, "ms_ssim": expected.ms_ssim, "ssimulacra2": expected.ssimulacra2}
    )

    overlay = service.client.get(f"{path}/bits")
    with Image.open(io.BytesIO(overlay.content)) as image:
        assert image.size == (208, 160) and image.mode == "RGBA"
    scale = service.client.get(f"{path}/bits.json").json()
    assert 0 <= scale["low"] < scale["high"] == pytest.approx(float(overlay.headers["x-bits-high"]), abs=1e-3)
    assert service.client.get(f"{path}/bits", params={"low": 0.1, "high": 9}).headers["x-bits-high"] == "9.0000"

    peers = service.client.get(f"{path}/peers").json()
    assert {peer["codec"]: peer["label"] for peer in peers} == QUICK_PEERS
    for peer in peers:
        assert "error" in peer or peer["bytes"] <= facts["bytes"]
        if "error" not in peer:
            assert pixels(service.client.get(peer["picture"]).content).shape == (160, 208, 3)
    assert any("error" not in peer for peer in peers)

    curve = service.client.get(f"/api/pictures/{token}/curve").json()
    assert [point["bytes"] for point in curve] == sorted(point["bytes"] for point in curve)
    for point in curve[::4]:
        assert point["bytes"] == len(promptcodec.encode(jpeg, point["quality"]))


def test_a_ptc_file_opens_with_its_look(service, jpeg):
    data = promptcodec.encode(jpeg, 70, look=0.25)
    facts = service.client.post("/api/pictures", content=data).json()
    assert facts["kind"] == "ptc" and facts["quality"] == 70 and facts["look"] == pytest.approx(0.25, abs=1e-3)
    assert facts["controls"] == {"look": True, "roi": False} and facts["model"] == "nano"
    seen = view(service, facts["token"], look=1)
    shown = service.client.get(f"/api/views/{seen['view']}/picture").content
    assert nearly_equal(pixels(shown), np.asarray(promptcodec.decode(data, look=1)))
    saved = service.client.get(f"/api/views/{seen['view']}/decoded").content
    assert saved[1:4] == b"PNG" and np.array_equal(pixels(saved), pixels(shown))
    assert file_of(service, seen) == data
    response = service.client.get(f"/api/views/{seen['view']}/metrics")
    assert "original" in service.problem(response, 422, "options")


def test_large_pictures_are_seen_at_screen_size_and_coded_in_full_on_request(service):
    file = io.BytesIO()
    Image.fromarray(make_photo(1500, 1600)).save(file, "JPEG", quality=90)
    facts = service.client.post("/api/pictures", content=file.getvalue()).json()
    assert (facts["width"], facts["height"]) == (1600, 1500)
    assert facts["view_width"] * facts["view_height"] <= 2_000_000
    small = view(service, facts["token"], quality=30)
    assert small["width"] == facts["view_width"] and small["estimate_seconds_full"] > 0
    full = view(service, facts["token"], quality=30, full=True)
    assert (full["width"], full["height"]) == (1600, 1500)
    assert file_of(service, full) == promptcodec.encode(file.getvalue(), 30)
    shown = pixels(service.client.get(f"/api/views/{full['view']}/picture").content)
    assert shown.shape[:2] == (facts["view_height"], facts["view_width"])
    saved = service.client.get(f"/api/views/{full['view']}/decoded").content
    assert nearly_equal(pixels(saved), np.asarray(promptcodec.decode(file_of(service, full))))


def test_of_the_views_that_wait_only_the_newest_is_made(limited, jpeg):
    token = limited.client.post("/api/pictures", content=jpeg).json()["token"]
    path = f"/api/pictures/{token}/views"
    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(limited.client.post, path, json={"effort": 10, "sequence": 1})
        limited.wait(lambda: limited.metric("promptcodec_coding_busy") == 1)
        older = threads.submit(limited.client.post, path, json={"quality": 20, "sequence": 3})
        limited.wait(lambda: limited.metric("promptcodec_coding_queue") == 1)
        newest = threads.submit(limited.client.post, path, json={"quality": 40, "sequence": 4})
        limited.problem(older.result(), 409, "superseded")
        late = limited.client.post(path, json={"quality": 30, "sequence": 2})
        limited.problem(late, 409, "superseded")
        assert first.result().status_code in (200, 504)
        assert newest.result().json()["quality"] == 40


def test_latents_are_found_again_after_their_worker_ended(limited, jpeg):
    token = limited.client.post("/api/pictures", content=jpeg).json()["token"]
    view(limited, token, quality=20)
    for worker in limited.workers():
        os.kill(worker, signal.SIGKILL)
    limited.wait(lambda: limited.client.get("/readyz").status_code == 200)
    limited.client.post(f"/api/pictures/{token}/views", json={"quality": 20})  # may meet the worker as it ends
    facts = view(limited, token, quality=30)
    assert file_of(limited, facts) == promptcodec.encode(jpeg, 30)


def test_downloads_have_proper_names(service, picture):
    facts = view(service, picture["token"], quality=20)
    other = view(service, picture["token"], quality=30)
    disposition = service.client.get(f"/api/views/{facts['view']}/file").headers["content-disposition"]
    assert disposition == "attachment; filename=\"my ph_to.ptc\"; filename*=UTF-8''my%20ph%C3%B6to.ptc"
    archive = service.client.post("/api/archive", json={"views": [facts["view"], other["view"]]})
    with zipfile.ZipFile(io.BytesIO(archive.content)) as held:
        assert held.namelist() == ["my phöto.ptc", "my phöto-2.ptc"]
        assert held.read("my phöto-2.ptc") == file_of(service, other)


@pytest.mark.parametrize("name", ["..%2F..%2Fetc%2Fpasswd", "a%0d%0ab%22.jpg", "%00", "", "C:%5Cx%5Cy.png", "."])
def test_names_cannot_do_harm(service, jpeg, name):
    facts = service.client.post("/api/pictures", content=jpeg, headers={"x-name": name}).json()
    assert "/" not in facts["name"] and "\\" not in facts["name"]
    seen = view(service, facts["token"], quality=10)
    response = service.client.get(f"/api/views/{seen['view']}/file")
    assert response.status_code == 200 and response.headers["content-disposition"].startswith("attachment")


def test_what_is_deleted_is_gone(service, jpeg):
    token = service.client.post("/api/pictures", content=jpeg).json()["token"]
    facts = view(service, token, quality=20)
    assert service.client.delete(f"/api/pictures/{token}").status_code == 204
    for path in (f"/api/pictures/{token}/original", f"/api/views/{facts['view']}/file"):
        assert "again" in service.problem(service.client.get(path), 404, "not-found")


@pytest.mark.parametrize(
    "wanted", [{"quality": 101}, {"quality": 50, "target": {"kind": "psnr", "value": 30}}, {"model": "/etc/passwd"},
               {"target": {"kind": "size", "value": -1}}, {"target": {"kind": "beauty", "value": 1}}, [], "x"],
    ids=str,
)  # fmt: skip
def test_views_that_cannot_be(service, picture, wanted):
    response = service.client.post(f"/api/pictures/{picture['token']}/views", json=wanted)
    assert service.problem(response, 422, "options")


def test_the_sample_is_the_repository_photo(service):
    facts = service.client.get("/api/sample").json()
    assert facts["name"] == "photo.jpg" and (facts["width"], facts["height"]) == (768, 512)
