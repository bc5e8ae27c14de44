"""What removing an image name or id does: the references to drop and the conflicts. Pure.

Removing a *name* drops that name, and the image with it when it was the last one. Removing an *id*
drops every name when they are all in one repository; otherwise it must be forced. A conflict is
*hard* (child images, a running container) or *soft* (several names, a stopped container): force
overcomes the soft ones only.

Spec: Engine API 1.51, ImageDelete; the texts are Docker's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Flag

from naru.base.errors import Conflict
from naru.base.ids import short
from naru.images.model import ImageUse
from naru.spec.oci.reference import Reference


class Check(Flag):
    CHILD = 1
    RUNNING = 2
    REFERENCES = 4
    STOPPED = 8


HARD = Check.CHILD | Check.RUNNING
SOFT = Check.REFERENCES | Check.STOPPED


@dataclass(frozen=True, slots=True)
class Situation:
    """What stands around an image at the moment of the request."""

    image_id: str
    references: Sequence[Reference]
    has_children: bool
    users: Sequence[ImageUse]


@dataclass(frozen=True, slots=True)
class Obstacle:
    image_id: str
    hard: bool
    used: bool
    message: str

    def error(self) -> Conflict:
        force = "cannot be forced" if self.hard else "must be forced"
        return Conflict(
            f"conflict: unable to delete {short(self.image_id)} ({force}) - {self.message}"
        )


def obstacle(situation: Situation, checks: Check) -> Obstacle | None:
    """The first of `checks` that stands in the way of deleting the image."""
    image_id = situation.image_id
    if Check.CHILD in checks and situation.has_children:
        return Obstacle(image_id, True, False, "image has dependent child images")
    running = next((u for u in situation.users if u.running), None)
    if Check.RUNNING in checks and running is not None:
        text = f"image is being used by running container {short(running.container_id)}"
        return Obstacle(image_id, True, True, text)
    if Check.REFERENCES in checks and len(situation.references) > 1:
        return Obstacle(image_id, False, False, "image is referenced in multiple repositories")
    stopped = next((u for u in situation.users if not u.running), None)
    if Check.STOPPED in checks and stopped is not None:
        text = f"image is being used by stopped container {short(stopped.container_id)}"
        return Obstacle(image_id, False, True, text)
    return None


def is_single_reference(references: Sequence[Reference]) -> bool:
    """Whether all names belong together: at most one tag, digests of its repository only."""
    if len(references) <= 1:
        return True
    tags = [ref for ref in references if ref.digest is None]
    repositories = {(ref.domain, ref.path) for ref in references if ref.digest is not None}
    if len(tags) > 1:
        return False
    single = tags[0] if tags else references[0]
    return repositories == {(single.domain, single.path)}


def refuse_last_name(situation: Situation, text: str) -> None:
    """Raises: Conflict, when dropping the name `text` would leave a container's image nameless."""
    if is_single_reference(situation.references) and situation.users:
        user = situation.users[0]
        raise Conflict(
            f'conflict: unable to remove repository reference "{text}" (must force) - container '
            f"{short(user.container_id)} is using its referenced image "
            f"{short(situation.image_id)}"
        )


def names_to_drop(references: Sequence[Reference], dropped: Reference) -> list[Reference]:
    """`dropped`, and the digests of its repository when no tag of that repository is left."""
    if dropped.digest is not None:
        return [dropped]
    same = [r for r in references if (r.domain, r.path) == (dropped.domain, dropped.path)]
    if any(ref.digest is None and ref.tag != dropped.tag for ref in same):
        return [dropped]
    return [dropped, *(ref for ref in same if ref.digest is not None)]
