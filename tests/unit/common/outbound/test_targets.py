"""URLs are parsed, and refused by their text alone."""

from __future__ import annotations

import pytest

from common.outbound import UrlNotAllowed
from common.outbound.targets import MAX_URL_LENGTH, Target, parse_url


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://example.com", Target(True, "example.com", 443, "/")),
        ("HTTPS://Example.COM:443/a/b?c=d#e", Target(True, "example.com", 443, "/a/b?c=d")),
        ("https://xn--bcher-kva.example/%C3%BC", Target(True, "xn--bcher-kva.example", 443, "/%C3%BC")),
        ("https://8.8.8.8/", Target(True, "8.8.8.8", 443, "/")),
        ("https://[2606:4700::1111]//x", Target(True, "2606:4700::1111", 443, "//x")),
        ("https://my_host.example/?", Target(True, "my_host.example", 443, "/")),
    ],
)
def test_a_public_url_is_parsed(url: str, target: Target) -> None:
    assert parse_url(url, allow_local=False) == target


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://",
        "https:///path",
        "https:example.com",
        "//example.com/",
        "example.com",
        # other schemes
        "http://example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com:70/_x",
        "javascript:alert(1)",
        "data:image/png;base64,AA",
        # private networks
        "https://127.0.0.1/",
        "https://10.0.0.1/",
        "https://192.168.0.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://100.64.0.1/",
        "https://0.0.0.0/",
        "https://[::1]/",
        "https://[::]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:7f00:1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[fe80::1%25eth0]/",
        "https://[fe80::1%eth0]/",
        "https://[fd00:ec2::254]/",
        # other notations of these addresses
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.0.0.1/",
        "https://0177.0.0.1/",
        "https://127.1/",
        "https://127.0.0.1./",
        "https://\u2460\u2461\u2466.0.0.1/",
        # names
        "https://localhost./",
        "https://example.com./",
        "https://.example.com/",
        "https://-example.com/",
        "https://exa mple.com/",
        "https://exam%70le.com/",
        "https://" + "a" * 64 + ".com/",
        "https://" + "a." * 127 + "com/",
        # ambiguous hosts
        "https://user@example.com/",
        "https://user:password@example.com/",
        "https://example.com@127.0.0.1/",
        "https://127.0.0.1\\@example.com/",
        "https://@example.com/",
        "https://example.com\\.evil.com/",
        "https://[::1/",
        "https://[example.com]/",
        # ports
        "https://example.com:80/",
        "https://example.com:22/",
        "https://example.com:0/",
        "https://example.com:6379/",
        "https://example.com:99999/",
        "https://example.com:443:443/",
        "https://example.com:a/",
        # characters that break a header or a request line
        "https://example.com/a b",
        "https://example.com/\r\nHost: x",
        "https://example.com/\x00",
        "https://example.com/\tx",
        " https://example.com/",
        "https://exämple.com/",
        "https://example.com/" + "a" * MAX_URL_LENGTH,
    ],
)
def test_a_hostile_or_invalid_url_is_refused_with_a_sentence(url: str) -> None:
    with pytest.raises(UrlNotAllowed, match=r"^(A|The) URL .+\.$"):
        parse_url(url, allow_local=False)


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("http://127.0.0.1:8000/", "127.0.0.1:8000"),
        ("http://localhost/", "localhost"),
        ("https://[::1]:8443/", "[::1]:8443"),
        ("https://receiver/", "receiver"),
    ],
)
def test_local_urls_are_parsed_with_allow_local(url: str, authority: str) -> None:
    assert parse_url(url, allow_local=True).authority == authority


@pytest.mark.parametrize("url", ["ftp://localhost/", "http://user@localhost/", "http://[fe80::1%eth0]/", "http:///"])
def test_an_invalid_url_is_refused_with_allow_local(url: str) -> None:
    with pytest.raises(UrlNotAllowed):
        parse_url(url, allow_local=True)
