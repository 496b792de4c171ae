"""The launchers of many machines: what they would run, and what they do with stand-ins for the machines' commands."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MULTIHOST = ROOT / "launch" / "multihost.py"
SLURM = {
    "SLURM_JOB_ID": "42",
    "SLURM_STEP_NODELIST": "node[07-09]",
    "SLURM_NTASKS": "6",
    "SLURM_PROCID": "4",
    "SLURM_LOCALID": "0",
}
JOBSET = {
    "JOBSET_NAME": "digits",
    "REPLICATED_JOB_NAME": "workers",
    "JOB_INDEX": "1",
    "JOB_COMPLETION_INDEX": "2",
    "JOB_PODS": "4",
    "REPLICATED_JOB_COUNT": "2",
}


def stand_in(folder: Path, name: str, body: str) -> None:
    """An executable `name` that notes its arguments in folder/calls and goes on with `body`."""
    path = folder / name
    path.write_text(f'#!/usr/bin/env bash\nprintf "%s\\n" "{name} $*" >>"{folder}/calls"\n{body}\n')
    path.chmod(0o755)


def call(*words: object, folder: Path | None = None, **variables: str) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "JOB_", "TPU_"))} | variables
    if folder:
        environment["PATH"] = f"{folder}{os.pathsep}{environment['PATH']}"
    return subprocess.run([*map(str, words)], env=environment, capture_output=True, text=True, timeout=120)


def multihost(*words: str, **variables: str) -> subprocess.CompletedProcess:
    return call(sys.executable, MULTIHOST, *words, **variables)


@pytest.mark.parametrize(
    ("options", "variables", "expected"),
    [
        (("--coordinator=n1:1", "--process_id=0", "--processes=2"), {}, "coordinator_address='n1:1', num_processes=2"),
        ((), SLURM, "Slurm: cluster_detection_method='slurm'\n"),
        ((), SLURM | {"CUDA_VISIBLE_DEVICES": "0,1"}, "cluster_detection_method='slurm'\n"),
        ((), SLURM | {"CUDA_VISIBLE_DEVICES": "0", "SLURM_LOCALID": "3"}, "local_device_ids=[0]"),
        ((), SLURM | {"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_NNODES": "6"}, "local_device_ids=[0, 1]"),
        ((), JOBSET, "coordinator_address='digits-workers-0-0.digits:8476', num_processes=8, process_id=6"),
        ((), {"TPU_WORKER_ID": "0"}, "by metadata"),
        (("--coordinator=n1:1", "--process_id=0", "--processes=2"), SLURM, "coordinator_address='n1:1'"),
    ],
    ids=[
        "options",
        "slurm",
        "slurm, GPUs of a node",
        "slurm, bound GPU",
        "slurm, alone",
        "jobset",
        "tpu",
        "options before slurm",
    ],
)
def test_a_process_finds_its_place(options, variables, expected):
    done = multihost(*options, "--dry-run", "experiments.train", "--workdir=/a b", **variables)
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout
    assert "would run: python -m experiments.train '--workdir=/a b'" in done.stdout


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), "this is no Kubernetes JobSet, Slurm, TPU VM process"),
        (("--processes=2",), "belong together"),
        (("--coordinator=n1:1", "--process_id=2", "--processes=2"), "--process_id=2 must lie in 0 … 1"),
        (("--coordinator=n1", "--process_id=0", "--processes=2"), "must be HOST:PORT"),
        (("--coordinator=n1:x", "--process_id=0", "--processes=2"), "must be HOST:PORT"),
    ],
)
def test_a_process_without_a_place_says_what_is_missing(options, expected):
    done = multihost(*options, "experiments.train")
    assert done.returncode == 2
    assert expected in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_slurm_says_what_it_would_run(tmp_path):
    done = call("bash", ROOT / "launch" / "slurm.sbatch", "--dry-run", "--workdir=/a b", SLURM_JOB_ID="7")
    assert done.returncode == 0
    assert "multihost.py experiments.train --workdir=/a\\ b" in done.stdout
    assert "scontrol requeue 7" in done.stdout


SRUN = """trap 'echo saved; exit {code}' USR1
touch {folder}/started
for i in $(seq 300); do sleep 0.1; done"""


@pytest.mark.parametrize(("code", "requeues"), [(75, True), (1, False)])
@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_slurm_hands_the_signal_on_and_requeues_what_saved(tmp_path, number, code, requeues):
    stand_in(tmp_path, "srun", SRUN.format(code=code, folder=tmp_path))
    stand_in(tmp_path, "scontrol", "")
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    environment |= {"SLURM_SUBMIT_DIR": str(ROOT)}
    command = ["bash", str(ROOT / "launch" / "slurm.sbatch"), "--workdir=/shared/a"]
    job = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    while not (tmp_path / "started").exists():
        assert job.poll() is None
        time.sleep(0.02)
    job.send_signal(number)
    output = job.communicate(timeout=30)[0]
    calls = (tmp_path / "calls").read_text().splitlines()
    assert job.returncode == code
    assert "saved" in output
    assert calls[0].startswith("srun --kill-on-bad-exit=0 ")
    assert calls[0].endswith("experiments.train --workdir=/shared/a")
    assert calls[1:] == (["scontrol requeue 7"] if requeues else [])


def test_slurm_passes_an_undisturbed_end_on(tmp_path):
    stand_in(tmp_path, "srun", "exit 0")
    done = call("bash", ROOT / "launch" / "slurm.sbatch", folder=tmp_path, SLURM_SUBMIT_DIR=str(ROOT))
    assert done.returncode == 0


def test_slurm_refuses_another_directory(tmp_path):
    done = call("bash", ROOT / "launch" / "slurm.sbatch", "--dry-run", SLURM_SUBMIT_DIR=str(tmp_path))
    assert done.returncode == 2
    assert "submit from there" in done.stderr


def test_tpu_vm_copies_sets_up_and_starts(tmp_path):
    stand_in(tmp_path, "gcloud", "")
    stand_in(tmp_path, "git", "")
    done = call(ROOT / "launch" / "tpu_vm.sh", "pod", "us-central2-b", "--workdir=/mnt/a b", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    git, copied, set_up, started = (tmp_path / "calls").read_text().splitlines()
    assert "archive" in git
    assert "tpu-vm scp" in copied
    assert "--zone=us-central2-b --worker=all" in copied
    assert "jax[tpu]" in set_up
    assert started.endswith("launch/multihost.py experiments.train --workdir=/mnt/a\\ b")


def test_tpu_vm_stops_where_a_step_fails(tmp_path):
    stand_in(tmp_path, "gcloud", "exit 3")
    stand_in(tmp_path, "git", "")
    done = call(ROOT / "launch" / "tpu_vm.sh", "pod", "zone", folder=tmp_path)
    assert done.returncode == 3
    assert len((tmp_path / "calls").read_text().splitlines()) == 2


def test_kubernetes_gets_a_whole_manifest(tmp_path):
    stand_in(tmp_path, "kubectl", f'cat >"{tmp_path}/manifest"')
    words = ("digits", "registry/cs231n:1", "--workdir=/shared/a", '--config.model.name="x"')
    done = call(ROOT / "launch" / "gke.sh", *words, folder=tmp_path, PODS="4", CLAIM="runs")
    assert done.returncode == 0, done.stderr
    manifest = (tmp_path / "manifest").read_text()
    dry = call(ROOT / "launch" / "gke.sh", "--dry-run", *words, PODS="4", CLAIM="runs")
    assert manifest.strip() in dry.stdout
    assert "@" not in "".join(line for line in manifest.splitlines() if not line.startswith("#"))
    assert "completions: 4" in manifest
    assert 'args: ["--workdir=/shared/a", "--config.model.name=\\"x\\""]' in manifest
    read = {line.split("name: ")[1] for line in manifest.splitlines() if "- name: J" in line or "- name: R" in line}
    assert read == set(JOBSET)  # what multihost.py looks for


@pytest.mark.parametrize(
    ("script", "words", "variables"),
    [
        ("tpu_vm.sh", (), {}),
        ("tpu_vm.sh", ("--workdir=a", "zone"), {}),
        ("gke.sh", ("digits",), {}),
        ("gke.sh", ("Digits_1", "image"), {"CLAIM": "runs"}),
        ("gke.sh", ("digits", "image"), {}),
        ("gke.sh", ("digits", "image: x"), {"CLAIM": "runs"}),
        ("gke.sh", ("digits", "image", "--a=b\nc"), {"CLAIM": "runs"}),
        ("gke.sh", ("digits", "image"), {"PODS": "0", "CLAIM": "runs"}),
    ],
)
def test_wrong_use_is_refused_in_one_line(script, words, variables):
    done = call(ROOT / "launch" / script, *words, **variables)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_gpus_says_what_it_would_run_and_refuses_a_machine_without():
    done = call(ROOT / "launch" / "gpus.sh", "--dry-run", "--workdir=/a b", GPUS="0,1")
    assert done.returncode == 0
    assert "CUDA_VISIBLE_DEVICES=0,1" in done.stdout
    assert "-m experiments.train --workdir=/a\\ b" in done.stdout


def test_the_configs_that_launchers_name_exist():
    texts = [path.read_text() for path in (ROOT / "launch").iterdir() if path.is_file()]
    named = {name for text in texts for name in re.findall(r"experiments/configs/\w+\.py", text)}
    assert len(named) >= 2
    assert all((ROOT / name).is_file() for name in named)
