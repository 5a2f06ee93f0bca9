// The kernels of the forward pass for one element type, by name, as `src/cuda/depthwise/recipe.rs`
// makes it: taps (16: 9 to 16 of them), padding where it is known, channels of a thread.
#pragma once

#include "depthwise_frames.cuh"
#include "depthwise_rows.cuh"

#define DEPTHWISE_ROWS(TYPE, NAME, TAPS, SUFFIX, ...)                                           \
    extern "C" __global__ void __launch_bounds__(128)                                           \
        depthwise_rows_##TAPS##SUFFIX##_##NAME(const __grid_constant__ Correlation c)           \
    {                                                                                           \
        correlate_rows<TYPE, TAPS, 2, __VA_ARGS__>(c);                                          \
    }

#define DEPTHWISE_ROWS_CAUSAL(TYPE, NAME, TAPS)                                                 \
    DEPTHWISE_ROWS(TYPE, NAME, TAPS, _causal, SHIFT_OF<TYPE, 1 - TAPS>)

#define DEPTHWISE_ROWS_CENTRED(TYPE, NAME, TAPS)                                                \
    DEPTHWISE_ROWS(TYPE, NAME, TAPS, _centred, SHIFT_OF<TYPE, -(TAPS - 1) / 2>)

#define DEPTHWISE_FRAMES(TYPE, NAME, TAPS, CHANNELS)                                            \
    extern "C" __global__ void __launch_bounds__(256)                                           \
        depthwise_frames_##TAPS##_by_##CHANNELS##_##NAME(const __grid_constant__ Correlation c) \
    {                                                                                           \
        correlate_frames<TYPE, TAPS, CHANNELS>(c);                                              \
    }

#define DEPTHWISE_FORWARD_TAPS(TYPE, NAME, TAPS, CHANNELS)                                      \
    DEPTHWISE_ROWS(TYPE, NAME, TAPS, , ANY_SHIFT)                                               \
    DEPTHWISE_FRAMES(TYPE, NAME, TAPS, CHANNELS)                                                \
    DEPTHWISE_FRAMES(TYPE, NAME, TAPS, 1)

#define DEPTHWISE_FORWARD(TYPE, NAME)                                                           \
    DEPTHWISE_FORWARD_TAPS(TYPE, NAME, 1, 4)                                                    \
    DEPTHWISE_FORWARD_TAPS(TYPE, NAME, 2, 4)                                                    \
    DEPTHWISE_FORWARD_TAPS(TYPE, NAME, 3, 4)                                                    \
    DEPTHWISE_FORWARD_TAPS(TYPE, NAME, 4, 4)                                                    \
    DEPTHWISE_FORWARD_TAPS(TYPE, NAME, 5, 2)                                                    \
    DEPTHWISE_FORWARD_TAPS(TYPE, NAME, 6, 2)                                                    \
    DEPTHWISE_FORWARD_TAPS(TYPE, NAME, 7, 2)                                                    \
    DEPTHWISE_FORWARD_TAPS(TYPE, NAME, 8, 2)                                                    \
    DEPTHWISE_FORWARD_TAPS(TYPE, NAME, 16, 2)                                                   \
    DEPTHWISE_ROWS_CAUSAL(TYPE, NAME, 3)                                                        \
    DEPTHWISE_ROWS_CAUSAL(TYPE, NAME, 4)                                                        \
    DEPTHWISE_ROWS_CAUSAL(TYPE, NAME, 5)                                                        \
    DEPTHWISE_ROWS_CAUSAL(TYPE, NAME, 7)                                                        \
    DEPTHWISE_ROWS_CENTRED(TYPE, NAME, 3)                                                       \
    DEPTHWISE_ROWS_CENTRED(TYPE, NAME, 5)                                                       \
    DEPTHWISE_ROWS_CENTRED(TYPE, NAME, 7)
