// Fibers: stacks between which a thread of the operating system switches, in a dozen instructions.
#pragma once
#include "platform.hpp"
#include "types.hpp"
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

namespace emulator {

// Kernels have small frames: the compiler refuses larger ones (-Wframe-larger-than, compiler.py). An odd number of
// cache lines, because stacks that are a power of two apart would share the same few lines of the cache.
constexpr size_t STACK_BYTES = (1024 + 17) * 64;

// Save the callee-saved registers on the stack, store the stack pointer in *save, go on where `stack` was saved.
extern "C" __attribute__((visibility("hidden"))) void emulator_switch(void** save, void* stack);

#if defined(__x86_64__)
constexpr size_t SAVED_WORDS = 6; // rbp, rbx, r12 to r15; the return address follows
asm(".text\n.globl " EMULATOR_SYMBOL("emulator_switch") "\n" EMULATOR_SYMBOL("emulator_switch") ":\n"
    "pushq %rbp\n pushq %rbx\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
    "movq %rsp, (%rdi)\n"
    "movq %rsi, %rsp\n"
    "popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbx\n popq %rbp\n"
    "retq\n");
constexpr size_t RETURN_WORD = SAVED_WORDS;
#elif defined(__aarch64__)
constexpr size_t SAVED_WORDS = 20; // x19 to x30 (x30 is the return address), d8 to d15
asm(".text\n.globl " EMULATOR_SYMBOL("emulator_switch") "\n" EMULATOR_SYMBOL("emulator_switch") ":\n"
    "sub sp, sp, #160\n"
    "stp x19, x20, [sp, #0]\n stp x21, x22, [sp, #16]\n stp x23, x24, [sp, #32]\n"
    "stp x25, x26, [sp, #48]\n stp x27, x28, [sp, #64]\n stp x29, x30, [sp, #80]\n"
    "stp d8, d9, [sp, #96]\n stp d10, d11, [sp, #112]\n stp d12, d13, [sp, #128]\n stp d14, d15, [sp, #144]\n"
    "mov x9, sp\n str x9, [x0]\n"
    "mov sp, x1\n"
    "ldp x19, x20, [sp, #0]\n ldp x21, x22, [sp, #16]\n ldp x23, x24, [sp, #32]\n"
    "ldp x25, x26, [sp, #48]\n ldp x27, x28, [sp, #64]\n ldp x29, x30, [sp, #80]\n"
    "ldp d8, d9, [sp, #96]\n ldp d10, d11, [sp, #112]\n ldp d12, d13, [sp, #128]\n ldp d14, d15, [sp, #144]\n"
    "add sp, sp, #160\n"
    "ret\n");
constexpr size_t RETURN_WORD = 11;
#else
#error "the emulator runs on x86-64 and aarch64 only"
#endif

// The stacks of one worker: `MOST_THREADS` of them, below each other, and an inaccessible page below the last. The
// system gives memory to those pages only that are touched.
inline void* map_stacks() {
    const size_t page = 64 * 1024; // the largest page of any of our systems
    void* memory = mmap(nullptr, page + MOST_THREADS * STACK_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANON | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return nullptr;
    mprotect(memory, page, PROT_NONE);
    return static_cast<char*>(memory) + page;
}

// Lay out stack `number` such that switching to it calls `start` (which must not return).
inline void* fresh_stack(void* stacks, unsigned number, void (*start)()) {
    char* const top = static_cast<char*>(stacks) + (number + 1) * STACK_BYTES;
    // At the entry of a function the stack pointer is 8 off a multiple of 16 on x86-64, where a call pushes 8 bytes.
    void** const saved = reinterpret_cast<void**>(top) - 2 * SAVED_WORDS;
    for (size_t word = 0; word < SAVED_WORDS; ++word) saved[word] = nullptr;
    saved[RETURN_WORD] = reinterpret_cast<void*>(start);
    return saved;
}

} // namespace emulator
