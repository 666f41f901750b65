#!/bin/sh
# Makes the project's Python environment: environment.sh PYTHON DIRECTORY.
# One clear line for each thing that a machine may lack.

python=$1
venv=$2

fail() {
	echo "make: $1" >&2
	exit 69			# EX_UNAVAILABLE
}

command -v "$python" >/dev/null 2>&1 ||
    fail "there is no $python; install Python 3.11 or newer (Debian: apt-get install python3), or say make PYTHON=..."
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$python is older than Python 3.11; name a newer one: make PYTHON=python3.12"
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "$python cannot make environments; install its venv module (Debian: apt-get install python3-venv)"

echo "Setting up $venv (once; needs the network for about a minute) ..."
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv" ||
    fail "cannot make $venv; see above"
log=$venv/install.log
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    --retries 1 --timeout 15 --no-compile --editable ".[dev]" >"$log" 2>&1 || {
	fail "pip could not install the packages of pyproject.toml; is there a network? What it said is in $log"
}
# Compiling all that pip unpacks takes long, and most of it is never imported.  Python compiles a
# file at its first import; where the environment forbids it to keep the result, as in many
# containers, each command would do so again.
(unset PYTHONDONTWRITEBYTECODE; exec "$venv/bin/python" -c '
import capstone, elftools.dwarf.dwarfinfo, elftools.elf.elffile, jinja2, rich.console
import rich.progress, ruamel.yaml, unicorn, distributed, hypothesis, pytest, xdist.plugin') \
    2>>"$log" || fail "the packages of pyproject.toml cannot be imported; what Python said is in $log"
touch "$venv/.complete"
