// The kernels of the short convolution for one element type, by name, as
// `src/cuda/depthwise/recipe/` makes it: taps (16: 9 to 16 of them; 32, 64, 128: at most so many) or,
// of units, how many of those an output takes its samples from; padding where it is known; channels
// of a thread or of a block; whether weights are split into two terms; where rows begin; activation. One file for each
// family, so that a GPU's driver compiles no more than is used.
#pragma once

#include "depthwise_frame_gradients.cuh"
#include "depthwise_frames.cuh"
#include "depthwise_loaded_frames.cuh"
#include "depthwise_long.cuh"
#include "depthwise_long_frame_gradients.cuh"
#include "depthwise_row_gradients.cuh"
#include "depthwise_toeplitz.cuh"
#include "depthwise_toeplitz_frames.cuh"
#include "depthwise_toeplitz_gradients.cuh"
#include "depthwise_unit_gradients.cuh"
#include "depthwise_unit_moments.cuh"
#include "depthwise_units.cuh"

// Channels-first, forward.

#define DEPTHWISE_ROWS_KERNEL(TYPE, NAME, TAPS, SUFFIX, ...)                                    \
    extern "C" __global__ void __launch_bounds__(128)                                           \
        depthwise_rows_##TAPS##SUFFIX##_##NAME(const __grid_constant__ Correlation c)           \
    {                                                                                           \
        correlate_rows<TYPE, TAPS, 2, __VA_ARGS__>(c);                                          \
    }

#define DEPTHWISE_ROWS_TAPS(TYPE, NAME, TAPS) DEPTHWISE_ROWS_KERNEL(TYPE, NAME, TAPS, , ANY_SHIFT)

#define DEPTHWISE_ROWS_CAUSAL(TYPE, NAME, TAPS)                                                 \
    DEPTHWISE_ROWS_KERNEL(TYPE, NAME, TAPS, _causal, SHIFT_OF<TYPE, 1 - TAPS>)

#define DEPTHWISE_ROWS_CENTRED(TYPE, NAME, TAPS)                                                \
    DEPTHWISE_ROWS_KERNEL(TYPE, NAME, TAPS, _centred, SHIFT_OF<TYPE, -(TAPS - 1) / 2>)

#define DEPTHWISE_ROWS(TYPE, NAME)                                                              \
    DEPTHWISE_ROWS_TAPS(TYPE, NAME, 1)                                                          \
    DEPTHWISE_ROWS_TAPS(TYPE, NAME, 2)                                                          \
    DEPTHWISE_ROWS_TAPS(TYPE, NAME, 3)                                                          \
    DEPTHWISE_ROWS_TAPS(TYPE, NAME, 4)                                                          \
    DEPTHWISE_ROWS_TAPS(TYPE, NAME, 5)                                                          \
    DEPTHWISE_ROWS_TAPS(TYPE, NAME, 6)                                                          \
    DEPTHWISE_ROWS_TAPS(TYPE, NAME, 7)                                                          \
    DEPTHWISE_ROWS_TAPS(TYPE, NAME, 8)                                                          \
    DEPTHWISE_ROWS_TAPS(TYPE, NAME, 16)                                                         \
    DEPTHWISE_ROWS_CAUSAL(TYPE, NAME, 3)                                                        \
    DEPTHWISE_ROWS_CAUSAL(TYPE, NAME, 4)                                                        \
    DEPTHWISE_ROWS_CAUSAL(TYPE, NAME, 5)                                                        \
    DEPTHWISE_ROWS_CENTRED(TYPE, NAME, 3)                                                       \
    DEPTHWISE_ROWS_CENTRED(TYPE, NAME, 5)

// Those of f32 alone: with 16 bits units are faster.
#define DEPTHWISE_MORE_ROWS(TYPE, NAME)                                                         \
    DEPTHWISE_ROWS_CAUSAL(TYPE, NAME, 6)                                                        \
    DEPTHWISE_ROWS_CAUSAL(TYPE, NAME, 7)                                                        \
    DEPTHWISE_ROWS_CAUSAL(TYPE, NAME, 8)                                                        \
    DEPTHWISE_ROWS_CENTRED(TYPE, NAME, 7)

#define DEPTHWISE_UNITS_KERNEL(TYPE, NAME, UNITS, SUFFIX, SPLIT, STARTS)                        \
    extern "C" __global__ void __launch_bounds__(32 * UNIT_WARPS)                               \
        depthwise_units_##UNITS##SUFFIX##_##NAME(const __grid_constant__ Correlation c)         \
    {                                                                                           \
        correlate_units<TYPE, UNITS, SPLIT, RowStarts::STARTS>(c);                              \
    }

#define DEPTHWISE_UNITS(TYPE, NAME)                                                             \
    DEPTHWISE_UNITS_KERNEL(TYPE, NAME, 2, , false, Aligned)                                     \
    DEPTHWISE_UNITS_KERNEL(TYPE, NAME, 2, _split, true, Aligned)                                \
    DEPTHWISE_UNITS_KERNEL(TYPE, NAME, 3, , false, Aligned)                                     \
    DEPTHWISE_UNITS_KERNEL(TYPE, NAME, 3, _split, true, Aligned)                                \
    DEPTHWISE_UNITS_KERNEL(TYPE, NAME, 2, _like_outputs, false, LikeOutputs)                    \
    DEPTHWISE_UNITS_KERNEL(TYPE, NAME, 2, _split_like_outputs, true, LikeOutputs)               \
    DEPTHWISE_UNITS_KERNEL(TYPE, NAME, 3, _like_outputs, false, LikeOutputs)                    \
    DEPTHWISE_UNITS_KERNEL(TYPE, NAME, 3, _split_like_outputs, true, LikeOutputs)

// Channels-last, forward. STAGES: tiles of a block; BLOCKS: how many a multiprocessor has at least.

#define DEPTHWISE_FRAMES_KERNEL(TYPE, NAME, TAPS, CHANNELS, STAGES, BLOCKS)                     \
    extern "C" __global__ void __launch_bounds__(TILE_THREADS *TILE_LINES, BLOCKS)              \
        depthwise_frames_##TAPS##_by_##CHANNELS##_##NAME(const __grid_constant__ Correlation c) \
    {                                                                                           \
        correlate_frames<TYPE, TAPS, CHANNELS, STAGES>(c);                                      \
    }

// CHANNELS: those of a thread, 8 bytes.
#define DEPTHWISE_FRAMES(TYPE, NAME, CHANNELS)                                                  \
    DEPTHWISE_FRAMES_KERNEL(TYPE, NAME, 1, 1, 1, 4)                                             \
    DEPTHWISE_FRAMES_KERNEL(TYPE, NAME, 2, 1, 1, 4)                                             \
    DEPTHWISE_FRAMES_KERNEL(TYPE, NAME, 3, 1, 1, 4)                                             \
    DEPTHWISE_FRAMES_KERNEL(TYPE, NAME, 4, 1, 1, 4)                                             \
    DEPTHWISE_FRAMES_KERNEL(TYPE, NAME, 5, 1, 1, 4)                                             \
    DEPTHWISE_FRAMES_KERNEL(TYPE, NAME, 6, 1, 1, 4)                                             \
    DEPTHWISE_FRAMES_KERNEL(TYPE, NAME, 7, 1, 1, 4)                                             \
    DEPTHWISE_FRAMES_KERNEL(TYPE, NAME, 8, 1, 1, 4)                                             \
    DEPTHWISE_FRAMES_KERNEL(TYPE, NAME, 16, 1, 1, 3)                                            \
    DEPTHWISE_FRAMES_KERNEL(TYPE, NAME, 1, CHANNELS, 1, 4)                                      \
    DEPTHWISE_FRAMES_KERNEL(TYPE, NAME, 2, CHANNELS, 1, 4)                                      \
    DEPTHWISE_FRAMES_KERNEL(TYPE, NAME, 3, CHANNELS, 1, 4)                                      \
    DEPTHWISE_FRAMES_KERNEL(TYPE, NAME, 4, CHANNELS, 1, 4)                                      \
    DEPTHWISE_FRAMES_KERNEL(TYPE, NAME, 5, CHANNELS, 2, 3)                                      \
    DEPTHWISE_FRAMES_KERNEL(TYPE, NAME, 6, CHANNELS, 2, 3)                                      \
    DEPTHWISE_FRAMES_KERNEL(TYPE, NAME, 7, CHANNELS, 2, 3)                                      \
    DEPTHWISE_FRAMES_KERNEL(TYPE, NAME, 8, CHANNELS, 2, 2)                                      \
    DEPTHWISE_FRAMES_KERNEL(TYPE, NAME, 16, 2, 1, 2)

// Channels-first, gradients.

#define DEPTHWISE_ROW_GRADIENTS_KERNEL(TYPE, NAME, TAPS, SUFFIX, SILU)                          \
    extern "C" __global__ void __launch_bounds__(256)                                           \
        depthwise_row_gradients_##TAPS##SUFFIX##_##NAME(const __grid_constant__ Gradient g)     \
    {                                                                                           \
        row_gradients<TYPE, TAPS, SILU>(g);                                                     \
    }

// Eight blocks a multiprocessor are enough: with more of them the compiler would spare registers.
#define DEPTHWISE_ALIGNED_ROW_GRADIENTS(TYPE, NAME, TAPS, SUFFIX, SILU, ...)                    \
    extern "C" __global__ void __launch_bounds__(32 * TILE_WARPS, 8)                            \
        depthwise_row_gradients_##TAPS##SUFFIX##_##NAME(const __grid_constant__ Gradient g)     \
    {                                                                                           \
        aligned_row_gradients<TYPE, TAPS, SILU, __VA_ARGS__>(g);                                \
    }

#define DEPTHWISE_ROW_GRADIENTS_TAPS(TYPE, NAME, TAPS)                                          \
    DEPTHWISE_ROW_GRADIENTS_KERNEL(TYPE, NAME, TAPS, , false)                                   \
    DEPTHWISE_ROW_GRADIENTS_KERNEL(TYPE, NAME, TAPS, _silu, true)

// The window of dy that dx takes begins at the same place.
#define DEPTHWISE_ROW_GRADIENTS_CAUSAL(TYPE, NAME, TAPS)                                        \
    DEPTHWISE_ALIGNED_ROW_GRADIENTS(TYPE, NAME, TAPS, _causal, false, 0)

#define DEPTHWISE_ROW_GRADIENTS_CAUSAL_SILU(TYPE, NAME, TAPS)                                   \
    DEPTHWISE_ALIGNED_ROW_GRADIENTS(TYPE, NAME, TAPS, _causal_silu, true, 0)

#define DEPTHWISE_ROW_GRADIENTS_CENTRED(TYPE, NAME, TAPS)                                       \
    DEPTHWISE_ALIGNED_ROW_GRADIENTS(TYPE, NAME, TAPS, _centred, false, SHIFT_OF<TYPE, -(TAPS - 1) / 2>)

#define DEPTHWISE_ROW_GRADIENTS(TYPE, NAME)                                                     \
    DEPTHWISE_ROW_GRADIENTS_TAPS(TYPE, NAME, 1)                                                 \
    DEPTHWISE_ROW_GRADIENTS_TAPS(TYPE, NAME, 2)                                                 \
    DEPTHWISE_ROW_GRADIENTS_TAPS(TYPE, NAME, 3)                                                 \
    DEPTHWISE_ROW_GRADIENTS_TAPS(TYPE, NAME, 4)                                                 \
    DEPTHWISE_ROW_GRADIENTS_TAPS(TYPE, NAME, 5)                                                 \
    DEPTHWISE_ROW_GRADIENTS_TAPS(TYPE, NAME, 6)                                                 \
    DEPTHWISE_ROW_GRADIENTS_TAPS(TYPE, NAME, 7)                                                 \
    DEPTHWISE_ROW_GRADIENTS_TAPS(TYPE, NAME, 8)                                                 \
    DEPTHWISE_ROW_GRADIENTS_TAPS(TYPE, NAME, 16)                                                \
    DEPTHWISE_ROW_GRADIENTS_CAUSAL_SILU(TYPE, NAME, 3)                                          \
    DEPTHWISE_ROW_GRADIENTS_CAUSAL_SILU(TYPE, NAME, 4)                                          \
    DEPTHWISE_ROW_GRADIENTS_CAUSAL_SILU(TYPE, NAME, 5)                                          \
    DEPTHWISE_ROW_GRADIENTS_CAUSAL_SILU(TYPE, NAME, 7)

// Those of f32 alone: with 16 bits units take all rows but the shortest.
#define DEPTHWISE_MORE_ROW_GRADIENTS(TYPE, NAME)                                                \
    DEPTHWISE_ROW_GRADIENTS_CAUSAL(TYPE, NAME, 3)                                               \
    DEPTHWISE_ROW_GRADIENTS_CAUSAL(TYPE, NAME, 4)                                               \
    DEPTHWISE_ROW_GRADIENTS_CAUSAL(TYPE, NAME, 5)                                               \
    DEPTHWISE_ROW_GRADIENTS_CAUSAL(TYPE, NAME, 7)                                               \
    DEPTHWISE_ROW_GRADIENTS_CENTRED(TYPE, NAME, 3)                                              \
    DEPTHWISE_ROW_GRADIENTS_CENTRED(TYPE, NAME, 5)                                              \
    DEPTHWISE_ROW_GRADIENTS_CENTRED(TYPE, NAME, 7)

#define DEPTHWISE_UNIT_GRADIENTS_KERNEL(TYPE, NAME, SUFFIX, SPLIT, STARTS, BLOCKS)              \
    extern "C" __global__ void __launch_bounds__(32 * UNIT_WARPS, BLOCKS)                       \
        depthwise_unit_gradients##SUFFIX##_##NAME(const __grid_constant__ Gradient g)           \
    {                                                                                           \
        unit_gradients<TYPE, SPLIT, RowStarts::STARTS>(g);                                      \
    }

#define DEPTHWISE_UNIT_GRADIENTS(TYPE, NAME)                                                    \
    DEPTHWISE_UNIT_GRADIENTS_KERNEL(TYPE, NAME, , false, Aligned, 8)                            \
    DEPTHWISE_UNIT_GRADIENTS_KERNEL(TYPE, NAME, _split, true, Aligned, 8)                       \
    DEPTHWISE_UNIT_GRADIENTS_KERNEL(TYPE, NAME, _like_outputs, false, LikeOutputs, 8)           \
    DEPTHWISE_UNIT_GRADIENTS_KERNEL(TYPE, NAME, _split_like_outputs, true, LikeOutputs, 8)

// Channels-last, gradients. BLOCKS: how many a multiprocessor has at least.

#define DEPTHWISE_FRAME_GRADIENTS_KERNEL(TYPE, NAME, TAPS, CHANNELS, SUFFIX, SILU, BLOCKS)      \
    extern "C" __global__ void __launch_bounds__(TILE_THREADS *TILE_LINES, BLOCKS)              \
        depthwise_frame_gradients_##TAPS##_by_##CHANNELS##SUFFIX##_##NAME(                      \
            const __grid_constant__ Gradient g)                                                 \
    {                                                                                           \
        frame_gradients<TYPE, TAPS, CHANNELS, SILU>(g);                                         \
    }

// CHANNELS and SILU_CHANNELS: those of a thread, without and with the activation.
#define DEPTHWISE_FRAME_GRADIENTS_TAPS(TYPE, NAME, TAPS, CHANNELS, SILU_CHANNELS, BLOCKS)       \
    DEPTHWISE_FRAME_GRADIENTS_KERNEL(TYPE, NAME, TAPS, 1, , false, 3)                           \
    DEPTHWISE_FRAME_GRADIENTS_KERNEL(TYPE, NAME, TAPS, 1, _silu, true, 3)                       \
    DEPTHWISE_FRAME_GRADIENTS_KERNEL(TYPE, NAME, TAPS, CHANNELS, , false, BLOCKS)               \
    DEPTHWISE_FRAME_GRADIENTS_KERNEL(TYPE, NAME, TAPS, SILU_CHANNELS, _silu, true, 2)

#define DEPTHWISE_FRAME_GRADIENTS(TYPE, NAME, CHANNELS)                                         \
    DEPTHWISE_FRAME_GRADIENTS_TAPS(TYPE, NAME, 1, CHANNELS, CHANNELS, 3)                        \
    DEPTHWISE_FRAME_GRADIENTS_TAPS(TYPE, NAME, 2, CHANNELS, CHANNELS, 3)                        \
    DEPTHWISE_FRAME_GRADIENTS_TAPS(TYPE, NAME, 3, CHANNELS, CHANNELS, 3)                        \
    DEPTHWISE_FRAME_GRADIENTS_TAPS(TYPE, NAME, 4, CHANNELS, CHANNELS, 2)                        \
    DEPTHWISE_FRAME_GRADIENTS_TAPS(TYPE, NAME, 5, CHANNELS, 2, 2)                               \
    DEPTHWISE_FRAME_GRADIENTS_TAPS(TYPE, NAME, 6, CHANNELS, 2, 2)                               \
    DEPTHWISE_FRAME_GRADIENTS_TAPS(TYPE, NAME, 7, CHANNELS, 2, 2)                               \
    DEPTHWISE_FRAME_GRADIENTS_TAPS(TYPE, NAME, 8, CHANNELS, 2, 2)

// More taps.

#define DEPTHWISE_LONG(TYPE, NAME)                                                              \
    extern "C" __global__ void __launch_bounds__(LONG_THREADS)                                  \
        depthwise_long_rows_##NAME(const __grid_constant__ Correlation c)                       \
    {                                                                                           \
        correlate_long_rows<TYPE>(c);                                                           \
    }

#define DEPTHWISE_LONG_GRADIENTS(TYPE, NAME)                                                    \
    extern "C" __global__ void __launch_bounds__(LONG_THREADS)                                  \
        depthwise_long_row_gradients_##NAME(const __grid_constant__ Gradient g)                 \
    {                                                                                           \
        long_row_gradients<TYPE>(g);                                                            \
    }

// The last arguments are the bounds of the launch: two terms and asynchronous copies are faster with all the registers
// that the compiler can use, one block a multiprocessor at least, the others with more blocks.
#define DEPTHWISE_TOEPLITZ_KERNEL(TYPE, NAME, TAPS, SUFFIX, SPLIT, STARTS, ...)                 \
    extern "C" __global__ void __launch_bounds__(__VA_ARGS__)                                   \
        depthwise_toeplitz_##TAPS##SUFFIX##_##NAME(const __grid_constant__ Correlation c)       \
    {                                                                                           \
        correlate_toeplitz<TYPE, TAPS, SPLIT, RowStarts::STARTS>(c);                            \
    }

#define DEPTHWISE_TOEPLITZ_TAPS(TYPE, NAME, TAPS)                                               \
    DEPTHWISE_TOEPLITZ_KERNEL(TYPE, NAME, TAPS, , false, Any, 32 * TOEPLITZ_WARPS)              \
    DEPTHWISE_TOEPLITZ_KERNEL(TYPE, NAME, TAPS, _split, true, Any, 32 * TOEPLITZ_WARPS)         \
    DEPTHWISE_TOEPLITZ_KERNEL(TYPE, NAME, TAPS, _aligned, false, Aligned, 32 * TOEPLITZ_WARPS)  \
    DEPTHWISE_TOEPLITZ_KERNEL(TYPE, NAME, TAPS, _split_aligned, true, Aligned, 32 * TOEPLITZ_WARPS, 1) \
    DEPTHWISE_TOEPLITZ_KERNEL(TYPE, NAME, TAPS, _like_outputs, false, LikeOutputs, 32 * TOEPLITZ_WARPS) \
    DEPTHWISE_TOEPLITZ_KERNEL(TYPE, NAME, TAPS, _split_like_outputs, true, LikeOutputs, 32 * TOEPLITZ_WARPS, 1)

#define DEPTHWISE_TOEPLITZ(TYPE, NAME)                                                          \
    DEPTHWISE_TOEPLITZ_TAPS(TYPE, NAME, 32)                                                     \
    DEPTHWISE_TOEPLITZ_TAPS(TYPE, NAME, 64)                                                     \
    DEPTHWISE_TOEPLITZ_TAPS(TYPE, NAME, 128)

#define DEPTHWISE_TOEPLITZ_GRADIENTS(TYPE, NAME)                                                \
    extern "C" __global__ void __launch_bounds__(GRADIENT_THREADS)                              \
        depthwise_toeplitz_row_gradients_##NAME(const __grid_constant__ Gradient g)             \
    {                                                                                           \
        toeplitz_row_gradients<TYPE>(g);                                                        \
    }

#define DEPTHWISE_UNIT_MOMENTS_KERNEL(TYPE, NAME, TAPS, SUFFIX, STARTS)                         \
    extern "C" __global__ void __launch_bounds__(32 * UNIT_WARPS, 8)                            \
        depthwise_unit_moments_##TAPS##SUFFIX##_##NAME(const __grid_constant__ Gradient g)      \
    {                                                                                           \
        unit_moments<TYPE, pairs_of_taps(TAPS), RowStarts::STARTS>(g);                          \
    }

#define DEPTHWISE_UNIT_MOMENTS(TYPE, NAME)                                                      \
    DEPTHWISE_UNIT_MOMENTS_KERNEL(TYPE, NAME, 32, , Aligned)                                    \
    DEPTHWISE_UNIT_MOMENTS_KERNEL(TYPE, NAME, 64, , Aligned)                                    \
    DEPTHWISE_UNIT_MOMENTS_KERNEL(TYPE, NAME, 128, , Aligned)                                   \
    DEPTHWISE_UNIT_MOMENTS_KERNEL(TYPE, NAME, 32, _like_outputs, LikeOutputs)                   \
    DEPTHWISE_UNIT_MOMENTS_KERNEL(TYPE, NAME, 64, _like_outputs, LikeOutputs)                   \
    DEPTHWISE_UNIT_MOMENTS_KERNEL(TYPE, NAME, 128, _like_outputs, LikeOutputs)

#define DEPTHWISE_LONG_FRAME_GRADIENTS_KERNEL(TYPE, NAME, TAPS, SUFFIX, SPLIT)                  \
    extern "C" __global__ void __launch_bounds__(32 * ROLES_WARPS, 1)                           \
        depthwise_long_frame_gradients_##TAPS##SUFFIX##_##NAME(const __grid_constant__ Gradient g) \
    {                                                                                           \
        long_frame_gradients<TYPE, TAPS, SPLIT>(g);                                             \
    }

#define DEPTHWISE_LONG_FRAME_GRADIENTS_TAPS(TYPE, NAME, TAPS)                                   \
    DEPTHWISE_LONG_FRAME_GRADIENTS_KERNEL(TYPE, NAME, TAPS, , false)                            \
    DEPTHWISE_LONG_FRAME_GRADIENTS_KERNEL(TYPE, NAME, TAPS, _split, true)

#define DEPTHWISE_LONG_FRAME_GRADIENTS(TYPE, NAME)                                              \
    DEPTHWISE_LONG_FRAME_GRADIENTS_TAPS(TYPE, NAME, 32)                                         \
    DEPTHWISE_LONG_FRAME_GRADIENTS_TAPS(TYPE, NAME, 64)                                         \
    DEPTHWISE_LONG_FRAME_GRADIENTS_TAPS(TYPE, NAME, 128)

// The last arguments: channels of a block, rounds of 512 outputs of an item, buffers of rows.
#define DEPTHWISE_TOEPLITZ_FRAMES_KERNEL(TYPE, NAME, TAPS, SUFFIX, SPLIT, ...)                  \
    extern "C" __global__ void __launch_bounds__(32 * FRAME_WARPS, 1)                           \
        depthwise_toeplitz_frames_##TAPS##SUFFIX##_##NAME(const __grid_constant__ Correlation c) \
    {                                                                                           \
        correlate_toeplitz_frames<TYPE, TAPS, SPLIT, __VA_ARGS__>(c);                           \
    }

// A warp has the taps of two channels in registers or, of two terms and of the small ones, those of one.
#define DEPTHWISE_TOEPLITZ_FRAMES_TAPS(TYPE, NAME, TAPS)                                        \
    DEPTHWISE_TOEPLITZ_FRAMES_KERNEL(TYPE, NAME, TAPS, , false, 32, 1, 3)                       \
    DEPTHWISE_TOEPLITZ_FRAMES_KERNEL(TYPE, NAME, TAPS, _split, true, 16, 2, 3)                  \
    DEPTHWISE_TOEPLITZ_FRAMES_KERNEL(TYPE, NAME, TAPS, _fewer, false, 32, 1, 2)                 \
    DEPTHWISE_TOEPLITZ_FRAMES_KERNEL(TYPE, NAME, TAPS, _split_fewer, true, 16, 2, 2)            \
    DEPTHWISE_TOEPLITZ_FRAMES_KERNEL(TYPE, NAME, TAPS, _small, false, 16, 1, 2)                 \
    DEPTHWISE_TOEPLITZ_FRAMES_KERNEL(TYPE, NAME, TAPS, _split_small, true, 16, 1, 2)

#define DEPTHWISE_TOEPLITZ_FRAMES(TYPE, NAME)                                                   \
    DEPTHWISE_TOEPLITZ_FRAMES_TAPS(TYPE, NAME, 32)                                              \
    DEPTHWISE_TOEPLITZ_FRAMES_TAPS(TYPE, NAME, 64)                                              \
    DEPTHWISE_TOEPLITZ_FRAMES_TAPS(TYPE, NAME, 128)

// For one compute capability: PTX that passes registers on runs on no other one, and without that they are slower than others.
#if __CUDA_ARCH__ == 900
#define DEPTHWISE_LOADED_FRAMES_KERNEL(TYPE, NAME, TAPS)                                        \
    extern "C" __global__ void __launch_bounds__(32 * ROLES_WARPS, 1)                           \
        depthwise_loaded_frames_##TAPS##_##NAME(const __grid_constant__ Correlation c)          \
    {                                                                                           \
        correlate_loaded_frames<TYPE, TAPS>(c);                                                 \
    }
#else
#define DEPTHWISE_LOADED_FRAMES_KERNEL(TYPE, NAME, TAPS)
#endif

#define DEPTHWISE_LOADED_FRAMES(TYPE, NAME)                                                     \
    DEPTHWISE_LOADED_FRAMES_KERNEL(TYPE, NAME, 32)                                              \
    DEPTHWISE_LOADED_FRAMES_KERNEL(TYPE, NAME, 64)                                              \
    DEPTHWISE_LOADED_FRAMES_KERNEL(TYPE, NAME, 128)
