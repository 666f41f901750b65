"""Passive references of a module: allowed operations of holder and owner."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .guestcode import line_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from .guestcode import Code

SOURCE = """
    #include <sys/param.h>
    #include <sys/proc.h>
    #include <sys/psref.h>

    struct psref_class *class, *other;
    struct psref_target target, second;
    struct psref one, two;

    int
    make(void)
    {
            class = psref_class_create("tried", 0);         /* made */
            psref_target_init(&target, class);
            return 0;
    }

    int
    take(void)
    {
            psref_acquire(&one, &target, class);            /* taken */
            return psref_held(&target, class);
    }

    int
    take_twice(void)
    {
            return take() + take();
    }

    int
    take_and_stay(void)
    {
            take();
            kpause("stay", false, 100, NULL);
            psref_release(&one, &target, class);
            return 0;
    }

    int
    copy(void)
    {
            psref_copy(&two, &one, class);
            return 0;
    }

    int
    give(void)
    {
            psref_release(&one, &target, class);
            return 0;
    }

    int
    give_both(void)
    {
            psref_acquire(&one, &target, class);
            psref_copy(&two, &one, class);
            psref_release(&one, &target, class);
            psref_release(&two, &target, class);
            return psref_held(&target, class);
    }

    int
    take_and_give_other(void)
    {
            take();
            psref_release(&one, &second, class);
            return 0;
    }

    int
    take_with_other_class(void)
    {
            other = psref_class_create("other", 0);
            psref_acquire(&one, &target, other);
            return 0;
    }

    int
    destroy_target(void)
    {
            psref_target_destroy(&target, class);
            return target.prt_class == NULL;
    }

    int
    take_and_destroy(void)
    {
            psref_acquire(&one, &target, class);
            psref_target_destroy(&target, class);
            return 0;
    }

    int
    destroy_again(void)
    {
            target.prt_draining = true;
            psref_target_destroy(&target, class);
            return 0;
    }

    int
    take_destroyed(void)
    {
            target.prt_draining = true;
            psref_acquire(&one, &target, class);
            return 0;
    }

    int
    take_and_destroy_class(void)
    {
            take();
            psref_class_destroy(class);
            return 0;
    }

    int
    take_copy_late(void)
    {
            psref_acquire(&one, &target, class);
            kpause("late", false, 10, NULL);
            psref_copy(&two, &one, class);
            psref_release(&one, &target, class);
            psref_release(&two, &target, class);
            return target.prt_draining;
    }

    int
    held(void)
    {
            return psref_held(&target, class);
    }

    int
    destroy_class(void)
    {
            psref_class_destroy(class);
            return 0;
    }

    int
    destroy_no_class(void)
    {
            psref_class_destroy((struct psref_class *)&target);
            return 0;
    }
"""

_CALLS = {"give": "release", "copy": "copy"}


@pytest.fixture
def code(load: Callable[..., Code]) -> Code:
    """The module, with a class and a target."""
    code = load(SOURCE)
    code.call("make")
    return code


def test_references_are_acquired_copied_and_released(code: Code) -> None:
    assert code.call("give_both", bound=True) == 0
    assert code.call("destroy_target") == 1
    code.call("destroy_class")
    assert code.unload() == []


def test_target_destroy_waits_for_references(code: Code) -> None:
    holder = code.start("take_and_stay", bound=True)
    code.kernel.run(lambda: bool(holder.state == "asleep"))
    waiting = code.start("destroy_target")
    code.kernel.run(lambda: bool(waiting.state == "asleep"))
    assert holder.state == "asleep"
    code.finish(holder, waiting)
    assert waiting.result == 1


def test_reference_can_be_copied_during_destroy(code: Code) -> None:
    holder = code.start("take_copy_late", bound=True)
    code.kernel.run(lambda: bool(holder.state == "asleep"))
    waiting = code.start("destroy_target")
    code.finish(holder, waiting)
    assert (holder.result, waiting.result) == (1, 1)


def test_psref_held_without_reference_is_an_error(code: Code) -> None:
    assert code.call("held", bound=True) == 0
    holder = code.start("take_and_stay", bound=True)
    code.kernel.run(lambda: bool(holder.state == "asleep"))
    message = code.panic("held", bound=True)
    assert message.startswith("psref-transferred: psref_held by held")


@pytest.mark.parametrize("function", ["give", "copy"])
def test_only_acquiring_thread_may_use_reference(code: Code, function: str) -> None:
    holder = code.start("take_and_stay", bound=True)
    code.kernel.run(lambda: bool(holder.state == "asleep"))
    message = code.panic(function, bound=True)
    assert message.startswith(f"psref-transferred: psref_{_CALLS[function]} by {function}")
    assert "passive reference transferred from lwp take_and_stay" in message


@pytest.mark.parametrize(
    ("function", "rule"),
    [
        ("take_with_other_class", "psref-class-mismatch"),
        ("take_and_destroy", "psref-deadlock"),
        ("destroy_again", "psref-target-destroyed"),
        ("take_destroyed", "psref-target-destroyed"),
        ("destroy_no_class", "psref-class-unknown"),
        ("give", "psref-not-held"),
        ("copy", "psref-not-held"),
        ("take_twice", "psref-in-use"),
        ("take_and_give_other", "psref-target-mismatch"),
        ("take_and_destroy_class", "psref-class-in-use"),
    ],
)
def test_rule_violation_panics(code: Code, function: str, rule: str) -> None:
    assert code.panic(function, bound=True).startswith(f"{rule}: ")


def test_unbound_thread_cannot_acquire_reference(code: Code) -> None:
    message = code.panic("take")
    assert message.startswith("psref-unbound: psref_acquire by take")


def test_leftovers_of_module_are_reported(code: Code) -> None:
    code.call("take", kind="kthread", bound=True)
    made, taken = line_of(SOURCE, "/* made */"), line_of(SOURCE, "/* taken */")
    left = code.unload()
    assert [text.partition(":")[0] for text in left] == ["psref-left", "psref-class-left"]
    assert f"tried.c:{taken}" in left[0]
    assert f"tried.c:{made}" in left[1]
