"""Layers whose weights differ from probe to probe: N copies of a layer run as one batched product.

A batch holds N probes outermost, each with equally many rows. The modules keep their code; only the layers that own
parameters are replaced, by exact type.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Weights = Callable[[str], Float[Tensor, "N ..."]]  # of "weight" or "bias"


def linear(module: nn.Linear, x: Float[Tensor, "batch *any in"], weights: Weights) -> Float[Tensor, "batch *any out"]:
    """N products side by side."""
    weight = weights("weight")
    bias = None if module._parameters["bias"] is None else weights("bias")  # pyright: ignore[reportPrivateUsage]
    if weight.shape[0] == 1:
        return F.linear(x, weight[0], None if bias is None else bias[0])
    rows = x.reshape(weight.shape[0], -1, x.shape[-1])
    out = (weight @ rows.transpose(1, 2)).transpose(1, 2)  # this way round the gradient lies as the weight does
    out = out if bias is None else out + bias[:, None]
    return out.reshape(*x.shape[:-1], -1)


def low_rank_linear(
    module: nn.Linear, x: Float[Tensor, "batch *any in"], down: Float[Tensor, "N r in"], up: Float[Tensor, "N out r"]
) -> Float[Tensor, "batch *any out"]:
    """The base's product, one for all probes, and what the factors of N probes add to it."""
    plain = F.linear(x, module.weight, module._parameters["bias"])  # pyright: ignore[reportPrivateUsage]
    rows = x.reshape(len(down), -1, x.shape[-1])
    change = up @ (down @ rows.transpose(1, 2))  # this way round the gradients lie as the factors do
    return plain + change.transpose(1, 2).reshape(plain.shape)


class Unfolded(NamedTuple):
    """Images as a convolution sees them: kh * kw * channels numbers a place, and how many places there are each way."""

    patches: Float[Tensor, "batch places patch"]
    size: tuple[int, int]

    @classmethod
    def of(cls, module: nn.Conv2d, x: Float[Tensor, "batch channels height width"]) -> Unfolded:
        """What a layer reads of images."""
        geometry = (module.kernel_size, module.stride, module.padding, module.dilation)
        return cls(*_Patches.apply(x, geometry))  # pyright: ignore[reportGeneralTypeIssues]


def unfolds(module: nn.Module) -> bool:
    """Whether :func:`conv2d` unfolds what goes into this layer even for a single probe."""
    return type(module) is nn.Conv2d and _plain(module) and module.weight[0].numel() <= _FEW


def _better_unfolded(x: Tensor, weight: Float[Tensor, "N out_channels channels kh kw"]) -> bool:
    """Whether a product over patches is the faster way.

    It is for few numbers a patch, and for many probes but where oneDNN has kernels for groups, which take half of the
    time or less (measured for 3 x 3 over 16 to 64 channels, 1 to 16 images a probe).
    """
    few = weight[0, 0].numel() <= _FEW
    if few or len(weight) == 1:
        return few
    has_kernels = x.device.type == "cpu" and x.dtype == torch.float32 and torch.backends.mkldnn.is_available()
    return weight[0, 0, 0].numel() == 1 or not has_kernels


def _plain(module: nn.Conv2d) -> bool:
    return module.groups == 1 and module.padding_mode == "zeros" and isinstance(module.padding, tuple)


def conv2d(
    module: nn.Conv2d, x: Float[Tensor, "batch channels height width"] | Unfolded, weights: Weights
) -> Float[Tensor, "batch out_channels out_height out_width"]:
    """N convolutions side by side: by one product over unfolded patches, else grouped."""
    weight = weights("weight")
    bias = None if module._parameters["bias"] is None else weights("bias")  # pyright: ignore[reportPrivateUsage]
    probes = weight.shape[0]
    if isinstance(x, Unfolded) or (_plain(module) and _better_unfolded(x, weight)):
        patches, size = x if isinstance(x, Unfolded) else Unfolded.of(module, x)
        images = len(patches)
        flat = weight.permute(0, 3, 4, 2, 1).reshape(probes, -1, weight.shape[1])  # (N, kh * kw * in, out)
        if probes == 1:
            flat = flat.expand(len(patches), -1, -1)
        else:
            patches = patches.reshape(probes, -1, patches.shape[-1])
        out = patches @ flat if bias is None else torch.baddbmm(bias[:, None], patches, flat)
        return out.view(images, *size, -1).permute(0, 3, 1, 2)
    if probes == 1:
        return module._conv_forward(x, weight[0], None if bias is None else bias[0])  # pyright: ignore[reportPrivateUsage]
    return _grouped(module, x, weight, bias)


def _grouped(module: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """N convolutions as one with N times as many groups.

    In memory channels are last throughout, so that a place's channels are copied as one run on the way in and out, and
    that pooling behind it, torch's own, is several times as fast.
    """
    probes, each = len(weight), len(x) // len(weight)
    spread = x.permute(0, 2, 3, 1).unflatten(0, (probes, each)).permute(1, 2, 3, 0, 4)
    together = spread.flatten(3).permute(0, 3, 1, 2)
    if module.padding_mode != "zeros":
        sides = module._reversed_padding_repeated_twice  # pyright: ignore[reportPrivateUsage]
        together = F.pad(together, sides, mode=module.padding_mode)
    padding: Any = module.padding if module.padding_mode == "zeros" else 0
    out = F.conv2d(
        together,
        weight.flatten(0, 1),
        None if bias is None else bias.flatten(),
        module.stride,
        padding,
        module.dilation,
        module.groups * probes,
    )
    return out.permute(0, 2, 3, 1).unflatten(3, (probes, -1)).permute(3, 0, 1, 2, 4).flatten(0, 1).permute(0, 3, 1, 2)


def normalised(module: nn.Module, x: Float[Tensor, "batch *shape"], weights: Weights) -> Float[Tensor, "batch *shape"]:
    """BatchNorm2d in eval mode (the base's running statistics), GroupNorm, LayerNorm: normalise, scale, shift."""
    if isinstance(module, nn.LayerNorm):
        plain = F.layer_norm(x, module.normalized_shape, None, None, module.eps)
        shape = [1] * (x.dim() - 1 - len(module.normalized_shape)) + list(module.normalized_shape)
    elif isinstance(module, nn.GroupNorm):
        plain = F.group_norm(x, module.num_groups, None, None, module.eps)
        shape = [x.shape[1]] + [1] * (x.dim() - 2)
    else:
        norm = cast("nn.BatchNorm2d", module)
        plain = F.batch_norm(x, norm.running_mean, norm.running_var, None, None, False, 0.0, norm.eps)
        shape = [x.shape[1]] + [1] * (x.dim() - 2)
    scale, shift = weights("weight"), weights("bias")
    by_probe = plain.reshape(max(len(scale), len(shift)), -1, *x.shape[1:])
    return (by_probe * scale.view(len(scale), 1, *shape) + shift.view(len(shift), 1, *shape)).view(x.shape)


# The exact types whose parameters may differ from probe to probe.
KNOWN: dict[type[nn.Module], Callable[[Any, Tensor, Weights], Tensor]] = {
    nn.Linear: linear,
    nn.Conv2d: conv2d,
    nn.BatchNorm2d: normalised,
    nn.GroupNorm: normalised,
    nn.LayerNorm: normalised,
}


# Up to so many numbers a patch, unfolding beats the convolution, which would also fall out of channels-last.
_FEW = 32


class _Patches(torch.autograd.Function):
    """(B, channels, height, width) to (B, places, kh * kw * channels), and how many places there are each way.

    One channel is unfolded shift by shift, so that memory is read in whole rows; the result is then a transposed view.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, geometry: Any) -> tuple[Tensor, tuple[int, int]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (kh, kw), (sh, sw), (ph, pw), (dh, dw) = geometry
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, pw, pw, ph, ph)).contiguous()
        batch, height, width, channels = padded.shape
        size = ((height - dh * (kh - 1) - 1) // sh + 1, (width - dw * (kw - 1) - 1) // sw + 1)
        b, h, w, c = padded.stride()
        ctx.geometry, ctx.size, ctx.shape = geometry, size, padded.shape
        if channels == 1:
            shifts = padded.as_strided((batch, kh, kw, *size), (b, h * dh, w * dw, h * sh, w * sw))
            return shifts.reshape(batch, kh * kw, -1).transpose(1, 2), size
        view = padded.as_strided((batch, *size, kh, kw, channels), (b, h * sh, w * sw, h * dh, w * dw, c))
        return view.reshape(batch, size[0] * size[1], -1), size

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Any) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (kh, kw), (sh, sw), (ph, pw), (dh, dw) = ctx.geometry
        oh, ow = ctx.size
        batch, height, width, channels = ctx.shape
        parts = gradient.reshape(batch, oh, ow, kh, kw, channels)
        out = gradient.new_zeros(ctx.shape)
        for i in range(kh):
            for j in range(kw):
                rows, columns = slice(i * dh, i * dh + sh * oh, sh), slice(j * dw, j * dw + sw * ow, sw)
                out[:, rows, columns] += parts[:, :, :, i, j]
        return out[:, ph : height - ph, pw : width - pw].permute(0, 3, 1, 2), None
