"""The studies and benchmarks as programs, and the numbers of those that are exact."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import benchmark, studies

ROOT = Path(__file__).parents[2]
STUDIES = studies.registry()


def run(*arguments: str | Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in STUDIES if "_cifar" not in name])  # quick, they are the same
def test_a_study_draws_a_figure_and_states_its_answer(name, tmp_path):
    result = STUDIES[name](tmp_path, True)
    assert result.figure.parent == tmp_path
    assert result.figure.read_bytes().startswith(b"\x89PNG")
    assert result.sentence.endswith(".")
    assert result.numbers
    assert all(isinstance(value, float | int) for value in result.numbers.values())
    assert (STUDIES[name].__doc__ or "").strip()


def test_the_slips_of_the_notes_have_their_known_effects(tmp_path):
    numbers = STUDIES["optimizer_bugs"](tmp_path, True).numbers
    assert numbers["RMSProp 0.9, +=: update at which s overflows float32"] == 142
    assert numbers["RMSProp 0.99, +=: update at which s overflows float32"] == 136
    assert numbers["RMSProp 0.9, +=: step after that"] == 0
    assert numbers["RMSProp 0.9, +=: s after 50 updates"] == pytest.approx(9.6e12, rel=0.01)
    assert numbers["RMSProp 0.9: step 100"] == pytest.approx((1 - 0.9**100) ** -0.5, abs=1e-12)
    assert numbers["RMSProp 0.99: step 100"] == pytest.approx((1 - 0.99**100) ** -0.5, abs=1e-12)
    assert numbers["Adam, uncorrected: first step, times too long"] == pytest.approx(3.1623, abs=5e-5)
    assert numbers["Adam, uncorrected: longest step, times too long"] == pytest.approx(6.5685, abs=5e-5)
    assert numbers["Adam, uncorrected: at update"] == 12
    assert numbers["Adam, t from 0: first step is finite"] == 0


def test_momentum_needs_the_root_of_the_condition_number(tmp_path):
    numbers = STUDIES["momentum_vs_kappa"](tmp_path, True).numbers
    assert numbers["exponent of gradient descent"] == pytest.approx(1.0, abs=0.02)
    assert numbers["exponent of momentum"] == pytest.approx(0.5, abs=0.06)


def test_the_program_lists_runs_and_corrects(tmp_path):
    listed = run("experiments.study", "list")
    assert listed.returncode == 0, listed.stderr
    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(STUDIES)

    page = tmp_path / "pages" / "optimizer_bugs.md"
    done = run("experiments.study", "optimizer_bugs", f"--workdir={tmp_path}", f"--pages={page.parent}", "--quick")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "optimizer_bugs.json").read_text())
    assert report["sentence"].split()[0] in done.stdout
    figure, smaller = tmp_path / "optimizer_bugs.png", page.with_suffix(".png")
    assert 5_000 < smaller.stat().st_size < figure.stat().st_size
    assert report["sentence"] in page.read_text()
    assert f"Printed by `python -m experiments.study optimizer_bugs --quick --pages={page.parent}`" in page.read_text()

    for arguments, words in {("optimizer_bug",): "did you mean optimizer_bugs", (): "name a study"}.items():
        wrong = run("experiments.study", *arguments)
        assert wrong.returncode == 2
        assert words in wrong.stderr
        assert "Traceback" not in wrong.stderr


def test_the_benchmarks_have_titles_and_are_found():
    known = benchmark.registry()
    assert "optimizers" in known
    listed = run("experiments.benchmark", "list")
    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(known)
    wrong = run("experiments.benchmark", "optimizer")
    assert wrong.returncode == 2
    assert "did you mean optimizers" in wrong.stderr
