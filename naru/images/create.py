"""Images that come into being here: from a tar (import) and from a container (commit).

Both end the same way: the layer is applied, then layer, image and tag are committed as one record.

Spec: Engine API 1.51, ImageCreate with `fromSrc`, ImageCommit.
"""

import platform
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import UNSET

from naru.base.clock import now_ns, rfc3339
from naru.base.failpoints import declare
from naru.images.instructions import apply_changes
from naru.images.layers import LayerStore
from naru.images.model import Emit, Image, ImageRecord, encode_config
from naru.images.store import ImageStore
from naru.spec.engine.container_config import ContainerConfig
from naru.spec.oci.digest import chain_ids
from naru.spec.oci.image import History, ImageConfig, RootFS, RunConfig
from naru.spec.oci.reference import Reference
from naru.storage.pipes import through_pipe

IMPORT_APPLIED = declare("images.import-applied")
COMMIT_APPLIED = declare("images.commit-applied")

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
EMPTY_LAYER = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
"""Digest of the tar that holds nothing: 1,024 zero bytes."""


def host_architecture() -> str:
    """This machine's architecture in Go's words."""
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


@dataclass(frozen=True, slots=True)
class CommitRequest:
    """What to make of a container. `config`: what the request says beside `container_config`, the
    container's own; `command`: what it ran, for the history."""

    container_id: str
    image: Image | None
    config: ContainerConfig | None
    command: Sequence[str]
    container_config: ContainerConfig | None = None
    author: str = ""
    comment: str = ""
    changes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Creator:
    """What import and commit work with."""

    store: ImageStore
    layers: LayerStore
    emit: Emit

    async def import_tar(
        self,
        stream: AsyncIterator[bytes],
        ref: Reference | None,
        message: str,
        changes: Sequence[str],
        architecture: str | None = None,
    ) -> str:
        """An image of one layer out of a root file system's tar, unpacked as it comes; its id.

        Raises: InvalidParameter for a bad instruction (before anything is read) or a bad tar.
        """
        run_config = apply_changes(RunConfig(), changes)
        async with self.layers.swept_on_failure():
            with self.layers.arriving():
                return await self._import(stream, ref, message, run_config, architecture)

    async def _import(
        self,
        stream: AsyncIterator[bytes],
        ref: Reference | None,
        message: str,
        run_config: RunConfig,
        architecture: str | None,
    ) -> str:
        layer = await through_pipe(stream, self.layers.import_from)
        IMPORT_APPLIED()
        await self.layers.sync()
        created = rfc3339(now_ns())
        config = ImageConfig(
            architecture=architecture or host_architecture(),
            os="linux",
            created=created,
            config=run_config,
            rootfs=RootFS(diff_ids=[layer.diff_id]),
            history=[History(created=created, comment=message)],
        )
        image_id = await self._add(config, ref, "")
        self._tell("import", image_id, ref.familiar if ref is not None else image_id)
        return image_id

    async def commit(self, request: CommitRequest, ref: Reference | None) -> str:
        """An image of the container's image and its changes on top; its id.

        Raises: InvalidParameter for a bad instruction.
        """
        run_config = _run_config(request)
        base = request.image
        diff_ids = list(base.config.rootfs.diff_ids) if base is not None else []
        async with self.layers.swept_on_failure():
            with self.layers.arriving(), self.layers.pinned(chain_ids(diff_ids)):
                image_id = await self._commit(request, run_config, diff_ids, ref)
            await self.layers.sweep()  # the layer of no changes belongs to no image
            return image_id

    async def _commit(
        self,
        request: CommitRequest,
        run_config: RunConfig,
        diff_ids: list[str],
        ref: Reference | None,
    ) -> str:
        base = request.image
        layer = await self.layers.commit(request.container_id)
        COMMIT_APPLIED()
        is_empty = layer.diff_id == EMPTY_LAYER
        if not is_empty:
            diff_ids.append(layer.diff_id)
            await self.layers.sync()
        config = _child_config(request, run_config, diff_ids, is_empty)
        image_id = await self._add(config, ref, base.id if base is not None else "")
        self._tell("create", image_id, image_id)
        if ref is not None:
            self._tell("tag", image_id, ref.familiar)
        return image_id

    async def _add(self, config: ImageConfig, ref: Reference | None, parent: str) -> str:
        text, image_id = encode_config(config)
        record = ImageRecord(
            id=image_id,
            config=text,
            parent=parent if parent != image_id else "",
            last_tagged_ns=now_ns() if ref is not None else 0,
        )
        await self.store.add(record, (ref,) if ref is not None else ())
        return image_id

    def _tell(self, action: str, image_id: str, name: str) -> None:
        image = self.store.get(image_id)
        labels = dict(image.labels) if image is not None else {}
        self.emit("image", action, image_id, {**labels, "name": name})


def _child_config(
    request: CommitRequest, run_config: RunConfig, diff_ids: Sequence[str], is_empty: bool
) -> ImageConfig:
    created = rfc3339(now_ns())
    entry = History(
        created=created,
        created_by=" ".join(request.command),
        author=request.author,
        comment=request.comment,
        empty_layer=is_empty,
    )
    base = request.image
    if base is None:
        base_config = ImageConfig(architecture=host_architecture(), os="linux")
    else:
        base_config = base.config
    history = list(base_config.history or [])
    if not history:
        history = [History(created=base_config.created) for _ in base_config.rootfs.diff_ids]
    return msgspec.structs.replace(
        base_config,
        author=request.author,
        created=created,
        config=run_config,
        rootfs=RootFS(diff_ids=list(diff_ids)),
        history=[*history, entry],
    )


def _run_config(request: CommitRequest) -> RunConfig:
    own = to_run_config(request.container_config) if request.container_config else RunConfig()
    given = to_run_config(request.config) if request.config is not None else own
    return merge(apply_changes(given, request.changes), own)


def merge(config: RunConfig, below: RunConfig) -> RunConfig:
    """`config`, and from `below` what it does not say itself. As Docker's commit does."""
    known = {item.partition("=")[0] for item in config.env or ()}
    env = [*(config.env or ()), *(e for e in below.env or () if e.partition("=")[0] not in known)]
    entrypoint, cmd = config.entrypoint, config.cmd
    if not entrypoint:
        cmd = cmd or below.cmd
        entrypoint = below.entrypoint if entrypoint is None else entrypoint
    health = config.healthcheck or below.healthcheck
    if health is not None and not health.test and below.healthcheck is not None:
        health = msgspec.structs.replace(health, test=below.healthcheck.test)
    return msgspec.structs.replace(
        config,
        user=config.user or below.user,
        exposed_ports={**(below.exposed_ports or {}), **(config.exposed_ports or {})} or None,
        env=env or None,
        labels={**(below.labels or {}), **(config.labels or {})},
        entrypoint=entrypoint,
        cmd=cmd,
        healthcheck=health,
        working_dir=config.working_dir or below.working_dir,
        volumes={**(below.volumes or {}), **(config.volumes or {})} or None,
        stop_signal=config.stop_signal or below.stop_signal,
    )


def to_run_config(config: ContainerConfig) -> RunConfig:
    """The part of a container's configuration that belongs to an image."""
    return RunConfig(
        user=config.user,
        exposed_ports=_given(config.exposed_ports),
        env=config.env,
        entrypoint=_words(config.entrypoint),
        cmd=_words(config.cmd),
        volumes=config.volumes,
        working_dir=config.working_dir,
        labels=config.labels,
        stop_signal=_given(config.stop_signal) or "",
        healthcheck=_given(config.healthcheck),
        on_build=config.on_build,
        shell=_given(config.shell),
        args_escaped=bool(_given(config.args_escaped)),
    )


def _given(value: Any) -> Any:
    return None if value is UNSET else value


def _words(value: list[str] | str | None) -> list[str] | None:
    return [value] if isinstance(value, str) else value
