"""Published feature networks load from a folder and run; their weights here are random, for there is no network."""

import numpy as np
import pytest
import torch

from var_scaling.errors import EnvironmentProblem
from var_scaling.evaluation.dinov2 import VisionTransformer, load_backbone
from var_scaling.evaluation.features import WEIGHT_FILES, image_bytes, load_extractor


@pytest.fixture
def dino_file(tmp_path):
    torch.manual_seed(0)
    model = VisionTransformer(width=128, depth=2, trained_side=5)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    torch.save(model.state_dict(), tmp_path / WEIGHT_FILES["dinov2"])
    return tmp_path


def test_dinov2_reads_a_local_file(dino_file, images):
    extractor = load_extractor("dinov2", data=images.config, weights_folder=dino_file)
    features, logits = extractor(image_bytes(images, "train", np.arange(3)))
    assert features.shape == (3, 128)
    assert logits is None
    assert not np.allclose(features[0], features[1])
    assert extractor.identity.startswith("dinov2-vit-l-14-")


def test_dinov2_is_written_out_attention(dino_file):
    """One block by hand: the head split and the order of queries, keys and values are the published ones."""
    model = load_backbone(dino_file / WEIGHT_FILES["dinov2"])
    block, x = model.blocks[0], torch.randn(2, 7, 128)
    h = torch.nn.functional.layer_norm(x, (128,), block.norm1.weight, block.norm1.bias, 1e-6)
    q, k, v = (h @ w.T + b for w, b in zip(block.attn.qkv.weight.chunk(3), block.attn.qkv.bias.chunk(3), strict=True))
    heads = []
    for head in range(2):
        part = slice(64 * head, 64 * head + 64)
        attention = (q[..., part] @ k[..., part].transpose(1, 2) / 8).softmax(-1)
        heads.append(attention @ v[..., part])
    y = x + block.ls1.gamma * (torch.cat(heads, -1) @ block.attn.proj.weight.T + block.attn.proj.bias)
    expected = y + block.ls2(block.mlp(block.norm2(y)))
    torch.testing.assert_close(block(x), expected, rtol=1e-5, atol=1e-5)


def test_positions_are_kept_at_the_trained_size_and_resampled_elsewhere(dino_file):
    model = load_backbone(dino_file / WEIGHT_FILES["dinov2"])
    assert model._positions(5) is model.pos_embed
    assert model._positions(16).shape == (1, 257, 128)
    constant = VisionTransformer(64, 1, 5)
    torch.nn.init.constant_(constant.pos_embed, 3.0)
    torch.testing.assert_close(constant._positions(16), torch.full((1, 257, 64), 3.0))


def test_another_file_is_refused_with_a_sentence(dino_file, images):
    path = dino_file / WEIGHT_FILES["dinov2"]
    state = torch.load(path, weights_only=True)
    torch.save(state | {"register_tokens": torch.zeros(1, 4, 128)}, path)
    with pytest.raises(EnvironmentProblem, match=r"cannot be read from .*without registers"):
        load_extractor("dinov2", data=images.config, weights_folder=dino_file)
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(EnvironmentProblem, match="cls_token"):
        load_extractor("dinov2", data=images.config, weights_folder=dino_file)
    path.write_bytes(b"not torch")
    with pytest.raises(EnvironmentProblem, match="cannot be read from"):
        load_extractor("dinov2", data=images.config, weights_folder=dino_file)


def test_inception_reads_a_local_file(tmp_path, images, monkeypatch):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    monkeypatch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *a, **k: None)
    monkeypatch.setattr(torch, "load", lambda *a, **k: {})
    network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path="any")
    monkeypatch.undo()
    torch.save(network.state_dict(), tmp_path / WEIGHT_FILES["inception"])
    extractor = load_extractor("inception", data=images.config, weights_folder=tmp_path)
    features, logits = extractor(image_bytes(images, "train", np.arange(2)))
    assert features.shape == (2, 2048)
    assert logits.shape == (2, 1008)


def test_a_pickle_with_code_is_not_run(tmp_path, images):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("the pickle was run",))

    torch.save({"weight": Trap()}, tmp_path / WEIGHT_FILES["inception"])
    with pytest.raises(EnvironmentProblem, match="cannot be read from"):
        load_extractor("inception", data=images.config, weights_folder=tmp_path)
