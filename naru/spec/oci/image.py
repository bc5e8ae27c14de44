"""Descriptors, manifests, indexes and image configurations.

Spec: OCI image specification 1.1 (descriptor.md, manifest.md, image-index.md, config.md) and
Docker's image manifest V2 schema 2, which differs in its media types only.
"""

from typing import Any

from msgspec import UNSET, Struct, UnsetType, field

from naru.spec.engine.container_config import HealthConfig

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"


class Platform(Struct, kw_only=True, omit_defaults=True):
    architecture: str
    os: str
    os_version: str | UnsetType = field(name="os.version", default=UNSET)
    os_features: list[str] | UnsetType = field(name="os.features", default=UNSET)
    variant: str | UnsetType = UNSET


class Descriptor(Struct, kw_only=True, rename="camel", omit_defaults=True):
    media_type: str
    digest: str
    size: int
    urls: list[str] | UnsetType = UNSET
    annotations: dict[str, str] | UnsetType = UNSET
    data: str | UnsetType = UNSET
    platform: Platform | UnsetType = UNSET
    artifact_type: str | UnsetType = UNSET


class Manifest(Struct, kw_only=True, rename="camel", omit_defaults=True):
    schema_version: int
    config: Descriptor
    layers: list[Descriptor]
    media_type: str | UnsetType = UNSET
    artifact_type: str | UnsetType = UNSET
    subject: Descriptor | UnsetType = UNSET
    annotations: dict[str, str] | UnsetType = UNSET


class Index(Struct, kw_only=True, rename="camel", omit_defaults=True):
    schema_version: int
    manifests: list[Descriptor]
    media_type: str | UnsetType = UNSET
    artifact_type: str | UnsetType = UNSET
    subject: Descriptor | UnsetType = UNSET
    annotations: dict[str, str] | UnsetType = UNSET


class RunConfig(Struct, kw_only=True, rename="pascal", omit_defaults=True):
    """The `config` of an image: what a container made from it starts with."""

    user: str = ""
    exposed_ports: dict[str, dict[str, Any]] | None = None
    env: list[str] | None = None
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    volumes: dict[str, dict[str, Any]] | None = None
    working_dir: str = ""
    labels: dict[str, str] | None = None
    stop_signal: str = ""
    healthcheck: HealthConfig | None = None
    on_build: list[str] | None = None
    shell: list[str] | None = None
    args_escaped: bool = False


class RootFS(Struct, kw_only=True):
    type: str = "layers"
    diff_ids: list[str] = field(default_factory=list)


class History(Struct, kw_only=True, omit_defaults=True):
    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class ImageConfig(Struct, kw_only=True, omit_defaults=True):
    """The image configuration blob; its digest is the image's id."""

    architecture: str
    os: str
    created: str = ""
    author: str = ""
    variant: str = ""
    os_version: str = field(name="os.version", default="")
    os_features: list[str] | None = field(name="os.features", default=None)
    config: RunConfig | None = None
    rootfs: RootFS = field(default_factory=RootFS)
    history: list[History] | None = None
