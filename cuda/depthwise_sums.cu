// Adds the pieces of a sum, always in the same order: sums[i] = sum over p of pieces[p][i].
// Threads: x over the sums (32), y over every so many-th piece.

extern "C" __global__ void depthwise_sum_pieces(const float *pieces, float *sums, int count, long long width)
{
    __shared__ float parts[32][33];
    const long long column = blockIdx.x * 32ll + threadIdx.x;
    float sum = 0.0f;
    if (column < width) {
#pragma unroll 8
        for (int piece = threadIdx.y; piece < count; piece += blockDim.y) sum += pieces[piece * width + column];
    }
    parts[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && column < width) {
        for (int i = 1; i < blockDim.y; i++) sum += parts[i][threadIdx.x];
        sums[column] = sum;
    }
}
