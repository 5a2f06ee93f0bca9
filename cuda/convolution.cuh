// The arguments of every long-convolution kernel. `src/cuda/conv/arguments.rs` declares the same structures.
#pragma once

// Rows (batch, channel) of consecutive samples; strides in samples.
struct Sequence {
    const void *data;
    long long batch_stride;
    long long channel_stride;
};

// y = out_gate * ((in_gate * u) convolved with the kernel of the channel), for every row.
struct Convolution {
    Sequence u;
    Sequence in_gate;
    Sequence out_gate;
    void *y;
    long long y_batch_stride;
    long long y_channel_stride;
    const void *spectrum; // of all channels, in the order in which the kernel reads it
    const float *unscale; // for each channel the power of two by which its spectrum was divided
    const void *tables;   // DFT matrices and twiddles, in the order in which the kernel reads them
    int batch;      // times the pieces of a row
    int channels;
    int length;     // samples of a row; those before its first and from here on count as zeros
    int vectors;    // whether all rows begin at multiples of 16 bytes and hold whole vectors of 16 bytes
    int accumulate; // y += instead of y = (kernels in full precision only)
    int pieces;     // that each row is cut into, which kernels take as they take rows
    int step;       // outputs of a piece; more than there are where rows are not cut
    int before;     // samples of a piece before that of its first output: the lags of its kernel are as much less
};

// Where the samples of a transform lie in a row: number n is sample origin + n, if 0 <= origin + n < end.
struct Part {
    int origin, end;

    __device__ __forceinline__ bool holds(int n) const { return (unsigned)(origin + n) < (unsigned)end; }
};

// One row, or a piece of it. Its addresses are computed where they are used: kept, they would take registers that the transforms need.
template <typename T> struct Row {
    const Convolution &c;
    int batch, channel, piece;

    __device__ __forceinline__ Row(const Convolution &c, int batch, int channel, int piece = 0)
        : c(c), batch(batch), channel(channel), piece(piece)
    {
    }
    // By the number of a piece among those of all batch items.
    static __device__ __forceinline__ Row of_piece(const Convolution &c, int number, int channel)
    {
        if (c.pieces == 1)
            return Row(c, number, channel);
        const int batch = number / c.pieces;
        return Row(c, batch, channel, number - batch * c.pieces);
    }

    // Of u and in_gate, and of out_gate and y.
    __device__ __forceinline__ Part inputs() const { return {piece * c.step - c.before, c.length}; }
    __device__ __forceinline__ Part outputs() const { return outputs(c.length); }
    __device__ __forceinline__ Part outputs(int length) const
    {
        return {piece * c.step, min(length, (piece + 1) * c.step)};
    }

    __device__ __forceinline__ const T *in(const Sequence &s) const
    {
        return static_cast<const T *>(s.data) + batch * s.batch_stride + channel * s.channel_stride;
    }
    __device__ __forceinline__ const T *u() const { return in(c.u); }
    __device__ __forceinline__ const T *in_gate() const { return in(c.in_gate); }
    __device__ __forceinline__ const T *out_gate() const { return in(c.out_gate); }
    __device__ __forceinline__ T *y() const
    {
        return static_cast<T *>(c.y) + batch * c.y_batch_stride + channel * c.y_channel_stride;
    }
};
