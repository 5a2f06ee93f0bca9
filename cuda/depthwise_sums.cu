// Adds the pieces of the gradients of taps and bias, always in the same order:
//
//     gradient[channel, tap] = sum over p of pieces[p, channel, tap],
//
// the bias behind the taps. Threads: x over the sums (32), y over every so many-th piece.
#include "depthwise.cuh"

extern "C" __global__ void depthwise_sum_pieces(
    const float *pieces, const __grid_constant__ Parameter weight, const __grid_constant__ Parameter bias, int count,
    int channels, int taps)
{
    __shared__ float parts[32][33];
    const long long column = blockIdx.x * 32ll + threadIdx.x, width = static_cast<long long>(channels) * (taps + 1);
    float sum = 0.0f;
    if (column < width) {
#pragma unroll 8
        for (int piece = threadIdx.y; piece < count; piece += blockDim.y) sum += pieces[piece * width + column];
    }
    parts[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && column < width) {
        for (int i = 1; i < blockDim.y; i++) sum += parts[i][threadIdx.x];
        write_sum(weight, bias, taps, static_cast<int>(column / (taps + 1)), static_cast<int>(column % (taps + 1)), sum);
    }
}
