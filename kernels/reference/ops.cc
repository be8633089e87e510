#include "kernels/reference/ops.h"

#include <algorithm>
#include <cmath>

#include "kernels/philox.h"

namespace trainyard::kernels::reference {
namespace {

const ValueShape& InputShape(const Pass& pass, const Op& op) {
  return pass.graph->values[op.inputs[0]];
}

const ValueShape& OutputShape(const Pass& pass, const Op& op) {
  return pass.graph->values[op.output];
}

// Calls visit(input index, weight index, output index) for every product of a convolution.
template <typename Visit>
void ForEachProduct(const Pass& pass, const Op& op, Visit visit) {
  const ValueShape &in = InputShape(pass, op), &out = OutputShape(pass, op);
  const int in_group = in.channels / op.groups, out_group = out.channels / op.groups;
  for (int n = 0; n < pass.batch; ++n) {
    for (int o = 0; o < out.channels; ++o) {
      for (int y = 0; y < out.height; ++y) {
        for (int x = 0; x < out.width; ++x) {
          const int64_t to = ((int64_t{n} * out.channels + o) * out.height + y) * out.width + x;
          for (int i = 0; i < in_group; ++i) {
            const int channel = o / out_group * in_group + i;
            for (int ky = 0; ky < op.kernel_h; ++ky) {
              const int from_y = y * op.stride_h + ky - op.pad_top;
              if (from_y < 0 || from_y >= in.height) continue;
              for (int kx = 0; kx < op.kernel_w; ++kx) {
                const int from_x = x * op.stride_w + kx - op.pad_left;
                if (from_x < 0 || from_x >= in.width) continue;
                const int64_t from =
                    ((int64_t{n} * in.channels + channel) * in.height + from_y) * in.width + from_x;
                visit(from, ((int64_t{o} * in_group + i) * op.kernel_h + ky) * op.kernel_w + kx,
                      to);
              }
            }
          }
        }
      }
    }
  }
}

void ConvForward(Pass& pass, const Op& op, const double* x, double* y) {
  const ValueShape& out = OutputShape(pass, op);
  const int64_t plane = int64_t{out.height} * out.width;
  for (int64_t i = 0; i < pass.batch * out.size(); ++i) {
    y[i] = op.offsets.bias < 0 ? 0 : pass.parameters[op.offsets.bias + i / plane % out.channels];
  }
  const double* w = pass.parameters.data() + op.offsets.weight;
  ForEachProduct(pass, op,
                 [&](int64_t from, int64_t weight, int64_t to) { y[to] += x[from] * w[weight]; });
}

void ConvBackward(Pass& pass, const Op& op, const double* x, const double* dy, double* dx) {
  const ValueShape& out = OutputShape(pass, op);
  const int64_t plane = int64_t{out.height} * out.width;
  if (op.offsets.bias >= 0) {
    for (int64_t i = 0; i < pass.batch * out.size(); ++i) {
      pass.parameter_gradients[op.offsets.bias + i / plane % out.channels] += dy[i];
    }
  }
  const double* w = pass.parameters.data() + op.offsets.weight;
  double* dw = pass.parameter_gradients.data() + op.offsets.weight;
  ForEachProduct(pass, op, [&](int64_t from, int64_t weight, int64_t to) {
    dw[weight] += x[from] * dy[to];
    dx[from] += w[weight] * dy[to];
  });
}

// Calls visit(index) for every element of one channel of the batch.
template <typename Visit>
void ForEachOfChannel(const Pass& pass, const ValueShape& shape, int channel, Visit visit) {
  const int64_t plane = int64_t{shape.height} * shape.width;
  for (int n = 0; n < pass.batch; ++n) {
    const int64_t start = (int64_t{n} * shape.channels + channel) * plane;
    for (int64_t i = start; i < start + plane; ++i) visit(i);
  }
}

void BatchNormForward(Pass& pass, int index, const Op& op, const double* x, double* y) {
  const ValueShape& shape = InputShape(pass, op);
  const double count = static_cast<double>(pass.batch) * shape.height * shape.width;
  std::vector<double>& saved = pass.saved[index];
  saved.assign(2 * shape.channels, 0);
  for (int c = 0; c < shape.channels; ++c) {
    double& running_mean = pass.statistics[op.offsets.running_mean + c];
    double& running_var = pass.statistics[op.offsets.running_var + c];
    double mean = running_mean, variance = running_var;
    if (pass.training) {
      mean = variance = 0;
      ForEachOfChannel(pass, shape, c, [&](int64_t i) { mean += x[i] / count; });
      ForEachOfChannel(pass, shape, c,
                       [&](int64_t i) { variance += (x[i] - mean) * (x[i] - mean) / count; });
      const double unbiased = count > 1 ? variance * count / (count - 1) : variance;
      const double momentum = op.momentum;
      running_mean = momentum * running_mean + (1 - momentum) * mean;
      running_var = momentum * running_var + (1 - momentum) * unbiased;
    }
    const double inverse_std = 1 / std::sqrt(variance + op.epsilon);
    saved[2 * c] = mean;
    saved[2 * c + 1] = inverse_std;
    const double gamma = pass.parameters[op.offsets.weight + c];
    const double beta = pass.parameters[op.offsets.bias + c];
    ForEachOfChannel(pass, shape, c,
                     [&](int64_t i) { y[i] = gamma * (x[i] - mean) * inverse_std + beta; });
  }
}

void BatchNormBackward(Pass& pass, int index, const Op& op, const double* x, const double* dy,
                       double* dx) {
  const ValueShape& shape = InputShape(pass, op);
  const double count = static_cast<double>(pass.batch) * shape.height * shape.width;
  for (int c = 0; c < shape.channels; ++c) {
    const double mean = pass.saved[index][2 * c], inverse_std = pass.saved[index][2 * c + 1];
    double dgamma = 0, dbeta = 0;
    ForEachOfChannel(pass, shape, c, [&](int64_t i) {
      dgamma += dy[i] * (x[i] - mean) * inverse_std;
      dbeta += dy[i];
    });
    const double gamma = pass.parameters[op.offsets.weight + c];
    ForEachOfChannel(pass, shape, c, [&](int64_t i) {
      const double normalised = (x[i] - mean) * inverse_std;
      dx[i] += gamma * inverse_std * (dy[i] - dbeta / count - normalised * dgamma / count);
    });
    pass.parameter_gradients[op.offsets.weight + c] += dgamma;
    pass.parameter_gradients[op.offsets.bias + c] += dbeta;
  }
}

// Calls visit(output index, input indices inside of its window, in scan order).
template <typename Visit>
void ForEachWindow(const Pass& pass, const Op& op, Visit visit) {
  const ValueShape &in = InputShape(pass, op), &out = OutputShape(pass, op);
  std::vector<int64_t> window;
  int64_t to = 0;
  for (int64_t plane = 0; plane < int64_t{pass.batch} * in.channels; ++plane) {
    for (int y = 0; y < out.height; ++y) {
      for (int x = 0; x < out.width; ++x, ++to) {
        window.clear();
        for (int ky = 0; ky < op.kernel_h; ++ky) {
          const int from_y = y * op.stride_h + ky - op.pad_top;
          if (from_y < 0 || from_y >= in.height) continue;
          for (int kx = 0; kx < op.kernel_w; ++kx) {
            const int from_x = x * op.stride_w + kx - op.pad_left;
            if (from_x < 0 || from_x >= in.width) continue;
            window.push_back((plane * in.height + from_y) * in.width + from_x);
          }
        }
        visit(to, window);
      }
    }
  }
}

// The first largest value wins; a NaN wins over everything, so that it is never lost.
int64_t Largest(const double* x, const std::vector<int64_t>& window) {
  int64_t best = window[0];
  for (int64_t i : window) {
    if (x[i] > x[best] || (std::isnan(x[i]) && !std::isnan(x[best]))) best = i;
  }
  return best;
}

void PoolForward(Pass& pass, const Op& op, const double* x, double* y) {
  ForEachWindow(pass, op, [&](int64_t to, const std::vector<int64_t>& window) {
    if (op.kind == OpKind::kMaxPool) {
      y[to] = x[Largest(x, window)];
      return;
    }
    double sum = 0;
    for (int64_t i : window) sum += x[i];
    y[to] = sum / static_cast<double>(window.size());
  });
}

void PoolBackward(Pass& pass, const Op& op, const double* x, const double* dy, double* dx) {
  ForEachWindow(pass, op, [&](int64_t to, const std::vector<int64_t>& window) {
    if (op.kind == OpKind::kMaxPool) {
      dx[Largest(x, window)] += dy[to];
      return;
    }
    for (int64_t i : window) dx[i] += dy[to] / static_cast<double>(window.size());
  });
}

void GlobalAvgPoolForward(Pass& pass, const Op& op, const double* x, double* y) {
  const ValueShape& in = InputShape(pass, op);
  const int64_t plane = int64_t{in.height} * in.width;
  for (int64_t c = 0; c < int64_t{pass.batch} * in.channels; ++c) {
    double sum = 0;
    for (int64_t i = 0; i < plane; ++i) sum += x[c * plane + i];
    y[c] = sum / static_cast<double>(plane);
  }
}

void GlobalAvgPoolBackward(Pass& pass, const Op& op, const double* dy, double* dx) {
  const ValueShape& in = InputShape(pass, op);
  const int64_t plane = int64_t{in.height} * in.width;
  for (int64_t i = 0; i < pass.batch * in.size(); ++i) {
    dx[i] += dy[i / plane] / static_cast<double>(plane);
  }
}

// The factor of every element: 0 where it is dropped, else 1 / (1 - rate).
double DropoutFactor(const Pass& pass, const Op& op, int64_t element) {
  if (!pass.training) return 1;
  const float rate = pass.scalars->dropout_rates[op.dropout];
  const StreamPosition at = DropoutStream(pass.scalars->seed, pass.scalars->step, op.layer);
  if (RandomWord(at, static_cast<uint64_t>(element)) < DropoutThreshold(rate)) return 0;
  return 1 / (1 - static_cast<double>(rate));
}

void LinearForward(Pass& pass, const Op& op, const double* x, double* y) {
  const int64_t inputs = InputShape(pass, op).size(), units = OutputShape(pass, op).size();
  const double* w = pass.parameters.data() + op.offsets.weight;
  for (int n = 0; n < pass.batch; ++n) {
    for (int64_t o = 0; o < units; ++o) {
      double sum = op.offsets.bias < 0 ? 0 : pass.parameters[op.offsets.bias + o];
      for (int64_t i = 0; i < inputs; ++i) sum += w[o * inputs + i] * x[n * inputs + i];
      y[n * units + o] = sum;
    }
  }
}

void LinearBackward(Pass& pass, const Op& op, const double* x, const double* dy, double* dx) {
  const int64_t inputs = InputShape(pass, op).size(), units = OutputShape(pass, op).size();
  const double* w = pass.parameters.data() + op.offsets.weight;
  double* dw = pass.parameter_gradients.data() + op.offsets.weight;
  for (int n = 0; n < pass.batch; ++n) {
    for (int64_t o = 0; o < units; ++o) {
      const double d = dy[n * units + o];
      if (op.offsets.bias >= 0) pass.parameter_gradients[op.offsets.bias + o] += d;
      for (int64_t i = 0; i < inputs; ++i) {
        dw[o * inputs + i] += d * x[n * inputs + i];
        dx[n * inputs + i] += d * w[o * inputs + i];
      }
    }
  }
}

}  // namespace

void Forward(Pass& pass, int index) {
  const Op& op = pass.graph->ops[index];
  const double* x = pass.values[op.inputs[0]].data();
  double* y = pass.values[op.output].data();
  const int64_t size = pass.batch * OutputShape(pass, op).size();
  switch (op.kind) {
    case OpKind::kConv:
      return ConvForward(pass, op, x, y);
    case OpKind::kBatchNorm:
      return BatchNormForward(pass, index, op, x, y);
    case OpKind::kRelu:
      for (int64_t i = 0; i < size; ++i) y[i] = x[i] > 0 ? x[i] : op.negative_slope * x[i];
      return;
    case OpKind::kMaxPool:
    case OpKind::kAvgPool:
      return PoolForward(pass, op, x, y);
    case OpKind::kGlobalAvgPool:
      return GlobalAvgPoolForward(pass, op, x, y);
    case OpKind::kDropout:
      for (int64_t i = 0; i < size; ++i) y[i] = x[i] * DropoutFactor(pass, op, i);
      return;
    case OpKind::kLinear:
      return LinearForward(pass, op, x, y);
    case OpKind::kAdd: {
      const double* other = pass.values[op.inputs[1]].data();
      for (int64_t i = 0; i < size; ++i) y[i] = x[i] + other[i];
      return;
    }
  }
}

void Backward(Pass& pass, int index) {
  const Op& op = pass.graph->ops[index];
  const double* x = pass.values[op.inputs[0]].data();
  const double* dy = pass.gradients[op.output].data();
  double* dx = pass.gradients[op.inputs[0]].data();
  const int64_t size = pass.batch * OutputShape(pass, op).size();
  switch (op.kind) {
    case OpKind::kConv:
      return ConvBackward(pass, op, x, dy, dx);
    case OpKind::kBatchNorm:
      return BatchNormBackward(pass, index, op, x, dy, dx);
    case OpKind::kRelu:
      for (int64_t i = 0; i < size; ++i) dx[i] += x[i] > 0 ? dy[i] : op.negative_slope * dy[i];
      return;
    case OpKind::kMaxPool:
    case OpKind::kAvgPool:
      return PoolBackward(pass, op, x, dy, dx);
    case OpKind::kGlobalAvgPool:
      return GlobalAvgPoolBackward(pass, op, dy, dx);
    case OpKind::kDropout:
      for (int64_t i = 0; i < size; ++i) dx[i] += dy[i] * DropoutFactor(pass, op, i);
      return;
    case OpKind::kLinear:
      return LinearBackward(pass, op, x, dy, dx);
    case OpKind::kAdd: {
      double* other = pass.gradients[op.inputs[1]].data();
      for (int64_t i = 0; i < size; ++i) dx[i] += dy[i];
      for (int64_t i = 0; i < size; ++i) other[i] += dy[i];
      return;
    }
  }
}

LossSum SoftmaxCrossEntropy(std::span<const double> logits, std::span<const int32_t> labels,
                            int classes, double smoothing, std::span<double> gradient) {
  LossSum sum;
  const double count = static_cast<double>(labels.size());
  for (size_t n = 0; n < labels.size(); ++n) {
    const double* row = logits.data() + n * classes;
    const int64_t best = std::max_element(row, row + classes) - row;
    double exponentials = 0;
    for (int k = 0; k < classes; ++k) exponentials += std::exp(row[k] - row[best]);
    const double log_sum = std::log(exponentials) + row[best];
    for (int k = 0; k < classes; ++k) {
      const double target = (k == labels[n] ? 1 - smoothing : 0) + smoothing / classes;
      sum.loss += target * (log_sum - row[k]);
      if (!gradient.empty()) {
        gradient[n * classes + k] = (std::exp(row[k] - log_sum) - target) / count;
      }
    }
    sum.correct += best == labels[n];
  }
  return sum;
}

}  // namespace trainyard::kernels::reference
