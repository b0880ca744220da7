// Instructions that CUDA C++ has no words for, with a twin in plain C++ for the emulator (emulator/ptx.hpp).
//
// Asynchronous copies, from global to shared memory without a register in between, exist from compute capability 8.0
// on. A thread begins copies, closes them as a group (an empty one counts too), and later waits for its older groups;
// other threads see what was copied after a barrier behind that. PTX ISA, "Data Movement and Conversion Instructions:
// Asynchronous copy" (cp.async).
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
constexpr bool ASYNC_COPIES = false;
#else
constexpr bool ASYNC_COPIES = true;
#endif

#ifdef __CUDACC__
// The compiler moves nothing across this: loads before it do not sink to where their values are needed.
__device__ inline void keep_order() { __syncwarp(); }

#if __CUDA_ARCH__ >= 800
// Begin to copy *source to *target, 4, 8 or 16 bytes; zeros if `source` is not to be read.
template <class T>
__device__ inline void copy_async(T* target, const T* source, bool reads) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 16, "sizes that can be copied");
    const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(target));
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(address), "l"(source), "n"(sizeof(T)),
                 "r"(reads ? static_cast<int>(sizeof(T)) : 0)
                 : "memory");
}
__device__ inline void close_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Wait until at most the `NEWEST` last groups of this thread are under way.
template <int NEWEST>
__device__ inline void wait_for_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(NEWEST) : "memory");
}
#else  // nobody begins a copy
__device__ inline void close_copies() {}
template <int NEWEST>
__device__ inline void wait_for_copies() {}
#endif
#endif
