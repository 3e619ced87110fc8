"""What the tests of scenes draw: small pictures of a few views."""

import jax

from da3jax.training.scenes import render, sample_cameras, sample_scene

COUNT, VIEWS, HEIGHT, WIDTH = 50, 3, 28, 42


def draw(key):
    scene_key, camera_key = jax.random.split(key)
    scene = sample_scene(scene_key)
    return scene, render(scene, sample_cameras(camera_key, scene, VIEWS, HEIGHT, WIDTH), HEIGHT, WIDTH)
