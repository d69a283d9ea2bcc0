// The loss of a batch with its gradient, and the step that follows from it.
#pragma once

#include <cmath>
#include <cstdint>

#include "layers.hpp"

// Generated from the catalog's loss: per example its value and its slope by the prediction.
using LossCode = void (*)(const real* predictions, const real* targets, real* losses, real* slopes, long length);

struct Sums {  // over an epoch: losses, and right answers
    double loss, correct;
};

// Mean cross-entropy; class numbers as targets.
inline void cross_entropy(const Buffer& logits, Buffer& gradient, const std::int64_t* targets,
                          const std::int64_t* order, long num_examples, Sums& sums) {
    const long num_classes = logits.shape.channels;
    for (long b = 0; b < num_examples; b++) {
        const real* z = logits.line(b);
        real* g = gradient.line(b);
        const long target = long(targets[order[b]]);
        const real largest = *std::max_element(z, z + num_classes);
        real total = 0;
        for (long c = 0; c < num_classes; c++) total += g[c] = std::exp(z[c] - largest);
        sums.loss += std::log(total) - (z[target] - largest);
        sums.correct += std::max_element(z, z + num_classes) - z == target;
        for (long c = 0; c < num_classes; c++) g[c] = (g[c] / total - (c == target)) / num_examples;
    }
}

// A mean of losses that each look at one prediction.
inline void regression(LossCode code, const Buffer& predictions, Buffer& gradient, const real* targets,
                       const std::int64_t* order, long num_examples, Sums& sums) {
    std::vector<real> columns(4 * num_examples);
    real *prediction = columns.data(), *target = prediction + num_examples, *loss = target + num_examples,
         *slope = loss + num_examples;
    for (long b = 0; b < num_examples; b++) {
        prediction[b] = predictions.line(b)[0];
        target[b] = targets[order[b]];
    }
    code(prediction, target, loss, slope, num_examples);
    for (long b = 0; b < num_examples; b++) {
        sums.loss += loss[b];
        gradient.line(b)[0] = slope[b] / num_examples;
    }
}

enum class Rule : std::int64_t { adam, adamw, sgd, nesterov };

struct Optimizer {
    Rule rule;
    double first_decay, second_decay;  // Adam's betas; the first is SGD's momentum
    double weight_decay;
    std::int64_t num_decayed;  // the first so many weights
};

// Adam (Kingma & Ba 2015) and AdamW (Loshchilov & Hutter 2019), in torch's order of operations.
inline void adam_step(const Optimizer& optimizer, double rate, long step, real* weights, const real* gradients,
                      real* means, real* squares, long first, long end, double decay) {
    const real beta1 = real(optimizer.first_decay), beta2 = real(optimizer.second_decay);
    const real step_size = real(rate / (1 - std::pow(optimizer.first_decay, step)));
    const real correction = real(1 / std::sqrt(1 - std::pow(optimizer.second_decay, step)));
    const bool decoupled = optimizer.rule == Rule::adamw;
    const real added = decoupled ? 0 : real(decay), kept = decoupled ? real(1 - rate * decay) : 1;
#pragma omp simd
    for (long i = first; i < end; i++) {
        const real weight = weights[i] * kept;
        const real gradient = gradients[i] + added * weight;
        means[i] += (1 - beta1) * (gradient - means[i]);
        squares[i] = beta2 * squares[i] + (1 - beta2) * gradient * gradient;
        weights[i] = weight - step_size * means[i] / (std::sqrt(squares[i]) * correction + real(1e-8));
    }
}

// Stochastic gradient descent with momentum, also Nesterov's.
inline void sgd_step(const Optimizer& optimizer, double rate, real* weights, const real* gradients, real* momenta,
                     long first, long end, double decay) {
    const real momentum = real(optimizer.first_decay), added = real(decay), step_size = real(rate);
    const bool looks_ahead = optimizer.rule == Rule::nesterov;
#pragma omp simd
    for (long i = first; i < end; i++) {
        const real gradient = gradients[i] + added * weights[i];
        momenta[i] = momentum * momenta[i] + gradient;
        weights[i] -= step_size * (looks_ahead ? gradient + momentum * momenta[i] : momenta[i]);
    }
}

inline void learn(const Optimizer& optimizer, double rate, long step, real* weights, const real* gradients,
                  real* first_moments, real* second_moments, long num_weights) {
    const long bounds[] = {0, long(optimizer.num_decayed), num_weights};
    for (int part = 0; part < 2; part++) {
        const double decay = part == 0 ? optimizer.weight_decay : 0;
        if (optimizer.rule == Rule::adam || optimizer.rule == Rule::adamw)
            adam_step(optimizer, rate, step, weights, gradients, first_moments, second_moments, bounds[part],
                      bounds[part + 1], decay);
        else
            sgd_step(optimizer, rate, weights, gradients, first_moments, bounds[part], bounds[part + 1], decay);
    }
}
