"""What an event says about a container: its labels, its image and its name. Pure."""

from naru.containers.model import Container


def of_event(container: Container, **more: str) -> dict[str, str]:
    """Attributes of an event; `more` are the action's own (`exitCode`, `signal`, …)."""
    return {
        **(container.config.labels or {}),
        "image": container.config.image,
        "name": container.name,
        **more,
    }
