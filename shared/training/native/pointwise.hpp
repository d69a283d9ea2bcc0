// Layers that look at each number alone.
#pragma once

#include "layers.hpp"

// The compared function, generated and compiled apart from this: for `length` numbers its values, its slopes, and what
// its parameters gain from a gradient.
struct ActivationCode {
    void (*values)(const real* x, const real* parameters, real* y, long length);
    void (*values_and_slopes)(const real* x, const real* parameters, real* y, real* slope, long length);
    void (*parameter_gradients)(const real* x, const real* parameters, const real* gradient, real* sums, long length);
};

class Activation : public Layer {
public:
    Activation(Layer* before, Shape shape, ActivationCode code, long parameters, long num_parameters, long max_examples)
        : Layer(before), code(code), parameters(parameters), num_parameters(num_parameters),
          slope(max_examples, shape, padded(shape.channels), 0) {}

    void forward(Range range) override {
        const real* own = turn->weights + parameters;
        if (turn->training)
            each_stretch(range, [&](long length, const real* x, real* y, real* slopes) {
                code.values_and_slopes(x, own, y, slopes, length);
            }, before->output, output, slope);
        else
            each_stretch(range, [&](long length, const real* x, real* y) { code.values(x, own, y, length); },
                         before->output, output);
    }

    void backward(Range range) override {
        if (num_parameters > 0) learn(range);
        each_stretch(range, [&](long length, real* to, const real* g, const real* slopes) {
            for (long i = 0; i < length; i += lanes) store(to + i, load(g + i) * load(slopes + i));
        }, before->gradient, gradient, slope);
    }

private:
    ActivationCode code;
    long parameters, num_parameters;
    Buffer slope;

    void learn(Range range) {
        real* sums = turn->gradients + parameters;
        if (range.first == 0) std::fill_n(sums, num_parameters, real(0));
        each_stretch(range, [&](long length, const real* x, const real* g) {
            code.parameter_gradients(x, turn->weights + parameters, g, sums, length);
        }, before->output, gradient);
    }
};

// Inverted dropout of vectors (Srivastava et al. 2014); the draws come from outside, one for each number.
class Dropout : public Layer {
public:
    Dropout(Layer* before, Shape shape, double probability, long index, long max_examples)
        : Layer(before), probability(real(probability)), index(index),
          factor(max_examples, shape, padded(shape.channels), 0) {}

    void forward(Range range) override {
        const long channels = factor.shape.channels;
        for (long b = range.first; b < range.end; b++) {
            const real *x = before->output.line(b), *draws = turn->training ? turn->draws[index] + b * channels : nullptr;
            real *y = output.line(b), *kept = factor.line(b);
            for (long c = 0; c < channels; c++) {
                kept[c] = draws == nullptr ? 1 : draws[c] >= probability ? 1 / (1 - probability) : 0;
                y[c] = x[c] * kept[c];
            }
        }
    }

    void backward(Range range) override {
        each_stretch(range, [&](long length, real* to, const real* g, const real* kept) {
            for (long i = 0; i < length; i += lanes) store(to + i, load(g + i) * load(kept + i));
        }, before->gradient, gradient, factor);
    }

private:
    real probability;
    long index;
    Buffer factor;
};
