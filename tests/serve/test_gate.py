"""Who may ask, and what browsers are told."""

from __future__ import annotations

import sys

import pytest
from served import running

from promptcodec.cli import serve
from promptcodec.errors import UsageError


@pytest.mark.parametrize("host", ["localhost", "localhost:1234", "127.0.0.1", "[::1]:80", "192.168.1.5:8000"])
def test_hosts_that_are_ours(service, host):
    assert service.client.get("/healthz", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "", "[::1", "a b"])
def test_a_name_that_was_made_to_point_here_is_refused(service, host):
    service.problem(service.client.get("/healthz", headers={"host": host}), 403, "forbidden")


def test_pages_of_other_places_are_refused(service, jpeg):
    here = f"127.0.0.1:{service.port}"
    for origin in ("http://evil.example", "null", "", "http://[", "http://127.0.0.1:1", f"http://{here}.evil.example"):
        response = service.client.post("/encode", content=jpeg, headers={"origin": origin})
        service.problem(response, 403, "forbidden")
    response = service.client.post("/encode", content=jpeg, headers={"origin": f"http://{here}"})
    assert response.status_code == 200
    for site in ("cross-site", "same-site"):
        response = service.client.get("/api/sample", headers={"sec-fetch-site": site, "sec-fetch-mode": "no-cors"})
        service.problem(response, 403, "forbidden")


def test_every_answer_has_the_headers(service, jpeg):
    answers = [
        service.client.get("/healthz"), service.client.get("/nowhere"), service.client.post("/encode", content=jpeg),
        service.client.get("/healthz", headers={"host": "evil.example"}), service.client.post("/encode", content=b"x"),
    ]  # fmt: skip
    for response in answers:
        policy = response.headers["content-security-policy"]
        assert "default-src 'self'" in policy and "unsafe" not in policy and "http" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert response.headers["cross-origin-resource-policy"] == "same-origin"
        assert "server" not in response.headers
        assert "access-control-allow-origin" not in response.headers


def test_names_that_are_allowed_are_ours(jpeg):
    with running("--workers", "1", "--allow-host", "codec.example") as service:
        assert service.client.get("/healthz", headers={"host": "codec.example"}).status_code == 200
        assert service.client.get("/healthz", headers={"host": "Codec.Example:443"}).status_code == 200
        response = service.client.get("/healthz", headers={"host": "other.example"})
        assert "--allow-host" in service.problem(response, 403, "forbidden")


def test_without_the_extra_the_command_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(UsageError, match=r"pip install 'promptcodec\[serve\]'"):
        serve.command()
