// What warps of a block need that do different work. Barriers in shared memory, of which they tell one another how far they
// are: whoever arrives goes on, and only those wait that need what the others have done.
#pragma once
#include "word.cuh"

DEVICE void barrier_create(Word barrier, int arrivals) { asm volatile("mbarrier.init.shared::cta.b64 [%0],%1;" ::"r"(barrier), "r"(arrivals) : "memory"); }
DEVICE void barrier_arrive(Word barrier)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _,[%0];" ::"r"(barrier) : "memory");
}
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
#define WAIT_FOR_PHASE "try_wait"
#else
#define WAIT_FOR_PHASE "test_wait"
#endif
// Waits for the end of a phase, the first of which has parity 0.
DEVICE void barrier_wait(Word barrier, Word parity)
{
    asm volatile("{\n.reg .pred done;\nAGAIN: mbarrier." WAIT_FOR_PHASE ".parity.shared::cta.b64 done,[%0],%1;\n"
                 "@!done bra AGAIN;\n}" ::"r"(barrier),
                 "r"(parity)
                 : "memory");
}

// Waits for all threads of `warps` warps, which take part in barrier NUMBER of the block.
template <int NUMBER> DEVICE void barrier_of_warps(int warps)
{
    asm volatile("bar.sync %0,%1;" ::"n"(NUMBER), "r"(32 * warps) : "memory");
}

// Registers of each thread from here on, by all warps of four neighbouring ones: fewer first, for others that wait until there
// are more. COUNT: a multiple of 8. PTX with the instruction runs on the one compute capability that it is made for. nvcc, which
// compiles for later ones too, refuses it: build/ptx.rs takes the mark of a comment away. On others threads keep what they have.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ == 900
template <int COUNT> DEVICE void fewer_registers() { asm volatile("//alone: setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(COUNT)); }
template <int COUNT> DEVICE void more_registers() { asm volatile("//alone: setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(COUNT)); }
#else
template <int COUNT> DEVICE void fewer_registers() {}
template <int COUNT> DEVICE void more_registers() {}
#endif
