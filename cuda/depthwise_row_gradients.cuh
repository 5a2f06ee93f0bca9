// The gradients of the short convolution of channels-first tensors in one pass that reads x and dy and writes dx:
//
//     dx[s]     = sum over j of weight[j] * dz[s + left - j]
//     dweight[j] = sum over s of x[s] * dz[s + left - j]
//     dbias      = sum over t of dz[t]
//
// where dz = dy or, with SiLU, dy times its derivative at the sum z, which is made again.
// Both of the first two read the same window of dz. Where several blocks share a channel each leaves
// its part of the sums as a piece; `depthwise_sum_pieces` adds the pieces in order, so results are
// reproducible.
//
// Rows of any alignment come to registers, the next vectors of a thread while it computes. Where the padding is known and
// rows hold whole vectors, they come to shared memory by asynchronous copies, three tiles of a warp ahead: that takes no
// registers, and more is under way. Beyond the ends of a row x and dy are zero, and meet samples of the other one: NaN and
// infinity can reach taps of their channel that do not read them. Bound by device memory.
#pragma once

#include "depthwise_rows.cuh"

// What a thread has of a channel: the taps, and its part of the sums. Exactly K taps or, where K = MANY_TAPS, at most so
// many. SHIFT: that of the window of dy, see `Window`; where it is known the rows of dx have to be like those of x and dy.
template <class T, int K, bool SILU, int SHIFT> struct ChannelGradients {
    static constexpr int V = VECTOR<T>;
    // At sample s of dx: the window of dy starts at s + left - (K - 1), that of x at s - BEFORE.
    static constexpr int BEFORE = SILU ? K - 1 : 0;
    typedef Window<T, V + K - 1, SHIFT> DyWindow;
    typedef Window<T, V + 2 * BEFORE, SHIFT < 0 ? ANY_SHIFT : SHIFT_OF<T, -BEFORE>> XWindow;

    const Gradient &g;
    float weight[K], dweight[K], bias, dbias;

    __device__ explicit ChannelGradients(const Gradient &g) : g(g), bias(0.0f), dbias(0.0f)
    {
#pragma unroll
        for (int j = 0; j < K; j++) dweight[j] = 0.0f;
    }

    __device__ void read_parameters(int channel)
    {
        Loaded<K> loaded_weight(g.weight, channel, K == MANY_TAPS ? g.taps : K);
        if constexpr (SILU) {
            LoadedBias loaded_bias(g.bias, channel);
            loaded_weight.take(weight);
            bias = loaded_bias.take();
        } else {
            loaded_weight.take(weight);
        }
    }

    // Adds a vector at place s of `dx` and its part of the sums.
    __device__ void add(const DyWindow &dy_window, const XWindow &x_window, T *dx, int s)
    {
        float dz[V + K - 1];
#pragma unroll
        for (int i = 0; i < V + K - 1; i++) {
            dz[i] = dy_window[i];
            if (SILU) {
                float z = bias;
#pragma unroll
                for (int j = 0; j < K; j++) {
                    if (K == MANY_TAPS && j >= g.taps) break;
                    z = fmaf(weight[j], x_window[i + j], z);
                }
                dz[i] *= silu_slope<T>(z);
            }
        }

        float sums[V] = {};
#pragma unroll
        for (int j = 0; j < K; j++) {
            if (K == MANY_TAPS && j >= g.taps) break;
#pragma unroll
            for (int u = 0; u < V; u++) {
                sums[u] = fmaf(weight[j], dz[u + K - 1 - j], sums[u]);
                dweight[j] = fmaf(x_window[u + BEFORE], dz[u + K - 1 - j], dweight[j]);
            }
        }
#pragma unroll
        for (int u = 0; u < V; u++) dbias += dz[u + K - 1];
        if (s <= 0) { // those that lie before all others
#pragma unroll
            for (int i = 0; i < K - 1; i++) dbias += dz[i];
        }
        if (g.dx) {
            uint32_t words[4];
            pack_vector<T>(sums, words);
            store_vector(dx, s, g.input_length, SHIFT < 0, words);
        }
    }

    // Leaves what the block has of the sums of a channel, if they are wanted.
    __device__ void leave(int channel) const
    {
        if (!wants_sums(g)) return;
        __shared__ float warp_sums[32][K + 1];
        const int thread = threadIdx.y * blockDim.x + threadIdx.x, lane = thread & 31, warp = thread >> 5;
#pragma unroll
        for (int j = 0; j <= K; j++) {
            float sum = j < K ? dweight[j < K ? j : 0] : dbias;
#pragma unroll
            for (int distance = 16; distance; distance >>= 1) sum += __shfl_xor_sync(0xFFFFFFFFu, sum, distance);
            if (lane == 0) warp_sums[warp][j] = sum;
        }
        __syncthreads();
        if (thread <= g.taps) {
            float sum = 0.0f;
            const int warps = blockDim.x * blockDim.y >> 5;
            for (int i = 0; i < warps; i++) sum += warp_sums[i][thread < g.taps ? thread : K];
            leave_sum(g, blockIdx.y, channel, thread, sum);
        }
    }
};

// The work of a thread that takes many vectors of one channel, an item being `blockDim.x` vectors of
// a row: a part of them all, one after the other, those of one place in the rows next to each other.
struct RowItems {
    int left_over, chunk, batch;

    __device__ RowItems(int vectors, int batches, int piece, int pieces)
    {
        const int chunks = (vectors + blockDim.x - 1) / blockDim.x;
        const long long items = static_cast<long long>(chunks) * batches, first = items * piece / pieces;
        left_over = static_cast<int>(items * (piece + 1) / pieces - first);
        chunk = static_cast<int>(first / batches), batch = static_cast<int>(first % batches);
    }

    // The thread's place in the row, in elements.
    template <class T> __device__ int position() const
    {
        return (chunk * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x)) * VECTOR<T>;
    }

    __device__ void advance(int batches)
    {
        left_over--;
        if (++batch == batches) batch = 0, chunk++;
    }
};

// Threads: x over vectors of dx in rows of one channel, y over parts of the block's work. Blocks: x over channels, y over
// pieces.
template <class T, int K, bool SILU> __device__ void row_gradients(const Gradient &g)
{
    typedef ChannelGradients<T, K, SILU, ANY_SHIFT> Sums;
    const int channel = blockIdx.x;
    Sums sums(g);
    sums.read_parameters(channel);

    RowItems items(g.vectors_a_row, g.batch, blockIdx.y * blockDim.y + threadIdx.y, gridDim.y * blockDim.y);
    const T *const x_rows = static_cast<const T *>(g.x.data) + channel * g.x.line_stride;
    const T *const dy_rows = static_cast<const T *>(g.dy.data) + channel * g.dy.line_stride;

    typename Sums::DyWindow next_dy;
    typename Sums::XWindow next_x;
    T *next_dx;
    int next_s, x_misaligned, dy_misaligned;
    const auto start_load = [&] {
        const T *x = x_rows + items.batch * g.x.batch_stride, *dy = dy_rows + items.batch * g.dy.batch_stride;
        next_dx = static_cast<T *>(g.dx) + (static_cast<long long>(items.batch) * g.channels + channel) * g.input_length;
        x_misaligned = misalignment(x), dy_misaligned = misalignment(dy);
        next_s = items.position<T>() - misalignment(next_dx);
        // Behind the row there is nothing to load.
        next_dy.load(dy, next_s + g.left - (K - 1), next_s < g.input_length ? g.output_length : 0, dy_misaligned);
        next_x.load(x, next_s - Sums::BEFORE, next_s < g.input_length ? g.input_length : 0, x_misaligned);
    };
    if (items.left_over > 0) start_load();
    while (items.left_over > 0) {
        typename Sums::DyWindow dy_window = next_dy;
        typename Sums::XWindow x_window = next_x;
        T *const dx = next_dx;
        const int s = next_s;
        dy_window.align(s + g.left - (K - 1), dy_misaligned);
        x_window.align(s - Sums::BEFORE, x_misaligned);
        items.advance(g.batch);
        if (items.left_over > 0) start_load();
        sums.add(dy_window, x_window, dx, s);
    }
    sums.leave(channel);
}

constexpr int TILE_WARPS = 2;  // of a block
constexpr int ROW_STAGES = 4;  // tiles of a warp in shared memory

// Threads: x over the lanes, y over TILE_WARPS. Blocks: x over channels, y over pieces. For rows that begin at multiples of
// 16 bytes and hold whole vectors.
template <class T, int K, bool SILU, int SHIFT> __device__ void aligned_row_gradients(const Gradient &g)
{
    typedef ChannelGradients<T, K, SILU, SHIFT> Sums;
    typedef typename Sums::DyWindow DyWindow;
    typedef typename Sums::XWindow XWindow;
    constexpr int V = VECTOR<T>, DY_VECTORS = 31 + DyWindow::VECTORS, X_VECTORS = 31 + XWindow::VECTORS;
    __shared__ uint4 stages[TILE_WARPS][ROW_STAGES][DY_VECTORS + X_VECTORS];
    const int channel = blockIdx.x, lane = threadIdx.x;
    Sums sums(g);
    TilesInTurn<32> now(g.vectors_a_row, blockIdx.y * TILE_WARPS + threadIdx.y, gridDim.y * TILE_WARPS), ahead = now;
    int stage = 0, next_stage = 0;

    const T *const x_rows = static_cast<const T *>(g.x.data) + channel * g.x.line_stride;
    const T *const dy_rows = static_cast<const T *>(g.dy.data) + channel * g.dy.line_stride;
    T *const dx_rows = static_cast<T *>(g.dx) + static_cast<long long>(channel) * g.input_length;
    // From a place of dx to those of the first vectors that it takes.
    const int to_dy = g.left - (K - 1) - DyWindow::KNOWN, to_x = -Sums::BEFORE - XWindow::KNOWN;
    const auto start_load = [&] {
        if (ahead.batch < g.batch) {
            uint4 *const to = stages[threadIdx.y][next_stage];
            const int s = ahead.tile * (32 * V);
            const T *const x = x_rows + ahead.batch * g.x.batch_stride, *const dy = dy_rows + ahead.batch * g.dy.batch_stride;
            copy_vectors<T, DY_VECTORS>(to, dy, s + to_dy, g.output_length);
            copy_vectors<T, X_VECTORS>(to + DY_VECTORS, x, s + to_x, g.input_length);
            ahead.advance();
            next_stage = next_stage + 1 == ROW_STAGES ? 0 : next_stage + 1;
        }
        end_group_of_copies();
    };
#pragma unroll
    for (int i = 0; i < ROW_STAGES - 1; i++) start_load();
    sums.read_parameters(channel);
    for (; now.batch < g.batch; now.advance()) {
        wait_for_copies<ROW_STAGES - 2>();
        __syncwarp(); // all lanes have read the stage that is loaded next
        start_load();
        DyWindow dy_window;
        XWindow x_window;
        dy_window.take(stages[threadIdx.y][stage] + lane);
        x_window.take(stages[threadIdx.y][stage] + DY_VECTORS + lane);
        stage = stage + 1 == ROW_STAGES ? 0 : stage + 1;
        T *const dx = dx_rows + static_cast<long long>(now.batch) * g.channels * g.input_length;
        sums.add(dy_window, x_window, dx, now.tile * (32 * V) + lane * V);
    }
    sums.leave(channel);
}
