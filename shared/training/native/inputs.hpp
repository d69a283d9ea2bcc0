// From stored rows to the network's input.
#pragma once

#include <cstdint>

#include "layers.hpp"

// One axis of a bilinear resize: each output pixel mixes two stored ones.
struct Mix {
    std::int32_t first, second;
    double first_share, second_share;
};

struct Rows {  // features of type `real`, or grey images of bytes that are scaled and resized
    const void* data;
    const std::int64_t* order;  // row of each example; null: as they are stored
};

class Input : public Layer {
public:
    Input() : Layer(nullptr) {}
    virtual void prepare(Rows rows, long first_row, Range range) = 0;
    void forward(Range) override {}
    void backward(Range) override {}

protected:
    static long index(Rows rows, long at) { return rows.order == nullptr ? at : long(rows.order[at]); }
};

class FeatureInput : public Input {
public:
    void prepare(Rows rows, long first_row, Range range) override {
        const long length = output.shape.channels;
        for (long b = range.first; b < range.end; b++)
            std::copy_n(static_cast<const real*>(rows.data) + index(rows, first_row + b) * length, length,
                        output.line(b));
    }
};

class ImageInput : public Input {
public:
    ImageInput(Shape shape, long stored_size, double scale, double offset, const Mix* mixes)
        : shape(shape), stored_size(stored_size), scale(real(scale)), offset(real(offset)),
          mixes(mixes, mixes + shape.height), wide(stored_size * shape.width) {}

    void prepare(Rows rows, long first_row, Range range) override {
        for (long b = range.first; b < range.end; b++) {
            const auto* bytes = static_cast<const std::uint8_t*>(rows.data);
            widen(bytes + index(rows, first_row + b) * stored_size * stored_size);
            for (long y = 0; y < shape.height; y++) {
                const Mix& mix = mixes[y];
                const real *above = &wide[mix.first * shape.width], *below = &wide[mix.second * shape.width];
                real* line = output.line(b, y);
                for (long x = 0; x < shape.width; x++)
                    line[x] = real(mix.first_share) * above[x] + real(mix.second_share) * below[x];
            }
        }
    }

private:
    Shape shape;
    long stored_size;
    real scale, offset;
    std::vector<Mix> mixes;
    std::vector<real> wide;  // the stored lines, already as wide as the input

    void widen(const std::uint8_t* bytes) {
        for (long y = 0; y < stored_size; y++, bytes += stored_size)
            for (long x = 0; x < shape.width; x++)
                wide[y * shape.width + x] = offset + scale * (real(mixes[x].first_share) * bytes[mixes[x].first] +
                                                              real(mixes[x].second_share) * bytes[mixes[x].second]);
    }
};
