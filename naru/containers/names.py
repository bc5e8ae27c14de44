"""Names for containers that nobody named: a mood and a place on the water. Pure."""

import random
from collections.abc import Callable

_MOODS = (
    "amber", "bold", "brave", "bright", "brisk", "calm", "clear", "clever", "crisp", "deft",
    "eager", "early", "fair", "fleet", "fond", "fresh", "gentle", "glad", "golden", "grand",
    "hale", "happy", "hardy", "honest", "jolly", "keen", "kind", "lively", "lucid", "lucky",
    "mellow", "merry", "mild", "misty", "modest", "neat", "nimble", "noble", "patient", "plucky",
    "polite", "proud", "quick", "quiet", "ready", "rosy", "serene", "silver", "sleek", "smooth",
    "snug", "sober", "solid", "spry", "steady", "still", "sturdy", "sunny", "swift", "tender",
    "tidy", "trusty", "upbeat", "vivid", "warm", "wise", "witty", "young", "zesty",
)  # fmt: skip
_PLACES = (
    "anchor", "bank", "barge", "bay", "beacon", "boat", "bridge", "brook", "buoy", "canal",
    "cape", "coast", "coral", "cove", "creek", "current", "deck", "delta", "dock", "estuary",
    "ferry", "fjord", "ford", "gull", "harbor", "haven", "heron", "inlet", "island", "isle",
    "jetty", "junk", "keel", "lagoon", "lake", "landing", "lantern", "lock", "marina", "marsh",
    "mast", "moor", "naru", "oar", "otter", "paddle", "pearl", "pier", "pilot", "port",
    "punt", "quay", "raft", "reed", "reef", "river", "rudder", "sail", "sampan", "shoal",
    "shore", "skiff", "sound", "strait", "stream", "tide", "wake", "wharf", "willow",
)  # fmt: skip


def random_name(taken: Callable[[str], bool], rng: random.Random) -> str:
    """`mood_place`, with a number behind it once that is taken."""
    for attempt in range(10_000):
        name = f"{rng.choice(_MOODS)}_{rng.choice(_PLACES)}"
        if attempt >= 3:
            name += str(rng.randrange(10 ** min(1 + attempt // 10, 9)))
        if not taken(name):
            return name
    raise RuntimeError("no free name in 10,000 attempts")
