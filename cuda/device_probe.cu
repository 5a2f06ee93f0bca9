// Answers whether this build's code runs correctly on the device at hand.
//
// word[i] = hash(i) ^ seed: a value that memory does not hold by accident, so a
// launch that silently did nothing shows. `expected_word` in src/cuda/device.rs
// is the same function.

#include "hash.cuh"

extern "C" __global__ void device_probe_u32(unsigned int *words, unsigned int count, unsigned int seed)
{
    const unsigned int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) {
        words[i] = hash(i) ^ seed;
    }
}
