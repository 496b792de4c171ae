"""The program that prints what a model is made of."""

import pytest

from tests.programs import run


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--model=resnet50",), 0, ("4.089 · 10⁹ multiply-adds", "stage4_block3/norm3")),
        (
            ("--model=vgg11_cifar", "--image=64x64x3", "--option=width=2", "--table=fields"),
            0,
            ("receptive fields", "stage2", "16×16"),
        ),
        (("--model=char_lm",), 0, ("char_lm on 64: 0.008 · 10⁹ multiply-adds", "layer1", "Recurrent")),
        (("--model=char_lm", "--table=fields"), 2, ("--model=char_lm reads tokens",)),
        (("--model=lenet5", "--image=32x32"), 2, ("--image=224x224x3",)),
        (("--model=googlenet", "--option=kernel5=4"), 1, ("error: option kernel5=4 of model 'googlenet' must be one",)),
        (("--model=resnet20", "--option=width=None"), 1, ("error: option width=None of model 'resnet20' must be an",)),
        (("--model=resnet20", "--option=remat=yes"), 1, ("error: option remat='yes' of model 'resnet20' must be",)),
        (("--model=resnet20", "--option=width={[]:1}"), 1, ("error: option width='{[]:1}'",)),
        (("--model=googlenet", "--image=20x20x3"), 1, ("error: googlenet takes images of at least 31×31, got 20×20",)),
    ],
)
def test_program(arguments, code, words, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    done = run("inspect_model", *arguments)
    assert done.returncode == code, done.stderr
    assert all(word in done.stdout + done.stderr for word in words)
    assert done.stderr.count("\n") == (code > 0)
