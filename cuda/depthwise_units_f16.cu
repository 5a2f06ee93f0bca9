#include "depthwise_kernels.cuh"

DEPTHWISE_UNITS(__half, f16)
