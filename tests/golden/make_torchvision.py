"""Writes torchvision.npz: logits of torchvision's models filled with tests/golden/pattern.py, and small .pth files.

    PYTHONPATH=. python -m tests.golden.make_torchvision       # with torch 2.14.1 and torchvision 0.29.1

Keys: "NAME/SIDE" every eighth logit of two images [2, 125] in inference; "googlenet/224/train/..." the same of all
three heads with batch statistics and no dropout; "pth/zip", "pth/legacy" the bytes of files that torch.save wrote.
"""

import io
from pathlib import Path

import numpy as np
import torch
import torchvision

from tests.golden import pattern

FULL = ("alexnet", "vgg11_bn", "googlenet", "resnet50", "densenet121", "squeezenet1_1")
REDUCED = (
    *("vgg11", "vgg13", "vgg16", "vgg19", "vgg13_bn", "vgg16_bn", "vgg19_bn", "resnet18", "resnet34", "resnet101"),
    *("resnet152", "wide_resnet50_2", "wide_resnet101_2", "densenet161", "densenet169", "densenet201"),
)


def filled(name: str) -> torch.nn.Module:
    options = {"aux_logits": True, "init_weights": False} if name == "googlenet" else {}
    model = torchvision.models.get_model(name, **options)
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.from_numpy(pattern.fill(key, tuple(tensor.shape))))
    return model


def logits(model: torch.nn.Module, side: int):
    with torch.no_grad():
        return model(torch.from_numpy(pattern.images(2, side)))


def every_eighth(values: torch.Tensor) -> np.ndarray:
    return values.numpy()[:, ::8]


def with_batch_statistics() -> dict[str, np.ndarray]:
    model = filled("googlenet").train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    main, aux2, aux1 = logits(model, 224)
    heads = {"logits": main, "aux1": aux1, "aux2": aux2}
    return {f"googlenet/224/train/{head}": every_eighth(values) for head, values in heads.items()}


def files() -> dict[str, np.ndarray]:
    """A state dict with shared, transposed and narrow tensors, in both of torch's formats."""
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    state = {
        "base": base,
        "transposed": base.T,
        "row": base[2],
        "half": base.to(torch.bfloat16),
        "count": torch.tensor(7),
        "parameter": torch.nn.Parameter(base + 1),
    }
    found = {}
    for key, zipped in (("zip", True), ("legacy", False)):
        buffer = io.BytesIO()
        torch.save({"epoch": 3, "state_dict": state}, buffer, _use_new_zipfile_serialization=zipped)
        found[f"pth/{key}"] = np.frombuffer(buffer.getvalue(), np.uint8)
    return found


if __name__ == "__main__":
    torch.set_num_threads(2)
    golden = {}
    for name, side in [*((name, 224) for name in FULL), *((name, 64) for name in REDUCED)]:
        golden[f"{name.replace('1_1', '')}/{side}"] = every_eighth(logits(filled(name).eval(), side))
        print(name, side, np.abs(golden[f"{name.replace('1_1', '')}/{side}"]).max(), flush=True)
    np.savez_compressed(Path(__file__).with_name("torchvision.npz"), **golden, **with_batch_statistics(), **files())
