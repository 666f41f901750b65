"""Files of cloned devices: the file of an open, the calls of its fileops, and every misuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from vmtsim.kernel.devnode import DeviceNodes
from vmtsim.kernel.errors import Errno, KernelPanic
from vmtsim.kernel.files import File, Files
from vmtsim.kernel.permission import FREAD, FWRITE
from vmtsim.kernel.process import Processes
from vmtsim.kernel.syscalls import FNONBLOCK

from .guestcode import MACHINES

if TYPE_CHECKING:
    from .guestcode import Code

SOURCE = """
    #include <sys/param.h>
    #include <sys/conf.h>
    #include <sys/errno.h>
    #include <sys/fcntl.h>
    #include <sys/file.h>
    #include <sys/filedesc.h>
    #include <sys/filio.h>
    #include <sys/ioctl.h>
    #include <sys/proc.h>
    #include <sys/stat.h>
    #include <sys/systm.h>
    #include <sys/uio.h>

    struct uvm_object { int of; };

    static char text[64] = "eleven";
    static struct uvm_object object;
    extern struct proc proc0;
    int how, closed, offset_was, cred_was, flag_was, majors[2] = { -1, -1 };

    static int
    f_read(struct file *fp, off_t *offset, struct uio *uio, kauth_cred_t cred, int flags)
    {
            size_t length = strlen(fp->f_data);

            offset_was = *offset;
            cred_was = cred == fp->f_cred && cred == kauth_cred_get();
            flag_was = fp->f_flag;
            if (*offset >= (off_t)length)
                    return 0;
            length = MIN(uio->uio_resid, length - *offset);
            uio->uio_offset = *offset;
            if (flags & FOF_UPDATE_OFFSET)
                    *offset += length;
            return uiomove((char *)fp->f_data + uio->uio_offset, length, uio);
    }

    int nonblock = -1, restarts, seek_whence, fcntls, quiet;

    static int
    f_fcntl(struct file *fp, u_int command, void *data)
    {
            fcntls++;
            return command == F_SETFL ? 0 : EOPNOTSUPP;
    }

    static int
    f_stat(struct file *fp, struct stat *st)
    {
            if (!quiet)
                    memset(st, 0, sizeof(*st));
            st->st_mode = S_IFCHR | 0644;
            st->st_size = strlen(fp->f_data);
            return how == 10 ? EOPNOTSUPP : 0;
    }

    static int
    f_seek(struct file *fp, off_t delta, int whence, off_t *new, int flags)
    {
            seek_whence = whence;
            if (delta < 0)
                    return EINVAL;
            *new = delta + (whence == SEEK_END ? strlen(fp->f_data) : 0);
            if (flags & FOF_UPDATE_OFFSET)
                    fp->f_offset = *new;
            return 0;
    }

    static void
    f_restart(struct file *fp)
    {
            restarts++;
    }

    static int
    f_ioctl(struct file *fp, u_long command, void *data)
    {
            if (command == FIONBIO && how != 11) {
                    nonblock = *(int *)data;
                    return 0;
            }
            if (command != _IOWR('t', 1, int))
                    return ENOTTY;
            *(int *)data += 1;
            return 0;
    }

    static int
    f_mmap(struct file *fp, off_t *offset, size_t size, int prot, int *flags, int *advice,
        struct uvm_object **uobj, int *most)
    {
            *uobj = &object;
            return *offset == 0 && size == PAGE_SIZE ? 0 : EINVAL;
    }

    static int
    f_close(struct file *fp)
    {
            closed++;
            return how == 9 ? ERESTART : 0;
    }

    static const struct fileops ops = {
            .fo_name = "eleven", .fo_read = f_read, .fo_write = fbadop_write,
            .fo_ioctl = f_ioctl, .fo_fcntl = f_fcntl, .fo_poll = fnullop_poll,
            .fo_stat = f_stat,
            .fo_seek = f_seek, .fo_close = f_close, .fo_kqfilter = fnullop_kqfilter,
            .fo_restart = f_restart, .fo_mmap = f_mmap,
    };

    static int
    t_open(dev_t dev, int flag, int mode, struct lwp *l)
    {
            struct file *fp;
            int fd, error;

            if (how == 1)
                    return -6;      /* EMOVEFD */
            error = fd_allocfile(&fp, &fd);
            if (error != 0)
                    return error;
            switch (how) {
            case 2:
                    return EBUSY;   /* the file is left */
            case 3:
                    fd_abort(&proc0, fp, fd);
                    return EBUSY;
            case 4:
                    fd_clone(fp, fd, flag, &ops, text);
                    return 0;
            case 5:
                    return fd_clone(fp, fd + 1, flag, &ops, text);
            case 8:
                    fd_abort(NULL, fp, fd);
                    return EBUSY;
            case 6:
                    fd_clone(fp, fd, flag, &ops, text);
                    fd_abort(&proc0, fp, fd);
                    return EBUSY;
            case 7:
                    return fd_clone((struct file *)text, fd, flag, &ops, text);
            }
            return fd_clone(fp, fd, flag, &ops, text);
    }

    static const struct cdevsw table = {
            .d_open = t_open, .d_close = noclose, .d_read = noread, .d_write = nowrite,
            .d_ioctl = noioctl, .d_stop = nostop, .d_tty = notty, .d_poll = nopoll,
            .d_mmap = nommap, .d_kqfilter = nokqfilter, .d_discard = nodiscard,
            .d_flag = D_OTHER,
    };

    int
    attach(void)
    {
            return devsw_attach("eleven", NULL, &majors[0], &table, &majors[1]);
    }

    int
    detach(void)
    {
            devsw_detach(NULL, &table);
            return 0;
    }
"""
HEADERS = "#include <sys/kauth.h>\n"


@pytest.fixture(params=MACHINES)
def code(request: pytest.FixtureRequest, load: Any) -> Code:
    return begun(load, request.param)


def begun(load: Any, machine: str = "amd64", how: int = 0) -> Code:
    code: Code = load(HEADERS + SOURCE, machine)
    assert code.call("attach") == 0
    code.kernel.memory.put_u32(code.address("how"), how)
    return code


def run(code: Code, model: Any) -> Any:
    lwp = code.kernel.subject(Processes).spawn("process", model)
    code.finish(lwp)
    return lwp.result


def opened(code: Code, flags: int = FREAD | FWRITE) -> Any:
    return run(code, code.kernel.subject(DeviceNodes).open("eleven", 0, flags))


def test_flags_are_passed_to_fcntl_and_ioctl_and_restored_after_refusal(code: Code) -> None:
    """sys_fcntl, F_SETFL calls fo_fcntl, and fo_ioctl for changed flags."""
    files = code.kernel.subject(Files)
    node = opened(code)
    assert run(code, files.fcntl(node, FNONBLOCK)) == 0
    assert (code.number("fcntls"), code.number("nonblock")) == (1, FNONBLOCK)
    assert run(code, files.fcntl(node, FNONBLOCK)) == 0
    assert code.number("fcntls") == 2
    run(code, files.read(node, 1))
    assert code.number("flag_was") == FREAD | FWRITE | FNONBLOCK
    code.kernel.memory.put_u32(code.address("how"), 11)
    assert run(code, files.fcntl(node, 0)) == Errno.ENOTTY
    assert code.number("fcntls") == 4, "and once more with the old flags"
    run(code, files.read(node, 1))
    assert code.number("flag_was") == FREAD | FWRITE | FNONBLOCK


def test_file_reports_type_and_offset(code: Code) -> None:
    files = code.kernel.subject(Files)
    node = opened(code)
    assert run(code, files.stat(node)) == (0o020644, 6)
    assert run(code, files.seek(node, 3, 0)) == 3
    assert run(code, files.read(node, 9)) == b"ven"
    assert run(code, files.seek(node, 1, 2)) == 7
    assert code.number("seek_whence") == 2
    assert run(code, files.seek(node, -1, 0)) == Errno.EINVAL
    code.kernel.memory.put_u32(code.address("how"), 10)
    assert run(code, files.stat(node)) == Errno.EOPNOTSUPP
    run(code, files.restart(node))
    assert code.number("restarts") == 1


def test_unfilled_stat_is_an_uninitialised_read(load: Any) -> None:
    """do_sys_fstat: the struct stat is on the kernel's stack."""
    code = begun(load)
    code.kernel.memory.put_u32(code.address("quiet"), 1)
    run(code, code.kernel.subject(Files).stat(opened(code)))
    assert [text.split(":")[0] for text in code.violations()] == ["uninitialised-read"]


def test_each_open_creates_own_file(code: Code) -> None:
    files = code.kernel.subject(Files)
    first, second = opened(code), opened(code, FREAD)
    assert isinstance(first, File)
    assert isinstance(second, File)
    assert run(code, files.read(first, 4)) == b"elev"
    assert run(code, files.read(first, 9)) == b"en"
    assert code.number("offset_was") == 4
    assert code.number("cred_was") == 1
    assert run(code, files.read(second, 9)) == b"eleven"
    assert code.number("flag_was") == FREAD
    assert run(code, files.write(second, b"x")) == Errno.EBADF
    assert run(code, files.write(first, b"x")) == Errno.EOPNOTSUPP
    both = 0xC0000000 | 4 << 16 | ord("t") << 8 | 1
    assert run(code, files.ioctl(first, both, (41).to_bytes(8, "little"))) == b"\x2a\0\0\0"
    assert run(code, files.ioctl(first, 0x20000001, b"")) == Errno.ENOTTY
    assert run(code, files.poll(first, 1)) == 0
    assert run(code, files.mmap(first, 0, 1)) == code.address("object")
    assert run(code, files.mmap(first, 4096, 1)) == -1
    for each in (first, second):
        assert run(code, files.close(each)) == 0
    assert run(code, files.poll(first, 1)) == 0x20
    assert code.number("closed") == 2
    code.call("detach")
    assert code.unload() == []


def test_failed_open_releases_its_file(load: Any) -> None:
    code = begun(load, how=3)
    assert opened(code) == Errno.EBUSY
    code.call("detach")
    assert code.unload() == []


def test_file_left_by_open_is_reported(load: Any) -> None:
    code = begun(load, how=2)
    assert opened(code) == Errno.EBUSY
    (text,) = code.violations()
    assert text.startswith("file-left: d_open of eleven returned 16, and the file allocated by ")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (1, "file-not-moved: d_open of eleven did not call fd_clone and returned EMOVEFD"),
        (4, "file-not-moved: d_open of eleven called fd_clone and returned 0, not EMOVEFD"),
        (5, "file-unknown: fd_clone by t_open"),
        (6, "file-unknown: fd_abort by t_open"),
        (7, "file-unknown: fd_clone by t_open"),
        (8, "file-unknown: fd_abort by t_open"),
    ],
)
def test_file_is_cloned_once_and_open_reports_it(load: Any, how: int, message: str) -> None:
    code = begun(load, how=how)
    with pytest.raises(KernelPanic) as panic:
        opened(code)
    assert f"{panic.value.rule}: {panic.value.message}".startswith(message)


def test_close_never_returns_erestart(load: Any) -> None:
    code = begun(load, how=9)
    file = opened(code)
    with pytest.raises(KernelPanic) as panic:
        run(code, code.kernel.subject(Files).close(file))
    assert panic.value.rule == "file-close-restart"


def test_file_outliving_module_is_reported(load: Any) -> None:
    code = begun(load)
    opened(code)
    code.call("detach")
    (text,) = code.unload()
    assert text.startswith(
        "file-of-module: module tried is unloaded, but descriptor 3, allocated by "
    )
