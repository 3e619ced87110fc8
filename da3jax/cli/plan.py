"""`da3jax plan`."""

import dataclasses
import json
from typing import Annotated

import typer

from da3jax.cli.failures import failures_in_a_sentence
from da3jax.cli.option_kinds import MOST, number, positive
from da3jax.cli.options import Dtype
from da3jax.cli.progress import Progress

GIB = 2**30


def command(
    model: Annotated[str, typer.Argument(help="Variant (da3-giant), hub id, folder or YAML file; weights are not needed.")],
    views: Annotated[int, number(1, MOST, "How many images of one scene.")],
    height: Annotated[int, number(14, MOST, "Pixels of a processed image, a multiple of 14.")],
    width: Annotated[int, number(14, MOST, "Likewise.")],
    topology: Annotated[str, typer.Option(help="Devices: cpu, h100, h100:8, v5e:2x4, v5p:2x2x1, v6e:4x4 and so on.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    bucket_views: Annotated[
        bool, typer.Option(help="Fill the scene up to a size that serves several numbers of views, as inference does by default.")
    ] = True,
    search: Annotated[bool, typer.Option(help="Look for the largest number of views that fits, too.")] = True,
    usable_gib: Annotated[float | None, positive("Memory of a device for the program, where it is not what the description says.")] = None,
    dtype: Dtype = None,
) -> None:
    """Say what inference on devices that need not be here would take: memory, the most views, FLOPs."""
    with failures_in_a_sentence(as_json=as_json):
        import jax

        from da3jax.planner import find_topology, plan

        jax.config.update("jax_platforms", "cpu")  # accelerators that are here are left alone
        where = find_topology(topology)
        with Progress().step(f"plan {views} view{'s' * (views > 1)} of {width} × {height} on {topology}"):
            found = plan(
                model,
                views,
                height,
                width,
                topology,
                dtype=dtype,
                bucket_views=bucket_views,
                usable_bytes=None if usable_gib is None else int(usable_gib * GIB),
                search=search,
            )
        if as_json:
            typer.echo(json.dumps({"topology": topology} | dataclasses.asdict(found) | {"fits": found.fits}))
            return
        usable, target = f"{found.usable_bytes_per_device / GIB:.2f} GiB", where.target
        if usable_gib is None:
            usable += f" ({target.memory() / GIB:.2f} GiB less what is for {target.reserved_for})"
        lines = {
            "peak memory a device": f"{found.peak_bytes_per_device / GIB:.2f} GiB of {usable}",
            "fits": "yes" if found.fits else "no",
            **({} if found.max_views is None else {"most views that fit": f"{found.max_views}"}),
            "FLOPs": f"{found.flops:.3g}" + (f", {found.flops / found.devices:.3g} a device" if found.devices > 1 else ""),
        }
        for name, value in lines.items():
            typer.echo(f"{name}: {value}")
