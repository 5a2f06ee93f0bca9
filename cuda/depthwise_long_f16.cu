#include "depthwise_many_taps.cuh"

DEPTHWISE_LONG(__half, f16)
DEPTHWISE_TOEPLITZ(__half, f16)
