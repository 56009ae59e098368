"""Webhooks are signed according to Standard Webhooks."""

from __future__ import annotations

import base64

import pytest

from common.signing import new_secret, signed_headers, signing_key

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_the_published_example_has_its_published_signature() -> None:
    headers = signed_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', [SECRET])

    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_each_of_several_secrets_adds_a_signature() -> None:
    other = new_secret()

    def signatures(*secrets: str) -> str:
        return signed_headers("id", 1, b"{}", secrets)["webhook-signature"]

    assert signatures(SECRET, other) == f"{signatures(SECRET)} {signatures(other)}"


def test_new_secrets_are_valid_and_different() -> None:
    assert len(signing_key(new_secret())) == 32
    assert new_secret() != new_secret()


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_",
        "whsec_short",
        "whsec_not base64 at all, is it?",
        "whsec_" + base64.b64encode(bytes(23)).decode(),
        "whsec_" + base64.b64encode(bytes(65)).decode(),
    ],
)
def test_an_invalid_secret_is_refused_and_not_quoted(secret: str) -> None:
    with pytest.raises(ValueError, match="24 to 64 random bytes") as refused:
        signing_key(secret)
    assert "short" not in str(refused.value)
