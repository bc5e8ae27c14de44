"""Runs what `build_spec` writes: crun on a busybox root file system, output captured."""

import contextlib
import glob
import json
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from naru.runtime import facts, mounts, ocispec
from naru.runtime.devices import block_numbers, container_devices
from naru.runtime.resources import block_paths
from naru.runtime.seccomp.choice import choose
from naru.runtime.security import parse
from naru.runtime.user import ResolvedUser
from naru.spec.engine.container_config import ContainerConfig, HostConfig

# crun refuses to work while a second, unified hierarchy is in sight.
_PRIVATE = (
    "unshare", "-m", "--propagation", "slave", "sh", "-c",
    'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"', "sh",
)  # fmt: skip


class Sandbox:
    """A folder with a busybox root file system and the state of the containers run on it."""

    def __init__(self, folder: Path, group: str) -> None:
        self.folder = folder
        self.group = group
        self.rootfs = folder / "rootfs"
        self.state = folder / "state"
        for name in ("bin", "etc", "tmp", "root", "sbin", "usr/bin", "var"):
            (self.rootfs / name).mkdir(parents=True)
        shutil.copy("/bin/busybox", self.rootfs / "bin/busybox")
        subprocess.run(
            ["chroot", self.rootfs, "/bin/busybox", "--install", "-s", "/bin"], check=True
        )
        (self.rootfs / "etc/passwd").write_text(
            "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/home/web:/bin/sh\n"
        )
        (self.rootfs / "etc/group").write_text("root:x:0:\nweb:x:1000:\nlog:x:44:web\n")
        self.host = facts.gather(init_path=shutil.which("tini-static"))

    @classmethod
    def make(cls, folder: Path) -> Iterator["Sandbox"]:
        """For a fixture: the sandbox, and afterwards nothing of it is left."""
        group = f"naru-spec-{secrets.token_hex(4)}"
        try:
            yield cls(folder, group)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            for place in glob.glob(f"/sys/fs/cgroup/**/{group}", recursive=True):
                with contextlib.suppress(OSError):
                    os.rmdir(place)

    def pid(self, container: str) -> int:
        return int(json.loads(self.crun("state", container).stdout)["pid"])

    def spec(
        self,
        *args: str,
        config: ContainerConfig | None = None,
        host_config: HostConfig | None = None,
        user: ResolvedUser | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        """The spec of a container without network and with the default seccomp profile."""
        config, host_config = config or ContainerConfig(), host_config or HostConfig()
        security = parse(host_config.security_opt)
        capabilities = ocispec.process_capabilities(host_config, self.host)
        identifier = "naru-spec-" + secrets.token_hex(4)
        fields: dict[str, Any] = {
            "id": identifier,
            "args": args,
            "env": ocispec.environment(config, hostname="probe", home="/root"),
            "rootfs": str(self.rootfs),
            "cgroups_path": f"/{self.group}/{identifier}",
            "hostname": "probe",
            "devices": container_devices(host_config),
            "block_numbers": block_numbers(block_paths(host_config, self.host)),
            "security": security,
            "seccomp": choose(security, capabilities, self.host, privileged=host_config.privileged),
        }
        return ocispec.build_spec(
            ocispec.SpecRequest(
                config=config,
                host_config=host_config,
                user=user or ResolvedUser(),
                host=self.host,
                **{**fields, **more},
            )
        )

    def run(self, spec: dict[str, Any], *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs the spec's process to its end; stdout and stderr are text."""
        bundle = self.bundle(spec)
        return self.crun("run", "--bundle", str(bundle), bundle.name, check=check)

    def bundle(self, spec: dict[str, Any]) -> Path:
        bundle = self.folder / os.path.basename(spec["linux"]["cgroupsPath"])
        bundle.mkdir()
        (bundle / "config.json").write_bytes(msgspec.json.encode(spec))
        return bundle

    def crun(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        # Files, not pipes: `crun create` returns while its container still holds them. And never
        # this host's null device, which crun would give to the container's user.
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            command = [*_PRIVATE, "crun", "--root", str(self.state), *args]
            code = subprocess.run(command, stdout=out, stderr=err, timeout=30, input=b"").returncode
            out.seek(0)
            err.seek(0)
            result = subprocess.CompletedProcess(command, code, out.read(), err.read())
        if check and code:
            raise AssertionError(f"crun {args[0]}: {code}: {result.stderr}")
        return result

    def output(self, *args: str, **spec_fields: Any) -> str:
        return self.run(self.spec(*args, **spec_fields)).stdout

    def sh(self, script: str, **spec_fields: Any) -> str:
        return self.output("/bin/sh", "-c", script, **spec_fields)


def bind(destination: str, source: str | Path, **options: Any) -> mounts.OciMount:
    return mounts.bind_mount(destination, str(source), propagation="rprivate", **options)
