"""Eight clients at once on two engines side by side, one of which is killed again and again.

`NARU_STORM_SEED` repeats a storm (as far as threads can be repeated), `NARU_STORM_S` prolongs it.
"""

import contextlib
import json
import os
import random
import subprocess
import threading
import time

import pytest
from engine_lab import ApiError, EngineLab, engine_lab, until
from storm import Client, Owned, Place

from naru.network.plan import engine_key, table_name

pytestmark = pytest.mark.root

CLIENTS = 8
KILLS = 4
DURATION_S = float(os.environ.get("NARU_STORM_S", "14"))


def test_storm() -> None:
    seed = int(os.environ.get("NARU_STORM_SEED", "0")) or random.SystemRandom().randrange(1 << 32)
    with engine_lab(26) as first, engine_lab(27) as second:
        places = [Place(first, mortal=True), Place(second)]
        for place in places:
            place.lab.start()
            place.lab.make_busybox()
        try:
            clients = weather(places, random.Random(seed))
            for place in places:
                check(place, clients)
            for place in places:
                calm(place.lab)
        except AssertionError as error:
            logs = [place.lab.log.read_text()[-3000:] for place in places]
            raise AssertionError(
                f"NARU_STORM_SEED={seed}: {error}\n\n" + "\n\n".join(logs)
            ) from error


def weather(places: list[Place], rng: random.Random) -> list[Client]:
    """The storm itself; what nobody should have been answered is an error."""
    shared: list[Owned] = []
    clients = [Client(number, rng.randrange(1 << 32), places, shared) for number in range(CLIENTS)]
    end = time.monotonic() + DURATION_S
    threads = [threading.Thread(target=client.act_until, args=(end,)) for client in clients]
    for thread in threads:
        thread.start()
    killer = threading.Event()
    for _ in range(KILLS):
        killer.wait(rng.uniform(0.5, 1.5) * DURATION_S / (KILLS + 1))
        for place in places:
            if place.mortal:
                place.up.clear()
                place.lab.kill()
                place.lab.start()
                place.up.set()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "a client is stuck"
    troubles = [text for client in clients for text in client.troubles]
    assert not troubles, "\n".join(troubles[:20])
    assert all(client.acts > 5 for client in clients), [client.acts for client in clients]
    return clients


def check(place: Place, clients: list[Client]) -> None:
    """What clients were told is so, nothing is unknown, and nothing went wrong inside."""
    lab = place.lab
    listed = lab.json("GET", "/containers/json?all=1")
    there = {item["Names"][0].removeprefix("/"): item["Id"] for item in listed}
    for client in clients:
        for owned in (item for item in client.owned if item.place is place):
            assert owned.may_be_gone or owned.names & there.keys(), f"{owned.names} is gone"
        for owned in (item for item in client.gone if item.place is place and not item.names):
            assert owned.identifier not in there.values(), f"{owned.identifier} was removed"
    tags = {tag for item in lab.json("GET", "/images/json") for tag in item["RepoTags"] or ()}
    for client in clients:
        for image_place, name in client.images:
            assert image_place is not place or name in tags, f"image {name} is gone"
    for identifier in there.values():
        with contextlib.suppress(ApiError):  # one with --rm
            state = lab.inspect(identifier)["State"]
            assert "unknown" not in state["Error"], state
            assert state["Status"] not in ("dead", "removing"), state
    text = lab.log.read_text()
    assert "Traceback" not in text, text[text.index("Traceback") - 300 :][:3000]


def calm(lab: EngineLab) -> None:
    """Everything is removed, at the first try, and leaves nothing."""
    for item in lab.json("GET", "/containers/json?all=1"):
        try:
            lab.call("DELETE", f"/containers/{item['Id']}?force=1&v=1")
        except ApiError as error:
            assert error.status in (404, 409), error  # it removes itself
    until(lambda: not lab.json("GET", "/containers/json?all=1"), "no container is left")
    for item in lab.json("GET", "/images/json"):
        for tag in item["RepoTags"] or ():
            if tag.startswith("storm:"):
                lab.call("DELETE", f"/images/{tag}?force=1")
    try:
        until(lambda: not left(lab), "nothing is left", 10)
    except AssertionError as error:
        raise AssertionError(f"left: {left(lab)}") from error
    assert lab.stop() == 0
    text = lab.log.read_text()
    assert "Traceback" not in text, text[text.index("Traceback") - 300 :][:3000]


def left(lab: EngineLab) -> list[str]:
    """Whatever is there with no container: also in the firewall, and files of moments."""
    found = lab.leftovers()
    found += [f"volume {item['Name']}" for item in lab.json("GET", "/volumes")["Volumes"] or ()]
    found += [f"exec root {path.name}" for path in lab.exec_root.glob("*-*") if path.is_socket()]
    found += [f"spill {path.name}" for path in (lab.data_root / "spill").iterdir()]
    table = table_name(engine_key(str(lab.data_root)))
    words = ("nft", "-j", "list", "table", "inet", table)
    listed = subprocess.run(words, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        for item in json.loads(listed.stdout)["nftables"]:
            found += [f"element {one}" for one in item.get("map", {}).get("elem", ())]
    return found
