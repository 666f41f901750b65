"""kauth(9): root may, others may not (secmodel_suser of NetBSD)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel.api import Subject, kernel_function
from vmtsim.kernel.clock import SECOND
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.objects import Objects

if TYPE_CHECKING:
    from collections.abc import Mapping


_YEAR = 365 * 24 * 60 * 60
_LAST_TIME = (1 << 63) - 1


class Kauth(Subject):
    """Who may do what, by the credentials that are asked with.

    ``Lwp.asked`` counts the questions of each thread.
    """

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/kern/kern_auth.c 1.84": "*"}
    SERIALIZED = True

    def is_root(self) -> bool:
        """Whether the running thread has root's rights; kernel threads do."""
        process = self.kernel.current.process
        return process is None or process.uid == 0

    def allowed(self) -> bool:
        """Ask for the running thread: root may (secmodel_suser)."""
        self.kernel.current.asked += 1
        return self.is_root()

    def may_set_time(self, nanoseconds: int, delta: int) -> bool:
        """Whether the running thread may set real time, by ``delta`` ns to ``nanoseconds``.

        Root alone (secmodel_suser); at securelevel 2 and above nobody may set it back, or into
        the last year that time_t knows (secmodel_securelevel, time_wraps in kern_time.c).
        """
        if not self.allowed():
            return False
        level = self.kernel.memory.s32(self.kernel.symbols["securelevel"])
        return level <= 1 or (delta >= 0 and nanoseconds // SECOND <= _LAST_TIME - _YEAR)

    def may_change_modules(self) -> bool:
        """Whether the running thread may load and unload modules: not above securelevel 0."""
        level = self.kernel.memory.s32(self.kernel.symbols["securelevel"])
        return self.allowed() and level <= 0

    def _uid(self, function: str, credentials: int) -> int:
        """Return whose credentials these are."""
        kernel = self.kernel
        uid = kernel.subject(Objects).credentials.get(credentials)
        if uid is None:
            kernel.panic(
                "kauth-credentials",
                f"{function} by {kernel.where()} with {kernel.describe(credentials)}",
            )
        return uid

    @kernel_function("kauth_cred_t kauth_cred_get(void)")
    def kauth_cred_get(self) -> int:
        return self.kernel.memory.pointer(
            self.kernel.current.address + self.kernel.subject(Objects).offsets.l_cred
        )

    @kernel_function("uid_t kauth_cred_geteuid(kauth_cred_t cred)")
    @kernel_function("uid_t kauth_cred_getuid(kauth_cred_t cred)")
    def kauth_cred_geteuid(self, credentials: int) -> int:
        return self._uid("kauth_cred_geteuid", credentials)

    def _authorize(self, function: str, credentials: int) -> int:
        self.kernel.current.asked += 1
        # NOCRED is -1 and FSCRED -2: who asks with one of them is allowed everything.
        if credentials >> (8 * self.kernel.memory.pointer_size - 1):
            highest = (1 << 8 * self.kernel.memory.pointer_size) - 1
            if credentials in {highest, highest - 1}:
                return 0
        return Errno.EPERM if self._uid(function, credentials) else 0

    @kernel_function(
        "int kauth_authorize_system(kauth_cred_t cred, kauth_action_t action, int req, "
        "void *arg1, void *arg2, void *arg3)"
    )
    def kauth_authorize_system(
        self, credentials: int, _action: int, _request: int, _a: int, _b: int, _c: int
    ) -> int:
        return self._authorize("kauth_authorize_system", credentials)

    @kernel_function(
        "int kauth_authorize_device(kauth_cred_t cred, kauth_action_t action, "
        "void *arg0, void *arg1, void *arg2, void *arg3)"
    )
    def kauth_authorize_device(
        self, credentials: int, _action: int, _a: int, _b: int, _c: int, _d: int
    ) -> int:
        return self._authorize("kauth_authorize_device", credentials)

    @kernel_function(
        "int kauth_authorize_generic(kauth_cred_t cred, kauth_action_t action, void *arg0)"
    )
    def kauth_authorize_generic(self, credentials: int, _action: int, _argument: int) -> int:
        return self._authorize("kauth_authorize_generic", credentials)
