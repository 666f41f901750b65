"""kauth(9) listeners and scopes, security models, and every misuse of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from vmtsim.kernel.api import Block, Call
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.lwp import WaitQueue
from vmtsim.kernel.modules import Modules
from vmtsim.kernel.objects import Objects
from vmtsim.kernel.permission import SIGINT, Permissions
from vmtsim.kernel.process import Processes

from .guestcode import MACHINES

if TYPE_CHECKING:
    from .guestcode import Code

SOURCE = """
    #include <sys/param.h>
    #include <sys/errno.h>
    #include <sys/kauth.h>
    #include <sys/mutex.h>

    typedef struct secmodel *secmodel_t;
    int secmodel_register(secmodel_t *, const char *, const char *, void *,
        int (*)(const char *, void *, void *), void *);
    int secmodel_deregister(secmodel_t);
    int secmodel_eval(const char *, const char *, void *, void *);
    int secmodel_nsecmodels(void);
    void secmodel_suser_stop(void);

    int answer = KAUTH_RESULT_DEFER, asked, last_action, last_arg, cookie = 5, seen_cookie, keep;
    static kauth_listener_t listener;
    static kauth_scope_t scope;
    static secmodel_t model;
    static kmutex_t lock;

    static int
    listen(kauth_cred_t cred, kauth_action_t action, void *what, void *a, void *b, void *c, void *d)
    {
            asked++;
            last_action = action;
            last_arg = (intptr_t)a;
            seen_cookie = what ? *(int *)what : 0;
            if (keep)
                    mutex_enter(&lock);
            return answer;
    }

    int
    begin(void)
    {
            mutex_init(&lock, MUTEX_DEFAULT, IPL_NONE);
            listener = kauth_listen_scope(KAUTH_SCOPE_SYSTEM, listen, &cookie);
            return listener == NULL;
    }

    int
    end_it(void)
    {
            kauth_unlisten_scope(listener);
            kauth_unlisten_scope(NULL);
            mutex_destroy(&lock);
            return 0;
    }

    int
    listen_nowhere(void)
    {
            return kauth_listen_scope("org.netbsd.kauth.nowhere", listen, NULL) == NULL;
    }

    int
    ask(int action)
    {
            return kauth_authorize_system(kauth_cred_get(), action, 77, NULL, NULL, NULL);
    }

    int
    own_scope(void)
    {
            int error;

            scope = kauth_register_scope("org.example.scope", listen, &cookie);
            if (scope == NULL || kauth_register_scope("org.example.scope", NULL, NULL) != NULL)
                    return 1;
            answer = KAUTH_RESULT_ALLOW;
            if (kauth_authorize_action(scope, kauth_cred_get(), 9, (void *)3, 0, 0, 0) != 0)
                    return 2;
            answer = KAUTH_RESULT_DEFER;
            error = kauth_authorize_action(scope, kauth_cred_get(), 9, (void *)3, 0, 0, 0);
            return error == EPERM && last_action == 9 && last_arg == 3 ? 0 : 3;
    }

    int
    drop_scope(void)
    {
            kauth_deregister_scope(scope);
            return 0;
    }

    static int
    evaluate(const char *what, void *arg, void *ret)
    {
            *(int *)ret = what[0] + (int)(intptr_t)arg;
            return what[0] == 'x' ? EINVAL : 0;
    }

    int
    model_start(void)
    {
            return secmodel_register(&model, "org.example.Model", "example", NULL, evaluate, NULL);
    }

    int
    model_twice(void)
    {
            secmodel_t other;
            int error;

            error = secmodel_register(&other, "ORG.example.model", "other", NULL, NULL, NULL);
            return other == NULL ? error : -1;
    }

    int
    model_stop(void)
    {
            return secmodel_deregister(model);
    }

    int
    evaluates(void)
    {
            bool is = true;
            int got = 0;

            if (secmodel_eval("org.example.model", "a", (void *)1, &got) != 0 || got != 'b')
                    return 1;
            if (secmodel_eval("org.example.model", "x", NULL, &got) != -EINVAL)
                    return 2;
            if (secmodel_eval("org.example.other", "a", NULL, &got) != EINVAL)
                    return 3;
            if (secmodel_eval("org.example.model", "a", NULL, NULL) != EFAULT)
                    return 4;
            if (secmodel_eval("org.netbsd.secmodel.bsd44", "a", NULL, &got) != ENOENT)
                    return 5;
            if (secmodel_eval("org.netbsd.secmodel.suser", "is-root", kauth_cred_get(), &is) || !is)
                    return 6;
            if (secmodel_eval("org.netbsd.secmodel.securelevel", "is-securelevel-above",
                (void *)0, &is) || is)
                    return 7;
            if (secmodel_eval("org.netbsd.secmodel.suser", "is-toor", kauth_cred_get(), &is)
                != -ENOENT)
                    return 8;
            return secmodel_nsecmodels() == 5 ? 0 : 9;
    }

    int
    others(int which)
    {
            void *other = &answer;

            if (which == 0)
                    kauth_unlisten_scope(other);
            if (which == 1)
                    kauth_deregister_scope(other);
            if (which == 2)
                    kauth_authorize_action(other, kauth_cred_get(), 1, NULL, NULL, NULL, NULL);
            return secmodel_deregister(other);
    }

    static kauth_listener_t listeners[3];
    int answers[3] = { KAUTH_RESULT_DEFER, KAUTH_RESULT_DEFER, KAUTH_RESULT_DEFER };
    int counts[3];
    unsigned long actions[3], firsts[3], seconds[3];

    static int
    note(int of, kauth_action_t action, void *a, void *b)
    {
            counts[of]++;
            actions[of] = action;
            firsts[of] = (unsigned long)a;
            seconds[of] = (unsigned long)b;
            return answers[of];
    }

    static int
    on_device(kauth_cred_t cred, kauth_action_t action, void *what, void *a, void *b, void *c,
        void *d)
    {
            return note(0, action, a, b);
    }

    static int
    on_process(kauth_cred_t cred, kauth_action_t action, void *what, void *a, void *b, void *c,
        void *d)
    {
            return note(1, action, a, b);
    }

    static int
    on_vnode(kauth_cred_t cred, kauth_action_t action, void *what, void *a, void *b, void *c,
        void *d)
    {
            return note(2, action, a, b);
    }

    int
    begin_scopes(void)
    {
            listeners[0] = kauth_listen_scope(KAUTH_SCOPE_DEVICE, on_device, NULL);
            listeners[1] = kauth_listen_scope(KAUTH_SCOPE_PROCESS, on_process, NULL);
            listeners[2] = kauth_listen_scope(KAUTH_SCOPE_VNODE, on_vnode, NULL);
            return 0;
    }

    int
    end_scopes(void)
    {
            int i;

            for (i = 0; i < 3; i++)
                    kauth_unlisten_scope(listeners[i]);
            return 0;
    }

    static struct vnode *const vp = (struct vnode *)0x40;

    int
    ask_device(int which)
    {
            kauth_cred_t cred = kauth_cred_get();

            switch (which) {
            case 0:
                    return kauth_authorize_device(cred, KAUTH_DEVICE_GPIO_PINSET, vp, NULL, NULL,
                        NULL);
            case 1:
                    return kauth_authorize_device_spec(cred, KAUTH_REQ_DEVICE_RAWIO_SPEC_RW, vp);
            case 2:
                    return kauth_authorize_device_passthru(cred, 5,
                        KAUTH_REQ_DEVICE_RAWIO_PASSTHRU_WRITECONF, NULL);
            case 3:
                    return kauth_authorize_device_passthru(cred, 5,
                        KAUTH_REQ_DEVICE_RAWIO_PASSTHRU_READCONF, NULL);
            case 4:
                    return kauth_authorize_device(cred, KAUTH_DEVICE_RND_ADDDATA_ESTIMATE, NULL,
                        NULL, NULL, NULL);
            case 5:
                    return kauth_authorize_device(cred, KAUTH_DEVICE_NVMM_CTL + 1, NULL, NULL,
                        NULL, NULL);
            case 6:
                    return kauth_authorize_device_tty(cred, 1, NULL);
            default:
                    return kauth_authorize_device(cred, 0, NULL, NULL, NULL, NULL);
            }
    }

    int
    ask_vnode(int bits, int decision)
    {
            kauth_action_t action = bits == 0 ? KAUTH_VNODE_IS_EXEC | KAUTH_VNODE_EXECUTE : bits;

            return kauth_authorize_vnode(kauth_cred_get(), action, vp, NULL, decision);
    }

    int
    ask_process(int action)
    {
            return kauth_authorize_process(kauth_cred_get(), action, (struct proc *)vp,
                (void *)3, NULL, NULL);
    }

    int
    without_root(void)
    {
            secmodel_suser_stop();
            return 0;
    }
"""


@pytest.fixture(params=MACHINES)
def code(request: pytest.FixtureRequest, load: Any) -> Code:
    return load(SOURCE, request.param)


def set_answer(code: Code, answer: int) -> None:
    code.kernel.memory.put_u32(code.address("answer"), answer)


def as_user(code: Code, name: str, model: Any, uid: int) -> Any:
    lwp = code.kernel.subject(Processes).spawn(name, model, uid=uid)
    code.finish(lwp)
    return lwp.result


ALLOW, DENY, DEFER = range(3)


def test_deny_is_decisive_and_defer_is_not(code: Code) -> None:
    assert code.call("begin") == 0
    for answer, error in ((DEFER, 0), (ALLOW, 0), (DENY, Errno.EPERM)):
        set_answer(code, answer)
        assert code.call("ask", 13) == error
    assert code.number("asked") == 3
    assert (code.number("last_action"), code.number("last_arg")) == (13, 77)
    assert code.number("seen_cookie") == 0, "the cookie is the scope's, not the listener's"
    assert code.call("end_it") == 0
    assert code.call("ask", 13) == 0
    assert code.number("asked") == 3
    assert code.unload() == []


def test_kernel_consults_listeners_before_unload(load: Any) -> None:
    code = load(SOURCE)
    code.call("begin")
    modules = code.kernel.subject(Modules)
    set_answer(code, DENY)
    assert as_user(code, "modunload", modules.unload("tried"), 0) == Errno.EPERM
    assert code.number("last_action") == 15
    set_answer(code, DEFER)
    assert as_user(code, "modunload", modules.unload("tried"), 7) == Errno.EPERM
    set_answer(code, ALLOW)
    code.call("end_it")
    assert code.unload() == []


def test_module_has_its_own_scope(code: Code) -> None:
    assert code.call("own_scope") == 0
    assert code.number("seen_cookie") == 5
    assert code.call("listen_nowhere") == 1


def test_security_models_evaluate_each_other(code: Code) -> None:
    assert code.call("model_start") == 0
    assert code.call("model_twice") == Errno.EEXIST
    assert code.call("evaluates") == 0
    assert code.call("model_stop") == 0
    assert code.unload() == []


def test_without_suser_root_has_no_rights(load: Any) -> None:
    code = load(SOURCE)
    assert code.call("ask", 13) == 0
    code.call("without_root")
    assert code.call("ask", 13) == Errno.EPERM
    assert code.panic("without_root").startswith("kauth-unknown: secmodel_suser_stop by ")


def test_registered_listener_at_unload_is_reported(load: Any) -> None:
    code = load(SOURCE)
    code.call("begin")
    (left,) = [text for text in code.unload() if not text.startswith("mutex")]
    assert left.startswith(
        "kauth-left: module tried is unloaded, but the kauth listener of the scope "
    )
    assert "'org.netbsd.kauth.system' registered by begin" in left
    assert code.kernel.run_process("ask", code.kernel.subject(Modules).unload("tried")) != 0


def test_registered_scope_at_unload_is_reported_with_its_listener(load: Any) -> None:
    code = load(SOURCE)
    code.call("own_scope")
    assert [text.split(":")[0] for text in code.unload()] == ["kauth-left", "kauth-left"]


def test_scope_is_deregistered_after_listeners(load: Any) -> None:
    code = load(SOURCE)
    code.call("own_scope")
    code.call("drop_scope")
    (text,) = code.violations()
    assert text.startswith("kauth-scope-listeners: kauth_deregister_scope by drop_scope")
    assert code.panic("drop_scope").startswith("use-after-free: ")


def test_listener_is_removed_once(load: Any) -> None:
    code = load(SOURCE)
    code.call("begin")
    code.call("end_it")
    assert code.panic("end_it").startswith("use-after-free: ")


def test_request_needs_valid_action(load: Any) -> None:
    assert load(SOURCE).panic("ask", 0).startswith("kauth-action: kauth_authorize_system by ask")


def test_listener_must_release_mutexes(load: Any) -> None:
    code = load(SOURCE)
    code.call("begin")
    code.kernel.memory.put_u32(code.address("keep"), 1)
    text = code.panic("ask", 13)
    assert text.startswith("callback-with-mutex: the kauth listener listen")


def test_registered_security_model_at_unload_is_reported(load: Any) -> None:
    code = load(SOURCE)
    code.call("model_start")
    assert [text.split(":")[0] for text in code.unload()] == ["secmodel-left"]


def test_security_model_is_deregistered_once(load: Any) -> None:
    code = load(SOURCE)
    code.call("model_start")
    code.call("model_stop")
    assert code.panic("model_stop").startswith("use-after-free: ")


@pytest.mark.parametrize(
    ("which", "message"),
    [
        (0, "kauth-unknown: kauth_unlisten_scope by others"),
        (1, "kauth-unknown: kauth_deregister_scope by others"),
        (2, "kauth-unknown: kauth_authorize_action by others"),
        (3, "secmodel-unknown: secmodel_deregister by others"),
    ],
)
def test_invalid_objects_are_refused(load: Any, which: int, message: str) -> None:
    assert load(SOURCE).panic("others", which).startswith(message)


def called(code: Code, uid: int, name: str, *arguments: int) -> int:
    """Call a function of the module as a user."""

    def main() -> Any:
        return (yield Call(code.address(name), arguments))

    return ((as_user(code, name, main(), uid) & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000


def word(code: Code, name: str, index: int) -> int:
    size = code.kernel.memory.pointer_size
    return code.kernel.memory.pointer(code.address(name) + index * size)


def put_answer(code: Code, scope: int, answer: int) -> None:
    code.kernel.memory.put_u32(code.address("answers") + 4 * scope, answer)


DEVICE, PROCESS, VNODE = range(3)


def test_root_may_use_devices_that_suser_lists(code: Code) -> None:
    """suser does not decide about raw devices: the node's permissions do."""
    assert [called(code, 0, "ask_device", n) for n in range(7)] == [0, 0, 0, 0, 0, Errno.EPERM, 0]
    results = [called(code, 7, "ask_device", n) for n in range(7)]
    assert results == [Errno.EPERM, 0, 0, 0, Errno.EPERM, Errno.EPERM, Errno.EPERM]
    code.call("begin_scopes")
    put_answer(code, DEVICE, DENY)
    assert called(code, 0, "ask_device", 0) == Errno.EPERM
    assert (word(code, "actions", DEVICE), word(code, "firsts", DEVICE)) == (13, 0x40)
    put_answer(code, DEVICE, ALLOW)
    assert called(code, 7, "ask_device", 2) == 0
    assert [word(code, name, DEVICE) for name in ("actions", "firsts", "seconds")] == [5, 8, 5]
    assert called(code, 7, "ask_device", 1) == 0
    assert [word(code, name, DEVICE) for name in ("actions", "firsts", "seconds")] == [4, 3, 0x40]
    code.call("end_scopes")


def test_device_scope_action_must_not_be_0(load: Any) -> None:
    code = load(SOURCE)
    assert code.panic("ask_device", 7).startswith("kauth-action: kauth_authorize_device by ask_dev")


@pytest.mark.parametrize(("level", "denied"), [(0, []), (1, [0, 2]), (2, [0, 2, 4])])
def test_securelevel_keeps_the_hardware_from_root(load: Any, level: int, denied: list[int]) -> None:
    code = load(SOURCE)
    code.kernel.memory.put_u32(code.kernel.symbols["securelevel"], level)
    assert [n for n in range(5) if called(code, 0, "ask_device", n)] == denied


def test_of_vnodes_the_file_system_decides_where_all_defer(code: Code) -> None:
    read = 1
    assert called(code, 0, "ask_vnode", read, Errno.EACCES) == 0, "root"
    assert called(code, 0, "ask_vnode", 4, Errno.EACCES) == Errno.EACCES, "no user may execute it"
    assert called(code, 0, "ask_vnode", 0, Errno.EACCES) == 0, "some user may"
    assert called(code, 7, "ask_vnode", read, Errno.EACCES) == Errno.EACCES
    assert called(code, 7, "ask_vnode", read, 0) == 0
    assert called(code, 7, "ask_vnode", read, -1) == 0, "KAUTH_VNODE_REMOTEFS"
    code.call("begin_scopes")
    put_answer(code, VNODE, ALLOW)
    assert called(code, 7, "ask_vnode", read, Errno.EBUSY) == 0
    put_answer(code, VNODE, DENY)
    assert called(code, 0, "ask_vnode", read, 0) == Errno.EACCES, "not EPERM"
    code.call("end_scopes")


def test_of_processes_root_may_all_and_others_signal_their_own(code: Code) -> None:
    assert called(code, 0, "ask_process", 15) == 0
    assert called(code, 0, "ask_process", 17) == Errno.EPERM, "there is no such action"
    assert called(code, 7, "ask_process", 15) == Errno.EPERM


def test_kernel_authorizes_vnode_read_before_module_load(load: Any) -> None:
    code = load(SOURCE)
    code.call("begin_scopes")
    put_answer(code, VNODE, DENY)
    modules = code.kernel.subject(Modules)
    path = modules.loaded["tried"].module.path
    assert as_user(code, "modload", modules.load(path), 0) == Errno.EACCES
    assert word(code, "actions", VNODE) == 1, "KAUTH_VNODE_READ_DATA"
    put_answer(code, VNODE, DEFER)
    assert as_user(code, "modload", modules.load(path), 0) == Errno.ENOEXEC, "its names are there"
    code.call("end_scopes")


def test_kernel_authorizes_signals(load: Any) -> None:
    code = load(SOURCE)
    code.call("begin_scopes")
    kernel = code.kernel
    queue = WaitQueue("waits")

    def sleeper() -> Any:
        return (yield Block(queue, signal=True))

    sleeping = kernel.subject(Processes).spawn("sleeper", sleeper(), uid=7)
    kernel.run(lambda: sleeping.state == "asleep")
    permissions = kernel.subject(Permissions)
    for answer, uid, may in (
        (DEFER, 0, True),
        (DENY, 0, False),
        (DEFER, 7, True),
        (DEFER, 8, False),
    ):
        put_answer(code, PROCESS, answer)
        assert as_user(code, "kill", permissions.signal(sleeping, SIGINT), uid) is may
    offsets = kernel.subject(Objects).offsets
    process = kernel.memory.pointer(sleeping.address + offsets.l_proc)
    assert [word(code, name, PROCESS) for name in ("actions", "firsts", "seconds")] == [
        15, process, 2,
    ]  # fmt: skip
    code.call("end_scopes")
