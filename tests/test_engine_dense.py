"""Features of places and regions of a picture, against the model's own layers; who has none."""

import io
from dataclasses import replace

import pytest
from PIL import Image as Pil
from tiny_encoders import SIDE, make_clip, make_siglip, make_siglip2, picture

from harness.errors import UsageError
from harness.find import make_model
from harness.types import Answer, Decoding, Failure, Image, Region, Sample

CPU = {"device": "cpu", "dtype": "float32", "workers": 0}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def siglip(tmp_path_factory):
    return make_siglip(tmp_path_factory.mktemp("siglip"))


def tower_of(path, **options):
    from harness.engine.dense import DenseTower

    model = make_model(f"transformers:{path}", CPU | options)
    return model.towers().model, DenseTower(model.towers(), model._settings)


def test_places_of_clip_are_what_tokens_that_see_only_themselves_become(clip):
    import torch

    model, tower = tower_of(clip, dense_side=48)
    ((_, features),) = tower.images.features([Image("a", picture(1, 60, 90))])
    assert features.shape == (24, 9, 6)  # 48 x 72 pixels in patches of 8
    pixels = tower._pixels(Pil.open(io.BytesIO(picture(1, 60, 90))).convert("RGB"))["pixel_values"]
    vision = model.vision_model
    with torch.no_grad():
        hidden = vision.pre_layrnorm(vision.embeddings(pixels, interpolate_pos_encoding=True))
        *first, last = vision.encoder.layers
        for layer in first:
            hidden = layer(hidden, None)
        alone = torch.full((1, 1, 55, 55), float("-inf")).masked_fill(torch.eye(55).bool(), 0.0)
        hidden = last(hidden, alone)
        expected = model.visual_projection(vision.post_layernorm(hidden))[0, 1:]
    assert torch.allclose(features.flatten(1).T, expected, atol=1e-4)


def test_places_of_siglip_are_what_its_head_makes_of_each_token_alone(siglip):
    import torch

    model, tower = tower_of(siglip, dense_side=32)
    ((_, features),) = tower.images.features([Image("a", picture(2, 64, 64))])
    pixels = tower._pixels(Pil.open(io.BytesIO(picture(2, 64, 64))).convert("RGB"))["pixel_values"]
    with torch.no_grad():
        hidden = model.vision_model(pixels).last_hidden_state[0]
        expected = model.vision_model.head(hidden[:, None])
    assert torch.allclose(features.flatten(1).T, expected, atol=1e-4)


def test_a_region_is_read_where_it_lies():
    import torch

    from harness.engine.dense import pooled

    y, x = torch.meshgrid(torch.arange(6) + 0.5, torch.arange(9) + 0.5, indexing="ij")
    features = torch.stack([x, y])  # each place knows where it is, 10 pixels wide and high
    found = pooled(features, (20.0, 10.0, 60.0, 50.0), (60.0, 90.0))
    assert found.tolist() == pytest.approx([4.0, 3.0], abs=1e-5)
    one = pooled(features, (85.0, 0.0, 90.0, 5.0), (60.0, 90.0))  # beyond the last centre
    assert one.tolist() == pytest.approx([8.5, 0.5], abs=1e-5)


def test_a_class_map_shows_the_nearest_class_between_places():
    import torch

    from harness.engine.dense import class_map

    features = torch.zeros(2, 1, 2)
    features[0, 0, 0], features[1, 0, 1] = 3.0, 0.5  # lengths do not matter
    found = class_map(features, torch.eye(2), (8, 32))
    assert found.tolist() == [[0, 0, 0, 0, 1, 1, 1, 1]] * 2


def region(image, box=(10, 5, 34, 41), **facts):
    known = {"dense": "region", "size": (45, 60), "prompts": {"a": ("a cat",), "b": ("two dogs",)}}
    return Sample("s", (image,), choices=("a", "b"), regions=(Region(box),), facts=known | facts)


def only(model, sample, ask="rank"):
    ((_, reply),) = model.answer([sample], ask, Decoding())
    return reply


def test_a_cropped_region_scores_as_the_cut_and_stretched_picture_does(clip):
    model = make_model(f"transformers:{clip}", CPU)
    data = picture(5)
    found = only(model, region(Image("p", data)))
    cut = Pil.open(io.BytesIO(data)).convert("RGB").crop((10, 5, 34, 41))
    file = io.BytesIO()
    cut.resize((SIDE, SIDE), Pil.Resampling.BICUBIC).save(file, "PNG")
    whole = Sample("w", (Image("q", file.getvalue()),), choices=("a", "b"),
                   facts={"prompts": {"a": ("a cat",), "b": ("two dogs",)}})  # fmt: skip
    assert found.scores == pytest.approx(only(model, whole).scores, abs=1e-5)
    assert found.scores != pytest.approx(
        only(model, replace(whole, prompt=(Image("p", data),))).scores
    )
    edge = only(model, region(Image("p", data), (59.6, 44.2, 59.9, 44.9)))
    assert isinstance(edge, Answer)
    outside = only(model, region(Image("p", data), (70, 50, 90, 60)))
    assert isinstance(outside, Failure) and "lies outside" in outside.error


def test_a_pooled_region_scores_the_mean_of_its_places(clip):
    import torch

    from harness.engine.dense import pooled

    model = make_model(f"transformers:{clip}", CPU | {"regions": "pool", "dense_side": 48})
    _, tower = tower_of(clip, dense_side=48)
    image = Image("p", picture(5))
    found = only(model, region(image, scale=100.0))
    ((_, features),) = tower.images.features([image])
    vector = pooled(features, (10, 5, 34, 41), (45, 60))
    texts = model.towers().texts.encode(["a cat", "two dogs"])
    expected = 100 * torch.nn.functional.cosine_similarity(vector[None], texts)
    assert found.scores == pytest.approx(expected.tolist(), abs=1e-3)
    assert (
        model.describe()["options"] | {"regions": "pool", "dense_side": 48}
        == (model.describe()["options"])
    )
    plain = make_model(f"transformers:{clip}", CPU).describe()["options"]
    assert not {"regions", "dense_side"} & set(plain)  # records of before stay the same model


def test_a_model_without_features_of_places_says_so(tmp_path, clip):
    flexible = make_siglip2(tmp_path / "siglip2")
    image = Image("p", picture(5))
    model = make_model(f"transformers:{flexible}", CPU | {"regions": "pool"})
    with pytest.raises(UsageError, match=r"no dense features.*regions=crop needs none"):
        only(model, region(image))
    assert isinstance(only(make_model(f"transformers:{flexible}", CPU), region(image)), Answer)
    wanted = region(image, dense="map", classes=("a", "b"))
    with pytest.raises(UsageError, match="no dense features"):
        only(model, wanted, "generate")
    with pytest.raises(UsageError, match="cannot write text"):
        only(make_model(f"transformers:{clip}", CPU), Sample("s", (image,)), "generate")
    with pytest.raises(UsageError, match="regions must be one of"):
        make_model(f"transformers:{clip}", {"regions": "box"})
    config = tmp_path / "decoder" / "config.json"
    config.parent.mkdir()
    config.write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    with pytest.raises(UsageError, match="regions=pool is for dual encoders"):
        make_model(f"transformers:{config.parent}", {"regions": "pool"})
    from harness.engine.load import Settings
    from harness.models.transformers import Decoder

    with pytest.raises(UsageError, match="without dense features"):
        only(Decoder("x", Settings(), "text"), wanted, "generate")
