"""The probes: C constant expressions per header, compared between the project's and NetBSD's.

`installed` expressions compile with the headers that NetBSD installs, in a user program with
-D_KMEMUSER; `kernel` ones only with a real sys/ tree, because NetBSD declares them for the
kernel alone. A structure's members are compared by size and offset.
"""

from __future__ import annotations

from vmtgen.common.dataclass import dataclass


@dataclass(frozen=True)
class Group:
    """The expressions for one set of headers; `machines` empty means every machine.

    `since` is the first __NetBSD_Version__ that has them.
    """

    headers: tuple[str, ...]
    installed: tuple[str, ...] = ()
    kernel: tuple[str, ...] = ()
    machines: tuple[str, ...] = ()
    since: int = 0


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _layout(structure: str, members: str) -> tuple[str, ...]:
    """Size of a structure; offset and size of each member."""
    found = [f"sizeof({structure})"]
    for member in members.split():
        found.append(f"offsetof({structure}, {member})")
        found.append(f"sizeof((({structure} *)0)->{member})")
    return tuple(found)


def _members(structure: str, members: str) -> tuple[str, ...]:
    """Like _layout, for a structure whose last members the project's headers omit."""
    return _layout(structure, members)[1:]


_X86 = ("amd64", "i386")

GROUPS: tuple[Group, ...] = (
    Group(
        ("sys/types.h",),
        tuple(
            f"sizeof({name})"
            for name in _names(
                "size_t ssize_t time_t suseconds_t clockid_t pid_t uid_t gid_t dev_t off_t "
                "u_quad_t fsblkcnt_t fsfilcnt_t int64_t uint64_t intptr_t uintptr_t long void*"
            )
        ),
        ("sizeof(pri_t)",),
    ),
    Group(
        ("sys/types.h", "sys/conf.h"),
        kernel=(
            "sizeof(paddr_t)",
            "sizeof(devmajor_t)",
            "major((dev_t)0x12345678)",
            "minor((dev_t)0x12345678)",
            "makedev(0x123, 0x45678)",
            "NODEVMAJOR",
            "D_MPSAFE",
            "D_TYPEMASK",
            *_layout(
                "struct cdevsw",
                "d_open d_cancel d_close d_read d_write d_ioctl d_stop d_tty d_poll d_mmap "
                "d_kqfilter d_discard d_devtounit d_cfdriver d_flag",
            ),
        ),
    ),
    Group(
        ("sys/uio.h",),
        kernel=(
            "UIO_READ",
            "UIO_WRITE",
            *_layout("struct iovec", "iov_base iov_len"),
            *_layout(
                "struct uio", "uio_iov uio_iovcnt uio_offset uio_resid uio_rw uio_vmspace"
            ),
        ),
    ),
    Group(("sys/malloc.h",), kernel=("M_WAITOK", "M_NOWAIT", "M_ZERO")),
    Group(
        ("sys/types.h", "sys/select.h"),
        kernel=_layout(
            "struct selinfo",
            "sel_collision sel_klist sel_cluster sel_lwp sel_fdinfo sel_chain sel_reserved",
        ),
    ),
    Group(
        ("sys/types.h", "sys/once.h"),
        kernel=(
            "ONCE_VIRGIN",
            "ONCE_RUNNING",
            "ONCE_DONE",
            *_layout("once_t", "o_error o_refcnt o_status"),
        ),
    ),
    Group(
        ("sys/ioctl.h", "sys/poll.h", "sys/stat.h", "sys/fcntl.h"),
        (
            "_IO('t', 2)",
            "_IOWR('t', 1, int)",
            "_IOR('t', 1, long)",
            "_IOW('t', 1, char)",
            "IOCPARM_LEN(_IOR('t', 1, long))",
            "POLLIN",
            "POLLOUT",
            "POLLRDNORM",
            "POLLERR",
            "POLLHUP",
            "POLLNVAL",
            "S_IFCHR",
            "S_IFBLK",
            "O_NONBLOCK",
        ),
        ("FREAD", "FWRITE", "FNONBLOCK"),
    ),
    Group(
        ("sys/errno.h",),
        _names(
            "EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EDEADLK ENOMEM EACCES EFAULT EBUSY "
            "EEXIST ENODEV EINVAL ENOTTY EFBIG ENOSPC ERANGE EAGAIN EWOULDBLOCK EINPROGRESS "
            "EALREADY EMSGSIZE EPROTONOSUPPORT EOPNOTSUPP ENOBUFS ENOTCONN ETIMEDOUT ECONNREFUSED "
            "ENAMETOOLONG EPROGMISMATCH ENOSYS EOVERFLOW EILSEQ ENOTSUP EBADMSG EPROTO"
        ),
        ("ERESTART",),
    ),
    Group(
        ("sys/types.h", "sys/time.h"),
        _layout("struct timeval", "tv_sec tv_usec")
        + _layout("struct timespec", "tv_sec tv_nsec")
        + ("CLOCK_REALTIME", "CLOCK_MONOTONIC"),
    ),
    Group(
        ("sys/param.h",),
        ("MAXHOSTNAMELEN", "MAXPATHLEN"),
        _names("PRI_NONE PAGE_SIZE INT_MAX UINT_MAX LONG_MAX ULONG_MAX"),
    ),
    Group(
        ("sys/types.h", "sys/device.h"),
        _layout("struct cfparent", "cfp_iattr cfp_parent cfp_unit")
        + _layout("struct cfdata", "cf_name cf_atname cf_fstate cf_loc cf_flags cf_pspec")
        + _layout(
            "struct cfattach",
            "ca_name ca_list ca_devsize ca_flags ca_match ca_attach ca_detach ca_activate "
            "ca_rescan ca_childdetached",
        )
        + _layout(
            "struct cfdriver", "cd_list cd_attach cd_devs cd_name cd_class cd_ndevs cd_attrs"
        )
        + _layout("struct cflocdesc", "cld_name cld_defaultstr cld_default")
        + _members("struct cfiattrdata", "ci_name ci_loclen")
        + _names("DV_DULL DV_VIRTUAL DVACT_DEACTIVATE"),
        _layout("struct cfattachinit", "cfai_name cfai_list")
        + _names(
            "FSTATE_NOTFOUND FSTATE_FOUND FSTATE_STAR FSTATE_DSTAR FSTATE_DNOTFOUND "
            "DVF_PRIV_ALLOC DVF_DETACH_SHUTDOWN DETACH_FORCE DETACH_QUIET DETACH_SHUTDOWN "
            "DETACH_POWEROFF DVUNIT_ANY"
        ),
    ),
    Group(
        ("sys/types.h", "sys/module.h"),
        _names(
            "MAXMODNAME MODULE_CLASS_ANY MODULE_CLASS_DRIVER MODULE_CLASS_MAX MODULE_CMD_INIT "
            "MODULE_CMD_FINI MODULE_CMD_STAT MODULE_CMD_AUTOUNLOAD"
        ),
        _layout("modinfo_t", "mi_version mi_class mi_modcmd mi_name mi_required"),
    ),
    Group(
        ("sys/types.h", "sys/mutex.h"),
        ("sizeof(kmutex_t)",),
        _names("MUTEX_SPIN MUTEX_ADAPTIVE MUTEX_DEFAULT"),
    ),
    Group(
        ("sys/types.h", "sys/rwlock.h"),
        (*_layout("krwlock_t", "rw_owner"), "RW_READER", "RW_WRITER", "sizeof(krw_t)"),
    ),
    Group(
        ("sys/types.h", "sys/intr.h"),
        (),
        _names("IPL_NONE IPL_SOFTCLOCK IPL_SOFTNET IPL_VM IPL_SCHED IPL_HIGH"),
    ),
    Group(("sys/types.h", "sys/condvar.h"), ("sizeof(kcondvar_t)",)),
    Group(("sys/types.h", "sys/callout.h"), ("sizeof(callout_t)", "CALLOUT_MPSAFE")),
    Group(("sys/param.h", "sys/workqueue.h"), (), ("sizeof(struct work)", "WQ_MPSAFE")),
    Group(
        ("sys/param.h", "sys/kthread.h"),
        (),
        _names("KTHREAD_IDLE KTHREAD_MPSAFE KTHREAD_INTR KTHREAD_TS KTHREAD_MUSTJOIN"),
    ),
    Group(("sys/types.h", "sys/kmem.h"), ("KM_SLEEP", "KM_NOSLEEP", "sizeof(km_flag_t)")),
    Group(
        ("sys/types.h", "sys/device.h", "dev/i2c/i2cvar.h"),
        kernel=(
            *_names(
                "I2C_OP_READ I2C_OP_READ_WITH_STOP I2C_OP_WRITE I2C_OP_WRITE_WITH_STOP "
                "I2C_MATCH_ADDRESS_ONLY I2C_MATCH_ADDRESS_AND_PROBE sizeof(i2c_addr_t)"
            ),
            *_members("struct i2c_attach_args", "ia_tag ia_addr"),
        ),
    ),
    Group(
        ("sys/types.h", "sys/conf.h"),
        kernel=(
            *_layout(
                "struct bdevsw",
                "d_open d_cancel d_close d_strategy d_ioctl d_dump d_psize d_discard d_devtounit "
                "d_cfdriver d_flag",
            ),
        ),
    ),
    Group(
        ("sys/param.h", "sys/buf.h"),
        kernel=(
            *_layout(
                "struct buf",
                "b_u b_iodone b_error b_resid b_flags b_prio b_bufsize b_bcount b_dev b_data "
                "b_blkno b_rawblkno b_proc b_saveaddr b_ci b_private b_dcookie b_busy b_unused "
                "b_hash b_vnbufs b_freelist b_wapbllist b_lblkno b_freelistindex b_cflags b_vp "
                "b_done b_oflags b_objlock",
            ),
            *_names(
                "B_WRITE B_ASYNC B_PHYS B_RAW B_READ BC_BUSY BO_DONE BO_DELWRI BPRIO_DEFAULT "
                "sizeof(daddr_t) MAXPHYS DEV_BSIZE"
            ),
        ),
    ),
    Group(
        ("sys/param.h", "sys/disklabel.h", "sys/dkio.h"),
        _names("DIOCGMEDIASIZE DIOCGSECTORSIZE"),
        (
            "DIOCGPARTINFO",
            *_layout(
                "struct partinfo",
                "pi_offset pi_size pi_secsize pi_bsize pi_fstype pi_frag pi_cpg pi_fsize",
            ),
        ),
    ),
    Group(
        ("sys/types.h", "sys/event.h"),
        kernel=(
            *_layout("struct kevent", "ident filter flags fflags data udata"),
            *_layout(
                "struct knote",
                "kn_link kn_selnext kn_tqe kn_kq kn_kevent kn_status kn_sfflags kn_sdata kn_obj "
                "kn_fop kn_kfilter kn_hook kn_hookid",
            ),
            *_layout("struct filterops", "f_flags f_attach f_detach f_event f_touch"),
            *_names(
                "EVFILT_READ EVFILT_WRITE EVFILT_VNODE EV_ADD EV_DELETE "
                "EV_ENABLE EV_DISABLE EV_ONESHOT EV_CLEAR EV_DISPATCH EV_ERROR EV_EOF NOTE_SUBMIT "
                "NOTE_LOWAT FILTEROP_ISFD FILTEROP_MPSAFE"
            ),
        ),
    ),
    Group(
        ("sys/types.h", "sys/stat.h"),
        _layout(
            "struct stat",
            "st_dev st_mode st_ino st_nlink st_uid st_gid st_rdev st_atim st_mtim st_ctim "
            "st_birthtim st_size st_blocks st_blksize st_flags st_gen st_spare",
        )
        + _names("S_IFREG S_IFCHR S_IFBLK"),
    ),
    Group(
        ("sys/types.h", "sys/bus.h"),
        (),
        _names(
            "sizeof(bus_space_tag_t) sizeof(bus_space_handle_t) sizeof(bus_addr_t) "
            "sizeof(bus_size_t) BUS_SPACE_MAP_LINEAR BUS_SPACE_MAP_CACHEABLE "
            "BUS_SPACE_MAP_PREFETCHABLE BUS_SPACE_BARRIER_READ BUS_SPACE_BARRIER_WRITE"
        ),
        _X86,
    ),
    Group(("sys/types.h", "sys/filio.h"), _names("FIOASYNC FIONBIO")),
    Group(
        ("sys/types.h", "sys/fcntl.h"),
        _names("F_SETFL SEEK_SET SEEK_CUR SEEK_END O_NONBLOCK"),
        _names("FCNTLFLAGS FASYNC FNONBLOCK FREAD FWRITE"),
    ),
    Group(
        ("sys/types.h", "sys/kauth.h", "sys/file.h"),
        kernel=(
            "FOF_UPDATE_OFFSET",
            "sizeof(register_t)",
            *_layout(
                "struct fileops",
                "fo_name fo_read fo_write fo_ioctl fo_fcntl fo_poll fo_stat fo_close fo_kqfilter "
                "fo_restart fo_mmap fo_seek fo_advlock fo_fpathconf fo_posix_fadvise fo_truncate",
            ),
            *_members(
                "struct file",
                "f_offset f_cred f_ops f_data f_list f_lock f_flag f_marker f_type f_advice "
                "f_count",
            ),
        ),
    ),
    Group(
        ("sys/types.h", "sys/kauth.h"),
        (),
        _names(
            "KAUTH_SYSTEM_SYSCTL KAUTH_SYSTEM_TIME KAUTH_REQ_SYSTEM_SYSCTL_MODIFY "
            "KAUTH_REQ_SYSTEM_SYSCTL_PRVT KAUTH_SYSTEM_MODULE KAUTH_REQ_SYSTEM_TIME_SYSTEM "
            "KAUTH_RESULT_ALLOW KAUTH_RESULT_DENY KAUTH_RESULT_DEFER sizeof(kauth_action_t) "
            "sizeof(KAUTH_SCOPE_SYSTEM) sizeof(KAUTH_SCOPE_DEVICE) sizeof(KAUTH_SCOPE_GENERIC) "
            "sizeof(KAUTH_SCOPE_PROCESS) sizeof(KAUTH_SCOPE_VNODE) KAUTH_PROCESS_SIGNAL "
            "KAUTH_DEVICE_RAWIO_SPEC KAUTH_DEVICE_RAWIO_PASSTHRU KAUTH_DEVICE_RND_ADDDATA_ESTIMATE "
            "KAUTH_DEVICE_GPIO_PINSET KAUTH_DEVICE_NVMM_CTL KAUTH_REQ_DEVICE_RAWIO_SPEC_READ "
            "KAUTH_REQ_DEVICE_RAWIO_SPEC_WRITE KAUTH_REQ_DEVICE_RAWIO_SPEC_RW "
            "KAUTH_REQ_DEVICE_RAWIO_PASSTHRU_READCONF KAUTH_REQ_DEVICE_RAWIO_PASSTHRU_WRITECONF "
            "KAUTH_VNODE_READ_DATA KAUTH_VNODE_WRITE_DATA KAUTH_VNODE_EXECUTE KAUTH_VNODE_IS_EXEC "
            "KAUTH_VNODE_ACCESS KAUTH_VNODE_REMOTEFS"
        ),
    ),
    Group(
        ("sys/syslog.h",),
        _names("LOG_EMERG LOG_ALERT LOG_CRIT LOG_ERR LOG_WARNING LOG_NOTICE LOG_INFO LOG_DEBUG"),
    ),
    Group(
        ("sys/types.h", "sys/uuid.h"),
        _layout(
            "struct uuid",
            "time_low time_mid time_hi_and_version clock_seq_hi_and_reserved clock_seq_low node",
        )
        + _names("_UUID_STR_LEN"),
    ),
    Group(
        ("sys/types.h", "sys/evcnt.h"),
        _layout(
            "struct evcnt",
            "ev_count ev_list ev_type ev_grouplen ev_namelen ev_parent ev_group ev_name",
        )
        + _names("EVCNT_TYPE_MISC EVCNT_TYPE_INTR EVCNT_TYPE_TRAP"),
    ),
    Group(
        ("sys/param.h", "sys/sysctl.h"),
        _layout(
            "struct sysctlnode",
            "sysctl_flags sysctl_num sysctl_name sysctl_ver sysctl_un sysctl_size sysctl_func "
            "sysctl_parent sysctl_desc sysctl_data sysctl_idata sysctl_qdata sysctl_bdata",
        )
        + _names(
            "SYSCTL_NAMELEN CTLTYPE_NODE CTLTYPE_INT CTLTYPE_STRING CTLTYPE_QUAD CTLTYPE_STRUCT "
            "CTLTYPE_BOOL CTLFLAG_READONLY CTLFLAG_READWRITE CTLFLAG_ANYWRITE CTLFLAG_PRIVATE "
            "CTLFLAG_PERMANENT CTLFLAG_OWNDATA CTLFLAG_IMMEDIATE CTLFLAG_HEX CTLFLAG_HIDDEN "
            "CTLFLAG_UNSIGNED CTL_EOL CTL_CREATE CTL_KERN CTL_HW CTL_MACHDEP"
        ),
    ),
    Group(
        ("sys/types.h", "sys/socket.h", "net/if.h"),
        _members(
            "struct ifnet",
            "if_softc if_xname if_pcount if_bpf if_index if_timer if_flags if_extflags if_type "
            "if_addrlen if_hdrlen if_sadl",
        )
        + _members("struct ifaddr", "ifa_addr ifa_dstaddr ifa_netmask ifa_ifp")
        + _names("IFNAMSIZ IFF_UP IFF_BROADCAST IFF_LOOPBACK IFF_POINTOPOINT IFF_RUNNING "
                 "IFF_MULTICAST sizeof(if_index_t)"),
        _members("struct ifnet", "if_pslist_entry if_addr_pslist")
        + _members("struct ifaddr", "ifa_pslist_entry")
        + ("sizeof(struct ifaddr)",),
    ),
    Group(
        ("sys/types.h", "sys/socket.h", "net/if.h", "net/if_dl.h", "net/if_types.h"),
        _layout("struct sockaddr_dl", "sdl_family sdl_index sdl_type sdl_nlen sdl_alen sdl_data")
        + _layout("struct sockaddr", "sa_len sa_family sa_data")
        + _names("AF_INET AF_LINK AF_INET6 IFT_OTHER IFT_ETHER IFT_PPP IFT_LOOP IFT_IEEE80211 "
                 "IFT_TUNNEL IFT_L2VLAN IFT_BRIDGE"),
    ),
    Group(
        ("sys/types.h", "sys/socket.h", "netinet/in.h"),
        _layout("struct sockaddr_in", "sin_len sin_family sin_port sin_addr")
        + _layout("struct in6_addr", "s6_addr")
        + _layout(
            "struct sockaddr_in6", "sin6_family sin6_port sin6_flowinfo sin6_addr sin6_scope_id"
        )
        + _names("INET_ADDRSTRLEN INET6_ADDRSTRLEN IN_LOOPBACKNET"),
        _names("INADDR_ANY INADDR_LOOPBACK INADDR_BROADCAST"),
    ),
    Group(
        # The kernel's struct ifaddr is longer than the installed one: compare what follows it.
        ("sys/types.h", "sys/socket.h", "net/if.h", "netinet/in.h", "netinet/in_var.h"),
        tuple(
            f"offsetof(struct in_ifaddr, {member}) - sizeof(struct ifaddr)"
            for member in _names("ia_net ia_addr ia_sockmask ia_idsalt ia4_flags")
        )
        + _names("IN_IFF_TENTATIVE IN_IFF_DUPLICATED IN_IFF_DETACHED IN_IFF_TRYTENTATIVE"),
        _members("struct in_ifaddr", "ia_addr ia4_flags"),
    ),
    Group(
        ("sys/types.h", "sys/socket.h", "net/if.h", "netinet/in.h", "netinet6/in6_var.h"),
        tuple(
            f"offsetof(struct in6_ifaddr, {member}) - sizeof(struct ifaddr)"
            for member in _names("ia_addr ia_prefixmask ia_plen ia6_flags")
        )
        + _names("IN6_IFF_ANYCAST IN6_IFF_TENTATIVE IN6_IFF_DUPLICATED IN6_IFF_DETACHED "
                 "IN6_IFF_DEPRECATED"),
        _members("struct in6_ifaddr", "ia_addr ia6_flags") + _names("IN6_IFF_NOTREADY"),
    ),
    Group(
        ("sys/types.h", "sys/statvfs.h"),
        _layout(
            "struct statvfs",
            "f_flag f_bsize f_frsize f_iosize f_blocks f_bfree f_bavail f_files f_fsid f_namemax "
            "f_owner f_fstypename f_mntonname f_mntfromname",
        ),
    ),
    Group(
        ("sys/param.h", "sys/mount.h"),
        _names("MNT_RDONLY MNT_LOCAL MNT_IGNORE MNT_WAIT MNT_NOWAIT"),
    ),
    Group(
        ("sys/types.h", "sys/power.h"),
        _names(
            "PSWITCH_TYPE_POWER PSWITCH_TYPE_SLEEP PSWITCH_TYPE_LID PSWITCH_TYPE_RESET "
            "PSWITCH_EVENT_PRESSED PSWITCH_EVENT_RELEASED"
        ),
    ),
    Group(
        ("sys/param.h", "dev/sysmon/sysmonvar.h"),
        (),
        (
            *_layout("struct sysmon_pswitch", "smpsw_name smpsw_type smpsw_list"),
            *_layout("sysmon_envsys_lim_t", "sel_critmax sel_warnmax sel_warnmin sel_critmin"),
            *_layout(
                "envsys_data_t",
                "sensors_head sensor units state flags rpms rfact value_cur value_prev value_max "
                "value_min private limits upropset rnd_src desc",
            ),
            *_layout(
                "struct sysmon_envsys",
                "sme_name sme_nsensors sme_fsensor sme_class sme_flags sme_cookie sme_refresh "
                "sme_set_limits sme_get_limits sme_events_timeout sme_list sme_events_list "
                "sme_sensors_list sme_mtx sme_work_mtx sme_condvar",
            ),
            *_layout(
                "struct sysmon_wdog",
                "smw_name smw_list smw_cookie smw_setmode smw_tickle smw_period smw_mode "
                "smw_refcnt smw_tickler",
            ),
            *_names(
                "ENVSYS_FPERCENT ENVSYS_FVALID_MAX ENVSYS_FVALID_MIN ENVSYS_FMONCRITICAL "
                "ENVSYS_FMONLIMITS ENVSYS_FMONSTCHANGED ENVSYS_FMONNOTSUPP ENVSYS_FHAS_ENTROPY "
                "PROP_CRITMAX PROP_CRITMIN PROP_WARNMAX PROP_WARNMIN PROP_DRIVER_LIMITS "
                "SME_DISABLE_REFRESH SME_INIT_REFRESH"
            ),
        ),
    ),
    Group(
        ("sys/param.h", "sys/device.h"),
        (),
        (
            *_layout("struct cfargs", "cfargs_version submatch search iattr locators devhandle"),
            *_names("CFARGS_VERSION QUIET UNCONF UNSUPP"),
        ),
    ),
    Group(
        ("sys/param.h", "sys/rndsource.h"),
        (),
        (
            "sizeof(krndsource_t)",
            *_names(
                "RND_FLAG_HASCB RND_FLAG_COLLECT_TIME RND_FLAG_COLLECT_VALUE "
                "RND_FLAG_ESTIMATE_TIME RND_FLAG_ESTIMATE_VALUE RND_FLAG_DEFAULT RND_TYPE_UNKNOWN "
                "RND_TYPE_RNG RND_TYPE_ENV RND_TYPE_POWER"
            ),
        ),
    ),
    Group(
        ("sys/types.h", "sys/envsys.h"),
        _names(
            "ENVSYS_STEMP ENVSYS_SFANRPM ENVSYS_SVOLTS_AC ENVSYS_SVOLTS_DC ENVSYS_SOHMS "
            "ENVSYS_SWATTS ENVSYS_SAMPS ENVSYS_SWATTHOUR ENVSYS_SAMPHOUR ENVSYS_INDICATOR "
            "ENVSYS_INTEGER ENVSYS_DRIVE ENVSYS_BATTERY_CAPACITY ENVSYS_BATTERY_CHARGE "
            "ENVSYS_SRELHUMIDITY ENVSYS_LUX ENVSYS_PRESSURE ENVSYS_NSENSORS ENVSYS_SVALID "
            "ENVSYS_SINVALID ENVSYS_SCRITICAL ENVSYS_SCRITUNDER ENVSYS_SCRITOVER "
            "ENVSYS_SWARNUNDER ENVSYS_SWARNOVER ENVSYS_MAXSENSORS ENVSYS_DESCLEN"
        ),
    ),
    Group(
        ("sys/types.h", "sys/wdog.h"),
        _names(
            "WDOG_MODE_DISARMED WDOG_MODE_KTICKLE WDOG_MODE_UTICKLE WDOG_MODE_ETICKLE "
            "WDOG_MODE_MASK"
        ),
    ),
    Group(
        ("sys/types.h", "prop/proplib.h"),
        _names(
            "PROP_TYPE_UNKNOWN PROP_TYPE_BOOL PROP_TYPE_NUMBER PROP_TYPE_STRING PROP_TYPE_DATA "
            "PROP_TYPE_ARRAY PROP_TYPE_DICTIONARY PROP_TYPE_DICT_KEYSYM"
        ),
    ),
    Group(("sys/param.h", "sys/psref.h"), (), ("sizeof(struct psref_target)",)),
    Group(
        ("sys/param.h", "sys/pslist.h"),
        (),
        ("sizeof(struct pslist_head)", *_layout("struct pslist_entry", "ple_prevp ple_next")),
    ),
    Group(
        ("sys/types.h", "x86/cpuvar.h"),
        _layout("struct cpufeature_attach_args", "ci name"),
        machines=_X86,
    ),
    Group(
        ("sys/param.h", "sys/cpu.h"),
        (),
        _layout("struct cpufeature_attach_args", "ci"),
        machines=("aarch64",),
        since=1099001200,
    ),
    Group(
        ("sys/param.h", "uvm/uvm_extern.h", "uvm/uvm_page.h"),
        kernel=(
            "sizeof(psize_t)",
            "sizeof(vaddr_t)",
            "sizeof(struct pglist)",
            *_members("struct vm_page", "pageq"),
            *_members(
                "struct uvmexp",
                "pagesize pagemask pageshift npages free paging wired ncolors colormask zeropages "
                "reserve_pagedaemon reserve_kernel anonpages filepages execpages freemin freetarg "
                "wiredmax nswapdev swpages swpgavail swpginuse swpgonly nswget faults traps intrs "
                "swtch softs syscalls pageins pgswapin pgswapout",
            ),
        ),
        machines=_X86,
    ),
)  # fmt: skip
