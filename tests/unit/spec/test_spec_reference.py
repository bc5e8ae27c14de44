import pytest

from naru.base.errors import InvalidParameter
from naru.spec.oci.digest import chain_ids, digest_of
from naru.spec.oci.reference import parse_reference

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "domain", "path", "tag", "digest"),
    [
        ("busybox", "docker.io", "library/busybox", None, None),
        ("team/app:1.2", "docker.io", "team/app", "1.2", None),
        ("localhost/app", "localhost", "app", None, None),
        ("reg:5000/a/b:c", "reg:5000", "a/b", "c", None),
        (f"reg.example/app@{DIGEST}", "reg.example", "app", None, DIGEST),
        (f"app:1@{DIGEST}", "docker.io", "library/app", "1", DIGEST),
        ("index.docker.io/app", "docker.io", "library/app", None, None),
    ],
)
def test_parts(text: str, domain: str, path: str, tag: str | None, digest: str | None) -> None:
    ref = parse_reference(text)
    assert (ref.domain, ref.path, ref.tag, ref.digest) == (domain, path, tag, digest)


@pytest.mark.parametrize(
    "text", ["", "UPPER", "a//b", "a:b:c", "-a", "a@sha256:12", "a" * 300, "../x"]
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameter):
        parse_reference(text)


def test_an_id_is_no_name() -> None:
    with pytest.raises(InvalidParameter, match="64-byte hexadecimal"):
        parse_reference("a" * 64)


def test_familiar_form() -> None:
    assert parse_reference("docker.io/library/busybox:1").familiar == "busybox:1"
    assert parse_reference("busybox").with_default_tag().familiar == "busybox:latest"


def test_chain_ids() -> None:
    first, second = digest_of(b"1"), digest_of(b"2")
    assert chain_ids([first, second]) == [first, digest_of(f"{first} {second}".encode())]
