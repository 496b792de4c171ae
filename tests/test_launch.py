"""The launch scripts: with stand-ins for Python and uv on a PATH of their own, and once for real."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = ["launch/local.sh", "launch/test.sh", "launch/venv.sh", ".ci/run"]
BASH = shutil.which("bash")
TOOLS = ["bash", "cat", "cmp", "cp", "dirname", "find", "grep", "ls", "mkdir", "mv", "rm", "sed", "sleep", "tail"]
pytestmark = pytest.mark.skipif(BASH is None, reason="bash is not installed")

# Answers like an interpreter, as far as the scripts ask. The environment says how the installation goes: PIP is a list
# of words, one for each attempt; the attempts are counted in the file CALLS, where every call leaves a line.
PYTHON = r"""#!{bash}
echo "{name} $*" >>"$CALLS"
case "$*" in
  *fcntl*) exec {real} "$@" ;;
  -c*version_info*) echo "{version} {path}" ;;
  -c*jax*) echo "Python {version}, jax 0" ;;
  "-I -m venv "*)
    mkdir -p "$4/bin" "$4/lib/python{short}/site-packages"
    cp "{path}" "$4/bin/python"
    ;;
  "-I -m pip install "*)
    attempt=0
    while read -r call; do case $call in *"-m pip install"*) attempt=$((attempt + 1)) ;; esac; done <"$CALLS"
    set -- $PIP
    shift $((attempt - 1)) || true
    case ${{1:-}} in
      fails) echo "ERROR: no such index"; exit 1 ;;
      dies) kill -KILL $PPID; exit 1 ;;
      dawdles) # until a second call has come to the lock
        until [ "$(grep -c "import fcntl" "$CALLS")" = 2 ]; do sleep 0.1; done
        sleep 1
        ;;
    esac
    ;;
  *" experiments.train"* | *" pytest"*)
    shift 2
    [ "$1" != experiments.train ] || shift
    printf '<%s>' "$@"
    echo " in $PWD with ${{TFDS_DATA_DIR:-no data}}${{PYTHONDONTWRITEBYTECODE:+, no bytecode}}"
    exit "${{EXIT:-0}}"
    ;;
  *) exit 1 ;;
esac
"""
UV = r"""#!{bash}
echo "uv $*" >>"$CALLS"
case "$1 ${{2:-}}" in
  "--version ") exit {present} ;;
  "venv "*) shift 4; "$1" -I -m venv "$2" ;;
  "pip install") echo "uv's own words"; {outcome} ;;
esac
"""


class Checkout:
    """A checkout whose scripts find only the stand-ins that a test puts on their PATH."""

    def __init__(self, folder: Path):
        self.root = folder / "a checkout"
        self.venv = self.root / ".venv"
        self.bin = folder / "bin"
        self.calls_file = folder / "calls"
        tools = folder / "tools"
        for directory in (self.root / ".ci", self.root / "launch", self.bin, tools):
            directory.mkdir(parents=True)
        for script in SCRIPTS:
            shutil.copy(ROOT / script, self.root / script)
        shutil.copy(ROOT / "pyproject.toml", self.root)
        (self.root / "requirements.lock").write_text("one==1.0\n")
        for tool in TOOLS:
            (tools / tool).symlink_to(shutil.which(tool))
        self.calls_file.touch()
        self.environment = {"PATH": f"{self.bin}:{tools}", "CALLS": str(self.calls_file)}

    def command(self, name: str, text: str) -> Path:
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def python(self, name: str, version: str) -> Path:
        short = version.rpartition(".")[0]
        values = {"bash": BASH, "real": sys.executable, "name": name, "version": version, "short": short}
        return self.command(name, PYTHON.format(path=self.bin / name, **values))

    def uv(self, present: int = 0, outcome: str = "exit 0") -> None:
        self.command("uv", UV.format(bash=BASH, present=present, outcome=outcome))

    def start(self, script: str, *arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [BASH, self.root / script, *arguments],
            cwd=cwd or self.root,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(
        self, script: str, *arguments: str, code: int = 0, cwd: Path | None = None, **environment: str
    ) -> list[str]:
        process = self.start(script, *arguments, cwd=cwd, **environment)
        output = process.communicate(timeout=60)[0]
        assert process.returncode == code, output
        return output.splitlines()

    def calls(self, text: str) -> list[str]:
        return [line for line in self.calls_file.read_text().splitlines() if text in line]


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_parse_and_may_be_executed(script):
    subprocess.run([BASH, "-n", ROOT / script], check=True)
    if not script.endswith("venv.sh"):
        assert (ROOT / script).stat().st_mode & stat.S_IXUSR


# --- which interpreter ---


def test_the_newest_supported_interpreter_is_taken(checkout):
    for version in ("3.10.1", "3.11.2", "3.12.3", "3.13.4", "3.14.5"):
        checkout.python("python" + version.rpartition(".")[0], version)
    lines = checkout.run("launch/local.sh")
    assert lines[0] == "Setting up .venv with Python 3.13.4 and pip: about a minute, once."
    assert lines[1].endswith("Python 3.13.4 in .venv; python -m experiments.train")


def test_a_name_that_does_not_run_is_passed_over(checkout):
    checkout.command("python3.13", f"#!{BASH}\necho 'pyenv: python3.13: command not found' >&2; exit 127\n")
    checkout.python("python3.12", "3.12.3")
    lines = checkout.run("launch/local.sh")
    assert "Python 3.12.3" in lines[0]
    assert "pyenv" not in "".join(lines)


@pytest.mark.parametrize("name", ["python3", "python"])
def test_a_plain_name_is_taken_when_its_version_fits(checkout, name):
    checkout.python(name, "3.11.9")
    assert "Python 3.11.9" in checkout.run("launch/local.sh")[0]


@pytest.mark.parametrize("version", ["2.7.18", "3.10.4", "3.14.0", "3.1.1"])
def test_without_a_supported_interpreter_it_says_what_to_do(checkout, version):
    checkout.python("python3", version)
    (line,) = checkout.run("launch/local.sh", code=1)
    assert "3.11 to 3.13" in line
    assert "PYTHON=" in line
    assert not checkout.venv.exists()


def test_python_overrides_the_choice(checkout):
    checkout.python("python3.13", "3.13.4")
    mine = checkout.python("mine", "3.11.5")
    assert "Python 3.11.5" in checkout.run("launch/local.sh", PYTHON=str(mine))[0]


@pytest.mark.parametrize(("choice", "complaint"), [("nowhere", "does not run"), ("old", "is Python 3.9.1")])
def test_a_wrong_override_is_an_error_and_not_replaced_by_another(checkout, choice, complaint):
    checkout.python("python3.13", "3.13.4")
    checkout.python("old", "3.9.1")
    (line,) = checkout.run("launch/local.sh", code=1, PYTHON=choice)
    assert line.startswith(f"PYTHON={choice} {complaint}")
    assert "3.11 to 3.13" in line


# --- when the environment is made ---


def test_it_is_made_once(checkout):
    checkout.python("python3.12", "3.12.3")
    first, second = checkout.run("launch/local.sh"), checkout.run("launch/test.sh")
    assert len(first) == len(second) + 1 == 3
    assert len(checkout.calls("pip install")) == 1
    (command,) = checkout.calls("pip install")
    assert "--require-hashes" in command


def test_it_is_made_anew_for_another_lock_file(checkout):
    checkout.python("python3.12", "3.12.3")
    checkout.run("launch/local.sh")
    (checkout.venv / "left_over").touch()
    (checkout.root / "requirements.lock").write_text("one==1.1\n")
    assert checkout.run("launch/local.sh")[0].startswith("Setting up")
    assert not (checkout.venv / "left_over").exists()
    assert not checkout.run("launch/local.sh")[0].startswith("Setting up")


def test_it_is_made_anew_for_another_interpreter_only_when_asked(checkout):
    checkout.python("python3.12", "3.12.3")
    checkout.run("launch/local.sh")
    other = str(checkout.python("python3.13", "3.13.4"))
    assert "Python 3.12.3 in" in checkout.run("launch/local.sh")[0]
    assert "Setting up .venv with Python 3.13.4" in checkout.run("launch/local.sh", PYTHON=other)[0]
    assert "Python 3.13.4 in" in checkout.run("launch/local.sh", PYTHON=other)[0]


def test_it_is_made_anew_when_its_interpreter_is_gone(checkout):
    checkout.python("python3.12", "3.12.3")
    checkout.run("launch/local.sh")
    (checkout.venv / "bin" / "python").unlink()
    assert checkout.run("launch/local.sh")[0].startswith("Setting up")


def test_one_that_was_interrupted_is_made_anew(checkout):
    checkout.python("python3.12", "3.12.3")
    checkout.run("launch/local.sh", code=-9, PIP="dies")
    assert (checkout.venv / "bin" / "python").exists()
    (checkout.venv / "left_over").touch()
    assert checkout.run("launch/local.sh")[0].startswith("Setting up")
    assert not (checkout.venv / "left_over").exists()


@pytest.mark.skipif(signal.getsignal(signal.SIGINT) is signal.SIG_IGN, reason="runs in the background, uninterrupted")
def test_an_interrupt_ends_it(checkout):
    """Installers answer an interrupt with an ordinary failure, which must not start the next installer."""
    checkout.python("python3.12", "3.12.3")
    checkout.uv(outcome="trap 'exit 1' INT; kill -INT 0; sleep 5")
    lines = checkout.run("launch/local.sh", code=130)
    assert len(lines) == 1
    assert not checkout.calls("-m pip install")


def test_a_failure_shows_the_reason_and_the_next_call_tries_again(checkout):
    checkout.python("python3.12", "3.12.3")
    lines = checkout.run("launch/local.sh", code=1, PIP="fails")
    assert lines[1] == "ERROR: no such index"
    assert lines[2].startswith("The set-up of .venv failed")
    assert len(lines) == 3
    assert checkout.run("launch/local.sh")[0].startswith("Setting up")


def test_two_at_once_make_it_once(checkout):
    checkout.python("python3.12", "3.12.3")
    both = [checkout.start("launch/local.sh", PIP="dawdles") for _ in range(2)]
    outputs = sorted(process.communicate(timeout=60)[0] for process in both)
    assert [process.returncode for process in both] == [0, 0], outputs
    assert len(checkout.calls("pip install")) == 1
    assert outputs[0].startswith("Another set-up")
    assert outputs[1].startswith("Setting up")


def test_uv_is_used_where_it_runs(checkout):
    checkout.python("python3.12", "3.12.3")
    checkout.uv()
    lines = checkout.run("launch/local.sh")
    assert lines[0] == "Setting up .venv with Python 3.12.3 and uv: about a minute, once."
    assert not checkout.calls("-m pip install")
    (command,) = checkout.calls("uv pip install")
    assert "--require-hashes" in command


def test_pip_takes_over_where_uv_fails(checkout):
    checkout.python("python3.12", "3.12.3")
    checkout.uv(outcome="exit 1")
    lines = checkout.run("launch/local.sh")
    assert lines[1] == "uv's own words"
    assert "trying pip" in lines[2]
    assert len(checkout.calls("-m pip install")) == 1


def test_a_uv_that_does_not_run_is_passed_over(checkout):
    checkout.python("python3.12", "3.12.3")
    checkout.uv(present=127)
    assert "and pip" in checkout.run("launch/local.sh")[0]


def test_a_directory_of_somebody_else_is_left_alone(checkout, tmp_path):
    checkout.python("python3.12", "3.12.3")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis").touch()
    (line,) = checkout.run("launch/local.sh", code=1, CS231N_VENV=str(tmp_path / "mine"))
    assert "did not make it" in line
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis"]


def test_its_place_may_be_chosen(checkout, tmp_path):
    checkout.python("python3.12", "3.12.3")
    lines = checkout.run("launch/test.sh", cwd=tmp_path, CS231N_VENV="an environment")
    assert str(tmp_path / "an environment") in lines[0]
    assert (tmp_path / "an environment" / "bin" / "python").exists()
    assert not checkout.venv.exists()


def test_the_sources_are_found_from_anywhere_and_after_a_move(checkout):
    checkout.python("python3.12", "3.12.3")
    checkout.run("launch/local.sh")
    link = Path("lib/python3.12/site-packages/cs231n_jax.pth")
    assert (checkout.venv / link).read_text() == f"{checkout.root}\n"
    moved = checkout.root.rename(checkout.root.with_name("elsewhere"))
    checkout.root = moved
    checkout.run("launch/local.sh")
    assert (moved / ".venv" / link).read_text() == f"{moved}\n"


# --- what is run ---


def test_arguments_reach_the_program_unchanged(checkout, tmp_path):
    checkout.python("python3.12", "3.12.3")
    lines = checkout.run("launch/local.sh", "--workdir=a b", "", "*", cwd=tmp_path)
    assert lines[-1].startswith(f"<--workdir=a b><><*> in {tmp_path}")
    assert checkout.calls(" experiments.train")[-1].startswith("python3.12 -P -m experiments.train --workdir=a b")


def test_the_tests_run_at_the_root(checkout, tmp_path):
    checkout.python("python3.12", "3.12.3")
    default = checkout.run("launch/test.sh", cwd=tmp_path)
    assert default[-1].startswith(
        f"<-n><2><--dist><loadfile><--no-loadscope-reorder><-m><not slow and not gpu> in {checkout.root}"
    )
    assert checkout.run("launch/test.sh", "-k", "a or b", cwd=tmp_path)[-1].startswith("<-k><a or b> in")


@pytest.mark.parametrize("script", ["launch/local.sh", "launch/test.sh"])
def test_exit_codes_are_passed_on(checkout, script):
    checkout.python("python3.12", "3.12.3")
    checkout.run(script, code=75, EXIT="75")


def test_ci_finds_the_data_and_tries_the_set_up_twice(checkout):
    checkout.python("python3.12", "3.12.3")
    data = checkout.root.parent / "shared" / "data" / "tfds"
    data.mkdir(parents=True)
    lines = checkout.run(".ci/run", PIP="fails works", PYTHONDONTWRITEBYTECODE="1")
    assert len(checkout.calls("-m pip install")) == 2
    assert "Python 3.12.3, jax 0" in lines
    flags = "<-n><2><--dist><loadfile><--no-loadscope-reorder><-p><no:cacheprovider><-m><not gpu>"
    assert lines[-1] == f"{flags} in {checkout.root} with {data}"
    checkout.run(".ci/run", code=3, EXIT="3")


# --- for real ---


@pytest.mark.slow
def test_a_real_environment(tmp_path):
    """That of these tests where the scripts made it for this checkout; else a new one, which needs a package index."""
    made = (Path(sys.prefix) / "installed.lock", Path(sysconfig.get_path("purelib")) / "cs231n_jax.pth")
    wanted = ((ROOT / "requirements.lock").read_text(), f"{ROOT}\n")
    there = all(path.exists() and path.read_text() == text for path, text in zip(made, wanted))
    place = Path(sys.prefix) if there else tmp_path / "venv"
    environment = os.environ | {"CS231N_VENV": str(place), "PYTHON": sys.executable}
    command = [BASH, ROOT / "launch" / "test.sh", "--version"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert len(done.stdout.splitlines()) == (2 if there else 3), done.stdout

    offline = environment | {"PIP_NO_INDEX": "1", "UV_OFFLINE": "1"}
    begin = time.monotonic()
    with subprocess.Popen(command, env=offline, stdout=subprocess.PIPE, text=True) as again:
        assert again.stdout.readline().startswith("cs231n_jax")
        assert time.monotonic() - begin < 2

    program = "import cs231n_jax, experiments, jax; print(cs231n_jax.__file__, experiments.__file__)"
    done = subprocess.run([place / "bin" / "python", "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.count(str(ROOT)) == 2, done.stderr


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="there is a GPU, and jax may have a word to say about it")
def test_without_an_accelerator_nothing_warns():
    program = "import jax, jax.numpy as jnp; print(jax.default_backend(), jnp.ones(2) + 1)"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
