"""Samples per second of a small random LLaVA on a CPU: packed, batched, one by one.

    python benchmarks/engine_cpu.py [--images 8] [--questions 18] [--new 2] [--threads 1]

All ways are measured in one run over the same questions, images decoded and preprocessed on the
way. The model has LLaVA-1.5's 576 tokens per image but small layers, so the ratios say what
sharing an image saves, not how fast a real model is. `same` compares answers with one by one.
"""

import torch
from engine_common import build, machine, parser, same, samples, timed, width
from tiny_models import llava_parts

from harness.engine.drive import Engine

VISION = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
}
TEXT = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "max_position_embeddings": 4096,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def main() -> None:
    """Print the machine and a table."""
    arguments = parser(__doc__)
    arguments.add_argument("--images", type=int, default=8)
    arguments.add_argument("--questions", type=int, default=18, help="about each image")
    arguments.add_argument("--new", type=int, default=2, help="tokens per answer")
    arguments.add_argument("--threads", type=int, default=1)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    print(machine())
    lm, reader = build(*llava_parts(336, 14, VISION, TEXT), "cpu", torch.float32)
    asked = samples(options.images, options.questions)
    wide = width(reader, asked)
    print(
        f"{options.images} images x {options.questions} questions, prompts of {wide - 8} tokens, "
        f"{options.new} new tokens\n"
    )
    ways = [("one by one", "single", 1), ("batched 8", "batched", 8), ("batched 32", "batched", 32)]
    warm = samples(2, 2)
    print("| way | samples/s | times one by one | same answers |\n|---|---|---|---|")
    first, reference = 0.0, {}
    for name, way, size in [*ways, ("packed", "packed", 16)]:
        budget = size * (wide + options.new)
        engine = Engine(lm, way, budget, "sdpa")
        timed(engine, reader, warm, options.new, 0)
        speed, found = timed(engine, reader, asked, options.new, 1)
        first, reference = first or speed, reference or found
        print(f"| {name} | {speed:.1f} | {speed / first:.1f} | {same(found, reference)} |")


if __name__ == "__main__":
    main()
