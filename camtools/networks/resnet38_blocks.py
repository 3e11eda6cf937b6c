"""Residual blocks with pre-activation: the parts of the wide ResNet-38."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from camtools.networks.norms import Norm

__all__ = ["BasicBlock", "BottleneckBlock", "PreActivationBlock"]


class PreActivationBlock(nn.Module):
    r"""Shortcut plus branch, where normalisation and activation come before the convolutions.

    .. math:: y = s(x) + f(a), \qquad a = ReLU(BN(x))

    The shortcut s is a 1x1 convolution of a, or x itself where the block changes neither channels nor resolution.

    Source: Wu et al., Wider or Deeper, Pattern Recognition 2019, section 4.1; names as in the public PyTorch weights.

    Args:
        inputs: channels of x.
        outputs: channels of y.
        stride: of the block.
        norm: from channels to a layer that normalises them.
        project: the shortcut is a convolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, norm: Norm, project: bool) -> None:
        super().__init__()
        self.bn_branch2a = norm(inputs)
        self.conv_branch1: nn.Module | None = None
        if project:
            self.conv_branch1 = nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False)

    def activate(self, x: Tensor) -> Tensor:
        """The block's own normalisation and activation: a of its input x ``(B, inputs, H, W)``."""
        return F.relu(self.bn_branch2a(x), inplace=True)

    def forward(self, x: Tensor, activated: Tensor | None = None) -> Tensor:
        """Compute the block.

        Args:
            x: ``(B, inputs, H, W)``.
            activated: ``activate(x)`` where it is known already.

        Returns:
            ``(B, outputs, H / stride, W / stride)``, rounded up.
        """
        if activated is None:
            activated = self.activate(x)
        shortcut = x
        if self.conv_branch1 is not None:
            shortcut = self.conv_branch1(activated)
        return shortcut + self.branch(activated)

    def branch(self, activated: Tensor) -> Tensor:
        """The convolutions f of a."""
        raise NotImplementedError


class BasicBlock(PreActivationBlock):
    """Two 3x3 convolutions.

    Args:
        inputs: channels of the input.
        middle: channels between the convolutions.
        outputs: channels of the output.
        norm: from channels to a layer that normalises them.
        stride: of the first convolution.
        dilation: of the second convolution, and of the first one unless given.
        first_dilation: of the first convolution.

    Example:
        >>> import torch
        >>> BasicBlock(16, 32, 48, nn.BatchNorm2d, stride=2)(torch.rand(2, 16, 8, 8)).shape
        torch.Size([2, 48, 4, 4])
    """

    def __init__(
        self,
        inputs: int,
        middle: int,
        outputs: int,
        norm: Norm,
        stride: int = 1,
        dilation: int = 1,
        first_dilation: int | None = None,
    ) -> None:
        super().__init__(inputs, outputs, stride, norm, project=inputs != outputs or stride != 1)
        first = dilation if first_dilation is None else first_dilation
        self.conv_branch2a = _convolution(inputs, middle, dilation=first, stride=stride)
        self.bn_branch2b1 = norm(middle)
        self.conv_branch2b1 = _convolution(middle, outputs, dilation=dilation)

    def branch(self, activated: Tensor) -> Tensor:
        """Both convolutions, with normalisation and activation between them."""
        hidden = F.relu(self.bn_branch2b1(self.conv_branch2a(activated)), inplace=True)
        result: Tensor = self.conv_branch2b1(hidden)
        return result


class BottleneckBlock(PreActivationBlock):
    """A 1x1, a dilated 3x3 and a 1x1 convolution, with dropout of whole channels before the last two.

    Args:
        inputs: channels of the input.
        middle: channels after the first and after the second convolution.
        outputs: channels of the output.
        norm: from channels to a layer that normalises them.
        dilation: of the 3x3 convolution.
        dropout: probability of either dropout.
        stride: of the first 1x1 convolution, and of the shortcut.

    Example:
        >>> import torch
        >>> block = BottleneckBlock(32, (16, 32), 64, nn.BatchNorm2d, dilation=4, dropout=0.3)
        >>> block(torch.rand(2, 32, 8, 8)).shape
        torch.Size([2, 64, 8, 8])
    """

    def __init__(
        self,
        inputs: int,
        middle: tuple[int, int],
        outputs: int,
        norm: Norm,
        dilation: int,
        dropout: float,
        stride: int = 1,
    ) -> None:
        super().__init__(inputs, outputs, stride, norm, project=True)
        self.conv_branch2a = nn.Conv2d(inputs, middle[0], kernel_size=1, stride=stride, bias=False)
        self.bn_branch2b1 = norm(middle[0])
        self.dropout_2b1 = nn.Dropout2d(dropout)
        self.conv_branch2b1 = _convolution(middle[0], middle[1], dilation=dilation)
        self.bn_branch2b2 = norm(middle[1])
        self.dropout_2b2 = nn.Dropout2d(dropout)
        self.conv_branch2b2 = nn.Conv2d(middle[1], outputs, kernel_size=1, bias=False)

    def branch(self, activated: Tensor) -> Tensor:
        """The three convolutions, with normalisation, activation and dropout between them."""
        hidden = F.relu(self.bn_branch2b1(self.conv_branch2a(activated)), inplace=True)
        hidden = self.conv_branch2b1(self.dropout_2b1(hidden))
        hidden = F.relu(self.bn_branch2b2(hidden), inplace=True)
        result: Tensor = self.conv_branch2b2(self.dropout_2b2(hidden))
        return result


def _convolution(inputs: int, outputs: int, dilation: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=dilation, dilation=dilation, bias=False)
