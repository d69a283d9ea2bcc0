// Numbers by the vector: everything below is written once for AVX-512, AVX, NEON and SSE, float and double.
#pragma once

#include <cstddef>

using real = REAL;  // float or double, chosen when this is compiled

#if defined(__AVX512F__)
constexpr int vector_bytes = 64;
#elif defined(__AVX__)
constexpr int vector_bytes = 32;
#else
constexpr int vector_bytes = 16;
#endif

constexpr long lanes = vector_bytes / sizeof(real);

typedef real vec __attribute__((vector_size(vector_bytes)));
typedef real vec_in_memory __attribute__((vector_size(vector_bytes), aligned(sizeof(real)), may_alias));

inline vec load(const real* from) { return *reinterpret_cast<const vec_in_memory*>(from); }
inline void store(real* to, vec value) { *reinterpret_cast<vec_in_memory*>(to) = value; }
inline vec splat(real value) { return value - vec{}; }

// Rows are padded to the widest vectors there are, so that no loop needs a remainder and that weights saved by one
// processor fit another; the padding holds zeros or is never read.
constexpr long row_unit = 64 / sizeof(real);
constexpr long padded(long count) { return (count + row_unit - 1) / row_unit * row_unit; }
