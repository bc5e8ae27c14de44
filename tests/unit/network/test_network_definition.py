import pytest

from naru.base.errors import Forbidden, InvalidParameter, NaruError, NotFound, Unsupported
from naru.network.definition import draft
from naru.network.model import Network, Pool
from naru.spec.engine.network import IPAM, ConfigReference, IPAMConfig, NetworkCreate

ICC = "com.docker.network.bridge.enable_icc"


def none(name: str) -> Network:
    raise NotFound(f"network {name} not found")


def made(**fields: object) -> Network:
    return draft(NetworkCreate(name="mine", **fields), none)  # type: ignore[arg-type]


def subnets(*configs: IPAMConfig, **fields: object) -> Network:
    return made(ipam=IPAM(config=list(configs)), **fields)


def test_a_name_is_enough() -> None:
    assert made() == Network(id="", name="mine", driver="bridge", created_ns=0)


def test_options_of_the_address_management_are_shown_as_they_came() -> None:
    assert made(ipam=IPAM(options={})).ipam_options == {}
    assert made(ipam=IPAM()).ipam_options is None


def test_everything_asked_for_is_kept() -> None:
    config = IPAMConfig(
        subnet="10.9.0.0/16", gateway="10.9.0.254", ip_range="10.9.5.0/24",
        auxiliary_addresses={"router": "10.9.5.1"},
    )  # fmt: skip
    network = subnets(
        config, IPAMConfig(subnet="FD00:9:0::/64"),
        enable_ipv6=True, internal=True, attachable=True, labels={"a": "b"}, options={ICC: "false"},
    )  # fmt: skip
    assert network == Network(
        id="", name="mine", driver="bridge", created_ns=0, ipv6=True, internal=True,
        attachable=True, labels={"a": "b"}, options={ICC: "false"},
        pools=(
            Pool(
                subnet="10.9.0.0/16", gateway="10.9.0.254", ip_range="10.9.5.0/24",
                aux={"router": "10.9.5.1"}, asked=True,
            ),
            Pool(subnet="fd00:9::/64", asked=True, gateway_shown=False),
        ),
    )  # fmt: skip


def test_subnets_of_a_family_that_is_off_are_left_out() -> None:
    both = (IPAMConfig(subnet="10.9.0.0/16"), IPAMConfig(subnet="fd00:9::/64"))
    assert [pool.subnet for pool in subnets(*both).pools] == ["10.9.0.0/16"]
    only6 = subnets(*both, enable_ipv4=False, enable_ipv6=True)
    assert [pool.subnet for pool in only6.pools] == ["fd00:9::/64"]


@pytest.mark.parametrize("name", ["a", "_a", "0", "A.b-c_d", "a b", "a" * 128])
def test_names(name: str) -> None:
    assert draft(NetworkCreate(name=name), none).name == name


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [
        ("", InvalidParameter, "invalid name: name is empty"),
        ("  ", InvalidParameter, "invalid name: name is empty"),
        ("..", InvalidParameter, "invalid network name '..'"),
        ("../x", InvalidParameter, "invalid network name"),
        ("a/b", InvalidParameter, "invalid network name"),
        ("a\0b", InvalidParameter, "invalid network name 'a\\x00b'"),
        ("a\n", InvalidParameter, "invalid network name"),
        ("a ", InvalidParameter, "spaces only inside"),
        (" a", InvalidParameter, "invalid network name"),
        ("аpple", InvalidParameter, "invalid network name"),  # noqa: RUF001 - a Cyrillic letter
        ("é", InvalidParameter, "invalid network name"),
        ("a" * 129, InvalidParameter, "at most 128 letters"),
        ("bridge", Forbidden, "operation is not permitted on predefined bridge network"),
        ("host", Forbidden, "operation is not permitted on predefined host network"),
        ("none", Forbidden, "predefined none network"),
        ("default", Forbidden, "predefined default network"),
    ],
)
def test_names_that_cannot_be(name: str, error: type[NaruError], text: str) -> None:
    with pytest.raises(error) as caught:
        draft(NetworkCreate(name=name), none)
    assert text in caught.value.message


@pytest.mark.parametrize(
    ("fields", "error", "text"),
    [
        ({"ingress": True}, Forbidden, "Ingress"),
        ({"scope": "swarm"}, Forbidden, "swarm is not active"),
        ({"scope": "global"}, InvalidParameter, "invalid scope 'global'"),
        ({"driver": "overlay"}, Forbidden, "This node is not a swarm manager"),
        ({"driver": "host"}, Forbidden, 'only one instance of "host" network is allowed'),
        ({"driver": "null"}, Forbidden, 'only one instance of "null" network is allowed'),
        ({"driver": "weave"}, NotFound, 'plugin "weave" not found'),
        ({"enable_ipv4": False}, InvalidParameter, "IPv4 or IPv6 must be enabled"),
        ({"ipam": IPAM(driver="dhcp")}, NotFound, 'plugin "dhcp" not found'),
        ({"ipam": IPAM(options={"x": "y"})}, Unsupported, "option 'x' of the default IPAM driver"),
        ({"options": {"x": "y"}}, Unsupported, "network option 'x'"),
        (
            {"config_only": True, "config_from": ConfigReference(network="c")},
            Forbidden,
            "cannot depend on another configuration network",
        ),
    ],
)
def test_wishes_that_cannot_be_met(
    fields: dict[str, object], error: type[NaruError], text: str
) -> None:
    with pytest.raises(error) as caught:
        made(**fields)
    assert text in caught.value.message


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"subnet": ""}, "invalid subnet : invalid CIDR block notation"),
        ({"subnet": "10.9.0.0"}, "invalid subnet 10.9.0.0: invalid CIDR block notation"),
        ({"subnet": "10.9.0.0/33"}, "invalid CIDR block notation"),
        ({"subnet": "10.9.0.0/x"}, "invalid CIDR block notation"),
        ({"subnet": "300.9.0.0/16"}, "invalid CIDR block notation"),
        ({"subnet": "10.9.0.1/16"}, "invalid subnet 10.9.0.1/16: it should be 10.9.0.0/16"),
        ({"subnet": "fd00:9::1/64"}, "it should be fd00:9::/64"),
        ({"subnet": "0.0.0.0/0"}, "addresses that no host can have"),
        ({"subnet": "::/0"}, "addresses that no host can have"),
        ({"subnet": "127.5.0.0/16"}, "addresses that no host can have"),
        ({"subnet": "224.0.0.0/24"}, "addresses that no host can have"),
        ({"subnet": "255.255.255.0/24"}, "addresses that no host can have"),
        ({"subnet": "ff02::/64"}, "addresses that no host can have"),
        ({"subnet": "10.9.0.0/31"}, "no room for a gateway and a container"),
        ({"subnet": "10.9.0.0/32"}, "no room for a gateway and a container"),
        ({"subnet": "fd00:9::/127"}, "no room for a gateway and a container"),
        ({"gateway": "x"}, "invalid gateway x: invalid address"),
        ({"gateway": "10.8.0.1"}, "parent subnet 10.9.0.0/16 doesn't contain this address"),
        ({"gateway": "fd00::1"}, "doesn't contain this address"),
        ({"gateway": "10.9.0.0"}, "it is no host's address in 10.9.0.0/16"),
        ({"gateway": "10.9.255.255"}, "it is no host's address in 10.9.0.0/16"),
        ({"ip_range": "x"}, "invalid ip-range x: invalid CIDR block notation"),
        ({"ip_range": "10.9.5.1/24"}, "invalid ip-range 10.9.5.1/24: it should be 10.9.5.0/24"),
        ({"ip_range": "10.8.0.0/24"}, "parent subnet 10.9.0.0/16 doesn't contain ip-range"),
        ({"ip_range": "10.0.0.0/8"}, "doesn't contain ip-range"),
        ({"ip_range": "fd00::/64"}, "doesn't contain ip-range"),
        (
            {"auxiliary_addresses": {"r": "10.8.0.1"}},
            "invalid auxiliary address r: parent subnet 10.9.0.0/16 doesn't contain this address",
        ),
        ({"auxiliary_addresses": {"r": "y"}}, "invalid auxiliary address r: invalid address"),
    ],
)
def test_addresses_that_cannot_be(config: dict[str, object], text: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        subnets(IPAMConfig(**({"subnet": "10.9.0.0/16"} | config)))  # type: ignore[arg-type]
    assert caught.value.message.startswith("invalid network config:\n")
    assert text in caught.value.message


@pytest.mark.parametrize("aux", [{"r": "10.9.0.5"}, {"r": "10.9.0.6", "s": "10.9.0.6"}])
def test_an_address_is_kept_for_one_thing_only(aux: dict[str, str]) -> None:
    config = IPAMConfig(subnet="10.9.0.0/16", gateway="10.9.0.5", auxiliary_addresses=aux)
    with pytest.raises(
        Forbidden, match=r"secondary ip address \([rs]:10\.9\.0\.[56]\): Address al"
    ):
        subnets(config)


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(InvalidParameter) as caught:
        subnets(IPAMConfig(subnet="x"), IPAMConfig(subnet="10.9.0.0/16", gateway="y"))
    assert len(caught.value.message.splitlines()) == 3


def test_subnets_of_one_network_do_not_overlap() -> None:
    with pytest.raises(
        InvalidParameter, match=r"subnets 10\.9\.0\.0/16 and 10\.9\.1\.0/24 overlap"
    ):
        subnets(IPAMConfig(subnet="10.9.0.0/16"), IPAMConfig(subnet="10.9.1.0/24"))
    with pytest.raises(Forbidden, match="multiple subnets of one address family"):
        subnets(IPAMConfig(subnet="10.9.0.0/16"), IPAMConfig(subnet="10.8.0.0/24"))


CONFIGURATION = draft(
    NetworkCreate(
        name="conf", config_only=True, options={ICC: "false"}, labels={"a": "b"},
        ipam=IPAM(config=[IPAMConfig(subnet="10.9.0.0/16")]),
    ),
    none,
)  # fmt: skip


def known(name: str) -> Network:
    if name != "conf":
        raise NotFound(f"network {name} not found")
    return CONFIGURATION


def from_conf(**fields: object) -> Network:
    reference = ConfigReference(network="conf")
    return draft(NetworkCreate(name="mine", config_from=reference, **fields), known)  # type: ignore[arg-type]


def test_a_configuration_is_of_no_driver() -> None:
    assert (CONFIGURATION.driver, CONFIGURATION.config_only) == ("null", True)


def test_a_network_takes_its_configuration() -> None:
    network = from_conf(attachable=True)
    assert (network.name, network.driver, network.config_from) == ("mine", "bridge", "conf")
    assert network.pools == CONFIGURATION.pools
    assert network.options == {ICC: "false"}
    assert network.attachable
    assert not network.config_only


@pytest.mark.parametrize(
    "fields",
    [
        {"options": {ICC: "true"}},
        {"labels": {"x": "y"}},
        {"internal": True},
        {"enable_ipv6": True},
        {"ipam": IPAM(config=[IPAMConfig(subnet="10.8.0.0/16")])},
    ],
)
def test_it_may_have_none_of_its_own(fields: dict[str, object]) -> None:
    with pytest.raises(Forbidden, match="takes its configuration from conf"):
        from_conf(**fields)


def test_the_options_must_suit_the_driver() -> None:
    with pytest.raises(Unsupported, match="not supported by the macvlan driver"):
        from_conf(driver="macvlan")


def test_a_missing_configuration_and_what_is_none() -> None:
    with pytest.raises(NotFound, match='configuration network "gone" does not exist'):
        draft(NetworkCreate(name="mine", config_from=ConfigReference(network="gone")), known)
    plain = Network(id="1", name="conf", driver="bridge", created_ns=0)
    with pytest.raises(NotFound, match="does not exist: conf was not made with --config-only"):
        draft(
            NetworkCreate(name="mine", config_from=ConfigReference(network="conf")), lambda _: plain
        )
