"""Conflicts and names of an image's removal."""

import pytest

from naru.base.errors import Conflict
from naru.images.model import ImageUse
from naru.images.remove import (
    HARD,
    SOFT,
    Situation,
    is_single_reference,
    names_to_drop,
    obstacle,
    refuse_last_name,
)
from naru.spec.oci.reference import Reference, parse_reference

IMAGE = "sha256:" + "ab" * 32
DIGEST = "sha256:" + "cd" * 32
RUNNING = ImageUse("1" * 64, True)
STOPPED = ImageUse("2" * 64, False)


def refs(*texts: str) -> list[Reference]:
    return [parse_reference(text) for text in texts]


def situation(*names: str, children: bool = False, users: tuple[ImageUse, ...] = ()) -> Situation:
    return Situation(IMAGE, refs(*names), children, users)


@pytest.mark.parametrize(
    ("around", "text"),
    [
        (situation("a:1", children=True), "(cannot be forced) - image has dependent child images"),
        (
            situation("a:1", users=(STOPPED, RUNNING)),
            "(cannot be forced) - image is being used by running container 111111111111",
        ),
        (
            situation("a:1", "b:1"),
            "(must be forced) - image is referenced in multiple repositories",
        ),
        (
            situation("a:1", users=(STOPPED,)),
            "(must be forced) - image is being used by stopped container 222222222222",
        ),
    ],
)
def test_obstacle_has_dockers_text(around: Situation, text: str) -> None:
    found = obstacle(around, HARD | SOFT)
    assert found is not None
    assert found.error().message == f"conflict: unable to delete abababababab {text}"


def test_force_overcomes_soft_obstacles_only() -> None:
    assert obstacle(situation("a:1", "b:1", users=(STOPPED,)), HARD) is None
    assert obstacle(situation("a:1", users=(RUNNING,)), HARD) is not None


def test_last_name_of_a_used_image_is_kept() -> None:
    with pytest.raises(Conflict) as caught:
        refuse_last_name(situation("a:1", users=(STOPPED,)), "a:1")
    assert caught.value.message == (
        'conflict: unable to remove repository reference "a:1" (must force) - container '
        "222222222222 is using its referenced image abababababab"
    )
    refuse_last_name(situation("a:1", "a:2", users=(STOPPED,)), "a:1")
    refuse_last_name(situation("a:1"), "a:1")


@pytest.mark.parametrize(
    ("names", "single"),
    [
        ((), True),
        (("a:1",), True),
        (("a:1", "a:2"), False),
        (("a:1", f"a@{DIGEST}"), True),
        (("a:1", f"b@{DIGEST}"), False),
        ((f"a@{DIGEST}",), True),
    ],
)
def test_single_reference(names: tuple[str, ...], single: bool) -> None:
    assert is_single_reference(refs(*names)) is single


def test_digests_go_with_the_last_tag_of_their_repository() -> None:
    known = refs("a:1", "a:2", f"a@{DIGEST}", f"b@{DIGEST}")
    assert names_to_drop(known, known[0]) == [known[0]]
    known = refs("a:1", f"a@{DIGEST}", f"b@{DIGEST}")
    assert names_to_drop(known, known[0]) == known[:2]
    assert names_to_drop(known, known[2]) == [known[2]]
