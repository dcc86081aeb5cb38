"""Tensors of the authors' original implementation -> tensors of ours. The one place that knows both.

The original stores points as (row, column); we store (x, y) = (column, row). Only layers that read or write
coordinates notice: their two coordinate columns (inputs) or rows (outputs) change places, and the affine head, whose
six outputs are a 2 x 3 matrix acting on (row, column, 1), changes rows and its first two columns.
"""

import torch

# Ours -> theirs, without the `.weight`, `.bias`, ... at the end; convolution blocks first.
_ENCODER = {
    **{
        f"encoder.blocks.{k}.{ours}": f"regressor.conv.{k}.{theirs}"
        for k in range(4)
        for ours, theirs in {
            "side": "conv_res.0",
            "side_norm": "conv_res.2",
            "conv1": "net.0",
            "norm1": "net.2",
            "conv2": "net.4",
            "norm2": "net.5",
        }.items()
    },
    **{
        f"encoder.blocks.{k}.{ours}": f"regressor.conv.{k}.net.{theirs}"
        for k in (4, 5)
        for ours, theirs in {"conv": 1, "norm": 2}.items()
    },
    "encoder.attend": "regressor.pred_prob",
    "encoder.embed_position": "regressor.emb",
    "encoder.regress.0": "regressor.predict.0",
    "encoder.regress.2": "regressor.predict.2",
}
_DECODER = {
    "decoder.first": "translator.down0.0",
    "decoder.last": "translator.conv",
    **{
        f"decoder.{direction}{k}.{ours}": f"translator.{direction}{k}.net.{index + shift}"
        for direction, shift in {"down": 0, "up": 1}.items()
        for k in range(1, 5)
        for ours, index in {"conv1": 0, "norm1": 1, "conv2": 3, "norm2": 4}.items()
    },
}
_MIXERS = {
    f"memory.{ours}.{layer}": f"memory.{theirs}.{name}"
    for ours, theirs in {**{f"mix.{k}": f"encoder.{k}" for k in range(4)}, "decoder_mix": "decoder.0"}.items()
    for layer, name in {
        "norm1": "layernorm1",
        "norm2": "layernorm2",
        "token_mlp.0": "MLP_token.ff.0",
        "token_mlp.2": "MLP_token.ff.3",
        "channel_mlp.0": "MLP_channel.ff.0",
        "channel_mlp.2": "MLP_channel.ff.3",
    }.items()
}
_MEMORY = {
    "memory.embed": "memory.encoder_start",
    "memory.encoder_norm": "memory.encoder_layer_norm",
    "memory.to_tokens": "memory.token_mlp",
    "memory.to_features": "memory.feature_embed",
    "memory.from_tokens": "memory.decoder_token_mlp",
    "memory.from_features": "memory.decoder_start",
    "memory.decoder_norm": "memory.decoder_layer_norm",
    "memory.to_keypoints": "memory.recover_embed",
}
_TENSORS = {
    "raw_links": "skeleton_scalar",
    "alpha": "alpha",
    "memory.vectors": "memory.codebook",
    "memory.counts": "memory.ema_cluster_size",
    "memory.sums": "memory.ema_w",
}
_LAYERS = {**_ENCODER, **_DECODER, **_MIXERS, **_MEMORY}

_COORDINATES_IN = ("encoder.embed_position.weight", "memory.embed.weight")  # (features, 2)
_COORDINATES_OUT = ("memory.to_keypoints.weight", "memory.to_keypoints.bias")  # (2, ...)
_AFFINE_OUT = ("encoder.regress.2.weight", "encoder.regress.2.bias")  # (6, ...)


def original_name(name: str) -> str:
    """The original name of one of our tensors."""
    if name in _TENSORS:
        return _TENSORS[name]
    layer, _, kind = name.rpartition(".")
    return f"{_LAYERS[layer]}.{kind}"


def swap_coordinates(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """(row, column) -> (x, y) in one of our tensors; its own inverse."""
    if name in _COORDINATES_IN:
        return tensor.flip(1)
    if name in _COORDINATES_OUT:
        return tensor.flip(0)
    if name in _AFFINE_OUT:
        # Rows (row, column) x columns (row, column, 1), flat: 0 1 2 / 3 4 5 -> 4 3 5 / 1 0 2.
        return tensor[[4, 3, 5, 1, 0, 2]]
    return tensor
