"""Who is linked by whom, as records come, change and go."""

from msgspec.structs import replace

from naru.containers.link_index import LinkIndex, links_of
from naru.containers.model import Container, Linked
from naru.spec.engine.container_config import ContainerConfig, HostConfig

DB = Linked(id="db", name="db")


def container(identifier: str, **links: Linked) -> Container:
    return Container(
        id=identifier,
        name=identifier,
        created_ns=1,
        image_id="sha256:0",
        config=ContainerConfig(),
        host_config=HostConfig(),
        path="true",
        args=(),
        links=links,
    )


def test_a_linked_one_knows_who_links_to_it() -> None:
    index, web = LinkIndex(), container("web", a=DB, b=DB)
    assert index.changed(None, web) == {"db"}
    assert index.changed(None, container("app", db=DB)) == {"db"}
    assert index.of("db") == {"web", "app"}
    assert index.changed(web, None) == {"db"}
    assert index.of("db") == {"app"}
    assert index.of("web") == set()
    assert index.changed(container("app", db=DB), None) == {"db"}
    assert index.of("db") == set()


def test_only_names_and_links_are_of_interest() -> None:
    index, web = LinkIndex(), container("web", a=DB)
    index.changed(None, web)
    assert index.changed(web, replace(web, restart_count=3)) == set()
    assert index.changed(web, renamed := replace(web, name="other")) == {"db"}
    assert index.of("db") == {"web"}
    moved = replace(renamed, links={"a": Linked(id="new", name="new")})
    assert index.changed(renamed, moved) == {"db", "new"}
    assert (index.of("db"), index.of("new")) == (set(), {"web"})
    assert index.changed(None, container("alone")) == set()


def test_records_from_before_have_names_only() -> None:
    old = replace(container("web"), host_config=HostConfig(links=["db:a", "/cache:/web/c"]))
    assert links_of(old) == {"a": Linked(name="db"), "c": Linked(name="cache")}
    assert links_of(container("web", a=DB)) == {"a": DB}
