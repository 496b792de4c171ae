"""The rival in torch: CIFAR ResNet-20, channels last, SGD with momentum."""

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


def build() -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """A function (images [N, 3, 32, 32], labels [N]) -> loss that makes one update."""
    model = resnet20().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)

    def step(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


if __name__ == "__main__":
    import time

    pixels = torch.ones(128, 3, 32, 32).to(memory_format=torch.channels_last)
    build()(pixels, torch.zeros(128, dtype=torch.int64)).item()
    print(time.time())
