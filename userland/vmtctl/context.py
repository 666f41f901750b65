"""The context of a verb: the values of the command line, the tools, the files, the output."""

from __future__ import annotations

import os
import sys

from vmtctl.exits import NO_PERMISSION, UNAVAILABLE, Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtctl.grammar import Values
    from vmtctl.system import Tools

# Incremented when a key of the JSON output changes its meaning or is removed.
SCHEMA = 1

# What to do on another system.
RUN_IT = (
    "run vmtctl on the NetBSD guest; -R DIR works on the files of an image, "
    "--tools-root DIR on a guest of `vmtsim guest`"
)


class Context:
    """One run of vmtctl: its command line, its tools and files, and its output."""

    def __init__(self, values: Values) -> None:
        self.values = values
        self.quiet = values.on("quiet")
        self.verbose = values.on("verbose")
        self.json = values.on("json")
        self.dry_run = values.on("dry-run")
        self.steps: list[dict[str, str]] = []
        self.lost_output: OSError | None = None
        self._tools: Tools | None = None

    @property
    def tools(self) -> Tools:
        """The system's tools."""
        if self._tools is None:
            from vmtctl.system import Tools

            root = self.values.option("tools-root") or ""
            self._tools = Tools(
                os.path.abspath(root) if root else "", self.detail if self.verbose else None
            )
        return self._tools

    @property
    def image(self) -> str | None:
        """The directory of -R, or None: then the files are those of the running system."""
        return self.values.option("root")

    @property
    def files_root(self) -> str:
        """The root directory for files: -R, else --tools-root, else ""."""
        root = self.image or self.values.option("tools-root") or ""
        return os.path.abspath(root).rstrip("/") if root else ""

    def file(self, path: str) -> str:
        """Return the place of the system's file ``path`` (absolute)."""
        return self.files_root + path

    def read(self, path: str) -> str | None:
        """Return the text of the system's file ``path``, or None when it cannot be read."""
        try:
            with open(self.file(path), encoding="utf-8", errors="surrogateescape") as stream:
                return stream.read()
        except OSError:
            return None

    def print(self, text: str) -> None:
        """Print a line of the result, unless --quiet or --json."""
        if not self.quiet and not self.json:
            self._print(printable(text))

    def _print(self, text: str) -> None:
        """Print; a failing output must not stop the work."""
        try:
            print(text)
        except OSError as error:
            self.lose_output(error)

    def lose_output(self, error: OSError) -> None:
        """Record why the output is incomplete, and discard the rest of it."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        # A closed pipe, as in `vmtctl status | head -1`, is not an error.
        if not isinstance(error, BrokenPipeError):
            self.lost_output = self.lost_output or error

    def detail(self, text: str) -> None:
        """Print a line for --verbose, on standard error."""
        if self.verbose:
            sys.stderr.write(f"{printable(text)}\n")

    def warn(self, text: str) -> None:
        """Print a warning, on standard error, also with --quiet."""
        sys.stderr.write(f"vmtctl: {printable(text)}\n")

    def step(self, what: str, *, state: str = "") -> None:
        """Record and print a step of a changing verb: done, planned or unchanged."""
        state = state or ("planned" if self.dry_run else "done")
        self.steps.append({"step": what, "state": state})
        self.print(f"would {what}" if state == "planned" else what)

    def print_json(self, document: Mapping[str, object]) -> None:
        """Print a JSON object with the schema's version and the verb, if --json."""
        if not self.json:
            return
        import json

        whole = {"schema": SCHEMA, "verb": " ".join(self.values.path), **document}
        self._print(json.dumps(whole, indent=2, ensure_ascii=True))

    def finish(self, *, changed: bool, **more: object) -> None:
        """Print the JSON of a changing verb."""
        self.print_json({"changed": changed, "steps": self.steps, **more})

    @property
    def may_change(self) -> bool:
        """Whether vmtctl runs as root, or with --tools-root."""
        return bool(self.values.option("tools-root")) or os.geteuid() == 0

    def need_root(self, doing: str) -> None:
        """Refuse unless run by root; a dry run and --tools-root do not need root.

        Raises Failure.
        """
        if self.dry_run or self.may_change:
            return
        raise Failure(
            f"only root may {doing}",
            hint=f"become root with su(1), then: {self.same_command()}",
            status=NO_PERMISSION,
        )

    def shown(self, path: str) -> str:
        """Return the place of the system's file ``path``, as a word for sh(1)."""
        from vmtctl.grammar import quoted

        return quoted(self.file(path))

    def command(self, words: str) -> str:
        """Return ``vmtctl`` and ``words``, with the options for the tree of this run."""
        return " ".join(("vmtctl", words, *self._where()))

    def same_command(self) -> str:
        """Return the command line of this run, to be typed again."""
        from vmtctl.grammar import quoted

        return " ".join(map(quoted, ("vmtctl", *self.values.typed)))

    def _where(self) -> list[str]:
        """Return the option -R as typed; it is not needed inside a simulated guest."""
        from vmtctl.grammar import quoted

        return [f"-R {quoted(self.image)}"] if self.image else []

    @property
    def elsewhere(self) -> str:
        """The name of the running system if it should be NetBSD and is not; else ""."""
        name = os.uname().sysname
        if self.image or self.values.option("tools-root") or name == "NetBSD":
            return ""
        return name

    def need_netbsd(self) -> None:
        """Refuse to change a system other than NetBSD. Raises Failure."""
        if self.elsewhere:
            raise Failure(f"this is {self.elsewhere}, not NetBSD", hint=RUN_IT, status=UNAVAILABLE)

    def no_image(self) -> None:
        """Refuse -R for a verb that works on the running system only. Raises UsageError."""
        if self.image:
            from vmtctl.grammar import UsageError

            raise UsageError(
                f"{' '.join(self.values.path)} works on the running system; -R is for files",
                self.values.path,
            )


def printable(text: str) -> str:
    """Return ``text`` for a terminal, with control characters and invalid UTF-8 escaped."""
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable() or character in "\n\t"
        else character.encode("utf-8", "surrogateescape")
        .decode("latin-1")
        .encode("unicode_escape")
        .decode("ascii")
        for character in text
    )
