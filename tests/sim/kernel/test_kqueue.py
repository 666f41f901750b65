"""Events of devices: knotes, filterops, kevent(2) of a process, and every misuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from vmtsim.kernel import kqueue
from vmtsim.kernel.clock import SECOND
from vmtsim.kernel.devnode import DeviceNodes, OpenDevice
from vmtsim.kernel.errors import Errno, KernelPanic
from vmtsim.kernel.kqueue import Event, Kqueues, Queue
from vmtsim.kernel.permission import FREAD, FWRITE
from vmtsim.kernel.process import Processes

from .guestcode import MACHINES

if TYPE_CHECKING:
    from .guestcode import Code

SOURCE = """
    #include <sys/param.h>
    #include <sys/conf.h>
    #include <sys/errno.h>
    #include <sys/event.h>
    #include <sys/mutex.h>
    #include <sys/proc.h>
    #include <sys/select.h>
    #include <sys/systm.h>

    static struct selinfo info;
    static kmutex_t lock;
    int ready, how, events, detaches, filter_was, flags_was, low_was, ident_was, keep, eof;

    static void
    f_detach(struct knote *kn)
    {
            detaches++;
            if (how == 4)
                    return;
            mutex_enter(&lock);
            selremove_knote(&info, kn);
            if (how == 5)
                    selremove_knote(&info, kn);
            mutex_exit(&lock);
    }

    static int
    f_event(struct knote *kn, long hint)
    {
            int found;

            events++;
            if (hint != NOTE_SUBMIT)
                    mutex_enter(&lock);
            kn->kn_data = ready;
            if (eof)
                    knote_set_eof(kn, 0);
            found = ready != 0;
            if ((kn->kn_sfflags & NOTE_LOWAT) != 0)
                    found = ready >= (int)kn->kn_sdata;
            if (hint != NOTE_SUBMIT && !keep)
                    mutex_exit(&lock);
            return found;
    }

    static struct filterops filter = {
            .f_flags = FILTEROP_ISFD | FILTEROP_MPSAFE,
            .f_attach = NULL, .f_detach = f_detach, .f_event = f_event,
    };

    static int
    t_kqfilter(dev_t dev, struct knote *kn)
    {
            filter_was = kn->kn_filter;
            flags_was = kn->kn_flags;
            low_was = (int)kn->kn_sdata;
            ident_was = (int)kn->kn_id;
            if (kn->kn_filter != EVFILT_READ)
                    return EINVAL;
            if (how == 1)
                    return 0;       /* no filterops */
            kn->kn_fop = &filter;
            if (how == 2)
                    filter.f_event = NULL;
            if (how == 3)
                    filter.f_flags = FILTEROP_MPSAFE;
            mutex_enter(&lock);
            selrecord_knote(&info, kn);
            mutex_exit(&lock);
            return how == 6 ? ENXIO : 0;
    }

    static const struct cdevsw table = {
            .d_open = nullopen, .d_close = nullclose, .d_read = noread, .d_write = nowrite,
            .d_ioctl = noioctl, .d_stop = nostop, .d_tty = notty, .d_poll = nopoll,
            .d_mmap = nommap, .d_kqfilter = t_kqfilter, .d_discard = nodiscard,
            .d_flag = D_OTHER | D_MPSAFE,
    };
    static struct cdevsw always;

    int
    attach(int which)
    {
            devmajor_t block = NODEVMAJOR, character = NODEVMAJOR;

            if (which) {
                    always = table;
                    always.d_kqfilter = nokqfilter;
                    return devsw_attach("always", NULL, &block, &always, &character);
            }
            mutex_init(&lock, MUTEX_DEFAULT, IPL_NONE);
            selinit(&info);
            return devsw_attach("noted", NULL, &block, &table, &character);
    }

    int
    detach(void)
    {
            devsw_detach(NULL, &table);
            seldestroy(&info);
            mutex_destroy(&lock);
            return 0;
    }

    int
    detach_switch(void)
    {
            devsw_detach(NULL, &table);
            mutex_destroy(&lock);
            return 0;
    }

    int
    notify(int after, int state)
    {
            kpause("notify", false, after, NULL);
            mutex_enter(&lock);
            ready = state;
            selnotify(&info, 0, NOTE_SUBMIT);
            mutex_exit(&lock);
            return 0;
    }

    int
    lists(void)
    {
            struct klist list;
            struct knote one = { .kn_id = 1 }, two = { .kn_id = 2 };

            klist_init(&list);
            KNOTE(&list, 0);
            klist_insert(&list, &one);
            klist_insert(&list, &two);
            if (list.slh_first != &two || two.kn_selnext.sle_next != &one)
                    return 1;
            if (klist_remove(&list, &one) || !klist_remove(&list, &two))
                    return 2;
            knote_set_eof(&one, 1);
            if (one.kn_flags != (EV_EOF | 1))
                    return 3;
            knote_clear_eof(&one);
            klist_fini(&list);
            return one.kn_flags == 1 ? 0 : 4;
    }
"""


@pytest.fixture(params=MACHINES)
def code(request: pytest.FixtureRequest, load: Any) -> Code:
    return load(SOURCE, request.param)


class Process:
    """A process with one open device and its kqueue."""

    def __init__(self, code: Code, name: str = "noted", which: int = 0) -> None:
        assert code.call("attach", which) == 0
        self.code, self.queue = code, Queue()
        self.nodes, self.kqueues = code.kernel.subject(DeviceNodes), code.kernel.subject(Kqueues)
        node = self.run(self.nodes.open(name, 0, FREAD | FWRITE))
        assert isinstance(node, OpenDevice)
        self.node = node

    def start(self, model: Any) -> Any:
        return self.code.kernel.subject(Processes).spawn("process", model)

    def run(self, model: Any) -> Any:
        lwp = self.start(model)
        self.code.finish(lwp)
        return lwp.result

    def change(self, flags: int, filter_: str = "read", low: int | None = None) -> Any:
        change = Event(kqueue.FILTERS[filter_], flags, 0 if low is None else kqueue.LOWAT, low or 0)
        return self.run(
            self.kqueues.register(
                self.queue, change, lambda knote: self.nodes.kqfilter(self.node, knote), number=5
            )
        )

    def wait(self, seconds: float = 0) -> Any:
        now = self.code.kernel.clock.now
        return self.kqueues.scan(self.queue, now + round(seconds * SECOND))

    def events(self, seconds: float = 0) -> list[tuple[int, bool]]:
        """The data and whether EV_EOF is set, of each event."""
        return [(each.data, bool(each.flags & kqueue.EOF)) for each in self.run(self.wait(seconds))]

    def close(self) -> Any:
        self.run(self.kqueues.close(self.queue))
        return self.run(self.nodes.close(self.node))


def put(code: Code, name: str, value: int) -> None:
    code.kernel.memory.put_u32(code.address(name), value)


def test_driver_receives_knote_of_process(code: Code) -> None:
    process = Process(code)
    assert process.change(kqueue.ADD | kqueue.CLEAR, low=3) == 0
    names = ("filter_was", "flags_was", "low_was", "ident_was", "events")
    assert [code.number(name) for name in names] == [0, kqueue.ADD | kqueue.CLEAR, 3, 5, 1]
    assert process.change(kqueue.ADD, "write") == Errno.EINVAL
    assert code.number("filter_was") == 1
    assert process.close() == 0
    assert code.number("detaches") == 1
    code.call("detach")
    assert code.unload() == []


def test_event_wakes_waiter_and_stays_until_consumed(code: Code) -> None:
    process = Process(code)
    assert process.change(kqueue.ADD) == 0
    assert process.events() == []
    waiting = process.start(process.wait(10))
    notifying = code.start("notify", 10, 7)
    code.finish(waiting, notifying)
    assert [each.data for each in waiting.result] == [7]
    assert process.events() == [(7, False)], "it stays: no EV_CLEAR"
    put(code, "ready", 0)
    assert process.events() == [], "the filter is called again"
    put(code, "eof", 1)
    code.call("notify", 1, 2)
    assert process.events() == [(2, True)]


def test_clear_oneshot_dispatch_and_disable_behave_as_in_kqueue(code: Code) -> None:
    process = Process(code)
    process.change(kqueue.ADD | kqueue.CLEAR)
    code.call("notify", 1, 7)
    assert process.events() == [(7, False)]
    assert process.events() == [], "cleared, though the driver is still ready"
    code.call("notify", 1, 8)
    assert process.events() == [(8, False)]
    assert process.change(kqueue.DELETE) == 0
    assert process.change(kqueue.ENABLE) == Errno.ENOENT
    put(code, "ready", 0)
    process.change(kqueue.ADD | kqueue.DISABLE)
    code.call("notify", 1, 9)
    assert process.events() == []
    process.change(kqueue.ENABLE)
    assert process.events() == [(9, False)]
    process.change(kqueue.DELETE)
    process.change(kqueue.ADD | kqueue.DISPATCH)
    assert process.events() == [(9, False)]
    assert process.events() == []
    process.change(kqueue.DELETE)
    process.change(kqueue.ADD | kqueue.ONESHOT)
    assert process.events() == [(9, False)]
    assert process.queue.knotes == []
    assert code.number("detaches") == 4


def test_low_water_mark_is_left_to_filter(code: Code) -> None:
    process = Process(code)
    process.change(kqueue.ADD, low=5)
    code.call("notify", 1, 4)
    assert process.events() == []
    code.call("notify", 1, 5)
    assert process.events() == [(5, False)]


def test_device_without_filter_is_always_ready(code: Code) -> None:
    process = Process(code, "always", 1)
    assert process.change(kqueue.ADD) == 0
    assert process.change(kqueue.ADD, "write") == 0
    assert process.events() == [(0, False), (0, False)]
    assert process.close() == 0


def test_signal_ends_wait(code: Code) -> None:
    process = Process(code)
    process.change(kqueue.ADD)
    waiting = process.start(process.wait(100))
    code.kernel.run(lambda: waiting.state == "asleep")
    code.kernel.scheduler.interrupt(waiting)
    code.finish(waiting)
    assert waiting.result == -Errno.EINTR


def test_knote_list_is_linked_through_knotes(code: Code) -> None:
    assert code.call("lists") == 0


def test_seldestroy_detaches_knotes_from_driver(load: Any) -> None:
    code = load(SOURCE)
    process = Process(code)
    process.change(kqueue.ADD)
    code.call("detach")
    code.violations()
    assert code.unload() == []
    assert process.events() == []
    process.run(process.kqueues.close(process.queue))


@pytest.mark.parametrize(
    ("how", "rule"), [(1, "knote-filter"), (2, "knote-filter"), (3, "knote-not-of-file")]
)
def test_invalid_filterops_panic(load: Any, how: int, rule: str) -> None:
    code = load(SOURCE)
    process = Process(code)
    put(code, "how", how)
    with pytest.raises(KernelPanic) as panic:
        process.change(kqueue.ADD)
    assert panic.value.rule == rule


def test_knote_must_be_removed_from_its_list(load: Any) -> None:
    code = load(SOURCE)
    process = Process(code)
    process.change(kqueue.ADD)
    put(code, "how", 4)
    process.close()
    (text,) = code.violations()
    assert text.startswith("knote-on-list: ")


def test_failing_d_kqfilter_must_not_leave_knote_on_list(load: Any) -> None:
    code = load(SOURCE)
    process = Process(code)
    put(code, "how", 6)
    assert process.change(kqueue.ADD) == Errno.ENXIO
    assert code.violations()[0].startswith("knote-on-list: ")
    assert code.number("detaches") == 0


def test_knote_is_removed_from_its_list_once(load: Any) -> None:
    code = load(SOURCE)
    process = Process(code)
    process.change(kqueue.ADD)
    put(code, "how", 5)
    with pytest.raises(KernelPanic) as panic:
        process.close()
    assert panic.value.rule == "knote-not-on-list"


def test_filter_must_release_mutexes(load: Any) -> None:
    code = load(SOURCE)
    process = Process(code)
    put(code, "keep", 1)
    with pytest.raises(KernelPanic) as panic:
        process.change(kqueue.ADD)
    assert panic.value.rule == "callback-with-mutex"


def test_knote_of_unloaded_module_is_reported(load: Any) -> None:
    code = load(SOURCE)
    process = Process(code)
    process.change(kqueue.ADD)
    code.call("detach_switch")
    code.violations()
    assert "knote-of-module" in [text.split(":")[0] for text in code.unload()]
