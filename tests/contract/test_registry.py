"""Listing the tags of registries that do not behave as they should."""

import asyncio
import gzip
import itertools
import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from cilium_hybrid.adapters.helm.registry import MAX_BYTES, MAX_REQUESTS, list_versions
from cilium_hybrid.ports import ChartUnavailableError
from contract.tiny_registry import Answer, Request, TinyRegistry, make_certificates, serve

LIST = "/v2/eks/cilium/cilium/tags/list"
IMAGES = ["v1.17.9-0", "sha256-0123.sig", "latest", "1.17.9_1", "01.17.9", "1.17"]
Serve = Callable[[Callable[[Request], Answer]], AbstractContextManager[TinyRegistry]]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def registry(certificates: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Serve:
    authority, server = certificates
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    return partial(serve, server)


def listed(ref: str, seconds: float = 20) -> list[str]:
    return [str(version) for version in asyncio.run(list_versions(ref, seconds=seconds))]


def error_of(ref: str, seconds: float = 20) -> str:
    with pytest.raises(ChartUnavailableError, match=f"^cannot list the versions of {ref}: ") as error:
        listed(ref, seconds)
    return str(error.value).removeprefix(f"cannot list the versions of {ref}: ")


def tags(*names: Any, **headers: str) -> Answer:
    return Answer(body=json.dumps({"name": "eks/cilium/cilium", "tags": names}).encode(), headers=headers)


def requires_token(realm: str = "https://{host}/token/", parameters: str = ',service="{host}",scope="aws"') -> Any:
    """A registry that issues anonymous tokens, and requires one for the list."""

    def answer(request: Request) -> Answer:
        if request.path.startswith("/token/"):
            return Answer(body=b'{"token": "abc.DEF-12_3=="}')
        if request.authorization == "Bearer abc.DEF-12_3==":
            return (
                tags("1.17.9-0", Link=f'<{LIST}?last=a>; rel="next"')
                if "last" not in request.path
                else tags("1.18.8-1")
            )
        challenge = f'Bearer realm="{realm}"{parameters}'.format(host=request.host)
        return Answer(401, headers={"WWW-Authenticate": challenge})

    return answer


def test_tags_that_are_not_versions_are_ignored_and_versions_are_sorted(registry: Serve) -> None:
    with registry(lambda _: tags("1.18.8-1", "1.17.9-10", *IMAGES, None, 7, ["1.19.0"], "1.17.9-9", "1.17.9")) as tiny:
        assert listed(tiny.ref) == ["1.17.9", "1.17.9-9", "1.17.9-10", "1.18.8-1"]
        assert tiny.requests[0].path == f"{LIST}?n=1000"


@pytest.mark.parametrize("response", [b'{"tags": null}', b'{"tags": []}', b"{}"], ids=["null", "empty", "missing"])
def test_a_repository_without_tags_has_no_versions(registry: Serve, response: bytes) -> None:
    with registry(lambda _: Answer(body=response)) as tiny:
        assert listed(tiny.ref) == []


def test_one_token_is_requested_and_used_for_every_page(registry: Serve) -> None:
    with registry(requires_token()) as tiny:
        assert listed(tiny.ref) == ["1.17.9-0", "1.18.8-1"]
        first, token, *pages = tiny.requests
        assert (first.authorization, token.authorization) == (None, None)
        assert parse_qs(urlsplit(token.path).query) == {"service": [token.host], "scope": ["aws"]}
        assert [(page.path, page.authorization is not None) for page in pages] == [
            (f"{LIST}?n=1000", True),
            (f"{LIST}?last=a", True),
        ]


@pytest.mark.parametrize(
    ("realm", "parameters", "query"),
    [
        pytest.param("https://{host}/token/", "", {}, id="no service and scope"),
        pytest.param(
            "https://{host}/token/?a=1", ', Service="s&t"', {"a": ["1"], "service": ["s&t"]}, id="realm with a query"
        ),
    ],
)
def test_the_token_request_follows_the_challenge(
    registry: Serve, realm: str, parameters: str, query: dict[str, list[str]]
) -> None:
    with registry(requires_token(realm, parameters)) as tiny:
        assert listed(tiny.ref) == ["1.17.9-0", "1.18.8-1"]
        assert parse_qs(urlsplit(tiny.requests[1].path).query) == query


def test_the_token_may_be_named_access_token(registry: Serve) -> None:
    def answer(request: Request) -> Answer:
        if request.path.startswith("/token/"):
            return Answer(body=b'{"access_token": "abc.DEF-12_3=="}')
        found: Answer = requires_token()(request)
        return found

    with registry(answer) as tiny:
        assert listed(tiny.ref) == ["1.17.9-0", "1.18.8-1"]


@pytest.mark.parametrize(
    ("challenge", "requests"),
    [
        pytest.param("", 1, id="no challenge"),
        pytest.param('Basic realm="https://{host}/token/"', 1, id="basic authentication"),
        pytest.param('Bearer service="x"', 1, id="no realm"),
        pytest.param('Bearer realm="https://{host}/token/"', 3, id="token is rejected"),
    ],
)
def test_a_registry_that_requires_a_login_is_reported(registry: Serve, challenge: str, requests: int) -> None:
    def answer(request: Request) -> Answer:
        if request.path.startswith("/token/"):
            return Answer(body=b'{"token": "abc"}')
        return Answer(401, headers={"WWW-Authenticate": challenge.format(host=request.host)})

    with registry(answer) as tiny:
        message = error_of(tiny.ref)

        assert message.endswith(
            "check that the chart exists and that the registry allows anonymous pulls, "
            "or list the versions to pass through in spec.upgrade.via"
        )
        assert len(tiny.requests) == requests


@pytest.mark.parametrize(
    ("response", "message"),
    [
        pytest.param(Answer(403), "allows anonymous pulls", id="forbidden"),
        pytest.param(Answer(429), "limits requests", id="rate limit"),
        pytest.param(Answer(500), "check that the operator can reach", id="server error"),
        pytest.param(Answer(302, headers={"Location": "/token/"}), "check that the operator can reach", id="redirect"),
        pytest.param(Answer(body=b"<html>"), "the answer is not that of a registry", id="not JSON"),
        pytest.param(Answer(body=b'{"token": 7}'), "the registry issued no anonymous token", id="number"),
        pytest.param(
            Answer(body=b'{"token": "a\\r\\nCookie: b"}'),
            "the registry issued no anonymous token",
            id="header injection",
        ),
        pytest.param(Answer(body=b"{}"), "the registry issued no anonymous token", id="empty"),
    ],
)
def test_a_registry_that_issues_no_token_is_reported(registry: Serve, response: Answer, message: str) -> None:
    with registry(
        lambda request: response if request.path.startswith("/token/") else requires_token()(request)
    ) as tiny:
        assert message in error_of(tiny.ref)


@pytest.mark.parametrize(
    ("response", "message"),
    [
        pytest.param(Answer(404), "the registry answers 404; correct spec.chart.ref", id="not found"),
        pytest.param(Answer(403), "allows anonymous pulls", id="forbidden"),
        pytest.param(Answer(429), "the registry limits requests", id="rate limit"),
        pytest.param(Answer(503), "check that the operator can reach the registry", id="server error"),
        pytest.param(Answer(302), "check that the operator can reach the registry", id="redirect without a target"),
        pytest.param(Answer(body=b"<html>"), "the answer is not that of a registry", id="HTML"),
        pytest.param(Answer(body=b"[]"), "the answer is not that of a registry", id="JSON list"),
        pytest.param(Answer(body=b"[" * 1_000_000), "the answer is not that of a registry", id="deeply nested"),
        pytest.param(
            Answer(body=b'{"tags": [' + b"9" * 5000 + b"]}"), "the answer is not that of a registry", id="huge number"
        ),
        pytest.param(Answer(body=b"\xff\xfe{"), "the answer is not that of a registry", id="not UTF-8"),
        pytest.param(
            Answer(body=gzip.compress(b'{"tags": []}'), headers={"Content-Encoding": "gzip"}),
            "the answer is not that of a registry",
            id="compressed without a request for it",
        ),
        pytest.param(Answer(headers={"Content-Length": "9"}), "check that the operator can reach", id="truncated"),
        pytest.param(
            Answer(headers={"Transfer-Encoding": "chunked"}, body=b"zz\r\n"), "check that", id="invalid chunk"
        ),
        pytest.param(tags(Link='<https://[::/>; rel="next"'), "is invalid", id="invalid link"),
    ],
)
def test_an_invalid_answer_is_reported(registry: Serve, response: Answer, message: str) -> None:
    with registry(lambda _: response) as tiny:
        assert message in error_of(tiny.ref)


def test_a_list_with_too_many_pages_is_rejected(registry: Serve) -> None:
    with registry(lambda request: tags("1.17.9-0", Link=f'<{request.path}>; rel="next"')) as tiny:
        assert f"more than {MAX_REQUESTS} pages" in error_of(tiny.ref)
        assert len(tiny.requests) == MAX_REQUESTS


def test_an_endless_answer_is_rejected(registry: Serve) -> None:
    with registry(lambda _: Answer(body=itertools.repeat(b" " * 65536))) as tiny:
        assert f"larger than {MAX_BYTES >> 20} MiB" in error_of(tiny.ref)


def test_the_size_limit_covers_all_pages(registry: Serve) -> None:
    page = b'{"tags": []}' + b" " * (MAX_BYTES // 3)

    with registry(lambda _: Answer(body=page, headers={"Link": '</v2/>; rel="next"'})) as tiny:
        assert f"larger than {MAX_BYTES >> 20} MiB" in error_of(tiny.ref)
        assert len(tiny.requests) == 3


def test_a_slow_registry_times_out(registry: Serve) -> None:
    def trickle() -> Iterator[bytes]:
        for _ in range(100):
            time.sleep(0.05)
            yield b" "

    with registry(lambda _: Answer(body=trickle())) as tiny:
        started = time.monotonic()

        assert "no complete answer within 0.5 s" in error_of(tiny.ref, seconds=0.5)
        assert time.monotonic() - started < 4


def test_a_redirect_is_followed_and_the_token_is_not_sent_to_another_host(registry: Serve) -> None:
    def answer(request: Request) -> Answer:
        if request.host.startswith("localhost"):
            return tags("1.17.9-0")
        if request.authorization is None:
            found: Answer = requires_token()(request)
            return found
        return Answer(307, headers={"Location": f"https://localhost:{request.host.partition(':')[2]}{request.path}"})

    with registry(answer) as tiny:
        assert listed(tiny.ref) == ["1.17.9-0"]
        assert tiny.requests[-1].host.startswith("localhost")
        assert tiny.requests[-1].authorization is None


@pytest.mark.parametrize(
    "response",
    [
        pytest.param(Answer(307, headers={"Location": "http://127.0.0.1:1/"}), id="redirect"),
        pytest.param(tags("1.17.9-0", Link='<http://127.0.0.1:1/>; rel="next"'), id="next page"),
        pytest.param(Answer(401, headers={"WWW-Authenticate": 'Bearer realm="http://127.0.0.1:1/"'}), id="realm"),
        pytest.param(Answer(307, headers={"Location": "file:///etc/passwd"}), id="file URL"),
    ],
)
def test_urls_without_tls_are_rejected(registry: Serve, response: Answer) -> None:
    with registry(lambda _: response) as tiny:
        assert "the registry refers to a URL without TLS" in error_of(tiny.ref)


def test_only_certificate_authorities_in_ssl_cert_file_are_trusted(
    registry: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    with registry(lambda _: tags("1.17.9-0")) as tiny:
        assert listed(tiny.ref)
        monkeypatch.delenv("SSL_CERT_FILE")
        message = error_of(tiny.ref)

        assert "CERTIFICATE_VERIFY_FAILED" in message
        # A message that differs would change the status with each attempt.
        assert message == error_of(tiny.ref)


@pytest.mark.parametrize(
    "ref",
    [
        "oci://127.0.0.1:{port}/eks/../cilium",
        "oci://127.0.0.1:{port}/eks/cilium:1.17.9-0",
        "oci://127.0.0.1:{port}/eks//cilium",
        "oci://127.0.0.1:{port}/",
        "oci://user@127.0.0.1:{port}/cilium",
        "https://127.0.0.1:{port}/cilium",
    ],
)
def test_an_invalid_reference_causes_no_request(registry: Serve, ref: str) -> None:
    with registry(lambda _: tags("1.17.9-0")) as tiny:
        assert "correct spec.chart.ref" in error_of(ref.format(port=tiny.port))
        assert tiny.requests == []


def test_an_invalid_port_is_reported() -> None:
    assert "is invalid" in error_of("oci://127.0.0.1:99999/cilium")


@pytest.mark.parametrize(
    ("closed", "error"),
    [(False, "the proxy answers 407"), (True, "cannot connect to")],
    ids=["proxy refuses", "proxy is unreachable"],
)
def test_the_proxy_of_the_environment_is_used_and_its_password_is_not_reported(
    monkeypatch: pytest.MonkeyPatch, closed: bool, error: str
) -> None:
    for name in ("https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serve(None, lambda _: Answer(407)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:secret@127.0.0.1:{1 if closed else proxy.port}")
        message = error_of("oci://registry.invalid/cilium")

    assert error in message
    assert "secret" not in message
    assert [request.path for request in proxy.requests] == ([] if closed else ["registry.invalid:443"])


def test_no_proxy_is_honoured(registry: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(None, lambda _: Answer(407)) as proxy, registry(lambda _: tags("1.17.9-0")) as tiny:
        monkeypatch.setenv("https_proxy", f"127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "registry.invalid")

        assert listed(tiny.ref) == ["1.17.9-0"]
        assert error_of("oci://registry.invalid/cilium")
        assert proxy.requests == []
        assert "the proxy answers 407" in error_of("oci://other.invalid/cilium")
