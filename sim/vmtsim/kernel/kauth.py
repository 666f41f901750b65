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
    """Who may do what.  ``asked`` counts the questions of the running system call."""

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/kern/kern_auth.c 1.84": "*"}

    asked = 0

    def is_root(self) -> bool:
        """Whether the running thread has root's rights; kernel threads do."""
        process = self.kernel.current.process
        return process is None or process.uid == 0

    def may_set_time(self, nanoseconds: int, delta: int) -> bool:
        """Whether the running thread may set real time, by ``delta`` ns to ``nanoseconds``.

        Root alone (secmodel_suser); at securelevel 2 and above nobody may set it back, or into
        the last year that time_t knows (secmodel_securelevel, time_wraps in kern_time.c).
        """
        self.asked += 1
        if not self.is_root():
            return False
        level = self.kernel.memory.s32(self.kernel.symbols["securelevel"])
        return level <= 1 or (delta >= 0 and nanoseconds // SECOND <= _LAST_TIME - _YEAR)

    @kernel_function("kauth_cred_t kauth_cred_get(void)")
    def kauth_cred_get(self) -> int:
        return self.kernel.subject(Objects).cred0

    @kernel_function("uid_t kauth_cred_geteuid(kauth_cred_t cred)")
    @kernel_function("uid_t kauth_cred_getuid(kauth_cred_t cred)")
    def kauth_cred_geteuid(self, _cred: int) -> int:
        process = self.kernel.current.process
        return process.uid if process is not None else 0

    @kernel_function(
        "int kauth_authorize_system(kauth_cred_t cred, kauth_action_t action, int req, "
        "void *arg1, void *arg2, void *arg3)"
    )
    def kauth_authorize_system(
        self, _cred: int, _action: int, _request: int, _a: int, _b: int, _c: int
    ) -> int:
        self.asked += 1
        return 0 if self.is_root() else Errno.EPERM

    @kernel_function(
        "int kauth_authorize_generic(kauth_cred_t cred, kauth_action_t action, void *arg0)"
    )
    def kauth_authorize_generic(self, _cred: int, _action: int, _argument: int) -> int:
        self.asked += 1
        return 0 if self.is_root() else Errno.EPERM
