// Layers of convolutional networks.
#pragma once

#include "layers.hpp"

// Offsets of what a kernel sees, from its upper left pixel; the image has `line` pixels a line.
inline Offsets window(long kernel, long line, long pixel_stride, long num_channels) {
    Offsets offsets;
    for (long y = 0; y < kernel; y++)
        for (long x = 0; x < kernel; x++)
            for (long c = 0; c < num_channels; c++) offsets.push_back((y * line + x) * pixel_stride + c);
    return offsets;
}

// Offsets of the pixels of a shape within an image, `step` pixels apart, `border` pixels from its corner.
inline Offsets grid(Shape shape, long step, long line_stride, long pixel_stride, long border = 0) {
    Offsets offsets;
    for (long y = 0; y < shape.height; y++)
        for (long x = 0; x < shape.width; x++)
            offsets.push_back((border + y * step) * line_stride + (border + x * step) * pixel_stride);
    return offsets;
}

// Kernels turned by half a circle, channels in and out exchanged.
inline void turn_kernels(const real* weights, real* turned, long num_pixels, long num_in, long num_out, long width,
                         long width_in) {
    for (long t = 0; t < num_pixels; t++)
        for (long i = 0; i < num_in; i++)
            for (long o = 0; o < num_out; o++)
                turned[((num_pixels - 1 - t) * num_out + o) * width_in + i] = weights[(t * num_in + i) * width + o];
}

// A square convolution as a matrix product over offset tables: no pixel is copied. Backward to the images it is the
// convolution of the gradients with the turned kernels, so only steps of one pixel can be followed there.
class Conv2d : public Layer {
public:
    Conv2d(Layer* before, Shape in, Shape out, long kernel, long step, long padding, long weight, long bias)
        : Layer(before), in(in), out(out), kernel(kernel), step(step), padding(padding), weight(weight), bias(bias),
          width(padded(out.channels)), width_in(padded(in.channels)), num_taps(kernel * kernel * in.channels),
          num_taps_back(kernel * kernel * out.channels), rows(evenly(num_taps, width)),
          rows_back(evenly(num_taps_back, width_in)), turned(num_taps_back * width_in, 0) {}

    long border_needed() const override { return padding; }
    long gradient_border_needed() const override { return learns_before ? kernel - 1 - padding : 0; }

    void begin(const Turn& now) override {
        Layer::begin(now);
        if (!taps.empty()) return;
        const Buffer &image = before->output, &back = before->gradient;
        taps = window(kernel, image.line_stride() / image.stride, image.stride, in.channels);
        pixels_in = grid(out, step, image.line_stride(), image.stride);
        pixels_out = grid(out, 1, output.line_stride(), output.stride, output.border);
        pixels_gradient = grid(out, 1, gradient.line_stride(), gradient.stride, gradient.border);
        if (!learns_before) return;
        taps_back = window(kernel, gradient.line_stride() / gradient.stride, gradient.stride, out.channels);
        pixels_around = grid(in, 1, gradient.line_stride(), gradient.stride);
        pixels_back = grid(in, 1, back.line_stride(), back.stride, back.border);
    }

    void forward(Range range) override {
        const Right<Single> weights{turn->weights + weight, rows.data()};
        for (long b = range.first; b < range.end; b++)
            multiply<Single>({before->output.corner(b), pixels_in.data(), taps.data()}, weights,
                     {output.corner(b), pixels_out.data()}, out.height * out.width, width, num_taps,
                     bias < 0 ? Into::zeros : Into::bias, bias < 0 ? nullptr : turn->weights + bias);
    }

    void begin_backward() override {
        if (learns_before)
            turn_kernels(turn->weights + weight, turned.data(), kernel * kernel, in.channels, out.channels, width,
                         width_in);
    }

    void backward(Range range) override {
        for (long b = range.first; b < range.end; b++) {
            multiply<Single>({before->output.corner(b), taps.data(), pixels_in.data()},
                     {gradient.corner(b), pixels_gradient.data()}, {turn->gradients + weight, rows.data()}, num_taps,
                     width, out.height * out.width, b == 0 ? Into::zeros : Into::itself);
            if (bias >= 0) add_up_lines(gradient, {b, b + 1}, width, turn->gradients + bias);
            if (learns_before)
                multiply<Single>({gradient.corner(b), pixels_around.data(), taps_back.data()},
                         {turned.data(), rows_back.data()}, {before->gradient.corner(b), pixels_back.data()},
                         in.height * in.width, width_in, num_taps_back, Into::zeros);
        }
    }

private:
    Shape in, out;
    long kernel, step, padding, weight, bias, width, width_in, num_taps, num_taps_back;
    Offsets rows, rows_back, taps, taps_back, pixels_in, pixels_out, pixels_gradient, pixels_around, pixels_back;
    std::vector<real> turned;
};

class MaxPool2d : public Layer {
public:
    MaxPool2d(Layer* before, Shape out, long size, long max_examples)
        : Layer(before), size(size), choice(max_examples, out, padded(out.channels), 0) {}

    void forward(Range range) override {
        each_window(range, [&](const real* const* lines, real* chosen, real* y, long x) {
            vec best = load(lines[0] + x), which{};
            for (long t = 1; t < size * size; t++) {
                const vec candidate = load(lines[t / size] + x + t % size * before->output.stride);
                // What is not a number wins, as in torch.
                const auto wins = (candidate > best) | (candidate != candidate);
                best = wins ? candidate : best;
                which = wins ? splat(real(t)) : which;
            }
            store(y, best);
            store(chosen, which);
        }, before->output, output);
    }

    void backward(Range range) override {
        clear_rest(range);
        each_window(range, [&](real* const* lines, const real* chosen, const real* y, long x) {
            const vec which = load(chosen), g = load(y);
            for (long t = 0; t < size * size; t++)
                store(lines[t / size] + x + t % size * before->gradient.stride, which == splat(real(t)) ? g : vec{});
        }, before->gradient, gradient);
    }

private:
    long size;
    Buffer choice;

    // What is left over at the right and at the bottom, where the image is no multiple of the window.
    void clear_rest(Range range) {
        const Buffer& large = before->gradient;
        const long used_lines = gradient.shape.height * size, used = gradient.shape.width * size * large.stride;
        for (long b = range.first; b < range.end; b++)
            for (long y = 0; y < large.shape.height; y++) {
                real* line = large.line(b, y);
                std::fill(line + (y < used_lines ? used : 0), line + large.line_length(), real(0));
            }
    }

    template <typename Action>
    void each_window(Range range, Action action, const Buffer& large, const Buffer& small) {
        std::vector<real*> lines(size);
        for (long b = range.first; b < range.end; b++)
            for (long y = 0; y < small.shape.height; y++) {
                for (long t = 0; t < size; t++) lines[t] = large.line(b, y * size + t);
                for (long x = 0; x < small.shape.width; x++)
                    for (long j = 0; j < small.stride; j += lanes)
                        action(lines.data(), choice.line(b, y) + x * small.stride + j, small.line(b, y) + x * small.stride + j,
                               x * size * large.stride + j);
            }
    }
};

// In torch's order: channel by channel.
class Flatten : public Layer {
public:
    Flatten(Layer* before, Shape in) : Layer(before), in(in) {}

    void forward(Range range) override {
        each_number(range, before->output, output, [](const real& pixel, real& feature) { feature = pixel; });
    }

    void backward(Range range) override {
        if (!learns_before) return;
        // The channels that fill up the last vector too: what another network left there may be no number.
        each_stretch(range, [](long length, real* to) { std::fill_n(to, length, real(0)); }, before->gradient);
        each_number(range, before->gradient, gradient, [](real& pixel, const real& feature) { pixel = feature; });
    }

private:
    Shape in;

    template <typename Action>
    void each_number(Range range, const Buffer& image, const Buffer& vector, Action action) const {
        for (long b = range.first; b < range.end; b++) {
            real* features = vector.line(b);
            for (long c = 0; c < in.channels; c++)
                for (long y = 0; y < in.height; y++)
                    for (long x = 0; x < in.width; x++) action(image.line(b, y)[x * image.stride + c], *features++);
        }
    }
};
