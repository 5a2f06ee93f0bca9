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
    int batch;
    int channels;
    int length;     // samples of a row; those from here to the size of the transform count as zeros
    int vectors;    // whether all rows begin at multiples of 16 bytes and hold whole vectors of 16 bytes
    int accumulate; // y += instead of y = (kernels in full precision only)
};

// One row. Its addresses are computed where they are used: kept, they would take registers that the transforms need.
template <typename T> struct Row {
    const Convolution &c;
    int batch, channel;

    __device__ __forceinline__ Row(const Convolution &c, int batch, int channel) : c(c), batch(batch), channel(channel) {}

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
