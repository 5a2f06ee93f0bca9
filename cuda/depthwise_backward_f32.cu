#include "depthwise_backward.cuh"

DEPTHWISE_BACKWARD(float, f32)
