// What a network is made of. Each layer works on a range of the batch, so that a chain of them can stay in the cache.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "buffer.hpp"
#include "matmul.hpp"

// One network's turn: its numbers, and what differs from batch to batch.
struct Turn {
    bool training;
    long num_examples;
    const real* weights;
    real* gradients;
    real* running;              // means and variances of batch norm
    const real* const* draws;   // uniform numbers for each dropout layer
};

class Layer {
public:
    Buffer output;
    Buffer gradient;  // of the loss by `output`

    explicit Layer(Layer* before) : before(before) {}
    virtual ~Layer() = default;

    virtual void begin(const Turn& turn) { this->turn = &turn; }
    virtual void begin_backward() {}
    virtual void forward(Range range) = 0;
    virtual void backward(Range range) = 0;
    // What must have seen the whole batch before `forward`, or before `backward`, may begin.
    virtual bool measures() const { return false; }
    virtual void measure(Range) {}
    virtual void measure_backward(Range) {}
    virtual long border_needed() const { return 0; }           // around the output of the layer before
    virtual long gradient_border_needed() const { return 0; }  // around the own gradient

    // Nothing before the first layer with weights learns.
    bool learns_before = false;

protected:
    Layer* before;
    const Turn* turn = nullptr;
};

// to[o][i] = from[i][o]
inline void transpose(const real* from, real* to, long num_rows, long num_columns, long from_stride, long to_stride) {
    for (long i = 0; i < num_rows; i += lanes)
        for (long o = 0; o < num_columns; o++)
            for (long k = i; k < std::min(i + lanes, num_rows); k++) to[o * to_stride + k] = from[k * from_stride + o];
}

// The gradient of a bias: `sums` of a range's gradients, added to those of the ranges before.
inline void add_up_lines(const Buffer& gradient, Range range, long width, real* sums) {
    for (long j = 0; j < width; j += lanes) {
        vec sum = range.first == 0 ? vec{} : load(sums + j);
        for (long b = range.first; b < range.end; b++)
            for (long y = 0; y < gradient.shape.height; y++)
                for (long x = 0; x < gradient.shape.width; x++) sum += load(gradient.line(b, y) + x * gradient.stride + j);
        store(sums + j, sum);
    }
}

class Linear : public Layer {
public:
    Linear(Layer* before, Shape in, Shape out, long weight, long bias)
        : Layer(before), num_in(in.channels), num_out(out.channels), width(padded(num_out)), width_in(padded(num_in)),
          weight(weight), bias(bias), rows(evenly(num_in, width)), features(evenly(std::max(num_in, num_out), 1)),
          rows_back(evenly(num_out, width_in)), transposed(num_out * width_in, 0) {}

    void begin(const Turn& now) override {
        Layer::begin(now);
        if (long(examples_in.size()) == now.num_examples) return;
        examples_in = evenly(now.num_examples, before->output.example_stride());
        examples_out = evenly(now.num_examples, output.example_stride());
        examples_back = evenly(now.num_examples, before->gradient.example_stride());
    }

    void forward(Range range) override {
        multiply<Single>({before->output.line(range.first), examples_in.data(), features.data()},
                 {turn->weights + weight, rows.data()}, {output.line(range.first), examples_out.data()}, range.size(),
                 width, num_in, bias < 0 ? Into::zeros : Into::bias, bias < 0 ? nullptr : turn->weights + bias);
    }

    void begin_backward() override {
        if (learns_before)
            transpose(turn->weights + weight, transposed.data(), num_in, num_out, width, width_in);
    }

    void backward(Range range) override {
        const Right<Single> gradients{gradient.line(range.first), examples_out.data()};
        const Into into = range.first == 0 ? Into::zeros : Into::itself;
        multiply<Single>({before->output.line(range.first), features.data(), examples_in.data()}, gradients,
                 {turn->gradients + weight, rows.data()}, num_in, width, range.size(), into);
        if (bias >= 0) add_up_lines(gradient, range, width, turn->gradients + bias);
        if (learns_before)
            multiply<Single>({gradient.line(range.first), examples_out.data(), features.data()},
                     {transposed.data(), rows_back.data()}, {before->gradient.line(range.first), examples_back.data()},
                     range.size(), width_in, num_out, Into::zeros);
    }

private:
    long num_in, num_out, width, width_in, weight, bias;
    Offsets rows, features, rows_back, examples_in, examples_out, examples_back;
    std::vector<real> transposed;
};
