#include "depthwise_forward.cuh"

DEPTHWISE_FORWARD(__half, f16)
