"""Names of members in any case, as Go's decoder takes them."""

import pytest

from naru.base.errors import InvalidParameter
from naru.engine.api.decode import decode_json
from naru.spec.engine.container_config import CreateRequest, HostConfig


def decode(text: str) -> CreateRequest:
    return decode_json(text.encode(), CreateRequest)


def test_names_in_any_case() -> None:
    request = decode(
        '{"image": "x", "HOSTCONFIG": {"CPURealtimePeriod": 1000, "mounts": [{"target": "/a"}]}}'
    )
    assert request.image == "x"
    assert request.host_config is not None
    assert request.host_config.cpu_realtime_period == 1000
    assert isinstance(request.host_config.mounts, list)
    assert request.host_config.mounts[0].target == "/a"


def test_the_exact_name_wins() -> None:
    assert decode('{"image": "a", "Image": "b", "IMAGE": "c"}').image == "b"


def test_names_of_maps_are_data() -> None:
    request = decode('{"Labels": {"image": "1", "Image": "2"}, "ExposedPorts": {"80/TCP": {}}}')
    assert request.labels == {"image": "1", "Image": "2"}
    assert request.exposed_ports == {"80/TCP": {}}


def test_values_of_maps_are_structs() -> None:
    request = decode('{"HostConfig": {"portBindings": {"80/tcp": [{"hostport": "81"}]}}}')
    assert isinstance(request.host_config, HostConfig)
    bindings = request.host_config.port_bindings
    assert bindings is not None and bindings["80/tcp"] is not None
    assert bindings["80/tcp"][0].host_port == "81"


def test_nulls_and_wrong_types_under_other_names() -> None:
    assert decode('{"hostconfig": null, "TTY": null}').tty is False
    with pytest.raises(InvalidParameter, match=r"\$\.Tty"):
        decode('{"tty": "yes"}')
    with pytest.raises(InvalidParameter, match="invalid JSON"):
        decode("[1]")
