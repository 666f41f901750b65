#!/bin/sh
# Makes the project's Python environment: environment.sh PYTHON DIRECTORY [EXTRA].
# EXTRA is one of pyproject.toml, and dev where it is not named.
# Prints one line for a program or module that the machine lacks.

python=$1
venv=$2
what=".[${3:-dev}]"
log=$venv/install.log

fail() {
	echo "make: $1" >&2
	exit 69			# EX_UNAVAILABLE
}

# Make the environment. venv would compile all of pip, and of setuptools, which takes longer than
# everything else; unpacked from the same file, pip compiles what it imports.
make_venv() {
	wheel=$("$python" -c '
import ensurepip, pathlib, sysconfig
places = [pathlib.Path(ensurepip.__file__).parent / "_bundled", "/usr/share/python-wheels"]
places.append(sysconfig.get_config_var("WHEEL_PKG_DIR") or ".")
print(next(str(file) for place in places for file in pathlib.Path(place).glob("pip-*.whl")))
' 2>/dev/null) || { "$python" -m venv "$venv"; return; }
	"$python" -m venv --without-pip "$venv" &&
	    site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))') &&
	    "$venv/bin/python" -m zipfile -e "$wheel" "$site"
}

pip() {
	"$venv/bin/python" -m pip --disable-pip-version-check --retries 1 --timeout 15 "$@"
}

# Print pip's configuration as variables for uv.
uv_settings() {
	pip config list | sort -r | sed -n \
	    -e 's/^[^=]*\.index-url=/UV_DEFAULT_INDEX=/p' \
	    -e 's/^[^=]*\.extra-index-url=/UV_INDEX=/p' \
	    -e 's/^[^=]*\.find-links=/UV_FIND_LINKS=/p' \
	    -e 's/^[^=]*\.no-index=/UV_NO_INDEX=/p' \
	    -e 's/^[^=]*\.constraint=/UV_CONSTRAINT=/p' \
	    -e 's/^[^=]*\.cert=/SSL_CERT_FILE=/p'
}

# Install the packages with uv, which takes a fifth of pip's time: pip chooses and unpacks them in
# Python.
install_with_uv() (
	pip install --quiet --no-compile --only-binary :all: 'uv>=0.5,<1' || return
	settings=$(uv_settings) || return
	set -a			# export what is assigned
	eval "$settings"
	UV_HTTP_TIMEOUT=15 UV_INDEX_STRATEGY=unsafe-best-match "$venv/bin/python" -m uv \
	    pip install --quiet --python "$venv/bin/python" --editable "$what"
)

install_with_pip() {
	pip install --quiet --no-compile --editable "$what"
}

command -v "$python" >/dev/null 2>&1 ||
    fail "there is no $python; install Python 3.11 or newer (Debian: apt-get install python3), or say make PYTHON=..."
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$python is older than Python 3.11; name a newer one: make PYTHON=python3.12"
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "$python cannot make environments; install its venv module (Debian: apt-get install python3-venv)"

echo "Setting up $venv (once; needs the network for about a minute) ..."
[ -x "$venv/bin/python" ] || make_venv || fail "cannot make $venv; see above"
# There is no uv for some machines, and a network may allow only pip.
install_with_uv >"$log" 2>&1 || install_with_pip >>"$log" 2>&1 ||
    fail "pip could not install the packages of pyproject.toml; is there a network? Its output is in $log"
# Compiling all that is unpacked takes long, and most of it is never imported.  Python compiles a
# file at its first import; where the environment forbids it to keep the result, as in many
# containers, each command would do so again.
(unset PYTHONDONTWRITEBYTECODE; exec "$venv/bin/python" -c '
import capstone, elftools.dwarf.dwarfinfo, elftools.elf.elffile, jinja2, rich.console
import rich.progress, ruamel.yaml, unicorn, distributed, hypothesis, pytest, xdist.plugin') \
    2>>"$log" || fail "the packages of pyproject.toml cannot be imported; its output is in $log"
touch "$venv/.complete"
