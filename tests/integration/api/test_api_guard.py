"""What comes in from where: hosts, origins, keys, the same for every route."""

import json
import re

import pytest

OPEN_ROUTES = ["/health"]
ROUTES = [
    ("GET", "/"),
    ("HEAD", "/"),
    ("GET", "/ready"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/tiny"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("POST", "/tokenize"),
    ("GET", "/openapi.json"),
    ("GET", "/docs"),
    ("GET", "/redoc"),
    ("GET", "/nowhere"),
    ("DELETE", "/v1/models/tiny"),
    ("OPTIONS", "/v1/models"),
    ("GET", "/health/more"),
    ("GET", "/v1/v1/models"),
    ("GET", "/health/../v1/models"),
    ("GET", "/health%2f..%2fv1/models"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_nothing_but_health_answers_without_a_key(start, method: str, path: str) -> None:
    """With a key in the file every route asks for it, whether it exists or not."""
    house = await start()
    house.keys.add("laptop")
    response = await house.client.request(method, path)
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert response.headers["x-request-id"]
    if method != "HEAD":
        assert response.json()["error"]["type"] == "authentication_error"


async def test_every_documented_route_asks_for_a_key(start) -> None:
    """The document lists the routes, so that one that is added is crawled too; health is the exception."""
    house = await start()
    secret = house.keys.add("laptop")
    document = (await house.client.get("/openapi.json", headers={"x-api-key": secret})).json()
    crawled = 0
    for path, methods in document["paths"].items():
        for method in methods:
            response = await house.client.request(method, re.sub(r"{\w+}", "tiny", path))
            assert (response.status_code == 401) == (path not in OPEN_ROUTES), (method, path)
            crawled += 1
    assert crawled > 25


async def test_health_is_public_and_tells_strangers_nothing_else(start) -> None:
    """Without a key: a status and no names of models."""
    house = await start()
    secret = house.keys.add("laptop")
    assert (await house.client.get("/health")).json() == {"status": "ok"}
    assert (await house.client.get("/health", headers={"x-api-key": "wrong"})).status_code == 200
    assert (await house.client.get("/health", headers={"x-api-key": secret})).status_code == 200


@pytest.mark.parametrize(
    "header", [{"authorization": "Bearer {}"}, {"authorization": "bearer  {}"}, {"x-api-key": "{}"}]
)
async def test_a_key_opens_in_either_header_until_it_is_revoked(start, header: dict[str, str]) -> None:
    """Both headers follow one policy, and the tenant is the key."""
    house = await start()
    secret = house.keys.add("laptop")
    headers = {name: value.format(secret) for name, value in header.items()}
    assert (await house.client.get("/v1/models", headers=headers)).status_code == 200
    await house.client.post("/v1/chat/completions", json=house.chat, headers=headers)
    assert house.backend.requests[0].tenant == house.keys.list()[0].id
    house.keys.add("another, so that keys stay required")
    house.keys.revoke(house.keys.list()[0].id)
    assert (await house.client.get("/v1/models", headers=headers)).status_code == 401


async def test_while_keys_are_off_any_key_will_do(start) -> None:
    """Clients with a placeholder key are the local tenant."""
    house = await start()
    headers = {"authorization": "Bearer noop"}
    assert (
        await house.client.post("/v1/chat/completions", json=house.chat, headers=headers)
    ).status_code == 200
    assert house.backend.requests[0].tenant == "local"


async def test_a_damaged_key_file_shuts_the_door(start, tmp_path) -> None:
    """The client learns nothing of the file; liveness goes through the same door."""
    house = await start()
    house.keys.add("laptop")
    (tmp_path / "keys.json").write_text("{")
    response = await house.client.get("/v1/models")
    assert response.status_code == 500
    assert "keys.json" not in response.text


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/nowhere"])
@pytest.mark.parametrize("host", ["evil.com", "localhost.evil.com:8484", "192.168.1.1"])
async def test_a_foreign_host_is_refused_everywhere(start, path: str, host: str) -> None:
    """DNS rebinding ends at the Host header; the message names the setting."""
    house = await start()
    response = await house.client.get(path, headers={"host": host, "x-forwarded-host": "localhost"})
    assert response.status_code == 403
    error = response.json()["error"]
    assert error["code"] == "not_allowed"
    assert "api.allowed_hosts" in error["message"]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "[::1]:8484", "box.lan"])
async def test_own_names_are_answered(start, host: str) -> None:
    """Loopback names and the owner's names pass, whatever the port."""
    house = await start(allowed_hosts=("box.lan",))
    assert (await house.client.get("/health", headers={"host": host})).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.com", "null", "http://localhost:1"])
async def test_a_foreign_page_is_refused_and_told_nothing(start, origin: str) -> None:
    """No status but 403, no CORS header, and the backend is not reached, whatever forwarding headers say."""
    house = await start(allowed_origins=("https://chat.example.com",))
    headers = {"origin": origin, "x-forwarded-host": "evil.com", "x-forwarded-for": "127.0.0.1"}
    post = await house.client.post("/v1/chat/completions", json=house.chat, headers=headers)
    preflight = {**headers, "access-control-request-method": "POST"}
    options = await house.client.request("OPTIONS", "/v1/chat/completions", headers=preflight)
    for response in (post, options):
        assert response.status_code == 403
        assert "access-control-allow-origin" not in response.headers
    assert house.backend.requests == []


async def test_an_allowed_page_may_ask_and_read(start) -> None:
    """The preflight needs no key; the request does, and the page may read even its refusal."""
    house = await start(allowed_origins=("https://chat.example.com",))
    secret = house.keys.add("page")
    page = {"origin": "https://chat.example.com"}
    asked = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,x-stainless-os",
    }
    preflight = await house.client.request("OPTIONS", "/v1/chat/completions", headers={**page, **asked})
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-headers"] == "authorization,x-stainless-os"
    refused = await house.client.post("/v1/chat/completions", json=house.chat, headers=page)
    answered = await house.client.post(
        "/v1/chat/completions", json=house.chat, headers={**page, "x-api-key": secret}
    )
    assert [refused.status_code, answered.status_code] == [401, 200]
    for response in (preflight, refused, answered):
        assert response.headers["access-control-allow-origin"] == "https://chat.example.com"
        assert response.headers["vary"] == "Origin"
        assert "access-control-allow-credentials" not in response.headers


async def test_the_servers_own_page_is_answered(start) -> None:
    """A page that came from here is no stranger."""
    house = await start()
    assert (await house.client.get("/v1/models", headers={"origin": house.url})).status_code == 200


@pytest.mark.parametrize(
    "kind", ["text/plain", "text/plain;application/json", "application/x-www-form-urlencoded"]
)
async def test_a_body_that_is_not_json_is_refused(start, kind: str) -> None:
    """What a page can post without asking first is not read."""
    house = await start()
    body = json.dumps(house.chat).encode()
    response = await house.client.post("/v1/chat/completions", content=body, headers={"content-type": kind})
    assert response.status_code == 400
    assert "Content-Type" in response.json()["error"]["message"]
    assert house.backend.requests == []


@pytest.mark.parametrize(
    "kind", ["application/json; charset=utf-8", "Application/JSON", "application/vnd.x+json"]
)
async def test_json_by_any_of_its_names_is_read(start, kind: str) -> None:
    """Parameters, case and suffixes do not matter."""
    house = await start()
    body = json.dumps(house.chat).encode()
    response = await house.client.post("/v1/chat/completions", content=body, headers={"content-type": kind})
    assert response.status_code == 200
