// Batch norm (Ioffe & Szegedy 2015), as torch computes it.
#pragma once

#include "layers.hpp"

class BatchNorm : public Layer {
public:
    BatchNorm(Layer* before, Shape shape, long scale, long shift, long running_mean, long running_variance)
        : Layer(before), pixels(shape.height * shape.width), scale(scale), shift(shift), running_mean(running_mean),
          running_variance(running_variance), mean(padded(shape.channels)), variance(mean), inverse(mean),
          sum_gradient(mean), sum_product(mean) {}

    void begin(const Turn& now) override {
        Layer::begin(now);
        if (now.training) return;
        std::copy_n(now.running + running_mean, mean.size(), mean.begin());
        std::copy_n(now.running + running_variance, mean.size(), variance.begin());
        invert();
    }

    bool measures() const override { return true; }

    void measure(Range range) override {
        if (!turn->training) return;
        for (size_t j = 0; j < mean.size(); j += lanes) merge(range, j);
        if (range.end < turn->num_examples) return;
        for (real& sum_of_squares : variance) sum_of_squares /= count();
        remember();
        invert();
    }

    void forward(Range range) override {
        for (size_t j = 0; j < mean.size(); j += lanes) {
            const vec factor = load(turn->weights + scale + j) * load(&inverse[j]);
            const vec addend = load(turn->weights + shift + j) - load(&mean[j]) * factor;
            each_vector(range, j, [&](const real* x, real* y) { store(y, load(x) * factor + addend); },
                        before->output, output);
        }
    }

    void measure_backward(Range range) override {
        for (size_t j = 0; j < mean.size(); j += lanes) add_up(range, j);
        if (range.end < turn->num_examples) return;
        for (size_t j = 0; j < mean.size(); j += lanes) {
            store(turn->gradients + shift + j, load(&sum_gradient[j]));
            store(turn->gradients + scale + j, load(&sum_product[j]) * load(&inverse[j]));
        }
    }

    // d loss / d x = scale / deviation * (g - mean g - x^ mean(g x^)), where x^ is the normalised x.
    void backward(Range range) override {
        for (size_t j = 0; j < mean.size(); j += lanes) {
            const vec center = load(&mean[j]), inverted = load(&inverse[j]);
            const vec slope = load(turn->weights + scale + j) * inverted;
            const vec constant = slope * load(&sum_gradient[j]) / count();
            const vec factor = slope * inverted * inverted * load(&sum_product[j]) / count();
            each_vector(range, j, [&](const real* x, const real* g, real* to) {
                store(to, slope * load(g) - factor * (load(x) - center) - constant);
            }, before->output, gradient, before->gradient);
        }
    }

private:
    static constexpr real epsilon = real(1e-5), momentum = real(0.1);
    long pixels, scale, shift, running_mean, running_variance;
    std::vector<real> mean, variance, inverse, sum_gradient, sum_product;

    real count() const { return real(turn->num_examples * pixels); }

    void invert() {
        for (size_t c = 0; c < mean.size(); c++) inverse[c] = 1 / std::sqrt(variance[c] + epsilon);
    }

    // Calls `action` for the vector at channel j of every pixel.
    template <typename Action, typename... Buffers>
    static void each_vector(Range range, long j, Action action, const Buffer& like, const Buffers&... others) {
        const long stride = like.stride;
        each_stretch(range, [&](long length, auto*... stretch) {
            for (long i = j; i < length; i += stride) action(stretch + i...);
        }, like, others...);
    }

    // Moments of this range around its own mean, merged with those before (Chan, Golub & LeVeque 1983). Until the last
    // range `variance` holds the sum of squares.
    void merge(Range range, long j) {
        vec sum{}, squares{};
        const real here = real(range.size() * pixels), so_far = real(range.first * pixels);
        each_vector(range, j, [&](const real* x) { sum += load(x); }, before->output);
        const vec mean_here = sum / here;
        each_vector(range, j, [&](const real* x) {
            const vec distance = load(x) - mean_here;
            squares += distance * distance;
        }, before->output);
        if (range.first > 0) {
            const vec mean_before = load(&mean[j]), difference = mean_here - mean_before;
            const real share = here / (here + so_far);
            store(&mean[j], mean_before + difference * share);
            store(&variance[j], load(&variance[j]) + squares + difference * difference * (so_far * share));
        } else {
            store(&mean[j], mean_here);
            store(&variance[j], squares);
        }
    }

    void remember() {
        for (size_t c = 0; c < mean.size(); c++) {
            real& kept_mean = turn->running[running_mean + c];
            real& kept_variance = turn->running[running_variance + c];
            kept_mean += momentum * (mean[c] - kept_mean);
            kept_variance += momentum * (variance[c] * (count() / (count() - 1)) - kept_variance);
        }
    }

    void add_up(Range range, long j) {
        vec sum{}, product{};
        const vec center = load(&mean[j]);
        each_vector(range, j, [&](const real* x, const real* g) {
            sum += load(g);
            product += load(g) * (load(x) - center);
        }, before->output, gradient);
        const bool fresh = range.first == 0;
        store(&sum_gradient[j], fresh ? sum : load(&sum_gradient[j]) + sum);
        store(&sum_product[j], fresh ? product : load(&sum_product[j]) + product);
    }
};
