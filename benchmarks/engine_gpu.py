"""Samples per second at LLaVA-1.5-7B shapes on a GPU: one by one, plain batching, packed.

    python benchmarks/engine_gpu.py [--images 64] [--questions 18] [--tokens 32768] [--compile]

Random bfloat16 weights are drawn on the device (nothing is downloaded); images are decoded and
preprocessed on the way. Every way answers the same questions in the same run, one by one only
some of them. Answers of random weights in bfloat16 tip over with the smallest difference, so
besides equal answers the table names what parity measured: the largest difference of packed
log-probabilities, beside that of merely padding the same requests. Without a GPU it says so.
"""

import torch
from engine_common import build, machine, parser, same, samples, timed, width
from tiny_models import llava_parts

from harness.engine.drive import Engine
from harness.engine.load import compile_parts

VISION = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
}
TEXT = {
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": 4096,
    "vocab_size": 32064,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def main() -> None:
    """Print the machine and a table."""
    arguments = parser(__doc__)
    arguments.add_argument("--images", type=int, default=64)
    arguments.add_argument("--questions", type=int, default=18, help="about each image")
    arguments.add_argument("--alone", type=int, default=72, help="questions asked one by one")
    arguments.add_argument("--tokens", type=int, default=32768, help="in one packed forward pass")
    arguments.add_argument("--workers", type=int, default=4, help="threads that read images")
    arguments.add_argument("--compile", action="store_true", help="compile the packed model")
    options = arguments.parse_args()
    if not torch.cuda.is_available():
        print("no GPU here: this benchmark needs one (benchmarks/engine_cpu.py needs none)")
        return
    print(machine())
    lm, reader = build(*llava_parts(336, 14, VISION, TEXT), "cuda", torch.bfloat16)
    asked = samples(options.images, options.questions)
    wide = width(reader, asked)
    print(
        f"{sum(p.numel() for p in lm.model.parameters()) / 1e9:.2f} billion parameters, "
        f"{options.images} images x {options.questions} questions, prompts of {wide - 8} tokens\n"
    )
    print("| way | new tokens | samples/s | times one by one | same answers | memory GiB |")
    print("|---|---|---|---|---|---|")
    some, warm = asked[: options.alone], asked[: 2 * options.questions]
    speeds: dict[int, float] = {}
    references: dict[int, dict[str, tuple[int, ...]]] = {}
    ways = [("one by one", "single", 1), *((f"batched {n}", "batched", n) for n in (32, 64, 128))]
    packed: Engine | None = None
    for name, way, size in [*ways, ("packed", "packed", 0)]:
        if way == "packed" and options.compile:
            compile_parts(lm.model)
        for new in (2, 1):
            budget = size * (wide + new) or options.tokens
            engine = Engine(lm, way, budget, "sdpa")
            timed(engine, reader, warm, new, options.workers)
            if way == "packed":
                timed(engine, reader, asked, new, options.workers)  # other shapes, other kernels
                packed = engine
            torch.cuda.reset_peak_memory_stats()
            questions = some if way == "single" else asked
            speed, found = timed(engine, reader, questions, new, options.workers)
            first = speeds.setdefault(new, speed)
            reference = references.setdefault(new, found)
            memory = torch.cuda.max_memory_allocated() / 2**30
            print(
                f"| {name} | {new} | {speed:.1f} | {speed / first:.1f} | "
                f"{same(found, reference)} | {memory:.1f} |",
                flush=True,
            )
    if packed is not None:
        facts = packed.parity["images"]
        print(
            f"\nparity: packed differs from one by one by {facts['worst']:.3g}, "
            f"padding by {facts['noise']:.3g} (natural log-probability, bfloat16)"
        )


if __name__ == "__main__":
    main()
