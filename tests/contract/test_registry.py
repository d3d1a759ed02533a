"""The list of a registry's tags, where the registry is not as it should be."""

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

from cilium_hybrid.adapters.helm.registry import MOST_BYTES, MOST_REQUESTS, list_versions
from cilium_hybrid.ports import ChartUnavailableError
from contract.tiny_registry import Answer, Asked, TinyRegistry, make_certificates, serve

LIST = "/v2/eks/cilium/cilium/tags/list"
IMAGES = ["v1.17.9-0", "sha256-0123.sig", "latest", "1.17.9_1", "01.17.9", "1.17"]
Serve = Callable[[Callable[[Asked], Answer]], AbstractContextManager[TinyRegistry]]


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


def refused(ref: str, seconds: float = 20) -> str:
    with pytest.raises(ChartUnavailableError, match=f"^cannot list the versions of {ref}: ") as error:
        listed(ref, seconds)
    return str(error.value).removeprefix(f"cannot list the versions of {ref}: ")


def tags(*names: Any, **headers: str) -> Answer:
    return Answer(body=json.dumps({"name": "eks/cilium/cilium", "tags": names}).encode(), headers=headers)


def wants_a_token(realm: str = "https://{host}/token/", parameters: str = ',service="{host}",scope="aws"') -> Any:
    """A registry that gives a token to anybody, and a list to who has it."""

    def answer(asked: Asked) -> Answer:
        if asked.path.startswith("/token/"):
            return Answer(body=b'{"token": "abc.DEF-12_3=="}')
        if asked.authorization == "Bearer abc.DEF-12_3==":
            return (
                tags("1.17.9-0", Link=f'<{LIST}?last=a>; rel="next"') if "last" not in asked.path else tags("1.18.8-1")
            )
        challenge = f'Bearer realm="{realm}"{parameters}'.format(host=asked.host)
        return Answer(401, headers={"WWW-Authenticate": challenge})

    return answer


def test_versions_are_sorted_out_of_what_else_is_tagged(registry: Serve) -> None:
    with registry(lambda _: tags("1.18.8-1", "1.17.9-10", *IMAGES, None, 7, ["1.19.0"], "1.17.9-9", "1.17.9")) as tiny:
        assert listed(tiny.ref) == ["1.17.9", "1.17.9-9", "1.17.9-10", "1.18.8-1"]
        assert tiny.asked[0].path == f"{LIST}?n=1000"


@pytest.mark.parametrize("said", [b'{"tags": null}', b'{"tags": []}', b"{}"], ids=["null", "empty", "none"])
def test_a_repository_without_tags_has_no_versions(registry: Serve, said: bytes) -> None:
    with registry(lambda _: Answer(body=said)) as tiny:
        assert listed(tiny.ref) == []


def test_a_token_is_asked_for_once_and_shown_on_each_page(registry: Serve) -> None:
    with registry(wants_a_token()) as tiny:
        assert listed(tiny.ref) == ["1.17.9-0", "1.18.8-1"]
        first, token, *pages = tiny.asked
        assert (first.authorization, token.authorization) == (None, None)
        assert parse_qs(urlsplit(token.path).query) == {"service": [token.host], "scope": ["aws"]}
        assert [(page.path, page.authorization is not None) for page in pages] == [
            (f"{LIST}?n=1000", True),
            (f"{LIST}?last=a", True),
        ]


@pytest.mark.parametrize(
    ("realm", "parameters", "query"),
    [
        pytest.param("https://{host}/token/", "", {}, id="without service and scope"),
        pytest.param(
            "https://{host}/token/?a=1", ', Service="s&t"', {"a": ["1"], "service": ["s&t"]}, id="with a query"
        ),
    ],
)
def test_the_token_is_asked_for_as_the_challenge_says(
    registry: Serve, realm: str, parameters: str, query: dict[str, list[str]]
) -> None:
    with registry(wants_a_token(realm, parameters)) as tiny:
        assert listed(tiny.ref) == ["1.17.9-0", "1.18.8-1"]
        assert parse_qs(urlsplit(tiny.asked[1].path).query) == query


def test_a_token_may_have_its_other_name(registry: Serve) -> None:
    def answer(asked: Asked) -> Answer:
        if asked.path.startswith("/token/"):
            return Answer(body=b'{"access_token": "abc.DEF-12_3=="}')
        found: Answer = wants_a_token()(asked)
        return found

    with registry(answer) as tiny:
        assert listed(tiny.ref) == ["1.17.9-0", "1.18.8-1"]


@pytest.mark.parametrize(
    ("challenge", "requests"),
    [
        pytest.param("", 1, id="no challenge"),
        pytest.param('Basic realm="https://{host}/token/"', 1, id="a user and a password"),
        pytest.param('Bearer service="x"', 1, id="no realm"),
        pytest.param('Bearer realm="https://{host}/token/"', 3, id="the token is of no use"),
    ],
)
def test_a_registry_that_wants_a_login_is_told(registry: Serve, challenge: str, requests: int) -> None:
    def answer(asked: Asked) -> Answer:
        if asked.path.startswith("/token/"):
            return Answer(body=b'{"token": "abc"}')
        return Answer(401, headers={"WWW-Authenticate": challenge.format(host=asked.host)})

    with registry(answer) as tiny:
        message = refused(tiny.ref)

        assert message.startswith(
            "the registry wants a login, or does not know this chart; name the steps in spec.upgrade"
        )
        assert len(tiny.asked) == requests


@pytest.mark.parametrize(
    ("said", "step"),
    [
        pytest.param(Answer(403), "wants a login", id="it is refused"),
        pytest.param(Answer(429), "limit is reached", id="the limit is reached"),
        pytest.param(Answer(500), "check that the operator reaches", id="it fails"),
        pytest.param(Answer(302, headers={"Location": "/token/"}), "check that the operator reaches", id="it moved"),
        pytest.param(Answer(body=b"<html>"), "what answers is no registry", id="no JSON"),
        pytest.param(Answer(body=b'{"token": 7}'), "it gives no token", id="a number"),
        pytest.param(Answer(body=b'{"token": "a\\r\\nCookie: b"}'), "it gives no token", id="another header in it"),
        pytest.param(Answer(body=b"{}"), "it gives no token", id="nothing"),
    ],
)
def test_no_token_is_told(registry: Serve, said: Answer, step: str) -> None:
    with registry(lambda asked: said if asked.path.startswith("/token/") else wants_a_token()(asked)) as tiny:
        assert step in refused(tiny.ref)


@pytest.mark.parametrize(
    ("said", "step"),
    [
        pytest.param(Answer(404), "correct spec.chart.ref (it answers 404)", id="unknown"),
        pytest.param(Answer(403), "the registry wants a login", id="forbidden"),
        pytest.param(Answer(429), "the registry's limit is reached", id="the limit is reached"),
        pytest.param(Answer(503), "check that the operator reaches the registry", id="it fails"),
        pytest.param(Answer(302), "check that the operator reaches the registry", id="it moved nowhere"),
        pytest.param(Answer(body=b"<html>"), "what answers is no registry", id="a page for people"),
        pytest.param(Answer(body=b"[]"), "what answers is no registry", id="a list"),
        pytest.param(Answer(body=b"[" * 1_000_000), "what answers is no registry", id="deeper than any stack"),
        pytest.param(
            Answer(body=b'{"tags": [' + b"9" * 5000 + b"]}"), "what answers is no registry", id="a huge number"
        ),
        pytest.param(Answer(body=b"\xff\xfe{"), "what answers is no registry", id="no text"),
        pytest.param(
            Answer(body=gzip.compress(b'{"tags": []}'), headers={"Content-Encoding": "gzip"}),
            "what answers is no registry",
            id="compressed, which nobody asked for",
        ),
        pytest.param(Answer(headers={"Content-Length": "9"}), "check that the operator reaches", id="cut off"),
        pytest.param(Answer(headers={"Transfer-Encoding": "chunked"}, body=b"zz\r\n"), "check that", id="no HTTP"),
        pytest.param(tags(Link='<https://[::/>; rel="next"'), "an address that is none", id="a link to nowhere"),
    ],
)
def test_an_answer_that_is_no_list_is_told(registry: Serve, said: Answer, step: str) -> None:
    with registry(lambda _: said) as tiny:
        assert step in refused(tiny.ref)


def test_a_list_without_an_end_is_left(registry: Serve) -> None:
    with registry(lambda asked: tags("1.17.9-0", Link=f'<{asked.path}>; rel="next"')) as tiny:
        assert f"not at its end after {MOST_REQUESTS} answers" in refused(tiny.ref)
        assert len(tiny.asked) == MOST_REQUESTS


def test_answers_without_an_end_are_left(registry: Serve) -> None:
    with registry(lambda _: Answer(body=itertools.repeat(b" " * 65536))) as tiny:
        assert f"larger than {MOST_BYTES >> 20} MiB" in refused(tiny.ref)


def test_answers_are_measured_together(registry: Serve) -> None:
    page = b'{"tags": []}' + b" " * (MOST_BYTES // 3)

    with registry(lambda _: Answer(body=page, headers={"Link": '</v2/>; rel="next"'})) as tiny:
        assert f"larger than {MOST_BYTES >> 20} MiB" in refused(tiny.ref)
        assert len(tiny.asked) == 3


def test_a_registry_that_trickles_is_left_in_time(registry: Serve) -> None:
    def trickle() -> Iterator[bytes]:
        for _ in range(100):
            time.sleep(0.05)
            yield b" "

    with registry(lambda _: Answer(body=trickle())) as tiny:
        started = time.monotonic()

        assert "no whole answer within 0.5 s" in refused(tiny.ref, seconds=0.5)
        assert time.monotonic() - started < 4


def test_a_list_that_moved_is_found_and_the_token_stays_at_home(registry: Serve) -> None:
    def answer(asked: Asked) -> Answer:
        if asked.host.startswith("localhost"):
            return tags("1.17.9-0")
        if asked.authorization is None:
            found: Answer = wants_a_token()(asked)
            return found
        return Answer(307, headers={"Location": f"https://localhost:{asked.host.partition(':')[2]}{asked.path}"})

    with registry(answer) as tiny:
        assert listed(tiny.ref) == ["1.17.9-0"]
        assert tiny.asked[-1].host.startswith("localhost")
        assert tiny.asked[-1].authorization is None


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(Answer(307, headers={"Location": "http://127.0.0.1:1/"}), id="a place"),
        pytest.param(tags("1.17.9-0", Link='<http://127.0.0.1:1/>; rel="next"'), id="a page"),
        pytest.param(
            Answer(401, headers={"WWW-Authenticate": 'Bearer realm="http://127.0.0.1:1/"'}), id="a place for tokens"
        ),
        pytest.param(Answer(307, headers={"Location": "file:///etc/passwd"}), id="a file"),
    ],
)
def test_nothing_is_asked_without_tls(registry: Serve, said: Answer) -> None:
    with registry(lambda _: said) as tiny:
        assert "it leads to an address without TLS" in refused(tiny.ref)


def test_only_the_authorities_of_ssl_cert_file_are_trusted(registry: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    with registry(lambda _: tags("1.17.9-0")) as tiny:
        assert listed(tiny.ref)
        monkeypatch.delenv("SSL_CERT_FILE")
        message = refused(tiny.ref)

        assert "CERTIFICATE_VERIFY_FAILED" in message
        # The status would change with each try.
        assert message == refused(tiny.ref)


@pytest.mark.parametrize(
    "ref",
    [
        "oci://127.0.0.1:{port}/eks/../cilium",
        "oci://127.0.0.1:{port}/eks/cilium:1.17.9-0",
        "oci://127.0.0.1:{port}/eks//cilium",
        "oci://127.0.0.1:{port}/",
        "oci://somebody@127.0.0.1:{port}/cilium",
        "https://127.0.0.1:{port}/cilium",
    ],
)
def test_what_is_no_repository_is_not_asked_for(registry: Serve, ref: str) -> None:
    with registry(lambda _: tags("1.17.9-0")) as tiny:
        assert "correct spec.chart.ref" in refused(ref.format(port=tiny.port))
        assert tiny.asked == []


def test_a_port_that_is_none_is_told() -> None:
    assert "an address that is none" in refused("oci://127.0.0.1:99999/cilium")


@pytest.mark.parametrize(
    ("closed", "words"),
    [(False, "the proxy answers 407"), (True, "cannot connect to")],
    ids=["it refuses", "it is away"],
)
def test_the_proxy_of_the_environment_is_asked_and_its_password_kept(
    monkeypatch: pytest.MonkeyPatch, closed: bool, words: str
) -> None:
    for name in ("https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serve(None, lambda _: Answer(407)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://somebody:secret@127.0.0.1:{1 if closed else proxy.port}")
        message = refused("oci://registry.invalid/cilium")

    assert words in message
    assert "secret" not in message
    assert [asked.path for asked in proxy.asked] == ([] if closed else ["registry.invalid:443"])


def test_a_host_without_a_proxy_is_asked_itself(registry: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(None, lambda _: Answer(407)) as proxy, registry(lambda _: tags("1.17.9-0")) as tiny:
        monkeypatch.setenv("https_proxy", f"127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "registry.invalid")

        assert listed(tiny.ref) == ["1.17.9-0"]
        assert refused("oci://registry.invalid/cilium")
        assert proxy.asked == []
        assert "the proxy answers 407" in refused("oci://other.invalid/cilium")
