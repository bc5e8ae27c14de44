import pytest

from naru.base.errors import InvalidParameter, NaruError
from naru.network.validate import check, network_name, normal_mac
from naru.spec.engine.container_config import EndpointIPAMConfig, EndpointSettings, PortBinding

PORT = {"80/tcp": [PortBinding(host_port="8080")]}


@pytest.mark.parametrize(
    ("mode", "name"), [("", "bridge"), ("default", "bridge"), ("host", "host"), ("mine", "mine")]
)
def test_the_mode_names_a_network(mode: str, name: str) -> None:
    assert network_name(mode) == name


@pytest.mark.parametrize("mode", ["", "default", "bridge", "host", "none", "mine", "container:web"])
def test_every_mode_without_wishes_is_right(mode: str) -> None:
    check(mode, {}, {}, ())


@pytest.mark.parametrize(
    ("mode", "endpoints", "ports", "error", "text"),
    [
        ("container:", {}, {}, InvalidParameter, "invalid container format container:<name|id>"),
        ("container:web", {}, PORT, InvalidParameter, "port publishing and the container type"),
        ("container:web", {"bridge": None}, {}, InvalidParameter, "conflicting options"),
        ("host", {"bridge": None}, {}, InvalidParameter, "cannot be connected to network bridge"),
        ("", {}, {"x": None}, InvalidParameter, "invalid port specification: 'x'"),
        (
            "",
            {"bridge": EndpointSettings(aliases=["db"])},
            {},
            InvalidParameter,
            "network-scoped alias is supported only for containers in user defined networks",
        ),
        (
            "",
            {"bridge": EndpointSettings(ipam_config=EndpointIPAMConfig(ipv4_address="1.2.3.4"))},
            {},
            InvalidParameter,
            "user specified IP address is supported on user defined networks only",
        ),
        (
            "",
            {"bridge": EndpointSettings(mac_address="zz")},
            {},
            InvalidParameter,
            "invalid MAC address 'zz'",
        ),
        (
            "",
            {"default": EndpointSettings(driver_opts={"a.b": "c"})},
            {},
            InvalidParameter,
            "driver option 'a.b' of an endpoint is not supported",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    mode: str,
    endpoints: dict[str, EndpointSettings | None],
    ports: dict[str, list[PortBinding] | None],
    error: type[NaruError],
    text: str,
) -> None:
    with pytest.raises(error) as caught:
        check(mode, endpoints, ports, ())
    assert text in caught.value.message


def test_addresses_on_networks_of_the_user_are_left_to_them() -> None:
    asked = EndpointSettings(ipam_config=EndpointIPAMConfig(ipv4_address="1.2.3.4"), aliases=["x"])
    check("mine", {"mine": asked}, {}, ())


def test_publish_all_conflicts_with_a_joined_sandbox() -> None:
    with pytest.raises(InvalidParameter, match="container type network mode"):
        check("container:web", {}, {}, (), publish_all=True)


def test_hardware_addresses_are_normal() -> None:
    assert normal_mac("02-42-AC-11-00-63") == "02:42:ac:11:00:63"


@pytest.mark.parametrize("mac", ["", "02:42", "03:42:ac:11:00:63", "00:00:00:00:00:00"])
def test_wrong_hardware_addresses_are_refused(mac: str) -> None:
    with pytest.raises(InvalidParameter, match="invalid MAC address"):
        normal_mac(mac)
