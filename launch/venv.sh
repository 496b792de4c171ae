# shellcheck shell=bash
# Sourced by local.sh and test.sh: finds an interpreter and keeps a virtual environment in step with requirements.lock.
#
# The environment holds a copy of the lock file it was made from. The copy is emptied before anything is changed and
# written again at the very end, so one comparison tells whether the environment is whole, current and ours.

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
venv=${CS231N_VENV:-$root/.venv}
case $venv in /*) ;; *) venv=$PWD/$venv ;; esac
venv_name=${venv#"$root"/}
lock=$root/requirements.lock
installed=$venv/installed.lock

fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

# probe COMMAND: prints "3.12.1 /path/of/the/interpreter". It runs the command, because pyenv puts names on PATH for
# versions that are not active; Python 2 has to understand the program too, so that it can be refused by its number.
probe() {
  "$1" -c 'import sys; print("%d.%d.%d " % sys.version_info[:3] + sys.executable)' 2>/dev/null </dev/null
}

supported() {
  case $1 in 3.11.* | 3.12.* | 3.13.*) ;; *) return 1 ;; esac
}

# Sets `found` to what probe says of $PYTHON, or of the newest supported interpreter on PATH.
find_python() {
  local candidate
  if [ -n "${PYTHON:-}" ]; then
    found=$(probe "$PYTHON") || fail "PYTHON=$PYTHON does not run as a Python interpreter; name one of 3.11 to 3.13."
    supported "$found" ||
      fail "PYTHON=$PYTHON is Python ${found%% *}, but 3.11 to 3.13 are supported; name one of these."
    return
  fi
  for candidate in python3.13 python3.12 python3.11 python3 python; do
    if found=$(probe "$candidate") && supported "$found"; then return; fi
  done
  fail "No Python 3.11 to 3.13 runs from PATH; install one, or name one: PYTHON=/path/of/python3.12 $0"
}

# True when the environment was made from the present lock file and its interpreter still runs and finds its packages;
# sets `version`. An interpreter can vanish or change its version under the link that an environment keeps to it.
is_ready() {
  cmp -s "$lock" "$installed" && version=$(probe "$venv/bin/python") || return 1
  version=${version%% *}
  site=$venv/lib/python${version%.*}/site-packages
  [ -d "$site" ]
}

is_wanted() { # $PYTHON asks for a version by name; without it any environment that is ready will do
  [ -z "${PYTHON:-}" ] || [ "${found%% *}" = "$version" ]
}

# One set-up at a time. The lock lies on the directory itself and belongs to descriptor 9, which this shell and the
# installers share: it ends with the last of them, however they end. File systems without locks do without.
lock_venv() {
  exec 9<"$venv"
  "${found#* }" -c '
import fcntl
try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("Another set-up of this environment is running; waiting for it to finish.", flush=True)
    fcntl.flock(9, fcntl.LOCK_EX)
except OSError:
    pass
'
}

start_afresh() {
  find "$venv" -mindepth 1 -maxdepth 1 ! -name installed.lock -exec rm -rf {} +
  cp "$lock" "$venv/wanted.lock" # the set-up reads this copy, lest the file change under it
}

install_with_uv() { # compiled to bytecode, as pip does it: otherwise every first start is seconds slower
  uv venv --quiet --allow-existing --python "${found#* }" "$venv" &&
    uv pip install --quiet --compile-bytecode --python "$venv/bin/python" --require-hashes -r "$venv/wanted.lock"
}

install_with_pip() { # -I: packages on PYTHONPATH would count as installed; --use-pep517: the older way is deprecated
  "${found#* }" -I -m venv "$venv" &&
    "$venv/bin/python" -I -m pip install --quiet --disable-pip-version-check --no-input --no-user --use-pep517 \
      --require-hashes -r "$venv/wanted.lock"
}

make_venv() {
  local with=pip log=$venv/setup.log
  [ -e "$installed" ] || [ -z "$(ls -A "$venv")" ] ||
    fail "$venv exists, but this script did not make it; remove it, or name another place: CS231N_VENV=PATH $0"
  : >"$installed"
  start_afresh
  if uv --version >/dev/null 2>&1; then with=uv; fi
  echo "Setting up $venv_name with Python ${found%% *} and $with: about a minute, once."
  if [ $with = uv ]; then
    install_with_uv >"$log" 2>&1 && return
    tail -n 12 "$log" >&2
    echo "uv could not install the packages; trying pip, which may be set up for another index."
    start_afresh
  fi
  install_with_pip >"$log" 2>&1 && return
  tail -n 12 "$log" >&2
  fail "The set-up of $venv_name failed, see above and $log. It needs a package index; the next call starts it afresh."
}

# Makes `import cs231n_jax` and `python -m experiments.train` work from any directory.
link_sources() {
  local link=$site/cs231n_jax.pth
  [ "$(cat "$link" 2>/dev/null)" = "$root" ] || printf '%s\n' "$root" >"$link"
}

# Leaves a complete environment in $venv and its Python version in $version.
ensure_venv() {
  [ -z "${PYTHON:-}" ] || find_python
  if ! { is_ready && is_wanted; }; then
    [ -n "${PYTHON:-}" ] || find_python
    mkdir -p "$venv" || fail "$venv cannot be made; name another place: CS231N_VENV=PATH $0"
    lock_venv
    if ! { is_ready && is_wanted; }; then
      trap 'exit 130' INT  # an installer that is interrupted just fails,
      trap 'exit 143' TERM # and that must not start the next one
      make_venv
      mv "$venv/wanted.lock" "$installed"
      trap - INT TERM
      is_ready || fail "The set-up of $venv_name left no working interpreter; remove it and try again."
    fi
    exec 9<&-
  fi
  link_sources
}

announce() {
  printf 'cs231n_jax %s: Python %s in %s; %s\n' \
    "$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/pyproject.toml")" "$version" "$venv_name" "$*"
}
