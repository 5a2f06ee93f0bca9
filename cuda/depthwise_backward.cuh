// The kernels of the backward pass for one element type, by name, as `src/cuda/depthwise/recipe.rs`
// makes it: taps (16: 9 to 16 of them), padding where it is known, channels of a thread, activation.
#pragma once

#include "depthwise_gradients.cuh"

#define DEPTHWISE_ROW_GRADIENTS(TYPE, NAME, TAPS, SUFFIX, SILU, ...)                            \
    extern "C" __global__ void __launch_bounds__(256)                                           \
        depthwise_row_gradients_##TAPS##SUFFIX##_##NAME(const __grid_constant__ Gradient g)     \
    {                                                                                           \
        row_gradients<TYPE, TAPS, SILU, __VA_ARGS__>(g);                                        \
    }

#define DEPTHWISE_ROW_GRADIENTS_CAUSAL(TYPE, NAME, TAPS)                                        \
    DEPTHWISE_ROW_GRADIENTS(TYPE, NAME, TAPS, _causal, false, 0)                                \
    DEPTHWISE_ROW_GRADIENTS(TYPE, NAME, TAPS, _causal_silu, true, 0)

#define DEPTHWISE_ROW_GRADIENTS_CENTRED(TYPE, NAME, TAPS)                                       \
    DEPTHWISE_ROW_GRADIENTS(TYPE, NAME, TAPS, _centred, false, SHIFT_OF<TYPE, -(TAPS - 1) / 2>) \
    DEPTHWISE_ROW_GRADIENTS(TYPE, NAME, TAPS, _centred_silu, true, SHIFT_OF<TYPE, -(TAPS - 1) / 2>)

#define DEPTHWISE_FRAME_GRADIENTS(TYPE, NAME, TAPS, CHANNELS)                                   \
    extern "C" __global__ void __launch_bounds__(256)                                           \
        depthwise_frame_gradients_##TAPS##_by_##CHANNELS##_##NAME(                              \
            const __grid_constant__ Gradient g)                                                 \
    {                                                                                           \
        frame_gradients<TYPE, TAPS, CHANNELS, false>(g);                                        \
    }                                                                                           \
    extern "C" __global__ void __launch_bounds__(256)                                           \
        depthwise_frame_gradients_##TAPS##_by_##CHANNELS##_silu_##NAME(                         \
            const __grid_constant__ Gradient g)                                                 \
    {                                                                                           \
        frame_gradients<TYPE, TAPS, CHANNELS, true>(g);                                         \
    }

#define DEPTHWISE_BACKWARD_TAPS(TYPE, NAME, TAPS)                                               \
    DEPTHWISE_ROW_GRADIENTS(TYPE, NAME, TAPS, , false, ANY_SHIFT)                               \
    DEPTHWISE_ROW_GRADIENTS(TYPE, NAME, TAPS, _silu, true, ANY_SHIFT)                           \
    DEPTHWISE_FRAME_GRADIENTS(TYPE, NAME, TAPS, 1)

#define DEPTHWISE_BACKWARD(TYPE, NAME)                                                          \
    DEPTHWISE_BACKWARD_TAPS(TYPE, NAME, 1)                                                      \
    DEPTHWISE_BACKWARD_TAPS(TYPE, NAME, 2)                                                      \
    DEPTHWISE_BACKWARD_TAPS(TYPE, NAME, 3)                                                      \
    DEPTHWISE_BACKWARD_TAPS(TYPE, NAME, 4)                                                      \
    DEPTHWISE_BACKWARD_TAPS(TYPE, NAME, 5)                                                      \
    DEPTHWISE_BACKWARD_TAPS(TYPE, NAME, 6)                                                      \
    DEPTHWISE_BACKWARD_TAPS(TYPE, NAME, 7)                                                      \
    DEPTHWISE_BACKWARD_TAPS(TYPE, NAME, 8)                                                      \
    DEPTHWISE_BACKWARD_TAPS(TYPE, NAME, 16)                                                     \
    DEPTHWISE_FRAME_GRADIENTS(TYPE, NAME, 1, 2)                                                 \
    DEPTHWISE_FRAME_GRADIENTS(TYPE, NAME, 2, 2)                                                 \
    DEPTHWISE_FRAME_GRADIENTS(TYPE, NAME, 3, 2)                                                 \
    DEPTHWISE_FRAME_GRADIENTS(TYPE, NAME, 4, 2)                                                 \
    DEPTHWISE_FRAME_GRADIENTS(TYPE, NAME, 5, 2)                                                 \
    DEPTHWISE_FRAME_GRADIENTS(TYPE, NAME, 6, 2)                                                 \
    DEPTHWISE_FRAME_GRADIENTS(TYPE, NAME, 7, 2)                                                 \
    DEPTHWISE_FRAME_GRADIENTS(TYPE, NAME, 8, 2)                                                 \
    DEPTHWISE_ROW_GRADIENTS_CAUSAL(TYPE, NAME, 3)                                               \
    DEPTHWISE_ROW_GRADIENTS_CAUSAL(TYPE, NAME, 4)                                               \
    DEPTHWISE_ROW_GRADIENTS_CAUSAL(TYPE, NAME, 5)                                               \
    DEPTHWISE_ROW_GRADIENTS_CAUSAL(TYPE, NAME, 7)                                               \
    DEPTHWISE_ROW_GRADIENTS_CENTRED(TYPE, NAME, 3)                                              \
    DEPTHWISE_ROW_GRADIENTS_CENTRED(TYPE, NAME, 5)                                              \
    DEPTHWISE_ROW_GRADIENTS_CENTRED(TYPE, NAME, 7)
