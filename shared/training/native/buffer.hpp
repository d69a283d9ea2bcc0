// Activations and their gradients: a batch of examples, each height x width pixels of some channels.
#pragma once

#include <algorithm>
#include <memory>
#include <new>

#include "vectors.hpp"

struct Range {  // examples of a batch
    long first, end;
    long size() const { return end - first; }
};

struct Shape {
    long height, width, channels;
    bool is_image() const { return height * width > 1; }
};

// Channels lie side by side. A border of zeros around each image is what a convolution with padding reads. A copy is
// another name for the same numbers.
class Buffer {
public:
    Shape shape{};
    long stride = 0;  // numbers from one pixel to the next
    long border = 0;

    Buffer() = default;
    Buffer(long num_examples, Shape shape, long stride, long border)
        : shape(shape), stride(stride), border(border), numbers_(allocate(num_examples * example_stride())) {}

    long line_stride() const { return (shape.width + 2 * border) * stride; }
    long example_stride() const { return (shape.height + 2 * border) * line_stride(); }
    long line_length() const { return shape.width * stride; }

    real* corner(long example) const { return numbers_.get() + example * example_stride(); }
    real* line(long example, long y = 0) const { return corner(example) + (y + border) * line_stride() + border * stride; }

private:
    using Numbers = std::shared_ptr<real[]>;

    static Numbers allocate(long count) {
        // Loads of pairs reach two vectors past the last number.
        const long size = padded(count) + 2 * lanes;
        Numbers numbers(new (std::align_val_t(64)) real[size],
                        [](real* start) { operator delete[](start, std::align_val_t(64)); });
        std::fill_n(numbers.get(), size, real(0));
        return numbers;
    }

    Numbers numbers_;
};

// Calls `action(length, pointer into each buffer)` for every stretch that is contiguous in all of them.
template <typename Action, typename... Buffers>
inline void each_stretch(Range range, Action action, const Buffer& like, const Buffers&... others) {
    if (like.border == 0 && (... && (others.border == 0))) {
        action(range.size() * like.example_stride(), like.line(range.first), others.line(range.first)...);
        return;
    }
    for (long example = range.first; example < range.end; example++)
        for (long y = 0; y < like.shape.height; y++)
            action(like.line_length(), like.line(example, y), others.line(example, y)...);
}
