#include "depthwise_kernels.cuh"

DEPTHWISE_UNIT_MOMENTS(__half, f16)
