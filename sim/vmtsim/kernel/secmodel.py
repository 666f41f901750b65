"""secmodel(9): the registered models, and how suser and securelevel answer kauth(9).

Root is allowed every action of the scopes system, network and machdep, while NetBSD's suser lists
the known ones.  Of securelevel only the actions that the kernel's own requests need are modelled:
the time, modules, and devices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtgen.common.dataclass import dataclass
from vmtgen.common.twos import signed

from vmtsim.kernel import kauth
from vmtsim.kernel.api import Call, Subject, kernel_function
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.kauth import ALLOW, DEFER, DENY, Kauth
from vmtsim.kernel.kernobj import KernelObject
from vmtsim.kernel.live import LiveObjects, Words
from vmtsim.kernel.permission import RAWIO_PASSTHRU, RAWIO_SPEC, Permissions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel

_YEAR = 365 * 24 * 60 * 60
_LAST_TIME = (1 << 63) - 1
# Actions of sys/sys/kauth.h: of the scope device, the last of process, two bits of vnode.
_RND_ADDDATA_ESTIMATE, _GPIO_PINSET, _LAST_DEVICE, _LAST_PROCESS = 8, 13, 19, 16
_EXECUTE, _IS_EXEC = 1 << 2, 1 << 29
_PASSTHRU_READCONF, _SPEC_READ = 4, 1
_SUSER, _SECURELEVEL = "org.netbsd.secmodel.suser", "org.netbsd.secmodel.securelevel"
# The models of every kernel, which no module can register again (sys/conf/std).
_OWN = frozenset(
    {_SUSER, _SECURELEVEL, "org.netbsd.secmodel.bsd44", "org.netbsd.secmodel.extensions"}
)


@dataclass(eq=False)
class SecurityModel:
    """A secmodel_t of a module."""

    id: str
    evaluate: int
    made_at: int
    object: KernelObject


class SecurityModels(Subject):
    """All security models, and the two that decide."""

    SOURCES: ClassVar[Mapping[str, str]] = {
        "sys/secmodel/secmodel.c 1.2": "*",
        "sys/secmodel/suser/secmodel_suser.c 1.58": (
            "secmodel_suser_stop secmodel_suser_generic_cb secmodel_suser_system_cb "
            "secmodel_suser_process_cb secmodel_suser_network_cb secmodel_suser_machdep_cb "
            "secmodel_suser_device_cb"
        ),
        "sys/secmodel/securelevel/secmodel_securelevel.c 1.37": (
            "secmodel_securelevel_stop secmodel_securelevel_system_cb "
            "secmodel_securelevel_process_cb secmodel_securelevel_network_cb "
            "secmodel_securelevel_machdep_cb secmodel_securelevel_device_cb"
        ),
    }
    SERIALIZED: ClassVar[Mapping[str, str]] = {
        "secmodels_lock": "secmodel_register secmodel_deregister",
        "secmodels_lock reader": "secmodel_eval",
    }
    ACCESSES_DATA = "secmodel_register secmodel_eval"

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._kauth = kernel.subject(Kauth)
        self._models: LiveObjects[SecurityModel] = LiveObjects(
            self,
            Words("security model", "registered", "deregistered"),
            unknown="secmodel-unknown",
            left="secmodel-left",
            name=lambda model: repr(model.id),
        )
        listeners = {
            "generic": self._root, "system": self._root, "process": self._root_process,
            "network": self._root, "machdep": self._root, "device": self._root_device,
            "vnode": self._root_vnode,
        }  # fmt: skip
        self._suser = [self._kauth.own_listener(*each) for each in listeners.items()]
        self._securelevel = [
            self._kauth.own_listener("system", self._level),
            self._kauth.own_listener("device", self._level_device),
        ]

    # -- suser and securelevel ----------------------------------------------------------------

    def _root(self, uid: int, _action: int, _arguments: tuple[int, ...]) -> int:
        return DEFER if uid else ALLOW

    def _root_process(self, uid: int, action: int, arguments: tuple[int, ...]) -> int:
        return self._root(uid, action, arguments) if action <= _LAST_PROCESS else DEFER

    def _root_device(self, uid: int, action: int, arguments: tuple[int, ...]) -> int:
        """For raw devices suser defers: the permissions of the node decide."""
        if action in {RAWIO_SPEC, RAWIO_PASSTHRU} or action > _LAST_DEVICE:
            return DEFER
        return self._root(uid, action, arguments)

    def _root_vnode(self, uid: int, action: int, arguments: tuple[int, ...]) -> int:
        """Root may execute what any user may execute."""
        if action & _EXECUTE and not action & _IS_EXEC:
            return DEFER
        return self._root(uid, action, arguments)

    def _level_device(self, _uid: int, action: int, arguments: tuple[int, ...]) -> int:
        """Deny pins and commands for the hardware above securelevel 0; disks, estimates above 1.

        A disk with a mounted file system is denied above 0: here none is mounted.
        """
        level = self.kernel.memory.s32(self.kernel.symbols["securelevel"])
        first, second = arguments[:2]
        denied = {
            RAWIO_SPEC: level > 1
            and first != _SPEC_READ
            and self.kernel.subject(Permissions).is_disk(second),
            RAWIO_PASSTHRU: level > 0 and bool(first & ~_PASSTHRU_READCONF),
            _GPIO_PINSET: level > 0,
            _RND_ADDDATA_ESTIMATE: level > 1,
        }
        return DENY if denied.get(action) else DEFER

    def _level(self, _uid: int, action: int, arguments: tuple[int, ...]) -> int:
        """Deny modules above securelevel 0, and above 1 the times that time_wraps() refuses.

        kern_time.c: a time that is set back, or set into the last year that time_t can represent.
        """
        memory = self.kernel.memory
        level = memory.s32(self.kernel.symbols["securelevel"])
        if action == kauth.MODULE and level > 0:
            return DENY
        if action == kauth.TIME and arguments[0] == kauth.TIME_SYSTEM and level > 1:
            time, delta = memory.timespec(arguments[1]), memory.timespec(arguments[2])
            if time[0] > _LAST_TIME - _YEAR or min(delta) < 0:
                return DENY
        return DEFER

    def _callback(self, own: kauth.Own, credentials: int, action: int, *arguments: int) -> int:
        uid = self._kauth.uid_of("a listener of secmodel_bsd44", credentials)
        return own(uid, action, arguments)

    @kernel_function(
        "int secmodel_suser_generic_cb(kauth_cred_t cred, kauth_action_t action, void *cookie, "
        "void *arg0, void *arg1, void *arg2, void *arg3)"
    )
    @kernel_function(
        "int secmodel_suser_system_cb(kauth_cred_t cred, kauth_action_t action, void *cookie, "
        "void *arg0, void *arg1, void *arg2, void *arg3)"
    )
    @kernel_function(
        "int secmodel_suser_network_cb(kauth_cred_t cred, kauth_action_t action, void *cookie, "
        "void *arg0, void *arg1, void *arg2, void *arg3)"
    )
    @kernel_function(
        "int secmodel_suser_machdep_cb(kauth_cred_t cred, kauth_action_t action, void *cookie, "
        "void *arg0, void *arg1, void *arg2, void *arg3)"
    )
    def suser_callback(
        self, credentials: int, action: int, _cookie: int, a: int, b: int, c: int, d: int
    ) -> int:
        return self._callback(self._root, credentials, action, a, b, c, d)

    @kernel_function(
        "int secmodel_suser_process_cb(kauth_cred_t cred, kauth_action_t action, void *cookie, "
        "void *arg0, void *arg1, void *arg2, void *arg3)"
    )
    def secmodel_suser_process_cb(
        self, credentials: int, action: int, _cookie: int, a: int, b: int, c: int, d: int
    ) -> int:
        return self._callback(self._root_process, credentials, action, a, b, c, d)

    @kernel_function(
        "int secmodel_suser_device_cb(kauth_cred_t cred, kauth_action_t action, void *cookie, "
        "void *arg0, void *arg1, void *arg2, void *arg3)"
    )
    def secmodel_suser_device_cb(
        self, credentials: int, action: int, _cookie: int, a: int, b: int, c: int, d: int
    ) -> int:
        return self._callback(self._root_device, credentials, action, a, b, c, d)

    @kernel_function(
        "int secmodel_securelevel_system_cb(kauth_cred_t cred, kauth_action_t action, "
        "void *cookie, void *arg0, void *arg1, void *arg2, void *arg3)"
    )
    def secmodel_securelevel_system_cb(
        self, credentials: int, action: int, _cookie: int, a: int, b: int, c: int, d: int
    ) -> int:
        return self._callback(self._level, credentials, action, a, b, c, d)

    @kernel_function(
        "int secmodel_securelevel_device_cb(kauth_cred_t cred, kauth_action_t action, "
        "void *cookie, void *arg0, void *arg1, void *arg2, void *arg3)"
    )
    def secmodel_securelevel_device_cb(
        self, credentials: int, action: int, _cookie: int, a: int, b: int, c: int, d: int
    ) -> int:
        return self._callback(self._level_device, credentials, action, a, b, c, d)

    @kernel_function(
        "int secmodel_securelevel_process_cb(kauth_cred_t cred, kauth_action_t action)"
    )
    @kernel_function(
        "int secmodel_securelevel_network_cb(kauth_cred_t cred, kauth_action_t action)"
    )
    @kernel_function(
        "int secmodel_securelevel_machdep_cb(kauth_cred_t cred, kauth_action_t action)"
    )
    def securelevel_defers(self, _credentials: int, _action: int) -> int:
        return DEFER

    @kernel_function("void secmodel_suser_stop(void)")
    def secmodel_suser_stop(self) -> None:
        self._stop("secmodel_suser_stop", self._suser)

    @kernel_function("void secmodel_securelevel_stop(void)")
    def secmodel_securelevel_stop(self) -> None:
        self._stop("secmodel_securelevel_stop", self._securelevel)

    def _stop(self, function: str, handles: list[int]) -> None:
        kernel = self.kernel
        kernel.rules.may_sleep(function)
        if not handles:
            kernel.panic(
                "kauth-unknown",
                f"{function} by {kernel.where()}: its kauth listeners were already removed",
            )
        for each in handles:
            self._kauth.silence(each)
        handles.clear()

    # -- functions for modules ---------------------------------------------------------------

    def _find(self, name: str) -> SecurityModel | None:
        return next((each for each in self._models.values() if each.id.lower() == name), None)

    @kernel_function("int secmodel_nsecmodels(void)")
    def secmodel_nsecmodels(self) -> int:
        return len(_OWN) + len(self._models)

    @kernel_function(
        "int secmodel_register(void *result, const char *id, const char *name, "
        "prop_dictionary_t behavior, void *eval, void *setinfo)"
    )
    def secmodel_register(
        self,
        result: int,
        name: str | None,
        _title: str | None,
        _behavior: int,
        evaluate: int,
        _set: int,
    ) -> int:
        """NULL and EEXIST for an id that is in use: letters of both cases are equal."""
        kernel = self.kernel
        kernel.rules.may_sleep("secmodel_register")
        name = name or ""
        if name.lower() in _OWN or self._find(name.lower()) is not None:
            kernel.memory.put_pointer(result, 0)
            return Errno.EEXIST
        made = KernelObject(kernel, 64, f"security model {name!r}")
        self._models[made.at] = SecurityModel(name, evaluate, kernel.call_site, made)
        kernel.memory.put_pointer(result, made.at)
        return 0

    @kernel_function("int secmodel_deregister(void *sm)")
    def secmodel_deregister(self, address: int) -> int:
        self.kernel.rules.may_sleep("secmodel_deregister")
        if not address:
            return Errno.EFAULT
        model = self._models.find("secmodel_deregister", address)
        self._models.remove(address)
        model.object.free("secmodel_deregister")
        return 0

    @kernel_function("int secmodel_eval(const char *id, const char *what, void *arg, void *ret)")
    def secmodel_eval(self, name: str | None, what_at: str | None, arg: int, ret: int) -> Model:
        """A model's answer: its own errno is returned negative."""
        kernel, memory = self.kernel, self.kernel.memory
        kernel.rules.may_sleep("secmodel_eval")
        name, what = (name or "").lower(), what_at or ""
        model = self._find(name)
        if model is None and name not in _OWN:
            return Errno.EINVAL
        if not (model.evaluate if model else name in {_SUSER, _SECURELEVEL}):
            return Errno.ENOENT
        if not ret:
            return Errno.EFAULT
        if model is not None:
            text = kernel.memory.scratch(len(what) + 1)
            memory.write(text, what.encode("latin-1") + b"\0")
            return -signed((yield Call(model.evaluate, (text, arg, ret))), 32)
        if name == _SUSER and what.lower() == "is-root":
            memory.put_u8(ret, not self._kauth.uid_of("secmodel_eval", arg))
        elif name == _SECURELEVEL and what.lower() == "is-securelevel-above":
            level = memory.s32(kernel.symbols["securelevel"])
            memory.put_u8(ret, level > signed(arg & 0xFFFFFFFF, 32))
        else:
            return -Errno.ENOENT
        return 0
