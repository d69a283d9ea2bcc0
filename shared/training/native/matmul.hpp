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

struct Left {  // element (i, k) is data[rows[i] + columns[k]]
    const real* data;
    const long* rows;
    const long* columns;
};

struct Right {  // row k starts at data + rows[k], `width` numbers, a multiple of `lanes`
    const real* data;
    const long* rows;
};

struct Result {  // row i starts at data + rows[i]
    real* data;
    const long* rows;
};

enum class Into { zeros, bias, itself };

// A block of the result stays in registers while it sums over the whole depth.
template <int num_rows, int num_vectors>
inline void multiply_block(Left left, Right right, Result result, long depth, Into into, const real* bias) {
    vec sum[num_rows][num_vectors];
    const real* row[num_rows];
    for (int i = 0; i < num_rows; i++) {
        row[i] = left.data + left.rows[i];
        for (int j = 0; j < num_vectors; j++) {
            const real* start = into == Into::bias ? bias : result.data + result.rows[i];
            sum[i][j] = into == Into::zeros ? vec{} : load(start + j * lanes);
        }
    }
    for (long k = 0; k < depth; k++) {
        const long column = left.columns[k];
        vec factor[num_vectors];
        for (int j = 0; j < num_vectors; j++) factor[j] = load(right.data + right.rows[k] + j * lanes);
        for (int i = 0; i < num_rows; i++)
            for (int j = 0; j < num_vectors; j++) sum[i][j] += splat(row[i][column]) * factor[j];
    }
    for (int i = 0; i < num_rows; i++)
        for (int j = 0; j < num_vectors; j++) store(result.data + result.rows[i] + j * lanes, sum[i][j]);
}

// Sixteen sums and their operands fill the registers of AVX-512, eight those of everything smaller.
constexpr int block_rows = vector_bytes == 64 ? 8 : 4;
constexpr int block_vectors = 2;

template <int num_vectors>
inline void multiply_panel(Left left, Right right, Result result, long height, long depth, Into into,
                           const real* bias) {
    long i = 0;
    for (; i + block_rows <= height; i += block_rows, left.rows += block_rows, result.rows += block_rows)
        multiply_block<block_rows, num_vectors>(left, right, result, depth, into, bias);
    for (; i < height; i++, left.rows++, result.rows++)
        multiply_block<1, num_vectors>(left, right, result, depth, into, bias);
}

// result (+)= left x right: `height` rows of `width` numbers (padded), summed over `depth`.
inline void multiply(Left left, Right right, Result result, long height, long width, long depth, Into into,
                     const real* bias = nullptr) {
    const long panel = block_vectors * lanes;
    long j = 0;
    for (; j + panel <= width; j += panel)
        multiply_panel<block_vectors>(left, {right.data + j, right.rows}, {result.data + j, result.rows}, height,
                                      depth, into, bias + j);
    for (; j < width; j += lanes)
        multiply_panel<1>(left, {right.data + j, right.rows}, {result.data + j, result.rows}, height, depth, into,
                          bias + j);
}
