"""Receptive fields measured, against those counted from strides and kernels."""

import pytest

from cs231n_jax import inspect, models
from tests.rows import but_for

FIELDS = [
    ("lenet5", {}, 32, "stage1", 6),  # 5 + 1
    ("lenet5", {}, 32, "stage2", 16),  # 6 + 4·2 + 2
    ("vgg16_cifar", {"width": 2}, 64, "stage2", 16),  # (3 + 2 + 1) + 2·2·2 + 2
    ("vgg16_cifar", {"width": 2}, 64, "stage3", 44),  # 16 + 3·2·4 + 4
    ("resnet18", {"width": 2}, 64, "stem", 11),  # 7 + 2·2
    ("resnet18", {"width": 2}, 64, "stage1", 43),  # 11 + 4·2·4
    ("resnet20", {"width": 2}, 32, "stage1", 15),  # 3 + 6·2
    ("squeezenet", {"scale": 0.0625}, 64, "stage1", 23),  # 3 + 2·2, then twice 3×3 at stride 4
]
SMALL = [field for field in FIELDS if field[0] in ("lenet5", "resnet20")]


@pytest.mark.parametrize(("name", "options", "side", "feature", "size"), but_for(SMALL, FIELDS))
def test_field_has_the_size_of_the_arithmetic(name, options, side, feature, size):
    channels = 1 if name == "lenet5" else 3
    field = inspect.receptive_field(models.create(name, **options), (side, side, channels), feature)
    assert field.size == (size, size)


def test_the_field_lies_around_the_unit():
    field = inspect.receptive_field(models.create("resnet20", width=2), (32, 32, 3), "stem", draws=1)
    assert field == (15, 18, 15, 18)


def test_features_without_maps_are_refused():
    with pytest.raises(ValueError, match="those are stage1, stage2"):
        inspect.receptive_field(models.create("lenet5"), (32, 32, 1), "fc1")
