// Adds the pieces of the gradients of taps and bias, always in the same order:
//
//     gradient[channel, tap] = sum over p of pieces[p, channel, tap],
//
// the bias behind the taps. Threads: x over the sums, y over every so many-th piece. Bound by latency: each thread asks for
// several pieces before it adds the first.
#include "depthwise.cuh"

constexpr int SUM_THREADS = 512, MOST_SUM_ROWS = 16; // of a block, at most
constexpr int PIECES_AT_ONCE = 4;                    // of a thread

extern "C" __global__ void __launch_bounds__(SUM_THREADS) depthwise_sum_pieces(
    const float *pieces, const __grid_constant__ Parameter weight, const __grid_constant__ Parameter bias, int count,
    unsigned channels, unsigned taps)
{
    __shared__ float parts[SUM_THREADS];
    const unsigned column = blockIdx.x * blockDim.x + threadIdx.x, width = channels * (taps + 1);
    const unsigned channel = column / (taps + 1), tap = column % (taps + 1);
    float sum = 0.0f;
    for (int first = threadIdx.y; first < count; first += blockDim.y * PIECES_AT_ONCE) {
        float values[PIECES_AT_ONCE];
#pragma unroll
        for (int i = 0; i < PIECES_AT_ONCE; i++) {
            const int piece = first + i * blockDim.y;
            values[i] = 0.0f;
            if (piece < count && column < width) values[i] = pieces[static_cast<long long>(piece) * width + column];
        }
#pragma unroll
        for (int i = 0; i < PIECES_AT_ONCE; i++) sum += values[i];
    }
    if (threadIdx.y > 0) parts[threadIdx.y * blockDim.x + threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && column < width) {
#pragma unroll
        for (int row = 1; row < MOST_SUM_ROWS; row++) {
            if (row < blockDim.y) sum += parts[row * blockDim.x + threadIdx.x];
        }
        write_sum(weight, bias, taps, channel, tap, sum);
    }
}
