// The one matrix product behind linear layers and convolutions, forward and backward.
#pragma once

#include <vector>

#include "vectors.hpp"

// Where the rows (or columns) of an operand start, counted in numbers. A table makes a convolution a matrix product
// without copying a pixel: each tap of the kernel is a column whose offset points into the image.
using Offsets = std::vector<long>;

inline Offsets evenly(long count, long stride) {
    Offsets offsets(count);
    for (long i = 0; i < count; i++) offsets[i] = i * stride;
    return offsets;
}

// Operands are single numbers or, in mixed precision, pairs of bfloat16 of which one instruction adds two products.
struct Single {
    using Element = real;
    using Vector = vec;
    static Vector load(const Element* from) { return ::load(from); }
    static Vector splat(Element value) { return ::splat(value); }
    static vec add_product(vec sum, Vector a, Vector b) { return sum + a * b; }
};

template <typename Number>
struct Left {  // element (i, k) is data[rows[i] + columns[k]]
    const typename Number::Element* data;
    const long* rows;
    const long* columns;
};

template <typename Number>
struct Right {  // row k starts at data + rows[k], `width` numbers, a multiple of `lanes`
    const typename Number::Element* data;
    const long* rows;
};

struct Result {  // row i starts at data + rows[i]
    real* data;
    const long* rows;
};

enum class Into { zeros, bias, itself };

// A block of the result stays in registers while it sums over the whole depth.
template <typename Number, int num_rows, int num_vectors>
inline void multiply_block(Left<Number> left, Right<Number> right, Result result, long depth, Into into,
                           const real* bias) {
    vec sum[num_rows][num_vectors];
    const typename Number::Element* row[num_rows];
    for (int i = 0; i < num_rows; i++) {
        row[i] = left.data + left.rows[i];
        const real* start = into == Into::bias ? bias : result.data + result.rows[i];
        for (int j = 0; j < num_vectors; j++) sum[i][j] = into == Into::zeros ? vec{} : load(start + j * lanes);
    }
    for (long k = 0; k < depth; k++) {
        const long column = left.columns[k];
        typename Number::Vector factor[num_vectors];
        for (int j = 0; j < num_vectors; j++) factor[j] = Number::load(right.data + right.rows[k] + j * lanes);
        for (int i = 0; i < num_rows; i++) {
            const auto value = Number::splat(row[i][column]);
            for (int j = 0; j < num_vectors; j++) sum[i][j] = Number::add_product(sum[i][j], value, factor[j]);
        }
    }
    for (int i = 0; i < num_rows; i++)
        for (int j = 0; j < num_vectors; j++) store(result.data + result.rows[i] + j * lanes, sum[i][j]);
}

// Sixteen sums and their operands fill the registers of AVX-512, eight those of everything smaller.
constexpr int block_rows = vector_bytes == 64 ? 8 : 4;
constexpr int block_vectors = 2;

// As many blocks of `num_rows` rows as fit, then smaller ones for the rest.
template <typename Number, int num_rows, int num_vectors>
inline void multiply_panel(Left<Number> left, Right<Number> right, Result result, long height, long depth, Into into,
                           const real* bias) {
    long i = 0;
    for (; i + num_rows <= height; i += num_rows, left.rows += num_rows, result.rows += num_rows)
        multiply_block<Number, num_rows, num_vectors>(left, right, result, depth, into, bias);
    if constexpr (num_rows > 1)
        if (i < height)
            multiply_panel<Number, num_rows / 2, num_vectors>(left, right, result, height - i, depth, into, bias);
}

// result (+)= left x right: `height` rows of `width` numbers (padded), summed over `depth`.
template <typename Number>
inline void multiply(Left<Number> left, Right<Number> right, Result result, long height, long width, long depth,
                     Into into, const real* bias = nullptr) {
    long j = 0;
    for (; j + block_vectors * lanes <= width; j += block_vectors * lanes)
        multiply_panel<Number, block_rows, block_vectors>(left, {right.data + j, right.rows},
                                                          {result.data + j, result.rows}, height, depth, into, bias + j);
    for (; j < width; j += lanes)
        multiply_panel<Number, block_rows, 1>(left, {right.data + j, right.rows}, {result.data + j, result.rows},
                                              height, depth, into, bias + j);
}
