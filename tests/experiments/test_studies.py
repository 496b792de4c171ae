"""The studies and benchmarks as programs, and the numbers of those that are exact."""

import json
import math
from functools import cache, partial

import jax
import numpy as np
import pytest

from cs231n_jax import models, optim
from cs231n_jax.data import DataConfig
from cs231n_jax.models import functional
from experiments import benchmark, studies
from experiments.studies import (
    activation_race,
    batchnorm_scales,
    dense_runs,
    digit_runs,
    init_scales,
    rnn_gradients,
    saturation,
    zigzag,
)
from tests.programs import run

STUDIES = studies.registry()


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """The quick result of a study, found once."""
    return cache(lambda name: STUDIES[name](tmp_path_factory.mktemp(name), True))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in STUDIES if "_cifar" not in name])  # quick, they are the same
def test_a_study_draws_a_figure_and_states_its_answer(name, quick):
    result = quick(name)
    assert result.figure.read_bytes().startswith(b"\x89PNG")
    assert result.sentence.endswith(".")
    assert result.numbers
    assert all(isinstance(value, float | int) for value in result.numbers.values())
    assert (STUDIES[name].__doc__ or "").strip()


def test_the_slips_of_the_notes_have_their_known_effects(quick):
    numbers = quick("optimizer_bugs").numbers
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


def test_momentum_needs_the_root_of_the_condition_number(quick):
    numbers = quick("momentum_vs_kappa").numbers
    assert numbers["exponent of gradient descent"] == pytest.approx(1.0, abs=0.02)
    assert numbers["exponent of momentum"] == pytest.approx(0.5, abs=0.06)


# --- activations ---


@pytest.mark.slow
def test_saturated_units_have_the_known_derivatives(quick):
    numbers = quick("saturation").numbers
    for name, published in {
        "sigmoid′": ("0.25", "0.10499", "6.648e-3", "4.540e-5"),
        "tanh′": ("1", "0.07065", "1.816e-4", "8.24e-9"),
    }.items():
        for x, text in zip((0, 2, 5, 10), published):
            digits = len(text.partition("e")[0].replace(".", "").lstrip("0"))
            assert float(f"{numbers[f'{name}({x})']:.{digits}g}") == float(text)
    shares = [numbers[f"rate {rate:.2g}: live ReLUs (%)"] for rate in (saturation.RATES[0], saturation.RATES[-1])]
    assert shares[0] > 90
    assert shares[1] < 60  # the notes: as much as 40 % can be dead


@pytest.mark.parametrize(("name", "steepest"), [("sigmoid", 0.25), ("tanh", 1.0), ("relu", 1.0)])
def test_a_stack_without_stretching_lets_no_more_through_than_the_steepest_slope(name, steepest, x64):
    for seed in range(3):
        shares = saturation.gradient_shares(name, None, seed)
        assert shares[0] == 1
        assert np.all(shares <= steepest ** np.arange(11) * (1 + 1e-12))
        assert shares[-1] > 0


def test_the_gradient_of_a_stack_is_that_of_a_slow_chain_rule(x64):
    """Ten sigmoid layers written out: y·(1 − y) and the transposed weights."""
    shares = saturation.gradient_shares("sigmoid", None, 0)
    random = np.random.default_rng(0)
    draw = saturation.init.draw
    shape = (saturation.WIDTH, saturation.WIDTH)
    spec = saturation.init.lecture_xavier(shape)
    weights = [np.linalg.qr(draw(spec, 0, f"layer{i}").astype(float))[0] for i in range(10)]
    h, slope = (random.standard_normal((saturation.BATCH, saturation.WIDTH)) for _ in range(2))
    outputs = [h := 1 / (1 + np.exp(-h @ w)) for w in weights]
    lengths = [np.linalg.norm(slope)]
    for w, y in zip(reversed(weights), reversed(outputs)):
        slope = (slope * y * (1 - y)) @ w.T
        lengths.append(np.linalg.norm(slope))
    np.testing.assert_allclose(shares, np.array(lengths) / lengths[0], rtol=1e-10)


def test_positive_inputs_give_every_example_one_sign_and_a_batch_mixes_them(x64):
    assert zigzag.sign_shares("positive", 1) == (1, 1)
    assert zigzag.sign_shares("positive", 64)[0] < 0.95
    assert zigzag.sign_shares("positive", 64)[1] < 0.5
    majority, same = zigzag.sign_shares("zero-centred", 1)
    assert majority == pytest.approx(0.540, abs=1e-3)  # 0.5 + E|B(100, ½) − 50| / 100
    assert same == 0


@pytest.mark.parametrize("seed", range(3))
def test_steps_of_one_sign_make_a_detour(seed, x64):
    _, solution = zigzag.problem("positive", 10, seed)
    up, down = np.maximum(solution, 0), np.maximum(-solution, 0)
    shortest = (np.linalg.norm(up) + np.linalg.norm(down)) / np.linalg.norm(solution)
    assert shortest > 1.3
    way = zigzag.fastest("positive", 10, 1, seed)
    steps = np.diff(way.points, axis=0)
    assert np.all((steps >= 0).all(axis=1) | (steps <= 0).all(axis=1))
    assert way.ratio > shortest - 0.03  # it stops a hundredth of the distance before w*
    assert way.updates == len(steps)
    centred = zigzag.fastest("zero-centred", 10, 256, seed)
    assert 0.99 <= centred.ratio < way.ratio
    assert centred.updates < 10 < zigzag.fastest("positive", 10, 256, seed).updates


@pytest.mark.slow
def test_the_race_finds_its_runners(quick):
    result = quick("activation_race")
    assert {row["activation"] for row in result.rows} == set(activation_race.ACTIVATIONS)
    assert result.numbers["digits, relu: epochs"] < result.numbers["digits, sigmoid: epochs"]


def test_a_study_says_which_data_it_lacks(tmp_path, monkeypatch):
    # Only a directory of its own hides a set: TFDS reads its environment when it is imported, maybe by another test.
    config = partial(DataConfig, dir=str(tmp_path))
    monkeypatch.setattr(dense_runs, "DataConfig", config)
    assert activation_race.small_cifar() is None
    assert batchnorm_scales.centred_cifar() is None


@pytest.mark.slow
def test_a_study_goes_on_without_data(tmp_path, monkeypatch):
    missing = activation_race.Setting(lambda: None, dense_runs.Plan(1), 0.5)
    settings = {"digits": missing._replace(data=digit_runs.digits), "cifar10": missing}
    monkeypatch.setattr(activation_race, "SETTINGS", settings)
    monkeypatch.setattr(activation_race, "ACTIVATIONS", ("sigmoid", "tanh", "relu"))
    monkeypatch.setattr(activation_race, "RATES", (0.1,))
    result = STUDIES["activation_race"](tmp_path, False)
    assert {"data": "cifar10", "activation": "no data"} in result.rows
    assert not [key for key in result.numbers if key.startswith("cifar10")]

    monkeypatch.setattr(batchnorm_scales, "SETS", {"digits": digit_runs.digits, "cifar10": lambda: None})
    monkeypatch.setattr(batchnorm_scales, "SCALES", (0.1, 1.0))
    monkeypatch.setattr(batchnorm_scales, "PLAN", dense_runs.Plan(1, batch=50))
    result = STUDIES["batchnorm_scales"](tmp_path, False)
    assert result.rows[-1] == {"data": "cifar10", "weight scale": "no data"}
    assert len(result.rows) == 3


def test_a_runner_arrives_at_the_first_check_below_the_target():
    setting = activation_race.Setting(lambda: None, dense_runs.Plan(2, checks=2), 0.25)
    assert activation_race.reached([0.5, 0.25, 0.1, 0.3], setting) == 1.0
    assert math.isinf(activation_race.reached([0.5, 0.3], setting))


def test_runs_beside_each_other_are_the_runs_alone():
    data, plan = digit_runs.digits(), dense_runs.Plan(1, batch=128, checks=2)
    model = models.create("mlp", num_classes=10, hidden=(8,))
    starts = [functional.init(model, seed, data["train_x"][:1]) for seed in range(2)]

    def apply(params, state, images, train):
        return functional.apply(model, params, state, images, train=train, noise=False)

    both = dense_runs.train(apply, starts, optim.momentum, [0.1, 0.01], [3, 4], data, plan)
    alone = dense_runs.train(apply, starts[1:], optim.momentum, [0.01], [4], data, plan)
    assert both.loss.shape == (2, 7)
    assert both.train_error.shape == both.test_error.shape == (2, 2)
    np.testing.assert_allclose(both.loss[1], alone.loss[0], rtol=1e-5)
    np.testing.assert_allclose(both.test_error[1], alone.test_error[0], atol=1.5 / 899)  # an image may be on the brink
    params = jax.tree.map(lambda leaf: leaf[1], both.params)
    logits, _ = apply(params, {}, data["test_x"], False)
    assert both.test_error[1, -1] == pytest.approx(float((logits.argmax(-1) != data["test_y"]).mean()), abs=1e-6)


# --- initial scales ---


@pytest.mark.parametrize(("name", "steps"), [("tanh, 1", 10), ("tanh, 4", 25), ("LSTM, forget bias 1", 10)])
def test_gradients_flow_as_they_do_elsewhere(name, steps):
    """Within three of the factors by which draws differ; and as the chain rule says, written out in numpy."""
    net = rnn_gradients.NETS[name]
    logs = np.log(rnn_gradients.shares(net, steps, 8))
    elsewhere = net.elsewhere[rnn_gradients.STEPS.index(steps)]
    assert abs(np.log(elsewhere) - logs.mean()) < 3 * logs.std(ddof=1)
    if net.kind == "tanh":
        into, hidden, x, back = rnn_gradients._draw(net, steps, np.random.default_rng((0, steps)))
        states, h = [], np.zeros(len(hidden))
        for inputs in x[0]:
            states.append(h := np.tanh(inputs @ into + h @ hidden))
        last = np.linalg.norm(back)
        for h in reversed(states):
            back = ((1 - h * h) * back) @ hidden.T
        assert np.exp(logs[0]) == pytest.approx(np.linalg.norm(back) / last, rel=1e-10)


def test_without_an_activation_the_gradient_is_a_power():
    net = rnn_gradients.NETS["linear, 0.9·orthogonal"]
    np.testing.assert_allclose(rnn_gradients.shares(net, 10, 2), 0.9**10, rtol=1e-12)


@pytest.mark.slow
def test_the_published_signals_come_out(quick):
    numbers = quick("init_scales").numbers
    assert numbers["farthest published number (spreads)"] < 3  # each of them is one draw
    assert numbers["10 × 500, tanh, 1: saturated (%)"] == pytest.approx(90.4, abs=0.2)
    assert numbers["10 × 500, ReLU, He: layer 1"] == pytest.approx((1 - 1 / math.pi) ** 0.5, abs=4e-3)
    assert numbers["10 × 500, tanh, 0.01: layer 10"] < 1e-6
    means = [numbers[f"10 × 500, tanh, Xavier: layer {layer}"] for layer in range(1, 11)]
    published = [0.628, 0.486, 0.407, 0.357, 0.320, 0.292, 0.272, 0.255, 0.240, 0.227]
    np.testing.assert_allclose(means, published, atol=4e-3)


def test_the_signal_is_that_of_an_independent_net():
    size, stacks = init_scales.Size(50, 40, 2), init_scales.STACKS[init_scales.SMALL]
    found = init_scales.measure(size, stacks, 7)
    x = np.random.default_rng(7).standard_normal((50, 40))
    for stack, ours in zip(stacks, found):
        h, squash = x, np.tanh if stack.activation == "tanh" else lambda z: np.maximum(z, 0)
        for layer in range(2):
            h = squash(h @ init_scales.init.draw(stack.start((40, 40)), 7, f"layer{layer}/kernel"))
            np.testing.assert_allclose(ours[layer, 0], h.std(), rtol=1e-5)
            assert ours[layer, 1] == pytest.approx((np.abs(h) > 0.99).mean(), abs=1e-3)


@pytest.mark.slow
def test_batch_norm_makes_small_scales_train(quick):
    numbers = quick("batchnorm_scales").numbers
    smallest = {kind: numbers[f"digits, 0.0001: {kind}: final loss"] for kind in ("plain", "batch norm")}
    assert smallest["plain"] == pytest.approx(math.log(10), abs=5e-3)
    assert smallest["batch norm"] < 2.2


@pytest.mark.parametrize("normalised", [False, True])
def test_the_eight_layers_are_those_of_the_formula(normalised):
    images = np.random.default_rng(0).standard_normal((20, 8, 8, 1)).astype(np.float32)
    params, state = batchnorm_scales.start(images, 0.2, 0, normalised)
    assert len(params) == 8
    logits, new = batchnorm_scales.apply(params, state, images, True)
    h = images.reshape(20, -1).astype(float)
    for layer in range(1, 9):
        own = params[f"layer{layer}"]
        h = h @ np.asarray(own["kernel"], float)
        if layer < 8 and normalised:
            np.testing.assert_allclose(new[f"layer{layer}"]["mean"], 0.1 * h.mean(0), rtol=1e-3, atol=1e-5)
            np.testing.assert_allclose(new[f"layer{layer}"]["var"], 0.9 + 0.1 * h.var(0), rtol=1e-4)
            h = (h - h.mean(0)) / np.sqrt(h.var(0) + 1e-5)
        h = np.maximum(h, 0) if layer < 8 else h
    np.testing.assert_allclose(logits, h, rtol=1e-3, atol=1e-4)  # eight float32 layers
    repeated, unchanged = batchnorm_scales.apply(params, state, images, False)
    assert unchanged == {}
    assert repeated.shape == (20, 10)


# --- the programs ---


def test_the_program_lists_runs_and_corrects(tmp_path):
    listed = run("study", "list")
    assert listed.returncode == 0, listed.stderr
    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(STUDIES)

    page = tmp_path / "pages" / "optimizer_bugs.md"
    done = run("study", "optimizer_bugs", f"--workdir={tmp_path}", f"--pages={page.parent}", "--quick")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "optimizer_bugs.json").read_text())
    assert report["sentence"].split()[0] in done.stdout
    figure, smaller = tmp_path / "optimizer_bugs.png", page.with_suffix(".png")
    assert 5_000 < smaller.stat().st_size < figure.stat().st_size
    assert report["sentence"] in page.read_text()
    assert f"Printed by `python -m experiments.study optimizer_bugs --quick --pages={page.parent}`" in page.read_text()

    for arguments, words in {("optimizer_bug",): "did you mean optimizer_bugs", (): "name a study"}.items():
        wrong = run("study", *arguments)
        assert wrong.returncode == 2
        assert words in wrong.stderr
        assert "Traceback" not in wrong.stderr


def test_the_benchmarks_have_titles_and_are_found():
    known = benchmark.registry()
    assert "optimizers" in known
    listed = run("benchmark", "list")
    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(known)
    wrong = run("benchmark", "optimizer")
    assert wrong.returncode == 2
    assert "did you mean optimizers" in wrong.stderr
