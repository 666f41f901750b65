"""kauth(9) requests of the kernel about vnodes and processes: an open, a raw device, a signal.

Each file that a process opens has a vnode, which consists of its address and its name in messages.
There are no requests for the directories of its path.

Requests: sys/kern/vfs_vnops.c 1.244 (vn_openchk), sys/ufs/ufs/ufs_vnops.c 1.262
(ufs_check_permitted), sys/miscfs/specfs/spec_vnops.c 1.219 (spec_open), sys/kern/kern_sig.c 1.409
(killpg1).  Answers: rawio_listener_cb and signal_listener_cb of the last two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel.api import Subject, kernel_function
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.kauth import ALLOW, DEFER, DENY, Kauth
from vmtsim.kernel.kernobj import KernelObject
from vmtsim.kernel.objects import Objects

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.lwp import Lwp

FREAD, FWRITE = 1, 2  # sys/sys/fcntl.h
SIGINT = 2  # sys/sys/signal.h
# Actions and requests of sys/sys/kauth.h.
READ_DATA, WRITE_DATA, ACCESS = 1 << 0, 1 << 1, 1 << 31
SIGNAL = 15
RAWIO_SPEC, RAWIO_PASSTHRU = 4, 5
_SPEC_READ, _SPEC_WRITE, _SPEC_RW = 1, 2, 3
_REMOTE = -1  # KAUTH_VNODE_REMOTEFS: the file system decides later


class Permissions(Subject):
    """Requests of the scopes vnode, device and process."""

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/kern/kern_auth.c 1.84": "*"}
    SERIALIZED: ClassVar[Mapping[str, str]] = {"kauth_lock reader": "*"}
    ACCESSES_DATA = ""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._kauth = kernel.subject(Kauth)
        self._vnodes: dict[str, KernelObject] = {}
        self._disks: set[int] = set()
        self._kauth.own_listener("device", self._raw)
        self._kauth.own_listener("process", self._may_signal)

    def vnode(self, name: str) -> int:
        """Return the address of the vnode of a file."""
        if name not in self._vnodes:
            self._vnodes[name] = KernelObject(self.kernel, 512, f"vnode of {name}")
        return self._vnodes[name].at

    # -- the kernel's own listeners ----------------------------------------------------------

    def _raw(self, _uid: int, action: int, _arguments: tuple[int, ...]) -> int:
        """rawio_listener_cb: the permissions of the node have already decided."""
        return ALLOW if action in {RAWIO_SPEC, RAWIO_PASSTHRU} else DEFER

    def _may_signal(self, uid: int, action: int, arguments: tuple[int, ...]) -> int:
        """signal_listener_cb: a process of the same user.  Sessions are not modelled."""
        if action != SIGNAL:
            return DEFER
        credentials = self.kernel.subject(Objects)
        for lwp in self.kernel.scheduler.lwps:
            if lwp.process is not None and lwp.address:
                process = self.kernel.memory.pointer(lwp.address + credentials.offsets.l_proc)
                if process == arguments[0]:
                    return ALLOW if lwp.process.uid == uid else DEFER
        return DEFER

    # -- requests ----------------------------------------------------------------------------

    def open(self, name: str, flags: int) -> Model:
        """Return whether the running process may open a file: an errno.

        vn_openchk and ufs_check_permitted.  The file is root's, with mode 0600, as in
        genfs_can_access.
        """
        kauth = self._kauth
        credentials = kauth.kauth_cred_get()
        uid = kauth.uid_of("vn_open", credentials)
        action = (READ_DATA if flags & FREAD else 0) | (WRITE_DATA if flags & FWRITE else 0)
        decision = Errno.EACCES if uid and action else 0
        error = self.kauth_authorize_vnode(
            credentials, action or ACCESS, self.vnode(name), 0, decision
        )
        if not isinstance(error, int):
            error = yield from error
        return error

    def is_disk(self, vnode: int) -> bool:
        """Whether a vnode is one of a disk."""
        return vnode in self._disks

    def raw(self, name: str, flags: int, *, disk: bool = False) -> Model:
        """Return whether the running process may use a device node: an errno (spec_open)."""
        if disk:
            self._disks.add(self.vnode(name))
        mode = flags & (FREAD | FWRITE)
        request = {FREAD | FWRITE: _SPEC_RW, FWRITE: _SPEC_WRITE}.get(mode, _SPEC_READ)
        credentials = self._kauth.kauth_cred_get()
        error = self.kauth_authorize_device_spec(credentials, request, self.vnode(name))
        if not isinstance(error, int):
            error = yield from error
        return error

    def signal(self, lwp: Lwp, number: int) -> Model:
        """Return whether the running process may send a signal to another (killpg1)."""
        if not lwp.address:
            return True  # it has not run yet: there is no struct proc
        process = self.kernel.memory.pointer(
            lwp.address + self.kernel.subject(Objects).offsets.l_proc
        )
        credentials = self._kauth.kauth_cred_get()
        error = self._kauth.authorize("process", credentials, SIGNAL, process, number)
        if not isinstance(error, int):
            error = yield from error
        return not error

    # -- functions for drivers -----------------------------------------------------------------

    @kernel_function(
        "int kauth_authorize_vnode(kauth_cred_t cred, kauth_action_t action, void *vp, void *dvp, "
        "int fs_decision)"
    )
    def kauth_authorize_vnode(
        self, credentials: int, action: int, vnode: int, directory: int, decision: int
    ) -> int | Model:
        """EACCES if one denies; if all defer, the decision of the file system."""

        def decide(answers: set[int]) -> int:
            if DENY in answers:
                return Errno.EACCES
            if ALLOW in answers or decision == _REMOTE:
                return 0
            return decision

        return self._kauth.authorize("vnode", credentials, action, vnode, directory, decide=decide)

    @kernel_function(
        "int kauth_authorize_process(kauth_cred_t cred, kauth_action_t action, struct proc *p, "
        "void *arg1, void *arg2, void *arg3)"
    )
    def kauth_authorize_process(
        self, credentials: int, action: int, process: int, a: int, b: int, c: int
    ) -> int | Model:
        return self._kauth.authorize("process", credentials, action, process, a, b, c)

    @kernel_function("int kauth_authorize_device_spec(kauth_cred_t cred, int req, void *vp)")
    def kauth_authorize_device_spec(
        self, credentials: int, request: int, vnode: int
    ) -> int | Model:
        return self._kauth.authorize("device", credentials, RAWIO_SPEC, request, vnode)

    @kernel_function(
        "int kauth_authorize_device_passthru(kauth_cred_t cred, dev_t dev, u_long bits, void *data)"
    )
    def kauth_authorize_device_passthru(
        self, credentials: int, device: int, bits: int, data: int
    ) -> int | Model:
        word = (1 << 8 * self.kernel.memory.pointer_size) - 1
        return self._kauth.authorize(
            "device", credentials, RAWIO_PASSTHRU, bits, device & word, data
        )

    @kernel_function(
        "int kauth_authorize_device_tty(kauth_cred_t cred, kauth_action_t action, struct tty *tty)"
    )
    def kauth_authorize_device_tty(self, credentials: int, action: int, tty: int) -> int | Model:
        return self._kauth.authorize("device", credentials, action, tty)
