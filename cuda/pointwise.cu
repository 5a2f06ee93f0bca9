// What the models compute between matrix products and convolutions: one pass over memory for each kernel.
//
// Samples are f32, f16 or bf16, arithmetic is f32, and the result is rounded once. A thread takes vectors of V
// neighbouring samples (1, 2, 4 or 8, whatever lengths and addresses allow) and steps through the tensor by the size
// of the grid. All kernels are bound by memory.
//
//   bias_gelu    y[r, c] = gelu(x[r, c] + bias[c]), with the tanh approximation
//   gated_gelu   y[r, c] = gelu(x[r, c]) * x[r, width + c], with the exact one; rows of x are 2 * width wide
//   residual     y[r, c] = x[r, c] + (branch[r, c] + bias[c])
//   layer_norm   y[r, :] = (x[r, :] - mean) / sqrt(variance + epsilon) * weight + bias; one warp for a row
//   channel_bias y[r, l] = x[r, l] + bias[r % channels]
//   sine         y[r, l] = sin(x[r, l] + bias[r % channels])
//   decay        y[r, l] = x[r, l] * (exp(-|rate[r]| * time[l]) + shift)
//   leading      y[r, l] = x[r, l] - edge[r % channels, l] of the first few samples of rows, in place
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#define DEVICE __device__ __forceinline__

// The same as `Arguments` in `src/cuda/pointwise/launch.rs`.
struct Arguments {
    const void *x;
    const void *second;
    const void *third;
    void *y;
    long long rows;
    // Elements of a row of y.
    long long width;
    long long channels;
    // epsilon or shift
    float parameter;
    // Samples of a row of `edge`.
    int leading;
};

template <typename T, int V> struct alignas(sizeof(T) * V) Vector {
    T at[V];
};

DEVICE float as_float(float x) { return x; }
DEVICE float as_float(__half x) { return __half2float(x); }
DEVICE float as_float(__nv_bfloat16 x) { return __bfloat162float(x); }
DEVICE void round_to(float &y, float x) { y = x; }
DEVICE void round_to(__half &y, float x) { y = __float2half_rn(x); }
DEVICE void round_to(__nv_bfloat16 &y, float x) { y = __float2bfloat16_rn(x); }

template <typename T, int V> DEVICE void load(float (&x)[V], const void *p, long long first)
{
    const Vector<T, V> v = *reinterpret_cast<const Vector<T, V> *>(static_cast<const T *>(p) + first);
#pragma unroll
    for (int i = 0; i < V; i++)
        x[i] = as_float(v.at[i]);
}

template <typename T, int V> DEVICE void store(void *p, long long first, const float (&y)[V])
{
    Vector<T, V> v;
#pragma unroll
    for (int i = 0; i < V; i++)
        round_to(v.at[i], y[i]);
    *reinterpret_cast<Vector<T, V> *>(static_cast<T *>(p) + first) = v;
}

// a / 2 * (1 + tanh(u)) = a / (1 + exp(-2 u)) with u = sqrt(2 / pi) * (a + 0.044715 a^3). By fast functions, as their
// usual ones would take longer than the memory: the relative error of exp is some 1e-7 times its exponent, and where
// that is large the result is close to a or to 0.
DEVICE float gelu_tanh(float a)
{
    const float twice = 1.5957691216057308f * (a + 0.044715f * a * a * a);
    return __fdividef(a, 1.0f + __expf(-twice));
}

DEVICE float gelu_exact(float a) { return 0.5f * a * (1.0f + erff(a * 0.70710678118654752f)); }

// Calls body(row, column) for the first sample of every vector of this thread. Only the first one costs a division.
template <int V, typename Body> DEVICE void for_each_vector(const Arguments &a, Body body)
{
    const long long across = a.width / V, count = a.rows * across;
    const long long step = static_cast<long long>(gridDim.x) * blockDim.x;
    const long long first = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (first >= count)
        return;
    long long row = first / across, column = first % across;
    const long long rows = step / across, columns = step % across;
    for (long long i = first; i < count; i += step) {
        body(row, column * V);
        row += rows, column += columns;
        if (column >= across)
            row++, column -= across;
    }
}

template <typename T, int V> DEVICE void bias_gelu(const Arguments &a)
{
    for_each_vector<V>(a, [&](long long row, long long column) {
        float x[V], bias[V];
        const long long at = row * a.width + column;
        load<T, V>(x, a.x, at);
        load<T, V>(bias, a.second, column);
#pragma unroll
        for (int i = 0; i < V; i++)
            x[i] = gelu_tanh(x[i] + bias[i]);
        store<T, V>(a.y, at, x);
    });
}

template <typename T, int V> DEVICE void gated_gelu(const Arguments &a)
{
    for_each_vector<V>(a, [&](long long row, long long column) {
        float x[V], gate[V];
        const long long at = row * a.width + column;
        load<T, V>(x, a.x, at + row * a.width);
        load<T, V>(gate, a.x, at + (row + 1) * a.width);
#pragma unroll
        for (int i = 0; i < V; i++)
            x[i] = gelu_exact(x[i]) * gate[i];
        store<T, V>(a.y, at, x);
    });
}

// x and y of type R, the branch and its bias of type T.
template <typename R, typename T, int V> DEVICE void residual(const Arguments &a)
{
    for_each_vector<V>(a, [&](long long row, long long column) {
        float x[V], branch[V], bias[V];
        const long long at = row * a.width + column;
        load<R, V>(x, a.x, at);
        load<T, V>(branch, a.second, at);
        load<T, V>(bias, a.third, column);
#pragma unroll
        for (int i = 0; i < V; i++)
            x[i] += branch[i] + bias[i];
        store<R, V>(a.y, at, x);
    });
}

DEVICE float sum_of_warp(float x)
{
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, lanes);
    return x;
}

// x of type X; weight, bias and y of type T. The row is read three times, twice from the cache: the variance about
// the mean does not cancel as the difference of two moments does.
template <typename X, typename T, int V> DEVICE void layer_norm(const Arguments &a)
{
    const int lane = threadIdx.x % 32;
    const long long warps = static_cast<long long>(gridDim.x) * (blockDim.x / 32);
    const long long first = static_cast<long long>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
    for (long long row = first; row < a.rows; row += warps) {
        const long long begin = row * a.width;
        float x[V], sum = 0;
        for (long long c = lane * V; c < a.width; c += 32 * V) {
            load<X, V>(x, a.x, begin + c);
#pragma unroll
            for (int i = 0; i < V; i++)
                sum += x[i];
        }
        const float mean = sum_of_warp(sum) / a.width;
        float squares = 0;
        for (long long c = lane * V; c < a.width; c += 32 * V) {
            load<X, V>(x, a.x, begin + c);
#pragma unroll
            for (int i = 0; i < V; i++)
                squares += (x[i] - mean) * (x[i] - mean);
        }
        const float scale = 1.0f / sqrtf(sum_of_warp(squares) / a.width + a.parameter);
        for (long long c = lane * V; c < a.width; c += 32 * V) {
            float weight[V], bias[V];
            load<X, V>(x, a.x, begin + c);
            load<T, V>(weight, a.second, c);
            load<T, V>(bias, a.third, c);
#pragma unroll
            for (int i = 0; i < V; i++)
                x[i] = (x[i] - mean) * scale * weight[i] + bias[i];
            store<T, V>(a.y, begin + c, x);
        }
    }
}

// Calls body(row, column) for vectors of long rows, whose number is the second dimension of the grid.
template <int V, typename Body> DEVICE void for_each_vector_of_rows(const Arguments &a, Body body)
{
    const long long first = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) * V;
    const long long step = static_cast<long long>(gridDim.x) * blockDim.x * V;
    for (long long row = blockIdx.y; row < a.rows; row += gridDim.y)
        for (long long column = first; column < a.width; column += step)
            body(row, column);
}

template <typename T, int V> DEVICE void channel_bias(const Arguments &a)
{
    for_each_vector_of_rows<V>(a, [&](long long row, long long column) {
        float x[V];
        const float bias = as_float(static_cast<const T *>(a.second)[row % a.channels]);
        const long long at = row * a.width + column;
        load<T, V>(x, a.x, at);
#pragma unroll
        for (int i = 0; i < V; i++)
            x[i] += bias;
        store<T, V>(a.y, at, x);
    });
}

template <typename T, int V> DEVICE void sine(const Arguments &a)
{
    for_each_vector_of_rows<V>(a, [&](long long row, long long column) {
        float x[V];
        const float bias = as_float(static_cast<const T *>(a.second)[row % a.channels]);
        const long long at = row * a.width + column;
        load<T, V>(x, a.x, at);
#pragma unroll
        for (int i = 0; i < V; i++)
            x[i] = sinf(x[i] + bias);
        store<T, V>(a.y, at, x);
    });
}

template <typename T, int V> DEVICE void decay(const Arguments &a)
{
    for_each_vector_of_rows<V>(a, [&](long long row, long long column) {
        float x[V], time[V];
        const float rate = fabsf(as_float(static_cast<const T *>(a.second)[row]));
        const long long at = row * a.width + column;
        load<T, V>(x, a.x, at);
        load<T, V>(time, a.third, column);
#pragma unroll
        for (int i = 0; i < V; i++)
            x[i] *= expf(-rate * time[i]) + a.parameter;
        store<T, V>(a.y, at, x);
    });
}

// A thread for each sample.
template <typename T, int V> DEVICE void leading(const Arguments &a)
{
    const long long each = min((long long)a.leading, a.width), step = static_cast<long long>(gridDim.x) * blockDim.x;
    for (long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; i < a.rows * each; i += step) {
        const long long row = i / each, column = i % each;
        float x[1];
        load<T, 1>(x, a.x, row * a.width + column);
        x[0] -= static_cast<const float *>(a.second)[row % a.channels * a.leading + column];
        store<T, 1>(a.y, row * a.width + column, x);
    }
}

#define KERNEL(OPERATION, NAME, V, ...)                                                                \
    extern "C" __global__ void __launch_bounds__(256)                                                  \
        pointwise_##OPERATION##_##NAME##_by_##V(const __grid_constant__ Arguments a)                   \
    {                                                                                                  \
        OPERATION<__VA_ARGS__, V>(a);                                                                  \
    }
#define VECTORS(OPERATION, NAME, ...)                                                                  \
    KERNEL(OPERATION, NAME, 1, __VA_ARGS__)                                                            \
    KERNEL(OPERATION, NAME, 2, __VA_ARGS__)                                                            \
    KERNEL(OPERATION, NAME, 4, __VA_ARGS__)                                                            \
    KERNEL(OPERATION, NAME, 8, __VA_ARGS__)
#define ONE_TYPE(OPERATION)                                                                            \
    VECTORS(OPERATION, f32, float)                                                                     \
    VECTORS(OPERATION, f16, __half)                                                                    \
    VECTORS(OPERATION, bf16, __nv_bfloat16)
// From the residual stream's type to that of the branches.
#define TWO_TYPES(OPERATION)                                                                           \
    VECTORS(OPERATION, f32_f32, float, float)                                                          \
    VECTORS(OPERATION, f32_f16, float, __half)                                                         \
    VECTORS(OPERATION, f32_bf16, float, __nv_bfloat16)                                                 \
    VECTORS(OPERATION, f16_f16, __half, __half)                                                        \
    VECTORS(OPERATION, bf16_bf16, __nv_bfloat16, __nv_bfloat16)

ONE_TYPE(bias_gelu)
ONE_TYPE(gated_gelu)
ONE_TYPE(channel_bias)
TWO_TYPES(residual)
TWO_TYPES(layer_norm)
VECTORS(sine, f32, float)
VECTORS(decay, f32, float)
// The edge is f32.
KERNEL(leading, f32_f32, 1, float)
KERNEL(leading, f16_f32, 1, __half)
KERNEL(leading, bf16_f32, 1, __nv_bfloat16)
