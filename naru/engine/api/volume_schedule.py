"""Backups of volumes by the clock: calls of Naru's own.

GET    /volumes/naru/schedules            all of them
PUT    /volumes/{name}/naru/schedule      {"Every": "6h"} or {"At": "03:00"}, "Keep", "To", "Pause"
DELETE /volumes/{name}/naru/schedule      the backups stay
POST   /volumes/{name}/naru/backup        one now; answers when it has ended
"""

from msgspec import Struct

from naru.base.clock import now_ns
from naru.base.errors import Internal
from naru.engine.api.call import NO_CONTENT, Call, json_answer
from naru.engine.api.router import Route
from naru.http.message import Answer
from naru.storage.volumes.schedule import describe


class ScheduleRequest(Struct, kw_only=True, rename="pascal"):
    """Body of PUT."""

    every: str = ""
    at: str = ""
    keep: int = 7
    to: str = ""
    pause: bool = False


async def list_schedules(call: Call) -> Answer:
    backups, now = call.services.backups, now_ns()
    found = [describe(item, backups.folder_of(item), now) for item in backups.list()]
    return json_answer({"Schedules": found})


async def put(call: Call) -> Answer:
    body = await call.decode(ScheduleRequest)
    backups = call.services.backups
    made = await backups.put(
        call.name, every=body.every, at=body.at, keep=body.keep, to=body.to, pause=body.pause
    )
    return json_answer(describe(made, backups.folder_of(made), now_ns()))


async def remove(call: Call) -> Answer:
    await call.services.backups.remove(call.name)
    return NO_CONTENT


async def run(call: Call) -> Answer:
    await call.body()
    done = await call.services.backups.run_now(call.name)
    if done.error:
        raise Internal(done.error)
    return json_answer({"File": done.file, "Size": done.size_bytes})


ROUTES = (
    Route("GET", "/volumes/naru/schedules", list_schedules),
    Route("PUT", "/volumes/{name}/naru/schedule", put),
    Route("DELETE", "/volumes/{name}/naru/schedule", remove),
    Route("POST", "/volumes/{name}/naru/backup", run),
)
