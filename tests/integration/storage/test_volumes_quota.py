"""`size` of a volume: held by the file system's project quotas, refused where there are none."""

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_volumes import VolumeLab, run

from naru.base.errors import InvalidParameter
from naru.kernel import quota
from naru.kernel.confine import drop_capabilities

pytestmark = pytest.mark.root


@pytest.fixture
def counted(tmp_path: Path) -> Iterator[Path]:
    """An ext4 that enforces project quotas."""
    image, place = tmp_path / "disk", tmp_path / "counted"
    place.mkdir()
    with image.open("wb") as disk:
        disk.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-O", "quota,project", str(image)], check=True)
    done = subprocess.run(
        ["mount", "-o", "loop,prjquota", str(image), str(place)], check=False, capture_output=True
    )
    if done.returncode:
        pytest.skip("this kernel mounts no ext4 with project quotas (CONFIG_QFMT_V2)")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_refused_where_nobody_would_hold_it(tmp_path: Path) -> None:
    async def work(lab: VolumeLab) -> None:
        with pytest.raises(InvalidParameter) as caught:
            await lab.volumes.create("data", options={"size": "1g"})
        text = caught.value.message
        assert "quota size requested but no quota support: the file system of" in text
        assert "prjquota" in text
        assert lab.names() == []
        assert not (tmp_path / "volumes/data").exists()
        await lab.volumes.create("zero", options={"size": "0"})

    run(tmp_path, work)


def _write(path: Path, size: int) -> int:
    """Write as a process without privileges over quotas; the errno, 0 when it went well."""
    child = os.fork()
    if not child:
        try:
            drop_capabilities(("DAC_OVERRIDE",))
            path.write_bytes(bytes(size))
            os._exit(0)
        except OSError as error:
            os._exit(error.errno or 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_held_by_the_file_system(counted: Path) -> None:
    async def work(lab: VolumeLab) -> None:
        await lab.volumes.create("small", options={"size": "1m"})
        await lab.volumes.create("large", options={"size": "8m"})
        small, large = Path(lab.volumes.data_dir("small")), Path(lab.volumes.data_dir("large"))
        assert quota.project_of(str(small)) != quota.project_of(str(large))
        assert _write(small / "fits", 512 << 10) == 0
        assert _write(small / "over", 2 << 20) == errno.EDQUOT
        assert _write(large / "fits", 2 << 20) == 0
        project = quota.project_of(str(small))
        await lab.volumes.remove("small")
        assert quota.is_free(str(counted), project)

    run(counted, work)
