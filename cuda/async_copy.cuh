// Copies from device memory to shared memory that go on while the thread computes.
#pragma once
#include "word.cuh"

DEVICE void copy_16_bytes(Word to, const void *from) { asm volatile("cp.async.cg.shared.global [%0],[%1],16;" ::"r"(to), "l"(from) : "memory"); }
// The first `bytes` of them, and zeros behind those. None are read for none; otherwise all 16 may be.
DEVICE void copy_bytes(Word to, const void *from, int bytes)
{
    asm volatile("cp.async.cg.shared.global [%0],[%1],16,%2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}
// All of them where `inside`, else zeros.
DEVICE void copy_16_bytes(Word to, const void *from, bool inside) { copy_bytes(to, from, inside ? 16 : 0); }
DEVICE void end_group_of_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits for this thread's groups of copies but the last COUNT.
template <int COUNT> DEVICE void wait_for_copies() { asm volatile("cp.async.wait_group %0;" ::"n"(COUNT) : "memory"); }
DEVICE void store_words(Word address, const Word (&w)[4])
{
    asm volatile("st.shared.v4.u32 [%0],{%1,%2,%3,%4};" ::"r"(address), "r"(w[0]), "r"(w[1]), "r"(w[2]), "r"(w[3]) : "memory");
}
DEVICE void load_words(Word (&w)[4], Word address)
{
    asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3},[%4];" : "=r"(w[0]), "=r"(w[1]), "=r"(w[2]), "=r"(w[3]) : "r"(address) : "memory");
}
DEVICE void store_shared(Word address, Word w) { asm volatile("st.shared.u32 [%0],%1;" ::"r"(address), "r"(w) : "memory"); }
DEVICE Word load_shared(Word address)
{
    Word w;
    asm volatile("ld.shared.u32 %0,[%1];" : "=r"(w) : "r"(address) : "memory");
    return w;
}
