"""Every documented operation with values of every kind: no answer but a documented one."""

from __future__ import annotations

import random

import pytest

import promptcodec

pytestmark = pytest.mark.slow

VALUES = ["", "0", "-1", "1", "0.5", "50", "1e400", "nan", "true", "ü", "a=b", "look=0.5", "0,0,9,9", "nano", "region",
          "../../x", "\x00", "x" * 5000, "png", "webp", "jpg"]  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_no_request_is_answered_otherwise_than_documented(service, jpeg, seed):
    chance, document = random.Random(seed), service.client.get("/openapi.json").json()
    bodies = [b"", jpeg, jpeg[:500], promptcodec.encode(jpeg), promptcodec.encode(jpeg)[:-9], b"\0" * 99, b"{}"]
    operations = [(path, method, facts) for path, item in document["paths"].items() for method, facts in item.items()]
    for _ in range(150):
        path, method, facts = chance.choice(operations)
        names = [parameter["name"] for parameter in facts.get("parameters", ())] + ["unknown"]
        query = [(chance.choice(names), chance.choice(VALUES)) for _ in range(chance.choice([0, 1, 1, 2, 3]))]
        query = [pair for pair in query if pair[0] != "effort"]  # which only takes long
        headers = {"content-type": chance.choice(["image/jpeg", "multipart/form-data; boundary=x", "text/html", "a"])}
        content = chance.choice(bodies) if method == "post" else None
        response = service.client.request(method, path, params=query, content=content, headers=headers)
        said = (path, query, headers, response.status_code, response.text[:300])
        assert str(response.status_code) in facts["responses"], said
        assert response.status_code < 500, said
        if response.status_code >= 400:
            assert response.headers["content-type"] == "application/problem+json", said
