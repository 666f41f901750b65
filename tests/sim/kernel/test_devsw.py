"""Character devices: numbers, the calls of processes, uiomove(9), malloc(9), and every misuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from vmtsim.kernel.alldevs import AllDevices
from vmtsim.kernel.devnode import DeviceNodes, OpenDevice
from vmtsim.kernel.errors import Errno, KernelPanic
from vmtsim.kernel.kauth import DEFER, DENY, Kauth
from vmtsim.kernel.permission import FREAD, FWRITE
from vmtsim.kernel.process import Processes

from .guestcode import MACHINES

if TYPE_CHECKING:
    from .guestcode import Code

SOURCE = """
    #include <sys/param.h>
    #include <sys/conf.h>
    #include <sys/errno.h>
    #include <sys/ioctl.h>
    #include <sys/malloc.h>
    #include <sys/stat.h>
    #include <sys/systm.h>
    #include <sys/uio.h>

    static char text[64] = "seven";
    int calls, last_flags, broken, majors[2] = { -1, -1 };

    static int
    t_open(dev_t dev, int flag, int mode, struct lwp *l)
    {
            calls = calls * 10 + 1;
            last_flags = flag;
            return minor(dev) == 9 ? EBUSY : mode == S_IFCHR ? 0 : EINVAL;
    }

    static int
    t_close(dev_t dev, int flag, int mode, struct lwp *l)
    {
            calls = calls * 10 + 2;
            return 0;
    }

    static int
    t_read(dev_t dev, struct uio *uio, int flag)
    {
            size_t length = strlen(text);

            if (broken == 1)
                    uio->uio_rw = 7;
            if (broken == 2)
                    uio->uio_resid++;
            if (uio->uio_offset >= (off_t)length && broken == 0)
                    return 0;
            return uiomove(text + uio->uio_offset, length - uio->uio_offset + broken, uio);
    }

    static int
    t_write(dev_t dev, struct uio *uio, int flag)
    {
            memset(text, 0, sizeof(text));
            return uiomove(text, MIN(uio->uio_resid, sizeof(text) - 1), uio);
    }

    static int
    t_ioctl(dev_t dev, u_long command, void *data, int flag, struct lwp *l)
    {
            if (command == _IOWR('t', 1, int)) {
                    *(int *)data += 1;
                    return 0;
            }
            return command == _IO('t', 2) ? 0 : ENOTTY;
    }

    static const struct cdevsw table = {
            .d_open = t_open, .d_close = t_close, .d_read = t_read, .d_write = t_write,
            .d_ioctl = t_ioctl, .d_stop = nostop, .d_tty = notty, .d_poll = nopoll,
            .d_mmap = nommap, .d_kqfilter = nokqfilter, .d_discard = nodiscard,
            .d_flag = D_OTHER | D_MPSAFE,
    };
    static struct cdevsw other = {
            .d_open = noopen, .d_close = nullclose, .d_read = noread, .d_write = nullwrite,
            .d_ioctl = noioctl, .d_stop = nullstop, .d_tty = notty, .d_poll = nullpoll,
            .d_mmap = nommap, .d_kqfilter = nokqfilter, .d_discard = nodiscard,
            .d_flag = D_OTHER,
    };

    int
    attach(int which)
    {
            return devsw_attach(which ? "other" : "seven", NULL, &majors[0],
                which ? &other : &table, &majors[1]);
    }

    int
    of_driver(struct cfdriver *driver)
    {
            other.d_cfdriver = driver;
            return 0;
    }

    int
    detach(int which)
    {
            devsw_detach(NULL, which ? &other : &table);
            return 0;
    }

    int
    reset(int major)
    {
            majors[0] = -1;
            majors[1] = major;
            return 0;
    }

    int
    mallocs(void)
    {
            char *p, *q;
            int i, sum = 0;

            p = malloc(40, M_TEMP, M_WAITOK | M_ZERO);
            for (i = 0; i < 40; i++)
                    sum += p[i];
            p[39] = 5;
            q = realloc(p, 20, M_TEMP, M_WAITOK);
            sum += (q != p) * 100;
            q = realloc(p, 400, M_TEMP, M_NOWAIT);
            sum += q[39];
            free(q, M_TEMP);
            return sum;
    }

    int
    malloc_twice(void)
    {
            char *p = malloc(10, M_TEMP, M_NOWAIT);

            free(p, M_TEMP);
            free(p, M_TEMP);
            return 0;
    }

    int
    malloc_beyond(void)
    {
            volatile char *p = malloc(16, M_TEMP, M_NOWAIT);

            p[16] = 1;
            return 0;
    }
"""


@pytest.fixture(params=MACHINES)
def code(request: pytest.FixtureRequest, load: Any) -> Code:
    return load(SOURCE, request.param)


def run(code: Code, model: Any) -> Any:
    lwp = code.kernel.subject(Processes).spawn("process", model)
    code.finish(lwp)
    return lwp.result


def device(code: Code) -> DeviceNodes:
    return code.kernel.subject(DeviceNodes)


def opened(code: Code, minor: int = 0, flags: int = FREAD | FWRITE) -> Any:
    return run(code, device(code).open("seven", minor, flags))


def test_driver_gets_free_major_and_later_the_same(code: Code) -> None:
    assert code.call("attach", 0) == 0
    first = code.kernel.memory.s32(code.address("majors") + 4)
    assert first >= 367
    assert code.call("attach", 0) == Errno.EEXIST
    assert code.call("reset", -1) == 0
    assert code.call("attach", 1) == 0
    assert code.kernel.memory.s32(code.address("majors") + 4) == first + 1
    code.call("detach", 0)
    code.call("reset", -1)
    assert code.call("attach", 0) == 0
    assert code.kernel.memory.s32(code.address("majors") + 4) == first
    code.call("detach", 0)
    code.call("reset", first + 1)
    assert code.call("attach", 0) == Errno.EINVAL, "its name has another number"
    code.call("detach", 1)
    assert code.unload() == []


def test_process_opens_reads_writes_and_closes(code: Code) -> None:
    code.call("attach", 0)
    node = opened(code)
    assert isinstance(node, OpenDevice)
    assert code.number("last_flags") == FREAD | FWRITE
    devices = device(code)
    assert run(code, devices.read(node, 3)) == b"sev"
    assert run(code, devices.read(node, 100)) == b"en"
    assert run(code, devices.read(node, 100)) == b""
    assert run(code, devices.write(node, b"other")) == b"other"
    assert code.text("text") == "other"
    assert run(code, devices.poll(node, 0x5)) == 0x5
    assert run(code, devices.mmap(node, 0, 1)) == -1
    second = opened(code)
    assert run(code, devices.close(second)) == 0
    assert code.number("calls") == 11, "not the last close"
    assert run(code, devices.close(node)) == 0
    assert code.number("calls") == 112
    code.call("detach", 0)
    assert code.unload() == []


def test_ioctl_number_determines_copies(code: Code) -> None:
    code.call("attach", 0)
    node = opened(code)
    both = 0xC0000000 | 4 << 16 | ord("t") << 8 | 1
    assert run(code, device(code).ioctl(node, both, (41).to_bytes(8, "little"))) == b"\x2a\0\0\0"
    assert run(code, device(code).ioctl(node, 0x20000000 | ord("t") << 8 | 2, b"")) == b""
    assert run(code, device(code).ioctl(node, 0x20000000 | 9, b"")) == Errno.ENOTTY


def test_errors_reach_process(code: Code) -> None:
    assert opened(code) == Errno.ENXIO, "no driver of that name"
    code.call("attach", 0)
    assert opened(code, minor=9) == Errno.EBUSY
    reader = opened(code, flags=FREAD)
    assert run(code, device(code).write(reader, b"x")) == Errno.EBADF
    code.call("reset", -1)
    code.call("attach", 1)
    assert run(code, device(code).open("other", 0, FREAD)) == Errno.ENODEV


def test_open_asks_vnode_then_device(load: Any) -> None:
    """vn_openchk and spec_open: d_open is called where neither is denied."""
    code = load(SOURCE)
    code.call("attach", 0)
    kauth = code.kernel.subject(Kauth)
    asked: list[tuple[str, int, int]] = []
    denies = ""

    def listener(scope: str) -> Any:
        def own(_uid: int, action: int, arguments: tuple[int, ...]) -> int:
            asked.append((scope, action, arguments[0] if scope == "device" else 0))
            return DENY if scope == denies else DEFER

        return own

    for scope in ("vnode", "device"):
        kauth.own_listener(scope, listener(scope))
    assert isinstance(opened(code, flags=FREAD), OpenDevice)
    assert asked == [("vnode", 1, 0), ("device", 4, 1)]
    asked.clear()
    denies = "device"
    assert opened(code) == Errno.EPERM
    assert asked == [("vnode", 3, 0), ("device", 4, 3)]
    denies = "vnode"
    assert opened(code) == Errno.EACCES
    assert code.number("calls") == 1


def test_device_open_without_driver_is_warning(load: Any) -> None:
    code = load(SOURCE)
    code.call("attach", 0)
    node = opened(code)
    code.call("detach", 0)
    assert [text.split(":")[0] for text in code.violations()] == ["devsw-open"]
    assert run(code, device(code).read(node, 4)) == Errno.ENXIO
    assert run(code, device(code).close(node)) == Errno.ENXIO


def test_devsw_left_by_module_is_reported(load: Any) -> None:
    code = load(SOURCE)
    code.call("attach", 0)
    assert any(text.startswith("devsw-left: ") for text in code.unload())


def test_devsw_is_detached_once(load: Any) -> None:
    code = load(SOURCE)
    assert code.panic("detach", 0).startswith("devsw-unknown: ")


def test_devsw_is_detached_after_devices(load: Any) -> None:
    code = load(SOURCE)
    code.call("attach", 1)
    code.call("of_driver", code.kernel.subject(AllDevices).drivers["cpu"].address)
    panic = code.panic("detach", 1)
    assert panic.startswith("devsw-with-units: ")
    assert "detaching character device driver other still has attached unit cpu0" in panic


@pytest.mark.parametrize(("how", "rule"), [(1, "uio-direction"), (2, "uio-resid")])
def test_inconsistent_uio_is_reported(load: Any, how: int, rule: str) -> None:
    code = load(SOURCE)
    code.call("attach", 0)
    node = opened(code)
    code.kernel.memory.put_u32(code.address("broken"), how)
    code.kernel.memory.write(code.address("text"), b"x" * 63 + b"\0")
    with pytest.raises(KernelPanic) as panic:
        run(code, device(code).read(node, 4))
    assert panic.value.rule == rule


def test_malloc_keeps_sizes_and_realloc_moves(code: Code) -> None:
    assert code.call("mallocs") == 5
    assert code.unload() == []


def test_malloc_is_guarded_like_kmem(load: Any) -> None:
    assert load(SOURCE).panic("malloc_twice").startswith("double-free: ")
    assert load(SOURCE).panic("malloc_beyond").startswith("out-of-bounds: ")
