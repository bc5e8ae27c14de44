"""System calls that a container may make, grouped by what they do. Data only.

A call that no group names is refused. Names of 32-bit and other architectures stand beside their
64-bit siblings: a runtime skips the names that its architecture does not have.
"""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# Allowed to every container, whatever its capabilities.
GROUPS: dict[str, tuple[str, ...]] = {
    "read and write": _words("""
        read readv pread64 preadv preadv2 write writev pwrite64 pwritev pwritev2 lseek _llseek
        sendfile sendfile64 splice tee vmsplice copy_file_range readahead fsync fdatasync
        sync syncfs sync_file_range fadvise64 fadvise64_64 fallocate ftruncate ftruncate64
        truncate truncate64 cachestat ioctl"""),
    "open, close, duplicate": _words("""
        open openat openat2 creat close close_range dup dup2 dup3 fcntl fcntl64 flock pipe pipe2
        memfd_create memfd_secret name_to_handle_at"""),
    "names in directories": _words("""
        getdents getdents64 getcwd chdir fchdir mkdir mkdirat rmdir link linkat unlink unlinkat
        symlink symlinkat readlink readlinkat rename renameat renameat2 mknod mknodat"""),
    "file attributes": _words("""
        stat stat64 lstat lstat64 fstat fstat64 fstatat64 newfstatat statx access faccessat
        faccessat2 chmod fchmod fchmodat fchmodat2 chown chown32 fchown fchown32 fchownat lchown
        lchown32 utime utimes utimensat utimensat_time64 futimesat umask
        getxattr getxattrat lgetxattr fgetxattr setxattr setxattrat lsetxattr fsetxattr
        listxattr listxattrat llistxattr flistxattr
        removexattr removexattrat lremovexattr fremovexattr"""),
    "file systems, looking only": _words("statfs statfs64 fstatfs fstatfs64 statmount listmount"),
    "waiting for descriptors": _words("""
        select _newselect pselect6 pselect6_time64 poll ppoll ppoll_time64
        epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_wait epoll_wait_old epoll_pwait
        epoll_pwait2 eventfd eventfd2 inotify_init inotify_init1 inotify_add_watch
        inotify_rm_watch fanotify_mark"""),
    "asynchronous input and output": _words("""
        io_setup io_submit io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64
        ioprio_get ioprio_set"""),
    "sockets": _words("""
        socketpair bind connect listen accept accept4 shutdown getsockname getpeername getsockopt
        setsockopt send sendto sendmsg sendmmsg recv recvfrom recvmsg recvmmsg
        recvmmsg_time64"""),
    "memory": _words("""
        brk mmap mmap2 munmap mremap mprotect madvise mincore msync mlock mlock2 mlockall munlock
        munlockall remap_file_pages membarrier mseal pkey_alloc pkey_free pkey_mprotect
        map_shadow_stack process_mrelease"""),
    "processes": _words("""
        fork vfork execve execveat exit exit_group wait4 waitid waitpid getpid getppid gettid
        pidfd_open pidfd_send_signal set_tid_address set_thread_area get_thread_area
        set_robust_list get_robust_list rseq prctl restart_syscall uretprobe
        getpgid getpgrp setpgid getsid setsid getcpu times getrusage getrlimit ugetrlimit
        setrlimit prlimit64 getpriority setpriority riscv_hwprobe"""),
    "threads and locks": _words("""
        futex futex_time64 futex_wait futex_wake futex_waitv futex_requeue"""),
    "scheduling": _words("""
        sched_yield sched_getaffinity sched_setaffinity sched_getattr sched_setattr
        sched_getparam sched_setparam sched_getscheduler sched_setscheduler
        sched_get_priority_max sched_get_priority_min sched_rr_get_interval
        sched_rr_get_interval_time64"""),
    "identity": _words("""
        getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32
        getresuid getresuid32 getresgid getresgid32 getgroups getgroups32
        setuid setuid32 setgid setgid32 setreuid setreuid32 setregid setregid32
        setresuid setresuid32 setresgid setresgid32 setfsuid setfsuid32 setfsgid setfsgid32
        setgroups setgroups32 capget capset seccomp
        landlock_create_ruleset landlock_add_rule landlock_restrict_self"""),
    "signals": _words("""
        kill tkill tgkill pause alarm sigaltstack sigprocmask sigreturn signalfd signalfd4
        rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
        rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo"""),
    "clocks and timers": _words("""
        time gettimeofday clock_gettime clock_gettime64 clock_getres clock_getres_time64
        clock_nanosleep clock_nanosleep_time64 nanosleep adjtimex clock_adjtime clock_adjtime64
        getitimer setitimer timer_create timer_delete timer_getoverrun timer_gettime
        timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime
        timerfd_gettime64 timerfd_settime timerfd_settime64"""),
    "System V and POSIX messages": _words("""
        ipc msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64
        shmat shmctl shmdt shmget mq_open mq_unlink mq_notify mq_getsetattr mq_timedreceive
        mq_timedreceive_time64 mq_timedsend mq_timedsend_time64"""),
    "the machine": _words("uname sysinfo getrandom"),
}

# Tracing other processes was able to circumvent seccomp before Linux 4.8.
TRACING = ("ptrace", "process_vm_readv", "process_vm_writev")
TRACING_SINCE = (4, 8)

# Allowed on one family of processors only.
BY_MACHINE: dict[str, tuple[str, ...]] = {
    "x86_64": ("arch_prctl", "modify_ldt"),
    "aarch64": (
        "arm_fadvise64_64",
        "arm_sync_file_range",
        "breakpoint",
        "cacheflush",
        "set_tls",
        "sync_file_range2",
    ),
}

# Allowed with a capability: with it the kernel's own check is the one that counts.
BY_CAPABILITY: dict[str, tuple[str, ...]] = {
    "CAP_DAC_READ_SEARCH": ("open_by_handle_at",),
    "CAP_SYS_ADMIN": _words("""
        bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie
        lsm_get_self_attr lsm_set_self_attr lsm_list_modules
        mount mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd
        setdomainname sethostname setns syslog umount umount2 unshare"""),
    "CAP_SYS_BOOT": ("reboot",),
    "CAP_SYS_CHROOT": ("chroot",),
    "CAP_SYS_MODULE": ("delete_module", "finit_module", "init_module"),
    "CAP_SYS_PACCT": ("acct",),
    "CAP_SYS_PTRACE": ("kcmp", "pidfd_getfd", "process_madvise", *TRACING),
    "CAP_SYS_RAWIO": ("ioperm", "iopl"),
    "CAP_SYS_TIME": ("clock_settime", "clock_settime64", "settimeofday", "stime"),
    "CAP_SYS_TTY_CONFIG": ("vhangup",),
    "CAP_SYS_NICE": ("get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"),
    "CAP_SYSLOG": ("syslog",),
    "CAP_BPF": ("bpf",),
    "CAP_PERFMON": ("perf_event_open",),
}

# personality(2): Linux, Linux without address randomization's relatives, and the query.
PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)

# clone(2) flags that make a new namespace: mount, cgroup, uts, ipc, user, pid, net.
NAMESPACE_FLAGS = 0x7E020000

# Address families as (mask, value) of the low 32 bits that the kernel reads: all below 64 but
# AF_ALG (38: kernel crypto, CVE-2026-31431) and AF_VSOCK (40: the hypervisor, not namespaced).
# A plain comparison would look at 64 bits and let 2**32 + 38 pass.
SOCKET_FAMILIES = (
    (0xFFFFFFE0, 0),
    (0xFFFFFFFC, 32),
    (0xFFFFFFFE, 36),
    (0xFFFFFFFF, 39),
    (0xFFFFFFFF, 41),
    (0xFFFFFFFE, 42),
    (0xFFFFFFFC, 44),
    (0xFFFFFFF0, 48),
)
