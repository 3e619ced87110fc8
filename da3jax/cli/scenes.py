"""`da3jax scenes OUT_DIR`."""

import pathlib
from typing import Annotated

import typer

from da3jax.cli.failures import failures_in_a_sentence
from da3jax.cli.option_kinds import number
from da3jax.cli.progress import Progress, print_path

LONGEST_SIDE = 2048


@failures_in_a_sentence()
def command(
    out_dir: Annotated[pathlib.Path, typer.Argument(metavar="OUT_DIR", help="Folder to write to; nothing that is there is overwritten.")],
    count: Annotated[int, number(1, 10_000, "How many scenes.")] = 4,
    views: Annotated[int, number(1, 64, "Images of a scene.")] = 4,
    height: Annotated[int, number(14, LONGEST_SIDE, "Pixels of an image.")] = 378,
    width: Annotated[int, number(14, LONGEST_SIDE, "Likewise.")] = 504,
    seed: Annotated[int, number(0, 2**32 - 1, "The same seed gives the same scenes.")] = 0,
) -> None:
    """Write procedural scenes: images with exact depth, normals, sky and cameras, as PNG, npz and COLMAP text."""
    import jax

    from da3jax.outputs import check_writable
    from da3jax.training.scenes import host_device, render, sample_cameras, sample_scene, write_scene

    folders = [out_dir / f"{i:04d}" for i in range(count)]
    there = next((folder for folder in folders if folder.exists()), None)
    if there is not None:
        raise FileExistsError(f"{there} is there already and is not overwritten; name another folder than {out_dir}, or remove it")
    check_writable(out_dir, "the folder of scenes")

    @jax.jit
    def draw(key):
        scene_key, camera_key = jax.random.split(key)
        scene = sample_scene(scene_key)
        return scene, render(scene, sample_cameras(camera_key, scene, views, height, width), height, width, samples=2)

    progress = Progress()
    for i, folder in enumerate(folders):
        with progress.step(f"scene {i + 1} of {count}"), jax.default_device(host_device()):
            written = write_scene(*draw(jax.random.fold_in(jax.random.key(seed), i)), folder)
        for path in written:
            print_path(path)
