// Where the frequencies of a spectrum in f16 lie: in the order in which the threads of a convolution hold them.
#pragma once
#include "fft_f32.cuh"

// Layout of one (channel, kX): which frequency word `index` of M/2 real words holds in
// its low half (that of the high half is 16 further), where it and its imaginary twin lie.
template <int NY, int R> struct Layout {
    int frequency, real_word, imaginary_word;

    FFT_INLINE explicit Layout(int index)
    {
        constexpr int Q = NY / 4;                // units of 8 by 8 frequencies
        constexpr int VECTOR = R >= 4 ? 4 : R;   // words of one lane side by side
        int lane, q, j;
        if constexpr (R == 1 && NY == 8) {
            q = index % Q, lane = index / Q, j = 0;
            real_word = lane * 2 * Q + q;
            imaginary_word = real_word + Q;
        } else if constexpr (R == 1) {
            q = index % Q, lane = index / Q, j = 0;
            real_word = index;
            imaginary_word = real_word + 32 * Q;
        } else if constexpr (R == 2) {
            j = index % 2, lane = index / 2 % 32, q = index / 64;
            real_word = (q * 32 + lane) * 4 + j;
            imaginary_word = real_word + 2;
        } else {
            const int m = index % VECTOR, i = index / (32 * VECTOR) % (R / VECTOR);
            lane = index / VECTOR % 32;
            q = index / (32 * R);
            j = VECTOR * i + m;
            real_word = (((q * (R / VECTOR) + i) * 2) * 32 + lane) * VECTOR + m;
            imaginary_word = real_word + 32 * VECTOR;
        }
        const int row = (lane >> 2) + 8 * (q & 1);
        const int column = 2 * (lane & 3) + 8 * (q >> 1);
        // R is at most 16.
        const int reversed = R == 1 ? 0 : int(__brev(unsigned(j)) >> (32 - fft::log2(R)));
        frequency = row + 16 * column + 16 * NY * reversed;
    }
};
