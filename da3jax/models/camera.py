"""Camera encoder (known poses to tokens) and camera decoder (special token to pose encoding)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from da3jax.config import CameraConfig
from da3jax.geometry import encode_pose
from da3jax.models.layers import Block, Dense, Mlp, layer_norm


class CameraEncoder(nn.Module):
    """A token for each known camera, after they have seen each other."""

    config: CameraConfig
    width: int

    @nn.compact
    def __call__(
        self, extrinsics: jax.Array, intrinsics: jax.Array, height: int, width: int, view_mask: jax.Array | None = None
    ) -> jax.Array:
        """Tokens (B, S, C) of world-to-camera (B, S, 3 or 4, 4), taken as they are, and intrinsics (B, S, 3, 3) in pixels.

        Views that `view_mask` (B, S) has False are not seen by the others.
        """
        encoding = encode_pose(extrinsics, intrinsics, height, width)
        x = Mlp(self.width // 2, self.width, name="pose")(encoding)
        x = layer_norm(name="token_norm")(x)[:, None]  # (B, 1, S, C): the views are the tokens here
        for index in range(self.config.encoder_depth):
            x = Block(self.width, self.config.encoder_heads, 4 * self.width, layer_scale=0.01, name=f"blocks_{index}")(x, mask=view_mask)[0]
        return layer_norm(name="norm")(x)[:, 0]


class CameraDecoder(nn.Module):
    """The special token of the last tap to a pose encoding."""

    @nn.compact
    def __call__(self, token: jax.Array) -> jax.Array:
        """(B, S, C or 2C) to (B, S, 9): camera-to-world translation, quaternion xyzw of any length, fields of view ≥ 0 in radians."""
        for name in ("hidden_1", "hidden_2"):
            token = nn.relu(Dense(token.shape[-1], name=name)(token))
        translation = Dense(3, name="translation")(token)
        # Training starts at the reference camera with fields of view of 1 radian: at 0 half of the ReLUs have no gradient, and a quaternion
        # near 0 has no direction.
        quaternion = Dense(4, bias_init=lambda *_: jnp.float32([0, 0, 0, 1]), name="quaternion")(token)
        fov = nn.relu(Dense(2, bias_init=nn.initializers.ones, name="fov")(token))
        return jnp.concatenate([translation, quaternion, fov], axis=-1)
