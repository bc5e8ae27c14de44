"""The tree of words: which module holds each command. Nothing is imported until it is asked for.

An entry is `module:ATTRIBUTE` below `naru.cli.commands`; a group's words beginning with `=` are
other spellings of the word that follows.
"""

CONTAINER = {
    "attach": "attach:ATTACH",
    "commit": "commit:COMMIT",
    "cp": "cp:CP",
    "create": "create:CREATE",
    "diff": "diff:DIFF",
    "exec": "exec:EXEC",
    "export": "export:EXPORT",
    "inspect": "inspect:CONTAINER_INSPECT",
    "kill": "lifecycle:KILL",
    "logs": "logs:LOGS",
    "ls": "ps:PS",
    "list": "=ls",
    "ps": "=ls",
    "pause": "lifecycle:PAUSE",
    "port": "port:PORT",
    "prune": "prune:CONTAINER_PRUNE",
    "rename": "lifecycle:RENAME",
    "restart": "lifecycle:RESTART",
    "rm": "lifecycle:RM",
    "remove": "=rm",
    "run": "run:RUN",
    "start": "start:START",
    "stats": "stats:STATS",
    "stop": "lifecycle:STOP",
    "top": "top:TOP",
    "unpause": "lifecycle:UNPAUSE",
    "update": "update:UPDATE",
    "wait": "lifecycle:WAIT",
}

IMAGE = {
    "build": "unavailable:BUILD",
    "history": "history:HISTORY_COMMAND",
    "import": "image_import:IMPORT",
    "inspect": "inspect:IMAGE_INSPECT",
    "load": "load:LOAD",
    "ls": "images:IMAGES",
    "list": "=ls",
    "prune": "prune:IMAGE_PRUNE",
    "pull": "unavailable:PULL",
    "push": "unavailable:PUSH",
    "rm": "image_rm:RMI",
    "remove": "=rm",
    "save": "save:SAVE",
    "tag": "tag:TAG",
}

VOLUME = {
    "clone": "volume_copy:CLONE",
    "create": "volume:CREATE",
    "export": "volume_archive:EXPORT",
    "import": "volume_archive:IMPORT",
    "inspect": "inspect:VOLUME_INSPECT",
    "ls": "volume:LS",
    "list": "=ls",
    "prune": "prune:VOLUME_PRUNE",
    "rename": "volume_copy:RENAME",
    "rm": "volume:RM",
    "remove": "=rm",
    "schedule": "volume_schedule:SCHEDULE",
    "snapshot": "volume_copy:SNAPSHOT",
}

NETWORK = {
    "connect": "network:CONNECT",
    "create": "network:CREATE",
    "disconnect": "network:DISCONNECT",
    "inspect": "inspect:NETWORK_INSPECT",
    "ls": "network:LS",
    "list": "=ls",
    "ports": "network_ports:PORTS",
    "prune": "prune:NETWORK_PRUNE",
    "rm": "network:RM",
    "remove": "=rm",
}

SYSTEM = {
    "df": "df:DF",
    "doctor": "doctor:DOCTOR",
    "events": "events:EVENTS",
    "info": "info:INFO",
    "prune": "prune:SYSTEM_PRUNE",
}

CONTEXT = {
    "create": "context:CREATE",
    "export": "context_transfer:EXPORT",
    "import": "context_transfer:IMPORT",
    "inspect": "context:INSPECT",
    "ls": "context:LS",
    "list": "=ls",
    "rm": "context:RM",
    "remove": "=rm",
    "show": "context:SHOW",
    "update": "context:UPDATE",
    "use": "context:USE",
}

COMPLETION = {
    "bash": "completion:BASH",
    "fish": "completion:FISH",
    "zsh": "completion:ZSH",
}

GROUPS = {
    "completion": ("Generate the completion script for a shell", COMPLETION),
    "container": ("Manage containers", CONTAINER),
    "context": ("Manage contexts", CONTEXT),
    "image": ("Manage images", IMAGE),
    "network": ("Manage networks", NETWORK),
    "system": ("Manage Naru", SYSTEM),
    "volume": ("Manage volumes", VOLUME),
}

_OLD_CONTAINER_WORDS = (
    "attach", "commit", "cp", "create", "diff", "exec", "export", "kill", "logs", "pause", "port",
    "ps", "rename", "restart", "rm", "run", "start", "stats", "stop", "top", "unpause", "update",
    "wait",
)  # fmt: skip
_OLD_IMAGE_WORDS = ("build", "history", "import", "load", "pull", "push", "save", "tag")

COMMANDS = {
    **{word: CONTAINER[word] for word in _OLD_CONTAINER_WORDS},
    **{word: IMAGE[word] for word in _OLD_IMAGE_WORDS},
    "ps": CONTAINER["ls"],
    "images": IMAGE["ls"],
    "rmi": IMAGE["rm"],
    "inspect": "inspect:INSPECT",
    "events": SYSTEM["events"],
    "info": SYSTEM["info"],
    "version": "version:VERSION",
    "login": "unavailable:LOGIN",
    "logout": "unavailable:LOGOUT",
    "search": "unavailable:SEARCH",
}

COMMON = (
    "run", "exec", "ps", "build", "pull", "push", "images", "login", "logout", "search", "version",
    "info",
)  # fmt: skip


def same_command(entry: str) -> list[str]:
    """Every way to write the command at `entry`: `container ls`, `container list`, `ps`."""
    ways = []
    for group, (_, words) in GROUPS.items():
        for word, target in words.items():
            if target == entry or words.get(target[1:]) == entry:
                ways.append(f"{group} {word}")
    return ways + [word for word, target in COMMANDS.items() if target == entry]
