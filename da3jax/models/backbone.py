"""The backbone: a DINOv2 ViT whose later blocks alternate between attention inside a view and across views (paper, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import linen as nn
from jax import lax

from da3jax.config import PATCH_SIZE, BackboneConfig
from da3jax.models.by_views import as_function, room_for, with_whole_params
from da3jax.models.layers import Attend, Block, layer_norm, parameter, truncated_normal
from da3jax.models.reference_view import select_reference_view
from da3jax.models.stacking import Segment, scan_plan
from da3jax.ops.attention import attention
from da3jax.ops.position_embedding import resize_position_embedding
from da3jax.ops.product import product
from da3jax.ops.rope import Rotation, cross_view_rotation, in_view_rotation
from da3jax.parallel import Axis, all_views, own_views

Keep = Callable[[jax.Array, jax.Array], Any]
"""What is kept of the last in-view output and a block's own, for a group of views: arrays (B, S, …), or None."""


class PatchEmbedding(nn.Module):
    """A 14 × 14 convolution with stride 14, as one matrix product."""

    width: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        p = PATCH_SIZE
        kernel = parameter(self, "kernel", truncated_normal, (p, p, images.shape[-1], self.width)).astype(self.dtype)
        bias = parameter(self, "bias", nn.initializers.zeros, (self.width,))
        patches = rearrange(images.astype(self.dtype), "b s (h p) (w q) c -> b s (h w) (p q c)", p=p, q=p)
        return product("bsni,io->bsno", patches, kernel.reshape(-1, self.width)) + bias[None, None, None]


def run_block(
    config: BackboneConfig,
    attends: tuple[Attend, Attend],
    dtype: jnp.dtype,
    remat: bool,
    grouped: bool,
    view_axis: Axis | None,
    index: int,
    name: str,
    x: jax.Array,
    rotations: tuple[Rotation, Rotation],
    mask: jax.Array | None,
    keep: Keep,
    looks: dict[int, tuple[jax.Array, jax.Array]] | None = None,
) -> tuple[jax.Array, Any]:
    """Block `index` as a submodule, called `name`, of the module that calls; returns its output and what `keep` keeps of it.

    Pairs (`attends`, `rotations`) are for in-view and cross-view blocks; `mask` (B, S · N) says which keys count in the latter. `keep` gets
    the last in-view output and the block's own; `looks`, where it is given, the block's queries and keys. A function, so that looped and
    scanned blocks are the same.
    """
    cross_view = config.cross_view(index)
    block = Block(
        config.width,
        config.num_heads,
        config.hidden,
        config.mlp,
        cross_view=cross_view,
        qk_norm=config.qknorm_start != -1 and index >= config.qknorm_start,
        attend=attends[cross_view],
        norm_epsilon=1e-6,
        dtype=dtype,
        remat=remat,
        grouped=grouped,
        view_axis=view_axis,
        name=name,
    )
    rotates = config.rope_start != -1 and index >= config.rope_start
    # Between two cross-view blocks there is always an in-view one.
    of_both = keep if cross_view else lambda before, after: keep(after, after)
    rotation = rotations[cross_view] if rotates else None

    def run(block: Block, x: jax.Array) -> tuple[tuple[jax.Array, Any], Any]:
        looked = None if looks is None else block.queries_and_keys(x, rotation)
        return block(x, rotation, mask if cross_view else None, of_both), looked

    with jax.named_scope(name):  # what is put together has no name of its own in the compiled program
        found, looked = with_whole_params(run, block, x, remat=remat)
    if looks is not None:
        looks[index] = looked
    return found


class Turn(nn.Module):
    """One turn of a segment's blocks, as `lax.scan` repeats it."""

    segment: Segment
    run: Callable[..., tuple[jax.Array, Any]]
    keep: Keep

    @nn.compact
    def __call__(self, carry: tuple[jax.Array, Any], last: jax.Array, *shared: Any):
        x, kept = carry

        def keep_at_last(in_view: jax.Array, x: jax.Array):
            return lax.cond(last, self.keep, partial(room_for, self.keep), in_view, x)

        for j in range(self.segment.period):
            final = j == self.segment.period - 1
            x, kept = self.run(self.segment.start + j, f"block_{j}", x, *shared, keep_at_last if final else _keep_nothing)
        return (x, kept), None


class Backbone(nn.Module):
    """Images to tokens. The heads see them tap by tap through `on_tap`, so that features of full width live for one tap only."""

    config: BackboneConfig
    stacked: bool = False
    in_view_attention: Attend = attention
    cross_view_attention: Attend = attention
    dtype: jnp.dtype = jnp.float32
    remat: bool = False
    grouped: bool = True
    view_axis: Axis | None = None

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        on_tap: Callable[[int, jax.Array], Any] | None = None,
        *,
        camera_tokens: jax.Array | None = None,
        conditioned: jax.Array | None = None,
        view_mask: jax.Array | None = None,
        ref_view_strategy: str = "saddle_balanced",
        feature_layers: Sequence[int] = (),
        attention_layers: Sequence[int] = (),
    ) -> tuple[jax.Array | None, list[Any], dict[int, jax.Array], dict[int, tuple[jax.Array, jax.Array]]]:
        """Runs the blocks that are needed; keeps of tap k, 0 to 3, what `on_tap(k, tokens)` makes of patch tokens (B, S, N − 1, C or 2C).

        Args:
            images: (B, S, H, W, 3), ImageNet-normalised.
            on_tap: pure, for it is called with a group of views at a time; None when no tap is needed.
            camera_tokens: (B, S, C) from the camera encoder; None for the learned ones, for which a reference view is chosen.
            conditioned: (B,) bool, the scenes that `camera_tokens` are for, the others have the learned ones; None for all.
            view_mask: (B, S) bool, the views that others see and that can be the reference, on all devices; None for all.
            ref_view_strategy: one of `da3jax.config.REF_VIEW_STRATEGIES`.
            feature_layers: blocks whose normed patch tokens (B, S, h, w, C) to return.
            attention_layers: blocks whose queries and keys (B, S, N, H, D) to return.

        Returns:
            The special token (B, S, C or 2C) of the last tap, before the norm; what is kept of each tap; features, and queries and keys, by
            block.
        """
        config = self.config
        height, width = images.shape[2:4]
        rows, columns = height // PATCH_SIZE, width // PATCH_SIZE
        learned = parameter(self, "camera_token", truncated_normal, (1, 2, config.width)) if config.alt_start != -1 else None
        norm = layer_norm(name="norm")
        x = self._embed(images, rows, columns)
        # Arrays of the program, which holds them once; as numpy's they would stand in it again wherever they are used.
        tables = [make(rows, columns, config.width // config.num_heads) for make in (in_view_rotation, cross_view_rotation)]
        rotations = jax.tree.map(jnp.asarray, tuple(tables))
        shared = rotations, None if view_mask is None else jnp.repeat(view_mask, x.shape[2], axis=1)

        def select(strategy: str) -> jax.Array:
            """Which of this device's views is the reference of its scene, (B, S) bool."""
            class_tokens = all_views(x[:, :, 0], self.view_axis)
            reference = select_reference_view(class_tokens, strategy, view_mask)
            return own_views(jnp.arange(class_tokens.shape[1])[None] == reference[:, None], self.view_axis)

        is_reference = select("first")
        special, kept, features, looks = None, [], {}, {}

        needed = max([*(config.taps if on_tap else ()), *feature_layers, *attention_layers, -1]) + 1
        segments = scan_plan(config) if self.stacked else [Segment(index, 1, 1) for index in range(config.depth)]
        if inside := set(feature_layers) - {segment.stop - 1 for segment in segments}:
            raise ValueError(f"features of blocks {sorted(inside)} lie inside a scan; unstack the layers (da3jax.forward does it)")
        if self.stacked and attention_layers:
            raise ValueError(
                f"queries and keys of blocks {sorted(attention_layers)} lie inside a scan; unstack the layers (da3jax.forward does it)"
            )
        for number, segment in enumerate(segments):
            if segment.start >= needed and not self.is_initializing():
                break
            choose = camera_tokens is None or conditioned is not None
            if segment.start == config.alt_start - 1 and choose:
                is_reference = select(ref_view_strategy)
            if segment.start == config.alt_start:
                tokens = jnp.where(is_reference[..., None], learned[:, :1], learned[:, 1:]) if choose else camera_tokens
                if conditioned is not None:
                    tokens = jnp.where(conditioned[:, None, None], camera_tokens, tokens)
                x = x.at[:, :, 0].set(tokens)
            last = segment.stop - 1
            tapped = on_tap and last in config.taps
            keep = partial(self._keep, partial(on_tap, config.taps.index(last)), as_function(norm)) if tapped else _keep_nothing
            if self.is_initializing():  # no function is pure then, and what is kept of no interest
                x, found = self._run_segment(segment, number, x, shared, _keep_nothing)[0], keep(x, x)
            else:
                x, found = self._run_segment(segment, number, x, shared, keep, looks if segment.start in attention_layers else None)
            if tapped:
                special, of_tap = found
                kept.append(of_tap)
            if last in feature_layers:
                features[last] = rearrange(norm(x[:, :, 1:]), "b s (h w) c -> b s h w c", h=rows)
        return special, kept, features, looks

    def _embed(self, images: jax.Array, rows: int, columns: int) -> jax.Array:
        """Tokens (B, S, N, C): the class token, then the patches."""
        config = self.config
        class_token = parameter(self, "cls_token", truncated_normal, (1, 1, config.width))
        stored = parameter(self, "pos_embed", truncated_normal, (1, 1 + config.pos_grid**2, config.width))
        patches = PatchEmbedding(config.width, self.dtype, name="patch_embed")(images)
        first = jnp.broadcast_to(class_token[None], (*patches.shape[:2], 1, config.width))
        return jnp.concatenate([first, patches], axis=2) + resize_position_embedding(stored, rows, columns)[None]

    def _keep(self, on_tap: Callable[[jax.Array], Any], norm: Callable[[jax.Array], jax.Array], in_view: jax.Array, x: jax.Array):
        """Special token and `on_tap` of a tap's tokens."""
        parts = (in_view, x) if self.config.cat_token else (x,)
        special = jnp.concatenate([part[:, :, 0] for part in parts], axis=-1)
        patches = [*(part[:, :, 1:] for part in parts[:-1]), norm(x[:, :, 1:])]
        return special, on_tap(jnp.concatenate(patches, axis=-1))

    def _run_segment(self, segment: Segment, number: int, x: jax.Array, shared: tuple, keep: Keep, looks: dict | None = None):
        attends, options = (self.in_view_attention, self.cross_view_attention), (self.remat, self.grouped, self.view_axis)
        run = partial(run_block, self.config, attends, self.dtype, *options)
        if not self.stacked:
            return run(segment.start, f"blocks_{segment.start}", x, *shared, keep, looks)
        axes = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}, "in_axes": (0, *[nn.broadcast] * len(shared))}
        last = jnp.arange(segment.repeats) == segment.repeats - 1
        turns = nn.scan(Turn, length=segment.repeats, **axes)(segment, run, keep, name=f"segment_{number}")
        return turns((x, room_for(keep, x, x)), last, *shared)[0]


def _keep_nothing(in_view: jax.Array, x: jax.Array) -> None:
    return None
