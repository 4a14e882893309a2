"""Bad input over HTTP: each is a problem with a sentence, and the service goes on."""

from __future__ import annotations

import io
import socket
import time

import pytest
from PIL import Image

import promptcodec

NAMED = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\nhi'
BAD_OPTIONS = [
    ({"quality": 101}, "quality"),
    ({"quality": "much"}, "quality"),
    ({"quality": "nan"}, "quality"),
    ({"quality": 50, "target_psnr": 30}, "exclude each other"),
    ({"target_psnr": 30, "target_bpp": 1}, "at once"),
    ({"target_psnr": -1}, "between 0 and 100"),
    ({"target_size": "inf"}, "size"),
    ({"look": 2}, "look"),
    ({"effort": 11}, "effort"),
    ({"model": "/etc/passwd"}, "there is no model"),
    ({"model": "../nano"}, "there is no model"),
    ({"adapter": "/etc/passwd"}, "no adapter"),
    ({"roi": "/etc/passwd"}, "x,y,w,h"),
    ({"roi": "5000,5000,10,10"}, "outside the picture"),
    ({"map": "roi"}, "NAME=VALUE"),
    ({"map": "nothing=0.5"}, "nothing"),
    ({"set": "look=high"}, "number"),
    ({"set": "nothing=1"}, "nothing"),
    ({"set": "background=7"}, ""),
]


@pytest.mark.parametrize("options, part", BAD_OPTIONS, ids=str)
def test_options_that_do_not_fit(service, jpeg, options, part):
    response = service.client.post("/encode", params=options, content=jpeg)
    kind = response.json()["type"].rpartition("/")[2]
    assert kind in ("options", "out-of-range")
    assert part in service.problem(response, 422, kind)


def test_a_target_out_of_range_names_the_range(service, jpeg):
    response = service.client.post("/encode", params={"target_size": 10}, content=jpeg)
    assert "out of range" in service.problem(response, 422, "out-of-range")


@pytest.mark.parametrize("path", ["/encode", "/api/pictures"])
@pytest.mark.parametrize("content", [b"x", b"GIF89a", b"\0" * 1000, b"<svg/>", b"P5\n3 3\n255\n"], ids=repr)
def test_what_is_no_picture(service, path, content):
    assert service.problem(service.client.post(path, content=content), 415, "not-a-picture")


@pytest.mark.parametrize("path", ["/encode", "/decode", "/info", "/api/pictures"])
def test_an_empty_body(service, path):
    assert "empty" in service.problem(service.client.post(path), 400, "malformed")


def test_a_damaged_picture(service, jpeg):
    file = io.BytesIO()
    Image.open(io.BytesIO(jpeg)).save(file, "PNG")
    damaged = bytearray(file.getvalue())
    damaged[500:600] = bytes(100)
    assert "damaged" in service.problem(service.client.post("/encode", content=bytes(damaged)), 415, "not-a-picture")


@pytest.mark.parametrize("path", ["/decode", "/info"])
def test_damaged_files(service, jpeg, path):
    data = promptcodec.encode(jpeg)
    for damaged in (data[:-5], data[:20], data[:200] + b"\xff" + data[201:], b"not a file", jpeg):
        service.problem(service.client.post(path, content=damaged), 415, "not-a-ptc-file")
    assert service.client.post(path, content=data).status_code == 200


def test_a_file_of_another_model(service):
    data = promptcodec.encode(Image.new("RGB", (64, 64)))
    foreign = bytearray(data)
    header = promptcodec.info(data).fingerprint[:16]
    start = data.index(bytes.fromhex(header))
    foreign[start] ^= 1
    response = service.client.post("/decode", content=bytes(foreign))
    assert response.status_code in (415, 422)


@pytest.mark.parametrize("format", ["docx", "", "../png"])
def test_formats_that_nobody_writes(service, jpeg, format):
    response = service.client.post("/decode", params={"format": format}, content=promptcodec.encode(jpeg))
    assert "Pillow writes no" in service.problem(response, 422, "options")


@pytest.mark.parametrize("crop", ["1,2,3", "0,0,5000,10", "a"])
def test_crops_that_do_not_fit(service, jpeg, crop):
    response = service.client.post("/decode", params={"crop": crop}, content=promptcodec.encode(jpeg))
    service.problem(response, 422, "options")


@pytest.mark.parametrize(
    "body, content_type",
    [
        (b"--x\r\n", "multipart/form-data; boundary=x"),
        (b"nothing", "multipart/form-data; boundary=x"),
        (b"--x--\r\n", "multipart/form-data"),
        (b"--x\r\nA: b\r\n\r\nhi\r\n--x--\r\n", "multipart/form-data; boundary=x"),
        (NAMED % b"other" + b"\r\n--x--\r\n", "multipart/form-data; boundary=x"),
        (NAMED % b"roi" + b"\r\n--x--\r\n", "multipart/form-data; boundary=x"),
        (NAMED % b"file", "multipart/form-data; boundary=x"),
        (b"--x\r\n" + b"A" * 20000, "multipart/form-data; boundary=x"),
    ],
    ids=range(8),
)  # fmt: skip
def test_forms_that_cannot_be_read(service, body, content_type):
    response = service.client.post("/encode", content=body, headers={"content-type": content_type})
    service.problem(response, 400, "malformed")


def test_addresses_and_methods_that_are_not_there(service):
    service.problem(service.client.get("/nowhere/at/all"), 404, "not-found")
    service.problem(service.client.get("/encode"), 405, "method-not-allowed")
    service.problem(service.client.get("/api/views/none/picture"), 404, "not-found")
    service.problem(service.client.get("/..%2f..%2fetc%2fpasswd"), 404, "not-found")


def test_too_many_pixels_are_refused_by_the_header(limited):
    file = io.BytesIO()
    Image.new("L", (20000, 20000)).save(file, "PNG")
    detail = limited.problem(limited.client.post("/encode", content=file.getvalue()), 413, "too-large")
    assert "20000 x 20000" in detail
    data = bytearray(promptcodec.encode(Image.new("RGB", (400, 400))))
    detail = limited.problem(limited.client.post("/decode", content=bytes(data)), 413, "too-large")
    assert "400" in detail


def test_large_bodies_are_refused_before_they_are_read(limited):
    head = "POST /encode HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999\r\n\r\n"
    with socket.create_connection(("127.0.0.1", limited.port), timeout=60) as connection:
        connection.sendall(head.encode())
        assert connection.recv(2000).startswith(b"HTTP/1.1 413")
    limited.problem(limited.client.post("/encode", content=bytes(500_000)), 413, "too-large")


def test_large_bodies_of_no_announced_length_are_cut_off(limited):
    def pieces():
        for _ in range(10):
            yield bytes(100_000)

    limited.problem(limited.client.post("/encode", content=pieces()), 413, "too-large")
    detail = limited.problem(limited.client.post("/api/archive", content=bytes(100_000)), 413, "too-large")
    assert "65536" in detail


def test_a_slow_sender_is_told_so(limited):
    with socket.create_connection(("127.0.0.1", limited.port), timeout=60) as connection:
        connection.sendall(b"POST /encode HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nabc")
        begin = time.monotonic()
        answer = b""
        while b"too-slow" not in answer and (part := connection.recv(2000)):  # headers and body may come apart
            answer += part
        assert answer.startswith(b"HTTP/1.1 408") and b"too-slow" in answer
        assert time.monotonic() - begin > 1


@pytest.mark.parametrize("beginning", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: local"], ids=repr)
def test_a_slow_header_is_not_waited_for(limited, beginning):
    with socket.create_connection(("127.0.0.1", limited.port), timeout=60) as connection:
        connection.sendall(beginning)
        try:
            assert connection.recv(100) == b""
        except ConnectionResetError:
            pass


def test_what_is_not_http(limited):
    with socket.create_connection(("127.0.0.1", limited.port), timeout=60) as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400")
