"""Small models that are hard to run again from the middle, one difficulty each."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def conv(channels: int = 4) -> nn.Conv2d:
    return nn.Conv2d(channels, 4, 3, padding=1)


class Small(nn.Module):
    """Stem, a body that subclasses write, and a head that is not linear."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.one, self.two = conv(2), conv(), conv()
        self.relu, self.drop, self.head = nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(4, 3)

    def body(self, features: Tensor) -> Tensor:
        return self.two(self.relu(self.one(features)))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(self.relu(self.stem(images))).tanh().amax(dim=(2, 3)))


class Skip(Small):
    """As a residual block adds its input."""

    def body(self, features: Tensor) -> Tensor:
        out = self.relu(self.one(features))
        out = self.two(out)
        out += features
        return self.relu(out)


class Downsampled(Small):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))

    def body(self, features: Tensor) -> Tensor:
        return self.two(self.relu(self.one(features))) + self.down(features)


class SkipInPlace(Small):
    """Adds to the skip connection in place."""

    def body(self, features: Tensor) -> Tensor:
        features += self.two(self.relu(self.one(features)))
        return self.relu(features)


class Concatenated(Small):
    """As a dense block concatenates."""

    def __init__(self) -> None:
        super().__init__()
        self.two = conv(8)

    def body(self, features: Tensor) -> Tensor:
        return self.two(torch.cat([features, self.one(features)], dim=1))


class CalledTwice(Small):
    """One convolution before, after and twice next to the layer."""

    def body(self, features: Tensor) -> Tensor:
        features = self.two(self.two(features))
        return self.two(self.one(features) + self.two(features))


class Functional(Small):
    """Functions between modules, some in place and not idempotent, on what modules returned."""

    def body(self, features: Tensor) -> Tensor:
        features = F.gelu(features.mul_(2).sub_(0.5))
        return self.two(F.elu(self.one(features), inplace=True)) * features


class InPlaceAlias(Small):
    """Goes on using a tensor that a module changed in place, and one that a module returned unchanged."""

    def body(self, features: Tensor) -> Tensor:
        features = self.drop(self.stem(features[:, :2]))
        before = features
        self.relu(features)
        return self.two(self.one(features) * before)


class Tuples(Small):
    """A module that takes and returns nested containers."""

    class Split(nn.Module):
        def forward(self, values: dict[str, Tensor], scale: float) -> tuple[Tensor, list[object]]:
            return values["x"] * scale, [values["x"], {"y": values["x"] + 1}, "text", None]

    def __init__(self) -> None:
        super().__init__()
        self.split = self.Split()

    def body(self, features: Tensor) -> Tensor:
        scaled, (same, other, text, nothing) = self.split({"x": features}, scale=0.5)
        assert (text, nothing) == ("text", None)
        return self.two(self.one(scaled) + same.sigmoid() + other["y"])


class Squeeze(Small):
    """Reads the batch size, and reshapes by it."""

    def body(self, features: Tensor) -> Tensor:
        batch = len(features)
        weights = self.one(features).mean(dim=(2, 3))
        return self.two(features * weights.view(batch, 4, 1, 1))


class Nested(Small):
    """The layer is deep inside of one of several blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Sequential(Skip(), Skip(), Skip())
        for block in self.one:
            block.forward = block.body

    def body(self, features: Tensor) -> Tensor:
        return self.one(features)


class Scripted(Small):
    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.jit.script(nn.Sequential(conv(2), nn.ReLU()))


class NoBatch(Small):
    """A module that returns a tensor without batch dimension."""

    class Table(nn.Module):
        def forward(self) -> Tensor:
            return torch.arange(1.0, 5.0, dtype=torch.float64).view(4, 1, 1)

    def __init__(self) -> None:
        super().__init__()
        self.table = self.Table()

    def body(self, features: Tensor) -> Tensor:
        table = self.table()
        return self.two(self.relu(self.one(features)) * table)


class Foreign(Small):
    """A module that returns tensors in an object that nothing can look into."""

    class Box:
        def __init__(self, value: Tensor) -> None:
            self.value = value

    class Wrap(nn.Module):
        def forward(self, features: Tensor) -> Foreign.Box:
            return Foreign.Box(features + 1)

    def __init__(self) -> None:
        super().__init__()
        self.wrap, self.two = self.Wrap(), conv(8)

    def body(self, features: Tensor) -> Tensor:
        box = self.wrap(features)
        return self.two(torch.cat([box.value, self.one(features)], dim=1))
