"""The rivals in torch: CIFAR nets and ResNet-50, channels last, SGD with momentum."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    """Basic block with an option-A shortcut."""

    def __init__(self, channels: int, features: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, features, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(features)
        self.conv2 = nn.Conv2d(features, features, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(features)
        self.stride, self.half = stride, (features - channels) // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolution, batch norm, ReLU, convolution, batch norm, sum, ReLU."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.half:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.half, self.half))
        return F.relu(y + x)


def resnet20() -> nn.Module:
    """[N, 3, 32, 32] -> [N, 10]."""
    blocks, channels = [], 16
    for stage in range(3):
        for block in range(3):
            blocks.append(Block(channels, 16 << stage, 2 if stage and not block else 1))
            channels = 16 << stage
    stem = (nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def vgg11_bn() -> nn.Module:
    """[N, 3, 32, 32] -> [N, 10]."""
    layers, channels = [], 3
    for stage in ((64,), (128,), (256, 256), (512, 512), (512, 512)):
        for features in stage:
            layers += [nn.Conv2d(channels, features, 3, 1, 1), nn.BatchNorm2d(features), nn.ReLU()]
            channels = features
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


class PreBlock(nn.Module):
    """Pre-activation block of two 3×3 convolutions."""

    def __init__(self, channels: int, features: int, stride: int):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(channels), nn.Conv2d(channels, features, 3, stride, 1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(features), nn.Conv2d(features, features, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(channels, features, 1, stride, bias=False) if channels != features else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Batch norm, ReLU, convolution, twice; the shortcut sees the first ReLU where the shape changes."""
        active = F.relu(self.bn1(x))
        y = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return y + (self.shortcut(active) if self.shortcut else x)


def wrn16_4() -> nn.Module:
    """[N, 3, 32, 32] -> [N, 10]."""
    layers, channels = [nn.Conv2d(3, 16, 3, 1, 1, bias=False)], 16
    for stage in range(3):
        for block in range(2):
            layers.append(PreBlock(channels, 64 << stage, 2 if stage and not block else 1))
            channels = 64 << stage
    end = (nn.BatchNorm2d(256), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 10))
    return nn.Sequential(*layers, *end)


class DenseLayer(nn.Module):
    """x -> (x, conv(relu(bn(x))))."""

    def __init__(self, channels: int, growth: int):
        super().__init__()
        self.layer = nn.Sequential(
            nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, growth, 3, 1, 1, bias=False)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Concatenate in the channels."""
        return torch.cat((x, self.layer(x)), 1)


def densenet40_12() -> nn.Module:
    """[N, 3, 32, 32] -> [N, 10]."""
    layers, channels = [nn.Conv2d(3, 16, 3, 1, 1, bias=False)], 16
    for block in range(3):
        if block:
            between = nn.Conv2d(channels, channels, 1, bias=False)
            layers += [nn.BatchNorm2d(channels), nn.ReLU(), between, nn.AvgPool2d(2)]
        for _ in range(12):
            layers.append(DenseLayer(channels, 12))
            channels += 12
    end = (nn.BatchNorm2d(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))
    return nn.Sequential(*layers, *end)


class Bottleneck(nn.Module):
    """1×1, 3×3 (with the stride) and 1×1 convolutions, four times as many channels at the end."""

    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        features = 4 * width
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, features, 1, bias=False), nn.BatchNorm2d(features)
        changes = channels != features or stride > 1
        projection = nn.Sequential(nn.Conv2d(channels, features, 1, stride, bias=False), nn.BatchNorm2d(features))
        self.shortcut = projection if changes else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Three convolutions with batch norm, sum, ReLU."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.shortcut(x))


def resnet50(classes: int = 1000) -> nn.Module:
    """[N, 3, H, W] -> [N, classes], with the stride in the 3×3 convolution."""
    stem = (nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    blocks, channels = [], 64
    for stage, count in enumerate((3, 4, 6, 3)):
        for block in range(count):
            blocks.append(Bottleneck(channels, 64 << stage, 2 if stage and not block else 1))
            channels = 256 << stage
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, classes))


NETS: dict[str, Callable[[], nn.Module]] = {
    "resnet20": resnet20,
    "vgg11_bn_cifar": vgg11_bn,
    "wrn16_4": wrn16_4,
    "densenet40_12": densenet40_12,
    "resnet50": resnet50,
}


def build(
    net: str = "resnet20", device: str = "cpu", bfloat16: bool = False, compiled: bool = False
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """A function (images [N, 3, H, W], labels [N]) -> loss that makes one update.

    Args:
        net: a key of NETS.
        device: "cpu" or "cuda".
        bfloat16: forward pass under autocast.
        compiled: the model through torch.compile.
    """
    model: nn.Module = NETS[net]().to(device=device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    forward = torch.compile(model) if compiled else model

    def step(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
            loss = F.cross_entropy(forward(images), labels)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


if __name__ == "__main__":
    import time

    pixels = torch.ones(128, 3, 32, 32).to(memory_format=torch.channels_last)
    build()(pixels, torch.zeros(128, dtype=torch.int64)).item()
    print(time.time())
