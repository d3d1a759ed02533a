import pytest

from cilium_hybrid.adapters.helm.messages import MAX_LENGTH, describe_stderr, shorten

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\nAAAA\n-----END CERTIFICATE-----"
PRESIGNED = "https://bucket.s3.amazonaws.com/a?X-Amz-Signature=0123456789abcdef&X-Amz-Date=20261126T000000Z"


@pytest.mark.parametrize(
    ("stderr", "message"),
    [
        pytest.param("Error: it broke\n", "it broke", id="prefix Error"),
        pytest.param("Error: values: \n- a: is wrong\n- b: too\n", "values:; a: is wrong; b: too", id="several lines"),
        pytest.param("WARNING: old\nlevel=info x\nI0301 x\nUse --debug\nError: y", "y", id="warnings and log lines"),
        pytest.param(f"tls: {CERTIFICATE} is bad", "tls: <redacted> is bad", id="certificate"),
        pytest.param("key -----BEGIN PRIVATE KEY-----\nMII", "key <redacted>", id="key without its end"),
        pytest.param("MIIB\n-----END PRIVATE KEY----- is bad", "<redacted> is bad", id="key without its beginning"),
        pytest.param(f"token {'a1' * 60} expired", "token <redacted> expired", id="token"),
        pytest.param(
            f'Get "{PRESIGNED}": EOF', 'Get "https://bucket.s3.amazonaws.com/a?<redacted>": EOF', id="presigned URL"
        ),
        pytest.param("proxy http://user:hunter2@proxy:80/: EOF", "proxy http://<redacted>@proxy:80/: EOF", id="proxy"),
        pytest.param("what is it? a=b", "what is it? a=b", id="question mark"),
        pytest.param("\x1b[31mred\x07\u202e", "�[31mred��", id="control characters"),
        pytest.param("", "", id="empty"),
    ],
)
def test_error_messages_are_one_line_and_contain_no_secret(stderr: str, message: str) -> None:
    assert describe_stderr(stderr.encode()) == message


def test_invalid_utf8_is_replaced() -> None:
    assert describe_stderr(b"bad \xff byte") == "bad � byte"


def test_texts_are_shortened() -> None:
    assert shorten("abc", 3) == "abc"
    assert shorten("abcd", 3) == "a…d"
    assert shorten("\x1b" * 9, 4) == "��…�"
    assert len(shorten("x" * 10_000)) == MAX_LENGTH
