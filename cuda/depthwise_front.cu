#include "depthwise_front.cuh"

// By name, as `src/cuda/depthwise/recipe/front.rs` makes it. Not for f16, whose range the product can leave: the long
// convolution scales it before it rounds it.
#define DEPTHWISE_FRONT(TYPE, NAME)                                                             \
    extern "C" __global__ void __launch_bounds__(FRONT_THREADS)                                 \
        depthwise_front_##NAME(const __grid_constant__ GatedFront f)                            \
    {                                                                                           \
        gated_front<TYPE>(f);                                                                   \
    }

DEPTHWISE_FRONT(float, f32)
DEPTHWISE_FRONT(__nv_bfloat16, bf16)
