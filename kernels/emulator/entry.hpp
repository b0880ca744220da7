// Entry points: how Python calls a kernel whose parameters it only knows at run time.
//
// For each kernel, Python appends `EMULATOR_ENTRY(name, launch bounds)` to the source. That exports a function which
// takes all arguments as an array of addresses, the launch bound, and the kernel's signature: for all parameters a
// letter `r` (pointer to const), `w` (pointer) or `s` (scalar), then for all of them NumPy's letter for the type.
#pragma once

namespace emulator {

template <class T> constexpr char type_letter = '?';
template <> constexpr char type_letter<float> = 'f';
template <> constexpr char type_letter<double> = 'd';
template <> constexpr char type_letter<signed char> = 'b';
template <> constexpr char type_letter<char> = 'b';
template <> constexpr char type_letter<unsigned char> = 'B';
template <> constexpr char type_letter<short> = 'h';
template <> constexpr char type_letter<unsigned short> = 'H';
template <> constexpr char type_letter<int> = 'i';
template <> constexpr char type_letter<unsigned> = 'I';
template <> constexpr char type_letter<long> = 'l';
template <> constexpr char type_letter<unsigned long> = 'L';
template <> constexpr char type_letter<long long> = 'q';
template <> constexpr char type_letter<unsigned long long> = 'Q';

template <class T> struct Parameter {
    static constexpr char kind = 's', type = type_letter<T>;
};
template <class T> struct Parameter<const T> : Parameter<T> {};
template <class T> struct Parameter<T*> {
    static constexpr char kind = 'w', type = type_letter<T>;
};
template <class T> struct Parameter<const T*> {
    static constexpr char kind = 'r', type = type_letter<T>;
};
template <class T> struct Parameter<T* __restrict__> : Parameter<T*> {};

// Count<3>::Type is Numbers<0, 1, 2> (std::index_sequence without its header).
template <int... i> struct Numbers {};
template <int n, int... i> struct Count : Count<n - 1, n - 1, i...> {};
template <int... i> struct Count<0, i...> {
    using Type = Numbers<i...>;
};

template <class... A> constexpr char signature_text[] = {Parameter<A>::kind..., Parameter<A>::type..., '\0'};

template <class... A> constexpr const char* signature(void (*)(A...)) { return signature_text<A...>; }

template <class... A, int... i>
__attribute__((no_sanitize("thread", "undefined"))) inline void call(
    void (*kernel)(A...), void* const* arguments, Numbers<i...>) {
    kernel(*static_cast<const A*>(arguments[i])...);
}

template <class... A>
__attribute__((no_sanitize("thread", "undefined"))) inline void call(
    void (*kernel)(A...), void* const* arguments) {
    call(kernel, arguments, typename Count<sizeof...(A)>::Type{});
}

// The first of the arguments of __launch_bounds__, which may be missing.
constexpr int launch_bound(int threads = MOST_THREADS, int = 0, int = 0) { return threads; }

} // namespace emulator

#define EMULATOR_ENTRY(name, ...)                                                                  \
    EMULATOR_EXPORT const char* emulator_signature_##name() { return emulator::signature(name); }  \
    EMULATOR_EXPORT int emulator_bound_##name() { return emulator::launch_bound(__VA_ARGS__); }    \
    EMULATOR_EXPORT __attribute__((no_sanitize("thread", "undefined"))) void emulator_call_##name( \
        void* const* arguments) {                                                                  \
        emulator::call(name, arguments);                                                           \
    }
