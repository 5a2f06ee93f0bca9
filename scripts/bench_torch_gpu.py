#!/usr/bin/env python3
"""Times of the long convolution by torch.fft on a GPU, the cases of `cargo bench --bench gpu`.

    python3 scripts/bench_torch_gpu.py --json torch.json
    cargo bench --features cuda --bench gpu -- --against torch.json --svg both.svg

Needs PyTorch with CUDA. Half precision is converted to float32 and back, as torch.fft transforms no
bfloat16 and float16 only in powers of two. A prepared kernel is its spectrum, kept.
"""

import argparse
import json
import math
import statistics

import torch

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
LONG_MS = 1.0
BUDGET_MS = 150.0
COPIED_BYTES = 1 << 30
KERNELS = 16


def arguments():
    def listed(of):
        return lambda text: [of(part) for part in text.split(",")]

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--lengths", type=listed(int), default=[2**i for i in range(6, 16)])
    parser.add_argument("--dtypes", type=listed(str), default=["bf16", "f16", "f32"])
    parser.add_argument("--ways", type=listed(str), default=["plain", "gated"])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--channels", type=int, default=768)
    parser.add_argument("--circular", action="store_true")
    parser.add_argument("--inference", action="store_true")
    parser.add_argument("--only-inference", action="store_true")
    parser.add_argument("--json")
    return parser.parse_args()


def one_by_one(count, call):
    """The median time in ms of `count` calls."""
    call()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
    events[0].record()
    for event in events[1:]:
        call()
        event.record()
    torch.cuda.synchronize()
    return statistics.median(a.elapsed_time(b) for a, b in zip(events, events[1:]))


def in_a_graph(count, call):
    """The time in ms of one call of `count` that are replayed together."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(count):
            call()
    for _ in range(2):
        graph.replay()
    return one_by_one(20, graph.replay) / count


def time(sets, call):
    """(ms, launched ms, whether in a graph) of `call(index of a set of inputs)`."""
    state = {"next": 0, "outputs": []}

    def run():
        if len(state["outputs"]) >= sets:
            state["outputs"].pop(0)
        state["outputs"].append(call(state["next"] % sets))
        state["next"] += 1

    for _ in range(3):
        run()
    estimate = one_by_one(min(max(sets, 3), 20), run)
    launched = one_by_one(int(min(max(BUDGET_MS / estimate, 5), 200)), run)
    state["outputs"].clear()
    if launched >= LONG_MS:
        return launched, launched, False
    count = max(min(max(int(1 / launched), 20), 200), sets)
    try:
        ms = in_a_graph(count, run)
    except RuntimeError as error:
        print(f"not captured: {str(error).splitlines()[0]}")
        return launched, launched, False
    finally:
        state["outputs"].clear()
    return ms, launched, True


def copy_rate():
    source = torch.randn(COPIED_BYTES // 4, device="cuda")
    target = torch.empty_like(source)
    return 2 * COPIED_BYTES / (one_by_one(30, lambda: target.copy_(source)) / 1e3)


def convolve(v, spectrum, size):
    length = v.shape[-1]
    product = torch.fft.rfft(v.float() if v.dtype != torch.float64 else v, n=size) * spectrum
    return torch.fft.irfft(product, n=size)[..., :length]


def run(case, rate):
    dtype = DTYPES[case["dtype"]]
    batch, channels, length = case["batch"], case["channels"], case["length"]
    gated = case["way"] != "plain"
    size = length if case["circular"] else 2 * length
    tensors = 4 if gated else 2
    each = batch * channels * length * dtype.itemsize * tensors
    cache = torch.cuda.get_device_properties(0).L2_cache_size
    sets = 1 if case["cached"] else min(max(-(-4 * cache // each), 1), 256)

    def random():
        t = torch.empty(batch, channels, length, device="cuda", dtype=dtype)
        for part in t:
            part.copy_(torch.randn(channels, length, device="cuda"))
        return t

    inputs = [[random() for _ in range(tensors - 1)] for _ in range(sets)]
    decay = torch.exp(-6 * torch.arange(length, device="cuda") / length) / math.sqrt(length)
    kernels = torch.randn(min(channels, KERNELS), length, device="cuda") * decay
    k = kernels.repeat(-(-channels // KERNELS), 1)[:channels].contiguous()
    prepared = torch.fft.rfft(k, n=size)

    def compute(tensors, spectrum):
        if not gated:
            return convolve(tensors[0], spectrum, size).to(dtype)
        u, in_gate, out_gate = tensors
        return convolve(u * in_gate, spectrum, size).to(dtype) * out_gate

    y = compute(inputs[0], prepared)
    square = square_want = 0.0
    for b in sorted({0, batch // 2, batch - 1}):
        for h in sorted({0, channels // 2, channels - 1}):
            rows = [t[b, h].double() for t in inputs[0]]
            v = rows[0] * rows[1] if gated else rows[0]
            want = convolve(v, torch.fft.rfft(k[h].double(), n=size), size)
            want = want * rows[2] if gated else want
            square += (y[b, h].double() - want).square().sum().item()
            square_want += want.square().sum().item()
    del y

    def peak(call):
        """The most memory at once beside what there was before."""
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before

    peak_bytes = peak(lambda: compute(inputs[0], prepared))
    unprepared_peak_bytes = peak(lambda: compute(inputs[0], torch.fft.rfft(k, n=size)))
    ms, launched, graph = time(sets, lambda i: compute(inputs[i], prepared))
    unprepared, _, _ = time(sets, lambda i: compute(inputs[i], torch.fft.rfft(k, n=size)))
    return dict(
        case,
        ms=ms,
        launched_ms=launched,
        graph=graph,
        floor_ms=each / rate * 1e3,
        prepare_ms=unprepared - ms,
        peak_bytes=peak_bytes,
        unprepared_peak_bytes=unprepared_peak_bytes,
        relative_error=math.sqrt(square / square_want),
    )


def main():
    options = arguments()
    rate = copy_rate()
    report = {
        "program": f"torch.fft {torch.__version__.split('+')[0]}",
        "gpu": torch.cuda.get_device_name(0),
        "copy_rate": rate,
        "rows": [],
    }
    print(f"{report['program']} on {report['gpu']}, copies {rate / 1e12:.2f} TB/s")
    sizes = [] if options.only_inference else [(options.batch, options.channels, False)]
    if options.inference or options.only_inference:
        sizes += [(1, 128, True), (1, 256, True)]
    for batch, channels, cached in sizes:
        for dtype in options.dtypes:
            for way in options.ways:
                for length in options.lengths:
                    case = dict(
                        dtype=dtype,
                        way=way,
                        batch=batch,
                        channels=channels,
                        length=length,
                        circular=options.circular,
                        cached=cached,
                    )
                    try:
                        row = run(case, rate)
                    except torch.cuda.OutOfMemoryError:
                        print(f"{dtype} {way} {batch} x {channels} x {length}: out of memory")
                        continue
                    finally:
                        torch.cuda.empty_cache()
                    report["rows"].append(row)
                    print(
                        f"{dtype} {way} {batch} x {channels} x {length}: {row['ms']:.4f} ms "
                        f"(launched {row['launched_ms']:.4f}), floor {row['floor_ms']:.4f}, "
                        f"error {row['relative_error']:.2e}",
                        flush=True,
                    )
    if options.json:
        with open(options.json, "w") as file:
            json.dump(report, file, indent=2)


if __name__ == "__main__":
    main()
