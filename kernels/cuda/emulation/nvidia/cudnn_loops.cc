// The loops of the emulated cuDNN: sums in float, channels innermost, so that they are vectors.
#include <algorithm>

#include "kernels/cuda/emulation/nvidia/cudnn_execute.h"

namespace trainyard::kernels::cuda::emulation::nvidia {
namespace {

struct Shape {
  int64_t images, height, width, channels;  // of x
  int64_t rows, columns, filters;           // of y
  int64_t r, s, depth;                      // of a filter
  int64_t groups, per_group;                // filters of a group
  Window window;
};

Shape ShapeOf(const Window& window, const Tensor& x, const Tensor& w, const Tensor& y) {
  const int64_t groups = x.dims[1] / w.dims[1];
  return {.images = x.dims[0],
          .height = x.dims[2],
          .width = x.dims[3],
          .channels = x.dims[1],
          .rows = y.dims[2],
          .columns = y.dims[3],
          .filters = y.dims[1],
          .r = w.dims[2],
          .s = w.dims[3],
          .depth = w.dims[1],
          .groups = groups,
          .per_group = w.dims[0] / groups,
          .window = window};
}

// Calls `visit(pixel of y, pixel of x, tap)` for all pairs of an image that meet in a tap.
template <typename Visit>
void ForTaps(const Shape& shape, Visit visit) {
  const Window& window = shape.window;
  for (int64_t row = 0; row < shape.rows; ++row) {
    for (int64_t column = 0; column < shape.columns; ++column) {
      for (int64_t r = 0; r < shape.r; ++r) {
        const int64_t h = row * window.stride[0] - window.pre[0] + r * window.dilation[0];
        if (h < 0 || h >= shape.height) continue;
        for (int64_t s = 0; s < shape.s; ++s) {
          const int64_t w = column * window.stride[1] - window.pre[1] + s * window.dilation[1];
          if (w < 0 || w >= shape.width) continue;
          visit(row * shape.columns + column, h * shape.width + w, r * shape.s + s);
        }
      }
    }
  }
}

// sums[i] += factor * row[i]
void AddScaled(float factor, const float* __restrict row, int64_t count, float* __restrict sums) {
  for (int64_t i = 0; i < count; ++i) sums[i] += factor * row[i];
}

// Filters from k, tap, c to tap, c, k and back.
Values FiltersLast(const Shape& shape, const Values& filters) {
  const int64_t taps = shape.r * shape.s, k_count = shape.filters, depth = shape.depth;
  Values turned(filters.size());
  for (int64_t k = 0; k < k_count; ++k) {
    for (int64_t i = 0; i < taps * depth; ++i) {
      turned[i * k_count + k] = filters[k * taps * depth + i];
    }
  }
  return turned;
}

Values Forward(const Shape& shape, const Values& x, const Values& w, float* sums) {
  const Values turned = FiltersLast(shape, w);
  const int64_t count = shape.rows * shape.columns * shape.filters;
  Values y;
  y.reserve(shape.images * count);
  for (int64_t image = 0; image < shape.images; ++image) {
    const float* in = x.data() + image * shape.height * shape.width * shape.channels;
    std::fill(sums, sums + count, 0.0f);
    ForTaps(shape, [&](int64_t to, int64_t from, int64_t tap) {
      for (int64_t c = 0; c < shape.channels; ++c) {
        const int64_t first = c / shape.depth * shape.per_group;
        AddScaled(in[from * shape.channels + c],
                  &turned[(tap * shape.depth + c % shape.depth) * shape.filters + first],
                  shape.per_group, sums + to * shape.filters + first);
      }
    });
    y.insert(y.end(), sums, sums + count);
  }
  return y;
}

Values BackwardData(const Shape& shape, const Values& w, const Values& dy, float* sums) {
  const int64_t count = shape.height * shape.width * shape.channels, taps = shape.r * shape.s;
  Values dx;
  dx.reserve(shape.images * count);
  for (int64_t image = 0; image < shape.images; ++image) {
    const float* out = dy.data() + image * shape.rows * shape.columns * shape.filters;
    std::fill(sums, sums + count, 0.0f);
    ForTaps(shape, [&](int64_t from, int64_t to, int64_t tap) {
      for (int64_t k = 0; k < shape.filters; ++k) {
        const int64_t first = k / shape.per_group * shape.depth;
        AddScaled(out[from * shape.filters + k], &w[(k * taps + tap) * shape.depth], shape.depth,
                  sums + to * shape.channels + first);
      }
    });
    dx.insert(dx.end(), sums, sums + count);
  }
  return dx;
}

Values BackwardFilter(const Shape& shape, const Values& x, const Values& dy, float* sums) {
  const int64_t taps = shape.r * shape.s, count = taps * shape.depth * shape.filters;
  Values total(count);
  for (int64_t image = 0; image < shape.images; ++image) {
    const float* in = x.data() + image * shape.height * shape.width * shape.channels;
    const float* out = dy.data() + image * shape.rows * shape.columns * shape.filters;
    std::fill(sums, sums + count, 0.0f);
    ForTaps(shape, [&](int64_t of_y, int64_t of_x, int64_t tap) {
      for (int64_t c = 0; c < shape.channels; ++c) {
        const int64_t first = c / shape.depth * shape.per_group;
        AddScaled(in[of_x * shape.channels + c], out + of_y * shape.filters + first,
                  shape.per_group,
                  sums + (tap * shape.depth + c % shape.depth) * shape.filters + first);
      }
    });
    for (int64_t i = 0; i < count; ++i) total[i] += sums[i];
  }
  Values dw(count);
  for (int64_t k = 0; k < shape.filters; ++k) {
    for (int64_t i = 0; i < taps * shape.depth; ++i) {
      dw[k * taps * shape.depth + i] = total[i * shape.filters + k];
    }
  }
  return dw;
}

float Pointwise(const Operation& operation, float x, float other) {
  switch (operation.mode) {
    case CUDNN_POINTWISE_ADD:
      return operation.alpha * x + operation.beta * other;
    case CUDNN_POINTWISE_MUL:
      return operation.alpha * x * (operation.beta * other);
    case CUDNN_POINTWISE_RELU_FWD:
      x *= operation.alpha;
      if (x > operation.upper) return operation.upper;
      return x > operation.lower ? x : operation.lower + operation.slope * (x - operation.lower);
    case CUDNN_POINTWISE_RELU_BWD:
      x *= operation.alpha;
      if (x > operation.upper) return 0;
      return x > operation.lower ? other : operation.slope * other;
    default:  // identity
      return operation.alpha * x;
  }
}

// Where `tensor` has the element of `n, h, w` and the first channel, in the order of Values;
// dimensions of 1 serve all.
int64_t Place(const Tensor& tensor, int64_t n, int64_t h, int64_t w) {
  const auto at = [](int64_t dim, int64_t index) { return dim == 1 ? 0 : index; };
  const std::array<int64_t, 4>& dims = tensor.dims;
  return ((at(dims[0], n) * dims[2] + at(dims[2], h)) * dims[3] + at(dims[3], w)) * dims[1];
}

// Calls `visit(n, h, w)` for all pixels.
template <typename Visit>
void ForPixels(const Tensor& tensor, Visit visit) {
  for (int64_t n = 0; n < tensor.dims[0]; ++n) {
    for (int64_t h = 0; h < tensor.dims[2]; ++h) {
      for (int64_t w = 0; w < tensor.dims[3]; ++w) visit(n, h, w);
    }
  }
}

Values Pointwise(const Operation& operation, const std::vector<const Values*>& inputs) {
  const Tensor &output = operation.outputs[0], &x = operation.inputs[0],
               &other = operation.inputs.back();
  const int64_t x_step = x.dims[1] == 1 ? 0 : 1, other_step = other.dims[1] == 1 ? 0 : 1;
  Values result;
  result.reserve(output.count());
  ForPixels(output, [&](int64_t n, int64_t h, int64_t w) {
    const float* from = inputs.front()->data() + Place(x, n, h, w);
    const float* second = inputs.back()->data() + Place(other, n, h, w);
    for (int64_t c = 0; c < output.dims[1]; ++c) {
      result.push_back(Pointwise(operation, from[c * x_step], second[c * other_step]));
    }
  });
  return result;
}

std::vector<Values> Statistics(const Tensor& x, const Values& values) {
  const int64_t channels = x.dims[1];
  std::vector<double> sum(channels), squares(channels);
  for (size_t i = 0; i < values.size(); ++i) {
    sum[i % channels] += values[i];
    squares[i % channels] += static_cast<double>(values[i]) * values[i];
  }
  return {Values(sum.begin(), sum.end()), Values(squares.begin(), squares.end())};
}

Values Reduce(const Operation& operation, const Values& x) {
  const Tensor &from = operation.inputs[0], &to = operation.outputs[0];
  std::vector<double> sums(to.count());
  const int64_t step = to.dims[1] == 1 ? 0 : 1;
  int64_t next = 0;
  ForPixels(from, [&](int64_t n, int64_t h, int64_t w) {
    const int64_t place = Place(to, n, h, w);
    for (int64_t c = 0; c < from.dims[1]; ++c) sums[place + c * step] += x[next++];
  });
  return Values(sums.begin(), sums.end());
}

}  // namespace

Values Convolve(const Operation& operation, const Values& first, const Values& second,
                float* sums) {
  const std::vector<Tensor>& in = operation.inputs;
  const Tensor& out = operation.outputs[0];
  switch (operation.type) {
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR:
      return Forward(ShapeOf(operation.window, in[0], in[1], out), first, second, sums);
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR:
      return BackwardData(ShapeOf(operation.window, out, in[0], in[1]), first, second, sums);
    default:
      return BackwardFilter(ShapeOf(operation.window, in[0], out, in[1]), first, second, sums);
  }
}

std::vector<Values> Combine(const Operation& operation, const std::vector<const Values*>& inputs) {
  switch (operation.type) {
    case CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR:
      return {Pointwise(operation, inputs)};
    case CUDNN_BACKEND_OPERATION_GEN_STATS_DESCRIPTOR:
      return Statistics(operation.inputs[0], *inputs[0]);
    default:
      return {Reduce(operation, *inputs[0])};
  }
}

}  // namespace trainyard::kernels::cuda::emulation::nvidia
