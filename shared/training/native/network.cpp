// One program for every network of an experiment: built from a list of layers, it trains and evaluates the members of a
// population one after another. All their numbers come from outside and stay there.
//
// Python describes the layers and lays out the weights (layout.py); the structures below mirror bindings.py.

#include <memory>
#include <new>

#include "batch_norm.hpp"
#include "images.hpp"
#include "inputs.hpp"
#include "learning.hpp"
#include "pointwise.hpp"

#ifdef BFLOAT16
#include "halves.hpp"
using AnyLinear = HalfLinear;
using AnyConv2d = HalfConv2d;
#else
using AnyLinear = Linear;
using AnyConv2d = Conv2d;
#endif

enum class Kind : std::int64_t { linear, conv2d, batch_norm, activation, max_pool2d, flatten, dropout };

struct LayerDescription {
    Kind kind;
    std::int64_t height, width, channels;  // of its output
    std::int64_t kernel, step, padding;    // convolution; `kernel` is the pool's size too
    std::int64_t weight, bias;             // where they start among the weights, -1: none; batch norm: scale and shift
    std::int64_t running_mean, running_variance;
    std::int64_t num_parameters;  // of the activation, which start at `weight`
    double probability;           // of dropout
};

struct InputDescription {
    std::int64_t height, width, channels;
    std::int64_t stored_size;  // 0: features
    double scale, offset;
    const Mix* mixes;
};

struct NetworkDescription {
    InputDescription input;
    const LayerDescription* layers;
    std::int64_t num_layers, max_examples, num_weights;
    ActivationCode activation;
    LossCode loss;  // null: cross-entropy
    Optimizer optimizer;
};

struct Member {
    real *weights, *first_moments, *second_moments, *running;
    const void *inputs, *targets;
    const std::int64_t* order;
    Sums* sums;
};

namespace {

Shape shape_of(const LayerDescription& layer) { return {layer.height, layer.width, layer.channels}; }

class Network {
public:
    explicit Network(const NetworkDescription& description)
        : optimizer(description.optimizer), loss(description.loss), max_examples(description.max_examples),
          gradients(padded(description.num_weights)) {
        add_input(description.input);
        for (long i = 0; i < description.num_layers; i++) add(description.layers[i], description.activation);
        make_buffers(description);
        make_segments();
    }

    // Train one network on batches [first, end) of an epoch.
    void train(const Member& member, const std::int64_t* bounds, long first, long end, long steps_before, double rate,
               const real* const* draws) {
        for (long batch = first; batch < end; batch++) {
            const long start = bounds[batch], size = bounds[batch + 1] - start;
            const Turn turn{true, size, member.weights, gradients.data(), member.running, draws};
            forward(turn, {member.inputs, member.order}, start);
            judge(member, member.order + start, size);
            backward();
            learn(optimizer, rate, steps_before + batch + 1, member.weights, gradients.data(), member.first_moments,
                  member.second_moments, gradients.size());
        }
    }

    // Outputs of one network in evaluation mode, `num_rows` times the number of outputs.
    void evaluate(const Member& member, long num_rows, real* outputs) {
        const long num_outputs = layers.back()->output.shape.channels;
        for (long first = 0; first < num_rows; first += max_examples) {
            const long size = std::min(max_examples, num_rows - first);
            const Turn turn{false, size, member.weights, nullptr, member.running, nullptr};
            forward(turn, {member.inputs, nullptr}, first);
            for (long b = 0; b < size; b++)
                outputs = std::copy_n(layers.back()->output.line(b), num_outputs, outputs);
        }
    }

private:
    struct Segment {  // layers that may follow each other example by example
        size_t first, end;
        bool of_images;
    };

    Optimizer optimizer;
    LossCode loss;
    long max_examples, num_dropouts = 0;
    std::vector<real> gradients;
    std::vector<std::unique_ptr<Layer>> layers;
    Input* input = nullptr;
    std::vector<Shape> shapes;
    std::vector<Segment> segments;
    long num_examples = 0;

    void add_input(const InputDescription& description) {
        shapes.push_back({description.height, description.width, description.channels});
        if (description.stored_size == 0)
            layers.push_back(std::make_unique<FeatureInput>());
        else
            layers.push_back(std::make_unique<ImageInput>(shapes[0], description.stored_size, description.scale,
                                                          description.offset, description.mixes));
        input = static_cast<Input*>(layers[0].get());
    }

    void add(const LayerDescription& of, ActivationCode activation) {
        Layer* before = layers.back().get();
        const Shape in = shapes.back(), out = shape_of(of);
        switch (of.kind) {
            case Kind::linear:
                layers.push_back(std::make_unique<AnyLinear>(before, in, out, of.weight, of.bias));
                break;
            case Kind::conv2d:
                layers.push_back(std::make_unique<AnyConv2d>(before, in, out, of.kernel, of.step, of.padding, of.weight,
                                                          of.bias));
                break;
            case Kind::batch_norm:
                layers.push_back(std::make_unique<BatchNorm>(before, in, of.weight, of.bias, of.running_mean,
                                                             of.running_variance));
                break;
            case Kind::activation:
                layers.push_back(std::make_unique<Activation>(before, in, activation, of.weight, of.num_parameters,
                                                              max_examples));
                break;
            case Kind::max_pool2d:
                layers.push_back(std::make_unique<MaxPool2d>(before, out, of.kernel, max_examples));
                break;
            case Kind::flatten:
                layers.push_back(std::make_unique<Flatten>(before, in));
                break;
            case Kind::dropout:
                layers.push_back(std::make_unique<Dropout>(before, in, of.probability, num_dropouts++, max_examples));
                break;
        }
        shapes.push_back(out);
    }

    void make_buffers(const NetworkDescription& description) {
        bool learns = false;
        for (size_t i = 0; i < layers.size(); i++) {
            Layer& layer = *layers[i];
            layer.learns_before = learns;
            // Nothing but the first layer's tables reads the input: it needs no whole vectors.
            const long stride = i == 0 ? shapes[0].channels : padded(shapes[i].channels);
            layer.output = i > 1 && layer.writes_over_input() ? layers[i - 1]->output
                                                              : Buffer(max_examples, shapes[i], stride, border_after(i));
            const bool shares = learns && layer.writes_over_gradient();
            learns = learns || (i > 0 && description.layers[i - 1].weight >= 0);
            if (learns)
                layer.gradient = shares ? layers[i - 1]->gradient
                                        : Buffer(max_examples, shapes[i], stride, layer.gradient_border_needed());
        }
    }

    // Of the output of layer i, which the layers that write over it share.
    long border_after(size_t i) const {
        size_t next = i + 1;
        while (next < layers.size() && next > 1 && layers[next]->writes_over_input()) next++;
        return next < layers.size() ? layers[next]->border_needed() : 0;
    }

    void make_segments() {
        Segment segment{1, 1, shapes[0].is_image()};
        for (size_t i = 1; i < layers.size(); i++) {
            const bool leaves_images = shapes[i - 1].is_image() != shapes[i].is_image();
            segment.end = i;
            if (segment.end > segment.first && layers[i]->measures()) {
                segments.push_back(segment);
                segment = {i, i, shapes[i].is_image()};
            }
            segment.end = i + 1;
            if (leaves_images) {
                segments.push_back(segment);
                segment = {i + 1, i + 1, false};
            }
        }
        if (segment.end > segment.first) segments.push_back(segment);
    }

    template <typename Action>
    void each_range(const Segment& segment, Action action) const {
        const long size = segment.of_images ? 1 : num_examples;
        for (long first = 0; first < num_examples; first += size) action(Range{first, first + size});
    }

    Layer* measuring_after(size_t segment) const {
        if (segment + 1 == segments.size()) return nullptr;
        Layer* next = layers[segments[segment + 1].first].get();
        return next->measures() ? next : nullptr;
    }

    void forward(const Turn& turn, Rows rows, long first_row) {
        num_examples = turn.num_examples;
        for (auto& layer : layers) layer->begin(turn);
        for (size_t s = 0; s < segments.size(); s++) {
            Layer* measuring = measuring_after(s);
            each_range(segments[s], [&](Range range) {
                if (s == 0) input->prepare(rows, first_row, range);
                for (size_t i = segments[s].first; i < segments[s].end; i++) layers[i]->forward(range);
                if (measuring != nullptr) measuring->measure(range);
            });
        }
    }

    void backward() {
        for (auto& layer : layers) layer->begin_backward();
        for (size_t s = segments.size(); s-- > 0;) {
            Layer* measuring = measuring_after(s);
            each_range(segments[s], [&](Range range) {
                if (measuring != nullptr) measuring->backward(range);
                for (size_t i = segments[s].end; i-- > segments[s].first;) {
                    Layer& layer = *layers[i];
                    if (layer.measures())
                        layer.measure_backward(range);
                    else if (layer.learns_before || i == first_learning())
                        layer.backward(range);
                }
            });
        }
    }

    size_t first_learning() const {
        size_t i = 1;
        while (i + 1 < layers.size() && !layers[i + 1]->learns_before) i++;
        return i;
    }

    void judge(const Member& member, const std::int64_t* order, long size) {
        Layer& last = *layers.back();
        if (loss == nullptr)
            cross_entropy(last.output, last.gradient, static_cast<const std::int64_t*>(member.targets), order, size,
                          *member.sums);
        else
            regression(loss, last.output, last.gradient, static_cast<const real*>(member.targets), order, size,
                       *member.sums);
    }
};

}  // namespace

extern "C" {

// Rows of weights are multiples of this.
std::int64_t numbers_per_unit() { return row_unit; }

// Null where there is too little memory: no exception may reach Python's C.
void* network_new(const NetworkDescription* description) {
    try {
        return new Network(*description);
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}

void network_free(void* network) { delete static_cast<Network*>(network); }

// Whether there was memory enough.
bool network_train(void* network, const Member* member, const std::int64_t* bounds, std::int64_t first,
                   std::int64_t end, std::int64_t steps_before, double rate, const real* const* draws) {
    try {
        static_cast<Network*>(network)->train(*member, bounds, first, end, steps_before, rate, draws);
        return true;
    } catch (const std::bad_alloc&) {
        return false;
    }
}

bool network_evaluate(void* network, const Member* member, std::int64_t num_rows, real* outputs) {
    try {
        static_cast<Network*>(network)->evaluate(*member, num_rows, outputs);
        return true;
    } catch (const std::bad_alloc&) {
        return false;
    }
}
}
