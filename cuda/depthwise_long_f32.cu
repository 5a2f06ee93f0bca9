#include "depthwise_many_taps.cuh"

DEPTHWISE_LONG(float, f32)
