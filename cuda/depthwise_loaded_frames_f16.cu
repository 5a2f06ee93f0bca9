#include "depthwise_kernels.cuh"

DEPTHWISE_LOADED_FRAMES(__half, f16)
