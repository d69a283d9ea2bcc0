// Mixed precision: linear layers and convolutions whose products take bfloat16 operands and add up in float32.
//
// The processor multiplies pairs of neighbours, so that every operand is copied into pairs first: of neighbouring
// channels where the sum runs over channels, of neighbouring examples or pixels where it runs over those.
#pragma once

#ifndef __AVX512BF16__
#error "this processor has no instructions for bfloat16"
#endif

#include <immintrin.h>

#include <cstdint>

#include "images.hpp"
#include "layers.hpp"

using Pair = std::uint32_t;
using Pairs = std::vector<Pair>;

struct Paired {
    using Element = Pair;
    using Vector = __m512bh;
    static Vector load(const Pair* from) { return (Vector)_mm512_loadu_si512(from); }
    static Vector splat(Pair value) { return (Vector)_mm512_set1_epi32(int(value)); }
    static vec add_product(vec sum, Vector a, Vector b) { return (vec)_mm512_dpbf16_ps((__m512)sum, a, b); }
};

inline __m512i rounded(const real* from) {
    return _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(from)));
}

// to[i] = (first[i], second[i]), or (first[i], 0) without a second; `length` is rounded up to whole vectors.
inline void pair_rows(const real* first, const real* second, Pair* to, long length) {
    for (long i = 0; i < length; i += lanes) {
        __m512i both = rounded(first + i);
        if (second != nullptr) both = _mm512_or_si512(both, _mm512_slli_epi32(rounded(second + i), 16));
        _mm512_storeu_si512(to + i, both);
    }
}

// to[i] = (from[2 i], from[2 i + 1]); `length` numbers, rounded up to two vectors.
inline void pair_neighbours(const real* from, Pair* to, long length) {
    for (long i = 0; i < length; i += 2 * lanes) {
        const __m512bh pairs = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(from + i + lanes), _mm512_loadu_ps(from + i));
        _mm512_storeu_si512(to + i / 2, (__m512i)pairs);
    }
}

constexpr long halved(long count) { return (count + 1) / 2; }

// Room for `length` pairs and what vectors write beyond them.
inline void make_room(Pairs& pairs, long length) {
    if (long(pairs.size()) < length + 2 * lanes) pairs.resize(length + 2 * lanes, 0);
}

class HalfLinear : public Layer {
public:
    HalfLinear(Layer* before, Shape in, Shape out, long weight, long bias)
        : Layer(before), num_in(in.channels), num_out(out.channels), width(padded(num_out)), width_in(padded(num_in)),
          weight(weight), bias(bias), rows(evenly(num_in, width)), rows_back(evenly(halved(num_out), width_in)),
          pair_rows_in(evenly(halved(num_in), width)), features(evenly(std::max(num_in, num_out), 1)),
          transposed((num_out + 1) * width_in, 0), zeros(std::max(width, width_in), 0) {
        make_room(weights_paired, halved(num_in) * width);
        make_room(transposed_paired, halved(num_out) * width_in);
    }

    void begin(const Turn& now) override {
        Layer::begin(now);
        pair_weights();
        if (long(examples_out.size()) == now.num_examples) return;
        const long stride_in = padded(halved(num_in)) + lanes, stride_out = padded(halved(num_out)) + lanes;
        examples_in = evenly(now.num_examples, stride_in);
        examples_gradient = evenly(now.num_examples, stride_out);
        examples_out = evenly(now.num_examples, output.example_stride());
        examples_back = evenly(now.num_examples, before->gradient.example_stride());
        pairs_of_inputs = evenly(halved(now.num_examples), width_in);
        pairs_of_gradients = evenly(halved(now.num_examples), width);
        make_room(inputs, now.num_examples * stride_in);
        make_room(gradients, now.num_examples * stride_out);
        make_room(inputs_across, halved(now.num_examples) * width_in);
        make_room(gradients_across, halved(now.num_examples) * width);
    }

    void forward(Range range) override {
        for (long b = range.first; b < range.end; b++)
            pair_neighbours(before->output.line(b), &inputs[examples_in[b]], num_in);
        multiply<Paired>({&inputs[examples_in[range.first]], examples_in.data(), features.data()},
                         {weights_paired.data(), pair_rows_in.data()}, {output.line(range.first), examples_out.data()},
                         range.size(), width, halved(num_in), bias < 0 ? Into::zeros : Into::bias,
                         bias < 0 ? nullptr : turn->weights + bias);
    }

    void begin_backward() override {
        if (!learns_before) return;
        transpose(turn->weights + weight, transposed.data(), num_in, num_out, width, width_in);
        for (long o = 0; o < num_out; o += 2)
            pair_rows(&transposed[o * width_in], &transposed[(o + 1) * width_in],
                      &transposed_paired[o / 2 * width_in], width_in);
    }

    // Vectors come as a whole batch: no segment of them is cut.
    void backward(Range range) override {
        for (long b = 0; b < range.end; b += 2) {
            const bool alone = b + 1 == range.end;
            pair_rows(before->output.line(b), alone ? zeros.data() : before->output.line(b + 1),
                      &inputs_across[b / 2 * width_in], num_in);
            pair_rows(gradient.line(b), alone ? zeros.data() : gradient.line(b + 1),
                      &gradients_across[b / 2 * width], width);
        }
        multiply<Paired>({inputs_across.data(), features.data(), pairs_of_inputs.data()},
                         {gradients_across.data(), pairs_of_gradients.data()},
                         {turn->gradients + weight, rows.data()}, num_in, width, halved(range.end), Into::zeros);
        if (bias >= 0) add_up_lines(gradient, range, width, turn->gradients + bias);
        if (!learns_before) return;
        for (long b = 0; b < range.end; b++) pair_neighbours(gradient.line(b), &gradients[examples_gradient[b]], num_out);
        multiply<Paired>({gradients.data(), examples_gradient.data(), features.data()},
                         {transposed_paired.data(), rows_back.data()}, {before->gradient.line(0), examples_back.data()},
                         range.end, width_in, halved(num_out), Into::zeros);
    }

private:
    long num_in, num_out, width, width_in, weight, bias;
    Offsets rows, rows_back, pair_rows_in, features, examples_in, examples_gradient, examples_out, examples_back,
        pairs_of_inputs, pairs_of_gradients;
    std::vector<real> transposed, zeros;
    Pairs weights_paired, transposed_paired, inputs, gradients, inputs_across, gradients_across;

    void pair_weights() {
        const real* weights = turn->weights + weight;
        for (long i = 0; i < num_in; i += 2)
            pair_rows(weights + i * width, i + 1 < num_in ? weights + (i + 1) * width : nullptr,
                      &weights_paired[i / 2 * width], width);
    }
};

class HalfConv2d : public Layer {
public:
    HalfConv2d(Layer* before, Shape in, Shape out, long kernel, long step, long padding, long weight, long bias)
        : Layer(before), in(in), out(out), kernel(kernel), step(step), padding(padding), weight(weight), bias(bias),
          width(padded(out.channels)), width_in(padded(in.channels)), num_taps(kernel * kernel * in.channels),
          rows(evenly(num_taps, width)), pair_rows_in(evenly(kernel * kernel * halved(in.channels), width)),
          pair_rows_back(evenly(kernel * kernel * halved(out.channels), width_in)) {
        make_room(weights_paired, pair_rows_in.size() * width);
        make_room(turned_paired, pair_rows_back.size() * width_in);
        turned.resize((kernel * kernel * out.channels + 1) * width_in, 0);
    }

    long border_needed() const override { return padding; }
    long gradient_border_needed() const override { return learns_before ? kernel - 1 - padding : 0; }

    void begin(const Turn& now) override {
        Layer::begin(now);
        pair_weights();
        if (!taps.empty()) return;
        const Buffer& image = before->output;
        pixel_stride = halved(image.stride);
        taps = window(kernel, image.line_stride() / image.stride, pixel_stride, halved(in.channels));
        taps_across = window(kernel, image.line_stride() / image.stride, image.stride, in.channels);
        pixels_in = grid(out, step, image.line_stride() / image.stride * pixel_stride, pixel_stride);
        pixels_out = grid(out, 1, output.line_stride(), output.stride, output.border);
        // Two neighbouring output pixels at a time; the last of an odd line is alone.
        const Shape half{out.height, halved(out.width), out.channels};
        pairs_in = pair_grid(half, step, image.line_stride(), image.stride);
        pairs_of_gradients = evenly(half.height * half.width, width);
        make_room(inputs, image.example_stride() / image.stride * pixel_stride);
        make_room(inputs_across, image.example_stride() + 2 * step * image.stride);
        make_room(gradients_across, half.height * half.width * width);
        if (learns_before) prepare_way_back();
    }

    void forward(Range range) override {
        for (long b = range.first; b < range.end; b++) {
            pair_channels(before->output, b, inputs);
            multiply<Paired>({inputs.data(), pixels_in.data(), taps.data()},
                             {weights_paired.data(), pair_rows_in.data()}, {output.corner(b), pixels_out.data()},
                             out.height * out.width, width, pair_rows_in.size(), bias < 0 ? Into::zeros : Into::bias,
                             bias < 0 ? nullptr : turn->weights + bias);
        }
    }

    void begin_backward() override {
        if (!learns_before) return;
        turn_kernels(turn->weights + weight, turned.data(), kernel * kernel, in.channels, out.channels, width, width_in);
        for (long t = 0; t < kernel * kernel; t++)
            for (long o = 0; o < out.channels; o += 2) {
                const real* first = &turned[(t * out.channels + o) * width_in];
                pair_rows(first, o + 1 < out.channels ? first + width_in : nullptr,
                          &turned_paired[(t * halved(out.channels) + o / 2) * width_in], width_in);
            }
    }

    void backward(Range range) override {
        for (long b = range.first; b < range.end; b++) {
            pair_pixels(b);
            multiply<Paired>({inputs_across.data(), taps_across.data(), pairs_in.data()},
                             {gradients_across.data(), pairs_of_gradients.data()},
                             {turn->gradients + weight, rows.data()}, num_taps, width, pairs_of_gradients.size(),
                             b == 0 ? Into::zeros : Into::itself);
            if (bias >= 0) add_up_lines(gradient, {b, b + 1}, width, turn->gradients + bias);
            if (!learns_before) continue;
            pair_channels(gradient, b, gradients);
            multiply<Paired>({gradients.data(), pixels_around.data(), taps_back.data()},
                             {turned_paired.data(), pair_rows_back.data()},
                             {before->gradient.corner(b), pixels_back.data()}, in.height * in.width, width_in,
                             pair_rows_back.size(), Into::zeros);
        }
    }

private:
    Shape in, out;
    long kernel, step, padding, weight, bias, width, width_in, num_taps, pixel_stride = 0;
    Offsets rows, pair_rows_in, pair_rows_back, taps, taps_across, taps_back, pixels_in, pixels_out, pairs_in,
        pairs_of_gradients, pixels_around, pixels_back;
    std::vector<real> turned;
    Pairs weights_paired, turned_paired, inputs, inputs_across, gradients, gradients_across;

    void prepare_way_back() {
        const long line = gradient.line_stride() / gradient.stride, pair_stride = halved(gradient.stride);
        taps_back = window(kernel, line, pair_stride, halved(out.channels));
        pixels_around = grid(in, 1, line * pair_stride, pair_stride);
        pixels_back = grid(in, 1, before->gradient.line_stride(), before->gradient.stride, before->gradient.border);
        make_room(gradients, gradient.example_stride() / gradient.stride * pair_stride);
    }

    void pair_weights() {
        for (long t = 0; t < kernel * kernel; t++)
            for (long c = 0; c < in.channels; c += 2) {
                const real* first = turn->weights + weight + (t * in.channels + c) * width;
                pair_rows(first, c + 1 < in.channels ? first + width : nullptr,
                          &weights_paired[(t * halved(in.channels) + c / 2) * width], width);
            }
    }

    // A single channel is paired with nothing; more of them come in an even stride.
    static void pair_channels(const Buffer& image, long example, Pairs& to) {
        if (image.stride == 1)
            pair_rows(image.corner(example), nullptr, to.data(), image.example_stride());
        else
            pair_neighbours(image.corner(example), to.data(), image.example_stride());
    }

    void pair_pixels(long example) {
        const Buffer& image = before->output;
        const long paired = image.example_stride() - step * image.stride;
        pair_rows(image.corner(example), image.corner(example) + step * image.stride, inputs_across.data(), paired);
        // The last pixels of all have no neighbour.
        pair_rows(image.corner(example) + paired, nullptr, inputs_across.data() + paired, step * image.stride);
        Pair* to = gradients_across.data();
        for (long y = 0; y < out.height; y++)
            for (long x = 0; x < out.width; x += 2, to += width) {
                const real* first = gradient.line(example, y) + x * gradient.stride;
                pair_rows(first, x + 1 < out.width ? first + gradient.stride : nullptr, to, width);
            }
    }

    Offsets pair_grid(Shape half, long step, long line_stride, long stride) const {
        Offsets offsets;
        for (long y = 0; y < half.height; y++)
            for (long x = 0; x < half.width; x++) offsets.push_back(y * step * line_stride + 2 * x * step * stride);
        return offsets;
    }
};
