"""`DepthAnything3`: from images to a prediction, on a tiny network with recorded weights."""

import logging

import jax
import numpy as np
import pytest

import da3jax

SIZE = 56


@pytest.fixture(scope="module")
def joint(model, images):
    return model.inference(images, process_res=SIZE)


def same(a, b, rtol=1e-5):
    for name in ("depth", "conf", "ray", "ray_conf", "extrinsics", "intrinsics"):
        one, other = getattr(a, name), getattr(b, name)
        np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol * np.abs(other).max(), err_msg=name)


def test_a_prediction_is_forward_of_the_preprocessed_images(model, images, joint):
    batch = da3jax.preprocess(images, process_res=SIZE)
    output = jax.jit(lambda params, images: da3jax.forward(params, images, config=model.config))(model.params, batch.images)
    np.testing.assert_array_equal(joint.depth, output.depth[0])
    np.testing.assert_array_equal(joint.conf, output.depth_conf[0])
    np.testing.assert_array_equal(joint.ray, output.ray[0])
    np.testing.assert_array_equal(joint.extrinsics, output.extrinsics[0])
    np.testing.assert_array_equal(joint.intrinsics, output.intrinsics[0])
    np.testing.assert_array_equal(joint.processed_images, batch.processed_images)
    assert joint.sky is None
    assert joint.is_metric is False
    assert all(isinstance(leaf, np.ndarray) and leaf.flags.writeable for leaf in jax.tree.leaves(joint))


def test_what_its_programs_are_made_of_cannot_be_set(model):
    for name, value in (("dtype", "bfloat16"), ("config", "da3-small")):
        with pytest.raises(AttributeError, match=f"'{name}' .*no setter"):
            setattr(model, name, value)


def test_the_same_call_gives_the_same_bits(model, images, joint):
    again = model.inference(images, process_res=SIZE)
    jax.tree.map(np.testing.assert_array_equal, again, joint)


def test_views_see_each_other_unless_independent(model, images, joint):
    alone = model.inference(images[:1], process_res=SIZE)
    independent = model.inference(images, process_res=SIZE, independent=True)
    assert np.abs(joint.depth[0] / alone.depth[0] - 1).max() > 1e-3
    np.testing.assert_allclose(independent.depth[0], alone.depth[0], rtol=1e-5)
    assert independent.extrinsics is None
    np.testing.assert_allclose(independent.intrinsics[0], alone.intrinsics[0], rtol=1e-5)


def test_independent_images_go_in_groups_of_one_size(model, images):
    many = [images[i % 3] for i in range(10)]
    prediction = model.inference(many, process_res=28, independent=True)
    few = model.inference(images, process_res=28, independent=True)
    assert prediction.depth.shape[0] == 10
    np.testing.assert_allclose(prediction.depth, few.depth[[i % 3 for i in range(10)]], rtol=1e-5)


@pytest.mark.parametrize("count", [1, 2])
def test_one_and_two_views_work(model, images, count):
    prediction = model.inference(images[:count], process_res=SIZE)
    assert prediction.depth.shape == (count, 42, 56)
    assert np.isfinite(prediction.depth).all()
    assert np.linalg.det(prediction.extrinsics[:, :, :3]) == pytest.approx(np.ones(count), abs=1e-5)


def test_a_path_a_pil_image_and_an_array_are_the_same(model, images, tmp_path):
    from PIL import Image

    Image.fromarray(images[0]).save(tmp_path / "a.png")
    first = model.inference(images[:1], process_res=SIZE)
    for form in (tmp_path / "a.png", str(tmp_path / "a.png"), [Image.fromarray(images[0])]):
        np.testing.assert_array_equal(model.inference(form, process_res=SIZE).depth, first.depth)


@pytest.mark.parametrize("fast_decode", [False, True])
def test_fast_decode_reaches_the_preprocessing(model, images, monkeypatch, fast_decode):
    def stop(images, **options):
        raise InterruptedError(f"with fast_decode {options['fast_decode']}")

    monkeypatch.setattr("da3jax.inference.model.preprocess", stop)
    with pytest.raises(InterruptedError, match=f"with fast_decode {fast_decode}"):
        model.inference(images, fast_decode=fast_decode)


def test_device_arrays_stay_on_the_device(model, images, joint):
    prediction = model.inference(images, process_res=SIZE, as_numpy=False)
    assert isinstance(prediction.depth, jax.Array)
    np.testing.assert_array_equal(prediction.depth, joint.depth)


def test_only_what_was_asked_for_is_there(model, images, joint):
    prediction = model.inference(images, process_res=SIZE, outputs=["depth"])
    np.testing.assert_allclose(prediction.depth, joint.depth, rtol=1e-6)
    assert prediction.ray is None
    assert prediction.extrinsics is None


def test_points_are_origin_plus_depth_times_direction_and_else_come_from_the_cameras(model, images, joint):
    from da3jax.geometry import points_from_rays, unproject

    np.testing.assert_allclose(joint.points, points_from_rays(joint.depth, joint.ray), atol=1e-5)
    without = model.inference(images, process_res=SIZE, outputs=["points", "cameras", "depth"])
    np.testing.assert_allclose(without.points, unproject(without.depth, without.intrinsics, without.extrinsics), atol=1e-5)
    assert model.inference(images, process_res=SIZE, outputs=["depth"]).points is None


def test_cameras_from_rays_take_the_place_of_the_decoded_ones(model, images, joint, caplog):
    from da3jax.geometry import cameras_from_rays

    prediction = model.inference(images, process_res=SIZE, use_ray_pose=True)
    solution = cameras_from_rays(joint.ray, joint.ray_conf)
    np.testing.assert_allclose(prediction.ray, joint.ray, atol=1e-6)
    # The rays of weights that were never trained are noise, of which the fit is not worth comparing beyond its frame.
    np.testing.assert_array_equal(prediction.intrinsics[:, 2], [[0, 0, 1]] * 3)
    np.testing.assert_allclose(np.linalg.det(prediction.extrinsics[:, :, :3]), 1, atol=1e-5)
    assert prediction.ray_residual.shape == (3,)
    assert np.isfinite(prediction.extrinsics).all()
    degenerate = np.flatnonzero(solution.result).tolist()
    assert [record.args[0] for record in caplog.records if "determine no camera" in record.msg] == ([degenerate] if degenerate else [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"export_feat_layers": [99]}, r"export_feat_layers has 99; blocks of .* are 0 to"),
        ({"ref_view_strategy": "midle"}, r"ref_view_strategy 'midle' is unknown; .* did you mean 'middle'"),
        ({"official_gs": True}, "official_gs says which Gaussians are computed, and none are"),
        (
            {"extrinsics": [np.eye(4)], "independent": True},
            "extrinsics place the views in one world, which",
        ),
    ],
)
def test_what_the_network_cannot_do_is_refused_before_an_image_is_read(model, options, message):
    with pytest.raises(ValueError, match=message):
        model.inference(["not-there.png"], **options)


def test_a_network_without_rays_has_no_ray_pose(single_view, images):
    with pytest.raises(ValueError, match="use_ray_pose needs rays, which tiny-single-view does not predict; it has depth, sky"):
        single_view.inference(images[:1], process_res=28, use_ray_pose=True)


def test_features_come_in_aux_in_the_order_of_the_images(model, images):
    found = model.inference(images, process_res=SIZE, export_feat_layers=[1, 5], ref_view_strategy="middle").aux
    turned = model.inference(
        [images[2], images[1], images[0]], process_res=SIZE, export_feat_layers=iter([1, 5]), ref_view_strategy="middle"
    ).aux
    assert found.keys() == {"feat_layer_1", "feat_layer_5"}
    assert found["feat_layer_5"].shape == (3, 3, 4, 32)
    for name in found:
        np.testing.assert_allclose(turned[name][::-1], found[name], atol=1e-4)


@pytest.mark.parametrize("layers", [np.array([1]), iter([1])])
def test_blocks_of_features_may_be_an_array_or_an_iterator(model, images, tmp_path, layers):
    model.inference(images[:1], export_feat_layers=layers, export_dir=tmp_path, export_format="feat_vis")
    assert (tmp_path / "feat_vis" / "layer_1" / "0000.png").exists()
    with pytest.raises(ValueError, match="feat_vis' needs features; export_feat_layers names the blocks"):
        model.inference(images[:1], export_feat_layers=np.array([], int), export_dir=tmp_path, export_format="feat_vis")
    with pytest.raises(ValueError, match="export_feat_layers is 1; it is a list of blocks"):
        model.inference(images[:1], export_feat_layers=1, export_dir=tmp_path, export_format="feat_vis")


@pytest.mark.parametrize("name", ["colmap", "nerfstudio"])
def test_what_needs_one_world_is_refused_before_the_network_runs(model, single_view, images, tmp_path, name):
    message = f"^export format '{name}' needs the cameras of all views in one world; .* glb does without$"
    for network, independent in ((model, True), (single_view, False)):
        with pytest.raises(ValueError, match=message):
            network.inference(images, independent=independent, export_dir=tmp_path / "out", export_format=f"glb-{name}")
    with pytest.raises(
        ValueError, match=f"^export format '{name}' needs intrinsics; .* predicts none, and none are given; glb does without$"
    ):
        single_view.inference(images[:1], export_dir=tmp_path / "out", export_format=f"glb-{name}")
    assert not (tmp_path / "out").exists()


def test_sky_is_a_mask_and_a_single_view_network_has_no_cameras(single_view, images):
    prediction = single_view.inference(images, process_res=SIZE)
    output = da3jax.forward(single_view.params, da3jax.preprocess(images, process_res=SIZE).images, config=single_view.config)
    np.testing.assert_array_equal(prediction.sky, np.asarray(output.sky[0]) >= 0.5)
    assert prediction.sky.dtype == bool
    assert prediction.extrinsics is None
    assert prediction.conf is None


@pytest.mark.integration
def test_stacked_parameters_serve_and_are_saved_one_entry_a_block(model, images, joint, tmp_path):
    stacked = da3jax.DepthAnything3(da3jax.stack_layers(model.params, model.config), model.config)
    same(stacked.inference(images, process_res=SIZE), joint)
    stacked.inference(images[:1], process_res=28, export_feat_layers=[2])
    back = da3jax.DepthAnything3.from_pretrained(stacked.save_pretrained(tmp_path))
    jax.tree.map(np.testing.assert_array_equal, back.params, model.params)


def test_a_converted_folder_gives_the_same(tiny_model_dir, images, joint):
    jax.tree.map(
        np.testing.assert_array_equal, da3jax.DepthAnything3.from_pretrained(tiny_model_dir).inference(images, process_res=SIZE), joint
    )


def test_bfloat16_is_near_float32(released_dir, images, joint):
    model = da3jax.DepthAnything3.from_pretrained(released_dir, dtype="bfloat16")
    same(model.inference(images, process_res=SIZE), joint, rtol=5e-2)


def test_exports_are_written(model, images, joint, tmp_path):
    model.inference(images, process_res=SIZE, export_dir=tmp_path / "out", export_format="npz-glb")
    with np.load(tmp_path / "out" / "exports" / "npz" / "results.npz") as archive:
        np.testing.assert_array_equal(archive["depth"], joint.depth)
    assert (tmp_path / "out" / "scene.glb").stat().st_size > 1000


def test_what_cannot_be_exported_is_refused_before_the_network_runs(model, images, tmp_path, caplog):
    caplog.set_level(logging.INFO, "da3jax.inference")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        model.inference(images, process_res=SIZE, export_dir=tmp_path / "file")
    with pytest.raises(ValueError, match="did you mean 'glb'"):
        model.inference(images, process_res=SIZE, export_dir=tmp_path / "out", export_format="glbs")
    assert not caplog.records
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ref_view_strategy": "midle"}, "ref_view_strategy 'midle' is unknown.*did you mean 'middle'"),
        ({"process_res_method": "upper_bound"}, "upper_bound_resize"),
        ({"process_res": 13}, "13"),
        ({"outputs": ["depht"]}, "output of tiny-anyview 'depht' is unknown.*did you mean 'depth'"),
        ({"outputs": ["taps", "depth"]}, "'taps' is unknown"),
        ({"outputs": ["ray"]}, "lacks 'depth'"),
        ({"outputs": ["depth", "points"]}, "lacks 'ray' or 'cameras', which points are made of"),
        ({"export_dir": "out", "num_max_points": 0}, "num_max_points is 0; it is a whole number, at least 1"),
        ({"export_feat_layers": 1}, r"export_feat_layers is 1; it is a list of blocks, such as \[2, 3\]"),
        ({"export_feat_layers": [1.0]}, r"export_feat_layers is \(1.0,\); it is a list of blocks"),
        ({"export_feat_layers": [6]}, "export_feat_layers has 6; blocks of tiny-anyview are 0 to 5"),
        ({"image": []}, "no images|empty"),
    ],
)
def test_unusable_arguments_are_named(model, images, arguments, message):
    with pytest.raises(ValueError, match=message):
        model.inference(**{"image": images[:1], "process_res": 28, **arguments})


def test_an_unknown_dtype_is_refused_before_anything_is_loaded(tmp_path):
    with pytest.raises(ValueError, match="dtype 'float16' is unknown; it is one of float32, bfloat16"):
        da3jax.DepthAnything3.from_pretrained(tmp_path / "nowhere", dtype="float16")
