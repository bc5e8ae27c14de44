"""Every route of the API, in one table. What comes later does not hide what comes before."""

from naru.engine.api import (
    archive,
    containers,
    disk,
    exec,
    files,
    images,
    missing,
    networks,
    output,
    system,
    volume_backup,
    volume_schedule,
    volumes,
)

ROUTES = (
    *system.ROUTES,
    *disk.ROUTES,
    *containers.ROUTES,
    *archive.ROUTES,
    *output.ROUTES,
    *exec.ROUTES,
    *files.ROUTES,
    *images.ROUTES,
    *volumes.ROUTES,
    *volume_backup.ROUTES,
    *volume_schedule.ROUTES,
    *networks.ROUTES,
    *missing.ROUTES,
)
