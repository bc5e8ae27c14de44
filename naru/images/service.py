"""Images as the API and the containers see them: one method per thing that can be asked.

Who uses an image is known to the containers alone: `bind_users` tells this service how to ask.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractContextManager
from typing import Any

from naru.base.clock import now_ns, parse_timestamp
from naru.base.errors import InvalidParameter, NaruError, NotFound
from naru.base.filters import Filters, parse_bool
from naru.images import save as saving
from naru.images.create import CommitRequest, Creator
from naru.images.inspect import history_of, inspect_image, summarize
from naru.images.layers import LayerStore
from naru.images.listing import labels_wanted, select
from naru.images.load import Loader, Message
from naru.images.model import Emit, Image, ImageUse, UsersOf
from naru.images.remove import (
    HARD,
    SOFT,
    Check,
    Situation,
    is_single_reference,
    names_to_drop,
    obstacle,
    refuse_last_name,
)
from naru.images.resolve import is_id_prefix, is_whole_id, no_such_image, parse_short, resolve
from naru.images.store import ImageStore
from naru.images.usage import LayerUsage, layer_usage, shared_bytes
from naru.spec.oci.image import Platform
from naru.spec.oci.reference import Reference, check_name, is_tag, parse_reference
from naru.storage.content import Content
from naru.storage.metadata import Database
from naru.storage.snapshots import Snapshots

Removed = list[dict[str, str]]
Answers = list[dict[str, Any]]
Named = tuple[Image, list[Reference]]


def _nobody(image_id: str) -> Sequence[ImageUse]:
    return ()


class ImageService:
    """The images of one engine."""

    def __init__(self, db: Database, content: Content, snapshots: Snapshots, emit: Emit) -> None:
        self._store = ImageStore(db, snapshots)
        self._layers = LayerStore(self._store, snapshots)
        self._snapshots = snapshots
        self._emit = emit
        self._users_of: UsersOf = _nobody
        self._lock = asyncio.Lock()
        self._loader = Loader(self._store, self._layers, content.ingest_dir, emit)
        self._creator = Creator(self._store, self._layers, emit)

    def bind_users(self, users_of: UsersOf) -> None:
        """Ask `users_of` from now on which containers use an image."""
        self._users_of = users_of

    async def collect_garbage(self, container_ids: Collection[str]) -> None:
        """Remove every layer and snapshot that no record names: what a crash left.

        Call once at the start, before any other change.
        """
        tops = [image.top_chain for image in self._store.images()]
        keys = self._snapshots.keys()
        for key in keys:
            if key in container_ids:
                tops.append(self._snapshots.parent(key))
        await self._snapshots.retain([top for top in tops if top is not None], container_ids)

    def hold(self, image: Image) -> AbstractContextManager[None]:
        """Keep the image's layers while the block runs, though the image be removed meanwhile."""
        return self._layers.pinned(image.chain)

    # -- looking

    def resolve(self, name: str) -> Image:
        """The image that `name` means: reference, id, or the beginning of an id.

        Raises: NotFound (`No such image: x:latest`), InvalidParameter.
        """
        return resolve(self._store, name)

    def list(
        self, filters: Filters, *, everything: bool = False, shared_size: bool = False
    ) -> Answers:
        """The summaries of `GET /images/json`. Raises: InvalidParameter, NotFound."""
        chosen = select(
            self._store.images(),
            filters,
            everything=everything,
            parents={image.parent for image in self._store.images() if image.parent},
            resolve=self.resolve,
            now_ns=now_ns(),
        )
        shared = shared_bytes(self._store) if shared_size else {}
        return [
            summarize(image, len(self._users_of(image.id)), shared.get(image.id, -1))
            for image in chosen
        ]

    def inspect(self, name: str) -> dict[str, Any]:
        """The answer of `GET /images/{name}/json`. Raises: NotFound."""
        image = self.resolve(name)
        return inspect_image(image, self._snapshots.graph_driver(image.top_chain))

    def history(self, name: str) -> Answers:
        """The answer of `GET /images/{name}/history`. Raises: NotFound."""

        def layer_size(chain: str) -> int:
            return self._store.layer(chain).size_bytes

        return history_of(self.resolve(name), layer_size, self._store.get)

    def usage(self) -> LayerUsage:
        """Sizes for `system df`: of all layers, and what each image has alone and shared."""
        return layer_usage(self._store)

    # -- names

    async def tag(self, name: str, repository: str, tag: str) -> None:
        """Give the image another name. Raises: NotFound, InvalidParameter."""
        ref = join_reference(repository, tag)
        async with self._lock:
            image = self.resolve(name)
            await self._store.tag(ref, image.id, now_ns())
        self._tell("tag", image.id, ref.familiar)

    async def remove(self, name: str, *, force: bool = False, prune: bool = True) -> Removed:
        """Drop a name, or the image when it was its last one; `prune` takes untagged parents too.

        Returns what was done, `{"Untagged": …}` and `{"Deleted": …}` in order.
        Raises: NotFound, Conflict (see `naru.images.remove`).
        """
        async with self._lock:
            return await self._remove(name, force, prune)

    async def _remove(self, name: str, force: bool, prune: bool) -> Removed:
        image = self.resolve(name)
        done: Removed = []
        quiet = False
        if not is_id_prefix(image.id, name):
            ref = parse_short(name)
            if ref is None:
                raise no_such_image(name)
            if not force:
                refuse_last_name(self._situation(image.id), name)
            dropped = ref.with_default_tag()
            await self._untag(image.id, names_to_drop(image.references, dropped), done)
            if self._store.references(image.id):
                return done
            quiet = True
        elif is_single_reference(image.references):
            checks = HARD if force else HARD | (SOFT & ~Check.REFERENCES)
            if (found := obstacle(self._situation(image.id), checks)) is not None:
                raise found.error()
            await self._untag(image.id, image.references, done)
        await self._delete(image.id, force, prune, quiet, done)
        return done

    def _situation(self, image_id: str) -> Situation:
        return Situation(
            image_id=image_id,
            references=self._store.references(image_id),
            has_children=bool(self._store.children(image_id)),
            users=self._users_of(image_id),
        )

    async def _untag(self, image_id: str, refs: Sequence[Reference], done: Removed) -> None:
        if not refs:
            return
        await self._store.untag(refs)
        for ref in refs:
            done.append({"Untagged": ref.familiar})
            self._tell("untag", image_id, image_id)

    async def _delete(
        self, image_id: str, force: bool, prune: bool, quiet: bool, done: Removed
    ) -> None:
        while True:
            around = self._situation(image_id)
            found = obstacle(around, HARD if force else HARD | SOFT)
            if found is not None:
                if quiet and (found.used or around.references or around.has_children):
                    return
                raise found.error()
            image = self._store.get(image_id)
            if image is None:
                return
            await self._store.remove(image_id)
            for ref in around.references:
                done.append({"Untagged": ref.familiar})
                self._emit("image", "untag", image_id, {"name": image_id})
            self._emit("image", "delete", image_id, {"name": image_id})
            done.append({"Deleted": image_id})
            done.extend({"Deleted": layer.chain_id} for layer in await self._layers.sweep())
            if not prune or not image.parent or not self._store.has(image.parent):
                return
            image_id, force, quiet = image.parent, False, True
            if self._store.references(image_id) or self._store.children(image_id):
                return

    async def prune(self, filters: Filters) -> tuple[Removed, int]:
        """Remove dangling images (`dangling=false`: all unused); what was done, bytes freed."""
        dangling_only = parse_bool(filters, "dangling") is not False
        now = now_ns()
        limits = [parse_timestamp(text, now) for text in filters.get("until", ())]
        sizes = {c: layer.size_bytes for c, layer in self._store.layers().items()}
        done: Removed = []
        for image in self._store.images():
            if any(image.created_ns > limit for limit in limits):
                continue
            if not labels_wanted(filters, image) or not self._store.has(image.id):
                continue
            done += await self._prune_one(image, dangling_only)
        freed = sum(sizes.get(entry.get("Deleted", ""), 0) for entry in done)
        self._emit("image", "prune", "", {"reclaimed": str(freed)})
        return done, freed

    async def _prune_one(self, image: Image, dangling_only: bool) -> Removed:
        names = [ref.familiar for ref in image.references]
        if not names:
            if self._store.children(image.id):
                return []
            names = [image.id]
        elif dangling_only and image.repo_tags:
            return []
        done: Removed = []
        for name in names:
            try:
                done += await self.remove(name)
            except NaruError:
                continue  # in use: prune leaves it
        return done

    # -- whole images

    async def load(
        self,
        stream: AsyncIterator[bytes],
        *,
        quiet: bool = False,
        platform: Platform | None = None,
    ) -> AsyncIterator[Message]:
        """Load an archive's images, yielding Docker's messages. Raises: InvalidParameter."""
        async for message in self._loader.load(stream, quiet, platform):
            yield message

    def save(
        self, names: Sequence[str], *, platform: Platform | None = None
    ) -> AsyncIterator[bytes]:
        """The archive of the named images, in pieces. Raises at once: NotFound.

        A repository alone means all its tags; an id is saved without a name.
        """
        chosen: dict[str, Named] = {}
        for name in names:
            for image, refs in self._named(name):
                _, known = chosen.setdefault(image.id, (image, []))
                known.extend(ref for ref in refs if ref not in known)
                if platform is not None and not _is_for(image, platform):
                    raise NotFound(
                        f"image {name} is for {image.config.os}/{image.config.architecture}, not "
                        f"for {platform.os}/{platform.architecture}"
                    )
        images = [saving.SavedImage(image, tuple(refs)) for image, refs in chosen.values()]
        return self._save(images)

    def _named(self, name: str) -> Sequence[Named]:
        ref = None if is_whole_id(name) else parse_short(name)
        if ref is not None and ref.tag is None and ref.digest is None:
            tagged = [
                (image, [r for r in image.references if r.name == ref.name and r.tag])
                for image in self._store.images()
            ]
            found = [(image, refs) for image, refs in tagged if refs]
            if found:
                return found
            ref = None
        try:
            image = self.resolve(name)
        except NotFound as error:
            raise no_such_image(name) from error
        by_id = ref is None or is_id_prefix(image.id, name)
        return [(image, [] if by_id or ref is None or ref.tag is None else [ref])]

    async def _save(self, images: Sequence[saving.SavedImage]) -> AsyncIterator[bytes]:
        chains = [chain for saved in images for chain in saved.image.chain]
        with self._layers.pinned(chains):
            async for piece in saving.save(images, self._store, self._snapshots):
                yield piece
        for saved in images:
            self._tell("save", saved.image.id, saved.image.id)

    async def import_(
        self,
        stream: AsyncIterator[bytes],
        *,
        repository: str = "",
        tag: str = "",
        message: str = "",
        changes: Sequence[str] = (),
        platform: Platform | None = None,
    ) -> AsyncIterator[Message]:
        """Make an image of a root file system's tar, yielding Docker's messages.

        Raises: InvalidParameter.
        """
        ref = join_reference(repository, tag) if repository else None
        if platform is not None and platform.os != "linux":
            raise InvalidParameter(f'unsupported operating system "{platform.os}"')
        architecture = platform.architecture if platform is not None else None
        image_id = await self._creator.import_tar(
            stream, ref, message or "Imported from -", changes, architecture
        )
        yield {"status": image_id}

    async def commit(self, request: CommitRequest, repository: str = "", tag: str = "") -> str:
        """An image of the container's changes upon its image; its id. Pausing is the caller's.

        Raises: InvalidParameter.
        """
        ref = join_reference(repository, tag) if repository else None
        return await self._creator.commit(request, ref)

    def _tell(self, action: str, image_id: str, name: str) -> None:
        image = self._store.get(image_id)
        labels = dict(image.labels) if image is not None else {}
        self._emit("image", action, image_id, {**labels, "name": name})


def join_reference(repository: str, tag: str) -> Reference:
    """`repo` and `tag` of a request as one reference, `latest` when no tag is told.

    Raises: InvalidParameter.
    """
    ref = parse_reference(repository)
    check_name(ref)
    if ref.digest is not None:
        raise InvalidParameter("cannot import digest reference")
    if tag and not is_tag(tag):
        raise InvalidParameter("invalid tag format")
    if tag:
        return parse_reference(f"{ref.domain}/{ref.path}:{tag}")
    return ref.with_default_tag()


def _is_for(image: Image, platform: Platform) -> bool:
    return (image.config.os, image.config.architecture) == (platform.os, platform.architecture)
