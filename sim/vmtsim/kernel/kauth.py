"""kauth(9): scopes, the listeners that modules add to them, and authorization.

A request goes to each listener of its scope.  An answer that denies decides, otherwise one that
allows; if all defer, the request is denied.  suser and securelevel listen as in a kernel that has
secmodel_bsd44; their decisions are in ``vmtsim.kernel.secmodel``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtgen.common.dataclass import dataclass
from vmtgen.common.twos import signed

from vmtsim.kernel.api import Call, Subject, kernel_function
from vmtsim.kernel.callback import same_locks
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.kernobj import KernelObject
from vmtsim.kernel.live import LiveObjects, Words
from vmtsim.kernel.objects import Objects

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel

    # The kernel's own listener: called with the uid, the action, and four arguments.
    Own = Callable[[int, int, tuple[int, ...]], int]

ALLOW, DENY, DEFER = range(3)  # KAUTH_RESULT_* of sys/sys/kauth.h
# Its actions and requests of the system scope.
SYSCTL, TIME, MODULE = 13, 14, 15
SYSCTL_MODIFY, SYSCTL_PRVT, TIME_SYSTEM = 15, 16, 20
_BUILT_IN = "generic system process network machdep device cred vnode"
_PREFIX = "org.netbsd.kauth."


@dataclass(eq=False)
class Scope:
    """A kauth_scope_t; ``address`` 0: a scope of the kernel, for which modules have no handle."""

    id: str
    cookie: int = 0
    made_at: int = 0
    address: int = 0
    object: KernelObject | None = None


@dataclass(eq=False)
class Listener:
    """A kauth_listener_t: a function of a module, or of the kernel itself."""

    scope: Scope
    function: int
    made_at: int
    object: KernelObject | None = None
    own: Own | None = None


class Kauth(Subject):
    """Authorization, by the credentials of the request.

    ``Lwp.asked`` counts the requests of each thread.
    """

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/kern/kern_auth.c 1.84": "*"}
    SERIALIZED: ClassVar[Mapping[str, str]] = {
        "kauth_lock": "kauth_listen_scope kauth_register_scope kauth_unlisten_scope",
        "kauth_lock reader": (
            "kauth_authorize_action kauth_authorize_device kauth_authorize_generic "
            "kauth_authorize_machdep kauth_authorize_network kauth_authorize_system"
        ),
    }
    ACCESSES_DATA = ""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._built_in = {name: Scope(f"{_PREFIX}{name}") for name in _BUILT_IN.split()}
        self._listeners: LiveObjects[Listener] = LiveObjects(
            self,
            Words("kauth listener", "registered", "removed"),
            unknown="kauth-unknown",
            left="kauth-left",
            name=lambda listener: f"of the scope {listener.scope.id!r}",
        )
        self._scopes: LiveObjects[Scope] = LiveObjects(
            self,
            Words("kauth scope", "registered", "deregistered"),
            unknown="kauth-unknown",
            left="kauth-left",
            name=lambda scope: repr(scope.id),
        )

    # -- requests of the kernel --------------------------------------------------------------

    def may(self, action: int, *arguments: int) -> Model:
        """Ask the system scope for the running thread; returns a bool."""
        error = self.authorize("system", self.kauth_cred_get(), action, *arguments)
        if not isinstance(error, int):
            error = yield from error
        return not error

    def own_listener(self, scope: str, own: Own) -> int:
        """Add a listener of the kernel itself; returns a handle for ``silence``."""
        handle = -1 - len(self._listeners)
        self._listeners[handle] = Listener(self._built_in[scope], 0, 0, own=own)
        return handle

    def silence(self, handle: int) -> None:
        """Remove the listener of ``own_listener``."""
        del self._listeners[handle]

    # -- credentials -------------------------------------------------------------------------

    def _uid(self, function: str, credentials: int) -> int:
        """Return the owner of the credentials."""
        kernel = self.kernel
        uid = kernel.subject(Objects).credentials.get(credentials)
        if uid is None:
            kernel.panic(
                "kauth-credentials",
                f"{function} by {kernel.where()} with {kernel.describe(credentials)}",
            )
        return uid

    def uid_of(self, function: str, credentials: int) -> int:
        """Return the user of a kauth_cred_t; panic if it is not one."""
        return self._uid(function, credentials)

    @kernel_function("kauth_cred_t kauth_cred_get(void)")
    def kauth_cred_get(self) -> int:
        return self.kernel.memory.pointer(
            self.kernel.current.address + self.kernel.subject(Objects).offsets.l_cred
        )

    @kernel_function("uid_t kauth_cred_geteuid(kauth_cred_t cred)")
    @kernel_function("uid_t kauth_cred_getuid(kauth_cred_t cred)")
    def kauth_cred_geteuid(self, credentials: int) -> int:
        return self._uid("kauth_cred_geteuid", credentials)

    @kernel_function("gid_t kauth_cred_getegid(kauth_cred_t cred)")
    @kernel_function("gid_t kauth_cred_getgid(kauth_cred_t cred)")
    def kauth_cred_getegid(self, credentials: int) -> int:
        """Return 0, the group wheel, for every user: processes of a scenario have no other."""
        self._uid("kauth_cred_getegid", credentials)
        return 0

    @kernel_function("kauth_cred_t kauth_cred_hold(kauth_cred_t cred)")
    def kauth_cred_hold(self, credentials: int) -> int:
        """Return the credentials; they are never freed, so references are not counted."""
        self._uid("kauth_cred_hold", credentials)
        return credentials

    @kernel_function("void kauth_cred_free(kauth_cred_t cred)")
    def kauth_cred_free(self, credentials: int) -> None:
        self._uid("kauth_cred_free", credentials)

    @kernel_function("int kauth_cred_uidmatch(kauth_cred_t cred1, kauth_cred_t cred2)")
    def kauth_cred_uidmatch(self, first: int, second: int) -> int:
        name = "kauth_cred_uidmatch"
        return self._uid(name, first) == self._uid(name, second)

    # -- scopes and listeners ----------------------------------------------------------------

    def _find(self, name: str | None) -> Scope | None:
        return next(
            (
                each
                for each in (*self._built_in.values(), *self._scopes.values())
                if each.id == name
            ),
            None,
        )

    def _listen(self, scope: Scope, function: int) -> int:
        made = KernelObject(self.kernel, 64, f"kauth listener of {scope.id!r}")
        self._listeners[made.at] = Listener(scope, function, self.kernel.call_site, made)
        return made.at

    @kernel_function("void *kauth_listen_scope(const char *id, void *callback, void *cookie)")
    def kauth_listen_scope(self, name: str | None, function: int, _cookie: int) -> int:
        """NULL for an unknown scope.  The cookie that listeners get is the scope's."""
        self.kernel.rules.may_sleep("kauth_listen_scope")
        scope = self._find(name)
        return 0 if scope is None else self._listen(scope, function)

    @kernel_function("void kauth_unlisten_scope(void *listener)")
    def kauth_unlisten_scope(self, address: int) -> None:
        self.kernel.rules.may_sleep("kauth_unlisten_scope")
        if not address:
            return
        listener = self._listeners.find("kauth_unlisten_scope", address)
        self._listeners.remove(address)
        if listener.object is not None:
            listener.object.free("kauth_unlisten_scope")

    @kernel_function("void *kauth_register_scope(const char *id, void *callback, void *cookie)")
    def kauth_register_scope(self, name: str | None, function: int, cookie: int) -> int:
        """NULL without a name, and for one that is in use."""
        kernel = self.kernel
        kernel.rules.may_sleep("kauth_register_scope")
        if name is None or self._find(name) is not None:
            return 0
        made = KernelObject(kernel, 64, f"kauth scope {name!r}")
        scope = Scope(name, cookie, kernel.call_site, made.at, made)
        self._scopes.add("kauth_register_scope", made.at, scope)
        if function:
            self._listen(scope, function)
        return made.at

    @kernel_function("void kauth_deregister_scope(void *scope)")
    def kauth_deregister_scope(self, address: int) -> None:
        """Free only the scope: a listener that still exists keeps a pointer to it."""
        kernel = self.kernel
        if not address:
            return
        scope = self._scopes.find("kauth_deregister_scope", address)
        for listener in list(self._listeners.values()):
            if listener.scope is scope:
                kernel.violation(
                    "kauth-scope-listeners",
                    f"kauth_deregister_scope by {kernel.where()}: the scope {scope.id!r} has a "
                    f"listener, registered by {self._listeners.made(listener)}",
                )
        self._scopes.remove(address)
        if scope.object is not None:
            scope.object.free("kauth_deregister_scope")

    # -- requests ----------------------------------------------------------------------------

    def authorize(
        self,
        name: str,
        credentials: int,
        action: int,
        *arguments: int,
        decide: Callable[[set[int]], int] | None = None,
    ) -> int | Model:
        """Ask one of the kernel's own scopes: returns an errno, or a model that does.

        ``decide`` makes the errno from all answers, unless it is EPERM.
        """
        function = f"kauth_authorize_{name}"
        scope = self._built_in[name]
        return self._authorize(function, scope, credentials, action, *arguments, decide=decide)

    def _authorize(
        self,
        function: str,
        scope: Scope,
        credentials: int,
        action: int,
        *arguments: int,
        decide: Callable[[set[int]], int] | None = None,
    ) -> int | Model:
        kernel = self.kernel
        kernel.current.asked += 1
        if not action:
            kernel.panic("kauth-action", f"{function} by {kernel.where()} for the action 0")
        # NOCRED is -1 and FSCRED -2: requests with one of them are always allowed.
        highest = (1 << 8 * kernel.memory.pointer_size) - 1
        if credentials in {highest, highest - 1}:
            return 0
        uid = self._uid(function, credentials)
        listeners = [each for each in self._listeners.values() if each.scope is scope]
        four = (*arguments, 0, 0, 0, 0)[:4]
        decide = decide or _errno
        if any(each.own is None for each in listeners):
            return self._ask(listeners, uid, credentials, action, four, decide)
        return decide({each.own(uid, action, four) for each in listeners if each.own is not None})

    def _ask(
        self,
        listeners: list[Listener],
        uid: int,
        credentials: int,
        action: int,
        arguments: tuple[int, ...],
        decide: Callable[[set[int]], int],
    ) -> Model:
        """Call the functions of modules, in the order in which they were registered."""
        kernel = self.kernel
        words = kernel.memory.wide(action)
        answers = set()
        for each in listeners:
            if each.own is not None:
                answers.add(each.own(uid, action, arguments))
                continue
            held = list(kernel.current.held)
            given = (credentials, *words, each.scope.cookie, *arguments)
            answers.add(signed((yield Call(each.function, given)), 32))
            who = f"the kauth listener {kernel.location(each.function)}"
            same_locks(kernel, held, who, "callback-with-mutex")
        return decide(answers)

    @kernel_function(
        "int kauth_authorize_action(void *scope, kauth_cred_t cred, kauth_action_t action, "
        "void *arg0, void *arg1, void *arg2, void *arg3)"
    )
    def kauth_authorize_action(
        self, scope: int, credentials: int, action: int, a: int, b: int, c: int, d: int
    ) -> int | Model:
        function = "kauth_authorize_action"
        found = self._scopes.find(function, scope)
        return self._authorize(function, found, credentials, action, a, b, c, d)

    @kernel_function(
        "int kauth_authorize_system(kauth_cred_t cred, kauth_action_t action, int req, "
        "void *arg1, void *arg2, void *arg3)"
    )
    def kauth_authorize_system(
        self, credentials: int, action: int, request: int, a: int, b: int, c: int
    ) -> int | Model:
        return self.authorize("system", credentials, action, request, a, b, c)

    @kernel_function(
        "int kauth_authorize_network(kauth_cred_t cred, kauth_action_t action, int req, "
        "void *arg1, void *arg2, void *arg3)"
    )
    def kauth_authorize_network(
        self, credentials: int, action: int, request: int, a: int, b: int, c: int
    ) -> int | Model:
        return self.authorize("network", credentials, action, request, a, b, c)

    @kernel_function(
        "int kauth_authorize_machdep(kauth_cred_t cred, kauth_action_t action, "
        "void *arg0, void *arg1, void *arg2, void *arg3)"
    )
    def kauth_authorize_machdep(
        self, credentials: int, action: int, a: int, b: int, c: int, d: int
    ) -> int | Model:
        return self.authorize("machdep", credentials, action, a, b, c, d)

    @kernel_function(
        "int kauth_authorize_device(kauth_cred_t cred, kauth_action_t action, "
        "void *arg0, void *arg1, void *arg2, void *arg3)"
    )
    def kauth_authorize_device(
        self, credentials: int, action: int, a: int, b: int, c: int, d: int
    ) -> int | Model:
        return self.authorize("device", credentials, action, a, b, c, d)

    @kernel_function(
        "int kauth_authorize_generic(kauth_cred_t cred, kauth_action_t action, void *arg0)"
    )
    def kauth_authorize_generic(self, credentials: int, action: int, argument: int) -> int | Model:
        return self.authorize("generic", credentials, action, argument)


def _errno(answers: set[int]) -> int:
    """kauth_authorize_action(): if all defer, a kernel with a security model denies."""
    return 0 if ALLOW in answers and DENY not in answers else Errno.EPERM
