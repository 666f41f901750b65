"""Block devices: requests to d_strategy, biodone and biowait, physio, blocks, and every misuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from vmtsim.kernel.blockio import Blocks
from vmtsim.kernel.devnode import DeviceNodes, OpenDevice
from vmtsim.kernel.errors import Errno, KernelPanic, Stalled
from vmtsim.kernel.permission import FREAD, FWRITE
from vmtsim.kernel.process import Processes

from .guestcode import MACHINES

if TYPE_CHECKING:
    from .guestcode import Code

SOURCE = """
    #include <sys/param.h>
    #include <sys/buf.h>
    #include <sys/callout.h>
    #include <sys/conf.h>
    #include <sys/disk.h>
    #include <sys/disklabel.h>
    #include <sys/dkio.h>
    #include <sys/errno.h>
    #include <sys/fcntl.h>
    #include <sys/ioctl.h>
    #include <sys/kmem.h>
    #include <sys/stat.h>
    #include <sys/systm.h>
    #include <sys/uio.h>

    #define BLOCKS  32
    static char disk[BLOCKS * 512];
    static callout_t later;
    static struct buf *queued;
    int how, mode_was, reads, writes, calls, block_was, count_was, fail = -1, bsize, slow, most;
    int physflags, sizes;
    devmajor_t majors[2] = { NODEVMAJOR, NODEVMAJOR };

    static void
    finish(struct buf *bp)
    {
            size_t at = bp->b_blkno * 512;

            bp->b_resid = 0;
            if (bp->b_blkno == fail) {
                    bp->b_error = EIO;
                    bp->b_resid = bp->b_bcount;
            } else if (BUF_ISREAD(bp))
                    memcpy(bp->b_data, disk + at, bp->b_bcount);
            else
                    memcpy(disk + at, bp->b_data, bp->b_bcount);
            if (how == 2)
                    bp->b_error = EIO;      /* and all was moved */
            biodone(bp);
            if (how == 3)
                    biodone(bp);
    }

    static void
    on_time(void *cookie)
    {
            finish(queued);
    }

    static void
    t_strategy(struct buf *bp)
    {
            calls++;
            block_was = (int)bp->b_blkno;
            count_was = bp->b_bcount;
            most = MAX(most, bp->b_bcount);
            physflags = bp->b_flags & (B_PHYS | B_RAW);
            if (BUF_ISREAD(bp))
                    reads++;
            else
                    writes++;
            if (how == 1)
                    return;         /* and never biodone */
            if (!bounds_check_with_mediasize(bp, 512, BLOCKS)) {
                    if (bp->b_error != 0)
                            bp->b_resid = bp->b_bcount;
                    biodone(bp);
                    return;
            }
            if (slow) {
                    queued = bp;
                    callout_schedule(&later, slow);
                    return;
            }
            finish(bp);
    }

    static int
    t_open(dev_t dev, int flag, int mode, struct lwp *l)
    {
            mode_was = mode;
            return 0;
    }

    static int
    t_ioctl(dev_t dev, u_long command, void *data, int flag, struct lwp *l)
    {
            struct partinfo *pi = data;

            if (command == DIOCGMEDIASIZE) {
                    sizes++;
                    *(off_t *)data = sizeof(disk);
                    return 0;
            }
            if (command != DIOCGPARTINFO || bsize == 0)
                    return ENOTTY;
            sizes++;
            memset(pi, 0, sizeof(*pi));
            pi->pi_size = BLOCKS;
            pi->pi_secsize = 512;
            pi->pi_bsize = bsize;
            return 0;
    }

    static int
    t_size(dev_t dev)
    {
            return BLOCKS;
    }

    static void
    t_minphys(struct buf *bp)
    {
            if (how == 4)
                    bp->b_bcount = MAXPHYS + 1;
            else
                    bp->b_bcount = MIN(bp->b_bcount, 1024);
    }

    static int
    t_read(dev_t dev, struct uio *uio, int flag)
    {
            return physio(t_strategy, NULL, dev, B_READ, t_minphys, uio);
    }

    static int
    t_write(dev_t dev, struct uio *uio, int flag)
    {
            return physio(t_strategy, NULL, dev, B_WRITE, t_minphys, uio);
    }

    static struct bdevsw btable = {
            .d_open = t_open, .d_close = nullclose, .d_strategy = t_strategy, .d_ioctl = t_ioctl,
            .d_dump = nodump, .d_psize = t_size, .d_discard = nodiscard,
            .d_flag = D_DISK | D_MPSAFE,
    };
    static const struct cdevsw ctable = {
            .d_open = t_open, .d_close = nullclose, .d_read = t_read, .d_write = t_write,
            .d_ioctl = t_ioctl, .d_stop = nostop, .d_tty = notty, .d_poll = nopoll,
            .d_mmap = nommap, .d_kqfilter = nokqfilter, .d_discard = nodiscard,
            .d_flag = D_DISK | D_MPSAFE,
    };

    int
    attach(void)
    {
            int error;

            callout_init(&later, CALLOUT_MPSAFE);
            callout_setfunc(&later, on_time, NULL);
            error = devsw_attach("ram", &btable, &majors[0], &ctable, &majors[1]);
            if (error != 0)
                    return error;
            if (bdevsw_lookup_major(&btable) != majors[0] ||
                cdevsw_lookup_major(&ctable) != majors[1] ||
                bdevsw_lookup(makedev(majors[0], 3)) != &btable ||
                cdevsw_lookup(makedev(majors[1], 0)) != &ctable)
                    return -1;
            return bdev_size(makedev(majors[0], 0)) == BLOCKS ? 0 : -2;
    }

    int
    detach(void)
    {
            devsw_detach(&btable, &ctable);
            callout_destroy(&later);
            return 0;
    }

    int
    detach_half(void)
    {
            devsw_detach(NULL, &ctable);
            callout_destroy(&later);
            return 0;
    }

    static int ended;

    static void
    on_end(struct buf *bp)
    {
            ended += bp->b_error == 0 ? 1 : 100;
            if (how == 5)
                    return;
            putiobuf(bp);
    }

    /* Requests of a driver to another one. */
    int
    requests(void)
    {
            struct buf *bp, own;
            char data[512];
            int error;

            bp = getiobuf(NULL, true);
            if (bp->b_flags != 0 || bp->b_dev != NODEV || bp->b_iodone != NULL)
                    return 1;
            bp->b_dev = makedev(majors[0], 0);
            bp->b_data = data;
            bp->b_bcount = bp->b_bufsize = sizeof(data);
            bp->b_blkno = 2;
            bp->b_flags = B_READ;
            bp->b_cflags = BC_BUSY;
            disk[1024] = 'q';
            bdev_strategy(bp);
            error = biowait(bp);
            if (error != 0 || data[0] != 'q' || (bp->b_oflags & BO_DONE) == 0)
                    return 2;
            putiobuf(bp);

            bp = getiobuf(NULL, true);
            bp->b_dev = makedev(majors[0], 0);
            bp->b_data = data;
            bp->b_bcount = sizeof(data);
            bp->b_flags = B_WRITE;
            bp->b_iodone = on_end;
            data[0] = 'w';
            bdev_strategy(bp);
            if (ended != 1 || disk[0] != 'w')
                    return 3;

            buf_init(&own);
            own.b_dev = makedev(5, 0);
            own.b_cflags = BC_BUSY;
            own.b_bcount = 7;
            bdev_strategy(&own);
            error = biowait(&own);
            if (error != ENXIO || own.b_resid != 7)
                    return 4;
            buf_destroy(&own);
            return 0;
    }

    int
    checks(void)
    {
            struct buf own;

            buf_init(&own);
            own.b_blkno = -1;
            own.b_bcount = 512;
            if (bounds_check_with_mediasize(&own, 512, BLOCKS) || own.b_error != EINVAL)
                    return 1;
            own.b_error = 0;
            own.b_blkno = BLOCKS;
            if (bounds_check_with_mediasize(&own, 512, BLOCKS) || own.b_error != 0 ||
                own.b_resid != 512)
                    return 2;
            own.b_blkno = BLOCKS + 1;
            if (bounds_check_with_mediasize(&own, 512, BLOCKS) || own.b_error != EINVAL)
                    return 3;
            own.b_blkno = BLOCKS - 1;
            own.b_bcount = 2000;
            if (!bounds_check_with_mediasize(&own, 512, BLOCKS) || own.b_bcount != 512)
                    return 4;
            own.b_bcount = 1000000;
            minphys(&own);
            buf_destroy(&own);
            return own.b_bcount == MAXPHYS ? 0 : 5;
    }

    int
    misuse(int which)
    {
            struct buf *bp = getiobuf(NULL, true), own;

            switch (which) {
            case 0:
                    return biowait(bp);
            case 1:
                    biodone((struct buf *)disk);
                    return 0;
            case 2:
                    buf_init(&own);
                    putiobuf(&own);
                    return 0;
            case 3:
                    bp = kmem_alloc(sizeof(*bp), KM_SLEEP);
                    buf_init(bp);
                    kmem_free(bp, sizeof(*bp));
                    return 0;
            case 4:
                    how = 1;
                    bp->b_dev = makedev(majors[0], 0);
                    bdev_strategy(bp);
                    putiobuf(bp);
                    return 0;
            }
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


def nodes(code: Code) -> DeviceNodes:
    return code.kernel.subject(DeviceNodes)


def opened(code: Code, *, block: bool = True) -> Any:
    return run(code, nodes(code).open("ram", 0, FREAD | FWRITE, block=block))


def put(code: Code, name: str, value: int) -> None:
    code.kernel.memory.put_u32(code.address(name), value)


def disk(code: Code, at: int, size: int) -> bytes:
    return code.kernel.memory.read(code.address("disk") + at, size)


def test_driver_gets_block_and_character_majors(code: Code) -> None:
    assert code.call("attach") == 0
    assert code.kernel.memory.s32(code.address("majors")) >= 209
    assert code.kernel.memory.s32(code.address("majors") + 4) >= 367
    code.call("detach")
    assert code.call("attach") == 0, "the same numbers"
    code.call("detach")
    assert code.unload() == []


def test_process_reads_and_writes_blocks(code: Code) -> None:
    """spec_read and spec_write: 2048 bytes a block where the driver names no size."""
    code.call("attach")
    node = opened(code)
    assert isinstance(node, OpenDevice)
    assert (code.number("mode_was"), code.number("sizes")) == (0o060000, 1)
    assert run(code, nodes(code).write(node, b"abc")) == b"abc"
    assert (code.number("reads"), code.number("writes")) == (1, 0), "delayed"
    assert code.number("count_was") == 2048
    assert run(code, nodes(code).seek(node, 1, 0)) == 1
    assert run(code, nodes(code).read(node, 2)) == b"bc"
    assert code.number("calls") == 1, "the block is in the cache"
    assert run(code, nodes(code).seek(node, 4096, 0)) == 4096
    assert run(code, nodes(code).write(node, b"x" * 2048)) == b"x" * 2048
    assert (code.number("reads"), code.number("writes")) == (1, 1), "a whole block at once"
    assert code.number("block_was") == 8
    assert disk(code, 0, 3) == b"\0\0\0"
    assert run(code, nodes(code).close(node)) == 0
    assert disk(code, 0, 4) == b"abc\0"
    assert disk(code, 4096, 2048) == b"x" * 2048
    code.call("detach")
    assert code.unload() == []


def test_multi_block_read_uses_read_ahead(code: Code) -> None:
    code.call("attach")
    put(code, "bsize", 1024)
    code.kernel.memory.write(code.address("disk"), bytes(range(256)) * 64)
    node = opened(code)
    assert run(code, nodes(code).read(node, 3000)) == (bytes(range(256)) * 64)[:3000]
    assert (code.number("reads"), code.number("count_was")) == (3, 1024)
    assert run(code, nodes(code).seek(node, 0, 0)) == 0
    run(code, nodes(code).read(node, 3000))
    assert code.number("reads") == 3


def test_block_device_is_exclusive_and_reports_its_size(code: Code) -> None:
    code.call("attach")
    node = opened(code)
    assert opened(code) == Errno.EBUSY
    assert run(code, nodes(code).size(node)) == 32
    assert run(code, nodes(code).kqfilter(node, 0)) == Errno.EOPNOTSUPP
    assert run(code, nodes(code).poll(node, 0x1)) == 0x1
    assert run(code, nodes(code).stat(node)) == (0o060600, 0)
    assert run(code, nodes(code).close(node)) == 0
    assert isinstance(opened(code), OpenDevice)


def test_errors_and_end_of_disk_reach_process(code: Code) -> None:
    code.call("attach")
    put(code, "fail", 4)
    node = opened(code)
    assert run(code, nodes(code).seek(node, 2048, 0)) == 2048
    assert run(code, nodes(code).read(node, 10)) == Errno.EIO
    run(code, nodes(code).seek(node, 32 * 512 - 3, 0))
    assert run(code, nodes(code).read(node, 10)) == b"\0\0\0"
    assert run(code, nodes(code).read(node, 10)) == b""


def test_request_may_complete_later(code: Code) -> None:
    code.call("attach")
    put(code, "slow", 5)
    node = opened(code)
    assert run(code, nodes(code).read(node, 4)) == bytes(4)
    put(code, "slow", 0)
    raw = opened(code, block=False)
    put(code, "slow", 5)
    assert run(code, nodes(code).read(raw, 2048)) == bytes(2048)


def test_raw_device_transfers_process_memory(code: Code) -> None:
    """physio(9) transfers parts of whole blocks, as large as minphys allows."""
    code.call("attach")
    node = opened(code, block=False)
    assert run(code, nodes(code).write(node, b"r" * 2048)) == b"r" * 2048
    assert (code.number("writes"), code.number("most")) == (2, 1024)
    assert code.number("physflags") == 0xC0000
    assert disk(code, 0, 2048) == b"r" * 2048
    run(code, nodes(code).seek(node, 1024, 0))
    assert run(code, nodes(code).read(node, 512)) == b"r" * 512
    run(code, nodes(code).seek(node, 3, 0))
    assert run(code, nodes(code).read(node, 512)) == Errno.EINVAL
    run(code, nodes(code).seek(node, 31 * 512, 0))
    assert run(code, nodes(code).read(node, 2048)) == b"\0" * 512
    put(code, "fail", 2)
    run(code, nodes(code).seek(node, 0, 0))
    # dofileread: an errno other than EINTR, also after a partial transfer.
    assert run(code, nodes(code).read(node, 2048)) == Errno.EIO
    assert run(code, nodes(code).close(node)) == 0
    code.call("detach")
    assert code.unload() == []


def test_driver_makes_its_own_requests(code: Code) -> None:
    code.call("attach")
    assert code.call("requests") == 0
    assert code.call("checks") == 0
    code.call("detach")
    assert code.unload() == []


@pytest.mark.parametrize(
    ("which", "rule"),
    [
        (0, "buf-not-busy: biowait by misuse"),
        (1, "buf-unknown: biodone by misuse"),
        (2, "buf-unknown: putiobuf by misuse"),
        (3, "buf-freed: "),
    ],
)
def test_misused_buf_is_reported(load: Any, which: int, rule: str) -> None:
    code = load(SOURCE)
    code.call("attach")
    assert code.panic("misuse", which).startswith(rule)


def test_busy_buf_must_not_be_freed(load: Any) -> None:
    code = load(SOURCE)
    code.call("attach")
    code.call("misuse", 4)
    (text,) = code.violations()
    assert text.startswith("buf-busy: putiobuf by misuse")


def test_buf_left_at_unload_is_reported(load: Any) -> None:
    code = load(SOURCE)
    code.call("attach")
    put(code, "how", 5)
    code.call("requests")
    code.call("detach")
    assert [text.split(":")[0] for text in code.unload()] == ["buf-left"]


@pytest.mark.parametrize(
    ("how", "rule"), [(2, "buf-resid"), (3, "biodone-twice"), (4, "physio-size")]
)
def test_inconsistent_request_is_reported(load: Any, how: int, rule: str) -> None:
    code = load(SOURCE)
    code.call("attach")
    put(code, "how", how)
    node = opened(code, block=False)
    with pytest.raises(KernelPanic) as panic:
        run(code, nodes(code).read(node, 512))
    # The buf of a physio is invalid after its biodone.
    assert panic.value.rule == (rule if how != 3 else "use-after-free")


def test_request_completes_once(load: Any) -> None:
    code = load(SOURCE)
    code.call("attach")
    put(code, "how", 3)
    node = opened(code)
    with pytest.raises(KernelPanic) as panic:
        run(code, nodes(code).read(node, 512))
    assert panic.value.rule == "biodone-twice"


def test_incomplete_request_blocks_its_process(load: Any) -> None:
    code = load(SOURCE)
    code.call("attach")
    put(code, "how", 1)
    node = opened(code)
    with pytest.raises(Stalled):
        run(code, nodes(code).read(node, 512))
    code.call("detach")
    assert any(
        text.startswith("buf-never-done: module tried is unloaded, but the driver ram")
        for text in code.unload()
    )
    assert len(code.kernel.subject(Blocks).live) == 1


def test_both_device_switches_are_detached(load: Any) -> None:
    code = load(SOURCE)
    code.call("attach")
    code.call("detach_half")
    (text,) = code.unload()
    assert text.startswith("devsw-left: ")
    assert "block device 'ram'" in text
