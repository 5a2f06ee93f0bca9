#include "depthwise_forward.cuh"

DEPTHWISE_FORWARD(float, f32)
