"""The interface for programs, over HTTP: the answers are those of the Python functions, byte for byte."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from pictures import nearly_equal
from PIL import Image

import promptcodec


@pytest.mark.parametrize(
    "options",
    [
        {}, {"quality": 80}, {"target_size": 4000}, {"target_psnr": 30}, {"look": 1, "quality": 30},
        {"roi": "10,20,64,64"}, {"effort": 1}, {"preview": True, "verify": True, "model": "nano"},
    ],
    ids=str,
)  # fmt: skip
def test_encode_gives_the_bytes_of_the_python_function(service, jpeg, options):
    response = service.client.post("/encode", params=options, content=jpeg)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "image/x-ptc"
    assert response.content == promptcodec.encode(jpeg, **options)


def test_adapters_settings_and_maps_are_named_as_on_the_command_line(service, jpeg):
    query = [("adapter", "region"), ("set", "background=0.5"), ("map", "roi=10,20,64,64")]
    response = service.client.post("/encode", params=query, content=jpeg)
    expected = promptcodec.encode(jpeg, adapters=["region"], settings={"background": 0.5}, maps={"roi": "10,20,64,64"})
    assert response.content == expected


def test_a_form_brings_the_region_as_a_picture(service, jpeg):
    mask = np.zeros((40, 52), np.uint8)
    mask[10:30, 10:30] = 255
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG")
    response = service.client.post("/encode", files={"file": jpeg, "roi": file.getvalue()})
    assert response.content == promptcodec.encode(jpeg, roi=mask)
    assert service.client.post("/encode", files={"file": ("a.jpg", jpeg)}).content == promptcodec.encode(jpeg)


@pytest.mark.parametrize("format, media_type", [("png", "image/png"), ("webp", "image/webp"), ("tiff", "image/tiff")])
def test_decode_gives_the_pixels_of_the_python_function(service, jpeg, format, media_type):
    data = promptcodec.encode(jpeg)
    response = service.client.post("/decode", params={"format": format, "look": 0.5}, content=data)
    assert response.headers["content-type"] == media_type
    with Image.open(io.BytesIO(response.content)) as image:
        assert nearly_equal(image, promptcodec.decode(data, look=0.5))


def test_decode_of_a_part(service, jpeg):
    data = promptcodec.encode(jpeg)
    response = service.client.post("/decode", params={"crop": "16,8,100,50"}, content=data)
    with Image.open(io.BytesIO(response.content)) as image:
        assert nearly_equal(image, promptcodec.decode(data, crop=(16, 8, 100, 50)))


def test_what_is_lost_is_said_in_a_header(service):
    file = io.BytesIO()
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    response = service.client.post("/encode", content=file.getvalue())
    assert any("first" in sentence for sentence in json.loads(response.headers["x-warnings"]))
    data = promptcodec.encode(Image.new("RGBA", (64, 64), (9, 9, 9, 9)))
    response = service.client.post("/decode", params={"format": "jpg"}, content=data)
    assert response.headers["content-type"] == "image/jpeg"
    assert "white" in response.headers["x-warnings"]


def test_info_describes_a_file_as_the_python_function_does(service, jpeg):
    data = promptcodec.encode(jpeg, 70)
    facts, expected = service.client.post("/info", content=data).json(), promptcodec.info(data)
    assert facts["quality"] == expected.quality == 70
    assert facts["fingerprint"] == expected.fingerprint and facts["bytes"] == len(data)


def test_models_are_those_that_ship(service):
    (nano, *_) = [model for model in service.client.get("/models").json() if model["default"]]
    assert nano["name"] == "nano" and nano["controls"] == {"look": True, "roi": True} and nano["quality"] == [0, 100]


def test_health_and_counters(service, jpeg):
    assert service.client.get("/healthz").json() == {"status": "ok"}
    assert service.client.get("/readyz").json()["workers"] >= 1
    before = service.metric("promptcodec_requests_total")
    service.client.post("/encode", content=jpeg)
    assert service.metric("promptcodec_requests_total") >= before + 1
    text = service.client.get("/metrics").text
    assert 'promptcodec_requests_total{method="POST",route="/encode",status="200"}' in text
    assert "promptcodec_coding_workers 2.0" in text


def test_openapi_describes_bodies_and_problems(service):
    document = service.client.get("/openapi.json").json()
    assert {"/encode", "/decode", "/info", "/models", "/healthz", "/readyz", "/metrics"} == set(document["paths"])
    encode = document["paths"]["/encode"]["post"]
    assert set(encode["requestBody"]["content"]) >= {"application/octet-stream", "multipart/form-data"}
    assert encode["responses"]["503"]["content"]["application/problem+json"]["schema"]["$ref"].endswith("Problem")
    assert "Problem" in document["components"]["schemas"]
    for parameter in encode["parameters"]:
        assert parameter.get("description"), parameter["name"]
