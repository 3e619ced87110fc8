"""Records what DINOv2 gives in the transformers library, for two tiny networks: `python -m tests.golden.make_dinov2` from a clone's root.

Writes, beside this file, the folders `dinov2/mlp` and `dinov2/swiglu` as that library saves them, and `dinov2.npz` with an image and each
network's normed tokens at the stored grid size. Needs PyTorch and `pip install transformers` (recorded with 5.23.0).
"""

import pathlib

import numpy as np
import torch
from transformers import Dinov2Config, Dinov2Model

HERE = pathlib.Path(__file__).parent

if __name__ == "__main__":
    torch.manual_seed(0)
    image = torch.randn(1, 3, 70, 70)
    arrays = {"images": image.permute(0, 2, 3, 1)[None].numpy()}
    for name, swiglu in (("mlp", False), ("swiglu", True)):
        sizes = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "image_size": 70}
        network = Dinov2Model(Dinov2Config(**sizes, patch_size=14, use_swiglu_ffn=swiglu)).eval()
        for key, parameter in network.named_parameters():  # no parameter at a value where an error would not show
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
            torch.nn.init.normal_(parameter, mean=1.0 if "norm" in key and "weight" in key else 0.0, std=fan_in**-0.5)
        network.save_pretrained(HERE / "dinov2" / name)
        with torch.no_grad():
            arrays[name] = network(image).last_hidden_state.numpy()
    np.savez_compressed(HERE / "dinov2.npz", **arrays)
