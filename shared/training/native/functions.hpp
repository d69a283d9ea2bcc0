// What generated code may call. On x86 with glibc 2.35 or later its vector variants (libmvec) serve whole vectors.
#pragma once

#include <cmath>

using real = REAL;

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#if __GLIBC_PREREQ(2, 35)
#define VECTORISED __attribute__((simd("notinbranch")))
#endif
#endif
#ifndef VECTORISED
#define VECTORISED
#endif

#define FUNCTION(name)                                    \
    extern "C" VECTORISED float name##f(float) noexcept;  \
    extern "C" VECTORISED double name(double) noexcept;   \
    inline float name##_(float x) { return name##f(x); }  \
    inline double name##_(double x) { return ::name(x); }

FUNCTION(asinh)
FUNCTION(atan)
FUNCTION(cos)
FUNCTION(cosh)
FUNCTION(erf)
FUNCTION(exp)
FUNCTION(expm1)
FUNCTION(log)
FUNCTION(log1p)
FUNCTION(sin)
FUNCTION(sinh)
FUNCTION(tanh)

inline real sign_(real x) { return real(x > 0) - real(x < 0); }
// What is not a number passes through, as in torch.
inline real greatest(real x, real bound) { return x < bound ? bound : x; }
inline real least(real x, real bound) { return x > bound ? bound : x; }
