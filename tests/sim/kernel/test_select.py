"""selrecord(9), selnotify(9) and RUN_ONCE(9): waiting, waking, and every misuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from vmtsim.kernel.clock import SECOND
from vmtsim.kernel.devnode import DeviceNodes
from vmtsim.kernel.permission import FREAD, FWRITE
from vmtsim.kernel.process import Processes

from .guestcode import MACHINES

if TYPE_CHECKING:
    from .guestcode import Code

SOURCE = """
    #include <sys/param.h>
    #include <sys/conf.h>
    #include <sys/errno.h>
    #include <sys/kmem.h>
    #include <sys/poll.h>
    #include <sys/proc.h>
    #include <sys/select.h>
    #include <sys/once.h>
    #include <sys/systm.h>

    struct selinfo info, other;
    int ready, asked, made, unmade;

    static int
    t_poll(dev_t dev, int events, struct lwp *l)
    {
            asked++;
            if (ready)
                    return events & POLLIN;
            selrecord(l, &info);
            return 0;
    }

    static const struct cdevsw table = {
            .d_open = nullopen, .d_close = nullclose, .d_read = noread, .d_write = nowrite,
            .d_ioctl = noioctl, .d_stop = nostop, .d_tty = notty, .d_poll = t_poll,
            .d_mmap = nommap, .d_kqfilter = nokqfilter, .d_discard = nodiscard,
            .d_flag = D_OTHER | D_MPSAFE,
    };

    int
    attach(void)
    {
            devmajor_t block = NODEVMAJOR, character = NODEVMAJOR;

            selinit(&info);
            return devsw_attach("polled", NULL, &block, &table, &character);
    }

    int
    detach(void)
    {
            devsw_detach(NULL, &table);
            seldestroy(&info);
            return 0;
    }

    int
    notify(int after, int state)
    {
            kpause("notify", false, after, NULL);
            ready = state;
            selnotify(&info, POLLIN, 0);
            return 0;
    }

    int
    notify_unknown(void)
    {
            selnotify(&other, POLLIN, 0);
            return 0;
    }

    int
    record_other(struct lwp *l)
    {
            selrecord(l, &info);
            return 0;
    }

    int
    free_with_info(void)
    {
            struct selinfo *sip = kmem_alloc(sizeof(*sip), KM_SLEEP);

            selinit(sip);
            kmem_free(sip, sizeof(*sip));
            return 0;
    }

    static ONCE_DECL(once);

    static int
    once_make(void)
    {
            kpause("make", false, 10, NULL);
            made++;
            return made == 1 ? 0 : EBUSY;
    }

    static void
    once_unmake(void)
    {
            unmade++;
    }

    int
    enter(void)
    {
            return RUN_ONCE(&once, once_make);
    }

    int
    leave(void)
    {
            FINI_ONCE(&once, once_unmake);
            return unmade;
    }
"""


@pytest.fixture(params=MACHINES)
def code(request: pytest.FixtureRequest, load: Any) -> Code:
    return load(SOURCE, request.param)


def polled(code: Code, wait: float) -> Any:
    """Start a process that opens the device and polls it."""
    devices = code.kernel.subject(DeviceNodes)

    def main() -> Any:
        node = yield from devices.open("polled", 0, FREAD | FWRITE)
        events = yield from devices.poll(node, 0x5, round(wait * SECOND))
        yield from devices.close(node)
        return events

    return code.kernel.subject(Processes).spawn("poll", main())


def test_waiting_process_is_woken_and_polls_again(code: Code) -> None:
    code.call("attach")
    process, notifier = polled(code, 5), code.start("notify", 30, 1)
    code.finish(process, notifier)
    assert process.result == 0x1
    assert code.number("asked") == 2
    assert code.kernel.clock.now < SECOND
    code.call("detach")
    assert code.unload() == []


def test_process_woken_without_event_keeps_waiting(code: Code) -> None:
    code.call("attach")
    process, notifier = polled(code, 2), code.start("notify", 30, 0)
    code.finish(process, notifier)
    assert process.result == 0
    assert code.number("asked") >= 2
    assert code.kernel.clock.now >= 2 * SECOND


def test_leftover_or_unknown_selinfo_is_reported(load: Any) -> None:
    code = load(SOURCE)
    assert code.panic("notify_unknown").startswith("selinfo-unknown: ")
    assert load(SOURCE).panic("free_with_info").startswith("selinfo-freed: ")
    code = load(SOURCE)
    code.call("attach")
    assert code.panic("record_other", 0).startswith("selrecord-other: ")
    code = load(SOURCE)
    code.call("attach")
    assert any(text.startswith("selinfo-left: ") for text in code.unload())


def test_run_once_function_runs_once_and_all_wait(code: Code) -> None:
    threads = [code.start("enter") for _ in range(3)]
    code.finish(*threads)
    assert [thread.result for thread in threads] == [0, 0, 0]
    assert code.number("made") == 1
    assert [code.call("leave") for _ in range(3)] == [0, 0, 1]
    assert code.call("enter") == 16, "EBUSY: it runs again after the last one ended"


def test_fini_once_without_run_once_is_reported(load: Any) -> None:
    assert load(SOURCE).panic("leave").startswith("once-never: ")
