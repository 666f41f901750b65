"""kauth(9) listeners and scopes, security models, and every misuse of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.modules import Modules
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
    assert left.startswith("kauth-left: module tried is gone, but the kauth listener of the scope ")
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
    ("which", "said"),
    [
        (0, "kauth-unknown: kauth_unlisten_scope by others"),
        (1, "kauth-unknown: kauth_deregister_scope by others"),
        (2, "kauth-unknown: kauth_authorize_action by others"),
        (3, "secmodel-unknown: secmodel_deregister by others"),
    ],
)
def test_invalid_objects_are_refused(load: Any, which: int, said: str) -> None:
    assert load(SOURCE).panic("others", which).startswith(said)
