"""Templates: the filters' output for the small specs, and error messages."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from vmtgen.common.errors import MissingInputError
from vmtgen.common.located import LocatedErrors
from vmtgen.compiler.filters import FILTERS, c_format, c_macro, c_name, c_string
from vmtgen.compiler.render import Renderer
from vmtgen.compiler.spec.load import load
from vmtgen.compiler.spec.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtgen.compiler.model import Specs

HERE = Path(__file__).parent
NAMES = sorted(path.name for path in (HERE / "templates").glob("*.j2"))


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Specs:
    """The small set of specs."""
    directory = tmp_path_factory.mktemp("specs") / "small"
    shutil.copytree(HERE / "spec" / "fixtures" / "small", directory)
    shutil.copy(root / "specs" / "netbsd.yaml", directory.parent)
    return load(directory)


@pytest.fixture
def render(tmp_path: Path, root: Path, specs: Specs) -> Callable[..., dict[str, str]]:
    """A function that renders templates given by name and text; dots in names are underscores."""

    def rendered(**templates: str) -> dict[str, str]:
        shutil.copy(root / "templates" / "_macros.j2", tmp_path)
        own = tmp_path / "small"
        own.mkdir()
        for name, text in templates.items():
            (own / f"{name.replace('_dot_', '.')}.j2").write_text(text, encoding="utf-8")
        return Renderer(tmp_path, specs).render_all()

    return rendered


@pytest.mark.parametrize("name", NAMES)
def test_template_output_matches_golden_file(
    name: str, tmp_path: Path, root: Path, specs: Specs, golden: object
) -> None:
    shutil.copytree(HERE / "templates", tmp_path / "small")
    shutil.copy(root / "templates" / "_macros.j2", tmp_path)
    golden.check(name.removesuffix(".j2"), Renderer(tmp_path, specs).render(name))  # type: ignore[attr-defined]


def test_every_filter_is_used_by_golden_template() -> None:
    used = "".join((HERE / "templates" / name).read_text(encoding="utf-8") for name in NAMES)
    macros = (HERE.parent.parent / "templates" / "_macros.j2").read_text(encoding="utf-8")
    filters = set(re.findall(r"\| *(\w+)", used + macros))
    assert sorted(set(FILTERS) - filters) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\n{{ backdoor.magik }}", "a_j2:2: Backdoor has no key 'magik' (did you mean 'magic'?)"),
        ("{{ tclo.errors.bussy }}", "a_j2:1: there is no entry 'bussy' (did you mean 'busy'?)"),
        (
            "{{ rpci.messages.blob.text.feilds }}",
            "a_j2:1: Text has no key 'feilds' (did you mean 'fields'?)",
        ),
        ("{{ bakdoor }}", "a_j2:1: there is no variable 'bakdoor' (did you mean 'backdoor'?)"),
        ("\n\n{{ 1 | hexx }}", "a_j2:3: there is no filter 'hexx' (did you mean 'hex'?)"),
        ("{% if 1 is oddd %}{% endif %}", "a_j2:1: there is no test 'oddd' (did you mean 'odd'?)"),
        ("{% for x in %}", "a_j2:1: Expected an expression, got 'end of statement block'"),
        ("{{ backdoor", "a_j2:1: unexpected end of template, expected 'end of print statement'"),
        ("{{ 'x' | hex }}", "a_j2:1: ValueError: invalid literal for int() with base 10: 'x'"),
        ("{{ backdoor.doc.nothing }}", "a_j2:1: a value of type str has no 'nothing'"),
        ("\n{% include '_macro.j2' %}", "a_j2:2: there is no template '_macro.j2'"),
    ],
)
def test_template_error_is_reported_with_line(
    render: Callable[..., dict[str, str]], text: str, message: str
) -> None:
    with pytest.raises(LocatedErrors) as caught:
        render(a=text)
    found = str(caught.value).rpartition("/")[2].replace("a.j2", "a_j2")
    assert found.startswith(message)


def test_errors_in_several_templates_are_reported_together(
    render: Callable[..., dict[str, str]],
) -> None:
    with pytest.raises(LocatedErrors) as caught:
        render(a="{{ one }}", b="\n{{ two }}")
    assert [problem.line for problem in caught.value.problems] == [1, 2]


def test_error_in_include_is_reported_there(render: Callable[..., dict[str, str]]) -> None:
    with pytest.raises(LocatedErrors) as caught:
        render(_part="\n\n{{ nothing }}", a="{% include '_part.j2' %}")
    assert "_part.j2:3: there is no variable 'nothing'" in str(caught.value)


@pytest.mark.parametrize("verb", ["include '{}'", "import '{}' as x", "extends '{}'"])
@pytest.mark.parametrize("through", [False, True])
def test_recursive_include_is_reported(
    render: Callable[..., dict[str, str]], verb: str, through: bool
) -> None:
    files = {"a": "\n{% " + verb.format("_b.j2" if through else "a.j2") + " %}"}
    if through:
        files["_b"] = "\n{% " + verb.format("a.j2") + " %}"
    with pytest.raises(LocatedErrors) as caught:
        render(**files)
    (problem,) = caught.value.problems
    assert Path(problem.path).name in {f"{name}.j2" for name in files}
    assert problem.line == 2
    assert problem.message == "the template includes itself, directly or through others"


def test_recursive_macro_is_reported(render: Callable[..., dict[str, str]]) -> None:
    with pytest.raises(LocatedErrors) as caught:
        render(a="{% macro m() %}\n{{ m() }}{% endmacro %}{{ m() }}")
    assert "a.j2:2: the macro calls itself without end" in str(caught.value)


def test_header_names_only_existing_specs(render: Callable[..., dict[str, str]]) -> None:
    with pytest.raises(LocatedErrors, match=r"there is no spec 'tcol.yaml' \(did you mean 'tclo'"):
        render(a="{% from '_macros.j2' import header with context %}{{ header('tcol.yaml') }}")


def test_template_with_leading_underscore_gives_no_output(
    render: Callable[..., dict[str, str]],
) -> None:
    assert render(_part="x", a="y") == {"a": "y"}


def test_missing_templates_are_noinput(tmp_path: Path, specs: Specs) -> None:
    with pytest.raises(MissingInputError, match="no such directory"):
        Renderer(tmp_path / "templates", specs)


@pytest.mark.parametrize(
    ("name", "macro"),
    [
        ("get-time-full", "GET_TIME_FULL"),
        ("OS_PowerOn", "OS_POWER_ON"),
        ("broadcastIP", "BROADCAST_IP"),
        ("time.synchronize.allow", "TIME_SYNCHRONIZE_ALLOW"),
    ],
)
def test_names_become_identifiers(name: str, macro: str) -> None:
    assert c_macro(name) == macro
    assert c_name(name) == macro.lower()


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ('a "b"', r'"a \"b\""'),
        ("back\\slash\n", r'"back\\slash\n"'),
        ("\x7f\x01", r'"\177\001"'),
        ("what??!", r'"what?\?!"'),
    ],
)
def test_string_is_c_literal(text: str, literal: str) -> None:
    assert c_string(text) == literal


def test_format_prints_each_field_by_type() -> None:
    text = Text('100% "{a:text}" {b:bool}{c:u64} {d:uint} {e:i64} {f:int} {g:bytes}')
    assert c_format(text, "\n", "%s: ") == (
        r'"%s: 100%% \"%s\" %d%" PRIu64 " %u %" PRId64 " %d \n"'
    )


def test_format_ending_in_macro_has_no_empty_literal() -> None:
    assert c_format(Text("n {a:u64}")) == '"n %" PRIu64'
