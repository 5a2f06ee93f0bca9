"""Times PyTorch's grouped conv1d on a GPU at the shapes of benches/depthwise_gpu.rs.

    python3 scripts/bench_torch_depthwise.py [--taps 3,4,5,7,128] [--dtype bf16]

Prints the median time of a forward and of a backward pass (x, weight, bias), in milliseconds by CUDA
events, and the time of a copy of as many bytes as the forward pass moves. PyTorch's own layout is
channels-first; a channels-last tensor would have to be transposed before and after.
"""

import argparse

import torch

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def median_ms(run, count=9):
    for _ in range(2):
        run()
    times = []
    for _ in range(count):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return sorted(times)[count // 2]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--taps", default="3,4,5,7,128")
    parser.add_argument("--dtype", choices=DTYPES, default="bf16")
    parser.add_argument("--batch", type=int, default=16)
    arguments = parser.parse_args()
    dtype = DTYPES[arguments.dtype]
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name()}, {arguments.dtype}")
    for length in (1024, 8192):
        for channels in (768, 8192):
            x = torch.randn(arguments.batch, channels, length, device="cuda").to(dtype)
            y = torch.empty_like(x)
            print(f"L {length} H {channels}: copy {median_ms(lambda: y.copy_(x)):.4f}")
            for taps in map(int, arguments.taps.split(",")):
                weight = torch.randn(channels, 1, taps, device="cuda").to(dtype).requires_grad_()
                bias = torch.randn(channels, device="cuda").to(dtype).requires_grad_()
                inputs = (x.detach().requires_grad_(), weight, bias)

                def forward():
                    return torch.nn.functional.conv1d(*inputs, padding=taps - 1, groups=channels)

                output = forward()
                gradient = torch.randn_like(output)
                with torch.no_grad():
                    forward_ms = median_ms(forward)
                backward_ms = median_ms(
                    lambda: torch.autograd.grad(output, inputs, gradient, retain_graph=True)
                )
                print(f"  K {taps}: forward {forward_ms:.4f} backward {backward_ms:.4f}")


if __name__ == "__main__":
    main()
