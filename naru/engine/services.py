"""What the API's handlers work with: one value, made by `wiring`."""

from dataclasses import dataclass

from naru.engine.config import Config
from naru.engine.events import EventBus


@dataclass(slots=True, kw_only=True)
class Services:
    config: Config
    events: EventBus
