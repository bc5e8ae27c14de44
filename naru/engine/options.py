"""The table of narud's options: flag, key in `daemon.json`, kind, and meaning. Pure data.

`key` None: flag only. Docker's users know the names; what they mean is the same here. Kinds:
`text`, `flag`, `list` (repeatable), `int`, `map` (`k=v`, repeatable), `pools`, `ulimits`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Option:
    name: str
    kind: str
    flag: str | None
    key: str | None
    help: str
    default: object = None
    reloadable: bool = False
    short: str | None = None
    metavar: str = ""


OPTIONS = (
    Option("hosts", "list", "--host", "hosts", "where to listen: unix://PATH, tcp://ADDRESS:PORT, "
           "fd:// (sockets from systemd; the default where it handed over any)", short="-H",
           metavar="URL"),
    Option("data_root", "text", "--data-root", "data-root", "durable state", "/var/lib/naru",
           metavar="DIR"),
    Option("exec_root", "text", "--exec-root", "exec-root", "state of running containers",
           "/run/naru", metavar="DIR"),
    Option("pidfile", "text", "--pidfile", "pidfile", "file that holds the engine's pid",
           "/run/naru/naru.pid", short="-p", metavar="FILE"),
    Option("config_file", "text", "--config-file", None, "daemon.json with these options",
           "/etc/naru/daemon.json", metavar="FILE"),
    Option("debug", "flag", "--debug", "debug", "log everything", False, True, short="-D"),
    Option("log_level", "text", "--log-level", "log-level", "debug, info, warn, error or fatal",
           "info", True, short="-l", metavar="LEVEL"),
    Option("log_format", "text", "--log-format", "log-format", "the engine's log: text or json",
           "text", metavar="FORMAT"),
    Option("group", "text", "--group", "group", "group that may use the unix socket",
           short="-G", metavar="GROUP"),
    Option("tls", "flag", "--tls", "tls", "TLS on TCP sockets; implied by --tlsverify", False),
    Option("tlsverify", "flag", "--tlsverify", "tlsverify", "TLS that demands a client certificate",
           False),
    Option("tlscacert", "text", "--tlscacert", "tlscacert", "CA that signs client certificates",
           metavar="FILE"),
    Option("tlscert", "text", "--tlscert", "tlscert", "the server's certificate", metavar="FILE"),
    Option("tlskey", "text", "--tlskey", "tlskey", "the server's key", metavar="FILE"),
    Option("insecure", "flag", "--insecure", "insecure", "allow TCP without client certificates: "
           "whoever reaches the port is root on this host", False),
    Option("host_names", "list", "--host-name", "host-names", "name that clients may call this "
           "host by in the header Host (TCP)", reloadable=True, metavar="NAME"),
    Option("bip", "text", "--bip", "bip", "address and prefix length of the default bridge", "",
           metavar="CIDR"),
    Option("mtu", "int", "--mtu", "mtu", "MTU of the default bridge", 0, metavar="BYTES"),
    Option("ip", "text", "--ip", "ip", "address on which ports are published by default", "",
           metavar="ADDRESS"),
    Option("honour_host_firewall", "flag", "--honour-host-firewall", "honour-host-firewall",
           "published ports obey the host's own input rules (nftables)", False),
    Option("default_address_pools", "pools", "--default-address-pool", "default-address-pools",
           "pool for networks: base=CIDR,size=N", metavar="POOL"),
    Option("dns", "list", "--dns", "dns", "DNS server for containers", metavar="ADDRESS"),
    Option("dns_opts", "list", "--dns-opt", "dns-opts", "resolver option", metavar="OPTION"),
    Option("dns_search", "list", "--dns-search", "dns-search", "search domain", metavar="DOMAIN"),
    Option("host_gateway_ip", "text", "--host-gateway-ip", "host-gateway-ip",
           "what host-gateway in --add-host means", "", metavar="ADDRESS"),
    Option("log_driver", "text", "--log-driver", "log-driver", "default log driver of containers: "
           "json-file, local or none", "json-file", metavar="NAME"),
    Option("log_opts", "map", "--log-opt", "log-opts", "default log option", metavar="KEY=VALUE"),
    Option("default_ulimits", "ulimits", "--default-ulimit", "default-ulimits",
           "default ulimit of containers", metavar="NAME=SOFT[:HARD]"),
    Option("default_shm_size", "text", "--default-shm-size", "default-shm-size",
           "size of /dev/shm in containers", "64MiB", metavar="SIZE"),
    Option("default_runtime", "text", "--default-runtime", "default-runtime", "OCI runtime",
           "crun", metavar="NAME"),
    Option("default_cgroupns_mode", "text", "--default-cgroupns-mode", "default-cgroupns-mode",
           "cgroup namespace of containers: private or host", "", metavar="MODE"),
    Option("cgroup_parent", "text", "--cgroup-parent", "cgroup-parent",
           "cgroup below which containers' cgroups are made", "", metavar="PATH"),
    Option("init", "flag", "--init", "init", "run an init in every container", False),
    Option("init_path", "text", "--init-path", "init-path", "the init for --init", "",
           metavar="FILE"),
    Option("no_new_privileges", "flag", "--no-new-privileges", "no-new-privileges",
           "containers' processes may not gain privileges", False),
    Option("userns_remap", "text", "--userns-remap", "userns-remap",
           "whose subordinate ids containers get: default, USER or USER:GROUP", "",
           metavar="USER[:GROUP]"),
    Option("labels", "list", "--label", "labels", "label of the engine, shown by info",
           reloadable=True, metavar="KEY=VALUE"),
    Option("plugin_dirs", "list", "--plugin-dir", "plugin-dirs", "where volume plugins are looked "
           "for, instead of Docker's directories", metavar="DIR"),
    Option("plugin_timeout", "int", "--plugin-timeout", "plugin-timeout",
           "seconds that a call of a plugin may take", 30, metavar="SECONDS"),
    Option("shutdown_timeout", "int", "--shutdown-timeout", "shutdown-timeout",
           "seconds that requests under way may take when the engine ends (6 at most)", 6, True,
           metavar="SECONDS"),
    Option("live_restore", "flag", "--live-restore", "live-restore",
           "containers outlive the engine: always so here, false is refused", True, True),
)  # fmt: skip

# Docker's options that are not choices here: the values that say what is true anyway. Any other
# value, and any other of Docker's options, is refused with the reason.
STATED: dict[str, tuple[object, ...]] = {
    "allow-direct-routing": (False,),
    "bridge-accept-fwmark": ("",),
    "debug-addr": ("",),
    "exec-opts": ([], ["native.cgroupdriver=cgroupfs"]),
    "experimental": (False,),
    "features": ({},),
    "firewall-backend": ("nftables", ""),
    "icc": (True,),
    "insecure-registries": ([],),
    "ip-forward": (True,),
    "ip-masq": (True,),
    "ip6tables": (True,),
    "iptables": (True,),
    "ipv6": (False,),
    "raw-logs": (False,),
    "registry-mirrors": ([],),
    "selinux-enabled": (False,),
    "storage-driver": ("overlay2", "overlay"),
    "storage-opts": ([],),
    "userland-proxy": (False,),
}

NOT_OFFERED = frozenset(
    {"allow-nondistributable-artifacts", "api-cors-header", "authorization-plugins", "bridge",
     "builder", "cdi-spec-dirs", "cgroup-manager", "containerd", "containerd-namespace",
     "containerd-plugin-namespace", "cpu-rt-period", "cpu-rt-runtime", "default-gateway",
     "default-gateway-v6", "default-ipc-mode", "default-network-opts", "fixed-cidr",
     "fixed-cidr-v6", "http-proxy", "https-proxy", "max-concurrent-downloads",
     "max-concurrent-uploads", "max-download-attempts", "metrics-addr", "network-control-plane-mtu",
     "no-proxy", "node-generic-resources", "oom-score-adjust", "proxies", "rootless", "runtimes",
     "seccomp-profile", "swarm-default-advertise-addr", "userland-proxy-path", "validate"}
)  # fmt: skip
